internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#endif

/// Ports of the loopback that nobody listens on.
enum FreePorts {
  /// They lie below the range that outgoing connections are given, so that none of Slurm's own many connections takes one.
  /// Another process can still be faster than the daemon that gets it: then that daemon says so and ends.
  ///
  /// - Throws: `unavailable`, when there are not enough.
  static func draw(_ count: Int) throws -> [Int] {
    var ports: Set<Int> = []
    for _ in 0..<(count * 50) where ports.count < count {
      let port = Int.random(in: 12_000..<32_000)
      if isFree(port) { ports.insert(port) }
    }
    guard ports.count == count else {
      throw FederationError(.unavailable, "There are no \(count) free ports from 12000 to 31999 on the loopback.")
    }
    return Array(ports)
  }

  private static func isFree(_ port: Int) -> Bool {
    let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard file >= 0 else { return false }
    defer { close(file) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}
