public import FederationModel
public import SchedulerCore
public import WorkflowCore

/// What a forecast begins with: the federation at one moment, as far as one workflow is concerned. A value; nothing is changed by it.
public struct ForecastBasis: Sendable {
  public var now: Timestamp
  public var project: ProjectName
  /// The clusters, what waits on them already, and where the data is that anybody in the forecast reads by name.
  public var snapshot: SchedulingSnapshot
  /// `running[c]`: runs that are on `snapshot.clusters[c]`.
  public var running: [[ExpectedRelease]]
  /// Of the workflow's templates.
  public var history: TemplateHistory
  /// Of the workflow's mounts.
  public var datasets: [DatasetMount: MountedDataset]
  /// What is known of inputs that documents only name.
  public var seen: [UnseenInput: SeenInput] = [:]
  /// What the project may use; what it uses meanwhile is not foreseen. nil: it is not limited.
  public var quota: QuotaView?
  public var weights: PlacementWeights
  /// Expected where neither history nor walltime says anything.
  public var defaultRuntime: Duration
  /// Tasks of others that wait and are not in `snapshot`: too many.
  public var waitingBeyond: Int
  /// What the project may spend; nil: it has no budget.
  public var budget: BudgetView?

  public init(
    now: Timestamp, project: ProjectName, snapshot: SchedulingSnapshot, running: [[ExpectedRelease]] = [],
    history: TemplateHistory = TemplateHistory(), datasets: [DatasetMount: MountedDataset] = [:],
    weights: PlacementWeights = PlacementWeights(), defaultRuntime: Duration = .seconds(10), waitingBeyond: Int = 0
  ) {
    self.now = now
    self.project = project
    self.snapshot = snapshot
    self.running = running.isEmpty ? snapshot.clusters.map { _ in [] } : running
    self.history = history
    self.datasets = datasets
    self.weights = weights
    self.defaultRuntime = defaultRuntime
    self.waitingBeyond = waitingBeyond
  }
}

extension ControlPlaneCore {
  /// Tasks of others that a forecast lets run before its own, at most.
  private static var forecastWaitingLimit: Int { 1000 }

  /// What a forecast of a workflow begins with. Reads alone: no id is used, nothing is written, and nothing is brought anywhere.
  ///
  /// - Parameter inputs: those that a forecast before this one did not know.
  /// - Throws: as a submission would: `.notFound` or `.failedPrecondition` for a data set that cannot be read.
  /// - Complexity: O(clusters + live runs + templates), and a bounded number of waiting tasks.
  public func forecastBasis(
    of definition: WorkflowDefinition, in project: ProjectName, reading inputs: [UnseenInput] = []
  ) throws -> ForecastBasis {
    var datasets: [DatasetMount: MountedDataset] = [:]
    for mount in definition.mountedDatasets {
      let row = try readable(mount.version, of: DatasetReference(project: project, name: mount.name))
      datasets[mount] = MountedDataset(
        object: DataObject(
          key: row.key, project: project, size: row.size, files: row.files, manifest: row.manifest, sources: []),
        mountPath: mount.mountPath)
    }
    let (waiting, beyond) = othersWaiting()
    var snapshot = situation(of: waiting, on: views())
    for mounted in datasets.values { snapshot.data[mounted.object.key] = dataView(mounted.object.key) }
    let seen = seen(inputs, of: project)
    snapshot.data.merge(dataViews(of: seen)) { known, _ in known }
    var basis = ForecastBasis(
      now: now, project: project, snapshot: snapshot, running: clusters.keys.sorted().map(releases),
      history: history.part(
        of: definition.spec.templates.filter(\.isTask).map {
          TemplateKey(project: project, name: $0.name, program: $0.program)
        }),
      datasets: datasets, weights: configuration.weights, defaultRuntime: configuration.defaultRuntime,
      waitingBeyond: beyond)
    basis.seen = seen
    basis.budget = budgetView(of: project, for: "")
    basis.quota = projects[project].map { QuotaView(limits: $0.limits) }
    return basis
  }

  /// What waits already, in order, and how many more there are.
  private func othersWaiting() -> (groups: [PendingGroup], beyond: Int) {
    var groups: [PendingGroup] = []
    var left = Self.forecastWaitingLimit
    // On a copy: to look does not change whose turn it is.
    var core = self
    for key in core.select(in: shareTree()).keys where left > 0 {
      guard let group = pending.groups[key] else { continue }
      let tasks = Array(
        group.queue.lazy.filter { self.workflows[$0.workflow]?.tasks[$0.node]?.group == key }.prefix(left))
      left -= tasks.count
      groups.append(pendingGroup(key, tasks))
    }
    return (groups, max(0, pending.count - (Self.forecastWaitingLimit - left)))
  }

  /// When the runs that hold a cluster's slots are expected to end, the soonest first.
  func releases(on cluster: ClusterName) -> [ExpectedRelease] {
    clusters[cluster]!.runs.compactMap { runs[$0] }.filter(\.holdsSlot).map { run in
      let known = history.runtime(of: run.template, reading: run.row.inputBytes)?.median
      let expected = known ?? configuration.defaultRuntime.seconds
      let elapsed = run.row.startedAt.map { max(0, (now - $0).seconds) } ?? 0
      // As `ExpectedEnd`: one that takes longer than expected takes nobody knows how long.
      let rest = elapsed < expected ? expected - elapsed : max(1, elapsed / 10)
      return ExpectedRelease(
        resources: run.row.resources, end: rest, isSpot: run.row.spot != nil, partition: run.row.quote?.partition)
    }.sorted { ($0.end, $0.resources.cpuMillicores) < ($1.end, $1.resources.cpuMillicores) }
  }
}
