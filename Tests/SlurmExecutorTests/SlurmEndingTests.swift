internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import Supervisor
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// Ends that the cluster and its administrators give to jobs, each on a real Slurm: the phase, the reason, and that nothing
/// of the run lives on or runs again.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SlurmEndingTests {
  /// Says that it has started and goes on saying that it lives.
  static let alive = "echo up; while :; do date +%s%N >> beat; sleep 0.1; done"

  /// Waits until the program of a run has shown that it lives.
  private func alive(_ id: Int64, _ fixture: SlurmExecutorFixture) async throws {
    try await fixture.eventually("run \(id) lives") { fixture.log(of: id) == "up\n" && !beats(id, fixture).isEmpty }
  }

  private func beats(_ id: Int64, _ fixture: SlurmExecutorFixture) -> String {
    fixture.read(fixture.executor.workspace(for: RunID(id)).root + "/workspace/beat") ?? ""
  }

  /// The program has started once, and is silent for ten of its beats.
  private func isDead(_ id: Int64, _ fixture: SlurmExecutorFixture) async throws {
    #expect(fixture.log(of: id).split(separator: "\n").count { $0 == "up" } == 1, "run \(id) started more than once")
    let before = beats(id, fixture)
    try await Task.sleep(for: .seconds(1))
    #expect(beats(id, fixture) == before, "run \(id) lives")
  }

  /// Two partitions over one small node: jobs of `high` need the places of those in `low`.
  private static func twoTiers(
    _ preemption: LocalSlurmCluster.Partition.Preemption
  ) -> (inout LocalSlurmCluster.Configuration) -> Void {
    {
      $0.nodes = 1
      $0.cpusPerNode = 2
      $0.killWaitSeconds = 1
      $0.requeueDelaySeconds = 5
      $0.partitions = [
        LocalSlurmCluster.Partition("low", preemption: preemption),
        LocalSlurmCluster.Partition("high", priorityTier: 10),
      ]
    }
  }

  @Test(
    "A preempted run is lost, says so, and is dead, whether Slurm cancels it or would put it back (I1, I2, I10)",
    arguments: [
      (LocalSlurmCluster.Partition.Preemption.cancel, false, "preempted in Slurm"),
      (.requeue, false, "preempted in Slurm"),
      (.requeue, true, "requeued the job"),
    ])
  func preempted(_ mode: LocalSlurmCluster.Partition.Preemption, _ requeues: Bool, _ reason: String) async throws {
    try await SlurmExecutorFixture.with(cluster: Self.twoTiers(mode)) { fixture in
      try await fixture.submit(1, Self.alive) {
        $0.spec.resources.cpuMillicores = 2000
        $0.spec.federation.slurm = SlurmHints(requeue: requeues)
      }
      try await alive(1, fixture)
      let urgent = try await fixture.cluster.command(
        "sbatch", ["--parsable", "--partition=high", "--ntasks=2", "--output=/dev/null", "--wrap", "sleep 600"])
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .lost && end.message.contains(reason), "\(end)")
      try await isDead(1, fixture)
      // When its place is free again a job that was put back may start, finds the claim, and leaves.
      try await fixture.cluster.cancel(job: String(urgent.prefix { $0.isNumber }))
      try await fixture.eventually("no job of the run is left") {
        try await !fixture.jobs().contains {
          $0.contains("fubini-")
            && ($0.contains("PENDING") || $0.contains("RUNNING") || $0.contains("COMPLETING"))
        }
      }
      try await isDead(1, fixture)
    }
  }

  @Test("A node that an administrator declares down: its run is lost when it is dead, and says so (I1, I2, I10)")
  func nodeDown() async throws {
    try await SlurmExecutorFixture.with {
      $0.nodes = 1
      $0.killWaitSeconds = 1
    } _: { fixture in
      try await fixture.submit(1, Self.alive)
      try await alive(1, fixture)
      try await fixture.cluster.declareDown(node: 1)
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .lost && end.message.contains("node failed"), "\(end)")
      try await isDead(1, fixture)
      // Its daemon registers again, and Slurm takes the node back.
      try await fixture.submit(2, "echo ran")
      #expect(try await fixture.end(of: 2).phase == .succeeded)
    }
  }

  @Test("A drained node finishes what it runs, starts nothing, and the run that waits says why (I10)")
  func nodeDrained() async throws {
    try await SlurmExecutorFixture.with {
      $0.nodes = 1
    } _: { fixture in
      try await fixture.submit(1, SlurmExecutorFixture.wait("echo done"))
      try await fixture.running(1)
      try await fixture.cluster.drain(node: 1)
      try await fixture.submit(2, "echo ran")
      _ = try await fixture.observation(of: 2, "reason") { $0.phase == .queued && $0.message.contains("drained") }
      try fixture.go(1)
      #expect(try await fixture.end(of: 1).phase == .succeeded)
      try await fixture.cluster.resume(node: 1)
      #expect(try await fixture.end(of: 2).phase == .succeeded)
    }
  }

  @Test("A time limit that an administrator cuts short ends a run as a limit of time does, with that reason (I10)")
  func timeout() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.submit(1, Self.alive)
      try await alive(1, fixture)
      let job = try await fixture.job(of: 1)
      try await fixture.cluster.command("scontrol", ["update", "JobId=\(job)", "TimeLimit=1"])
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .failed && end.message == "its time limit in Slurm was reached", "\(end)")
      #expect(end.cause == .timeLimit)
      try await isDead(1, fixture)
    }
  }

  @Test(
    "A controller that is too busy is asked less and less, the notice says so, and nothing is told as lost (I2, I10)")
  func busyController() async throws {
    let directory = try ScratchDirectory()
    let (calls, busy) = (directory.path + "/calls", directory.path + "/busy")
    try directory.write(
      "squeue",
      "#!/bin/sh\necho >> \(calls)\n[ -e \(busy) ] || exec squeue \"$@\"\n"
        + "echo 'slurm_load_jobs error: Socket timed out on send/recv operation' >&2\nexit 1\n", mode: 0o755)
    let program = directory.path + "/squeue"
    try await SlurmExecutorFixture.with(configure: { $0.programs.squeue = program }) { fixture in
      try await fixture.submit(1, SlurmExecutorFixture.wait("exit 3"))
      try await fixture.running(1)
      try directory.write("busy", "")
      try await fixture.eventually("the notice") {
        await fixture.executor.inventory().notices.contains {
          $0.contains("Slurm does not answer") && $0.contains("Socket timed out")
        }
      }
      let asked = fixture.read(calls)?.utf8.count ?? 0
      try await Task.sleep(for: .seconds(4))
      // Each half second it would be eight; doubled from there it is three, and with the least of jitter four.
      #expect((fixture.read(calls)?.utf8.count ?? 0) - asked <= 4)
      // Its end is in its own file, which needs no controller.
      try fixture.go(1)
      #expect(try await fixture.end(of: 1, seconds: 60).exitCode == 3)
      unlink(busy)
      try await fixture.eventually("the notice is gone") {
        await !fixture.executor.inventory().notices.contains { $0.contains("Slurm does not answer") }
      }
    }
  }

  @Test(
    "A shared disk that is full takes nothing new and says why; what runs is told once its end fits (I1, I2, I10)",
    .enabled(if: geteuid() == 0, "only root may mount a small file system"))
  func fullSharedDirectory() async throws {
    let directory = try ScratchDirectory()
    try directory.mount(megabytes: 24)
    defer { directory.unmount() }
    let shared = directory.path + "/small/shared"
    try await SlurmExecutorFixture.with(configure: { $0.sharedDirectory = shared }) { fixture in
      let place = BatchFiles(sharedDirectory: shared)
      try await fixture.submit(1, SlurmExecutorFixture.wait("echo done"))
      try await fixture.running(1)
      let go = fixture.executor.workspace(for: RunID(1)).root + "/workspace/go"
      try directory.fill("small/filler")
      let error = await #expect(throws: FederationError.self) { try await fixture.submit(2, "echo ran") }
      #expect(
        error?.code == .resourceExhausted && error?.publicMessage.contains("full") == true,
        "\(String(describing: error))")
      #expect(await fixture.executor.inventory().notices.contains { $0.contains("disk is full") })
      // A link needs no room of its own in a directory that has some.
      try #require(symlink("/dev/null", go) == 0, "errno \(errno)")
      try await Task.sleep(for: .seconds(2))
      #expect(place.readEnd(1) == nil && fixture.observations(of: 1).allSatisfy { !$0.phase.isTerminal })
      unlink(directory.path + "/small/filler")
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .succeeded, "\(end)")
      try await fixture.submit(2, "echo ran")
      #expect(try await fixture.end(of: 2).phase == .succeeded && fixture.log(of: 2) == "ran\n")
      #expect(try await fixture.jobs().count == 2)
    }
  }

  @Test("Two hundred runs live on while the agent is away, and each is told once, as it ended (I1, I2)")
  func manyRuns() async throws {
    try await SlurmExecutorFixture.with {
      $0.cpusPerNode = 128
    } _: { fixture in
      let ids = 1...200 as ClosedRange<Int64>
      try await fixture.submit(
        ids.map { SlurmExecutorFixture.request($0, SlurmExecutorFixture.wait("echo once; exit \($0 % 3)")) })
      for id in ids { try await fixture.running(id) }
      await fixture.executor.close()
      // Half of them end while nobody looks.
      for id in ids where id % 2 == 0 { try fixture.go(id) }
      try await fixture.eventually("their ends") {
        ids.allSatisfy { $0 % 2 == 1 || fixture.files.readEnd(UInt64($0)) != nil }
      }
      try await fixture.start()
      let known = try await fixture.executor.reattach(known: ids.map { RunID($0) })
      #expect(known.count == 200)
      for told in known {
        let id = told.id.number
        #expect(told.phase == (id % 2 == 1 ? .running : id % 3 == 0 ? .succeeded : .failed), "\(told)")
        #expect(id % 2 == 1 || told.exitCode == Int32(id % 3))
      }
      // A submission that is repeated starts nothing.
      try await fixture.submit(ids.map { SlurmExecutorFixture.request($0, "echo twice") })
      for id in ids where id % 2 == 1 { try fixture.go(id) }
      for id in ids {
        #expect(try await fixture.end(of: id).exitCode == Int32(id % 3))
        #expect(fixture.log(of: id) == "once\n")
      }
      #expect(try await fixture.jobs().count == 200)
    }
  }
}
