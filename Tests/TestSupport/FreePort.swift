import FederationModel
import FoundationEssentials
import LocalProcess
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
      if LoopbackPort.isFree(port) { return port }
    }
    throw FederationError(.unavailable, "No free port was found in \(range) on the loopback.")
  }

  /// Whether something listens there.
  public static func answers(_ port: Int) -> Bool { LoopbackPort.answers(port) }
}
