import Crypto
import FederationModel
import FoundationEssentials
import Synchronization
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// A data set in memory: its files, as packs or at an origin.
struct SampleDataset {
  var key: DataKey = "dataset:p/sample@1"
  var files: [(path: String, bytes: [UInt8])]

  static func sha256(_ bytes: some Sequence<UInt8>) -> String {
    ArtifactPacking.hexadecimal(SHA256.hash(data: Data(bytes)))
  }

  var size: Int64 { files.reduce(0) { $0 + Int64($1.bytes.count) } }

  private func store(_ text: [UInt8], in repository: MemoryRepository) -> StoredArtifact {
    repository.state.withLock { $0.objects["manifest"] = Data(text) }
    return StoredArtifact(
      key: "manifest", size: ByteCount(Int64(text.count)), sha256: Self.sha256(text), archive: .none)
  }

  /// Puts it into the repository as an upload would, in packs of at most `packMax` bytes.
  func packed(in repository: MemoryRepository, packMax: Int = 1000) throws -> WantedReplica {
    var packs: [[UInt8]] = []
    var places: [(pack: Int, offset: Int64)] = []
    for file in files {
      if packs.isEmpty || packs.last!.count + file.bytes.count > packMax { packs.append([]) }
      places.append((packs.count - 1, Int64(packs.last!.count)))
      packs[packs.count - 1] += file.bytes
    }
    for (index, pack) in packs.enumerated() { repository.state.withLock { $0.objects["pack-\(index)"] = Data(pack) } }
    var (writer, text) = try DatasetManifestWriter.begin(
      .init(
        files: Int64(files.count), bytes: size,
        packs: packs.enumerated().map { .init(key: "pack-\($0)", sha256: Self.sha256($1), size: Int64($1.count)) }))
    for (file, place) in zip(files, places) {
      try writer.append(
        .init(
          path: file.path, size: Int64(file.bytes.count), mode: 0o750, sha256: Self.sha256(file.bytes),
          pack: place.pack, offset: place.offset), to: &text)
    }
    return WantedReplica(
      DataObject(
        key: key, project: "p", size: ByteCount(size), files: Int64(files.count),
        manifest: store(text, in: repository), sources: [.repository(key: nil)]))
  }

  /// Its bytes are at an origin that tells no checksums.
  func listed(in repository: MemoryRepository, at origin: DataOrigin) throws -> WantedReplica {
    var (writer, text) = try DatasetManifestWriter.begin(.init(files: Int64(files.count), bytes: size))
    for file in files { try writer.append(.init(path: file.path, size: Int64(file.bytes.count)), to: &text) }
    return WantedReplica(
      DataObject(
        key: key, project: "p", size: ByteCount(size), files: Int64(files.count),
        manifest: store(text, in: repository), sources: [.origin(origin)]))
  }

  func write(below directory: String) throws {
    try POSIXFile.makeDirectories(directory, mode: 0o755)
    let tree = TreeWriter(directory)
    for file in files {
      let output = try tree.create(file.path)
      try POSIXFile.write(output, file.bytes, file.path)
      POSIXFile.close(output)
    }
  }

  /// What is in the cache is byte for byte what it should be.
  func expectEqual(_ directory: String) throws {
    for file in files {
      let descriptor = try POSIXFile.open(directory + "/" + file.path, O_RDONLY)
      defer { POSIXFile.close(descriptor) }
      let bytes = try POSIXFile.readAll(descriptor, limit: 1 << 30)
      #expect(bytes == file.bytes, "\(file.path)")
    }
  }

  static let small = SampleDataset(
    files: (0..<40).map { ("d\($0 / 10)/f\($0)", Array(repeating: UInt8($0), count: 37 * $0)) }
      .sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) })
}

@Suite struct TreeFetchTests {
  private struct Bench {
    let directory: TemporaryDirectory
    let repository = MemoryRepository()
    let layout: CacheLayout
    let fetcher: ReplicaFetcher

    init() throws {
      directory = try TemporaryDirectory()
      layout = CacheLayout(directory: directory.path + "/cache")
      try layout.make()
      fetcher = try StoreFixture.fetcher(repository, directory)
    }

    @discardableResult
    func fetch(_ wanted: WantedReplica) async throws -> TransferGauge.Reading {
      let gauge = TransferGauge()
      try await fetcher.fetch(wanted, for: RunID(1), into: layout, gauge)
      return gauge.reading
    }

    func isPublished(_ key: DataKey) -> Bool { access(layout.tree(key), F_OK) == 0 }
  }

