public import FederationModel

/// How seconds are weighed against money. See DESIGN section 8 for the terms.
public struct PlacementWeights: Hashable, Sendable {
  /// Of one second until the finish.
  public var alpha: Double
  /// Of one minor unit of money, in seconds.
  public var lambda: Double
  /// Of a cluster that is wholly taken, in seconds: spreads equal choices, and no more than that.
  public var spread: Double
  public init(alpha: Double = 1, lambda: Double = 2, spread: Double = 0.5) {
    self.alpha = alpha
    self.lambda = lambda
    self.spread = spread
  }
}

/// What a pass proposes. The core revalidates each placement when it applies the plan.
public struct PlacementPlan: Sendable {
  public var placements: [Placement]
  /// The tables that `placements` refer to by index.
  public var tables: [CandidateTable]
  public init(placements: [Placement] = [], tables: [CandidateTable] = []) {
    self.placements = placements
    self.tables = tables
  }
}

/// One decision: task -> cluster.
public struct Placement: Hashable, Sendable {
  public var task: TaskID
  public var cluster: ClusterName
  /// Index into `PlacementPlan.tables`.
  public var table: Int
}

/// One scheduling pass: filter, score, commit at once.
///
/// - Complexity: O(groups x clusters + placements x open clusters).
/// - Source: DESIGN section 8. Committing each choice to slots and link backlogs before the next is scored is what makes
///   a greedy pass as good as HEFT there.
public struct PlacementPlanner: Sendable {
  public var weights: PlacementWeights
  public init(weights: PlacementWeights = PlacementWeights()) { self.weights = weights }

  public func plan(_ snapshot: SchedulingSnapshot) -> PlacementPlan {
    var clusters = snapshot.clusters
    var plan = PlacementPlan()
    for group in snapshot.groups {
      place(group, on: &clusters, into: &plan)
    }
    return plan
  }

  /// The candidate table of a task that waits: what `explain` shows for it.
  public func explain(_ requirement: Requirement, expectedRuntime: Duration, on clusters: [ClusterView])
    -> CandidateTable
  {
    let rejections = clusters.map { Filter.rejection(of: $0, for: requirement, expectedRuntime: expectedRuntime) }
    let estimates: [Estimate?] = clusters.indices.map { index in
      if let rejection = rejections[index], !rejection.isTemporary { return nil }
      return estimate(clusters[index], requirement, requirement.missing(on: clusters[index].spec.name), expectedRuntime)
    }
    return table(clusters, rejections, estimates, chosen: nil)
  }

  private func place(_ group: PendingGroup, on clusters: inout [ClusterView], into plan: inout PlacementPlan) {
    let requirement = group.requirement
    var rejections = clusters.map { Filter.rejection(of: $0, for: requirement, expectedRuntime: group.expectedRuntime) }
    let missing = clusters.map { requirement.missing(on: $0.spec.name) }
    var estimates: [Estimate?] = clusters.indices.map { index in
      if let rejection = rejections[index], !rejection.isTemporary { return nil }
      return estimate(clusters[index], requirement, missing[index], group.expectedRuntime)
    }
    // One table for each cluster chosen in this pass: the runs that follow the first were decided on the same grounds.
    var tableOfCluster: [Int: Int] = [:]
    for task in group.tasks {
      guard let best = best(estimates, rejections) else { break }
      if tableOfCluster[best] == nil {
        tableOfCluster[best] = plan.tables.count
        plan.tables.append(table(clusters, rejections, estimates, chosen: best))
      }
      plan.placements.append(Placement(task: task, cluster: clusters[best].spec.name, table: tableOfCluster[best]!))
      clusters[best].free -= requirement.resources
      if clusters[best].freeSlots != nil { clusters[best].freeSlots! -= 1 }
      clusters[best].backlogIn += missing[best]
      rejections[best] = Filter.moment(clusters[best], requirement)
      estimates[best] = estimate(clusters[best], requirement, missing[best], group.expectedRuntime)
    }
  }

  private func best(_ estimates: [Estimate?], _ rejections: [Rejection?]) -> Int? {
    var best: Int?
    for index in estimates.indices where rejections[index] == nil {
      guard let score = estimates[index]?.score else { continue }
      if best == nil || score < estimates[best!]!.score { best = index }
    }
    return best
  }

  private func estimate(
    _ cluster: ClusterView, _ requirement: Requirement, _ missing: ByteCount, _ expectedRuntime: Duration
  ) -> Estimate {
    // Bytes wait behind those that the link was promised before; with nothing to move nothing waits.
    let stage = missing.bytes == 0 ? 0 : Double(cluster.backlogIn.bytes + missing.bytes) / max(1, cluster.bandwidth)
    let run = expectedRuntime.seconds
    // Staging overlaps queueing.
    let wait = QueueWait.seconds(cluster, requirement, expectedRuntime: run)
    let finish = max(stage, wait) + run
    let price = cluster.spec.prices?.cost(of: requirement.resources, for: expectedRuntime, moving: missing)
    var taken = 0.0
    if let slots = cluster.inventory.slots, slots > 0, let free = cluster.freeSlots {
      taken = 1 - Double(free) / Double(slots)
    } else if cluster.inventory.capacity.cpuMillicores > 0 {
      taken = 1 - Double(cluster.free.cpuMillicores) / Double(cluster.inventory.capacity.cpuMillicores)
    }
    return Estimate(
      missing: missing, stageSeconds: stage, waitSeconds: wait, runSeconds: run, finishSeconds: finish,
      priceMinorUnits: price,
      currency: cluster.spec.prices?.currency,
      score: weights.alpha * finish + weights.lambda * (price ?? 0) + weights.spread * taken)
  }

  private func table(
    _ clusters: [ClusterView], _ rejections: [Rejection?], _ estimates: [Estimate?], chosen: Int?
  ) -> CandidateTable {
    CandidateTable(
      candidates: clusters.indices.map {
        Candidate(
          cluster: clusters[$0].spec.name, rejection: rejections[$0], estimate: estimates[$0], isChosen: $0 == chosen)
      })
  }
}
