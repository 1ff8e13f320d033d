public import FederationModel

/// An API token: `fbn_` and 58 characters of base 32 (secret of 32 bytes, checksum of 4).
public struct BearerToken: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
  private let secret: [UInt8]

  static let prefix = "fbn_"
  private static let checksumSize = 4
  static let textCount = prefix.utf8.count + Base32.encodedCount(32 + checksumSize)

  public init(using random: inout some RandomNumberGenerator) { secret = random.bytes(32) }

  /// - Throws: `.unauthenticated` when the text cannot be an API token of ours.
  public init(text: String) throws(FederationError) {
    let refused = FederationError(
      .unauthenticated,
      "This is not a valid API token: one begins with \(Self.prefix) and has \(Self.textCount) characters.")
    guard text.hasPrefix(Self.prefix), text.utf8.count == Self.textCount,
      let bytes = Base32.decode(text.dropFirst(Self.prefix.count))
    else { throw refused }
    let secret = Array(bytes[..<32])
    guard constantTimeEqual(Array(bytes[32...]), Self.checksum(of: secret)) else { throw refused }
    self.secret = secret
  }

  /// The token itself. Shown once to its owner, never logged.
  public var text: String { Self.prefix + Base32.encode(secret + Self.checksum(of: secret)) }

  /// What is stored, and by which a presented token is looked up.
  public var hash: SecretHash { SecretHash(of: secret) }

  /// Constant time in the secret.
  public func matches(_ hash: SecretHash) -> Bool { hash.matches(secret) }

  public var description: String { "API token" }
  public var debugDescription: String { description }

  private static func checksum(of secret: [UInt8]) -> [UInt8] {
    Array(sha256(Array(prefix.utf8) + secret)[..<checksumSize])
  }
}
