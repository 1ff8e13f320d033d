public import ControlPlaneCore
public import ControlPlaneStore
import FederationAPI
import FederationModel
import FoundationEssentials
import WorkflowCore
import Yams

/// The control plane's configuration file, YAML. Unknown keys are refused: a typing error must not silently leave a default.
public struct ServerConfiguration: Sendable, Equatable {
  /// libpq connection string or URL. Read-backs and logs never show it.
  public var database: String
  /// The same database for the role that owns the tables, used for migrations alone; nil: `database` is of that role.
  public var ownerDatabase: String?
  /// Where the CA's key, artifacts and logs live unless they are sent elsewhere.
  public var dataDirectory: String
  public var http = HTTP()
  public var gateway = Gateway()
  public var trustDomain = "fubini.local"
  /// The operator's own CA; nil: one that the control plane makes and keeps in the data directory.
  public var authority: AuthorityFiles?
  /// The keys that secrets are sealed with; nil: `pki/secrets.key` in the data directory. Several replicas must share it.
  public var secretKeyFile: String?
  public var artifacts = Storage.directory(nil)
  public var logs = Storage.directory(nil)
  /// Names this process among the replicas; nil: host name and process id.
  public var holder: String?
  /// The base URL at which other replicas reach this one's API; nil: made of `http`.
  public var advertiseURL: String?
  public var logLevel = "info"
  /// Written when the process serves: JSON with `httpPort`, `gatewayPort` and `pid`.
  public var readyFile: String?
  public var leaderLease = Duration.seconds(6)
  public var core = CoreConfiguration()
  public var retention = RetentionPolicy()
  /// Hosts that are not of the public internet and that webhooks may name all the same, also without TLS. Lower case.
  public var privateHosts: Set<String> = []

  public struct HTTP: Sendable, Equatable {
    public var host = "127.0.0.1"
    public var port = 8080
    /// Paths of PEM files; without them the API is served on loopback alone.
    public var tls: (certificate: String, key: String)?
    /// Addresses and ranges of proxies and other replicas whose `X-Forwarded-For` is believed.
    public var trustedProxies: [String] = []
    public static func == (a: Self, b: Self) -> Bool {
      a.host == b.host && a.port == b.port && a.tls?.certificate == b.tls?.certificate && a.tls?.key == b.tls?.key
        && a.trustedProxies == b.trustedProxies
    }
  }

  public struct Gateway: Sendable, Equatable {
    public var host = "127.0.0.1"
    public var port = 8443
    /// Names and addresses that agents dial, for the certificate and for join commands: `host` or `host:port`.
    public var advertise: [String] = []
    /// The agent protocol versions to speak, for an upgrade that is to be watched; by default all that this release knows.
    public var protocols = AgentProtocol.versions
  }

  /// Paths of PEM files.
  public struct AuthorityFiles: Sendable, Equatable {
    public var certificate: String
    public var key: String
    /// Further CAs to trust while one replaces the other; nil for none.
    public var bundle: String?
  }

  /// Where artifacts or logs are kept.
  public enum Storage: Sendable, Equatable {
    /// nil: a directory of that name in the data directory. Several replicas must share it.
    case directory(String?)
    case bucket(BucketConfiguration)
  }
}

