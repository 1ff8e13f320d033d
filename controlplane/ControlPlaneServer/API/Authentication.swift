import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import FederationPKI
import HTTPTypes
import Hummingbird
import Logging
import Synchronization

/// Who makes a request.
struct Caller: Sendable, Hashable {
  var user: String
  /// Of the token; not secret.
  var tokenID: String
  var rights: AccessRights
  /// Of the token; nil: it does not end by itself.
  var expiresAt: Timestamp?
  /// Where the request came from; empty when nobody knows.
  var address: String

  /// The project of a request that names none.
  var project: ProjectName? { rights.boundTo }
  var principal: Principal { Principal(user: user, address: address) }

  /// The line of the audit log about a change that this caller makes.
  func auditing(_ action: String, _ object: String, _ detail: String = "") -> AuditRow {
    AuditRow(at: .wallClock, actor: user, address: address, action: action, object: object, detail: detail)
  }
}

/// Tells who a bearer token is, and what it may do. Tokens are stored as hashes.
///
/// An answer is remembered for a short while, and only as long as changes are heard of: a revocation, like every change of a role, voids
/// all that is remembered, here at once and on the other replicas when the notification arrives. Where notifications are lost without
/// anybody noticing, it acts within `cachedFor`.
///
/// Another issuer of identities (OIDC) would be one more way from a header to a `TokenRecord`.
final class Authenticator: Sendable {
  private struct Known {
    var record: TokenRecord
    var askedAt: ContinuousClock.Instant
    /// Of `changes` when it was asked.
    var version: Int64
  }
  private let store: ControlPlaneStore
  private let changes: ChangeNotifier
  private let addresses: ClientAddress
  private let logger: Logger
  private let known = Mutex<[SecretHash: Known]>([:])
  static let cachedFor = Duration.seconds(2)
  private static let cacheLimit = 4096
  /// How old the note of a token's last use may grow.
  private static let useNotedEvery = Duration.seconds(60)

  init(store: ControlPlaneStore, changes: ChangeNotifier, addresses: ClientAddress, logger: Logger) {
    self.store = store
    self.changes = changes
    self.addresses = addresses
    self.logger = logger
  }

  /// - Throws: `.unauthenticated`, the same for a token that never was, has expired or was revoked.
  func caller(of request: Request, _ context: APIContext) async throws -> Caller {
    guard !Self.hasTokenInURL(request) else {
      throw FederationError(.unauthenticated, "a token in a URL ends up in logs: send it in the Authorization header")
    }
    guard let header = request.headers[.authorization] else {
      throw FederationError(.unauthenticated, "this request needs a token: Authorization: Bearer fbn_...")
    }
    let words = header.split(separator: " ")
    guard words.count == 2, words[0].lowercased() == "bearer", words[1].utf8.count <= 512 else {
      throw FederationError(.unauthenticated, "the Authorization header must be: Bearer fbn_...")
    }
    guard let token = try? BearerToken(text: String(words[1])) else { throw Self.refused }
    let record = try await record(of: token)
    return Caller(
      user: record.user, tokenID: record.id, rights: record.rights, expiresAt: record.expiresAt,
      address: address(of: request, context))
  }

  func address(of request: Request, _ context: APIContext) -> String {
    addresses.client(peer: context.peer, forwarded: request.headers[values: .forwardedFor])
  }

  /// Whether the URL holds something that is a token by its name or its form, wherever it stands.
  private static func hasTokenInURL(_ request: Request) -> Bool {
    if ["token", "access_token"].contains(where: { request.query($0) != nil }) { return true }
    let words = request.uri.string.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
    return words.contains { (try? BearerToken(text: String($0))) != nil }
  }

  private func record(of token: BearerToken) async throws -> TokenRecord {
    let now = Timestamp.wallClock
    let version = changes.version
    let cached = known.withLock { $0[token.hash] }
    if let cached, changes.isListening, cached.version == version, .now - cached.askedAt < Self.cachedFor {
      return try Self.valid(cached.record, at: now)
    }
    // The lookup is by the hash of a secret of 256 random bits: its timing tells nothing that could be searched for.
    guard var record = try await store.token(hash: token.hash.bytes) else { throw Self.refused }
    _ = try Self.valid(record, at: now)
    if record.usedAt.map({ now - $0 >= Self.useNotedEvery }) ?? true {
      // What it is noted for is a person who looks: a database that is slow or read-only is no reason to refuse.
      do { try await store.noteUse(ofToken: record.id, at: now) } catch {
        logger.debug("the use of a token was not noted", metadata: ["token": "\(record.id)"])
      }
      record.usedAt = now
    }
    known.withLock {
      if $0.count >= Self.cacheLimit { $0.removeAll() }
      $0[token.hash] = Known(record: record, askedAt: .now, version: version)
    }
    return record
  }

  private static func valid(_ record: TokenRecord, at now: Timestamp) throws -> TokenRecord {
    guard !record.isRevoked, record.expiresAt.map({ $0 > now }) ?? true else { throw refused }
    return record
  }

  private static var refused: FederationError {
    FederationError(.unauthenticated, "the token is not valid: it is wrong, was revoked, or has expired")
  }
}

extension HTTPField.Name {
  static let forwardedFor = HTTPField.Name("X-Forwarded-For")!
}
