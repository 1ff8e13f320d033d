/// What of the machines is a project's own whatever others do, and how much more it may have while nobody needs it.
extension ProjectLimits {
  /// The most that it may use: what is guaranteed and what it may borrow; nil: borrowing is not limited.
  public var borrowCeiling: ResourceQuota? {
    guard let borrowLimit, !borrowLimit.isEmpty else { return nil }
    func sum(_ part: KeyPath<ResourceQuota, Int64?>) -> Int64? {
      borrowLimit[keyPath: part].map { limit in
        let (sum, isTooLarge) = limit.addingReportingOverflow(guarantee?[keyPath: part] ?? 0)
        return isTooLarge ? .max : sum
      }
    }
    return ResourceQuota(
      cpuMillicores: sum(\.cpuMillicores), gpus: sum(\.gpus), memoryBytes: sum(\.memoryBytes), runs: sum(\.runs))
  }

  /// Whether a task is within what is guaranteed when its project then uses so much. One that takes nothing of what the guarantee
  /// names is not: who is guaranteed GPUs has no claim to cores for other work, and nobody to GPUs who is guaranteed cores.
  public func guarantees(_ task: ResourceUse, within use: ResourceUse) -> Bool {
    guard let guarantee, guarantee.names(some: task), task.gpus == 0 || guarantee.gpus != nil else { return false }
    return guarantee.holds(use)
  }

  /// Whether a project that uses so much, and less a run, still has what is guaranteed to it of what the run takes. Without a
  /// guarantee all that it has is borrowed.
  public func canSpare(_ run: ResourceUse, of use: ResourceUse) -> Bool {
    guard let guarantee, !guarantee.isEmpty else { return true }
    var rest = use
    rest -= run
    return guarantee.isReached(by: rest, without: run)
  }
}

extension ResourceQuota {
  private func pairs(_ use: ResourceUse) -> [(limit: Int64?, use: Int64)] {
    [(cpuMillicores, use.cpuMillicores), (gpus, use.gpus), (memoryBytes, use.memoryBytes), (runs, use.runs)]
  }

  /// Whether so much is not more than it, in what it names.
  func holds(_ use: ResourceUse) -> Bool { pairs(use).allSatisfy { pair in pair.limit.map { pair.use <= $0 } ?? true } }

  /// Whether it names anything of what a run takes: cores, GPUs or memory; or runs alone.
  func names(some run: ResourceUse) -> Bool {
    zip(pairs(run), [true, true, true, cpuMillicores == nil && gpus == nil && memoryBytes == nil]).contains {
      $0.limit != nil && $0.use > 0 && $1
    }
  }

  /// Whether so much is not less than it, in what it names and a run takes.
  func isReached(by use: ResourceUse, without run: ResourceUse) -> Bool {
    zip(pairs(use), pairs(run)).allSatisfy { rest, part in
      part.use == 0 || rest.limit.map { rest.use >= $0 } ?? true
    }
  }
}
