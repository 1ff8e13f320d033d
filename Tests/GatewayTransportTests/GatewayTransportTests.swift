import AgentRuntime
import ControlPlaneServer
import Crypto
import FederationAPI
import FederationModel
import FederationPKI
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import SwiftASN1
import SwiftProtobuf
import Synchronization
import Testing
import X509

@Suite("Gateway and agent transport, over real mTLS", .timeLimit(.minutes(1)))
struct GatewayTransportTests {
  typealias Client = Fubini_Agent_V1_AgentGateway.Client<HTTP2ClientTransport.Posix>

  @Test("a joining agent may join and nothing else")
  func joining() async throws {
    try await withGateway { gateway in
      try await gateway.connected(gateway.joining()) { (client) async throws in
        #expect(try await client.join(.init(), options: quickly).cluster == "joining with a key of 65 bytes")
        let renewal = await rpcError { _ = try await client.renew(.init(), options: quickly) }
        #expect(renewal?.code == .unauthenticated)
        #expect(renewal?.message == PeerRefusal.mustJoin.federationError.publicMessage)
        let session = await rpcError { _ = try await whoAmI(client) }
        #expect(session?.code == .unauthenticated)
      }
      #expect(gateway.audit.all.map(\.refusal) == [.mustJoin, .mustJoin])
      #expect(gateway.audit.all.map(\.method) == ["Renew", "Session"])
      #expect(gateway.revocations.questions == 0)
    }
  }

  @Test("an agent is its own cluster in every call, and may not join again")
  func agents() async throws {
    try await withGateway { gateway in
      for cluster in ["edge-1", "edge-2"] as [ClusterName] {
        try await gateway.connected(gateway.agent(cluster)) { (client) async throws in
          #expect(try await whoAmI(client).cluster == cluster)
          #expect(try await client.renew(.init(), options: quickly).cluster == cluster.text)
          let data = try await client.getArtifact(.init(), options: quickly) { response in
            try await response.messages.reduce(into: "") { $0 += String(decoding: $1.data, as: UTF8.self) }
          }
          #expect(data == cluster.text)
          #expect(await rpcError { _ = try await client.join(.init(), options: quickly) }?.code == .failedPrecondition)
        }
      }
    }
  }

  @Test("a certificate of cluster A, or one that A signed for B, is never accepted as B")
  func neverAnother() async throws {
    try await withGateway { gateway in
      let keyOfA = P256.Signing.PrivateKey()
      let key = P256.Signing.PrivateKey()
      // The forger copies the CA's name, and signs with A's key.
      let forged = try Certificate(
        version: .v3, serialNumber: .init(), publicKey: .init(key.publicKey),
        notValidBefore: Date(timeIntervalSince1970: Double(noon.milliseconds) / 1000 - 60),
        notValidAfter: Date(timeIntervalSince1970: Double(noon.milliseconds) / 1000 + 3600),
        issuer: gateway.authority.certificate.subject,
        subject: DistinguishedName { CommonName("edge-b") }, signatureAlgorithm: .ecdsaWithSHA256,
        extensions: Certificate.Extensions {
          try ExtendedKeyUsage([.clientAuth])
          SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://fed.test/agent/edge-b")])
        }, issuerPrivateKey: .init(keyOfA))
      let credentials = try AgentCredentials(
        certificatePEM: forged.serializeAsPEM().pemString, keyPEM: key.pemRepresentation,
        trust: .bundle(gateway.authority.bundle))
      try await gateway.connected(credentials) { (client) async throws in
        let error = await rpcError { _ = try await whoAmI(client) }
        #expect(error?.code == .unauthenticated)
        #expect(error?.message.contains("another authority") == true)
      }
      #expect(gateway.audit.all.map(\.refusal) == [.foreignAuthority])
    }
  }

