internal import Glibc
internal import Testing

@testable internal import Supervisor

@Suite("Supervisor values")
struct SupervisorValueTests {
  @Test("a run reads back as it was written, and no prefix of it reads at all")
  func roundTrip() throws {
    var run = SupervisedRun(
      id: .max, arguments: ["a", "", "ü"], environment: ["A=b"], mounts: ["/x"], user: 1, group: 2)
    run.disconnectLimitMs = 5
    (run.processesMax, run.sliceMs) = (7, 8)
    var writer = WireWriter()
    run.encode(into: &writer)
    var reader = WireReader(writer.bytes[...])
    #expect(try SupervisedRun(from: &reader) == run)
    // The last two fields are younger than the protocol: without them a run has none.
    let size = writer.bytes.count
    for count in 0..<size where count != size - 8 && count != size - 16 {
      var short = WireReader(writer.bytes[..<count])
      #expect(throws: WireReader.Malformed.self) { try SupervisedRun(from: &short) }
    }
    var older = WireReader(writer.bytes[..<(size - 8)])
    run.sliceMs = 0
    #expect(try SupervisedRun(from: &older) == run)
    older = WireReader(writer.bytes[..<(size - 16)])
    run.processesMax = 0
    #expect(try SupervisedRun(from: &older) == run)
  }

  @Test("a run's files in memory read back as they were written, and no prefix of them reads")
  func privateFiles() throws {
    var run = SupervisedRun(id: 1, arguments: ["a"])
    var plain = WireWriter()
    run.encode(into: &plain)
    run.privateDirectory = "/dev/shm/x"
    run.privateFiles = [PrivateFile(path: "0/"), PrivateFile(path: "0/k", mode: 0o400, bytes: [0, 255])]
    var writer = WireWriter()
    run.encode(into: &writer)
    var reader = WireReader(writer.bytes[...])
    #expect(try SupervisedRun(from: &reader) == run)
    // A supervisor of an earlier release reads what it knows, and says nothing of the rest.
    for count in (plain.bytes.count + 1)..<writer.bytes.count {
      var short = WireReader(writer.bytes[..<count])
      #expect(throws: WireReader.Malformed.self) { try SupervisedRun(from: &short) }
    }
  }

  @Test(
    "a lease ends its limit after its start; one from the future is none",
    arguments: [(100, 5, 200, 5_000_100), (201, 5, 200, 0), (100, UInt64.max, 200, UInt64.max)]
      as [(UInt64, UInt64, UInt64, UInt64)])
  func lease(start: UInt64, limitMs: UInt64, now: UInt64, expected: UInt64) {
    #expect(Lease(startNanoseconds: start).expiry(limitMs: limitMs, now: now) == expected)
  }

  @Test("an end that was torn by a crash counts as missing")
  func tornEnd() throws {
    var template = Array("/tmp/fubini-end-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { SupervisorFixture.remove(path) }
    let directory = RunDirectory(stateDirectory: path, id: 1)
    try Files.makeDirectory(path + "/runs")
    try Files.makeDirectory(directory.path)
    let end = RunEnd(reason: .exited, waitStatus: 256, message: "x")
    try directory.writeEnd(end)
    #expect(directory.readEnd() == end)
    let bytes = try #require(Files.read(directory.path + "/exit", limit: 4096))
    for count in 0..<bytes.count {
      try Files.replace(directory.path + "/exit", with: Array(bytes[..<count]))
      #expect(directory.readEnd() == nil)
    }
  }
}
