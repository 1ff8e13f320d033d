/// What a run pays for the bytes that one cluster sends for it, in the currency of the run's quote: fixed when it is placed, metered when
/// it ends.
///
/// A price for egress is of the cluster that the bytes leave, and binds as what the placement planned: all the sources of a run together
/// never cost more than that, whatever way the bytes then took.
public struct EgressQuote: Hashable, Sendable, Codable {
  public var source: ClusterName
  /// Minor units for one GiB.
  public var gibibyte: Double
  /// Bytes that the placement meant to have from there; zero for a source that it did not plan.
  public var planned: ByteCount
  /// Bytes that came from there; nil until the run is over.
  public var moved: ByteCount?

  public init(source: ClusterName, gibibyte: Double, planned: ByteCount, moved: ByteCount? = nil) {
    self.source = source
    self.gibibyte = gibibyte
    self.planned = planned
    self.moved = moved
  }

  /// Minor units, not yet rounded, for `bytes` at a price for a GiB.
  public static func cost(of bytes: ByteCount, at gibibyte: Double) -> Double {
    gibibyte * Double(bytes.bytes) / 1_073_741_824
  }
}

extension [EgressQuote] {
  /// Minor units, not yet rounded: the most that the sources of one run can cost.
  public var plannedCost: Double { reduce(0) { $0 + EgressQuote.cost(of: $1.planned, at: $1.gibibyte) } }

  /// Minor units, not yet rounded: for what was moved, at most what was planned.
  public var cost: Double {
    Swift.min(plannedCost, reduce(0) { $0 + EgressQuote.cost(of: $1.moved ?? .zero, at: $1.gibibyte) })
  }

  /// The same sources with what has come from them.
  ///
  /// - Parameters:
  ///   - moved: all bytes that were moved in for the run.
  ///   - told: of them, those of each cluster; nil: the agent does not tell, and what was planned counts as far as `moved` goes.
  ///   - price: what a GiB of a source costs that was not planned; 0 for nothing.
  public func metered(
    _ moved: ByteCount, by told: [ClusterName: ByteCount]?, price: (ClusterName) -> Double
  ) -> [EgressQuote] {
    guard !isEmpty else { return [] }
    var metered = self
    guard let told else {
      var left = moved
      for index in indices {
        metered[index].moved = Swift.min(left, metered[index].planned)
        left = left - metered[index].moved!
      }
      return metered
    }
    for index in indices { metered[index].moved = told[metered[index].source] ?? .zero }
    for source in told.keys.sorted() where !contains(where: { $0.source == source }) {
      let gibibyte = price(source)
      guard gibibyte > 0 else { continue }
      metered.append(EgressQuote(source: source, gibibyte: gibibyte, planned: .zero, moved: told[source]))
    }
    return metered
  }
}
