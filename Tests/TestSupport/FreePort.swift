import FederationModel
import Foundation
import Glibc
import Synchronization

/// Ports of the loopback that nothing listens on, from below the range that outgoing connections take.
public enum FreePort {
  private static let given = Mutex(Set<Int>())

  /// Test processes that run beside each other draw from ranges of their own, `FUBINI_TEST_PORTS=FIRST-LAST`: a port is not held
  /// between its drawing and its use.
  private static let range: ClosedRange<Int> = {
    let words =
      ProcessInfo.processInfo.environment["FUBINI_TEST_PORTS"]?.split(separator: "-").compactMap { Int($0) } ?? []
    guard words.count == 2, words[0] > 1023, words[0] < words[1], words[1] < 65_536 else { return 20_000...31_999 }
    return words[0]...words[1]
  }()

  /// One that this process has not been given before.
  public static func next() throws -> Int {
    for _ in 0..<1_000 {
      let port = Int.random(in: range)
      guard given.withLock({ $0.insert(port).inserted }) else { continue }
      if isDone(port, bind) { return port }
    }
    throw FederationError(.unavailable, "No free port was found in \(range) on the loopback.")
  }

  /// Whether something listens there.
  public static func answers(_ port: Int) -> Bool { isDone(port, connect) }

  /// Whether a new socket can be bound or connected to a port of the loopback.
  private static func isDone(
    _ port: Int, _ act: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Bool {
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
