import ControlPlaneCore
import FederationAPI
import FederationModel
import Postgres
import TestSupport
import Testing
import WorkflowCore

@testable import ControlPlaneServer
@testable import ControlPlaneStore

@Suite struct ExaminationTests {
  @Test("The database's own settings are read, whatever the store's sessions set for themselves (I2)")
  func settings() async throws {
    let configuration = try await PostgresServer.shared().createDatabase()
    let plain = try await PostgresConnection.connect(configuration)
    let name = try await plain.query("SELECT current_database()::text")[0].text(0)
    try await plain.script(["ALTER DATABASE \(name) SET synchronous_commit = off"])
    await plain.close()
    let store = ControlPlaneStore(configuration, pool: .init(connections: 1))
    let before = try await store.health(now: { .wallClock })
    #expect(before.settings["synchronous_commit"] == "off" && before.schemaVersion == nil)
    #expect(try await store.ownSynchronousCommit() == "on")
    _ = try await store.migrate()
    let health = try await store.health(now: { .wallClock })
    #expect(health.schemaVersion == ControlPlaneStore.schemaVersion && health.mayCreate && health.foreignTables.isEmpty)
    #expect(health.settings["fsync"] == "on" && !health.isStandby && abs(health.clockSkew.seconds) < 5)
    let levels = Self.levels(health)
    #expect(levels["synchronous_commit"] == .warning && levels["schema"] == .ok && levels["fsync"] == .ok)
    await store.close()
  }

  @Test("A role that may not create, or does not own the tables, fails with the statement that mends it")
  func rights() async throws {
    let configuration = try await PostgresServer.shared().createDatabase()
    let owner = ControlPlaneStore(configuration, pool: .init(connections: 1))
    _ = try await owner.migrate()
    await owner.close()
    let plain = try await PostgresConnection.connect(configuration)
    try await plain.script([
      "CREATE ROLE weak LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
      "GRANT SELECT ON ALL TABLES IN SCHEMA public TO weak",
    ])
    let text = configuration.connectionString.replacing("user=postgres", with: "user=weak")
    let weak = ControlPlaneStore(PostgresConfiguration(text), pool: .init(connections: 1))
    let poor = try await weak.health(now: { .wallClock })
    #expect(!poor.mayCreate && poor.role == "weak" && !poor.isSuperuser)
    #expect(Examination.judge(poor).contains { $0.level == .failed && $0.message.contains("GRANT CREATE") })
    try await plain.script(["GRANT CREATE ON SCHEMA public TO weak"])
    let stranger = try await weak.health(now: { .wallClock })
    #expect(stranger.foreignTables.contains("agents"))
    #expect(Examination.judge(stranger).contains { $0.level == .failed && $0.message.contains("OWNER TO weak") })
    await weak.close()
    try await plain.script(["DROP OWNED BY weak", "DROP ROLE weak"])
    await plain.close()
  }

  @Test(
    "What would lose acknowledged work fails; what may is a warning; each says what to do",
    arguments: [
      (["fsync": "off"], "fsync", FindingDocument.Level.failed),
      (["full_page_writes": "off"], "full_page_writes", .failed),
      (["synchronous_commit": "off"], "synchronous_commit", .warning),
      (["synchronous_commit": "local", "synchronous_standby_names": "a"], "replication", .failed),
      (["synchronous_standby_names": ""], "replication", .warning),
    ])
  func judgement(changes: [String: String], check: String, level: FindingDocument.Level) async throws {
    let store = ControlPlaneStore(try PostgresServer.shared().configuration(), pool: .init(connections: 1))
    var health = try await store.health(now: { .wallClock })
    await store.close()
    health.settings.merge(changes) { $1 }
    let finding = try #require(Examination.judge(health).first { $0.check == check })
    #expect(finding.level == level && finding.message.count > 15, "\(finding)")
  }

  @Test("An old server, a standby and a schema of a later release fail")
  func refusals() async throws {
    let store = ControlPlaneStore(try PostgresServer.shared().configuration(), pool: .init(connections: 1))
    var health = try await store.health(now: { .wallClock })
    await store.close()
    health.version = 120_000
    health.isStandby = true
    health.schemaVersion = 9999
    let levels = Self.levels(health)
    #expect(levels["database"] == .failed && levels["database role"] == .failed && levels["schema"] == .failed)
  }

  private static func levels(_ health: DatabaseHealth) -> [String: FindingDocument.Level] {
    Dictionary(Examination.judge(health).map { ($0.check, $0.level) }, uniquingKeysWith: { $1 })
  }
}

