internal import FederationAPI
internal import FederationModel
internal import FederationPKI
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import SwiftASN1
internal import SwiftProtobuf
internal import X509

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's identity on disk: `identity/` in the state directory, 0700, files 0600.
///
/// A certificate and its key are one file, so that a crash can never pair a new one with an old one.
struct CertificateStore: Sendable {
  struct Identity: Sendable {
    var certificatePEM: String
    var key: AgentKey
    var caPEM: String
    var cluster: ClusterName
    var federationID: String
    var notBefore: Timestamp
    var notAfter: Timestamp
  }

  let directory: SecretDirectory

  init(stateDirectory: String) throws { directory = try SecretDirectory(path: stateDirectory + "/identity") }

  /// nil when the agent has not joined.
  func load() throws -> Identity? {
    guard let pair = try directory.read("agent.pem"), let caPEM = try directory.read("ca.pem"),
      let names = try directory.read("names")
    else { return nil }
    let lines = names.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.count >= 2, let boundary = pair.firstRange(of: "-----BEGIN CERTIFICATE-----") else {
      throw FederationError(.failedPrecondition, "\(directory.path) is damaged: join anew")
    }
    let key = try AgentKey(pem: String(pair[..<boundary.lowerBound]))
    let certificate = String(pair[boundary.lowerBound...])
    let validity = try key.validity(ofCertificatePEM: certificate)
    return Identity(
      certificatePEM: certificate, key: key, caPEM: caPEM, cluster: ClusterName(lines[0]), federationID: lines[1],
      notBefore: validity.notBefore, notAfter: validity.notAfter)
  }

  func save(_ reply: Fubini_Agent_V1_CertificateReply, key: AgentKey) throws -> Identity {
    let validity = try key.validity(ofCertificatePEM: reply.certificatePem)
    // Read once before it is kept: what cannot be trusted must not replace what can.
    _ = try TrustBundle(trustDomain: try Self.trustDomain(ofCertificatePEM: reply.certificatePem), pem: reply.caPem)
    try directory.write(reply.caPem, to: "ca.pem")
    try directory.write("\(reply.cluster)\n\(reply.federationID)\n", to: "names")
    try directory.write(key.pem + reply.certificatePem, to: "agent.pem")
    return Identity(
      certificatePEM: reply.certificatePem, key: key, caPEM: reply.caPem, cluster: ClusterName(reply.cluster),
      federationID: reply.federationID, notBefore: validity.notBefore, notAfter: validity.notAfter)
  }

  static func trust(_ identity: Identity) throws -> ControlPlaneTrust { .bundle(try bundle(identity)) }

  /// The federation's authorities.
  static func bundle(_ identity: Identity) throws -> TrustBundle {
    try TrustBundle(trustDomain: try trustDomain(ofCertificatePEM: identity.certificatePEM), pem: identity.caPEM)
  }

  /// The authority part of the SPIFFE id that the certificate carries.
  private static func trustDomain(ofCertificatePEM pem: String) throws -> TrustDomain {
    let names = try? Certificate(pemEncoded: pem).extensions.subjectAlternativeNames
    for case .uniformResourceIdentifier(let uri) in names.map(Array.init) ?? [] where uri.hasPrefix("spiffe://") {
      return try TrustDomain(String(uri.dropFirst(9).prefix { $0 != "/" }))
    }
    throw FederationError(.invalidArgument, "The agent's certificate names no trust domain. Join anew.")
  }

  static func credentials(_ identity: Identity) throws -> AgentCredentials {
    try AgentCredentials(certificatePEM: identity.certificatePEM, keyPEM: identity.key.pem, trust: try trust(identity))
  }
}

