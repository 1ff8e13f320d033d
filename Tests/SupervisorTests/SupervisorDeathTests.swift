internal import CSupervisor
internal import Glibc
internal import Testing

@testable internal import Supervisor

/// What becomes of runs when their supervisor is killed.
@Suite("Supervisor death", .serialized, .timeLimit(.minutes(4)))
struct SupervisorDeathTests {
  /// A run that leaves processes in other sessions behind it, and lets go of the lock where nothing prevents it.
  private func stubborn(_ id: UInt64, mark: String, sandboxed: Bool, staged: Bool) -> SupervisedRun {
    let script = "exec 3>&-; trap '' TERM HUP; setsid sleep 300 & setsid sh -c 'sleep 300; :' & sleep 300; :"
    var run = SupervisedRun(
      id: id, arguments: ["/bin/sh", "-c", script], environment: ["PATH=/usr/bin:/bin", mark], isSandboxed: sandboxed)
    if sandboxed {
      run.arguments =
        ["bwrap", "--unshare-user", "--unshare-pid", "--new-session", "--die-with-parent", "--sync-fd", "3"]
        + ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--"] + run.arguments
    }
    if staged {
      run.mounts = ["/usr", "/etc", "/bin", "/lib", "/var"]
      (run.user, run.group) = (SupervisorFixture.nobody, SupervisorFixture.nobody)
    }
    return run
  }

  struct Case: CustomStringConvertible {
    var mode: SupervisorFixture.Mode
    var sandboxed: Bool
    var seed: UInt64
    var description: String { "\(mode.rawValue), \(sandboxed ? "" : "not ")sandboxed, seed \(seed)" }
  }
  private static let cases: [Case] =
    [.init(mode: .enclosed, sandboxed: true, seed: 1), .init(mode: .enclosed, sandboxed: false, seed: 2)]
    + (SupervisorFixture.canActAsNobody ? [.init(mode: .unprivileged, sandboxed: true, seed: 3)] : [])

  @Test(
    "I1: kill -9 of the supervisor at any moment leaves no process of a run, and each is told lost once",
    arguments: cases)
  func killedAtRandomMoments(_ test: Case) throws {
    var random = SplitMix(state: test.seed)
    let mark = "FUBINI_TEST=\(getpid())-\(csupervisor_boottime_ns())"
    let fixture = try SupervisorFixture(test.mode)
    var told: [UInt64: RunEnd] = [:]
    var id: UInt64 = 0
    for round in 0..<20 {
      let client = try fixture.client()
      if round == 0 { #expect(try client.isEnclosed()) }
      let first = id + 1
      for _ in 0..<4 {
        id += 1
        var writer = WireWriter()
        stubborn(id, mark: mark, sandboxed: test.sandboxed, staged: test.sandboxed && test.mode == .enclosed)
          .encode(into: &writer)
        client.send(.start, writer.bytes)
      }
      usleep(UInt32(random.next() % 25_000))
      try fixture.crash()
      // At once: the kernel does not show the death before the work is done.
      let survivors = ProcessTable.own.members(session: 0, mark: mark)
      #expect(survivors.isEmpty, "\(test), round \(round)")
      // Sometimes the next one dies while it looks at what the one before has left.
      if random.next() % 3 == 0 {
        try fixture.launchWithoutWaiting()
        usleep(UInt32(random.next() % 4_000))
        try fixture.crash()
      }
      try fixture.launch()
      let now = try settled(fixture)
      for (id, end) in told { #expect(now[id] == end, "\(test): run \(id) was told twice, and differently") }
      for id in first...id {
        let wasStarted = Files.read(fixture.path(id, "started"), limit: 1) != nil
        #expect((now[id] != nil) == wasStarted, "\(test): run \(id)")
        #expect(now[id].map { $0.reason == .lost } ?? true, "\(test): run \(id): \(String(describing: now[id]))")
      }
      told = now
    }
    #expect(told.count > 10, "\(test): hardly anything was started")
  }

  /// All ends, once nothing is left that is said to live.
  private func settled(_ fixture: SupervisorFixture) throws -> [UInt64: RunEnd] {
    let client = try fixture.client()
    var ended: [UInt64: RunEnd] = [:]
    try waitUntil("every run is proven dead") {
      let list = try client.list()
      ended = list.ended
      return list.live.isEmpty
    }
    return ended
  }

  @Test(
    "I1: a supervisor that is no first process says so, and its successor waits for proof", arguments: [false, true])
  func plain(sandboxed: Bool) throws {
    let fixture = try SupervisorFixture(.plain)
    let client = try fixture.client()
    #expect(try !client.isEnclosed())
    let mark = "FUBINI_TEST=\(getpid())-\(csupervisor_boottime_ns())"
    _ = try client.start(stubborn(1, mark: mark, sandboxed: sandboxed, staged: false))
    try waitUntil("it runs") { ProcessTable.own.members(session: 0, mark: mark).count >= 3 }
    try fixture.crash()
    try fixture.launch()
    #expect(try fixture.client().waitForEnd(1).reason == .lost)
    #expect(ProcessTable.own.members(session: 0, mark: mark).isEmpty)
  }

  @Test("orphans are reaped: the first process of a namespace inherits them all")
  func orphans() throws {
    let fixture = try SupervisorFixture()
    let client = try fixture.client()
    for id in 1...5 as ClosedRange<UInt64> {
      _ = try client.start(
        SupervisedRun(
          id: id, arguments: ["/bin/sh", "-c", "for i in 1 2 3 4 5; do setsid sh -c : & done"],
          environment: ["PATH=/usr/bin:/bin"]))
    }
    for id in 1...5 as ClosedRange<UInt64> { _ = try client.waitForEnd(id) }
    try waitUntil("no child is left") { ProcessTable.own.children(of: fixture.pid).isEmpty }
  }

  @Test("SIGTERM from outside makes it leave when nothing runs, and not before")
  func terminated() throws {
    let fixture = try SupervisorFixture()
    let client = try fixture.client()
    _ = try client.start(SupervisedRun(id: 1, arguments: ["/bin/sleep", "300"]))
    fixture.send(SIGTERM)
    var refused = SupervisedRun(id: 2, arguments: ["/bin/true"])
    try waitUntil("it refuses new runs") {
      refused.id += 1
      return try client.start(refused).kind == .refused
    }
    // The last one that was taken may still be ending.
    try waitUntil("the run goes on, and the others have ended") { try client.list().live == [1] }
    try client.cancel(1, graceMs: 0)
    try waitUntil("it is gone") { ProcessTable.own.entry(fixture.pid).map(\.isZombie) ?? true }
    #expect(access(Supervisor.socketPath(in: fixture.directory), F_OK) != 0)
  }
}

/// - Source: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators (2014).
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
