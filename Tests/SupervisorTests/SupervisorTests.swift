internal import CSupervisor
internal import Glibc
internal import Testing

@testable internal import Supervisor

@Suite("Supervisor", .serialized, .timeLimit(.minutes(2)))
struct SupervisorTests {
  let fixture: SupervisorFixture
  let client: SupervisorClient

  init() throws {
    fixture = try SupervisorFixture()
    client = try fixture.client()
  }

  private func shell(_ id: UInt64, _ script: String) -> SupervisedRun {
    SupervisedRun(id: id, arguments: ["/bin/sh", "-c", script], environment: ["PATH=/usr/bin:/bin"])
  }

  private func sandboxed(_ id: UInt64, _ script: String) -> SupervisedRun {
    var run = shell(id, script)
    run.arguments =
      ["bwrap", "--unshare-user", "--unshare-pid", "--new-session", "--die-with-parent", "--sync-fd", "3"]
      + ["--bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--"] + run.arguments
    run.isSandboxed = true
    return run
  }

  /// Writes a lease of now, and returns the moment that it names.
  @discardableResult
  private func renewLease() throws -> UInt64 {
    let now = csupervisor_boottime_ns()
    try Lease(startNanoseconds: now).write(in: fixture.directory)
    return now
  }

  @Test("I1: a run that is started twice runs once, also across a restart of the supervisor")
  func startsOnce() throws {
    let marker = fixture.directory + "/marker"
    let run = shell(1, "echo x >> \(marker)")
    #expect(try client.start(run).body == [0])
    #expect(try client.start(run).body == [1])
    #expect(try client.waitForEnd(1).reason == .exited)
    #expect(try client.start(run).body == [1])
    try fixture.crash()
    try fixture.launch()
    let second = try fixture.client()
    #expect(try second.start(run).body == [1])
    #expect(try second.list().ended[1]?.waitStatus == 0)
    #expect(fixture.text(marker) == "x\n")
  }

