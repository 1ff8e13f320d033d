import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Postgres
import Testing

extension Integration {
  @Suite("End to end: one release apart", .timeLimit(.minutes(3)))
  struct SkewTests {
    /// Who speaks what, and what comes of it.
    struct Pair: Sendable, CustomTestStringConvertible {
      var controlPlane: ClosedRange<Int>?
      var agentMax: Int?
      var agreed: UInt32
      var testDescription: String {
        "control plane \(controlPlane.map { "\($0)" } ?? "all"), agent up to \(agentMax.map(String.init) ?? "newest")"
      }
    }
    static let pairs = [
      Pair(controlPlane: nil, agentMax: 1, agreed: 1), Pair(controlPlane: 1...1, agentMax: nil, agreed: 1),
      Pair(controlPlane: nil, agentMax: nil, agreed: AgentProtocol.versions.upperBound),
    ]

    @Test(
      "N-1: a workflow with artifacts runs whole between neighbours, and what is optional is left out", arguments: pairs
    )
    func neighbours(pair: Pair) async throws {
      var options = FederationOptions()
      options.protocols = pair.controlPlane
      options.agents = [.init("one", protocolMax: pair.agentMax)]
      try await Federation.with(options) { federation in
        let client = try federation.client()
        _ = try await client.submit(EndToEndTests.roundTrip)
        let made = try await client.finished("round-trip")
        let message = made.nodes.map { "\($0.displayName): \($0.phase.rawValue) \($0.message)" }
        #expect(made.summary.phase == .succeeded, "\(message)")
        #expect(try await client.cluster("one").live?.agentProtocol == pair.agreed)
        if pair.agreed >= AgentProtocol.capabilitiesVersion {
          try await poll("the agent's clock is known", timeout: .seconds(15)) {
            try await client.cluster("one").live?.clockSkewMilliseconds != nil
          }
          let status = try await federation.agentCommand(["status"], of: "one")
          #expect(status.output.contains("the control plane's"), "\(status.output)")
        } else {
          // It has had heartbeats enough: the workflow took longer than one interval.
          #expect(try await client.cluster("one").live?.clockSkewMilliseconds == nil)
        }
      }
    }

    @Test("without a common version the agent is refused with both ranges, says so itself, and the audit has it")
    func gap() async throws {
      var options = FederationOptions()
      options.protocols = 2...2
      options.agents = [.init("one", protocolMax: 1)]
      options.awaitsAgents = false
      try await Federation.with(options) { federation in
        let reason = "the agent speaks protocol 1 to 1, this control plane 2 to 2"
        try await poll("the agent says why it has no session", timeout: .seconds(20)) {
          try await federation.agentCommand(["status"], of: "one").output.contains(reason)
        }
        let audit = try await federation.query(
          "SELECT detail FROM audit WHERE action = 'agent.refused' AND object = 'one'"
        ).rows.map { try $0.text(0) }
        #expect(audit.contains { $0.contains(reason) }, "\(audit)")
        #expect(try await federation.client().cluster("one").live?.isConnected != true)
      }
    }

    @Test("agents dial the agent port at an IPv6 address")
    func overIPv6() async throws {
      var options = FederationOptions()
      options.gatewayHost = "::1"
      try await Federation.with(options) { federation in
        let client = try federation.client()
        _ = try await client.submit(Integration.shell("echo six", name: "six"))
        #expect(try await client.finished("six").summary.phase == .succeeded)
      }
    }

    @Test(
      "doctor finds nothing failed in a federation that works, and fails when the agent's clock or certificate would")
    func doctor() async throws {
      try await Federation.with { federation in
        let healthy = try await federation.controlPlaneCommand(["doctor"])
        #expect(healthy.code == 0, "\(healthy.output)")
        for check in ["fsync", "full_page_writes", "synchronous_commit", "rights", "schema", "CA", "data directory"] {
          #expect(healthy.output.contains(check), "\(check): \(healthy.output)")
        }
        let fromOutside = try await federation.fubini(["doctor"])
        #expect(fromOutside.code == 0, "\(fromOutside.output)")
        #expect(fromOutside.output.contains("cluster one: Ready"), "\(fromOutside.output)")
        #expect(fromOutside.output.contains("control plane, fsync"), "\(fromOutside.output)")
        _ = try await federation.agent("one").end()
        try await poll("doctor fails, and says what to do", timeout: .seconds(20)) {
          let answer = try await federation.fubini(["doctor"])
          return answer.code == 1 && answer.output.contains("fubini-agent status")
        }
      }
    }

    @Test(
      "I2: where synchronous_commit is off for the role, the control plane's own sessions set it on, and it says so")
    func durability() async throws {
      var options = FederationOptions()
      options.hasOwnPostgres = true
      try await Federation.with(options) { federation in
        try await federation.query("ALTER ROLE postgres SET synchronous_commit = off")
        _ = try await federation.controlPlane(0).end()
        try federation.startControlPlane(0)
        try await federation.awaitReady()
        #expect(try await federation.query("SHOW synchronous_commit")[0].text(0) == "off", "the role has it off")
        #expect(LogTail.of(federation.log("cp-0"), lines: 1000).contains("synchronous_commit is off"))
        let doctor = try await federation.controlPlaneCommand(["doctor"])
        #expect(doctor.code == 0 && doctor.output.contains("sets it on for its own sessions"), "\(doctor.output)")
      }
    }
  }
}
