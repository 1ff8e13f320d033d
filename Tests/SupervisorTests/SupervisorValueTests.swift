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
    var writer = WireWriter()
    run.encode(into: &writer)
    var reader = WireReader(writer.bytes[...])
    #expect(try SupervisedRun(from: &reader) == run)
    for count in 0..<writer.bytes.count {
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

  @Test("limits are written where a control group was delegated, and nowhere else")
  func controlGroup() throws {
    var template = Array("/tmp/fubini-cgroup-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { SupervisorFixture.remove(path) }
    #expect(ControlGroup(delegated: path) == nil)
    try Files.replace(path + "/cgroup.subtree_control", with: Array("cpu memory pids\n".utf8))
    try Files.replace(path + "/cgroup.procs", with: [])
    let group = try #require(ControlGroup(delegated: path))
    let child = path + "/fubini-0000000000000005"
    try Files.makeDirectory(child)
    for name in ["memory.max", "memory.oom.group", "cpu.max", "cgroup.procs"] {
      try Files.replace(child + "/" + name, with: [])
    }
    close(try group.open(SupervisedRun(id: 5, arguments: ["x"], memoryBytesMax: 1024, cpuMillicoresMax: 500)))
    #expect(Files.read(child + "/memory.max", limit: 64) == Array("1024".utf8))
    #expect(Files.read(child + "/cpu.max", limit: 64) == Array("50000 100000".utf8))
    #expect(!group.ranOutOfMemory(5))
    try Files.replace(child + "/memory.events", with: Array("low 0\noom 1\noom_kill 1\n".utf8))
    #expect(group.ranOutOfMemory(5))
  }
}
