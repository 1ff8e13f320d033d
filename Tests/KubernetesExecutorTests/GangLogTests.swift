internal import Foundation
internal import Testing

@testable internal import KubernetesExecutor

/// The log of a gang, as streams of its members' logs bring it.
@Suite struct GangLogTests {
  private static func with(_ body: (String) throws -> Void) throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: "gang-log-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    try body(directory.appending(path: "log").path)
  }

  private static func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }
  private static func open(_ path: String, limit: Int64 = 1 << 20) throws -> GangLog {
    try #require(GangLog(path, limit: limit, notice: "\n[cut]\n"))
  }

  @Test("lines of members are whole, in the order of their ends, each with its rank")
  func lines() throws {
    try Self.with { path in
      let log = try Self.open(path)
      let (first, second) = (MemberLog(log, rank: 0), MemberLog(log, rank: 11))
      first.write(Array("a".utf8))
      second.write(Array("x\ny".utf8))
      first.write(Array("b\n\nc".utf8))
      #expect(first.finish(isLast: true))
      #expect(!second.finish(isLast: false), "its last line may not be whole")
      #expect(try Self.text(path) == "11: x\n0: ab\n0: \n0: c\n")
      #expect(log.size == 21)
    }
  }

  @Test("every byte is kept once, when streams begin anew and when another agent goes on")
  func again() throws {
    try Self.with { path in
      let whole = "12: one\ntwo\nthree"
      var log = try Self.open(path)
      // As far as a stream brings it, from the log's beginning each time.
      for length in 0...whole.utf8.count {
        if length % 3 == 0 { log = try Self.open(path) }
        for rank in [3, 0] {
          let stream = MemberLog(log, rank: rank)
          for piece in whole.utf8.prefix(length) { stream.write([piece]) }
          if length == whole.utf8.count { #expect(stream.finish(isLast: true)) }
        }
      }
      for rank in [0, 3] {
        let late = MemberLog(try Self.open(path), rank: rank)
        late.write(Array(whole.utf8))
        #expect(late.finish(isLast: true))
      }
      let lines = try Self.text(path).split(separator: "\n").map(String.init)
      for rank in [0, 3] {
        #expect(lines.filter { $0.hasPrefix("\(rank): ") } == ["12: one", "two", "three"].map { "\(rank): \($0)" })
      }
      #expect(lines.count == 6, "\(lines)")
    }
  }

  @Test("a line that was being written when an agent died is written anew")
  func torn() throws {
    try Self.with { path in
      try "0: whole\n1: to".write(toFile: path, atomically: false, encoding: .utf8)
      let log = try Self.open(path)
      let stream = MemberLog(log, rank: 1)
      stream.write(Array("torn\n".utf8))
      #expect(try Self.text(path) == "0: whole\n1: torn\n")
    }
  }

  @Test("a log that is longer than is kept is cut with a word, once, and a line without an end is cut")
  func limits() throws {
    try Self.with { path in
      let log = try Self.open(path, limit: 20)
      let stream = MemberLog(log, rank: 5)
      for _ in 0..<4 { stream.write(Array("12345678\n".utf8)) }
      #expect(try Self.text(path) == "5: 12345678\n5: 12345\n[cut]\n")
    }
    try Self.with { path in
      let log = try Self.open(path)
      let stream = MemberLog(log, rank: 5)
      for _ in 0..<3 { stream.write([UInt8](repeating: 0x78, count: 40_000)) }
      #expect(try Self.text(path).utf8.count == 80_000 + 4)
      // A stream that begins anew goes on behind it.
      let next = MemberLog(log, rank: 5)
      next.write([UInt8](repeating: 0x78, count: 80_000) + Array("y\n".utf8))
      #expect(try Self.text(path).hasSuffix("x\n5: y\n"))
    }
  }
}
