import ControlPlaneCore
import ControlPlaneStore
import Crypto
import FederationAPI
import FederationModel
import FederationPKI
import GRPCCore
import Logging
import SwiftProtobuf

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
      let cluster = try await redeem(token, publicKey, at: moment)
      // One CA for the whole answer, though it may be replaced meanwhile.
      let authority = authority.current
      let issued = try authority.issueAgentCertificate(
        requestDER: Array(request.csrDer), cluster: cluster, expectedKey: publicKey, at: moment, using: &Self.random)
      try await record(issued, by: authority, for: cluster)
      try await store.appendAudit(
        AuditRow(
          at: moment, actor: "token:\(token.id)", action: "agent.join", object: cluster.text,
          detail: "from \(context.remotePeer)"))
      return try reply(issued, by: authority, cluster)
    } catch let error as FederationError {
      logger.warning(
        "a join was refused",
        metadata: ["token": "\(tokenID)", "remote": "\(context.remotePeer)", "code": "\(error.code)"])
      denials.note(
        DenialLog.Refused(
          actor: "token:\(tokenID)", address: DenialLog.host(of: context.remotePeer), action: "agent.joinRefused",
          object: "", reason: error.publicMessage), at: now())
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
      let authority = authority.current
      let issued = try authority.issueAgentCertificate(
        requestDER: Array(request.csrDer), cluster: agent.cluster, expectedKey: nil, at: moment, using: &Self.random)
      try await record(issued, by: authority, for: agent.cluster)
      return try reply(issued, by: authority, agent.cluster)
    } catch let error as FederationError {
      throw RPCError(error)
    }
  }

  /// Uses the token up for this key. The same key may ask again: its first answer may have been lost on the way.
  private func redeem(_ token: JoinToken, _ publicKey: [UInt8], at moment: Timestamp) async throws -> ClusterName {
    let hash = token.record(cluster: "", expiresAt: moment).secretHash
    switch try await store.consumeJoinToken(hash: hash.bytes, key: Array(SHA256.hash(data: publicKey)), at: moment) {
    case .accepted(let cluster): return cluster
    case .unknown: throw JoinTokenRecord.unknown
    case .used(let cluster):
      throw FederationError(
        .unauthenticated, "this join token has been used; make a new one with `fubini cluster token \(cluster)`")
    case .expired(let cluster):
      throw FederationError(
        .unauthenticated, "this join token has expired; make a new one with `fubini cluster token \(cluster)`")
    }
  }

  private func record(
    _ issued: IssuedCertificate, by authority: CertificateAuthority, for cluster: ClusterName
  ) async throws {
    let trusted = authority.bundle.fingerprints
    try await store.recordCertificate(
      serial: issued.serial, fingerprint: issued.fingerprint.description, cluster: cluster, issuedAt: issued.notBefore,
      notAfter: issued.notAfter, authority: trusted[0], trusts: trusted, at: now())
  }

  private func reply(
    _ issued: IssuedCertificate, by authority: CertificateAuthority, _ cluster: ClusterName
  ) throws -> Fubini_Agent_V1_CertificateReply {
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
