/// Under which runs reach the ports of a daemon.
public enum RunAddress {
  /// Of those on the same machine, which share its network.
  public static let loopback = "127.0.0.1"

  /// Whether nobody beyond the machine reaches it.
  public static func isLoopback(_ address: String) -> Bool {
    address.hasPrefix("127.") || address == "::1" || address == "localhost"
  }
}
