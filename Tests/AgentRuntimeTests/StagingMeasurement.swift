import FederationModel
import FoundationEssentials
import TestSupport
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// `FUBINI_MEASURE=1 swift test --skip-build --filter StagingMeasurement`: how fast data comes, against `rclone copy` of the same origin and `cp`, in one run. Asserts nothing of speed.
@Suite(.serialized, .enabled(if: getenv("FUBINI_MEASURE") != nil)) struct StagingMeasurement {
  private func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let start = ContinuousClock.now
    try await body()
    let took = (ContinuousClock.now - start).components
    return Double(took.seconds) + Double(took.attoseconds) * 1e-18
  }

  private func run(_ words: [String]) async throws {
    let result = try await BlockingWork.run {
      let result = try StepRunner.execute(words)
      return (result.status, result.output)
    }
    #expect(result.0 == 0, "\(words): \(result.1)")
  }

  private func residentPeakMiB() throws -> Int {
    let file = try POSIXFile.open("/proc/self/status", O_RDONLY)
    defer { POSIXFile.close(file) }
    let text = String(decoding: try POSIXFile.readAll(file, limit: 1 << 16), as: UTF8.self)
    let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") } ?? ""
    return (Int(line.filter(\.isNumber)) ?? 0) >> 10
  }

  @Test("one large file, and many small ones, from WebDAV: staged, against rclone copy and cp")
  func origin() async throws {
    let directory = try TemporaryDirectory()
    for (name, count, size) in [("large", 1, 1 << 30), ("small", 4000, 64 << 10)] {
      let origin = directory.path + "/" + name
      let tree = TreeWriter(origin)
      try POSIXFile.makeDirectories(origin)
      let block = (0..<min(size, 1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 2) }
      for number in 0..<count {
        let file = try tree.create("f\(number)")
        for _ in 0..<max(1, size >> 20) { try POSIXFile.write(file, block, "a file") }
        POSIXFile.close(file)
      }
      let port = try FreePort.next()
      let server = try ServerProcess(
        ["rclone", "serve", "webdav", origin, "--config", "", "--addr", "127.0.0.1:\(port)", "--read-only"])
      defer { server.end() }
      try await waitUntil { FreePort.answers(port) }
      let uri = "webdav://127.0.0.1:\(port)/"
      let sources = try StoreFixture.sources(directory)
      let mover = Task { await sources.mover.run() }
      defer { mover.cancel() }
      let repository = MemoryRepository()
      let layout = CacheLayout(directory: directory.path + "/cache-" + name)
      try layout.make()
      let listed = try await OriginIndexer(sources: sources, repository: repository)
        .index(DataOrigin(uri: uri), key: "dataset:p/x@1", as: "list", of: "p", in: layout.work)
      let wanted = WantedReplica(
        DataObject(
          key: "dataset:p/x@1", project: "p", size: ByteCount(listed.bytes), files: listed.files,
          manifest: listed.manifest, sources: [.origin(DataOrigin(uri: uri))]))
      let fetcher = try StoreFixture.fetcher(repository, directory, sources: sources)
      let staged = try await seconds { try await fetcher.fetch(wanted, for: nil, into: layout, TransferGauge()) }
      let copied = try await seconds {
        try await run([
          "rclone", "--config", "", "copy", "--transfers", "8",
          ":webdav,url='http://127.0.0.1:\(port)',vendor=other:", directory.path + "/rclone-" + name,
        ])
      }
      let plain = try await seconds { try await run(["cp", "-r", origin, directory.path + "/cp-" + name]) }
      let mebibytes = Double(listed.bytes) / 1_048_576
      print(
        "staging \(name): \(listed.files) files, \(Int(mebibytes)) MiB: staged \(Int(mebibytes / staged)) MiB/s, rclone copy "
          + "\(Int(mebibytes / copied)) MiB/s, cp \(Int(mebibytes / plain)) MiB/s; staged/rclone \(Int(100 * copied / staged)) %"
      )
    }
  }

  @Test("100,000 small files out of packs: time, and memory of the process")
  func manyFiles() async throws {
    let directory = try TemporaryDirectory()
    let repository = MemoryRepository()
    let count = 100_000
    let layout = CacheLayout(directory: directory.path + "/cache")
    try layout.make()
    let sample = SampleDataset(
      files: (0..<count).map { number in
        let name = String(repeating: "0", count: 6 - String(number).count) + String(number)
        return ("d\(name.prefix(3))/\(name)", Array("file \(number)\n".utf8))
      })
    let wanted = try sample.packed(in: repository, packMax: 64 << 10)
    let before = try residentPeakMiB()
    let took = try await seconds {
      try await StoreFixture.fetcher(repository, directory).fetch(wanted, for: nil, into: layout, TransferGauge())
    }
    print(
      "staging \(count) files from packs: \(Int(Double(count) / took)) files/s; resident peak \(before) MiB before, "
        + "\(try residentPeakMiB()) MiB after (the test's own copy of the files included)")
  }
}
