public import FederationModel

/// What an operator pastes on a new cluster: a one-time secret, and the pin of the CA to trust while joining.
///
/// Text: `fbj1_` and 122 characters of base 32: token id (8 bytes), secret (32), CA pin (32), checksum (4). The checksum covers
/// everything before it, so that a paste that lost its tail is told from a token that the control plane does not know.
public struct JoinToken: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
  /// 16 hexadecimal digits; not secret.
  public let id: String
  /// The SHA-256 of the subject public key info of the CA that signs the control plane's certificate.
  public let pin: CAPin
  private let idBytes: [UInt8]
  private let secret: [UInt8]

  static let prefix = "fbj1_"
  private static let payloadSize = 8 + 32 + 32
  private static let checksumSize = 4
  static let textCount = prefix.utf8.count + Base32.encodedCount(payloadSize + checksumSize)

  /// Draws a new token.
  public init(pin: CAPin, using random: inout some RandomNumberGenerator) {
    self.init(idBytes: random.bytes(8), secret: random.bytes(32), pin: pin)
  }

  private init(idBytes: [UInt8], secret: [UInt8], pin: CAPin) {
    id = hexadecimal(idBytes)
    self.idBytes = idBytes
    self.secret = secret
    self.pin = pin
  }

  /// Reads a pasted token; surrounding white space is ignored.
  ///
  /// - Throws: `.invalidArgument`: whether it is no join token, was cut off, has something after it, or was mistyped.
  public init(text: String) throws(FederationError) {
    var pasted = text[...]
    while pasted.first?.isWhitespace == true { pasted.removeFirst() }
    while pasted.last?.isWhitespace == true { pasted.removeLast() }
    guard pasted.hasPrefix(Self.prefix) else {
      throw FederationError(
        .invalidArgument, "This is not a join token: one begins with \(Self.prefix). Copy the whole join command.")
    }
    let count = pasted.utf8.count
    guard count >= Self.textCount else {
      throw FederationError(
        .invalidArgument,
        "The join token was cut off: it has \(count) of \(Self.textCount) characters. Copy it again, whole.")
    }
    guard count == Self.textCount else {
      throw FederationError(
        .invalidArgument,
        "The join token is too long: it has \(count) characters instead of \(Self.textCount). Copy it again, alone.")
    }
    guard let bytes = Base32.decode(pasted.dropFirst(Self.prefix.count)) else {
      throw FederationError(.invalidArgument, "The join token has a character that no token has. Copy it again.")
    }
    let payload = Array(bytes[..<Self.payloadSize])
    guard constantTimeEqual(Array(bytes[Self.payloadSize...]), Self.checksum(of: payload)) else {
      throw FederationError(.invalidArgument, "The join token is damaged: its checksum does not fit. Copy it again.")
    }
    self.init(
      idBytes: Array(payload[..<8]), secret: Array(payload[8..<40]), pin: CAPin(validated: Array(payload[40...])))
  }

  /// The token itself. Only for the person who asked for it: never for a log.
  public var text: String {
    let payload = idBytes + secret + pin.bytes
    return Self.prefix + Base32.encode(payload + Self.checksum(of: payload))
  }

  /// What is stored: enough to recognise the token, not to make it.
  public func record(cluster: ClusterName, expiresAt: Timestamp) -> JoinTokenRecord {
    JoinTokenRecord(id: id, secretHash: SecretHash(of: secret), cluster: cluster, expiresAt: expiresAt, usedAt: nil)
  }

  func matches(_ hash: SecretHash) -> Bool { hash.matches(secret) }

  public var description: String { "join token \(id)" }
  public var debugDescription: String { description }

  private static func checksum(of payload: [UInt8]) -> [UInt8] {
    Array(sha256(Array(prefix.utf8) + payload)[..<checksumSize])
  }
}

/// A join token at rest.
public struct JoinTokenRecord: Sendable, Hashable {
  public var id: String
  public var secretHash: SecretHash
  /// The only cluster that it can join as.
  public var cluster: ClusterName
  public var expiresAt: Timestamp
  /// When a certificate was issued for it; nil while it can be used. The store sets it in the transaction that issues.
  public var usedAt: Timestamp?

  public init(id: String, secretHash: SecretHash, cluster: ClusterName, expiresAt: Timestamp, usedAt: Timestamp?) {
    self.id = id
    self.secretHash = secretHash
    self.cluster = cluster
    self.expiresAt = expiresAt
    self.usedAt = usedAt
  }

  /// Whether `token` may be exchanged for a certificate now.
  ///
  /// The secret is compared first: only who holds the token learns that it was used or has expired.
  /// - Throws: `.unauthenticated`, saying which and what to do.
  public func admit(_ token: JoinToken, at now: Timestamp) throws(FederationError) -> ClusterName {
    guard token.id == id, token.matches(secretHash) else { throw Self.unknown }
    let remedy = "Make a new one: fubini cluster create \(cluster) --print-join-command."
    guard usedAt == nil else { throw FederationError(.unauthenticated, "This join token has been used. \(remedy)") }
    guard now < expiresAt else { throw FederationError(.unauthenticated, "This join token has expired. \(remedy)") }
    return cluster
  }

  /// The answer to a token that no record fits; the same whether its id or its secret is wrong.
  public static var unknown: FederationError {
    FederationError(
      .unauthenticated, "The control plane does not know this join token. Check that it is from this federation.")
  }
}
