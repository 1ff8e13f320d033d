internal import Glibc
internal import Testing

@testable internal import Supervisor

/// Tasks of a job array that go on with each other's runs.
@Suite("Batch steps that share", .serialized, .timeLimit(.minutes(2)))
struct BatchStepSharingTests {
  let fixture: BatchStepFixture
  let map: String

  init() throws {
    fixture = try BatchStepFixture()
    map = fixture.directory + "/map"
  }

  /// Runs 1 and following, with these scripts.
  private func array(_ scripts: [String], _ change: (inout SupervisedRun) -> Void = { _ in }) throws {
    for (index, script) in scripts.enumerated() { try fixture.request(UInt64(index + 1), script, change) }
    let lines = scripts.indices.map { RunDirectory.hexadecimal(UInt64($0 + 1)) }
    try Files.replace(map, with: Array(lines.joined(separator: "\n").utf8))
  }

  private func start(_ index: Int, share: Int) -> Int32 {
    fixture.start(
      ["--map", map, "--share", "\(share)"], ["SLURM_ARRAY_JOB_ID=1230", "SLURM_ARRAY_TASK_ID=\(index)"])
  }

  private func place(_ id: UInt64) -> String? {
    if case .step(let place) = fixture.files.readClaim(id) { place } else { nil }
  }

  @Test("a task goes on with every run of its chain, each with files of its own, and says where it runs (I1)")
  func chain() throws {
    try array((1...8).map { "echo \($0)" }) { $0.capturesStandardOutput = true }
    try fixture.files.writeSecrets(["TOKEN=s3cr3t"], of: 5)
    #expect(try fixture.wait(start(1, share: 3)) == 0)
    for id in [2, 5, 8] as [UInt64] {
      #expect(fixture.files.readEnd(id)?.reason == .exited)
      #expect(fixture.text(id, "output.log") == "\(id)\n" && fixture.text(id, "stdout") == "\(id)\n")
      #expect(place(id)?.hasSuffix(" job 1230_1") == true)
    }
    #expect(Files.read(fixture.files.path(5) + "/secrets", limit: 1) == nil, "I9")
    for id in [1, 3, 4, 6, 7] as [UInt64] { #expect(fixture.files.readClaim(id) == nil) }
    let events = fixture.files.takeEvents()
    for id in [2, 5, 8] as [UInt64] { #expect(events.count { $0.id == id } == 2) }
  }

  @Test("what another has claimed, was given up or is gone is passed over (I1)")
  func taken() throws {
    try array((1...6).map { "echo \($0) >> marker" })
    #expect(try fixture.wait(fixture.start(2)) == 0)
    #expect(try fixture.files.forbid(3))
    unlink(fixture.files.path(5) + "/request")
    #expect(try fixture.wait(start(0, share: 1)) == 0)
    #expect((1...6).map { fixture.text($0, "marker") } == ["1\n", "2\n", "", "4\n", "", "6\n"])
    #expect(fixture.files.readClaim(3) == .executor)
  }

  @Test("tasks that race for the same runs start each of them once (I1)")
  func race() throws {
    try array((1...40).map { _ in "echo x >> marker" })
    let codes = try (0..<8).map { start($0, share: 1) }.map { try fixture.wait($0) }
    #expect(codes == Array(repeating: 0, count: 8))
    for id in 1...40 as ClosedRange<UInt64> { #expect(fixture.text(id, "marker") == "x\n", "run \(id)") }
  }

  @Test("a task whose own run was taken leaves, so that it may be cancelled at any time")
  func superfluous() throws {
    try array(["true", "true", "true"])
    #expect(try fixture.wait(fixture.start(1)) == 0)
    #expect(try fixture.wait(start(0, share: 1)) == 0)
    #expect(fixture.files.readClaim(2) == nil && fixture.files.readClaim(3) == nil)
  }

  @Test(
    "after a run that failed, or could not start, a task takes no more", arguments: ["exit 3", "kill -KILL $$", nil])
  func failure(script: String?) throws {
    try array([script ?? "", "true"])
    if script == nil { try fixture.request(1, "") { $0.arguments = ["/no/such/program"] } }
    #expect(try fixture.wait(start(0, share: 1)) != 0)
    #expect(fixture.files.readEnd(1) != nil && fixture.files.readClaim(2) == nil)
  }

  @Test("the executor's signal ends only the run that is meant, and the batch system's ends the task")
  func signals() throws {
    let loop = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    try array(["true", loop, "true"])
    let step = start(0, share: 1)
    try waitUntil("the second is up") { fixture.text(2, "output.log").hasPrefix("up") }
    // Meant for the first, which has ended meanwhile.
    fixture.files.askToEnd(1)
    kill(step, SIGUSR1)
    usleep(300_000)
    #expect(fixture.files.readEnd(2) == nil && fixture.text(2, "output.log") == "up\n")
    fixture.files.askToEnd(2)
    kill(step, SIGUSR1)
    #expect(try fixture.wait(step) == 9)
    #expect(fixture.files.readEnd(2)?.reason == .cancelled && fixture.files.readClaim(3) == nil)
    try array([loop, "true"].map { "exec 2>&1; " + $0 })
    for id in [1, 2] as [UInt64] {
      for name in ["started", "exit", "output.log", "cancel"] { unlink(fixture.files.path(id) + "/" + name) }
    }
    let other = start(0, share: 1)
    try waitUntil("it is up") { fixture.text(1, "output.log").hasPrefix("up") }
    kill(other, SIGTERM)
    #expect(try fixture.wait(other) == 9)
    #expect(fixture.files.readEnd(1)?.reason == .terminated && fixture.files.readClaim(2) == nil)
  }

  @Test("each run of a task has the fence of its own disconnect limit (I1)")
  func fence() throws {
    try array(["true", "sleep 300", "true"]) { $0.disconnectLimitMs = 2000 }
    try fixture.files.renewLease(1)
    let step = start(0, share: 1)
    var count: UInt64 = 1
    try waitUntil("the second runs while the lease changes") {
      count += 1
      try fixture.files.renewLease(count)
      return Files.read(fixture.files.path(2) + "/output.log", limit: 1) != nil
    }
    // The lease changes no more.
    #expect(try fixture.wait(step) == 137)
    #expect(fixture.files.readEnd(1)?.reason == .exited && fixture.files.readEnd(2)?.reason == .fenced)
    #expect(fixture.files.readClaim(3) == nil)
  }

  @Test(
    "words that are no batch step's are refused",
    arguments: [
      ["--share", "2"], ["--map", "/m", "--share", "0"], ["--run", "1", "--map", "/m"], ["--map"], ["--x", "y"],
    ])
  func usage(words: [String]) throws {
    try array(["true"])
    let code = try fixture.wait(fixture.start(words.map { $0 == "/m" ? map : $0 }, ["SLURM_ARRAY_TASK_ID=0"]))
    #expect(code == 2)
    #expect(fixture.files.readClaim(1) == nil)
  }
}
