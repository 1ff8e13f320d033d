public import FederationModel

/// What `placementPolicy: local-first` uses one after the other.
public enum Tier: String, Hashable, Sendable, CaseIterable {
  case local, cloud, supercomputer

  /// The label of a cluster by which its operator names its tier.
  public static let label = "tier"

  /// By the label; without one, a cluster that costs nothing is local, a Slurm cluster a supercomputer, and any other cloud.
  public init(of spec: ClusterSpec) {
    if let named = spec.labels[Self.label].flatMap({ Tier(rawValue: $0) }) {
      self = named
    } else if spec.prices?.isFree ?? true {
      self = .local
    } else {
      self = spec.kind == .slurm ? .supercomputer : .cloud
    }
  }
}
