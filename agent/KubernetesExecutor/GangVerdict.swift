internal import FederationModel

/// What becomes of a gang: one run of many pods, each a member with a rank of its own (I6). Pure.
extension PodVerdict {
  /// How one member ended without having succeeded.
  private struct Failure {
    enum Kind: Int { case disrupted, own, collateral }
    var rank: Int
    var end: End
    var at: Timestamp?
    var kind: Kind
  }

  /// Of members that end together the first counts: the others end because of it. Clocks of nodes are told in seconds.
  private static let together = Duration.seconds(1)

  init(gang size: Int, _ situation: PodSituation) {
    let byRank = Dictionary(grouping: situation.pods.filter { $0.rank != nil }) { $0.rank! }
    let members = (0..<size).map { Self.chosen(byRank[$0] ?? []) }
    let known = members.compactMap(\.self)
    guard !known.isEmpty else {
      self = Self.withoutPods(situation)
      return
    }
    let verdicts = members.map { $0.map { Self.judge($0, situation) } }
    var succeeded: [End] = []
    var failures: [Failure] = []
    for (rank, verdict) in verdicts.enumerated() {
      guard let end = verdict?.end else { continue }
      if end.phase == .succeeded { succeeded.append(end) } else { failures.append(Self.failure(members[rank]!, end)) }
    }
    let lives = situation.pods.contains { !$0.isGone && !$0.isTerminal }
    if succeeded.count == size {
      let end = End(phase: .succeeded, exitCode: 0, wallTime: succeeded.compactMap(\.wallTime).max())
      self = lives ? .stop(end) : .ended(end)
      return
    }
    let job = situation.job
    // Whether its Job makes no other pods.
    let isClosed =
      situation.isJobGone || situation.isStopped
      || job.map { $0.failure != nil || $0.isComplete || $0.isDeleting } ?? false
    if failures.isEmpty, isClosed, !lives {
      failures.append(Self.failure(known[0], Self.incomplete(known.count, of: size, situation)))
    }
    guard var end = Self.first(of: failures) else {
      self = Self.going(members, verdicts, situation)
      return
    }
    end.wallTime = (failures.map(\.end) + succeeded).compactMap(\.wallTime).max()
    self = isClosed && !lives ? .ended(end) : .stop(end)
  }

  private var end: End? {
    switch self {
    case .ended(let end), .stop(let end): end
    default: nil
    }
  }

  private static func failure(_ pod: PodFacts, _ end: End) -> Failure {
    let kind: Failure.Kind = end.isCollateral ? .collateral : end.phase == .lost && end.cause != nil ? .disrupted : .own
    return Failure(rank: pod.rank ?? 0, end: end, at: pod.mainEnd?.finishedAt, kind: kind)
  }

  /// The end by which the gang is known: the first that is no consequence of another one. What the cluster did to a member counts before
  /// what programs made of its absence in the same second.
  private static func first(of failures: [Failure]) -> End? {
    func earliest(_ some: [Failure]) -> Failure? {
      some.min {
        let (a, b) = ($0.at ?? .distantFuture, $1.at ?? .distantFuture)
        return a != b ? a < b : ($0.kind.rawValue, $0.rank) < ($1.kind.rawValue, $1.rank)
      }
    }
    let deleted = earliest(failures.filter { $0.kind == .collateral })
    let other = earliest(failures.filter { $0.kind != .collateral })
    guard var chosen = other ?? deleted else { return nil }
    if let deleted, let at = deleted.at, let other, at + together < other.at ?? .distantFuture { chosen = deleted }
    var end = chosen.end
    if end.phase != .cancelled { end.message = "member \(chosen.rank): \(end.message)" }
    return end
  }

  /// Its Job makes no more pods, and those that it made are gone without a word.
  private static func incomplete(_ count: Int, of size: Int, _ situation: PodSituation) -> End {
    if situation.isCancelRequested { return End(phase: .cancelled, message: "cancelled") }
    let why = situation.job?.failure.map { ": \($0.reason)\(said($0.message))" } ?? ""
    return End(phase: .lost, message: "only \(count) of \(size) pods are known\(why)")
  }

  // MARK: While it lives

  private static func going(
    _ members: [PodFacts?], _ verdicts: [PodVerdict?], _ situation: PodSituation
  ) -> PodVerdict {
    let size = members.count
    let started = members.count { $0?.hasStarted == true }
    if started > 0 {
      for (rank, verdict) in verdicts.enumerated() {
        if case .running(let message)? = verdict, !message.isEmpty { return .running("member \(rank): \(message)") }
      }
      return .running(started == size ? "" : "\(started) of \(size) members run")
    }
    if situation.isCancelRequested { return .wait }
    // Who is ready waits in its first container for the others: they say why.
    var reasons: [(rank: Int, text: String)] = []
    for (rank, verdict) in verdicts.enumerated() {
      if case .queued(let text)? = verdict, members[rank]?.isStarterRunning == false { reasons.append((rank, text)) }
    }
    let ready = members.count { $0?.isStarterRunning == true }
    let counted = ready > 0 ? "\(ready) of \(size) members are ready; " : ""
    if let first = reasons.first {
      let more = reasons.count > 1 ? " (and \(reasons.count - 1) more)" : ""
      return .queued("\(counted)member \(first.rank)\(more): \(first.text)")
    }
    let missing = members.count { $0 == nil }
    return .queued(missing > 0 ? "\(counted)\(missing) of \(size) pods are not made yet" : "its members get ready")
  }
}

extension PodFacts {
  /// It brings the inputs, or has them and waits for the other members of its gang.
  fileprivate var isStarterRunning: Bool {
    containers.contains {
      if $0.name == JobManifest.initName, case .running = $0.state { true } else { false }
    }
  }
}
