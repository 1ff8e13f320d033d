internal import Execution
internal import FederationModel
internal import LocalSlurm
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// What authors ask of a real Slurm beyond resources, and what Slurm foresees: two nodes with four cores each.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SlurmHintsTests {
  private static func with(_ body: (SlurmExecutorFixture) async throws -> Void) async throws {
    try await SlurmExecutorFixture.with(
      cluster: {
        $0.cpusPerNode = 4
        $0.licences = ["matlab": 1]
      }, configure: { $0.sandbox = .none }, body)
  }

  private static func asking(_ hints: SlurmHints) -> (inout RunRequest) -> Void { { $0.spec.federation.slurm = hints } }

  @Test(
    "A constraint, a reservation and exclusive nodes are Slurm's to give; what it does not have it refuses in its words"
  )
  func places() async throws {
    try await Self.with { fixture in
      try await fixture.cluster.command(
        "scontrol", ["update", "NodeName=hpc-2", "AvailableFeatures=avx512", "ActiveFeatures=avx512"])
      try await fixture.submit(1, "echo $SLURMD_NODENAME", Self.asking(SlurmHints(constraint: "avx512")))
      #expect(try await fixture.end(of: 1).phase == .succeeded)
      #expect(fixture.log(of: 1) == "hpc-2\n")
      try await fixture.submit(2, "true", Self.asking(SlurmHints(constraint: "zen9")))
      let refused = try await fixture.end(of: 2)
      #expect(refused.phase == .error && refused.message.contains("Invalid feature"), "\(refused)")
      try await fixture.cluster.command(
        "scontrol",
        ["create", "reservation", "ReservationName=exam", "StartTime=now", "Duration=60", "Users=root", "Nodes=hpc-1"])
      let reserved = "echo $SLURMD_NODENAME $SLURM_JOB_RESERVATION"
      try await fixture.submit(3, reserved, Self.asking(SlurmHints(reservation: "exam")))
      #expect(try await fixture.end(of: 3).phase == .succeeded)
      #expect(fixture.log(of: 3) == "hpc-1 exam\n")
      try await fixture.submit(4, "echo $SLURM_CPUS_ON_NODE", Self.asking(SlurmHints(exclusive: true)))
      #expect(try await fixture.end(of: 4).phase == .succeeded)
      #expect(fixture.log(of: 4) == "4\n")
    }
  }

  @Test("A run that waits for a licence says so, and starts when it is free (I10)")
  func licence() async throws {
    try await Self.with { fixture in
      let licences = SlurmHints(licences: "matlab:1")
      try await fixture.submit(5, "while [ ! -e $HOME/go ]; do sleep 0.1; done", Self.asking(licences))
      try await fixture.running(5)
      try await fixture.submit(6, "echo second", Self.asking(licences))
      let waits = try await fixture.observation(of: 6, "reason") { $0.message.contains("licence") }
      #expect(waits.phase == .queued && waits.message.contains("(Slurm: Licenses)"), "\(waits)")
      try fixture.go(5)
      #expect(try await fixture.end(of: 6).phase == .succeeded)
    }
  }

  @Test("Where no run of ours has waited yet, a partition's wait is what Slurm plans for the jobs that wait there")
  func planned() async throws {
    try await Self.with { fixture in
      // Somebody else's: all cores for ten minutes, and two that wait behind it.
      let options = ["--parsable", "--nodes=2", "--exclusive", "--output=/dev/null"]
      for minutes in [10, 5, 5] {
        try await fixture.cluster.command(
          "sbatch", options + ["--time=\(minutes)"], input: "#!/bin/sh\nsleep 900\n")
      }
      try await fixture.eventually("both have a planned start") {
        let planned = try await fixture.cluster.command("squeue", ["--start", "--noheader", "--format=%S"])
        return planned.split(separator: "\n").count == 2 && !planned.contains("N/A")
      }
      _ = try await fixture.restart(known: [])
      var planned: PartitionWait?
      try await fixture.eventually("Slurm's plan is the estimate") {
        // Eight cores are of the class of at most eight.
        planned = await fixture.executor.inventory().partitions.first?.waits.first { $0.cpus == 8 }
        return planned != nil
      }
      let wait = try #require(planned)
      #expect(wait.samples == 0)
      #expect(wait.upper > .seconds(13 * 60) && wait.upper <= .seconds(16 * 60), "\(wait)")
      // What takes no longer than that to come is waited for in the queue; what takes an hour is not.
      func awaited(_ id: Int64, minutes: Int) -> AwaitedRun {
        let request = SlurmExecutorFixture.request(id, "true") { $0.spec.resources.cpuMillicores = 4000 }
        return AwaitedRun(request: request, inputsIn: .seconds(60 * minutes))
      }
      let settled = await fixture.executor.queueAhead([awaited(7, minutes: 10), awaited(8, minutes: 60)])
      #expect(settled == [RunID(7)])
      try await fixture.cluster.command("scancel", ["--user=root"])
    }
  }
}