  @Test("I1: of clients that race for one run, exactly one starts it")
  func racingClients() async throws {
    let marker = fixture.directory + "/marker"
    let run = shell(2, "echo x >> \(marker)")
    let directory = fixture.directory
    let answers = try await withThrowingTaskGroup(of: [UInt8].self) { group in
      for _ in 0..<8 { group.addTask { try SupervisorClient(directory).start(run).body } }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(answers.filter { $0 == [0] }.count == 1)
    #expect(answers.filter { $0 == [1] }.count == 7)
    _ = try client.waitForEnd(2)
    #expect(fixture.text(marker) == "x\n")
  }

  @Test("I1: the fence ends a run when the agent's lease is not renewed, and not before", arguments: [false, true])
  func fence(inSandbox: Bool) throws {
    let limitMs: UInt64 = 1500
    for attempt in 1...10 {
      try renewLease()
      var run = inSandbox ? sandboxed(0, "sleep 300") : shell(0, "sleep 300")
      (run.id, run.disconnectLimitMs) = (UInt64(attempt), limitMs)
      guard try client.start(run).kind == .accepted else { continue }
      let begin = csupervisor_boottime_ns()
      var (last, longestGap) = (begin, UInt64(0))
      while last < begin + 2 * limitMs * 1_000_000 {
        usleep(20_000)
        let renewed = try renewLease()
        // The gap ends when the new lease can be read, not at the moment that it names.
        (longestGap, last) = (max(longestGap, csupervisor_boottime_ns() - last), renewed)
      }
      let lives = try client.list().live.contains(run.id)
      longestGap = max(longestGap, csupervisor_boottime_ns() - last)
      // On a machine that stood still for so long the fence was right to end it; that says nothing here.
      if longestGap > limitMs * 1_000_000 / 2 { continue }
      #expect(lives, "ended although the lease was renewed")
      let end = try client.waitForEnd(run.id)
      let elapsedMs = (csupervisor_boottime_ns() - last) / 1_000_000
      #expect(end.reason == .fenced)
      #expect(elapsedMs >= limitMs, "ended \(elapsedMs) ms after the last lease")
      return
    }
    Issue.record("the machine is too busy to renew a lease")
  }

  @Test(
    "I1: a run with a disconnect limit does not start on an old, a future or no lease",
    arguments: [0, 1, UInt64.max / 2])
  func fencedAtStart(lease: UInt64) throws {
    if lease > 0 { try Lease(startNanoseconds: lease).write(in: fixture.directory) }
    var run = shell(4, "true")
    run.disconnectLimitMs = 100
    let answer = try client.start(run)
    #expect(answer.kind == .refused)
    #expect(answer.body.first == RefusalCode.fenced.rawValue)
    #expect(Files.read(fixture.path(4, "started"), limit: 1) == nil)
  }

  @Test("I1: a supervisor that was stopped past the limit fences before it obeys")
  func stoppedSupervisor() throws {
    try renewLease()
    var run = shell(5, "sleep 300")
    run.disconnectLimitMs = 3000
    #expect(try client.start(run).kind == .accepted)
    fixture.send(SIGSTOP)
    run.id = 6
    var writer = WireWriter()
    run.encode(into: &writer)
    client.send(.start, writer.bytes)
    usleep(3_100_000)
    fixture.send(SIGCONT)
    #expect(try #require(client.next()).kind == SupervisorReply.refused.rawValue)
    #expect(try client.waitForEnd(5).reason == .fenced)
  }

  @Test("I1: a run dies with its supervisor and is told lost once, with proof", arguments: [false, true])
  func lost(inSandbox: Bool) throws {
    let heart = fixture.directory + "/heart"
    let script = "(while :; do date +%s%N > \(heart); sleep 0.02; done) & wait"
    _ = try client.start(inSandbox ? sandboxed(7, script) : shell(7, script))
    try waitUntil("it beats") { !fixture.text(heart).isEmpty }
    try fixture.crash()
    try fixture.launch()
    let second = try fixture.client()
    let end = try second.waitForEnd(7)
    #expect(end.reason == .lost)
    let last = fixture.text(heart)
    usleep(200_000)
    #expect(fixture.text(heart) == last, "something of it still lives")
    #expect(try second.list().live.isEmpty)
  }

  @Test(
    "exit statuses are exact",
    arguments: [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)])
  func exitStatus(script: String, expected: Int32) throws {
    _ = try client.start(shell(8, script))
    let status = try client.waitForEnd(8).waitStatus
    let code = csupervisor_exited(status) != 0 ? csupervisor_exit_code(status) : 128 + csupervisor_signal(status)
    #expect(code == expected)
  }

  @Test("output is kept in order, beyond the limit dropped, counted and marked, and never blocks the program")
  func outputLimit() throws {
    var run = shell(9, "echo out; echo err >&2; echo out2; head -c 3000000 /dev/zero; exit 4")
    run.logBytesMax = 1000
    _ = try client.start(run)
    let end = try client.waitForEnd(9)
    #expect(csupervisor_exit_code(end.waitStatus) == 4)
    #expect(end.discardedBytes == 3_000_013 - 1000)
    let log = fixture.text(fixture.path(9, "output.log"))
    #expect(log.hasPrefix("out\nerr\nout2\n\0\0"))
    #expect(log.contains("2999013 bytes of output beyond the limit were dropped"))
    #expect(log.utf8.count == Int(end.logBytes))
  }

  @Test(
    "the last 256 KiB of standard output, and one byte for a newline, are kept apart, byte for byte, without standard error"
  )
  func capture() throws {
    var run = shell(10, "head -c 600000 /dev/zero; echo no >&2; printf '\\377\\376end'")
    run.capturesStandardOutput = true
    _ = try client.start(run)
    _ = try client.waitForEnd(10)
    let bytes = try #require(Files.read(fixture.path(10, "stdout"), limit: 1 << 20))
    #expect(bytes.count == (256 << 10) + 1)
    #expect(bytes.suffix(5) == [0xff, 0xfe, 0x65, 0x6e, 0x64])
  }

