import ControlPlaneStore
import FederationModel
import FederationPKI
import HTTPTypes
import Hummingbird
import Synchronization

/// Who makes a request.
struct Caller: Sendable, Hashable {
  var user: String
  var isAdmin: Bool
  /// nil: every project that the user may use.
  var project: ProjectName?
}

/// Tells who a bearer token is. Tokens are stored as hashes, and an answer is believed for a short while, so that a revocation acts
/// within `cachedFor`.
final class Authenticator: Sendable {
  private struct Known {
    var caller: Caller
    var expiresAt: Timestamp?
    var askedAt: ContinuousClock.Instant
  }
  private let store: ControlPlaneStore
  private let known = Mutex<[SecretHash: Known]>([:])
  static let cachedFor = Duration.seconds(2)
  private static let cacheLimit = 4096

  init(store: ControlPlaneStore) { self.store = store }

  /// - Throws: `.unauthenticated`, the same for a token that never was, has expired or was revoked.
  func caller(of request: Request) async throws -> Caller {
    guard request.query("token") == nil, request.query("access_token") == nil else {
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
    let now = Timestamp.wallClock
    if let cached = known.withLock({ $0[token.hash] }), .now - cached.askedAt < Self.cachedFor {
      guard cached.expiresAt.map({ $0 > now }) ?? true else { throw Self.refused }
      return cached.caller
    }
    // The lookup is by the hash of a secret of 256 random bits: its timing tells nothing that could be searched for.
    guard let record = try await store.token(hash: token.hash.bytes), !record.isRevoked,
      record.expiresAt.map({ $0 > now }) ?? true
    else { throw Self.refused }
    let caller = Caller(user: record.user, isAdmin: record.isAdmin, project: record.project)
    known.withLock {
      if $0.count >= Self.cacheLimit { $0.removeAll() }
      $0[token.hash] = Known(caller: caller, expiresAt: record.expiresAt, askedAt: .now)
    }
    return caller
  }

  private static var refused: FederationError {
    FederationError(.unauthenticated, "the token is not valid: it is wrong, was revoked, or has expired")
  }
}

/// The one place where requests are authorised. Default deny: every route names its access, and every project is asked for here.
enum Authorisation {
  static func check(_ access: Route.Access, _ caller: Caller) throws {
    switch access {
    case .open, .authenticated, .project: return
    case .admin:
      guard caller.isAdmin else {
        throw FederationError(.permissionDenied, "this needs an administrator's token")
      }
    }
  }

  /// The answer to another project is that there is no such project: not even its existence is told.
  static func check(_ project: ProjectName, _ caller: Caller) throws {
    guard caller.isAdmin || caller.project == nil || caller.project == project else {
      throw FederationError(.notFound, "there is no project \(project) that you may use")
    }
  }
}
