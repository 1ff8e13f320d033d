import FederationModel
import SchedulerCore

/// What is guaranteed to projects, and whose clusters are reserved.
extension ControlPlaneCore {
  /// What a project's runs have, without those that have been asked to leave.
  func stayingUse(of project: ProjectName) -> ResourceUse {
    var use = uses[project]?.use ?? ResourceUse()
    for id in preemption.leaving {
      guard let row = runs[id]?.row, workflows[row.task.workflow]?.row.project == project else { continue }
      use -= ResourceUse(row.resources)
    }
    return use
  }

  /// Whether a task of a project that takes so much more is within what is guaranteed to it: then borrowers leave for it.
  func mayReclaim(_ requirement: Requirement) -> Bool {
    guard let limits = projects[requirement.project]?.limits, limits.guarantee != nil else { return false }
    var use = uses[requirement.project]?.use ?? ResourceUse()
    use += ResourceUse(requirement.resources)
    for claim in preemption.claims where claim.requirement.project == requirement.project {
      use += ResourceUse(claim.requirement.resources)
    }
    return limits.guarantees(ResourceUse(requirement.resources), within: use)
  }

  /// Of these runs those that may leave for another project: never one that takes from a project what is guaranteed to it. The least
  /// costly of each project come first.
  func withoutGuaranteed(_ victims: [VictimView], for project: ProjectName) -> [VictimView] {
    var left: [ProjectName: ResourceUse] = [:]
    let ranked = victims.sorted {
      ($1.priorityClass, $0.workSeconds, $0.run) < ($0.priorityClass, $1.workSeconds, $1.run)
    }
    return ranked.filter { victim in
      guard let owner = workflows[runs[victim.run]!.row.task.workflow]?.row.project else { return false }
      guard owner != project, let limits = projects[owner]?.limits, limits.guarantee != nil else { return true }
      let use = left[owner] ?? stayingUse(of: owner)
      let part = ResourceUse(victim.resources)
      guard limits.canSpare(part, of: use) else { return false }
      left[owner] = use
      left[owner]! -= part
      return true
    }
  }

  /// The projects that a cluster is reserved to; nil: to none.
  func owners(of spec: ClusterSpec) -> Set<ProjectName>? {
    var owners: Set<ProjectName> = []
    for (project, labels) in reserves where labels.allSatisfy({ spec.labels[$0.key] == $0.value }) {
      owners.insert(project)
    }
    return owners.isEmpty ? nil : owners
  }

  /// A project's limits are new, or were read back.
  mutating func noteReserves(of project: ProjectName) {
    let labels = projects[project]?.limits.reserves ?? [:]
    reserves[project] = labels.isEmpty ? nil : labels
  }

  /// Tasks of a project that has a guarantee now may ask for room, whatever their class.
  mutating func noteGuarantee(of project: ProjectName) {
    guard projects[project]?.limits.guarantee?.isEmpty == false else { return }
    for (key, group) in pending.groups where group.requirement.project == project {
      preemption.waits(key, group.requirement.hints.priorityClass, isGuaranteed: true)
    }
  }
}