/// Exchanging tokens and certificates.
enum Enrollment {
  /// Tries each address in turn.
  ///
  /// - Throws: `.unavailable` when none can be reached; what the control plane said otherwise.
  static func join(token: JoinToken, addresses: [ControlPlaneAddress], store: CertificateStore) async throws
    -> CertificateStore.Identity
  {
    var random = SystemRandomNumberGenerator()
    let key = AgentKey(using: &random)
    let certificate = try key.joiningCertificate(at: SystemClock.now, using: &random)
    let credentials = try AgentCredentials(certificatePEM: certificate, keyPEM: key.pem, trust: .pin(token.pin))
    let request = Fubini_Agent_V1_JoinRequest.with {
      $0.token = token.text
      $0.agentVersion = SessionRunner.version
    }
    let csr = try key.request()
    let reply = try await firstAnswer(of: addresses, credentials) { client in
      try await client.join(
        request.with { $0.csrDer = .init(csr) }, options: Self.options)
    }
    return try store.save(reply, key: key)
  }

  /// A fresh connection, so that an open session is not touched. A new key every time.
  static func renew(addresses: [ControlPlaneAddress], credentials: AgentCredentials, store: CertificateStore)
    async throws -> CertificateStore.Identity
  {
    var random = SystemRandomNumberGenerator()
    let key = AgentKey(using: &random)
    let csr = try key.request()
    let reply = try await firstAnswer(of: addresses, credentials) { client in
      try await client.renew(.with { $0.csrDer = .init(csr) }, options: Self.options)
    }
    let identity = try store.save(reply, key: key)
    try credentials.replace(
      certificatePEM: identity.certificatePEM, keyPEM: identity.key.pem, trust: try CertificateStore.trust(identity))
    return identity
  }

  private static var options: CallOptions {
    var options = CallOptions.defaults
    options.timeout = .seconds(15)
    options.waitForReady = true
    return options
  }

  static func firstAnswer<Answer: Sendable>(
    of addresses: [ControlPlaneAddress], _ credentials: AgentCredentials,
    _ ask: @escaping @Sendable (any Wire.Client) async throws -> Answer
  ) async throws -> Answer {
    var last: any Error = FederationError(.unavailable, "No address was given")
    for address in addresses {
      do {
        let transport = try ControlPlaneTransport.make(to: address, credentials: credentials, now: { SystemClock.now })
        return try await withGRPCClient(transport: transport) { client in
          try await ask(Fubini_Agent_V1_AgentGateway.Client(wrapping: client))
        }
      } catch {
        // A control plane that is not believed ends it; a proxy that is in the way of this address may not be of the next.
        let refusal = credentials.lastRefusal
        if let refusal, !refusal.isRetryable { throw refusal }
        last = refusal ?? GatewayErrors.translate(error)
        // A standby or a dead address: the next may do. A refusal is the federation's answer.
        guard let failure = last as? FederationError, failure.isRetryable else { throw last }
        // A call that waits for a connection says only that the time is over, whatever kept it from one.
        if let unknown = await Self.unknownName(of: address) {
          last = FederationError(failure.code, unknown, cause: error)
          continue
        }
        last = FederationError(
          failure.code, "\(address) cannot be reached: \(failure.publicMessage). Check the address and the firewall.",
          cause: error)
      }
    }
    throw last
  }
}

extension Enrollment {
  /// That the name which would be dialled has no address here; nil when it has one.
  static func unknownName(of address: ControlPlaneAddress) async -> String? {
    let host = address.proxy?.host ?? address.host
    let code = try? await BlockingWork.run { () -> Int32 in
      var hints = addrinfo()
      hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
      var list: UnsafeMutablePointer<addrinfo>?
      let code = getaddrinfo(host, nil, &hints, &list)
      if code == 0 { freeaddrinfo(list) }
      return code
    }
    guard let code, code != 0 else { return nil }
    return
      "The name \(host) has no address here (\(String(cString: gai_strerror(code)))). Check its spelling and the DNS."
  }
}

extension Fubini_Agent_V1_JoinRequest {
  fileprivate func with(_ change: (inout Self) -> Void) -> Self {
    var copy = self
    change(&copy)
    return copy
  }
}
