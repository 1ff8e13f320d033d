import FederationModel
import SchedulerCore
import WorkflowCore

/// Looking ahead: what tasks will read that only wait for others which run.
extension ControlPlaneCore {
  /// A run has begun: tasks that now only wait for runs are known, with what they read of what is there.
  mutating func noteUpcoming(after node: NodeID, in id: WorkflowID) {
    guard let tasks = workflows[id]?.machine.upcoming(after: node), !tasks.isEmpty else { return }
    let project = workflows[id]!.row.project
    for task in tasks {
      let name = UpcomingTasks.Name(workflow: id, task: task)
      guard !upcoming.contains(name), let expected = workflows[id]!.machine.expectation(of: task) else { continue }
      var spec = expected.spec
      // A data set that cannot be found is what the task ends with, in its time.
      if let mounts = spec.federation.datasets { spec.datasets = try? mounted(mounts, by: id, for: nil) }
      var requirement = Requirement(
        template: TemplateKey(project: project, name: expected.template, program: expected.program), spec: spec)
      guard !requirement.data.isEmpty else { continue }
      requirement.member = workflows[id]!.row.createdBy
      requirement.inputs += volumes(of: expected.awaited, in: id)
      pending.hold(requirement.data, Self.artifacts(spec, requirement))
      if let dropped = upcoming.add(UpcomingTasks.Entry(name: name, requirement: requirement)) {
        pending.release(dropped.requirement.data)
      }
      wantsPlacement = true
    }
  }

  /// What its parents are expected to make, where they run: as large as it was before. It draws the task there, and is not brought
  /// anywhere ahead.
  private func volumes(of awaited: [AwaitedArtifact], in id: WorkflowID) -> [InputVolume] {
    awaited.compactMap { artifact in
      let task = TaskID(workflow: id, node: artifact.node)
      guard let run = workflows[id]?.tasks[artifact.node]?.run.flatMap({ runs[$0] }),
        let size = history.outputSize(of: template(of: task), named: artifact.name)
      else { return nil }
      return InputVolume(cluster: run.row.cluster, size: size)
    }
  }

  /// Some of them for a pass; those that wait for a placement by now, or never will, are no longer ahead.
  mutating func upcomingGroups() -> [PendingGroup] {
    guard !upcoming.isEmpty else { return [] }
    let workflows = workflows
    let gone = upcoming.removeAll { workflows[$0.workflow]?.machine.isUpcoming($0.task) != true }
    for entry in gone { pending.release(entry.requirement.data) }
    let chosen = upcoming.next(PlacementPlanner.lookaheadLimit)
    // The others have their turn with the passes that follow, though nothing else changes.
    if upcoming.hasUnseen { wantsPlacement = true }
    return chosen.map { entry in
      var group = PendingGroup(
        requirement: entry.requirement,
        tasks: [TaskID(workflow: entry.name.workflow, node: entry.name.task.container)],
        expectedRuntime: expectedRuntime(of: entry.requirement),
        isRuntimeKnown: history.knows(entry.requirement.template))
      group.budget = budgetView(of: entry.requirement)
      group.quota = quotaView(of: entry.requirement.project)
      return group
    }
  }
}
