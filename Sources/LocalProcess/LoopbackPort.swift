#if canImport(Glibc)
  internal import Glibc
#endif

/// What a port of the loopback is used for at this moment.
public enum LoopbackPort {
  /// Whether nothing listens there. Another process may be faster than whoever takes it.
  public static func isFree(_ port: Int) -> Bool { isDone(port, bind) }

  /// Whether something listens there.
  public static func answers(_ port: Int) -> Bool { isDone(port, connect) }

  /// Whether a new socket can be bound or connected to it.
  private static func isDone(_ port: Int, _ act: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Bool {
    let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard file >= 0 else { return false }
    defer { close(file) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        act(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}