  @Test("cancel asks with SIGTERM, waits for the grace, then kills everything", arguments: [false, true])
  func cancel(inSandbox: Bool) throws {
    let polite = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    let deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    _ = try client.start(inSandbox ? sandboxed(11, polite) : shell(11, polite))
    _ = try client.start(inSandbox ? sandboxed(12, deaf) : shell(12, deaf))
    for id: UInt64 in [11, 12] {
      try waitUntil("\(id) is up") { fixture.text(fixture.path(id, "output.log")).hasPrefix("up") }
    }
    try client.cancel(11, graceMs: 10_000)
    try client.cancel(12, graceMs: 200)
    let end = try client.waitForEnd(11)
    #expect(end.reason == .cancelled)
    #expect(csupervisor_exit_code(end.waitStatus) == 9)
    // Between the two the shell may say that its child was terminated as well.
    let log = fixture.text(fixture.path(11, "output.log"))
    #expect(log.hasPrefix("up\n") && log.hasSuffix("bye\n"), "\(log)")
    #expect(try client.waitForEnd(12).reason == .cancelled)
  }

  @Test("what an author names is the program's environment, and not that of the sandbox's own program")
  func environmentOfSandbox() throws {
    var run = sandboxed(61, "printf '<%s|%s|%s>' \"$NOTE\" \"$PATH\" \"${EMPTY-unset}\"")
    // The dynamic linker says of each program that obeys such a variable that it does: `LD_PRELOAD` is one of the same kind.
    run.environment = ["PATH=/usr/bin:/bin", "NOTE=it's\ntwo lines", "EMPTY=", "LD_DEBUG=files"]
    #expect(try client.start(run).body == [0])
    #expect(try client.waitForEnd(61).reason == .exited)
    let log = fixture.text(fixture.path(61, "output.log"))
    #expect(log.contains("<it's\ntwo lines|/usr/bin:/bin|>"), "\(log.suffix(400))")
    #expect(log.contains("initialize program: /bin/sh"))
    #expect(!log.contains("initialize program: bwrap"))
  }

  @Test("walltime and active deadline end a run beside it")
  func limits() throws {
    var run = shell(13, "sleep 300")
    run.walltimeMs = 150
    _ = try client.start(run)
    run.id = 14
    (run.walltimeMs, run.activeDeadlineMs) = (0, 150)
    _ = try client.start(run)
    #expect(try client.waitForEnd(13).reason == .walltime)
    #expect(try client.waitForEnd(14).reason == .activeDeadline)
  }

  @Test("I3: a run is ended where its slice is, and goes on where it was extended; an end only moves later")
  func slices() throws {
    var run = shell(31, "sleep 300")
    (run.sliceMs, run.walltimeMs) = (1500, 300_000)
    _ = try client.start(run)
    run.id = 32
    _ = try client.start(run)
    // Its own end comes first.
    (run.id, run.walltimeMs) = (33, 500)
    _ = try client.start(run)
    run = shell(34, "sleep 300")
    _ = try client.start(run)
    try client.extend(32, toMs: 3500)
    try client.extend(32, toMs: 100)
    try client.extend(34, toMs: 100)
    try client.extend(99, toMs: 100)
    let written = try #require(Files.read(fixture.path(32, "spec"), limit: 1 << 16))
    var reader = WireReader(written[...])
    #expect(try SupervisedRun(from: &reader).sliceMs == 3500, "for people")
    let first = try client.waitForEnd(31)
    #expect(first.reason == .slice && first.wallMs >= 1500 && first.wallMs < 3500, "\(first)")
    #expect(try client.list().live.isSuperset(of: [32, 34]), "one has more, one has no such end")
    let second = try client.waitForEnd(32)
    #expect(second.reason == .slice && second.wallMs >= 3500, "\(second)")
    #expect(try client.waitForEnd(33).reason == .walltime)
    #expect(try client.list().live == [34])
    try client.cancel(34, graceMs: 0)
  }

  @Test("without a sandbox, what a run leaves in the background ends with it, in another session too")
  func leftovers() throws {
    let heart = fixture.directory + "/heart"
    let loop = "while :; do date +%s%N > \(heart); sleep 0.02; done"
    _ = try client.start(shell(15, "setsid sh -c '\(loop)' & until test -s \(heart); do sleep 0.01; done; exit 0"))
    #expect(try client.waitForEnd(15).reason == .exited)
    let last = fixture.text(heart)
    usleep(200_000)
    #expect(fixture.text(heart) == last)
  }

