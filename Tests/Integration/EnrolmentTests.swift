import FederationAPI
import FederationHarness
import FederationModel
import FederationPKI
import Foundation
import Postgres
import Testing

extension Integration {
  @Suite("End to end: who may be an agent", .timeLimit(.minutes(3)))
  struct EnrolmentTests {
    @Test("a wrong, a used and an expired join token, and one with a wrong pin, are refused, told apart and audited")
    func tokens() async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let client = try federation.client()
        func create(_ name: String) async throws -> String {
          let created: ClusterCreated = try await client.post(
            "/v1/clusters", ClusterRequest(name: name, kind: .process))
          try federation.writeConfiguration(of: .init(name))
          return created.join.token
        }
        func refused(_ name: String, _ token: String) async throws -> String {
          let code = try await federation.join(name, token: token)
          let output = LogTail.of(federation.log("join-\(name)"))
          #expect(code != 0, "\(output)")
          return output.lowercased()
        }
        // Used: the second agent with the same token has another key.
        let used = try await create("used")
        #expect(try await federation.join("used", token: used) == 0)
        try federation.writeConfiguration(of: .init("again"))
        #expect(try await refused("again", used).contains("used"))

        let expired = try await create("expired")
        try await federation.query("UPDATE join_tokens SET expires_ms = created_ms WHERE cluster = 'expired'")
        #expect(try await refused("expired", expired).contains("expired"))

        // Of the right shape, but nobody made it; and one that trusts another CA, which the agent itself then refuses.
        let token = try await create("wrong")
        let real = try JoinToken(text: token)
        var random = SystemRandomNumberGenerator()
        let unknown = JoinToken(pin: real.pin, using: &random).text
        #expect(try await refused("wrong", unknown).contains("does not know"))
        let foreign = JoinToken(pin: try #require(CAPin(bytes: Array(repeating: 7, count: 32))), using: &random).text
        let pinned = try await refused("wrong", foreign)
        #expect(pinned.contains("pin") || pinned.contains("certificate"), "\(pinned)")
        #expect(try await refused("wrong", String(token.dropLast(9))).contains("cut off"))
        #expect(try await federation.join("wrong", token: token) == 0, "a refused attempt must not spend the token")

        try await poll("the refusals are audited", timeout: .seconds(20)) {
          let rows = try await federation.query(
            "SELECT address FROM audit WHERE action = 'agent.joinRefused' AND is_denied")
          return try rows.rows.count >= 3 && rows.rows.allSatisfy { try $0.text(0) == "127.0.0.1" }
        }
      }
    }

    @Test("revoking a cluster closes its open stream within two seconds, and it cannot come back")
    func revoke() async throws {
      var options = FederationOptions()
      options.agents = [.init("kept"), .init("gone")]
      try await Federation.with(options) { federation in
        let client = try federation.client()
        let asked = ContinuousClock.now
        let revoked = try await federation.fubini(["cluster", "revoke", "gone", "--yes"])
        try #require(revoked.code == 0, "\(revoked.output)")
        try await poll("the stream is closed", timeout: .seconds(2)) {
          try await client.cluster("gone").live?.isConnected != true
        }
        print("revoke: stream closed after \(ContinuousClock.now - asked)")
        #expect(try await client.cluster("gone").state == "Revoked")
        #expect(try await client.cluster("kept").live?.isConnected == true)
        // It dials again, and again is refused.
        try await Task.sleep(for: .seconds(2))
        #expect(try await client.cluster("gone").live?.isConnected != true)
      }
    }

    @Test("join to ready takes less than two seconds")
    func joinTime() async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let client = try federation.client()
        let agent = FederationOptions.Agent("quick")
        let began = ContinuousClock.now
        try await federation.join(agent)
        try federation.startAgent(agent.name)
        try await poll("it is connected", timeout: .seconds(20)) {
          try await client.cluster("quick").live?.isConnected == true
        }
        let took = ContinuousClock.now - began
        print("join to ready: \(took)")
        // Twice the goal here, because tests run beside each other; the benchmark measures alone.
        #expect(took < .seconds(4))
      }
    }
  }
}
