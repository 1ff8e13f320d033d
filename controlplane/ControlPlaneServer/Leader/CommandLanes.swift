import ControlPlaneCore
import DequeModule
import FederationModel

/// Users' commands, a lane for each project: the projects take turns, one command each, so that a flood from one delays another's
/// command by one of its own at most.
///
/// Turns of one command are fair, because what a command does at once is bounded (`CoreConfiguration.sliceLimit`).
struct CommandLanes: Sendable {
  /// nil: of no project.
  private var lanes: [ProjectName?: Deque<Input>] = [:]
  /// Those lanes, the one whose turn it is first.
  private var order: Deque<ProjectName?> = []
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  /// A lane may be as long as there is room left besides, so that one project fills half of what there is, two a third each, and
  /// another always finds room.
  ///
  /// - Returns: false when it was not taken.
  /// - Source: A. K. Choudhury, E. L. Hahne: Dynamic queue length thresholds for shared-memory packet switches. IEEE/ACM
  ///   Transactions on Networking 6 (2), 1998.
  mutating func append(_ command: Input, limit: Int) -> Bool {
    let project = command.project
    let waiting = lanes[project]?.count ?? 0
    guard waiting < limit - count else { return false }
    if waiting == 0 { order.append(project) }
    lanes[project, default: []].append(command)
    count += 1
    return true
  }

  mutating func popFirst() -> Input? {
    guard let project = order.popFirst() else { return nil }
    count -= 1
    let command = lanes[project]!.removeFirst()
    if lanes[project]!.isEmpty { lanes[project] = nil } else { order.append(project) }
    return command
  }

  mutating func removeAll() -> [Input] {
    var all: [Input] = []
    while let command = popFirst() { all.append(command) }
    return all
  }
}

extension Input {
  /// Whose command it is; nil: of no project.
  fileprivate var project: ProjectName? {
    guard case .command(let command, _, _, _) = self else { return nil }
    switch command {
    case .submit(let submission), .resubmit(_, let submission): return submission.project
    case .workflow(let reference, _), .explain(let reference, _): return reference.project
    case .dataset(let reference, _): return reference.project
    case .project(let name, _): return name
    case .storeArtifact(_, let project), .lookAhead(_, let project): return project
    case .organisation, .createCluster, .updateCluster, .setPrices, .spot, .cordon, .drain, .revokeAgent,
      .forgetCluster, .recover,
      .cancelTransfer:
      return nil
    }
  }
}
