import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FederationPKI
import Hummingbird

extension APIServer {
  var serverRoutes: [Route] {
    [
      Route(.get, "/healthz", .open, "Whether the process lives.") { _, _ in .text("ok\n") },
      Route(.get, "/readyz", .open, "Whether the process can serve.") { _, _ in try await readiness() },
      Route(.get, "/metrics", .federation(.read, .server), "Prometheus text.") { _, _ in
        .text(
          services.metrics.prometheusText(await services.commands.leadership),
          type: "text/plain; version=0.0.4; charset=utf-8")
      },
      Route(.get, "/v1/version", .open, "What answers at this URL.") { _, _ in try await version() },
      Route(.get, "/v1/userinfo", .authenticated, "Who the token speaks for.") { _, context in
        let caller = try context.signedIn()
        return try .json(UserDocument(caller))
      },
      Route(
        .get, "/v1/doctor", .federation(.read, .server),
        "What this control plane finds about itself, its database and its files."
      ) {
        _, _ in
        try .json(DoctorDocument(findings: await services.examine()))
      },
      Route(.get, "/v1/audit", .federation(.read, .audit), "Who changed what and who was denied it, newest first.") {
        request, _ in
        try await audit(request)
      },
    ]
  }

  private func readiness() async throws -> Response {
    let leadership = await services.commands.leadership
    var reason = leadership.isLeader || leadership.leaderURL != nil ? "" : "nobody leads just now"
    if reason.isEmpty {
      do { _ = try await services.store.position() } catch { reason = "the database cannot be reached" }
    }
    return try .json(
      ReadinessDocument(ready: reason.isEmpty, reason: reason), reason.isEmpty ? .ok : .serviceUnavailable)
  }

  private func version() async throws -> Response {
    let leadership = await services.commands.leadership
    return try .json(
      VersionDocument(
        version: ProductVersion.current, federationID: services.authority.current.federationID,
        agentProtocolMin: services.sessions.protocols.lowerBound,
        agentProtocolMax: services.sessions.protocols.upperBound, isLeader: leadership.isLeader,
        leaderURL: leadership.leaderURL, time: Timestamp.wallClock.wire))
  }

  private func audit(_ request: Request) async throws -> Response {
    let limit = try request.limit()
    let before = try request.query("continue").map { try Cursor.number($0) }
    let filter = AuditFilter(
      since: try request.query("since").map { try Self.moment($0, "since") }, actor: request.query("actor"),
      isDenied: try request.query("denied").map { text in
        guard let value = Bool(text) else { throw FederationError(.invalidArgument, "denied is true or false") }
        return value
      })
    let rows = try await services.store.audit(filter, before: before, limit: limit)
    return try .json(
      AuditList(
        items: rows.map {
          AuditDocument(
            id: $0.sequence, at: $0.row.at.wire, actor: $0.row.actor, action: $0.row.action, object: $0.row.object,
            detail: $0.row.detail, address: $0.row.address, isDenied: $0.row.isDenied)
        }, next: rows.count == limit ? rows.last.map { String($0.sequence) } : nil))
  }
}

extension APIServer {
  /// A moment of the past that a query names.
  static func moment(_ text: String, _ name: String) throws -> Timestamp {
    guard let moment = RFC3339.parse(text) else {
      throw FederationError(
        .invalidArgument, "\(name) is a moment like 2026-03-01T12:00:00Z, not \"\(text.prefix(40))\"")
    }
    return moment
  }
}

extension UserDocument {
  init(_ caller: Caller) {
    let rights = caller.rights
    let projects = rights.projects.filter { rights.knows($0.key) }
    let organisations = rights.organisations.filter { rights.knows(organisation: $0.key) }
    self.init(
      user: caller.user, isAdmin: rights.boundTo == nil && rights.federation.contains(.orgAdmin),
      projects: (rights.boundTo.map { [$0.text] } ?? projects.keys.map(\.text)).sorted(),
      roles: rights.federation.sorted { $0.rawValue < $1.rawValue },
      projectRoles: Dictionary(
        uniqueKeysWithValues: projects.map { ($0.key.text, $0.value.sorted { $0.rawValue < $1.rawValue }) }),
      scopes: rights.scopes.map(\.description).sorted(), token: caller.tokenID, expiresAt: caller.expiresAt?.wire,
      organisationRoles: organisations.isEmpty
        ? nil
        : Dictionary(
          uniqueKeysWithValues: organisations.map {
            ($0.key.text, $0.value.roles.sorted { $0.rawValue < $1.rawValue })
          }))
  }
}

/// Places in lists, as clients hand them back.
enum Cursor {
  /// - Parameter name: of the query parameter; nil: it is a part of `continue`.
  static func number(_ text: String, _ name: String? = nil) throws -> Int64 {
    guard let value = Int64(text), value >= 0 else {
      throw FederationError(
        .invalidArgument,
        name.map { "\($0) is a number from 0, not \"\(text.prefix(40))\"" }
          ?? "continue is what `next` of the page before said")
    }
    return value
  }
}
