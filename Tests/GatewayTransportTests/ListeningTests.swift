import AgentRuntime
import ControlPlaneServer
import FederationAPI
import FederationModel
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import SwiftProtobuf
import Testing

/// Where the agent port can be reached, for what the configuration says.
@Suite(.serialized, .timeLimit(.minutes(1))) struct ListeningTests {
  @Test(
    "the agent port serves at the addresses that it is configured for",
    arguments: [
      ("127.0.0.1", ["127.0.0.1"]), ("::1", ["[::1]"]), ("[::1]", ["[::1]"]), ("::", ["[::1]", "127.0.0.1"]),
      ("0.0.0.0", ["127.0.0.1"]),
    ])
  func serves(host: String, dialled: [String]) async throws {
    try await withGateway(host: host) { gateway in
      for address in dialled {
        var there = gateway
        there.host = address
        try await there.connected(gateway.agent("edge")) { client in
          let answer = try await client.renew(.with { $0.csrDer = .init([1]) }, options: quickly)
          #expect(answer.cluster == "edge", "\(address)")
        }
      }
    }
  }

  @Test("a name is bound at the address that it resolves to; one that does not resolve is refused with its name")
  func names() async throws {
    let local = try GatewayTransport.address(host: "localhost", port: 1)
    #expect(local.ipv4?.host == "127.0.0.1" || local.ipv6?.host == "::1")
    #expect(try GatewayTransport.address(host: "[2001:db8::1]", port: 7).ipv6?.host == "2001:db8::1")
    let error = #expect(throws: FederationError.self) {
      try GatewayTransport.address(host: "no-such-host.invalid", port: 1)
    }
    #expect(error?.publicMessage.contains("no-such-host.invalid") == true)
  }
}
