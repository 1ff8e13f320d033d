internal import CSupervisor
internal import Glibc
internal import Testing

@testable internal import Supervisor

/// The group below which the tests make theirs.
private enum TestGroup {
  static let name = "/fubini-tests-\(getpid())"

  static let isPossible: Bool = {
    guard geteuid() == 0 else { return false }
    defer { remove() }
    return ControlGroupSite.find(.group(name), in: .current()).parents.count == 3
  }()

  static func remove() {
    for directory in Set(ControlGroupSite.find(.group(name), in: .current(), isTrial: true).parents.values) {
      rmdir(directory)
    }
  }
}

/// Limits in the machine's own control groups, below a group that the tests make and take away.
///
/// Needs root and mounted memory, cpu and pids controllers; says that it skipped elsewhere.
@Suite(
  "Control groups", .serialized, .timeLimit(.minutes(3)),
  .enabled("control groups need root and the memory, cpu and pids controllers") { TestGroup.isPossible })
final class ControlGroupTests {
  private let fixture: SupervisorFixture
  private let client: SupervisorClient

  init() throws {
    fixture = try SupervisorFixture(controlGroups: TestGroup.name)
    client = try fixture.client()
  }

  deinit {
    try? fixture.crash()
    // What was cut off in the middle of a test.
    ControlGroups(.group(TestGroup.name), stateDirectory: fixture.directory).recover()
    TestGroup.remove()
  }

  /// The run's directories that are there, in any hierarchy.
  private func directories(_ id: UInt64) -> [String] {
    let name = "fubini-" + RunDirectory.hexadecimal(RunDirectory.checksum(Array(fixture.directory.utf8)[...]))
    let parents = Set(ControlGroupSite.find(.group(TestGroup.name), in: .current(), isTrial: true).parents.values)
    return parents.map { "\($0)/\(name)/run-\(RunDirectory.hexadecimal(id))" }.filter { access($0, F_OK) == 0 }
  }

  private func python(_ id: UInt64, _ program: String, inSandbox: Bool) -> SupervisedRun {
    var run = SupervisedRun(
      id: id, arguments: ["/usr/bin/python3", "-c", program], environment: ["PATH=/usr/bin:/bin"],
      processesMax: 512)
    if inSandbox {
      run.arguments =
        ["bwrap", "--unshare-user", "--unshare-pid", "--new-session", "--die-with-parent", "--sync-fd", "3"]
        + ["--bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--"] + run.arguments
      run.isSandboxed = true
    }
    return run
  }

  private func expectNothingLeft(_ id: UInt64) throws {
    try waitUntil("the groups of run \(id) are gone") { directories(id).isEmpty }
  }

  private func notices() throws -> [String] {
    client.send(.status)
    var reader = WireReader(try #require(client.next()).body[...])
    _ = try (reader.number(UInt32.self), reader.number(UInt32.self))
    return try reader.texts()
  }

  @Test(
    "a run that takes more memory than its limit is killed, and that is told; nothing is left",
    arguments: [false, true])
  func memory(inSandbox: Bool) throws {
    #expect(try notices().isEmpty)
    var run = python(1, "b = bytearray(512 << 20); print(len(b))", inSandbox: inSandbox)
    run.memoryBytesMax = 64 << 20
    #expect(try client.start(run).kind == .accepted)
    let end = try client.waitForEnd(1)
    #expect(end.reason == .exited)
    #expect(end.ranOutOfMemory)
    #expect(end.waitStatus != 0)
    #expect(end.logBytes == 0)
    try expectNothingLeft(1)
  }

  @Test("a run within its limit ends well, and one that is killed by somebody else is not said to lack memory")
  func memoryIsNotGuessed() throws {
    var run = python(1, "b = bytearray(16 << 20)", inSandbox: true)
    run.memoryBytesMax = 256 << 20
    #expect(try client.start(run).kind == .accepted)
    let first = try client.waitForEnd(1)
    #expect(first.waitStatus == 0)
    #expect(!first.ranOutOfMemory)
    run = python(2, "import os; os.kill(os.getpid(), 9)", inSandbox: true)
    run.memoryBytesMax = 256 << 20
    #expect(try client.start(run).kind == .accepted)
    let second = try client.waitForEnd(2)
    #expect(RunEnd.wasKilled(second.waitStatus))
    #expect(!second.ranOutOfMemory)
  }

  @Test("a run that wants a whole core gets its fifth: the kernel counts how often it was throttled")
  func cpu() throws {
    var run = python(1, "while True: pass", inSandbox: true)
    run.cpuMillicoresMax = 200
    #expect(try client.start(run).kind == .accepted)
    try waitUntil("the run is throttled three times") {
      directories(1).contains { directory in
        let bytes = Files.read(directory + "/cpu.stat", limit: 4096) ?? []
        return ControlGroups.counter("nr_throttled", in: bytes) ?? 0 >= 3
      }
    }
    try client.cancel(1, graceMs: 0)
    #expect(try client.waitForEnd(1).reason == .cancelled)
    try expectNothingLeft(1)
  }

  @Test("a fork bomb ends at the limit of processes, with all that it made", arguments: [false, true])
  func processes(inSandbox: Bool) throws {
    let program = """
      import os, time
      made = 0
      try:
        while made < 2000:
          if os.fork() == 0:
            os.setsid(); os.environ.clear(); time.sleep(600)
          made += 1
      except OSError as error:
        print("refused", error.errno, made < 64, flush=True)
      """
    var run = python(1, program, inSandbox: inSandbox)
    run.processesMax = 64
    #expect(try client.start(run).kind == .accepted)
    let end = try client.waitForEnd(1)
    #expect(end.waitStatus == 0)
    #expect(fixture.text(fixture.path(1, "output.log")) == "refused 11 True\n")
    try expectNothingLeft(1)
  }

  @Test("I7: what a supervisor that died left in its groups is found by the next, and nothing else is touched")
  func crash() throws {
    var run = python(1, "import time; time.sleep(600)", inSandbox: false)
    (run.memoryBytesMax, run.cpuMillicoresMax) = (256 << 20, 500)
    #expect(try client.start(run).kind == .accepted)
    #expect(!directories(1).isEmpty)
    let strangers = Set(ControlGroupSite.find(.group(TestGroup.name), in: .current(), isTrial: true).parents.values).map
    {
      $0 + "/fubini-somebody-else"
    }
    for stranger in strangers { #expect(mkdir(stranger, 0o755) == 0) }
    defer { for stranger in strangers { rmdir(stranger) } }
    try fixture.crash()
    #expect(!directories(1).isEmpty)
    try fixture.launch()
    try expectNothingLeft(1)
    #expect(strangers.allSatisfy { access($0, F_OK) == 0 })
    #expect(try fixture.client().waitForEnd(1).reason == .lost)
  }

  @Test("a supervisor that leaves takes its own group away")
  func leaving() throws {
    #expect(try client.start(python(1, "pass", inSandbox: true)).kind == .accepted)
    _ = try client.waitForEnd(1)
    #expect(Supervisor.dismiss(stateDirectory: fixture.directory))
    try waitUntil("the group is gone") { access(fixture.directory + "/control-groups", F_OK) != 0 }
    let name = "fubini-" + RunDirectory.hexadecimal(RunDirectory.checksum(Array(fixture.directory.utf8)[...]))
    for parent in ControlGroupSite.find(.group(TestGroup.name), in: .current(), isTrial: true).parents.values {
      #expect(access("\(parent)/\(name)", F_OK) != 0)
    }
  }
}
