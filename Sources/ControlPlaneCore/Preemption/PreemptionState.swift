import DequeModule
import FederationModel
import SchedulerCore

/// Who asks for the room of others, and what was made for them. Soft: it is rebuilt from the runs that are leaving
/// (`RunRow.preemptedFor`), and whoever still waits asks again.
struct PreemptionState: Sendable {
  /// Room that is being made for one task of a group, or waits for it.
  struct Claim: Sendable {
    /// The key of the pending group.
    var group: Int64
    var requirement: Requirement
    var cluster: ClusterName
    /// Of the cluster's spot capacity.
    var isSpot = false
    /// The runs that leave for it and have not left yet.
    var victims: Set<RunID>
    /// When the last of them had left, or when it was made.
    var since: Timestamp
  }

  private(set) var claims: [Claim] = []
  /// Runs that have been asked to leave and have not left.
  private(set) var leaving: Set<RunID> = []
  /// Whether a task of a project with a guarantee has waited: then no class is without victims.
  private var hasGuarantees = false
  /// Somebody may ask for room before the next tick.
  var isWanted = false
  /// Live runs of each class.
  private(set) var runs: [PriorityClass: Int] = [:]
  /// Groups of classes that preempt, in the order in which they began to wait; some may have gone.
  private var lines: [PriorityClass: Deque<Int64>] = [:]
  private var inLine: Set<Int64> = []
  /// Where in a line the next look begins.
  private var starts: [PriorityClass: Int] = [:]
  /// When room was last looked for in vain.
  private var triedAt: [Int64: Timestamp] = [:]

  mutating func began(_ priorityClass: PriorityClass) { runs[priorityClass, default: 0] += 1 }
  mutating func ended(_ priorityClass: PriorityClass) { runs[priorityClass, default: 1] -= 1 }

  /// Whether anything runs that a task of the class may take the room of.
  func hasVictims(for priorityClass: PriorityClass) -> Bool {
    hasGuarantees || priorityClass.preempts && runs.contains { $0.key > priorityClass && $0.value > 0 }
  }

  /// A run was asked to leave, or was read back as such.
  mutating func asked(_ run: RunID) { leaving.insert(run) }

  /// A task of the group waits.
  mutating func waits(_ group: Int64, _ priorityClass: PriorityClass, isGuaranteed: Bool) {
    if isGuaranteed { hasGuarantees = true }
    // What was tried for those before it says nothing of one more.
    triedAt[group] = nil
    guard priorityClass.preempts || isGuaranteed, inLine.insert(group).inserted else { return }
    lines[priorityClass, default: []].append(group)
  }

  /// Lets go of groups that have gone when they are more than those that are there: O(1) for each on average.
  mutating func tidy(among count: Int, isThere: (Int64) -> Bool) {
    for line in lines.keys where lines[line]!.count > 2 * count + 64 {
      for gone in lines[line]! where !isThere(gone) {
        inLine.remove(gone)
        triedAt[gone] = nil
      }
      lines[line]!.removeAll { !isThere($0) }
    }
  }

  /// The next groups that may ask, higher classes first; lets go of those that have gone. Of a class that has more than may ask at
  /// once others come next time: some that nobody can help must not be in the way of the rest.
  ///
  /// - Complexity: O(limit), what has gone each once, and what has gone amid a line until it is tidied.
  mutating func askers(limit: Int, isThere: (Int64) -> Bool) -> [Int64] {
    var found: [Int64] = []
    for line in PriorityClass.allCases where hasVictims(for: line) {
      while let first = lines[line]?.first, !isThere(first) {
        lines[line]!.removeFirst()
        inLine.remove(first)
        triedAt[first] = nil
      }
      let groups = lines[line] ?? []
      let start = starts[line, default: 0] < groups.count ? starts[line, default: 0] : 0
      var looked = 0
      while looked < groups.count, found.count < limit {
        let group = groups[(start + looked) % groups.count]
        looked += 1
        if isThere(group) { found.append(group) }
      }
      starts[line] = looked < groups.count ? (start + looked) % groups.count : 0
    }
    return found
  }

  /// Whether a group's turn to look has come; notes that it looks now.
  mutating func mayTry(_ group: Int64, at now: Timestamp, every pause: Duration) -> Bool {
    if let last = triedAt[group], now - last < pause { return false }
    triedAt[group] = now
    return true
  }

  func claims(of group: Int64) -> Int { claims.count { $0.group == group } }
  func claims(on cluster: ClusterName) -> [Claim] { claims.filter { $0.cluster == cluster } }

  mutating func add(_ claim: Claim) { claims.append(claim) }

  /// A task of the group was placed: it needs the room no more, wherever it went.
  mutating func placed(_ group: Int64, on cluster: ClusterName) {
    guard
      let index = claims.firstIndex(where: { $0.group == group && $0.cluster == cluster })
        ?? claims.lastIndex(where: { $0.group == group })
    else { return }
    claims.remove(at: index)
  }

  mutating func left(_ run: RunID, at now: Timestamp) {
    leaving.remove(run)
    for index in claims.indices where claims[index].victims.remove(run) != nil { claims[index].since = now }
  }

  /// Returns whether any claim went.
  mutating func removeClaims(where isOver: (Claim) -> Bool) -> Bool {
    let before = claims.count
    claims.removeAll(where: isOver)
    return claims.count != before
  }
}