extension ServerConfiguration {
  /// - Throws: `.invalidArgument` naming the key.
  public init(yaml: String) throws {
    let loaded: Any?
    do { loaded = try Yams.load(yaml: yaml) } catch {
      throw FederationError(.invalidArgument, "the configuration is not YAML: \(error)")
    }
    guard let root = loaded as? [String: Any] else {
      throw FederationError(.invalidArgument, "the configuration must be a map of keys")
    }
    var reader = Reader(root, path: "")
    // First, because a key that is mistyped is missing, too.
    try reader.refuse(otherThan: Self.keys)
    database = try reader.required("database")
    ownerDatabase = try reader.text("ownerDatabase")
    dataDirectory = try reader.required("dataDirectory")
    guard dataDirectory.hasPrefix("/") else { throw reader.wrong("dataDirectory", "must be an absolute path") }
    try reader.section("http") { section in
      http.host = try section.text("host") ?? http.host
      http.port = try section.port("port") ?? http.port
      try section.section("tls") { http.tls = (try $0.required("certificate"), try $0.required("key")) }
      http.trustedProxies = try section.texts("trustedProxies")
      guard http.trustedProxies.allSatisfy({ AddressRange($0) != nil }) else {
        throw section.wrong("trustedProxies", "is a list of addresses and ranges such as 10.0.0.0/8")
      }
    }
    try reader.section("gateway") { section in
      gateway.host = try section.text("host") ?? gateway.host
      gateway.port = try section.port("port") ?? gateway.port
      gateway.advertise = try section.texts("advertise")
      gateway.protocols = try section.protocols()
    }
    try reader.section("federation") { section in
      trustDomain = try section.text("trustDomain") ?? trustDomain
      try section.section("ca") {
        authority = AuthorityFiles(
          certificate: try $0.required("certificate"), key: try $0.required("key"), bundle: try $0.text("bundle"))
      }
    }
    try reader.section("secrets") { secretKeyFile = try $0.required("keyFile") }
    try reader.section("artifacts") { artifacts = try $0.storage() }
    try reader.section("logs") { logs = try $0.storage() }
    holder = try reader.text("holder")
    advertiseURL = try reader.text("advertiseURL")
    logLevel = try reader.text("logLevel") ?? logLevel
    readyFile = try reader.text("readyFile")
    try reader.section("leases") { section in
      leaderLease = try section.seconds("leaderSeconds") ?? leaderLease
      core.agentLease = try section.seconds("agentSeconds") ?? core.agentLease
      core.disconnectLimit = try section.seconds("disconnectLimitSeconds") ?? core.disconnectLimit
      core.fenceMargin = try section.seconds("fenceMarginSeconds") ?? core.fenceMargin
    }
    try reader.section("fairShare") { section in
      core.shareHalfLife = try section.seconds("halfLifeSeconds") ?? core.shareHalfLife
    }
    try reader.section("workflows") { section in
      if let pattern = try section.text("transientErrorPattern") {
        core.transientErrors = try TransientErrors(pattern: pattern)
      }
    }
    try reader.section("retention") { section in
      retention.explanationsPerWorkflow =
        try section.count("explanationsPerWorkflow") ?? retention.explanationsPerWorkflow
      retention.eventsPerWorkflow = try section.count("eventsPerWorkflow") ?? retention.eventsPerWorkflow
      retention.history = try section.count("historyDays").map { .seconds($0 * 86_400) } ?? retention.history
      retention.tokens = try section.count("tokenDays").map { .seconds($0 * 86_400) } ?? retention.tokens
      retention.artifacts = try section.count("artifactDays").map { .seconds($0 * 86_400) }
      retention.jobs = try section.count("jobDays").map { .seconds($0 * 86_400) } ?? retention.jobs
      core.memoAge = retention.artifacts
    }
    try reader.section("webhooks") { section in
      privateHosts = Set(try section.texts("privateHosts").map { $0.lowercased() })
    }
    try reader.finish()
    guard http.tls != nil || Endpoint(http.host).isLoopback else { throw Self.plainHTTP }
  }

  /// A token sent in the clear belongs to whoever listens.
  static let plainHTTP = FederationError(
    .invalidArgument, "without TLS the API is served on loopback alone: set http.tls, or http.host to 127.0.0.1")

  /// Of the top level.
  private static let keys: Set<String> = [
    "database", "ownerDatabase", "dataDirectory", "http", "gateway", "federation", "secrets", "artifacts", "logs",
    "holder",
    "advertiseURL", "logLevel", "readyFile", "leases", "retention", "webhooks", "fairShare", "workflows",
  ]

  /// Takes keys out of a YAML map; what is left at the end was not known.
  private struct Reader {
    private var members: [String: Any]
    private let path: String

    init(_ members: [String: Any], path: String) {
      self.members = members
      self.path = path
    }

    func wrong(_ key: String, _ what: String) -> FederationError {
      FederationError(.invalidArgument, "configuration key \(path)\(key) \(what)")
    }

    mutating func text(_ key: String) throws -> String? {
      switch members.removeValue(forKey: key) {
      case nil: nil
      case let value as String: value
      case let value as Int: String(value)
      default: throw wrong(key, "must be text")
      }
    }

    mutating func required(_ key: String) throws -> String {
      guard let value = try text(key), !value.isEmpty else { throw wrong(key, "is missing") }
      return value
    }

    mutating func texts(_ key: String) throws -> [String] {
      guard let value = members.removeValue(forKey: key) else { return [] }
      guard let list = value as? [String] else { throw wrong(key, "must be a list of texts") }
      return list
    }

