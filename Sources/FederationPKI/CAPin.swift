/// The SHA-256 of a CA's subject public key info: what a joining agent trusts before it has the certificate.
public struct CAPin: Hashable, Sendable, CustomStringConvertible {
  public let bytes: [UInt8]

  init(validated bytes: [UInt8]) { self.bytes = bytes }

  /// nil unless there are 32 bytes.
  public init?(bytes: [UInt8]) {
    guard bytes.count == 32 else { return nil }
    self.bytes = bytes
  }

  /// `sha256:` and 64 hexadecimal digits, to be shown.
  public var description: String { "sha256:" + hexadecimal(bytes) }
}
