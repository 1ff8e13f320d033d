/// The SHA-256 of a secret of 256 random bits. No salt and no stretching: such a secret cannot be guessed or tabulated.
public struct SecretHash: Hashable, Sendable {
  public let bytes: [UInt8]

  init(of secret: [UInt8]) { bytes = sha256(secret) }

  /// Reads a stored hash; nil unless it has 32 bytes.
  public init?(bytes: [UInt8]) {
    guard bytes.count == 32 else { return nil }
    self.bytes = bytes
  }

  /// Constant time in the secret.
  func matches(_ secret: [UInt8]) -> Bool { constantTimeEqual(sha256(secret), bytes) }
}