  @Test("a data set in packs arrives whole, readable by all and writable by nobody, in one rename")
  func packs() async throws {
    let bench = try Bench()
    let sample = SampleDataset.small
    let wanted = try sample.packed(in: bench.repository)
    let reading = try await bench.fetch(wanted)
    #expect(reading.bytesMoved == sample.size && reading.bytesDone == sample.size)
    try sample.expectEqual(bench.layout.mountSource(wanted.key))
    var status = stat()
    stat(bench.layout.mountSource(wanted.key) + "/d1/f11", &status)
    #expect(status.st_mode & 0o777 == 0o554)
    #expect(TreeRecord.read(bench.layout.tree(wanted.key)) == TreeRecord(key: wanted.key, size: sample.size))
  }

  @Test(
    "a transfer that was cut goes on where it was, and nobody sees half a data set meanwhile", arguments: [1, 150, 999])
  func cut(after bytes: Int) async throws {
    let bench = try Bench()
    let sample = SampleDataset.small
    let wanted = try sample.packed(in: bench.repository)
    bench.repository.state.withLock { $0.cutAfter = bytes }
    var failures = 0
    var moved: Int64 = 0
    while !bench.isPublished(wanted.key) {
      let gauge = TransferGauge()
      do { try await bench.fetcher.fetch(wanted, for: RunID(1), into: bench.layout, gauge) } catch {
        failures += 1
        #expect((error as? FederationError)?.isRetryable == true)
        #expect(!bench.isPublished(wanted.key))
        // One byte each time is a long way.
        if failures > 3 { bench.repository.state.withLock { $0.cutAfter = .max } }
      }
      moved += gauge.reading.bytesMoved
    }
    #expect(failures > 0)
    // Not one byte came twice.
    #expect(moved == sample.size)
    try sample.expectEqual(bench.layout.mountSource(wanted.key))
  }

  @Test(
    "a pack whose bytes are wrong is refused and fetched anew; a manifest that lies about a pack is refused for good")
  func corruptPacks() async throws {
    let bench = try Bench()
    let wanted = try SampleDataset.small.packed(in: bench.repository)
    let right = bench.repository.state.withLock { $0.objects["pack-1"]! }
    bench.repository.state.withLock { $0.objects["pack-1"]![3] ^= 1 }
    let error = await #expect(throws: FederationError.self) { try await bench.fetch(wanted) }
    #expect(error?.publicMessage.contains("checksum") == true)
    #expect(!bench.isPublished(wanted.key))
    bench.repository.state.withLock { $0.objects["pack-1"] = right }
    try await bench.fetch(wanted)
    try SampleDataset.small.expectEqual(bench.layout.mountSource(wanted.key))
  }

  @Test("a checksum that the origin does not tell is learnt at the first fetch, and held against all later ones")
  func learnt() async throws {
    let bench = try Bench()
    let sample = SampleDataset.small
    let origin = bench.directory.path + "/origin"
    try sample.write(below: origin)
    let wanted = try sample.listed(in: bench.repository, at: DataOrigin(uri: "file://edge-1\(origin)/"))
    try await bench.fetch(wanted)
    try sample.expectEqual(bench.layout.mountSource(wanted.key))
    var sums: [String: String] = [:]
    try ManifestFile.each(bench.layout.tree(wanted.key) + "/manifest") { sums[$0.path] = $0.sha256 }
    #expect(sums == Dictionary(uniqueKeysWithValues: sample.files.map { ($0.path, SampleDataset.sha256($0.bytes)) }))
    // Evicted, then changed at the origin, with the same size.
    POSIXFile.removeTree(bench.layout.tree(wanted.key))
    try bench.directory.write([UInt8](repeating: 9, count: 37 * 11), to: "origin/d1/f11")
    let error = await #expect(throws: FederationError.self) { try await bench.fetch(wanted) }
    #expect(error?.publicMessage.contains("other bytes of d1/f11") == true && error?.isRetryable == false)
    #expect(!bench.isPublished(wanted.key))
    try sample.write(below: origin)
    try await bench.fetch(wanted)
    try sample.expectEqual(bench.layout.mountSource(wanted.key))
  }

