import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension Integration {
  @Suite("End to end: what is lost, and comes back", .timeLimit(.minutes(5)))
  struct OutageTests {
    @Test("a standby leads within two lease periods, passes writes on before that, and the work goes on")
    func takeover() async throws {
      var options = FederationOptions()
      options.controlPlanes = 2
      let lease = 3.0
      options.leaderLease = lease
      try await Federation.with(options) { federation in
        let leader = try #require(try await federation.leader())
        let other = 1 - leader
        let running = Integration.shell("sleep 6; echo survived", name: "survivor")
        // A write to the standby reaches the leader.
        _ = try await federation.client(other).submit(running)
        try await federation.node("survivor", "survivor", is: ["Running"], replica: leader)
        let killed = ContinuousClock.now
        try await federation.controlPlane(leader).kill()
        try await poll("the standby leads", timeout: .seconds(lease * 2 + 1)) {
          try await federation.client(other).get("/v1/version", as: VersionDocument.self).isLeader
        }
        let took = ContinuousClock.now - killed
        print("takeover: \(took), lease \(lease) s")
        #expect(took <= .seconds(lease * 2))
        let detail = try await federation.client(other).finished("survivor")
        let runs = try await federation.query("SELECT count(*) FROM runs")[0].int(0)
        #expect(detail.summary.phase == .succeeded && runs == 1, "it ran once, through the change of leaders")
        #expect(try await federation.client(other).log("survivor", node: "survivor") == "survived\n")
      }
    }

    @Test("PostgreSQL away: writes get 503 with Retry-After; back again, everything goes on by itself")
    func databaseAway() async throws {
      var options = FederationOptions()
      options.hasOwnPostgres = true
      try await Federation.with(options) { federation in
        let client = try federation.client()
        _ = try await client.submit(Integration.shell("sleep 3; echo done", name: "before"))
        try await federation.node("before", "before", is: ["Running"])
        try await federation.postgres.kill()
        var refusal: RESTClient.Response?
        try await poll("a write is refused", timeout: .seconds(15)) {
          let document = Data(Integration.shell("true", name: "during").utf8)
          let answer = try? await client.send(
            "POST", "/v1/projects/default/workflows", body: document, contentType: "application/yaml",
            headers: ["Idempotency-Key": "during"], timeout: .seconds(15))
          refusal = answer
          return answer?.status == 503
        }
        let seconds = refusal?.headers["retry-after"].flatMap { Int($0) }
        #expect(seconds.map { $0 > 0 } == true, "503 without Retry-After: \(String(describing: refusal?.headers))")
        // Long enough for the lease to run out and for the run to end meanwhile.
        try await Task.sleep(for: .seconds(4))
        try federation.postgres.start()
        try await poll("the submission is accepted under its first key", timeout: .seconds(30)) {
          (try? await client.submit(Integration.shell("true", name: "during"), key: "during")) != nil
        }
        #expect(try await client.finished("before").summary.phase == .succeeded)
        #expect(try await client.finished("during").summary.phase == .succeeded)
        #expect(try await federation.query("SELECT count(*) FROM runs")[0].int(0) == 2)
      }
    }

    @Test("PostgreSQL not there at the start: the control plane says that it waits, and begins by itself")
    func databaseLate() async throws {
      var options = FederationOptions()
      options.hasOwnPostgres = true
      try await Federation.with(options) { federation in
        let client = try federation.client()
        try await federation.controlPlane(0).end()
        try federation.postgres.stopImmediately()
        try federation.startControlPlane(0)
        let log = federation.log("cp-0")
        try await poll("its log says that it waits", timeout: .seconds(20)) {
          let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
          return text.contains("waiting for the database")
        }
        #expect(try federation.controlPlane(0).isAlive)
        #expect(!FileManager.default.fileExists(atPath: federation.path("cp-0.ready")))
        let (code, output) = try await federation.fubini(["list"], timeout: .seconds(120))
        #expect(code == 5, "\(output)")
        try federation.postgres.start()
        try await federation.awaitReady()
        try await federation.awaitAgents()
        _ = try await client.submit(Integration.shell("echo late", name: "late"))
        #expect(try await client.finished("late").summary.phase == .succeeded)
      }
    }

    @Test("I1, I2: an agent and its link may go; its runs go on, and are reported once by the next agent")
    func agentRestart() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        _ = try await client.submit(Integration.shell("sleep 3; echo here; exit 7", name: "alone"))
        try await federation.node("alone", "alone", is: ["Running"])
        try await federation.agent("one").kill()
        // It ends while nobody watches.
        try await Task.sleep(for: .seconds(4))
        try federation.startAgent("one")
        let detail = try await client.finished("alone")
        #expect(detail.summary.phase == .failed)
        #expect(detail.nodes.first?.exitCode == 7 && detail.nodes.first?.run?.epoch == 1)
        #expect(try await client.log("alone", node: "alone") == "here\n")
      }
    }

    @Test("logs are there when their agent is not")
    func logsOutliveTheirCluster() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        _ = try await client.submit(Integration.shell("seq 1 2000", name: "speaker"))
        #expect(try await client.finished("speaker").summary.phase == .succeeded)
        try await poll("the whole log has arrived", timeout: .seconds(10)) {
          try await federation.query("SELECT count(*) FROM logs WHERE is_complete")[0].int(0) == 1
        }
        try await federation.agent("one").kill()
        try await federation.supervisor(of: "one")?.kill()
        try FileManager.default.removeItem(atPath: federation.agentState("one"))
        let log = try await client.log("speaker", node: "speaker")
        #expect(log == (1...2000).map { "\($0)\n" }.joined())
      }
    }

    @Test(
      "I1: a database restored to an earlier moment kills nothing and starts nothing on clusters that saw more, until `fubini recover`"
    )
    func restore() async throws {
      var options = FederationOptions()
      options.hasOwnPostgres = true
      try await Federation.with(options) { federation in
        let copy = federation.postgres.directory + "/copy"
        _ = try await federation.client().submit(Integration.shell("echo early", name: "early"))
        _ = try await federation.client().finished("early")
        try await Self.offline(federation) { try await Self.copy(federation.postgres.directory + "/data", to: copy) }

        // What happens now is forgotten by the database, but not by the agent.
        let file = federation.shared + "/go"
        let wait = "while [ ! -e \(file) ]; do sleep 0.1; done; echo late"
        _ = try await federation.client().submit(Integration.shell(wait, name: "late"))
        try await federation.node("late", "late", is: ["Running"])
        try await Self.offline(federation) {
          try FileManager.default.removeItem(atPath: federation.postgres.directory + "/data")
          try await Self.copy(copy, to: federation.postgres.directory + "/data")
        }

        let client = try federation.client()
        #expect(try await federation.query("SELECT count(*) FROM workflows")[0].int(0) == 1, "it was not restored")
        try await poll("the cluster is adopted", timeout: .seconds(30)) { try await client.cluster("one").isAdopting }
        _ = try await client.submit(Integration.shell("echo after", name: "after"))
        try await Task.sleep(for: .seconds(2))
        #expect(Self.waiters(federation, file).count == 1, "the run that the database does not know was killed")
        let pending = try await client.workflow("after")
        #expect(pending.summary.phase.isTerminal == false && pending.nodes.allSatisfy { $0.run == nil })
        #expect(pending.nodes.contains { !$0.message.isEmpty }, "I10: what is pending has a reason")

        let recovered = try await federation.fubini(["recover", "--yes"])
        try #require(recovered.code == 0, "\(recovered.output)")
        #expect(try await client.finished("after").summary.phase == .succeeded)
        #expect(try await client.cluster("one").isAdopting == false)
        // The one truth is now the restored database: the run that it does not know has been stopped.
        try await poll("the unknown run is stopped", timeout: .seconds(20)) { Self.waiters(federation, file).isEmpty }
      }
    }

    static func waiters(_ federation: Federation, _ file: String) -> [OwnedProcess] {
      OwnedProcess.all(withCommandLineContaining: file).filter { $0.words.first == "sh" || $0.words.first == "/bin/sh" }
        .map(\.process)
    }

    /// Ends the control plane and PostgreSQL, and starts both again after `body`.
    static func offline(_ federation: Federation, _ body: () async throws -> Void) async throws {
      _ = try await federation.controlPlane(0).end()
      try federation.postgres.stopImmediately()
      try await body()
      try federation.postgres.start()
      try federation.startControlPlane(0)
      try await federation.awaitReady()
    }

    static func copy(_ source: String, to target: String) async throws {
      let code = try await OwnedProcess.run(["/bin/cp", "-a", source, target], log: "/dev/null")
      guard code == 0 else { throw HarnessError("cp -a \(source) ended with \(code)") }
    }
  }
}
