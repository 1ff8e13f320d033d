public import FederationModel
public import SchedulerCore

/// Whose turn it is, and why: what `fubini fairshare` shows.
public struct FairShareStatus: Hashable, Sendable {
  public var halfLife: Duration
  /// Of all clusters that are ready.
  public var capacity: ResourceSeconds
  /// By name: the projects that are in use, and archived ones of which something waits or runs.
  public var projects: [ShareStatus]

  /// The project whose turn is next.
  public var next: ShareStatus? { projects.first { $0.place == 1 } }
}

/// One project's share.
public struct ShareStatus: Hashable, Sendable {
  public var project: ProjectName
  public var organisation: OrganisationName
  /// Of the organisation, compared with the others.
  public var organisationWeight: Double
  /// Compared with the other projects of the organisation.
  public var weight: Double
  /// The part of everything that is the project's by weight, of all projects: from 0 to 1.
  public var entitled: Double
  /// What it has used, with decay.
  public var used: ResourceSeconds
  /// The resource of which it has used most.
  public var dominant: DominantResource
  /// Its part of what all projects have used, each counted by its dominant resource: from 0 to 1.
  public var usedPart: Double
  /// 2 to the power of -(what it has used and its runs are expected to use) / (what it is entitled to), both as parts: 1 for who has
  /// used nothing, 0.5 for who has used what is his. Of projects in one organisation the one with the greatest goes first.
  ///
  /// - Source: Slurm, "Classic Fairshare Algorithm".
  public var factor: Double
  /// 1 for who goes next, of those that have something waiting; nil: nothing waits.
  public var place: Int?
  /// Tasks that wait, and those of them whose class has a share.
  public var waiting: Int
  public var shared: Int
  /// Runs that are placed and not over.
  public var running: Int64
}

extension ControlPlaneCore {
  /// O(projects x log projects).
  public func fairShare() -> FairShareStatus {
    let decay = configuration.usageDecay
    let open = projects.values.filter { $0.archivedAt == nil }.map(\.name)
    let tree = shareTree(with: open)
    let places = Dictionary(uniqueKeysWithValues: projectOrder(in: tree).enumerated().map { ($1, $0 + 1) })
    let parts = tree.entitlements()
    let shown = Set(open).union(uses.keys).union(places.keys).sorted()
    func share(_ use: ResourceSeconds) -> Double { use.dominant(of: tree.capacity).share }
    let used = shown.map { shares[$0]?.used(at: now, decay) ?? .zero }
    let charged = shown.map { shares[$0]?.charged(at: now, decay) ?? .zero }
    let all = (used: used.reduce(0) { $0 + share($1) }, charged: charged.reduce(0) { $0 + share($1) })
    return FairShareStatus(
      halfLife: configuration.shareHalfLife, capacity: tree.capacity,
      projects: shown.indices.map { index in
        let (name, lane) = (shown[index], pending.lanes[shown[index]])
        let organisation = organisation(of: name)
        let entitled = tree.leaf(of: name).map { parts[$0] } ?? 0
        let part = all.charged > 0 ? share(charged[index]) / all.charged : 0
        return ShareStatus(
          project: name, organisation: organisation, organisationWeight: weight(of: organisation),
          weight: weight(of: name), entitled: entitled,
          used: used[index], dominant: used[index].dominant(of: tree.capacity).resource,
          usedPart: all.used > 0 ? share(used[index]) / all.used : 0,
          factor: UsageDecay(halfLife: 1).factor(after: entitled > 0 ? part / entitled : 0), place: places[name],
          waiting: lane?.count ?? 0, shared: lane?.shared ?? 0, running: uses[name]?.use.runs ?? 0)
      })
  }
}