  @Test(
    "files that cannot be bound, or a program that does not exist behind them, end the run with the reason",
    .enabled(if: geteuid() == 0))
  func mountsFail() throws {
    _ = try client.start(
      SupervisedRun(id: 20, arguments: ["/bin/true"], mounts: ["/no/such/directory"], isSandboxed: true))
    var end = try client.waitForEnd(20)
    #expect(end.reason == .notStarted && end.message.contains("cannot bind the run's files: No such file"), "\(end)")
    _ = try client.start(
      SupervisedRun(id: 21, arguments: ["/no/such/program"], mounts: [fixture.directory], isSandboxed: true))
    end = try client.waitForEnd(21)
    #expect(end.reason == .notStarted && end.message.contains("cannot execute /no/such/program"), "\(end)")
    _ = try client.start(
      SupervisedRun(
        id: 22, arguments: ["bwrap", "--dev-bind", "/", "/", "/bin/sh", "-c", "exit 3"], mounts: [fixture.directory],
        isSandboxed: true))
    end = try client.waitForEnd(22)
    #expect(end.reason == .exited && end.waitStatus == 3 << 8, "\(end)")
  }

  @Test("a program that does not exist ends the run with the reason")
  func missingProgram() throws {
    _ = try client.start(SupervisedRun(id: 16, arguments: ["/no/such/program"]))
    let end = try client.waitForEnd(16)
    #expect(end.reason == .notStarted)
    #expect(end.message.contains("/no/such/program") && end.message.contains("No such file"))
  }

  @Test("a run may not be forgotten while it lives")
  func forget() throws {
    _ = try client.start(shell(17, "sleep 300"))
    var writer = WireWriter()
    writer.put(UInt64(17))
    client.send(.forget, writer.bytes)
    #expect(try #require(client.next()).kind == SupervisorReply.refused.rawValue)
    try client.cancel(17, graceMs: 0)
    _ = try client.waitForEnd(17)
    client.send(.forget, writer.bytes)
    #expect(try #require(client.next()).kind == SupervisorReply.done.rawValue)
    #expect(try client.list().ended[17] == nil)
  }

  @Test("one supervisor per directory, and its socket is for its owner alone")
  func exclusive() throws {
    #expect(Supervisor.main(["--state-dir", fixture.directory]) == 75)
    var status = stat()
    #expect(stat(Supervisor.socketPath(in: fixture.directory), &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(stat(fixture.directory, &status) == 0 && status.st_mode & 0o777 == 0o700)
  }

  @Test("noise on the socket ends that connection and nothing else", arguments: [1, 2, 3, 4, 5] as [UInt64])
  func noise(seed: UInt64) throws {
    var state = seed &* 0x9e37_79b9_7f4a_7c15
    func byte() -> UInt8 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 33)
    }
    for _ in 0..<50 {
      let bad = try fixture.client()
      // Half of it well framed, so that bodies are reached too; but 8 would make it leave.
      let kind = byte() % 10
      let body = (0..<Int(byte())).map { _ in byte() }
      bad.sendRaw(byte() < 128 ? body : SupervisorProtocol.frame(kind == 8 ? 9 : kind, tag: 3, body))
    }
    #expect(try fixture.client().supervisorPID == fixture.pid, "seed \(seed)")
    #expect(try client.start(shell(18, "true")).kind == .accepted, "seed \(seed)")
  }

  @Test("idle, it holds few MiB and uses no processor time")
  func idle() throws {
    func processorTicks() -> String {
      let stat = fixture.text("/proc/\(fixture.pid)/stat").split(separator: " ")
      return stat.count > 14 ? "\(stat[13]) \(stat[14])" : "gone"
    }
    // What it did at its start may still be counted in the first second.
    let isIdle = (1...10).contains { _ in
      let before = processorTicks()
      usleep(1_000_000)
      return processorTicks() == before
    }
    #expect(isIdle)
    let line = fixture.text("/proc/\(fixture.pid)/status").split(separator: "\n").first { $0.hasPrefix("VmRSS") }
    let kibibytes = try #require(line?.split(separator: " ").dropFirst().first.flatMap { Int($0) })
    print("supervisor RSS idle: \(kibibytes) KiB")
    #expect(kibibytes < 16 << 10)
  }
}
