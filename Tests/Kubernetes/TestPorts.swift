internal import FederationModel
internal import Foundation

#if canImport(Glibc)
  internal import Glibc
#endif

/// Ports of the loopback for a test's servers, from `FUBINI_TEST_PORTS=FIRST-LAST`: test processes that run beside each
/// other are given ranges of their own, because a port is not held between its drawing and its use.
enum TestPorts {
  static func draw(_ count: Int) throws -> [Int] {
    let given =
      ProcessInfo.processInfo.environment["FUBINI_TEST_PORTS"]?.split(separator: "-").compactMap { Int($0) } ?? []
    let range = given.count == 2 && given[0] < given[1] ? given[0]...given[1] : 20_000...31_999
    var ports: Set<Int> = []
    for _ in 0..<10_000 where ports.count < count {
      let port = Int.random(in: range)
      if isFree(port) { ports.insert(port) }
    }
    guard ports.count == count else {
      throw FederationError(.unavailable, "There are no \(count) free ports in \(range) on the loopback.")
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
