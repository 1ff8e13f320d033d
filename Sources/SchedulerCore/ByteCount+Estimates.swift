public import FederationModel

extension ByteCount {
  /// What is estimated in floating point, within 0...2^60 bytes; 0 for what is no number.
  public init(estimated bytes: Double) { self.init(bytes > 0 ? Int64(min(bytes, 0x1p60)) : 0) }
}
