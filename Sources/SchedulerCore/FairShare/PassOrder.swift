import FederationModel

/// Whose turn it is in a pass: progressive filling. Each placement is charged to its project before the next is chosen, so that a large
/// group takes no more than its project's share while others wait.
///
/// Bands go one after the other (`TurnBand`); in a band the project goes first whose share is least (`ShareTree`), with its groups in
/// the order of the snapshot; and one of `ProjectTurns.agedPeriod` placements goes by age. Without `SchedulingSnapshot.turns` the
/// groups go one after the other.
struct PassOrder {
  struct Turn: Hashable {
    /// Index of the group.
    var group: Int
    /// It may place one task.
    var isAged = false
  }

  private struct Leaf {
    var groups: [Int] = []
    var next = 0
  }

  private var tree: ShareTree?
  private var untilAged: Int
  private var aged: [Int]
  /// What one task of each group is charged.
  private let costs: [ResourceSeconds]
  private let leafOfGroup: [Int]
  private var isOver: [Bool]
  /// By band and leaf.
  private var leaves: [[Int: Leaf]]
  private var band = 0
  private var line: ShareLine?
  /// A turn places as many tasks at least, so that coming back to a group, which looks at all clusters, costs each placement a bounded
  /// number of looks.
  private let quantum: Int
  /// Placements of the turn that was given last.
  private var placedInTurn = 0
  /// That turn goes by age.
  private var isAgedTurn = false

  init(_ snapshot: SchedulingSnapshot) {
    let groups = snapshot.groups
    tree = snapshot.turns?.tree
    untilAged = snapshot.turns?.untilAged ?? .max
    aged = snapshot.turns?.aged ?? []
    isOver = groups.map { _ in false }
    quantum = max(1, snapshot.clusters.count / 8)
    costs = groups.map { ResourceSeconds($0.requirement.priced, seconds: max(0.001, $0.expectedRuntime.seconds)) }
    // Without shares all groups stand in one line.
    leafOfGroup = groups.map { snapshot.turns?.tree.leaf(of: $0.requirement.project) ?? 0 }
    leaves = TurnBand.allCases.map { _ in [:] }
    for (index, group) in groups.enumerated() {
      let band = tree == nil ? 0 : TurnBand(group.requirement.hints.priorityClass).rawValue
      leaves[band][leafOfGroup[index], default: Leaf()].groups.append(index)
    }
  }

  /// The next group that may place something; nil at the end. It must make progress: place, give up tasks, or `end`.
  mutating func next() -> Turn? {
    // What rather waits for a better slot keeps its place in the rotation, and the next one has its turn.
    if isAgedTurn, placedInTurn == 0 { aged.removeFirst() }
    (placedInTurn, isAgedTurn) = (0, false)
    if untilAged <= 0 {
      aged.removeAll { isOver[$0] }
      isAgedTurn = !aged.isEmpty
      if let group = aged.first { return Turn(group: group, isAged: true) }
    }
    while band < leaves.count {
      while let leaf = firstLeaf() {
        if let group = firstGroup(of: leaf) { return Turn(group: group) }
        if tree == nil { break }
        line!.close(leaf)
      }
      band += 1
      line = nil
    }
    return nil
  }

  private mutating func firstLeaf() -> Int? {
    guard let tree else { return leaves[band].isEmpty ? nil : 0 }
    if line == nil { line = ShareLine(leaves[band].keys.sorted(), of: tree) }
    return line!.first(of: tree)
  }

  private mutating func firstGroup(of leaf: Int) -> Int? {
    while let group = leaves[band][leaf].flatMap({ $0.next < $0.groups.count ? $0.groups[$0.next] : nil }) {
      if !isOver[group] { return group }
      leaves[band][leaf]!.next += 1
    }
    return nil
  }

  /// A task of the turn's group was placed.
  mutating func placed(_ turn: Turn) {
    placedInTurn += 1
    tree?.charge(costs[turn.group], to: leafOfGroup[turn.group])
    if turn.isAged {
      untilAged = ProjectTurns.agedPeriod - 1
      aged.append(aged.removeFirst())
    } else {
      untilAged -= 1
    }
  }

  /// Whether the turn's group may place another.
  mutating func mayContinue(_ turn: Turn) -> Bool {
    guard let tree else { return true }
    if turn.isAged { return placedInTurn == 0 }
    if untilAged <= 0, aged.contains(where: { !isOver[$0] }) { return false }
    return placedInTurn < quantum || line!.first(of: tree) == leafOfGroup[turn.group]
  }

  /// Nothing more of a group is placed in this pass.
  mutating func end(_ group: Int) { isOver[group] = true }
}
