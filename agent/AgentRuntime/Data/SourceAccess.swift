internal import Crypto
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import Logging
internal import Rclone
internal import SwiftProtobuf
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Values that open stores, asked for at the moment of use and kept nowhere (I9).
protocol SecretAsking: Sendable {
  /// - Throws: `.permissionDenied` when no order or run of this cluster names it.
  func values(of secret: String, for key: DataKey) async throws -> [String: String]
  /// What opens a cluster's export: our own, or a neighbour's that has what we fetch.
  func export(of cluster: ClusterName, for key: DataKey?) async throws -> [String: String]
}

struct RemoteSecrets: SecretAsking {
  let connection: ConnectionSlot

  func values(of secret: String, for key: DataKey) async throws -> [String: String] {
    try await ask(
      .with {
        $0.dataKey = key.text
        $0.name = secret
      })
  }

  func export(of cluster: ClusterName, for key: DataKey?) async throws -> [String: String] {
    try await ask(
      .with {
        $0.dataKey = key?.text ?? ""
        $0.exportOf = cluster.text
      })
  }

  func ask(_ request: Fubini_Agent_V1_GetSecretRequest) async throws -> [String: String] {
    try await reply(to: request).values
  }

  func reply(to request: Fubini_Agent_V1_GetSecretRequest) async throws -> Fubini_Agent_V1_SecretReply {
    do { return try await connection.current().client.getSecret(request) } catch {
      throw GatewayErrors.translate(error)
    }
  }
}

/// Opens other clusters' exports.
protocol ExportOpening: Sendable {
  func open(_ neighbour: ClusterName, url: String, for key: DataKey) async throws -> any FileStore
}

/// Opens origins and exports.
struct SourceAccess: SourceOpening {
  let cluster: ClusterName
  let secrets: any SecretAsking
  let mover: RcloneMover
  /// Directories below which `file://` origins may lie.
  let allowedOrigins: [String]
  let exports: (any ExportOpening)?

  func open(_ source: DataSource, for key: DataKey, file: String?) async throws -> any FileStore {
    switch source {
    case .repository: throw FederationError(.internal, "the repository is no store of files")
    case .export(let neighbour, let url):
      guard let exports else { throw FederationError(.failedPrecondition, "this agent reads no exports") }
      return try await exports.open(neighbour, url: url, for: key)
    case .origin(let origin): return try await open(origin, for: key, file: file)
    case .archive(let origin): return try await open(origin, for: key, file: nil)
    }
  }

  func open(_ origin: DataOrigin, for key: DataKey, file: String?) async throws -> any FileStore {
    let values =
      if let secret = origin.secret { try await secrets.values(of: secret, for: key) } else { [String: String]() }
    switch try OriginLocation.parse(origin.uri, secret: values, file: file ?? soleFile(of: key, origin)) {
    case .directory(let owner, let path, let only):
      guard owner == cluster else {
        throw FederationError(.failedPrecondition, "\(origin.uri) can be read on cluster \(owner) alone")
      }
      return DirectoryStore(root: try allowed(path), only: only)
    case .rclone(let type, let parameters, let root, let only, let knownHosts):
      return try await mover.open(
        type: type, parameters: parameters, root: root, only: only, knownHosts: knownHosts,
        secrets: Array(values.values))
    }
  }

  /// A foreign object, and an artifact, are one file: the last part of the address.
  private func soleFile(of key: DataKey, _ origin: DataOrigin) -> String? {
    guard key.text.hasPrefix("source:") || key.sha256 != nil else { return nil }
    return origin.fileName
  }

  /// The directory behind links, if the operator lets it be read.
  private func allowed(_ path: String) throws -> String {
    guard let real = realpath(path, nil) else {
      throw FederationError(.failedPrecondition, "\(path) is not there on cluster \(cluster)")
    }
    defer { free(real) }
    let resolved = String(cString: real)
    for directory in allowedOrigins {
      guard let other = realpath(directory, nil) else { continue }
      defer { free(other) }
      let prefix = String(cString: other)
      if resolved == prefix || resolved.hasPrefix(prefix == "/" ? "/" : prefix + "/") { return resolved }
    }
    throw FederationError(
      .permissionDenied,
      "\(path) is not below a directory that cluster \(cluster) opens: its operator adds it to `cache.origins` of the agent's configuration"
    )
  }
}

/// The agent's rclone: started when it is first needed, one for all transfers.
final class RcloneMover: Sendable {
  private let daemon: RcloneDaemon
  private let program: String
  private let directory: String
  private let isWanted: AsyncStream<Void>
  private let want: AsyncStream<Void>.Continuation
  private let counter = Atomic<UInt64>(0)

  /// - Parameter directory: of the agent's own; for the daemon's socket and for keys of hosts.
  init(program: String, directory: String, logger: Logger) throws {
    self.program = program
    self.directory = directory
    try POSIXFile.makeDirectories(directory)
    var settings = RcloneSettings()
    settings.program = program
    settings.socketPath = directory + "/rclone.sock"
    // Origins whose certificates are of an authority of the operator's own.
    settings.inherits = { ["SSL_CERT_FILE", "SSL_CERT_DIR"].contains($0) }
    let home = directory + "/home"
    try POSIXFile.makeDirectories(home)
    settings.environment = { () throws(FederationError) in Self.identityless(home: home) }
    daemon = RcloneDaemon(settings, logger: logger)
    (isWanted, want) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  }

  /// What keeps clouds' libraries from being somebody by themselves: no home in which credentials lie, and nobody who hands them out.
  /// Users' secrets say who they are; whatever is forgotten in one must not make them the machine.
  static func identityless(home: String) -> [String: String] {
    [
      "HOME": home, "AWS_EC2_METADATA_DISABLED": "true",
      // Nobody listens there; libraries ask the machine's own service when it is not set.
      "GCE_METADATA_HOST": "127.0.0.1:1",
    ]
  }

  /// Until the task is cancelled.
  func run() async {
    for await _ in isWanted { try? await daemon.run() }
  }

  /// Makes a store known to rclone, under a name that nobody else uses.
  ///
  /// - Parameter secrets: values that no message may show.
  func open(
    type: String, parameters: [String: String], root: String, only: String?, knownHosts: String?, secrets: [String]
  ) async throws -> any FileStore {
    try requireProgram()
    want.yield()
    let number = counter.add(1, ordering: .relaxed).newValue
    let name = "fubini\(number)"
    var parameters = parameters
    if let knownHosts {
      let path = "\(directory)/hosts-\(number)"
      let file = try POSIXFile.open(path, O_WRONLY | O_CREAT | O_TRUNC)
      defer { POSIXFile.close(file) }
      try POSIXFile.write(file, Data((knownHosts + "\n").utf8), "known hosts")
      parameters["known_hosts_file"] = path
    }
    let client = RcloneClient(daemon, hiding: secrets)
    do {
      try await client.define(name, type: type, parameters: parameters)
    } catch {
      if let path = parameters["known_hosts_file"] { unlink(path) }
      throw error
    }
    return RcloneStore(
      client: client, name: name, root: root, only: only, knownHosts: parameters["known_hosts_file"],
      hasTimes: ["s3", "http", "webdav", "sftp"].contains(type))
  }

  private func requireProgram() throws {
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    let isThere =
      program.contains("/")
      ? access(program, X_OK) == 0 : path.split(separator: ":").contains { access("\($0)/\(program)", X_OK) == 0 }
    guard isThere else {
      throw FederationError(
        .unavailable,
        "the agent has no rclone, which fetches from origins: its operator installs it (`fubini-agent doctor` says how)",
        retryAfter: .seconds(60))
    }
  }
}
