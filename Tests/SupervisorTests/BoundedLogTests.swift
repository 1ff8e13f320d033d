internal import Glibc
internal import Testing

@testable internal import Supervisor

@Suite("A log that nobody else rotates")
struct BoundedLogTests {
  private func size(_ path: String) -> Int? {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : nil
  }

  private func withDirectory(_ body: (String) throws -> Void) throws {
    var template = Array("/tmp/fubini-log-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      for name in Files.names(in: directory) { unlink(directory + "/" + name) }
      rmdir(directory)
    }
    try body(directory)
  }

  @Test("its writers go on while it is emptied, each line is in it or in the earlier one, and both are bounded")
  func emptied() throws {
    try withDirectory { directory in
      let path = directory + "/agent.log"
      let file = try Files.open(path, O_WRONLY | O_CREAT | O_APPEND)
      defer { close(file) }
      let other = try Files.open(path, O_WRONLY | O_APPEND)
      defer { close(other) }
      var kept: [String] = []
      var written = 0
      for round in 0..<50 {
        for writer in [file, other] {
          try Files.writeAll(writer, Array("line \(written) of round \(round)\n".utf8))
          written += 1
        }
        guard BoundedLog.empty(file, at: path, bytesMax: 200) else { continue }
        let earlier = try #require(Files.read(BoundedLog.earlier(path), limit: 1 << 20))
        #expect(earlier.count <= 200 + 64 && size(path) == 0)
        kept += String(decoding: earlier, as: UTF8.self).split(separator: "\n").map(String.init)
      }
      kept += String(decoding: try #require(Files.read(path, limit: 1 << 20)), as: UTF8.self).split(separator: "\n")
        .map(String.init)
      #expect(kept.count == 100 && kept.map { $0.split(separator: " ")[1] } == (0..<100).map { "\($0)" })
      #expect(Files.names(in: directory).sorted() == ["agent.log", "agent.log.1"])
    }
  }

  @Test("what is no log of its own is left alone: another file, one that is not appended to, a short one")
  func leftAlone() throws {
    try withDirectory { directory in
      let path = directory + "/agent.log"
      let long = [UInt8](repeating: 0x61, count: 300)
      let plain = try Files.open(path, O_WRONLY | O_CREAT)
      defer { close(plain) }
      try Files.writeAll(plain, long)
      #expect(!BoundedLog.empty(plain, at: path, bytesMax: 200), "its writer would go on at its old offset")
      let other = try Files.open(directory + "/other", O_WRONLY | O_CREAT | O_APPEND)
      defer { close(other) }
      try Files.writeAll(other, long)
      #expect(!BoundedLog.empty(other, at: path, bytesMax: 200))
      #expect(!BoundedLog.empty(other, at: directory + "/other", bytesMax: 300))
      #expect(size(path) == 300 && size(directory + "/other") == 300)
    }
  }

  @Test("a program that is about to open a long log begins a new one")
  func turned() throws {
    try withDirectory { directory in
      let path = directory + "/supervisor.log"
      for (count, earlier) in [(200, nil), (201, 201)] as [(Int, Int?)] {
        try Files.replace(path, with: [UInt8](repeating: 0x61, count: count))
        BoundedLog.turn(path, bytesMax: 200)
        #expect(size(BoundedLog.earlier(path)) == earlier)
      }
      #expect(size(path) == nil)
    }
  }
}
