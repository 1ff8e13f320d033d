import DequeModule
import FederationModel
public import SchedulerCore
import WorkflowCore

extension ControlPlaneCore {
  /// What a placement pass needs, or nil when a pass could place nothing: nothing waits, nothing changed, or no cluster has room.
  ///
  /// The caller plans outside the loop and brings the plan back as `Input.plan`.
  public mutating func takeSnapshot() -> SchedulingSnapshot? {
    // What an open plan places still waits; it must not be planned a second time.
    guard wantsPlacement, !pending.isEmpty, openPlans.isEmpty else { return nil }
    wantsPlacement = false
    let views = views()
    let room = room(in: views)
    guard room > 0 else { return nil }
    let workflows = workflows
    let groups = pending.next(limit: min(room, Self.passLimit)) { task, group in
      workflows[task.workflow]?.tasks[task.node]?.group == group
    }
    return SchedulingSnapshot(
      clusters: views,
      groups: groups.compactMap { requirement, tasks, waiting in
        tasks.isEmpty
          ? nil
          : PendingGroup(
            requirement: requirement, tasks: tasks, waiting: waiting, expectedRuntime: expectedRuntime(of: requirement))
      })
  }

  /// How many runs the clusters can be handed now, at most: what a pass need not look beyond.
  private func room(in views: [ClusterView]) -> Int {
    let hasShort = pending.groups.values.contains {
      expectedRuntime(of: $0.requirement) < ClusterView.shortTask
    }
    return views.reduce(0) { sum, view in
      guard view.closedBecause == nil else { return sum }
      let ahead = hasShort ? view.inventory.slots ?? 0 : 0
      return sum + max(0, min(view.freeSlots.map { $0 + ahead } ?? Self.passLimit, Self.passLimit))
    }
  }

  /// Placements that one pass proposes at most: bounds the turn that applies the plan.
  private static var passLimit: Int { 1024 }

  func views() -> [ClusterView] {
    clusters.keys.sorted().map { clusters[$0]!.view(defaultBandwidth: configuration.defaultBandwidth) }
  }

  func expectedRuntime(of requirement: Requirement) -> Duration {
    if let known = runtimes[requirement.template] { return .seconds(known) }
    return requirement.hints.walltime ?? configuration.defaultRuntime
  }

  /// Takes a plan that was made on an older snapshot: what still holds is placed, the rest waits on.
  mutating func adopt(_ plan: PlacementPlan) {
    openPlans.append(OpenPlan(plan))
    proceedWithPlan()
  }

  /// Takes a slice of the oldest open plan.
  mutating func proceedWithPlan() {
    guard var open = openPlans.popFirst() else { return }
    let end = min(open.next + configuration.sliceLimit, open.plan.placements.count)
    take(open.plan.placements[open.next..<end], of: &open)
    open.next = end
    if end < open.plan.placements.count {
      openPlans.prepend(open)
    } else if open.plan.placements.count >= Self.passLimit {
      wantsPlacement = true
    }
  }

  private mutating func take(_ placements: ArraySlice<Placement>, of open: inout OpenPlan) {
    for placement in placements {
      guard let entry = workflows[placement.task.workflow]?.tasks[placement.task.node], entry.group != nil,
        let requirement = entry.group.flatMap({ pending.requirement(of: $0) }),
        let cluster = clusters[placement.cluster], let session = cluster.session, cluster.closedBecause == nil,
        cluster.view(defaultBandwidth: configuration.defaultBandwidth).hasRoom(
          for: requirement.resources, lasting: expectedRuntime(of: requirement))
      else {
        wantsPlacement = true
        continue
      }
      let workflow = placement.task.workflow
      let key = OpenPlan.Key(table: placement.table, workflow: workflow)
      if open.explanations[key] == nil {
        lastExplanation += 1
        open.explanations[key] = lastExplanation
        output.explanations.append(
          ExplanationRow(
            id: lastExplanation, workflow: workflow, at: now,
            document: open.plan.tables[placement.table].json.description))
      }
      bind(
        placement.task, requirement, to: placement.cluster, session, epoch: entry.epoch + 1, open.explanations[key]!)
    }
  }

  private mutating func bind(
    _ task: TaskID, _ requirement: Requirement, to cluster: ClusterName, _ session: SessionID, epoch: Int32,
    _ explanation: Int64
  ) {
    runCounter += 1
    let id = RunID(incarnation: incarnation, counter: runCounter)
    let row = RunRow(
      id: id, task: task, epoch: epoch, cluster: cluster, boundAt: now, explanation: explanation,
      quote: clusters[cluster]!.row.spec.prices, resources: requirement.resources)
    let run = RunEntry(
      row: row, promisedBytes: requirement.missing(on: cluster),
      isReplaceable: requirement.hints.onDisconnect == .replace,
      template: requirement.template, priced: requirement.priced)
    leaveQueue(task)
    workflows[task.workflow]!.tasks[task.node]!.epoch = epoch
    workflows[task.workflow]!.tasks[task.node]!.run = id
    guard let assignment = assignment(of: row) else {
      end(task, TaskOutcome(phase: .error, message: "the task could not be described"))
      return
    }
    runs[id] = run
    clusters[cluster]!.add(run)
    output.runs[id] = row
    output.assign(assignment, to: cluster, session)
  }

  /// What the agent needs to know about a run; nil when its workflow is gone.
  func assignment(of row: RunRow) -> RunAssignment? {
    guard let workflow = workflows[row.task.workflow]?.row,
      let spec = try? workflows[row.task.workflow]!.machine.taskSpec(for: row.task.node)
    else { return nil }
    return RunAssignment(
      run: row.id, epoch: row.epoch, project: workflow.project, workflowName: workflow.name, workflowUID: workflow.uid,
      nodeName: workflows[row.task.workflow]!.machine[row.task.node].name, spec: spec,
      disconnectLimit: spec.federation.onDisconnect == .replace ? configuration.disconnectLimit : nil,
      walltime: spec.federation.walltime)
  }
}
