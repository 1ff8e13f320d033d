public import FederationModel

/// A `federation:` block as written: nil where the author said nothing, so that a template's block can be laid over
/// its workflow's.
public struct FederationBlock: Hashable, Sendable, Codable {
  public var kinds: [ClusterKind]?
  public var labels: [String: String]?
  public var exclude: [ClusterName]?
  public var walltime: Duration?
  public var priorityClass: PriorityClass?
  public var onDisconnect: DisconnectPolicy?
  public var maxPrice: Money?
  public var gangSize: Int?
  public var gpuType: String?
  public var placementPolicy: PlacementPolicy?
  public var slurm: SlurmHints?
  public var datasets: [DatasetMount]?
  public var stageOut: StageOutPolicy?
  public var recompute: RecomputePolicy?
  public var onPreempt: PreemptionHook?
  public var spot: SpotPolicy?

  public init(
    kinds: [ClusterKind]? = nil, labels: [String: String]? = nil, exclude: [ClusterName]? = nil,
    walltime: Duration? = nil,
    priorityClass: PriorityClass? = nil, onDisconnect: DisconnectPolicy? = nil, maxPrice: Money? = nil,
    gangSize: Int? = nil, gpuType: String? = nil, placementPolicy: PlacementPolicy? = nil, slurm: SlurmHints? = nil,
    datasets: [DatasetMount]? = nil, stageOut: StageOutPolicy? = nil, recompute: RecomputePolicy? = nil,
    onPreempt: PreemptionHook? = nil, spot: SpotPolicy? = nil
  ) {
    self.spot = spot
    self.onPreempt = onPreempt
    self.kinds = kinds
    self.labels = labels
    self.exclude = exclude
    self.walltime = walltime
    self.priorityClass = priorityClass
    self.onDisconnect = onDisconnect
    self.maxPrice = maxPrice
    self.gangSize = gangSize
    self.gpuType = gpuType
    self.placementPolicy = placementPolicy
    self.slurm = slurm
    self.datasets = datasets
    self.stageOut = stageOut
    self.recompute = recompute
  }

  /// This block, with every field that it leaves open taken from `base`. A field is taken whole; lists are not joined.
  public func filled(from base: FederationBlock) -> FederationBlock {
    FederationBlock(
      kinds: kinds ?? base.kinds, labels: labels ?? base.labels, exclude: exclude ?? base.exclude,
      walltime: walltime ?? base.walltime, priorityClass: priorityClass ?? base.priorityClass,
      onDisconnect: onDisconnect ?? base.onDisconnect, maxPrice: maxPrice ?? base.maxPrice,
      gangSize: gangSize ?? base.gangSize, gpuType: gpuType ?? base.gpuType,
      placementPolicy: placementPolicy ?? base.placementPolicy, slurm: slurm ?? base.slurm,
      datasets: datasets ?? base.datasets, stageOut: stageOut ?? base.stageOut, recompute: recompute ?? base.recompute,
      onPreempt: onPreempt ?? base.onPreempt, spot: spot ?? base.spot)
  }

  /// The terms, with defaults for what is still open.
  public var hints: FederationHints {
    var hints = FederationHints()
    hints.kinds = kinds ?? hints.kinds
    hints.labels = labels ?? hints.labels
    hints.exclude = exclude ?? hints.exclude
    hints.walltime = walltime ?? hints.walltime
    hints.priorityClass = priorityClass ?? hints.priorityClass
    hints.onDisconnect = onDisconnect ?? hints.onDisconnect
    hints.maxPrice = maxPrice ?? hints.maxPrice
    hints.gangSize = gangSize ?? hints.gangSize
    hints.placementPolicy = placementPolicy
    hints.slurm = slurm
    hints.datasets = datasets
    hints.stageOut = stageOut
    hints.recompute = recompute
    hints.onPreempt = onPreempt
    hints.spot = spot
    return hints
  }
}
