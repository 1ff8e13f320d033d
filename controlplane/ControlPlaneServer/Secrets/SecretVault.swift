import ControlPlaneStore
import FederationModel
import FederationPKI

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// The secrets of projects: sealed in the database, opened with keys that are in a file.
///
/// The file is read at each use: it is small, uses are rare, and a rotation by another process takes effect at once.
struct SecretVault: Sendable {
  let store: ControlPlaneStore
  /// Of the keys. Readable by its owner alone.
  let keyFile: String

  static let fieldsMax = 32
  static let valueBytesMax = 16 << 10
  static let bytesMax = 64 << 10
  static let secretsMax = 1000

  /// Makes the key file at the first start. Of several replicas on one directory, one makes it.
  func prepare() throws {
    guard access(keyFile, F_OK) != 0 else { return _ = try keyring() }
    let temporary = "\(keyFile).\(getpid())"
    try SecretFile.write(SecretKeyring().text, to: temporary)
    defer { unlink(temporary) }
    guard link(temporary, keyFile) == 0 || errno == EEXIST else {
      throw FederationError(.internal, "\(keyFile) cannot be made: \(String(cString: strerror(errno)))")
    }
  }

  func keyring() throws -> SecretKeyring { try SecretKeyring(text: SecretDirectory.readSecret(keyFile)) }

  /// Replaces all values of a secret.
  ///
  /// - Throws: `.invalidArgument` for names and sizes; `.failedPrecondition` when the project has too many.
  func set(
    _ name: String, of project: ProjectName, to values: [String: String], by user: String, from address: String = "",
    at now: Timestamp
  ) async throws -> SecretRow {
    try Self.check(name, values)
    let sealed = try keyring().seal(values, project: project, name: name)
    let row = SecretRow(
      project: project, name: name, sealed: sealed, fields: values.keys.sorted(), changedAt: now, changedBy: user)
    guard try await store.put(row, limit: Self.secretsMax, from: address) else {
      throw FederationError(
        .failedPrecondition, "project \(project) has \(Self.secretsMax) secrets already; remove one first")
    }
    return row
  }

  /// The values. For the agent that needs them at this moment, and nobody else.
  ///
  /// - Throws: `.notFound`.
  func values(of name: String, in project: ProjectName) async throws -> [String: String] {
    guard let row = try await store.secret(name, of: project) else {
      throw FederationError(
        .notFound, "project \(project) has no secret \(name); set it with `fubini secret set \(name)`")
    }
    return try keyring().open(row.sealed, project: project, name: name)
  }

  /// What lets other clusters read a cluster's cache: drawn once, kept like users' secrets, and known to that cluster and to those that
  /// have to fetch from it.
  func exportValues(of cluster: ClusterName, at now: Timestamp) async throws -> [String: String] {
    if try await store.secret(cluster.text, of: Self.exports) == nil {
      var random = SystemRandomNumberGenerator()
      let values = ["user": "fubini", "password": (0..<4).map { _ in String(random.next(), radix: 36) }.joined()]
      let row = SecretRow(
        project: Self.exports, name: cluster.text,
        sealed: try keyring().seal(values, project: Self.exports, name: cluster.text), fields: values.keys.sorted(),
        changedAt: now, changedBy: "control-plane")
      _ = try await store.putIfAbsent(row)
    }
    return try await values(of: cluster.text, in: Self.exports)
  }

  /// No project can be called so.
  private static let exports = ProjectName("")

  private static func check(_ name: String, _ values: [String: String]) throws {
    guard DatasetReference.isName(name) else {
      throw FederationError(
        .invalidArgument,
        "a secret's name is 1 to 63 lower-case letters, digits and hyphens, not \"\(name.prefix(80))\"")
    }
    guard (1...fieldsMax).contains(values.count) else {
      throw FederationError(.invalidArgument, "a secret has 1 to \(fieldsMax) values, not \(values.count)")
    }
    for field in values.keys.sorted() {
      let isName =
        (1...64).contains(field.utf8.count)
        && field.utf8.allSatisfy { byte in
          (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
            || byte == 0x5f || byte == 0x2d || byte == 0x2e
        }
      guard isName else {
        throw FederationError(
          .invalidArgument,
          "the name of a value is 1 to 64 letters, digits, dots, hyphens and underscores, not \"\(field.prefix(80))\"")
      }
      guard values[field]!.utf8.count <= valueBytesMax else {
        throw FederationError(.invalidArgument, "the value \(field) has more than \(valueBytesMax) bytes")
      }
    }
    guard values.reduce(0, { $0 + $1.key.utf8.count + $1.value.utf8.count }) <= bytesMax else {
      throw FederationError(.invalidArgument, "the values of a secret have at most \(bytesMax) bytes together")
    }
  }

  // MARK: Rotation

  /// A new key; everything is sealed anew with it. What is set meanwhile is sealed with the new key already.
  ///
  /// - Returns: how many secrets were sealed anew.
  func rotate() async throws -> Int {
    try SecretFile.write(try keyring().rotated().text, to: keyFile)
    return try await reseal()
  }

  /// Seals everything with the newest key that is not sealed with it yet. Can be repeated.
  func reseal() async throws -> Int {
    let keyring = try keyring()
    var count = 0
    for row in try await store.secrets() where !keyring.isCurrent(row.sealed) {
      let values = try keyring.open(row.sealed, project: row.project, name: row.name)
      let sealed = try keyring.seal(values, project: row.project, name: row.name)
      // Somebody may have set it meanwhile: then that is what counts.
      if try await store.reseal(row, as: sealed) { count += 1 }
    }
    return count
  }

  /// Drops the old keys.
  ///
  /// - Throws: `.failedPrecondition` while something is sealed with one of them.
  func retire() async throws -> Int {
    let keyring = try keyring()
    let behind = try await store.secrets().filter { !keyring.isCurrent($0.sealed) }
    guard behind.isEmpty else {
      throw FederationError(
        .failedPrecondition, "\(behind.count) secrets are still sealed with an old key; run `secrets rotate` again")
    }
    try SecretFile.write(keyring.retired.text, to: keyFile)
    return keyring.count - 1
  }
}
