import FederationModel
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

@Suite struct ArtifactPackingTests {
  private func roundTrip(_ archive: ArchiveFormat, make: (TemporaryDirectory) throws -> Void, path: String) throws
    -> TemporaryDirectory
  {
    let source = try TemporaryDirectory()
    try make(source)
    let work = try TemporaryDirectory()
    let packed = try #require(
      try ArtifactPacking.pack(try RootedTree(source.path), path: path, archive: archive, into: work.path))
    let target = try TemporaryDirectory()
    try ArtifactPacking.unpack(
      packed.path, archive: archive, to: "/in/there", mode: nil, root: try RootedTree(target.path),
      rootPath: target.path,
      scratch: work.path + "/scratch")
    return target
  }

  @Test("a file comes back as it was", arguments: ArchiveFormat.allCases)
  func file(archive: ArchiveFormat) throws {
    let text = String(repeating: "word frequencies\n", count: 1000)
    let target = try roundTrip(archive, make: { try $0.write(text, to: "out.txt") }, path: "/out.txt")
    #expect(try target.read("in/there") == text)
  }

  @Test("an empty file comes back empty", arguments: ArchiveFormat.allCases)
  func emptyFile(archive: ArchiveFormat) throws {
    let target = try roundTrip(archive, make: { try $0.write("", to: "e") }, path: "e")
    #expect(try target.read("in/there") == "")
  }

  @Test("a name that is no UTF-8 is told with its place, not as a file that does not exist")
  func byteName() throws {
    let source = try TemporaryDirectory()
    let work = try TemporaryDirectory()
    try POSIXFile.makeDirectories(source.path + "/out/d")
    let path = Array((source.path + "/out/d/caf").utf8) + [0xe9] + Array(".dat".utf8) + [0]
    let file = path.withUnsafeBufferPointer { bytes in
      bytes.withMemoryRebound(to: CChar.self) { open($0.baseAddress!, O_WRONLY | O_CREAT, 0o644) }
    }
    #expect(file >= 0)
    close(file)
    let error = #expect(throws: FederationError.self) {
      try ArtifactPacking.pack(try RootedTree(source.path), path: "/out", archive: .tar, into: work.path)
    }
    let message = error?.publicMessage ?? ""
    #expect(
      message.contains("A name in out/d is not UTF-8 (caf\u{FFFD}.dat") && !message.contains("No such file"),
      "\(message)")
  }

  @Test("a directory with odd names, long names, links and modes comes back", arguments: [ArchiveFormat.tar, .zip])
  func directory(archive: ArchiveFormat) throws {
    let long = String(repeating: "n", count: 200)
    let target = try roundTrip(
      archive,
      make: { source in
        try POSIXFile.makeDirectories(source.path + "/out/sub dir/\(long)")
        try source.write("1", to: "out/-rf *\n\"quoted\"")
        try source.write("2", to: "out/sub dir/\(long)/\(long)")
        try source.write(String(repeating: "z", count: 9000), to: "out/größe")
        chmod(source.path + "/out/größe", 0o750)
        symlink("/etc/passwd", source.path + "/out/link")
      }, path: "/out")
    #expect(try target.read("in/there/-rf *\n\"quoted\"") == "1")
    #expect(try target.read("in/there/sub dir/\(long)/\(long)") == "2")
    #expect(try target.read("in/there/größe").utf8.count == 9000)
    var status = stat()
    #expect(stat(target.path + "/in/there/größe", &status) == 0 && status.st_mode & 0o777 == 0o750)
    #expect(lstat(target.path + "/in/there/link", &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
  }

  @Test("a big sparse file stays sparse")
  func sparse() throws {
    let size: Int64 = 16 << 20
    let target = try roundTrip(
      .tar,
      make: {
        try $0.write("", to: "s"); truncate($0.path + "/s", off_t(size))
      }, path: "s")
    var status = stat()
    #expect(stat(target.path + "/in/there", &status) == 0)
    #expect(Int64(status.st_size) == size)
    #expect(status.st_blocks * 512 < size / 16)
  }

  @Test(
    "an output that is a link out of the run's root is not followed",
    arguments: ["/etc/passwd", "../../../../etc/passwd"])
  func escapingLink(target: String) throws {
    let source = try TemporaryDirectory()
    symlink(target, source.path + "/out")
    let work = try TemporaryDirectory()
    #expect(try ArtifactPacking.pack(try RootedTree(source.path), path: "/out", archive: .none, into: work.path) == nil)
    // The same path inside the run's own root is what the link meant to the run.
    try POSIXFile.makeDirectories(source.path + "/etc")
    try source.write("mine", to: "etc/passwd")
    let packed = try #require(
      try ArtifactPacking.pack(try RootedTree(source.path), path: "/out", archive: .none, into: work.path))
    #expect(packed.size == 4)
  }

  @Test("nothing at the path is nil; a directory without an archive is refused")
  func missing() throws {
    let source = try TemporaryDirectory()
    let tree = try RootedTree(source.path)
    #expect(try ArtifactPacking.pack(tree, path: "/a/b", archive: .tar, into: source.path) == nil)
    try POSIXFile.makeDirectories(source.path + "/d")
    let error = #expect(throws: FederationError.self) {
      try ArtifactPacking.pack(tree, path: "/d", archive: .none, into: source.path)
    }
    #expect(error?.publicMessage.contains("/d is a directory") == true)
  }

  private static func header(_ name: String, type: Character, link: String = "", size: Int = 0) -> [UInt8] {
    var header = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, _ offset: Int) { for (i, byte) in text.utf8.enumerated() { header[offset + i] = byte } }
    put(name, 0)
    put("0000644", 100)
    let octal = String(size, radix: 8)
    put(String(repeating: "0", count: 11 - octal.count) + octal, 124)
    put("        ", 148)
    header[156] = type.asciiValue!
    put(link, 157)
    put("ustar", 257)
    let sum = String(header.reduce(0) { $0 + Int($1) }, radix: 8)
    put(String(repeating: "0", count: 6 - sum.count) + sum + "\0 ", 148)
    return header
  }

  private static let file = [UInt8]("evil".utf8) + [UInt8](repeating: 0, count: 508)

  static let hostile: [(String, [UInt8])] = [
    ("parent", header("../evil", type: "0", size: 4) + file),
    ("deep parent", header("a/../../evil", type: "0", size: 4) + file),
    ("absolute", header("/tmp/evil", type: "0", size: 4) + file),
    ("through a link", header("d", type: "2", link: "/tmp") + header("d/evil", type: "0", size: 4) + file),
    ("hard link out", header("h", type: "1", link: "../../etc/passwd")),
    ("hard link through a link", header("d", type: "2", link: "/etc") + header("h", type: "1", link: "d/passwd")),
    ("device", header("null", type: "3")), ("fifo", header("fifo", type: "6")),
    ("twice the same file", header("x", type: "0", size: 4) + file + header("x", type: "0", size: 4) + file),
    ("cut short", header("x", type: "0", size: 4000) + file), ("no archive", [UInt8](repeating: 65, count: 1024)),
    ("negative size", header("x", type: "0", size: 4).replacingSize()),
  ]

  @Test("hostile archives are refused and write nothing outside", arguments: hostile)
  func hostileTar(name: String, bytes: [UInt8]) throws {
    let work = try TemporaryDirectory()
    try work.write(bytes + [UInt8](repeating: 0, count: 1024), to: "archive")
    try POSIXFile.makeDirectories(work.path + "/root")
    #expect(throws: FederationError.self, "\(name)") {
      try ArtifactPacking.unpack(
        work.path + "/archive", archive: .tar, to: "/in", mode: nil, root: try RootedTree(work.path + "/root"),
        rootPath: work.path + "/root", scratch: work.path + "/scratch")
    }
    #expect(access("/tmp/evil", F_OK) != 0)
    #expect(access(work.path + "/evil", F_OK) != 0)
    #expect(access(work.path + "/root/in", F_OK) != 0)
  }

  @Test("an archive larger than the bound is refused before it is written")
  func bomb() throws {
    let source = try TemporaryDirectory()
    try source.write("", to: "s")
    truncate(source.path + "/s", 8 << 20)
    let packed = try #require(
      try ArtifactPacking.pack(try RootedTree(source.path), path: "s", archive: .tar, into: source.path))
    #expect(packed.size < 1 << 20)
    #expect(throws: FederationError.self) {
      try ArtifactPacking.unpack(
        packed.path, archive: .tar, to: "/in", mode: nil, root: try RootedTree(source.path), rootPath: source.path,
        scratch: source.path + "/scratch", limits: ArchiveLimits(entriesMax: 10, bytesMax: 1 << 20))
    }
  }

  @Test("random bytes never unpack and never trap", arguments: 0..<40)
  func fuzz(seed: UInt64) throws {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    let bytes = (0..<3000).map { _ -> UInt8 in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 33)
    }
    let work = try TemporaryDirectory()
    try work.write(bytes, to: "a")
    for archive in [ArchiveFormat.tar, .zip] {
      #expect(throws: FederationError.self, "seed \(seed)") {
        try ArtifactPacking.unpack(
          work.path + "/a", archive: archive, to: "/in", mode: nil, root: try RootedTree(work.path),
          rootPath: work.path,
          scratch: work.path + "/scratch")
      }
    }
  }
}

extension [UInt8] {
  /// The size field in base 256 with its sign bits set, under a right checksum.
  fileprivate func replacingSize() -> [UInt8] {
    var copy = self
    for index in 124..<136 { copy[index] = 0xff }
    for index in 148..<156 { copy[index] = 32 }
    let sum = String(copy.reduce(0) { $0 + Int($1) }, radix: 8)
    for (index, byte) in (String(repeating: "0", count: 6 - sum.count) + sum).utf8.enumerated() {
      copy[148 + index] = byte
    }
    copy[154] = 0
    return copy
  }
}
