import FederationAPI
import FederationModel
import FederationPKI
import GRPCCore

extension AgentGatewayService {
  /// Exchanges a one-time token for a certificate of the key that the TLS session was made with.
  func join(request: Fubini_Agent_V1_JoinRequest, context: ServerContext) async throws
    -> Fubini_Agent_V1_CertificateReply
  {
    guard case .joining(let publicKey) = AgentAuthenticator.peer else {
      throw RPCError(FederationError(.failedPrecondition, "this agent has joined already"))
    }
    var tokenID = "unreadable"
    do {
      guard request.token.utf8.count <= 512 else { throw JoinTokenRecord.unknown }
      let token = try JoinToken(text: request.token)
      tokenID = token.id
      let moment = now()
      guard var record = try await identities.joinToken(id: token.id) else { throw JoinTokenRecord.unknown }
      // A used token is refused by the store below, unless the same key asks again because the first answer was lost.
      let usedAt = record.usedAt
      record.usedAt = nil
      let cluster = try record.admit(token, at: moment)
      record.usedAt = usedAt
      let issued = try authority.issueAgentCertificate(
        for: cluster, requestDER: Array(request.csrDer), expectedKey: publicKey, at: moment, using: &Self.random)
      let keyHash = SecretHash(of: publicKey).description
      guard try await identities.redeem(record, keyHash: keyHash, certificate: issued.record(for: cluster), at: moment)
      else {
        throw FederationError(
          .unauthenticated, "this join token has been used; make a new one with `fubini cluster token \(cluster)`")
      }
      try await identities.audit(
        at: moment, actor: "token:\(token.id)", action: "agent.join", object: cluster.text,
        detail: "from \(context.remotePeer)")
      return try reply(issued, cluster)
    } catch let error as FederationError {
      logger.warning(
        "a join was refused",
        metadata: ["token": "\(tokenID)", "remote": "\(context.remotePeer)", "code": "\(error.code)"])
      try? await identities.audit(
        at: now(), actor: "token:\(tokenID)", action: "agent.joinRefused", object: "",
        detail: "from \(context.remotePeer): \(error.publicMessage)")
      throw RPCError(error)
    }
  }

  /// Exchanges a certificate, valid or expired for at most 30 days, for a new one of the same cluster.
  func renew(request: Fubini_Agent_V1_RenewRequest, context: ServerContext) async throws
    -> Fubini_Agent_V1_CertificateReply
  {
    let agent: AgentIdentity
    switch AgentAuthenticator.peer {
    case .agent(let identity), .expiredAgent(let identity): agent = identity
    case .joining, nil:
      throw RPCError(FederationError(.unauthenticated, "only an agent's own certificate can be renewed"))
    }
    do {
      let moment = now()
      let issued = try authority.issueAgentCertificate(
        for: agent.cluster, requestDER: Array(request.csrDer), expectedKey: nil, at: moment, using: &Self.random)
      try await identities.record(issued.record(for: agent.cluster))
      return try reply(issued, agent.cluster)
    } catch let error as FederationError {
      throw RPCError(error)
    }
  }

  private func reply(_ issued: IssuedCertificate, _ cluster: ClusterName) throws -> Fubini_Agent_V1_CertificateReply {
    let bundle = try authority.bundle.pem()
    return .with {
      $0.certificatePem = issued.pem
      $0.caPem = bundle
      $0.cluster = cluster.text
      $0.federationID = federationID
    }
  }

  private static var random: SystemRandomNumberGenerator {
    get { SystemRandomNumberGenerator() }
    set {}
  }
}

extension IssuedCertificate {
  fileprivate func record(for cluster: ClusterName) -> IssuedCertificateRecord {
    IssuedCertificateRecord(
      cluster: cluster, serial: serial, fingerprint: fingerprint.description, issuedAt: notBefore, notAfter: notAfter)
  }
}
