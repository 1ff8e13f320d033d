import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import LocalSlurm
import Postgres
import TestSupport
import Testing

extension Integration {
  /// A real Slurm whose one core is taken, and an agent whose link is slow.
  @Suite(
    "Data flow: staging overlaps Slurm's queue", .serialized, .timeLimit(.minutes(6)),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
  struct SlurmOverlapTests {
    static let rate: Int64 = 4_000_000

    /// - Parameter staging: how long the data set `water` takes to come, seconds.
    static func with(
      staging: Double, _ body: @Sendable (DataFlow, SlurmFixture) async throws -> Void
    ) async throws {
      try await SlurmFixture.with(
        "hpc",
        configure: {
          $0.nodes = 1
          $0.cpusPerNode = 1
        }
      ) { slurm in
        var options = FederationOptions()
        options.agents = [
          SlurmMember.agent(
            "hpc", of: slurm.clusters[0], slurm, block: ["sandbox": "none"],
            keys: ["transferLimit": "\(Self.rate / 1_000_000)MB/s"])
        ]
        try await Federation.with(options) { federation in
          let flow = try DataFlow(federation)
          try await flow.put("water", bytes: Int64(staging * Double(Self.rate)), files: 4)
          try await body(flow, slurm)
        }
      }
    }

    /// What Slurm knows of jobs, the oldest first: their states, and when they were submitted, in seconds since 1970.
    static func jobs(_ slurm: SlurmFixture) async throws -> [(state: String, submitted: Double)] {
      let format = Date.ParseStrategy(
        format:
          "\(year: .defaultDigits)-\(month: .twoDigits)-\(day: .twoDigits)T\(hour: .twoDigits(clock: .twentyFourHour, hourCycle: .zeroBased)):\(minute: .twoDigits):\(second: .twoDigits)",
        timeZone: .current)
      return try await slurm.clusters[0].command(
        "squeue", ["--noheader", "--states=all", "--sort=i", "--format=%T|%V"]
      ).split(separator: "\n").map { line in
        let fields = line.split(separator: "|").map(String.init)
        return (fields[0], try Date(fields[1], strategy: format).timeIntervalSince1970)
      }
    }

    /// Takes the core for so many seconds, then begins a run that reads `water`.
    static func begin(_ flow: DataFlow, queue: Double) async throws {
      _ = try await flow.client.submit(DataFlow.task("sleep \(queue)", name: "ahead", template: "hold"))
      try await flow.federation.node("ahead", "ahead", is: ["Running"], timeout: .seconds(60))
      // Without a sandbox the data is below the run's own root.
      _ = try await flow.client.submit(
        DataFlow.reader(of: "water", name: "behind", command: "cat $HOME/../data/in/* | wc -c"))
    }

    @Test(
      "I4, I5: staging overlaps Slurm's queue: a run waits for the longer of the two, not for their sum",
      arguments: [(queue: 12.0, staging: 8.0), (queue: 7.0, staging: 11.0)])
    func overlap(_ times: (queue: Double, staging: Double)) async throws {
      try await Self.with(staging: times.staging) { flow, slurm in
        try await Self.begin(flow, queue: times.queue)
        let behind = try await flow.succeeded("behind", timeout: .seconds(120))
        let ahead = try await flow.succeeded("ahead")
        let submitted = try await flow.client.workflow("behind").summary.createdAt.seconds
        let (first, second) = (try flow.run(of: ahead), try flow.run(of: behind))
        let transfer = try #require(try await flow.inward("water").first)
        let jobs = try await Self.jobs(slurm)
        #expect(jobs.count == 2, "one job each: \(jobs)")
        let queued = try #require(jobs.last).submitted - submitted
        let slot = try #require(first.finishedAt).seconds - submitted
        let staged = try #require(transfer.finishedAt).seconds - submitted
        let started = try #require(second.startedAt).seconds - submitted
        func text(_ seconds: Double) -> String { String(format: "%5.1f s", seconds) }
        print(
          """
          queue \(times.queue) s, staging \(times.staging) s: after the submission
            \(text(transfer.createdAt.seconds - submitted)) its data is on its way
            \(text(queued)) its job is in Slurm's queue
            \(text(staged)) its data is there
            \(text(slot)) the job before it has ended
            \(text(started)) it starts: max \(text(max(staged, slot))), sum \(text(slot + staged))
          """)
        // Slurm counts whole seconds.
        #expect(queued < min(staged, slot), "its job waits while its data comes")
        #expect(started >= staged - 0.05, "I4: it started before its data was there")
        #expect(isClose(max(staged, slot), started), "it waited \(started) s")
        #expect(started < (slot + staged) * 0.8, "the wait is the sum")
      }
    }

    @Test("A plan on Slurm foresees when a run starts and ends behind another one")
    func plan() async throws {
      try await Self.with(staging: 4) { flow, _ in
        let hold = { (name: String) in DataFlow.task("sleep 15", name: name, template: "hold") }
        let read = { (name: String) in DataFlow.reader(of: "water", name: name, command: "sleep 3") }
        // What templates take is learnt from their runs, and the link's speed from the transfer.
        _ = try await flow.client.submit(read("learns"))
        _ = try await flow.client.submit(hold("first"))
        _ = try await flow.succeeded("learns")
        _ = try await flow.succeeded("first")
        _ = try await flow.client.submit(hold("ahead"))
        try await flow.federation.node("ahead", "ahead", is: ["Running"], timeout: .seconds(60))
        let plan = try await flow.plan(read("behind"))
        let planned = try #require(plan.tasks.first)
        _ = try await flow.client.submit(read("behind"))
        let behind = try await flow.succeeded("behind")
        let run = try flow.run(of: behind)
        let started = try #require(run.startedAt).seconds - plan.at.seconds
        let ended = try #require(run.finishedAt).seconds - plan.at.seconds
        print("planned \(planned.startSeconds ?? -1) to \(planned.endSeconds ?? -1) s; it was \(started) to \(ended) s")
        #expect(planned.cluster == "hpc" && planned.bytesMoved == 0, "\(planned)")
        // Slurm begins what waits in its next pass, a few seconds later.
        func isForeseen(_ seconds: Double, by planned: Double?) -> Bool {
          PlacementDataFlowTests.isWithin(planned ?? 0, seconds) || abs(seconds - (planned ?? 0)) < 4
        }
        #expect(isForeseen(started, by: planned.startSeconds), "it started after \(started) s")
        #expect(isForeseen(ended, by: planned.endSeconds), "it ended after \(ended) s")
      }
    }

    @Test("I1, I2: an agent killed while its run waits in the queue for its data starts it once, by the same job")
    func killed() async throws {
      try await Self.with(staging: 10) { flow, slurm in
        try await Self.begin(flow, queue: 18)
        try await poll("two jobs are in Slurm", timeout: .seconds(60)) { try await Self.jobs(slurm).count == 2 }
        try await flow.federation.agent("hpc").kill()
        try flow.federation.startAgent("hpc")
        try await flow.federation.awaitAgents()
        let behind = try await flow.succeeded("behind", timeout: .seconds(120))
        let jobs = try await Self.jobs(slurm)
        #expect(jobs.count == 2, "\(jobs)")
        let transfer = try #require(try await flow.inward("water").first { $0.finishedAt != nil })
        let started = try #require(try flow.run(of: behind).startedAt).seconds
        #expect(started >= transfer.finishedAt!.seconds - 0.05, "I4: it started before its data was there")
        #expect(try await flow.federation.query("SELECT count(*) FROM runs")[0].int(0) == 2)
      }
    }

    @Test("I1, I10: a run that waits for its data and in Slurm says so; stopped there, its job leaves the queue")
    func stopped() async throws {
      try await Self.with(staging: 25) { flow, slurm in
        try await Self.begin(flow, queue: 60)
        try await poll("its job waits", timeout: .seconds(60)) {
          try await Self.jobs(slurm).map(\.state) == ["RUNNING", "PENDING"]
        }
        try await poll("it says so", timeout: .seconds(30)) {
          try await flow.client.workflow("behind").nodes.contains {
            $0.message.contains("while its inputs are on their way")
          }
        }
        try await flow.fubini("stop", "behind")
        _ = try await flow.client.finished("behind", timeout: .seconds(60))
        try await poll("its job has left the queue", timeout: .seconds(60)) {
          try await Self.jobs(slurm).last?.state == "CANCELLED"
        }
      }
    }
  }
}
