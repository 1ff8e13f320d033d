internal import FederationModel
internal import LocalProcess

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
      if LoopbackPort.isFree(port) { ports.insert(port) }
    }
    guard ports.count == count else {
      throw FederationError(.unavailable, "There are no \(count) free ports from 12000 to 31999 on the loopback.")
    }
    return Array(ports)
  }
}
