import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import LocalSlurm
import Postgres
import TestSupport
import Testing

extension Integration {
  @Suite(
    "End to end: a Slurm cluster and its agent are disturbed", .timeLimit(.minutes(5)),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
  struct SlurmFaultTests {
    /// A federation with an agent `hpc` on a real Slurm cluster; another one, `alt`, waits for an agent. Runs have no sandbox, so
    /// that each can write down, in files of its own in `slurm.shared`, what it does.
    static func with(
      _ configure: (inout LocalSlurmCluster.Configuration) -> Void = { _ in },
      _ body: @Sendable (Federation, SlurmFixture) async throws -> Void
    ) async throws {
      try await SlurmFixture.with("hpc", "alt", configure: configure) { slurm in
        var options = FederationOptions()
        options.agents = [agent(slurm, 0)]
        try await Federation.with(options) { try await body($0, slurm) }
      }
    }

    static func agent(_ slurm: SlurmFixture, _ index: Int) -> FederationOptions.Agent {
      let cluster = slurm.clusters[index]
      var agent = FederationOptions.Agent(cluster.configuration.name, executor: "slurm")
      agent.keys["slurm"] =
        "{sharedDirectory: \(slurm.shared)/\(agent.name), slurmConf: \(cluster.configurationFile), "
        + "pollInterval: 500ms, sandbox: none}"
      return agent
    }

    /// Where every run may write.
    static func makePlace(_ slurm: SlurmFixture) throws -> String {
      let place = slurm.shared + "/files"
      try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: false)
      chmod(place, 0o777)
      return place
    }

    static func lines(_ path: String) -> [String] {
      (try? String(contentsOfFile: path, encoding: .utf8))?.split(separator: "\n").map(String.init) ?? []
    }

    @Test("I1, I2: the agent is killed amid 200 running jobs and comes back: each has run once, and each end is told")
    func killedAgent() async throws {
      try await Self.with({ $0.cpusPerNode = 128 }) { federation, slurm in
        let place = try Self.makePlace(slurm)
        let count = 200
        _ = try await federation.client().submit(
          """
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: many}
          spec:
            entrypoint: main
            templates:
            - name: main
              steps:
              - - {name: work, template: work, withSequence: {count: "\(count)"}, arguments: {parameters: [{name: number, value: "{{item}}"}]}}
            - name: work
              inputs: {parameters: [{name: number}]}
              container:
                image: debian:12
                command: [sh, -c]
                args:
                - |
                  cd \(place)
                  echo start >> {{inputs.parameters.number}}
                  n={{inputs.parameters.number}}
                  while [ ! -e go-$((n % 2)) ]; do sleep 1; done
                  echo end >> {{inputs.parameters.number}}
          """)
        try await poll("all run", timeout: .seconds(120)) {
          (0..<count).allSatisfy { Self.lines("\(place)/\($0)") == ["start"] }
        }
        try await federation.agent("hpc").kill()
        // Half of them end while nobody looks.
        try Data().write(to: URL(filePath: place + "/go-0"))
        try await poll("half have ended", timeout: .seconds(60)) {
          stride(from: 0, to: count, by: 2).allSatisfy { Self.lines("\(place)/\($0)") == ["start", "end"] }
        }
        try federation.startAgent("hpc")
        try await federation.awaitAgents()
        try Data().write(to: URL(filePath: place + "/go-1"))
        let detail = try await federation.client().finished("many", timeout: .seconds(120))
        #expect(detail.summary.phase == .succeeded, "\(detail.summary.message)")
        for index in 0..<count { #expect(Self.lines("\(place)/\(index)") == ["start", "end"], "task \(index)") }
        #expect(try await federation.query("SELECT count(*) FROM runs")[0].int(0) == Int64(count))
        let jobs = try await slurm.clusters[0].command(
          "squeue", ["--noheader", "--array", "--states=all", "--format=%T"])
        #expect(jobs.split(separator: "\n").count == count && !jobs.contains("RUNNING"))
      }
    }

    @Test(
      "I1, I2, I10: an agent that stays away past the disconnect limit: its run ends itself, then the task runs elsewhere"
    )
    func replaced() async throws {
      try await Self.with { federation, slurm in
        let place = try Self.makePlace(slurm)
        let client = try federation.client()
        let script = """
          f=\(place)/run-$(date +%s%N)
          while [ ! -e \(place)/go ]; do date +%s%N >> $f; sleep 0.1; done
          echo end >> $f
          """
        _ = try await client.submit(Integration.shell(script, name: "fenced", federation: "{onDisconnect: replace}"))
        func executions() -> [[String]] {
          let names = ((try? FileManager.default.contentsOfDirectory(atPath: place)) ?? []).filter {
            $0.hasPrefix("run-")
          }
          return names.sorted().map { Self.lines("\(place)/\($0)") }
        }
        try await poll("it runs on hpc", timeout: .seconds(60)) { executions().first.map { $0.count > 5 } ?? false }
        try await federation.join(Self.agent(slurm, 1))
        try federation.startAgent("alt")
        try await federation.agent("hpc").kill()
        // Its file is there a moment before its first line.
        try await poll("it runs elsewhere", timeout: .seconds(90)) {
          executions().count == 2 && !executions()[1].isEmpty
        }
        let (first, second) = (executions()[0], executions()[1])
        let last = try #require(first.last.flatMap { Int64($0) })
        let next = try #require(second.first.flatMap { Int64($0) })
        #expect(last < next, "the first execution lived \(last - next) ns into the second")
        try await poll("the second lives", timeout: .seconds(10)) { executions()[1].count > second.count + 5 }
        #expect(executions()[0] == first, "the first execution lives")
        // The agent comes back, and is told that nothing of it is wanted any more.
        try federation.startAgent("hpc")
        try await federation.awaitAgents()
        try Data().write(to: URL(filePath: place + "/go"))
        let detail = try await client.finished("fenced")
        #expect(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message))")
        #expect(executions().count == 2 && executions()[0] == first && executions()[1].last == "end")
        let rows = Array(try await federation.query("SELECT cluster, phase, message FROM runs ORDER BY epoch").rows)
        #expect(try rows.map { try $0.text(0) } == ["hpc", "alt"])
        #expect(try rows[0].int(1) == Int64(RunPhase.lost.rawValue) && !(try rows[0].text(2)).isEmpty)
      }
    }

    @Test("I2, I10: a job that an administrator cancels is a node in Error with the reason, which OnError retries")
    func cancelledBehindOurBack() async throws {
      try await Self.with { federation, slurm in
        let go = slurm.shared + "/go"
        let document = Integration.shell("while [ ! -e \(go) ]; do sleep 0.1; done", name: "victim")
        _ = try await federation.client().submit(
          document.replacingOccurrences(
            of: "  - name: main\n", with: "  - name: main\n    retryStrategy: {limit: 1, retryPolicy: OnError}\n"))
        try await federation.node("victim", "victim(0)", is: ["Running"], timeout: .seconds(60))
        let cluster = slurm.clusters[0]
        let job = try await cluster.command("squeue", ["--noheader", "--states=RUNNING", "--format=%A"])
        try await cluster.cancel(job: job.trimmingCharacters(in: .whitespacesAndNewlines))
        try await federation.node("victim", "victim(0)", is: ["Error"], timeout: .seconds(60))
        try await federation.node("victim", "victim(1)", is: ["Running"], timeout: .seconds(60))
        try Data().write(to: URL(filePath: go))
        let detail = try await federation.client().finished("victim")
        #expect(detail.summary.phase == .succeeded)
        let first = try #require(detail.nodes.first { $0.displayName == "victim(0)" })
        #expect(first.message.hasPrefix("cancelled in Slurm, not by the federation"), "\(first.message)")
      }
    }

    @Test(
      "I10: while slurmctld hangs its cluster is not ready and says why, and work goes elsewhere, what was sent there last, too"
    )
    func hangingController() async throws {
      try await Self.with { federation, slurm in
        var edge = FederationOptions.Agent("edge", slots: 8)
        edge.keys["sandbox"] = "none"
        // Until it joins, all there is goes to Slurm.
        try slurm.clusters[0].freezeController()
        let client = try federation.client()
        _ = try await client.submit(Integration.shell("echo early", name: "early"))
        try await poll("it is sent to hpc", timeout: .seconds(60)) {
          try await client.cluster("hpc").live?.activeRuns == 1
        }
        try await poll("the cluster is not ready", timeout: .seconds(120)) {
          let document = try await client.cluster("hpc")
          return document.state == "NotReady" && document.reason.contains("Slurm")
        }
        try await federation.join(edge)
        try federation.startAgent("edge")
        _ = try await client.submit(Integration.shell("echo late", name: "late"))
        for name in ["late", "early"] {
          let detail = try await client.finished(name, timeout: .seconds(180))
          #expect(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message))")
          #expect(detail.nodes.compactMap(\.run?.cluster) == ["edge"], "\(name)")
        }
        try slurm.clusters[0].thawController()
        try await poll("the cluster is ready", timeout: .seconds(120)) {
          try await client.cluster("hpc").state == "Ready"
        }
      }
    }
  }
}
