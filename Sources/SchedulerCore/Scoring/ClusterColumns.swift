/// What the scoring kernel knows of all clusters, as dense vectors of eight lanes: lane `c % 8` of block `c / 8` is cluster `c`.
///
/// Seconds are relative to the moment of the decision, so that single precision is enough: a day is exact to 8 ms.
public struct ClusterColumns: Sendable {
  public typealias Block = SIMD8<Float>

  /// Clusters; the lanes behind the last one are closed.
  public let count: Int
  /// Seconds until one more run would get a slot.
  var wait: [Block]
  /// Seconds until the link into the cluster has worked off what it was promised.
  var backlogIn: [Block]
  /// Seconds until the link out of the cluster has.
  var backlogOut: [Float]
  /// Seconds a byte takes into the cluster.
  var secondsPerByteIn: [Block]
  /// Seconds a byte takes out of the cluster.
  var secondsPerByteOut: [Float]
  /// Seconds of run for one second of the runtime at speed 1.
  var slowness: [Block]
  /// Money for one second in a slot.
  var pricePerSecond: [Block]
  /// Money for a byte that leaves the cluster, whoever takes it.
  var egressPerByte: [Float]
  /// Money for a byte that is brought to the cluster, wherever it comes from.
  var pricePerByteIn: [Block]
  /// By source, the seconds that a byte takes on its path to each cluster, zero where only the links limit it; empty for sources all
  /// of whose paths are limited by the links alone, and empty altogether where all are.
  var secondsPerByteOnPath: [[Block]] = []
  /// Zero for an open cluster, infinite for a closed one.
  var closed: [Block]

  /// All clusters closed, until they are described.
  public init(count: Int) {
    self.count = count
    let blocks = (count + 7) / 8
    wait = Array(repeating: .zero, count: blocks)
    backlogIn = wait
    secondsPerByteIn = wait
    slowness = Array(repeating: .one, count: blocks)
    pricePerSecond = wait
    pricePerByteIn = wait
    closed = Array(repeating: Block(repeating: .infinity), count: blocks)
    backlogOut = Array(repeating: 0, count: count)
    secondsPerByteOut = backlogOut
    egressPerByte = backlogOut
  }

  /// Describes one cluster and opens it.
  ///
  /// - Parameters:
  ///   - speed: relative to the cluster that runtimes are told for; above zero.
  ///   - bandwidthIn: bytes per second; above zero, infinite where nothing limits it.
  ///   - bandwidthOut: 0 for a cluster that sends nothing: its replicas are its own.
  ///   - pricePerSecond: of one slot.
  public mutating func describe(
    _ cluster: Int, speed: Float, bandwidthIn: Float, bandwidthOut: Float, pricePerSecond: Float = 0,
    egressPerByte: Float = 0, pricePerByteIn: Float = 0
  ) {
    precondition(speed > 0 && bandwidthIn > 0 && bandwidthOut >= 0, "speeds and bandwidths are above zero")
    slowness[cluster >> 3][cluster & 7] = 1 / speed
    secondsPerByteIn[cluster >> 3][cluster & 7] = 1 / bandwidthIn
    secondsPerByteOut[cluster] = 1 / bandwidthOut
    self.egressPerByte[cluster] = egressPerByte
    setPrice(cluster, perSecond: pricePerSecond, perByteIn: pricePerByteIn)
    closed[cluster >> 3][cluster & 7] = 0
  }

  public mutating func setOpen(_ cluster: Int, _ isOpen: Bool) {
    closed[cluster >> 3][cluster & 7] = isOpen ? 0 : .infinity
  }

  public func isOpen(_ cluster: Int) -> Bool { closed[cluster >> 3][cluster & 7] == 0 }

  /// Sets the seconds until one more run would get a slot.
  public mutating func setWait(_ cluster: Int, _ seconds: Float) { wait[cluster >> 3][cluster & 7] = seconds }

  /// Limits the path from one cluster to another.
  public mutating func setPath(from source: Int, to cluster: Int, bytesPerSecond: Float) {
    if secondsPerByteOnPath.isEmpty { secondsPerByteOnPath = Array(repeating: [], count: count) }
    if secondsPerByteOnPath[source].isEmpty {
      secondsPerByteOnPath[source] = Array(repeating: .zero, count: (count + 7) / 8)
    }
    secondsPerByteOnPath[source][cluster >> 3][cluster & 7] = 1 / bytesPerSecond
  }

  /// Sets the seconds until each link has worked off what it was promised.
  public mutating func setBacklog(_ cluster: Int, in inward: Float, out outward: Float) {
    backlogIn[cluster >> 3][cluster & 7] = inward
    backlogOut[cluster] = outward
  }

  /// Sets the money for one second of a run and for a byte that is brought in.
  public mutating func setPrice(_ cluster: Int, perSecond: Float, perByteIn: Float) {
    pricePerSecond[cluster >> 3][cluster & 7] = perSecond
    pricePerByteIn[cluster >> 3][cluster & 7] = perByteIn
  }

  /// Sets the money for a byte that leaves the cluster.
  public mutating func setEgress(_ cluster: Int, _ perByte: Float) { egressPerByte[cluster] = perByte }

  public func waitSeconds(_ cluster: Int) -> Float { wait[cluster >> 3][cluster & 7] }
  public func backlogInSeconds(_ cluster: Int) -> Float { backlogIn[cluster >> 3][cluster & 7] }
  public func backlogOutSeconds(_ cluster: Int) -> Float { backlogOut[cluster] }
  /// Seconds that a run takes whose runtime at speed 1 is given.
  public func runSeconds(_ cluster: Int, _ runtime: Float) -> Float { runtime * slowness[cluster >> 3][cluster & 7] }
  public func secondsIn(_ cluster: Int, _ bytes: Float) -> Float {
    bytes == 0 ? 0 : bytes * secondsPerByteIn[cluster >> 3][cluster & 7]
  }
  public func secondsOut(_ cluster: Int, _ bytes: Float) -> Float {
    bytes == 0 ? 0 : bytes * secondsPerByteOut[cluster]
  }
  /// Seconds that bytes take on a path with a limit of its own; zero on others.
  public func secondsOnPath(from source: Int, to cluster: Int, _ bytes: Float) -> Float {
    guard !secondsPerByteOnPath.isEmpty, !secondsPerByteOnPath[source].isEmpty else { return 0 }
    return bytes * secondsPerByteOnPath[source][cluster >> 3][cluster & 7]
  }
  public func price(_ cluster: Int, _ seconds: Float) -> Float { seconds * pricePerSecond[cluster >> 3][cluster & 7] }
  public func priceIn(_ cluster: Int, _ bytes: Float) -> Float {
    bytes == 0 ? 0 : bytes * pricePerByteIn[cluster >> 3][cluster & 7]
  }
  public func egress(_ cluster: Int, _ bytes: Float) -> Float { bytes * egressPerByte[cluster] }
}