  @Test("an agent of another federation is refused, told so, and audited")
  func foreign() async throws {
    try await withGateway { gateway in
      var stranger = gateway
      stranger.authority = try makeAuthority(id: "other")
      let credentials = try stranger.agent("edge-1")
      var random = SystemRandomNumberGenerator()
      let key = AgentKey(using: &random)
      let issued = try stranger.authority.issueAgentCertificate(
        requestDER: key.request(), cluster: "edge-1", at: noon, using: &random)
      // It has been pointed at this gateway, and even trusts it.
      try credentials.replace(certificatePEM: issued.pem, keyPEM: key.pem, trust: .bundle(gateway.authority.bundle))
      try await gateway.connected(credentials) { (client) async throws in
        #expect(await rpcError { _ = try await whoAmI(client) }?.message.contains("another authority") == true)
      }
      #expect(gateway.audit.all.first?.remote.contains("127.0.0.1") == true)
    }
  }

  @Test("an expired certificate may renew for 30 days, and only that")
  func expired() async throws {
    try await withGateway { gateway in
      try await gateway.connected(gateway.agent("edge-1")) { (client) async throws in
        #expect(try await whoAmI(client).cluster == "edge-1")
        // The server's own certificate is renewed daily; this connection stays.
        gateway.clock.set(noon + .seconds(86401))
        #expect(try await client.renew(.init(), options: quickly).cluster == "edge-1, expired")
        let error = await rpcError { _ = try await whoAmI(client) }
        #expect(error?.message == PeerRefusal.mustRenew.federationError.publicMessage)
        gateway.clock.set(noon + .seconds(31 * 86400 + 1))
        #expect(
          await rpcError { _ = try await client.renew(.init(), options: quickly) }?.message.contains("30 days") == true)
      }
      #expect(gateway.audit.all.map(\.refusal) == [.mustRenew, .expiredTooLong])
    }
  }

  @Test("revoking a cluster ends its open stream within 2 s, leaves others alone, and refuses its calls from then on")
  func revocation() async throws {
    try await withGateway { gateway in
      try await gateway.connected(gateway.agent("edge-2")) { (other) async throws in
        try await gateway.connected(gateway.agent("edge-1")) { (client) async throws in
          let started = Mutex<ContinuousClock.Instant?>(nil)
          let error = await rpcError {
            try await client.session(
              options: .defaults,
              requestProducer: { writer in
                try await writer.write(.init())
                try await Task.sleep(for: .seconds(30))
              },
              onResponse: { response in
                for try await message in response.messages {
                  #expect(message.refused.code == "edge-1")
                  started.withLock { $0 = .now }
                  gateway.authenticator.revoke("edge-1", issuedUpTo: noon)
                }
              })
          }
          let instant = try #require(started.withLock { $0 })
          #expect(instant.duration(to: .now) < .seconds(2))
          #expect(error?.code == .permissionDenied)
          #expect(error.map(FederationError.init)?.publicMessage.contains("revoked") == true)
          #expect(await rpcError { _ = try await whoAmI(client) }?.code == .permissionDenied)
          #expect(await rpcError { _ = try await client.renew(.init(), options: quickly) }?.code == .permissionDenied)
        }
        #expect(try await whoAmI(other).cluster == "edge-2")
        // What is issued to the cluster afterwards is good again.
        try await gateway.connected(gateway.agent("edge-1", at: noon + .seconds(1))) { (client) async throws in
          #expect(try await whoAmI(client).cluster == "edge-1")
        }
      }
      #expect(gateway.audit.all.allSatisfy { $0.refusal == .revoked && $0.agent?.cluster == "edge-1" })
    }
  }

  @Test("a revocation made elsewhere is seen as soon as the cached answer is 1.5 s old; no answer is no admission")
  func durableRevocation() async throws {
    try await withGateway { gateway in
      try await gateway.connected(gateway.agent("edge-1")) { (client) async throws in
        for _ in 0..<5 { #expect(try await whoAmI(client).cluster == "edge-1") }
        #expect(gateway.revocations.questions == 1)
        gateway.revocations.insert("edge-1")
        gateway.clock.set(noon + .milliseconds(1500))
        #expect(await rpcError { _ = try await whoAmI(client) }?.code == .permissionDenied)
        gateway.revocations.goDown()
        let error = await rpcError { _ = try await whoAmI(client) }
        #expect(error?.code == .unavailable)
        #expect(error.map(FederationError.init)?.retryAfter == .seconds(2))
      }
    }
  }

  @Test("a joining agent with another pin does not believe the gateway, sends nothing, and can say why")
  func wrongPin() async throws {
    try await withGateway { gateway in
      let credentials = try gateway.joining(pin: makeAuthority(id: "other").pin)
      try await gateway.connected(credentials) { (client) async throws in
        #expect(await rpcError { _ = try await client.join(.init(), options: quickly) } != nil)
      }
      #expect(credentials.lastRefusal?.code == .permissionDenied)
      #expect(credentials.lastRefusal?.publicMessage.contains("join token") == true)
      let member = try gateway.agent("edge-1")
      var random = SystemRandomNumberGenerator()
      let key = AgentKey(using: &random)
      try member.replace(
        certificatePEM: key.joiningCertificate(at: noon, using: &random), keyPEM: key.pem,
        trust: .bundle(makeAuthority(id: "third").bundle))
      try await gateway.connected(member) { (client) async throws in
        #expect(await rpcError { _ = try await client.join(.init(), options: quickly) } != nil)
      }
      #expect(member.lastRefusal?.publicMessage.contains("another authority") == true)
      #expect(gateway.audit.all.isEmpty)
    }
  }

  @Test("rotation keeps the open stream; the next connection presents the new certificate")
  func rotation() async throws {
    try await withGateway { gateway in
      let credentials = try gateway.agent("edge-1")
      try await gateway.connected(credentials) { (client) async throws in
        let (requests, continuation) = AsyncStream<Fubini_Agent_V1_AgentMessage>.makeStream()
        continuation.yield(.init())
        let serials = try await client.session(
          options: .defaults,
          requestProducer: { writer in for await message in requests { try await writer.write(message) } },
          onResponse: { response in
            var serials: [String] = []
            for try await message in response.messages {
              serials.append(message.refused.message)
              if serials.count == 1 {
                var random = SystemRandomNumberGenerator()
                let key = AgentKey(using: &random)
                let issued = try gateway.authority.issueAgentCertificate(
                  requestDER: key.request(), cluster: "edge-1", at: noon, using: &random)
                try credentials.replace(
                  certificatePEM: issued.pem, keyPEM: key.pem, trust: .bundle(gateway.authority.bundle))
                let pem = try serverPEM(gateway.authority)
                try gateway.serverCredentials.replace(
                  certificatePEM: pem.certificate, authorityPEM: pem.authority, keyPEM: pem.key)
                let next = try await gateway.connected(credentials) { try await whoAmI($0) }
                #expect(next.serial == issued.serial)
                continuation.yield(.init())
              } else {
                continuation.finish()
              }
            }
            return serials
          })
        #expect(serials.count == 2)
        #expect(Set(serials).count == 1)
      }
    }
  }

  @Test("a message of more than 8 MiB is refused, one of 7 MiB is taken")
  func messageSize() async throws {
    try await withGateway { gateway in
      try await gateway.connected(gateway.agent("edge-1")) { (client) async throws in
        @Sendable func put(_ count: Int) async throws -> Int64 {
          try await client.putArtifact(options: quickly) { writer in
            try await writer.write(.with { $0.data = Data(count: count) })
          } onResponse: {
            try $0.message.size
          }
        }
        #expect(try await put(7 << 20) == 7 << 20)
        #expect(await rpcError { _ = try await put(9 << 20) } != nil)
        #expect(try await whoAmI(client).cluster == "edge-1")
      }
    }
  }

  private func whoAmI(_ client: Client) async throws -> (cluster: ClusterName, serial: String) {
    try await client.session(
      options: quickly, requestProducer: { try await $0.write(.init()) },
      onResponse: { response in
        for try await message in response.messages {
          return (ClusterName(message.refused.code), message.refused.message)
        }
        throw RPCError(code: .dataLoss, message: "the stream ended without an answer")
      })
  }
}
