internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import Supervisor
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// What goes wrong on a real cluster.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SlurmFaultTests {
  @Test("A controller that loses acknowledged jobs: what waits is lost with proof, what runs ends as it ends (I1, I2)")
  func lostJobs() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.cluster.killController()
      try fixture.cluster.rememberState()
      try await fixture.cluster.restartController()
      try await fixture.submit(1, SlurmExecutorFixture.wait("exit 6"))
      try await fixture.running(1)
      for node in 1...2 { try await fixture.cluster.drain(node: node) }
      try await fixture.submit(2, "echo ran")
      _ = try await fixture.observation(of: 2, "reason") { $0.message.contains("Slurm: ") }
      try await fixture.cluster.killController()
      try fixture.cluster.loseState()
      try await fixture.cluster.restartController()
      // The next job of somebody else gets an id that was ours.
      let foreign = try await fixture.cluster.command(
        "sbatch", ["--parsable", "--job-name=foreign", "--wrap", "sleep 600"])
      let lost = try await fixture.end(of: 2)
      #expect(lost.phase == .lost && lost.message.contains("it will never start"))
      #expect(fixture.files.readClaim(2) == .executor)
      try fixture.go(1)
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .failed && end.exitCode == 6)
      // I7: neither cancelling nor forgetting touches what carries no mark of ours.
      for id in [1, 2] as [Int64] { try await fixture.executor.cancel(RunID(id), grace: .zero) }
      try await fixture.executor.forget([RunID(1), RunID(2)])
      let state = try await fixture.cluster.command(
        "squeue", ["--noheader", "--states=all", "--format=%T", "--jobs=\(foreign.prefix { $0.isNumber })"])
      #expect(!state.contains("CANCELLED"))
    }
  }

  @Test("A job that is cancelled behind our back says so, whether it waits or runs (I10)")
  func cancelledInSlurm() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.submit(1, "echo up; sleep 600")
      try await fixture.eventually("its log") { fixture.log(of: 1) == "up\n" }
      try await fixture.cluster.cancel(job: try await fixture.job(of: 1))
      let running = try await fixture.end(of: 1)
      #expect(running.phase == .cancelled && running.message.hasPrefix("cancelled in Slurm, not by the federation"))
      for node in 1...2 { try await fixture.cluster.drain(node: node) }
      try await fixture.submit(2, "true")
      try await fixture.cluster.cancel(job: try await fixture.job(of: 2))
      let waiting = try await fixture.end(of: 2)
      #expect(waiting.phase == .cancelled && waiting.message == "cancelled in Slurm before it started")
    }
  }

  @Test("A job that an administrator requeues is lost, and does not run again (I1)")
  func requeued() async throws {
    try await SlurmExecutorFixture.with {
      $0.requeueDelaySeconds = 5
    } _: { fixture in
      try await fixture.submit(1, "echo up; sleep 600")
      try await fixture.eventually("its log") { fixture.log(of: 1) == "up\n" }
      let job = try await fixture.job(of: 1)
      try await fixture.cluster.command("scontrol", ["update", "JobId=\(job)", "Requeue=1"])
      try await fixture.cluster.requeue(job: job)
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .lost && end.message.contains("requeued"))
      try await fixture.eventually("Slurm has done with it", seconds: 240) {
        try await !fixture.jobs().contains {
          $0.contains("PENDING") || $0.contains("RUNNING") || $0.contains("COMPLETING")
        }
      }
      #expect(fixture.log(of: 1).split(separator: "\n").count { $0 == "up" } == 1)
    }
  }

  @Test(
    "Without munge nothing is submitted and the reason is told; with it the same submission goes through, once (I1)")
  func mungeDown() async throws {
    // Slurm's commands themselves try for fifty seconds, and no setting of theirs shortens that.
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.cluster.killMunge()
      let run = SlurmExecutorFixture.request(1, "echo ran")
      _ = try await fixture.executor.prepare(run)
      let error = await #expect(throws: FederationError.self) { try await fixture.executor.submit(run) }
      #expect(error?.isRetryable == true)
      #expect(await fixture.executor.inventory().notices.contains { $0.contains("Slurm does not answer") })
      try await fixture.cluster.restartMunge()
      try await fixture.eventually("the submission") { (try? await fixture.executor.submit(run)) != nil }
      #expect(try await fixture.end(of: 1).phase == .succeeded)
      #expect(fixture.log(of: 1) == "ran\n")
      #expect(try await fixture.jobs().count == 1)
    }
  }

  @Test(
    "A controller that hangs: nothing more is sent, an agent that starts meanwhile does not wait, and what nobody answered runs once (I1, I2)"
  )
  func hangingController() async throws {
    try await SlurmExecutorFixture.with { fixture in
      #expect(await fixture.executor.inventory().closed == nil)
      try await fixture.submit(1, SlurmExecutorFixture.wait("echo ran"))
      try await fixture.running(1)
      try fixture.cluster.freezeController()
      defer { try? fixture.cluster.thawController() }
      // Nobody knows whether this one came through.
      let second = SlurmExecutorFixture.request(2, "echo once")
      await #expect(throws: FederationError.self) { try await fixture.submit([second]) }
      try await fixture.eventually("it is closed") { await fixture.executor.inventory().closed != nil }
      let began = ContinuousClock.now
      let known = try await fixture.restart(known: [1, 2])
      #expect(ContinuousClock.now - began < .seconds(20), "the start waited for Slurm")
      #expect(known.map(\.phase) == [.running, .bound])
      #expect(await fixture.executor.inventory().closed?.hasPrefix("Slurm has not answered") == true)
      try fixture.cluster.thawController()
      try await fixture.eventually("it is open again") { await fixture.executor.inventory().closed == nil }
      try await fixture.eventually("the submission") { (try? await fixture.executor.submit(second)) != nil }
      #expect(try await fixture.end(of: 2).phase == .succeeded)
      try fixture.go(1)
      #expect(try await fixture.end(of: 1).phase == .succeeded)
      #expect(fixture.log(of: 2) == "once\n")
    }
  }

  @Test(
    "What an operator should know before: commands that are missing, partitions that are not there, a Slurm that is well"
  )
  func preflight() async throws {
    try await SlurmExecutorFixture.with { fixture in
      var configuration = SlurmExecutorConfiguration(
        sharedDirectory: fixture.shared, agentBinary: SlurmExecutorFixture.agent, federationID: "", cluster: "",
        slurmConfiguration: fixture.cluster.configurationFile)
      func failures() async -> [String] {
        await SlurmPreflight.findings(configuration).filter(\.isFailure).map(\.text)
      }
      #expect(await failures().isEmpty)
      configuration.partitions = ["nosuch"]
      #expect(await failures().first?.contains("no partition nosuch") == true)
      configuration.partitions = []
      configuration.defaults = [SiteDefault(condition: .init(gpus: true), partition: "gpus")]
      #expect(await failures().first?.contains("no partition gpus") == true)
      configuration.defaults = []
      configuration.programs.squeue = "/nonexistent/squeue"
      #expect(await failures().first?.contains("squeue") == true)
      configuration.programs = .init()
      configuration.scriptTemplate = "echo"
      #expect(await failures().count == 1)
      configuration.scriptTemplate = nil
      configuration.agentBinary = "/nonexistent/agent"
      #expect(await failures().first?.contains("/nonexistent/agent") == true)
    }
  }

  @Test("An answer of sbatch that is lost makes no second job (I1)")
  func lostAnswer() async throws {
    let directory = try ScratchDirectory()
    try directory.write(
      "sbatch",
      "#!/bin/sh\nsbatch \"$@\" >/dev/null || exit\necho 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2\nexit 1\n",
      mode: 0o755)
    let program = directory.path + "/sbatch"
    try await SlurmExecutorFixture.with { _ in
    } configure: {
      $0.programs.sbatch = program
    } _: { fixture in
      for node in 1...2 { try await fixture.cluster.drain(node: node) }
      let runs = (1...3).map { SlurmExecutorFixture.request($0, "echo ran") }
      let alone = SlurmExecutorFixture.request(4, "echo ran") { $0.spec.resources.cpuMillicores = 2000 }
      for batch in [runs, [alone]] {
        await #expect(throws: FederationError.self) { try await fixture.submit(batch) }
        try await fixture.submit(batch)
      }
      // The next agent knows no more than the files and Slurm do.
      let known = try await fixture.restart(known: [1, 2, 3, 4, 5])
      #expect(known.map(\.phase) == [.queued, .queued, .queued, .queued, .bound])
      try await fixture.submit(runs + [alone])
      for node in 1...2 { try await fixture.cluster.resume(node: node) }
      for id in 1...4 as ClosedRange<Int64> {
        #expect(try await fixture.end(of: id).phase == .succeeded)
        #expect(fixture.log(of: id) == "ran\n")
      }
      #expect(try await fixture.jobs().count == 4)
    }
  }

  @Test("A crash before sbatch leaves runs that may be submitted again (I1, I2)")
  func crashBeforeSubmission() async throws {
    try await SlurmExecutorFixture.with { fixture in
      let run = SlurmExecutorFixture.request(1, "echo ran")
      _ = try await fixture.executor.prepare(run)
      // As far as an agent may have come: everything but the command itself.
      let name = JobName(mark: fixture.executor.mark, subject: .run(run.id))
      try fixture.executor.records.noteAttempt(name, runs: [run.id])
      let known = try await fixture.restart(known: [1])
      #expect(known.map(\.phase) == [.bound])
      try await fixture.submit([run])
      #expect(try await fixture.end(of: 1).phase == .succeeded)
      #expect(try await fixture.jobs().count == 1)
    }
  }

  @Test("A step that is killed leaves a run that is lost, not one that succeeded (I2)")
  func killedStep() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.submit(1, "echo up; sleep 600")
      try await fixture.eventually("its log") { fixture.log(of: 1) == "up\n" }
      try await fixture.cluster.command("scancel", ["--batch", "--signal=KILL", try await fixture.job(of: 1)])
      let end = try await fixture.end(of: 1)
      #expect([.lost, .cancelled].contains(end.phase) && !end.message.isEmpty && end.exitCode == nil)
    }
  }

  @Test("A node's daemon that dies changes nothing as long as the run lives (I1)")
  func nodeDaemonKilled() async throws {
    try await SlurmExecutorFixture.with {
      $0.nodeTimeoutSeconds = 10
    } _: { fixture in
      try await fixture.submit(1, SlurmExecutorFixture.wait("exit 6"))
      try await fixture.running(1)
      let node = try await fixture.cluster.command("squeue", ["--noheader", "--format=%N"])
      try await fixture.cluster.killNode(node.contains("-1") ? 1 : 2)
      try await fixture.eventually("NODE_FAIL", seconds: 120) {
        try await fixture.jobs().contains { $0.contains("NODE_FAIL") }
      }
      _ = try await fixture.observation(of: 1, "word of its node") {
        $0.message == "Slurm gave its node up, but it still runs"
      }
      try fixture.go(1)
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .failed && end.exitCode == 6)
    }
  }
}
