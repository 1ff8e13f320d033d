internal import CSupervisor
internal import Glibc
internal import Testing

@testable internal import Supervisor

@Suite("Batch step", .serialized, .timeLimit(.minutes(2)))
struct BatchStepTests {
  let fixture: BatchStepFixture
  init() throws { fixture = try BatchStepFixture() }

  @Test("it runs the program, keeps its output, writes the end, and ends as the program did")
  func end() throws {
    try fixture.request(1, "echo out; echo err >&2; exit 3") { $0.capturesStandardOutput = true }
    #expect(try fixture.wait(fixture.start(1)) == 3)
    let end = try #require(fixture.files.readEnd(1))
    #expect(end.reason == .exited && csupervisor_exit_code(end.waitStatus) == 3 && end.logBytes == 8)
    #expect(fixture.text(1, "output.log").split(separator: "\n").sorted() == ["err", "out"])
    #expect(fixture.text(1, "stdout") == "out\n")
    #expect(Set(fixture.files.takeEvents().map(\.event)) == [.started, .ended])
    #expect(fixture.files.takeEvents().isEmpty)
    guard case .step(let place) = fixture.files.readClaim(1) else { return #expect(Bool(false), "no claim") }
    #expect(place.hasSuffix("job 4711"))
  }

  @Test("I1: of steps that race for one run exactly one starts it, and a later one leaves at once")
  func race() throws {
    try fixture.request(2, "echo x >> marker; sleep 0.2")
    let codes = try (0..<8).map { _ in fixture.start(2) }.map { try fixture.wait($0) }
    #expect(codes.sorted() == [0] + Array(repeating: BatchStep.startedBefore, count: 7))
    #expect(try fixture.wait(fixture.start(2)) == BatchStep.startedBefore)
    #expect(fixture.text(2, "marker") == "x\n")
  }

  @Test("I1: a run that the executor claimed never starts, and one that a step claimed cannot be forbidden")
  func forbidden() throws {
    try fixture.request(3, "echo x > marker")
    #expect(try fixture.files.forbid(3))
    #expect(try fixture.files.forbid(3), "asked again, the answer is the same")
    #expect(fixture.files.readClaim(3) == .executor)
    #expect(try fixture.wait(fixture.start(3)) == BatchStep.startedBefore)
    #expect(fixture.text(3, "marker") == "")
    try fixture.request(4, "true")
    #expect(try fixture.wait(fixture.start(4)) == 0)
    #expect(try !fixture.files.forbid(4))
  }

  @Test("a task of an array finds its run in the map")
  func array() throws {
    try fixture.request(5, "exit 5")
    try fixture.request(6, "exit 6")
    let map = fixture.directory + "/map"
    try Files.replace(map, with: Array("\(RunDirectory.hexadecimal(5))\n\(RunDirectory.hexadecimal(6))\n".utf8))
    func start(_ index: String) -> Int32 { fixture.start(["--map", map], ["SLURM_ARRAY_TASK_ID=\(index)"]) }
    #expect(try fixture.wait(start("1")) == 6)
    #expect(try fixture.wait(start("0")) == 5)
    for wrong in ["2", "-1", "x"] { #expect(try fixture.wait(start(wrong)) != 0) }
  }

  @Test("I9: secrets reach the program, and no file outlives its start")
  func secrets() throws {
    try fixture.request(7, "echo $TOKEN; test ! -e secrets")
    try fixture.files.writeSecrets(["TOKEN=s3cr3t"], of: 7)
    #expect(try fixture.wait(fixture.start(7)) == 0)
    #expect(fixture.text(7, "output.log") == "s3cr3t\n")
    for name in Files.names(in: fixture.files.path(7)) where name != "output.log" {
      #expect(!fixture.text(7, name).contains("s3cr3t"), "\(name)")
    }
  }

  @Test("I1: with a disconnect limit the program waits for a change of the lease, and dies without further ones")
  func fence() throws {
    let limitMs: UInt64 = 2000
    try fixture.files.renewLease(1)
    try fixture.request(8, "sleep 300") { $0.disconnectLimitMs = limitMs }
    let step = fixture.start(8)
    try waitUntil("it has claimed the run") { fixture.files.readClaim(8) != nil }
    usleep(500_000)
    #expect(Files.read(fixture.files.path(8) + "/output.log", limit: 1) == nil, "the lease may be old")
    var (count, last): (UInt64, UInt64) = (1, 0)
    func renew() throws {
      count += 1
      last = csupervisor_boottime_ns()
      try fixture.files.renewLease(count)
    }
    try waitUntil("it runs while the lease changes") {
      try renew()
      return Files.read(fixture.files.path(8) + "/output.log", limit: 1) != nil
    }
    let end = csupervisor_boottime_ns() + 2 * limitMs * 1_000_000
    var longestGap: UInt64 = 0
    while csupervisor_boottime_ns() < end {
      usleep(50_000)
      let previous = last
      try renew()
      longestGap = max(longestGap, csupervisor_boottime_ns() - previous)
    }
    // A machine that stood still for most of the limit says nothing here.
    if longestGap < limitMs * 500_000 { #expect(fixture.files.readEnd(8) == nil, "it ended though the lease changed") }
    #expect(try fixture.wait(step) == 137)
    #expect(try #require(fixture.files.readEnd(8)).reason == .fenced)
  }

  @Test(
    "cancel and the batch system's own end are told apart, and the program has its grace",
    arguments: [SIGUSR1, SIGTERM])
  func signals(signal: Int32) throws {
    try fixture.request(9, "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done")
    let step = fixture.start(9)
    try waitUntil("it is up") { fixture.text(9, "output.log").hasPrefix("up") }
    kill(step, signal)
    #expect(try fixture.wait(step) == 9)
    #expect(try #require(fixture.files.readEnd(9)).reason == (signal == SIGUSR1 ? .cancelled : .terminated))
    #expect(fixture.text(9, "output.log").hasSuffix("bye\n"))
  }

  @Test("asked to end while it waits for a lease, it starts nothing")
  func cancelledBeforeStart() throws {
    try fixture.request(10, "echo x > marker") { $0.disconnectLimitMs = 60_000 }
    let step = fixture.start(10)
    try waitUntil("it has claimed the run") { fixture.files.readClaim(10) != nil }
    kill(step, SIGUSR1)
    _ = try fixture.wait(step)
    #expect(try #require(fixture.files.readEnd(10)).reason == .cancelled)
    #expect(fixture.text(10, "marker") == "")
  }

  @Test("I3: a slice ends the program unless the file beside it says that it may go on, which is never taken back")
  func slices() throws {
    try fixture.request(21, "sleep 300") { ($0.sliceMs, $0.walltimeMs) = (700, 300_000) }
    try fixture.request(22, "sleep 300") { ($0.sliceMs, $0.walltimeMs) = (700, 300_000) }
    try fixture.files.raiseSlice(toMs: 700, of: 22)
    let steps = [fixture.start(21), fixture.start(22)]
    try fixture.files.raiseSlice(toMs: 2500, of: 22)
    try fixture.files.raiseSlice(toMs: 900, of: 22)
    #expect(fixture.files.slice(of: 22) == 2500 && fixture.files.slice(of: 21) == nil)
    for step in steps { #expect(try fixture.wait(step) == 143) }
    let ends = try [21, 22].map { try #require(fixture.files.readEnd($0)) }
    #expect(ends.allSatisfy { $0.reason == .slice }, "\(ends)")
    #expect(ends[0].wallMs >= 700 && ends[0].wallMs < 2500 && ends[1].wallMs >= 2500, "\(ends)")
  }

  @Test("walltime ends the program, and what cannot be started is told")
  func limits() throws {
    try fixture.request(11, "sleep 300") { $0.walltimeMs = 200 }
    #expect(try fixture.wait(fixture.start(11)) == 143)
    #expect(try #require(fixture.files.readEnd(11)).reason == .walltime)
    try fixture.request(12, "") { $0.arguments = ["/no/such/program"] }
    #expect(try fixture.wait(fixture.start(12)) == 127)
    #expect(try #require(fixture.files.readEnd(12)).message.contains("/no/such/program"))
    #expect(try fixture.wait(fixture.start(13)) == 66, "there is no request")
  }
}

@Suite("Watched lease")
struct WatchedLeaseTests {
  @Test("what was there at the first look is no lease; a change counts from the look before")
  func change() {
    var lease = WatchedLease(value: [1], now: 100)
    #expect(lease.expiry(limitMs: 1, now: 100) == 0)
    lease.look([1], now: 200)
    #expect(lease.expiry(limitMs: 1, now: 200) == 0)
    lease.look([2], now: 300)
    #expect(lease.expiry(limitMs: 1, now: 300) == 200 + 1_000_000)
    lease.look(nil, now: 400)
    lease.look([2], now: 500)
    #expect(lease.renewedAt == 200)
    lease.look([3], now: 600)
    #expect(lease.renewedAt == 500)
  }

  @Test("a file that appears was perhaps written long ago: only its next change counts")
  func appearance() {
    var lease = WatchedLease(value: nil, now: 100)
    lease.look([1], now: 200)
    #expect(lease.renewedAt == nil)
    lease.look([2], now: 300)
    #expect(lease.renewedAt == 200)
  }

  @Test(
    "I1: however looks and renewals fall, a lease is never counted from later than its true renewal", arguments: 1...100
  )
  func neverLate(seed: UInt64) {
    var state = seed
    func random(_ bound: UInt64) -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) % bound
    }
    var (now, renewedAt): (UInt64, UInt64) = (1000, 500)
    func file() -> [UInt8] { [UInt8(truncatingIfNeeded: renewedAt), UInt8(truncatingIfNeeded: renewedAt >> 8)] }
    var lease = WatchedLease(value: file(), now: now)
    for step in 1...200 {
      now += 1 + random(50)
      let isRenewed = random(3) == 0
      if isRenewed { renewedAt = now }
      now += random(50)
      // A look that fails sees nothing; the next one sees what happened meanwhile.
      lease.look(random(5) == 0 ? nil : file(), now: now)
      if let counted = lease.renewedAt { #expect(counted <= renewedAt, "seed \(seed), step \(step)") }
    }
  }
}
