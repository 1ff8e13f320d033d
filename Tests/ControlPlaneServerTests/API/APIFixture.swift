import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import FederationPKI
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import Postgres
import TestSupport

@testable import ControlPlaneServer

/// The whole API over a real database and a real leader, without agents.
struct APIFixture: Sendable {
  let controlPlane: ControlPlane
  let store: ControlPlaneStore
  let server: APIServer
  let logs: DirectoryLogStore
  /// Tokens of an administrator, and of the administrators of projects `a` and `b`, each bound to its project.
  let admin: String
  let userA: String
  let userB: String
  let database: PostgresConfiguration

  /// Changes the database behind the store's back.
  func sql(_ statements: String...) async throws {
    let connection = try await PostgresConnection.connect(database)
    for statement in statements { _ = try await connection.query(statement) }
    await connection.close()
  }

  static func use(
    commands: (@Sendable (ControlPlane) -> any CommandPort)? = nil, _ body: (APIFixture) async throws -> Void
  ) async throws {
    let configuration = try await PostgresServer.shared().createDatabase()
    let directory = NSTemporaryDirectory() + "/fubini-api-\(UInt64.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let store = ControlPlaneStore(configuration, pool: .init(connections: 4))
    _ = try await store.migrate()
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let metrics = ControlPlaneMetrics()
    let controlPlane = ControlPlane(
      store: store,
      candidate: LeadershipCandidate(
        holder: "one", url: "http://127.0.0.1:1", agentAddress: "127.0.0.1:2", lease: .seconds(6)),
      configuration: CoreConfiguration(), metrics: metrics, logger: logger)
    let changes = ChangeNotifier(configuration, logger: logger)
    let access = ChangeNotifier(configuration, channel: ControlPlaneStore.accessChannel, logger: logger)
    let denials = DenialLog(store: store, logger: logger)
    let authority = try LiveAuthority {
      var random = SystemRandomNumberGenerator()
      return try CertificateAuthority.loadOrMake(
        in: try SecretDirectory(path: directory + "/pki"), trustDomain: try TrustDomain("test.local"),
        at: Timestamp.wallClock, using: &random)
    }
    let logs = try await DirectoryLogStore(directory: directory + "/logs")
    let services = APIServices(
      commands: commands?(controlPlane) ?? controlPlane, store: store, logs: logs,
      artifacts: try await DirectoryArtifactStore(directory: directory + "/artifacts"),
      secrets: try Self.vault(store, directory), authority: authority,
      metrics: metrics,
      changes: changes, access: access, denials: denials, sessions: SessionRegistry(), logger: logger,
      agentAddress: { "127.0.0.1:2" }, examine: { [] },
      closeStreams: { _, _ in })
    let tokens = try await makeTokens(store)
    let fixture = APIFixture(
      controlPlane: controlPlane, store: store, server: APIServer(services: services), logs: logs, admin: tokens[0],
      userA: tokens[1], userB: tokens[2], database: configuration)
    let tasks: [Task<Void, Never>] = [
      Task { await controlPlane.run() }, Task { try? await changes.run() }, Task { try? await access.run() },
      Task { try? await denials.run() },
    ]
    let result: Result<Void, any Error>
    do {
      try await waitUntil("the leader leads") { await controlPlane.leadership.isLeader }
      try await waitUntil("changes of access are heard") { access.isListening }
      try await body(fixture)
      result = .success(())
    } catch { result = .failure(error) }
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
    await store.close()
    try result.get()
  }

  private static func vault(_ store: ControlPlaneStore, _ directory: String) throws -> SecretVault {
    let vault = SecretVault(store: store, keyFile: directory + "/secrets.key")
    try vault.prepare()
    return vault
  }

  private static func makeTokens(_ store: ControlPlaneStore) async throws -> [String] {
    var tokens: [String] = []
    let users: [(String, ProjectName?)] = [("root", nil), ("ann", "a"), ("bob", "b")]
    for (user, project) in users {
      try await store.ensureUser(user, isAdmin: project == nil, at: .wallClock)
      if let project {
        try await store.ensureProject(project, organisation: "o", at: .wallClock)
        try await store.addMember(user, .projectAdmin, to: project, audit: audit)
      }
      tokens.append(try await makeToken(store, user, project))
    }
    return tokens
  }

  private static var audit: AuditRow { AuditRow(at: .wallClock, actor: "test", action: "test", object: "") }

  private static func makeToken(
    _ store: ControlPlaneStore, _ user: String, _ project: ProjectName?, _ scopes: [Scope] = [.all]
  ) async throws -> String {
    var random = SystemRandomNumberGenerator()
    let token = BearerToken(using: &random)
    try await store.createToken(
      NewToken(hash: token.hash.bytes, user: user, project: project, scopes: scopes, label: "test"), audit: audit)
    return token.text
  }

  /// A token of a user who has one role in an organisation.
  func token(_ role: Role, of organisation: OrganisationName) async throws -> String {
    let user = "\(role.rawValue)-of-\(organisation)"
    try await store.addMember(user, role, to: nil, organisation: organisation, audit: Self.audit)
    server.services.access.changed()
    return try await Self.makeToken(store, user, nil)
  }

  /// A token of a user who has one role, in a project (nil: in the federation).
  func token(_ role: Role, in project: ProjectName?, scopes: [Scope] = [.all]) async throws -> String {
    let user = "\(role.rawValue)-\(project?.text ?? "org")"
    try await store.addMember(user, role, to: project, audit: Self.audit)
    server.services.access.changed()
    return try await Self.makeToken(store, user, nil, scopes)
  }

  var application: some ApplicationProtocol {
    Application(router: server.router(), logger: server.services.logger)
  }
}

extension TestClientProtocol {
  /// One request with a bearer token and a body.
  func send(
    _ method: HTTPRequest.Method, _ uri: String, token: String?, body: String? = nil, headers: HTTPFields = [:]
  ) async throws -> TestResponse {
    var headers = headers
    if let token { headers[.authorization] = "Bearer \(token)" }
    return try await execute(uri: uri, method: method, headers: headers, body: body.map { ByteBuffer(string: $0) })
  }
}

extension TestResponse {
  var json: JSONValue {
    get throws { try JSONDecoder().decode(JSONValue.self, from: Data(body.readableBytesView)) }
  }
}

/// Workflows that need no agent.
enum Documents {
  /// Stays running until it is resumed or stopped.
  static func suspended(_ name: String, labels: String = "") -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: \(name)\(labels.isEmpty ? "" : ", labels: {\(labels)}")}
    spec:
      entrypoint: main
      templates:
      - name: main
        suspend: {}
    """
  }

  /// Waits for a cluster for ever.
  static func task(_ name: String) -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: \(name)}
    spec:
      entrypoint: main
      templates:
      - name: main
        container: {image: alpine, command: ["true"]}
    """
  }
}