@Suite struct EndpointTests {
  @Test(
    "Hosts are read with and without ports, IPv6 with and without brackets",
    arguments: [
      ("a.example", "a.example", nil, "a.example:7"), ("a.example:80", "a.example", 80, "a.example:80"),
      ("192.0.2.1:80", "192.0.2.1", 80, "192.0.2.1:80"), ("::", "::", nil, "[::]:7"),
      ("2001:db8::1", "2001:db8::1", nil, "[2001:db8::1]:7"),
      ("[2001:db8::1]:80", "2001:db8::1", 80, "[2001:db8::1]:80"), ("[::1]", "::1", nil, "[::1]:7"),
    ] as [(String, String, Int?, String)])
  func reads(text: String, host: String, port: Int?, whole: String) {
    let endpoint = Endpoint(text)
    #expect(endpoint.host == host && endpoint.port == port && endpoint.text(defaultPort: 7) == whole)
  }

  @Test("Loopback and wildcards are known in both families")
  func kinds() {
    #expect(["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"].allSatisfy { Endpoint($0).isLoopback })
    #expect(["0.0.0.0", "::", "[::]"].allSatisfy { Endpoint($0).isWildcard && !Endpoint($0).isLoopback })
  }
}

@Suite struct ServerConfigurationTests {
  private static let least = "database: x\ndataDirectory: /d\n"

  @Test("The operator's CA and the protocol versions are read; what is out of range is refused by key")
  func authority() throws {
    let plain = try ServerConfiguration(yaml: Self.least)
    #expect(plain.authority == nil && plain.gateway.protocols == AgentProtocol.versions)
    let own = try ServerConfiguration(
      yaml: Self.least + "federation: {ca: {certificate: /a, key: /b}}\ngateway: {protocolMax: 1}")
    let pattern = try ServerConfiguration(yaml: Self.least + "workflows: {transientErrorPattern: 'code [78]$'}")
    #expect(pattern.core.transientErrors.pattern == "code [78]$" && plain.core.transientErrors.pattern == nil)
    #expect(own.authority == .init(certificate: "/a", key: "/b", bundle: nil) && own.gateway.protocols == 1...1)
    for (text, key) in [
      ("federation: {ca: {certificate: /a}}", "federation.ca.key"),
      ("gateway: {protocolMax: 9}", "gateway.protocolMax"),
      ("gateway: {protocolMin: 2, protocolMax: 1}", "gateway.protocolMin"),
      ("federation: {ca: {certificate: /a, key: /b, pem: /c}}", "federation.ca.pem"),
      ("workflows: {transientErrorPattern: '('}", "("),
    ] {
      let error = #expect(throws: FederationError.self) { try ServerConfiguration(yaml: Self.least + text) }
      #expect(error?.publicMessage.contains(key) == true, "\(text)")
    }
  }

  @Test(
    "what cannot be served is told before anything is asked of the database, and a mistyped key before its absence",
    arguments: [
      ("databse: x\ndataDirectory: /d", "databse is not known"), ("database: x", "dataDirectory is missing"),
      ("database: x\ndataDirectory: d", "dataDirectory must be an absolute path"),
      ("database: x\ndataDirectory: /d\nhttp: {host: 0.0.0.0}", "without TLS the API is served on loopback alone"),
    ])
  func refuses(yaml: String, message: String) {
    let error = #expect(throws: FederationError.self) { try ServerConfiguration(yaml: yaml) }
    #expect(error?.publicMessage.contains(message) == true)
  }

  @Test(
    "doctor asks rclone for its version, and says what to do when it is missing or too old",
    arguments: [
      (nil, FindingDocument.Level.failed), ("", .failed), ("rclone v1.59.2\n- os/version", .failed),
      ("rclone v1.60.1-DEV\n- os/version: debian 12", .ok), ("rclone v2.0.0\n", .ok), ("rclone vX.Y\n", .failed),
    ] as [(String?, FindingDocument.Level)])
  func rcloneVersion(output: String?, level: FindingDocument.Level) {
    let finding = RcloneVersion.judge(output, "rclone")
    #expect(finding.level == level)
    #expect(level == .ok || finding.message.contains("install rclone 1.60 or later"))
  }

  @Test("a program that is not there is found missing")
  func rcloneMissing() async {
    #expect(await RcloneVersion.finding("/nonexistent/rclone").level == .failed)
  }
}