    mutating func port(_ key: String) throws -> Int? {
      guard let value = members.removeValue(forKey: key) else { return nil }
      guard let port = value as? Int, (0...65535).contains(port) else { throw wrong(key, "must be a port number") }
      return port
    }

    mutating func count(_ key: String) throws -> Int? {
      guard let value = members.removeValue(forKey: key) else { return nil }
      guard let count = value as? Int, (1...1_000_000).contains(count) else {
        throw wrong(key, "must be a whole number from 1 to 1000000")
      }
      return count
    }

    mutating func seconds(_ key: String) throws -> Duration? {
      guard let value = members.removeValue(forKey: key) else { return nil }
      guard let seconds = (value as? Double) ?? (value as? Int).map(Double.init), seconds > 0, seconds < 1e9 else {
        throw wrong(key, "must be a positive number of seconds")
      }
      return .milliseconds(Int64(seconds * 1000))
    }

    mutating func flag(_ key: String) throws -> Bool? {
      guard let value = members.removeValue(forKey: key) else { return nil }
      guard let flag = value as? Bool else { throw wrong(key, "must be true or false") }
      return flag
    }

    /// Either `directory`, or `s3`.
    mutating func storage() throws -> Storage {
      var storage = Storage.directory(try text("directory"))
      try section("s3") { section in
        guard storage == .directory(nil) else { throw section.wrong("bucket", "excludes a directory beside it") }
        var bucket = BucketConfiguration(bucket: try section.required("bucket"))
        bucket.prefix = try section.text("prefix").map { $0.split(separator: "/").joined(separator: "/") }
        bucket.endpoint = try section.text("endpoint")
        bucket.region = try section.text("region")
        bucket.pathStyle = try section.flag("pathStyle") ?? bucket.pathStyle
        bucket.accessKeyIDFile = try section.text("accessKeyIdFile")
        bucket.secretAccessKeyFile = try section.text("secretAccessKeyFile")
        bucket.certificateAuthorityFile = try section.text("certificateAuthorityFile")
        bucket.rclone = try section.text("rclone") ?? bucket.rclone
        guard (bucket.accessKeyIDFile == nil) == (bucket.secretAccessKeyFile == nil) else {
          throw section.wrong("accessKeyIdFile", "and secretAccessKeyFile are given both or not at all")
        }
        guard
          bucket.bucket.utf8.allSatisfy({
            $0 == 0x2d || $0 == 0x2e || (0x30...0x39).contains($0) || (0x61...0x7a).contains($0)
          })
        else { throw section.wrong("bucket", "must be a bucket's name: lower-case letters, digits, dots and hyphens") }
        if let endpoint = bucket.endpoint, !endpoint.hasPrefix("http://"), !endpoint.hasPrefix("https://") {
          throw section.wrong("endpoint", "must be a URL such as https://s3.example.org")
        }
        storage = .bucket(bucket)
      }
      return storage
    }

    /// `protocolMin` and `protocolMax`, within what this release knows.
    mutating func protocols() throws -> ClosedRange<UInt32> {
      let known = AgentProtocol.versions
      func version(_ key: String, _ fallback: UInt32) throws -> UInt32 {
        guard let value = members.removeValue(forKey: key) else { return fallback }
        guard let number = (value as? Int).flatMap(UInt32.init(exactly:)), known.contains(number) else {
          throw wrong(key, "must be a protocol version from \(known.lowerBound) to \(known.upperBound)")
        }
        return number
      }
      let (lowest, highest) = (
        try version("protocolMin", known.lowerBound), try version("protocolMax", known.upperBound)
      )
      guard lowest <= highest else { throw wrong("protocolMin", "is above protocolMax") }
      return lowest...highest
    }

    mutating func section(_ key: String, _ body: (inout Reader) throws -> Void) throws {
      guard let value = members.removeValue(forKey: key) else { return }
      guard let map = value as? [String: Any] else { throw wrong(key, "must be a map of keys") }
      var section = Reader(map, path: "\(path)\(key).")
      try body(&section)
      try section.finish()
    }

    /// - Throws: `.invalidArgument` for the first key that is none of `known`.
    func refuse(otherThan known: Set<String>) throws {
      if let unknown = members.keys.sorted().first(where: { !known.contains($0) }) {
        throw wrong(unknown, "is not known")
      }
    }

    func finish() throws {
      if let unknown = members.keys.sorted().first { throw wrong(unknown, "is not known") }
    }
  }
}
