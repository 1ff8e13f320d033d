/// What of the machines is a project's own whatever others do, and how much more it may have while nobody needs it.
extension ProjectLimits {
  /// The most that it may use: what is guaranteed and what it may borrow; nil: borrowing is not limited.
  public var borrowCeiling: ResourceQuota? {
    guard let borrowLimit, !borrowLimit.isEmpty else { return nil }
    func sum(_ part: KeyPath<ResourceQuota, Int64?>) -> Int64? {
      borrowLimit[keyPath: part].map { $0 + (guarantee?[keyPath: part] ?? 0) }
    }
    return ResourceQuota(
      cpuMillicores: sum(\.cpuMillicores), gpus: sum(\.gpus), memoryBytes: sum(\.memoryBytes), runs: sum(\.runs))
  }

  /// Whether so much is within what is guaranteed; false where nothing is.
  public func guarantees(_ use: ResourceUse) -> Bool {
    guard let guarantee, !guarantee.isEmpty else { return false }
    return guarantee.holds(use)
  }

  /// Whether a project that uses so much, and less a run, still has what is guaranteed to it. Without a guarantee all that it has is
  /// borrowed.
  public func canSpare(_ run: ResourceUse, of use: ResourceUse) -> Bool {
    guard let guarantee, !guarantee.isEmpty else { return true }
    var rest = use
    rest -= run
    return guarantee.isReached(by: rest)
  }
}

extension ResourceQuota {
  private func pairs(_ use: ResourceUse) -> [(limit: Int64?, use: Int64)] {
    [(cpuMillicores, use.cpuMillicores), (gpus, use.gpus), (memoryBytes, use.memoryBytes), (runs, use.runs)]
  }

  /// Whether so much is not more than it, in what it names.
  func holds(_ use: ResourceUse) -> Bool { pairs(use).allSatisfy { pair in pair.limit.map { pair.use <= $0 } ?? true } }

  /// Whether so much is not less than it, in what it names.
  func isReached(by use: ResourceUse) -> Bool {
    pairs(use).allSatisfy { pair in pair.limit.map { pair.use >= $0 } ?? true }
  }
}
