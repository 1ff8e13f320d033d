import FederationModel
import SchedulerCore

/// What projects have used, and so whose turn it is (ADR 0018).
extension ControlPlaneCore {
  // MARK: Runs

  /// A run is placed, or read back.
  mutating func charge(_ run: RunEntry, to project: ProjectName) {
    account(of: project) { account, now, decay in
      account.place(run.priced, expecting: run.expectedSeconds)
      if let start = run.row.startedAt { account.start(run.priced, at: start, now: now, decay) }
    }
  }

  /// A run has started just now.
  mutating func chargeStart(of run: RunEntry) {
    guard let project = workflows[run.row.task.workflow]?.row.project else { return }
    account(of: project) { account, now, decay in account.start(run.priced, at: now, now: now, decay) }
  }

  /// A run is over: what it used is durable with its row.
  ///
  /// - Parameter milliseconds: what it ran by its agent's word; counts where nobody heard of its start.
  mutating func chargeEnd(of run: RunEntry, ran milliseconds: Int64) {
    guard let project = workflows[run.row.task.workflow]?.row.project else { return }
    account(of: project) { account, now, decay in
      var start = run.row.startedAt
      if start == nil, milliseconds > 0 {
        start = now + .milliseconds(-milliseconds)
        account.start(run.priced, at: start!, now: now, decay)
      }
      account.end(run.priced, startedAt: start, expecting: run.expectedSeconds, now: now, decay)
    }
    if shares[project]!.endedAt == now { output.shares.insert(project) }
  }

  private mutating func account(
    of project: ProjectName, _ change: (inout ShareAccount, Timestamp, UsageDecay) -> Void
  ) {
    change(&shares[project, default: ShareAccount(at: now)], now, configuration.usageDecay)
  }

  /// What a run is expected to take when it is placed or read back.
  func expectedSeconds(_ template: TemplateKey, _ inputs: ByteCount?, walltime: Duration?) -> Double {
    history.runtime(of: template, reading: inputs)?.median ?? (walltime ?? configuration.defaultRuntime).seconds
  }

  func weight(of project: ProjectName) -> Double { projects[project]?.weight ?? 1 }

  private static let weightMax = 1_000_000.0

  static func checked(weight: Double) throws -> Double {
    guard weight.isFinite, weight > 0, weight <= weightMax else {
      throw FederationError(
        .invalidArgument, "a weight is a number above 0 and at most \(Int(weightMax)), not \(weight)")
    }
    return weight
  }

  mutating func setWeight(_ weight: Double, of name: ProjectName) throws {
    projects[name]!.weight = try Self.checked(weight: weight)
    output.projects.insert(name)
    wantsPlacement = true
  }

  // MARK: The tree

  /// Of all clusters that are ready; of all that are known while none is.
  func shareCapacity() -> ResourceSeconds {
    let ready = clusters.values.filter { $0.session != nil && !$0.isSilent }
    return (ready.isEmpty ? Array(clusters.values) : ready).reduce(.zero) {
      $0 + ResourceSeconds($1.inventory.capacity)
    }
  }

  /// All projects that have something waiting or have ever used something, below their organisation.
  ///
  /// - Parameter others: those that are to be leaves besides.
  func shareTree(with others: some Sequence<ProjectName> = []) -> ShareTree {
    var tree = ShareTree(capacity: shareCapacity())
    var places: [OrganisationName: Int] = [:]
    for project in Set(shares.keys).union(pending.lanes.keys).union(others).sorted() {
      let charged = shares[project]?.charged(at: now, configuration.usageDecay) ?? .zero
      let organisation = organisation(of: project)
      if places[organisation] == nil { places[organisation] = tree.add(weight: weight(of: organisation)) }
      tree.add(to: places[organisation]!, weight: weight(of: project), project: project, charged: charged)
    }
    return tree
  }

  /// The projects that have something waiting, whose turn it is first.
  func projectOrder(in tree: ShareTree) -> [ProjectName] {
    tree.order(of: pending.lanes.filter { $0.value.count > 0 }.keys.sorted())
  }

  // MARK: Passes

  /// The groups that one pass sees, as `PendingTasks.select` chooses them.
  mutating func select(in tree: ShareTree) -> PendingTasks.Selection {
    let (order, workflows) = (projectOrder(in: tree), workflows)
    return pending.select(in: order) { task, group in workflows[task.workflow]?.tasks[task.node]?.group == group }
  }

  /// The turns of a pass over groups in this order.
  func turns(of keys: [Int64], in tree: ShareTree, aged: [Int64]) -> ProjectTurns {
    let places = Dictionary(uniqueKeysWithValues: keys.enumerated().map { ($1, $0) })
    return ProjectTurns(tree: tree, untilAged: untilAged, aged: aged.compactMap { places[$0] })
  }

  /// A placement is taken.
  mutating func noteTurn(of project: ProjectName, isAged: Bool) {
    if projects[project]?.limits.pendingTasks != nil {
      startRates[project, default: StartRate()].started(at: now)
    } else if !startRates.isEmpty {
      startRates[project] = nil
    }
    if isAged {
      untilAged = ProjectTurns.agedPeriod - 1
      pending.rotate(project)
    } else {
      untilAged = max(0, untilAged - 1)
    }
  }

  // MARK: Explaining

  /// What a waiting task's place in the order is made of. JSON members as `PriorityDocument` of the API has them.
  func priority(of group: PendingGroup, since: Timestamp) -> JSONValue {
    let status = fairShare()
    let own = status.projects.first { $0.project == group.requirement.project }
    let slack = TaskOrder.slack(group)
    var members: [String: JSONValue] = [
      "priorityClass": .string(group.requirement.hints.priorityClass.rawValue),
      "sharePlace": .integer(Int64(own?.place ?? 0)),
      "shareProjects": .integer(Int64(status.projects.count { $0.place != nil })),
      "shareFactor": .number(own?.factor ?? 1), "rankSeconds": .number(group.rank),
      "ageSeconds": .number((now - since).seconds),
    ]
    if slack < .infinity { members["slackSeconds"] = .number(slack) }
    return .object(members)
  }
}
