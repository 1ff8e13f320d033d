public import FederationModel

/// In which order the projects of a pass take turns; see `PassOrder`.
public struct ProjectTurns: Sendable {
  /// Has a leaf for every project of the pass.
  public var tree: ShareTree
  /// Placements until one goes by age alone; 0: the next one.
  public var untilAged: Int
  /// Indices of groups, one of a project: whose task waits longest there. The project whose turn by age comes next is first.
  public var aged: [Int]

  public init(tree: ShareTree, untilAged: Int = agedPeriod, aged: [Int] = []) {
    self.tree = tree
    self.untilAged = untilAged
    self.aged = aged
  }

  /// Of so many placements one goes by age: to the projects in rotation, and in each to the task that waits longest. It is what
  /// bounds how long a task waits, whatever the shares and classes of the others are (ADR 0018).
  public static let agedPeriod = 16
}

/// What goes before what whatever the shares are. Lower bands first.
public enum TurnBand: Int, Hashable, Sendable, CaseIterable {
  /// Goes before the other classes of all projects, because it could preempt them; it counts in its project's share.
  case realtime
  case shared
  /// Fills what the others leave.
  case idle

  public init(_ priority: PriorityClass) {
    switch priority {
    case .realtime: self = .realtime
    case .interruptible, .offline: self = .shared
    case .idle: self = .idle
    }
  }

  public var classes: [PriorityClass] { PriorityClass.allCases.filter { TurnBand($0) == self } }
}
