/// In which order a task's clusters are used (`federation.placementPolicy`), where the best score alone shall not decide.
public struct PlacementPolicy: Hashable, Sendable, Codable {
  public enum Name: String, Hashable, Sendable, Codable, CaseIterable {
    /// Local clusters first, then cloud, then supercomputers; the next only when those before would take too long.
    case localFirst = "local-first"
  }

  public var name: Name
  /// The longest estimated wait that is still waited; above it the next tier is used.
  public var waitThreshold: Duration
  /// What one run may be expected to cost beyond the first tier; nil: no limit but `maxPrice`.
  public var priceThreshold: Money?

  public static let defaultWaitThreshold = Duration.seconds(600)

  public init(
    name: Name = .localFirst, waitThreshold: Duration = defaultWaitThreshold, priceThreshold: Money? = nil
  ) {
    self.name = name
    self.waitThreshold = waitThreshold
    self.priceThreshold = priceThreshold
  }
}