  @Test(
    "I4: an origin whose file is not what was listed gives no data set, and it is told which file, how it differs, and what to do",
    arguments: [
      ("truncated", "it has 100 bytes, not 407"), ("longer", "it has more than 407 bytes"),
      ("touched", "it was changed after it was listed"), ("gone", "is not at the source any more"),
    ])
  func otherThanListed(_ fault: String, _ words: String) async throws {
    let bench = try Bench()
    let sample = SampleDataset.small
    let origin = bench.directory.path + "/origin"
    try sample.write(below: origin)
    let indexer = OriginIndexer(
      sources: try StoreFixture.sources(bench.directory), repository: bench.repository)
    let place = DataOrigin(uri: "file://edge-1\(origin)/")
    func list(_ number: Int) async throws -> WantedReplica {
      let key = DataKey("dataset:p/x@\(number)")
      let listed = try await indexer.index(place, key: key, as: "list-\(number)", of: "p", in: bench.layout.work)
      return WantedReplica(
        DataObject(
          key: key, project: "p", size: ByteCount(listed.bytes), files: listed.files, manifest: listed.manifest,
          sources: [.origin(place)]))
    }
    let wanted = try await list(1)
    let file = origin + "/d1/f11"
    switch fault {
    case "truncated": truncate(file, 100)
    case "longer": truncate(file, 500)
    case "gone": unlink(file)
    default:
      // Other bytes, as many as before, a second later.
      try bench.directory.write([UInt8](repeating: 9, count: 37 * 11), to: "origin/d1/f11")
      let later = timespec(tv_sec: time(nil) + 2, tv_nsec: 0)
      withUnsafePointer(to: (later, later)) { pair in
        _ = pair.withMemoryRebound(to: timespec.self, capacity: 2) { utimensat(AT_FDCWD, file, $0, 0) }
      }
    }
    let error = await #expect(throws: FederationError.self) { try await bench.fetch(wanted) }
    let message = error?.publicMessage ?? ""
    #expect(message.contains("d1/f11") && message.contains(words) && message.contains("new version"), "\(message)")
    #expect(error?.isRetryable == false && !bench.isPublished(wanted.key))
    // What is said to help does.
    let again = try await list(2)
    try await bench.fetch(again)
    #expect(bench.isPublished(again.key))
  }

  @Test("the next source is tried when one does not give the right bytes")
  func nextSource() async throws {
    let bench = try Bench()
    let sample = SampleDataset.small
    var wanted = try sample.packed(in: bench.repository)
    wanted.sources = [
      .origin(DataOrigin(uri: "file://edge-1\(bench.directory.path)/missing")),
      .origin(DataOrigin(uri: "file://elsewhere/data")), .repository(key: nil),
    ]
    let reading = try await bench.fetch(wanted)
    #expect(reading.source == .repository(key: nil))
    try sample.expectEqual(bench.layout.mountSource(wanted.key))
  }

  @Test("file:// is read only below directories that the operator opens, and on its own cluster")
  func fences() async throws {
    let bench = try Bench()
    let sample = SampleDataset.small
    for (uri, code) in [
      ("file://edge-1/etc", ErrorCode.permissionDenied), ("file://other\(bench.directory.path)", .failedPrecondition),
      ("file://edge-1\(bench.directory.path)/nowhere", .failedPrecondition),
    ] {
      let wanted = try sample.listed(in: bench.repository, at: DataOrigin(uri: uri))
      let error = await #expect(throws: FederationError.self, "\(uri)") { try await bench.fetch(wanted) }
      #expect(error?.code == code, "\(uri)")
    }
    // A link below an open directory leads nowhere else.
    symlink("/etc", bench.directory.path + "/link")
    let wanted = try sample.listed(
      in: bench.repository, at: DataOrigin(uri: "file://edge-1\(bench.directory.path)/link"))
    let error = await #expect(throws: FederationError.self) { try await bench.fetch(wanted) }
    #expect(error?.code == .permissionDenied)
  }

  @Test("what is left of an earlier boot of the machine is not believed")
  func otherBoot() async throws {
    let bench = try Bench()
    let sample = SampleDataset.small
    let wanted = try sample.packed(in: bench.repository)
    let partial = bench.layout.partialTree(wanted.key)
    try POSIXFile.makeDirectories(partial + "/data/d1")
    let file = try POSIXFile.open(partial + "/data/d1/f11", O_WRONLY | O_CREAT)
    // Right size, but the bytes never reached the disk.
    try POSIXFile.write(file, [UInt8](repeating: 0, count: 37 * 11), "a file")
    POSIXFile.close(file)
    try await bench.fetch(wanted)
    try sample.expectEqual(bench.layout.mountSource(wanted.key))
  }

  @Test("many small files come in bounded memory (FUBINI_TEST_FILES=100000 for all of them)")
  func manyFiles() async throws {
    let bench = try Bench()
    let count = getenv("FUBINI_TEST_FILES").flatMap { Int(String(cString: $0)) } ?? 2_000
    let sample = SampleDataset(
      files: (0..<count).map { number in
        let name = String(repeating: "0", count: 6 - String(number).count) + String(number)
        return ("d\(name.prefix(3))/\(name)", Array("file \(number)\n".utf8))
      })
    let wanted = try sample.packed(in: bench.repository, packMax: 64 << 10)
    let reading = try await bench.fetch(wanted)
    #expect(reading.bytesMoved == sample.size)
    let tree = bench.layout.mountSource(wanted.key)
    for index in stride(from: 0, to: count, by: 997) {
      #expect(TreeWriter(tree).size(sample.files[index].path) == Int64(sample.files[index].bytes.count))
    }
  }
}
