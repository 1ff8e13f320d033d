import FederationModel

/// One requirement's turn in a placement pass: what each cluster says to it now. Arrays are by the index of the cluster.
struct Round {
  private let requirement: Requirement
  private let expectedRuntime: Duration
  private let missing: [ByteCount]
  private var rejections: [Rejection?]
  /// Why the policy passes over clusters that would take it.
  private var passedOver: [Rejection?]
  private var estimates: [Estimate?]
  /// What the policy says of a cluster that is chosen.
  private var notes: [String?]
  /// One table for each cluster chosen in this turn: the runs that follow the first were decided on the same grounds.
  private var tableOfCluster: [Int: Int] = [:]

  init(
    _ requirement: Requirement, _ expectedRuntime: Duration, _ clusters: [ClusterView], _ planner: PlacementPlanner
  ) {
    self.requirement = requirement
    self.expectedRuntime = expectedRuntime
    missing = clusters.map { requirement.missing(on: $0.spec.name) }
    rejections = clusters.map { Filter.rejection(of: $0, for: requirement, expectedRuntime: expectedRuntime) }
    passedOver = clusters.map { _ in nil }
    estimates = clusters.map { _ in nil }
    notes = clusters.map { _ in nil }
    for index in clusters.indices where rejections[index]?.isTemporary ?? true {
      estimates[index] = planner.estimate(clusters[index], requirement, missing[index], expectedRuntime)
    }
  }

  /// The open cluster of the least score.
  func best() -> Int? {
    var best: Int?
    for index in estimates.indices where rejections[index] == nil && passedOver[index] == nil {
      guard let score = estimates[index]?.score else { continue }
      if best == nil || score < estimates[best!]!.score { best = index }
    }
    return best
  }

  /// Places a task, and commits the choice before the next one.
  mutating func put(
    _ task: TaskID, on index: Int, _ clusters: inout [ClusterView], _ plan: inout PlacementPlan,
    _ planner: PlacementPlanner
  ) {
    if tableOfCluster[index] == nil {
      tableOfCluster[index] = plan.tables.count
      plan.tables.append(table(clusters, chosen: index))
    }
    plan.placements.append(Placement(task: task, cluster: clusters[index].spec.name, table: tableOfCluster[index]!))
    clusters[index].free -= requirement.resources
    if clusters[index].freeSlots != nil { clusters[index].freeSlots! -= 1 }
    clusters[index].backlogIn += missing[index]
    rejections[index] = Filter.moment(clusters[index], requirement, expectedRuntime: expectedRuntime)
    estimates[index] = planner.estimate(clusters[index], requirement, missing[index], expectedRuntime)
  }

  func table(_ clusters: [ClusterView], chosen: Int?) -> CandidateTable {
    CandidateTable(
      candidates: clusters.indices.map {
        Candidate(
          cluster: clusters[$0].spec.name, rejection: rejections[$0] ?? passedOver[$0], estimate: estimates[$0],
          isChosen: $0 == chosen, note: $0 == chosen ? notes[$0] : nil)
      })
  }
}

/// `placementPolicy: local-first`.
extension Round {
  /// The clusters of a tier that take the requirement, now or when they have room.
  func members(of tier: Tier, _ clusters: [ClusterView]) -> [Int] {
    clusters.indices.filter {
      Tier(of: clusters[$0].spec) == tier && clusters[$0].closedBecause == nil && rejections[$0]?.isTemporary ?? true
    }
  }

  /// Closes every tier, each with the reason that holds until `open` has come to it.
  ///
  /// - Parameter waiting: tasks of the requirement that wait, those that are about to be placed among them.
  mutating func begin(_ tiers: LocalFirst, _ clusters: [ClusterView], waiting: Int) {
    for index in clusters.indices where rejections[index]?.isTemporary ?? true {
      guard let reason = tiers.priceRejection(clusters[index]) else { continue }
      (rejections[index], estimates[index]) = (reason, nil)
    }
    var earlier: [ClusterView] = []
    for tier in Tier.allCases {
      let reason = tiers.heldRejection(tier, waiting: waiting, earlier: earlier)
      let note = tiers.note(tier, waiting: waiting, earlier: earlier)
      for index in clusters.indices where Tier(of: clusters[index].spec) == tier {
        (passedOver[index], notes[index]) = (reason, note)
        // Nobody starts at once where nothing is free; what waits in this pass already comes first.
        if rejections[index]?.code == "Full" {
          estimates[index]?.waitSeconds =
            tiers.wait(on: clusters[index]) + tiers.runtime / tiers.parallel(clusters[index])
        }
      }
      earlier += members(of: tier, clusters).map { clusters[$0] }
    }
  }

  mutating func open(_ tier: Tier, _ tiers: LocalFirst, _ clusters: [ClusterView]) {
    for index in clusters.indices where Tier(of: clusters[index].spec) == tier {
      passOver(index, tiers, clusters)
    }
  }

  /// Looks again whether a cluster of an open tier is soon enough.
  mutating func passOver(_ index: Int, _ tiers: LocalFirst, _ clusters: [ClusterView]) {
    passedOver[index] = tiers.waitRejection(tiers.wait(on: clusters[index]))
  }

  /// The tables of what follows are others: the grounds have changed.
  mutating func openAll(_ tiers: LocalFirst) {
    passedOver = passedOver.map { _ in nil }
    notes = notes.map { _ in tiers.lastResortNote }
    tableOfCluster = [:]
  }
}
