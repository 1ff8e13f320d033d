import FederationModel
import SchedulerCore
public import WorkflowCore

/// Plans a workflow before its submission: `ForecastSimulation` with what is expected, with samples of what may happen, and with one
/// thing changed at a time.
///
/// - Complexity: bounded by `ForecastLimits.workInAll`, some tens of nanoseconds each.
public struct Forecaster: Sendable {
  private let basis: ForecastBasis
  private let machine: WorkflowMachine
  private let tails: WorkflowTails
  private let limits: ForecastLimits

  /// - Parameters:
  ///   - fanOut: items that a loop over a list is taken to have of which only a run says how long it is.
  /// - Throws: `DocumentErrors` when arguments are missing, as a submission would.
  public init(
    _ program: WorkflowProgram, name: String, basis: ForecastBasis, fanOut: Int = 4,
    limits: ForecastLimits = ForecastLimits()
  ) throws {
    self.basis = basis
    self.limits = limits
    var machine = try WorkflowMachine(
      program: program,
      identity: WorkflowIdentity(
        name: name, uid: "00000000-0000-0000-0000-000000000000", project: basis.project, createdAt: basis.now))
    machine.foresight = Foresight(fanOut: fanOut)
    self.machine = machine
    tails = WorkflowTails(program) { name, program in
      let template = TemplateKey(project: basis.project, name: name, program: program)
      return basis.history.runtime(of: template, reading: nil)?.median ?? basis.defaultRuntime.seconds
    }
  }

  /// What the workflow reads that nobody has looked at, each once, in the order in which it is read.
  public func unseenInputs() -> [UnseenInput] {
    var told: Set<UnseenInput> = []
    return course().unseen.filter { told.insert($0).inserted }
  }

  public func forecast() -> Forecast {
    let base = course()
    var left = limits.workInAll - base.work
    let samples = samples(of: base, &left)
    let complete = samples.filter { $0.ending == base.ending }
    let money = base.money.map { currency, expected in
      (currency, ForecastQuantity(expected: expected, samples: complete.map { $0.money[currency] ?? 0 }))
    }
    let isLearnt = base.groups.contains { $0.runtimeFrom == .history }
    let unknowns = base.unknowns + (samples.isEmpty && isLearnt && base.ending == .complete ? [Self.noSamples] : [])
    return Forecast(
      at: basis.now, ending: Forecast.Ending(base.ending), tasks: base.tasks, groups: base.groups,
      transfers: base.transfers, makespan: ForecastQuantity(expected: base.end, samples: complete.map(\.end)),
      money: Dictionary(uniqueKeysWithValues: money), criticalPath: Self.criticalPath(base.tasks),
      changes: improvements(of: base, &left), unknowns: unknowns)
  }

  private static var noSamples: String { "p50 and p90: the workflow is too large to be tried often enough" }

  private func course(_ change: ForecastChange? = nil, sample: UInt64? = nil) -> ForecastTrace {
    var simulation = ForecastSimulation(
      machine: machine, tails: tails, basis: basis, change: change, sample: sample, limits: limits)
    return simulation.run()
  }

  /// Courses in which runs and waits take what those before them took, now more and now less. Half of the work is left to changes.
  private func samples(of base: ForecastTrace, _ left: inout Int) -> [ForecastTrace] {
    // Where nothing is learnt yet every sample is the same: that would look like certainty.
    guard base.ending == .complete, base.groups.contains(where: { $0.runtimeFrom == .history }) else { return [] }
    let count = min(limits.samples, left / 2 / max(1, base.work))
    // Fewer say nothing of the tenth that takes longest.
    guard count >= 10 else { return [] }
    return (1...count).map { number in
      let trace = course(sample: UInt64(number))
      left -= trace.work
      return trace
    }
  }

  // MARK: The critical path

  /// From the task that ends last back to one that waited for no other.
  private static func criticalPath(_ tasks: [ForecastTask]) -> [Int] {
    let ended = tasks.indices.filter { tasks[$0].endAt.isFinite }
    guard var current = ended.max(by: { (tasks[$0].endAt, $1) < (tasks[$1].endAt, $0) }) else { return [] }
    var path = [current]
    while path.count < 1000 {
      let task = tasks[current]
      // It was ready, and waited for a slot: then it is who had the slot that it waited for.
      let start = task.startAt.isFinite ? task.startAt : task.placedAt
      let freed = task.freedBy.flatMap { tasks[$0].endAt > task.readyAt && tasks[$0].endAt <= start ? $0 : nil }
      guard let next = freed ?? task.parent, !path.contains(next) else { break }
      path.append(next)
      current = next
    }
    return path.reversed()
  }

  // MARK: What would be better

  /// Changes are worth telling when they save at least so much of time or money.
  private static var worthwhile: Double { 0.05 }
  private static var improvementsMax: Int { 6 }

  private func improvements(of base: ForecastTrace, _ left: inout Int) -> [ForecastImprovement] {
    var found: [(gain: Double, improvement: ForecastImprovement)] = []
    for change in changes(for: base).prefix(limits.changes) {
      guard left > base.work else { break }
      let trace = course(change)
      left -= trace.work
      if let better = Self.improvement(change, base, trace) { found.append(better) }
    }
    // Of equal ones the first that was thought of.
    let best = found.enumerated().sorted { ($1.element.gain, $0.offset) < ($0.element.gain, $1.offset) }
    // What two clusters ask for is one thing to do.
    var told: Set<String> = []
    let improvements = best.map(\.element.improvement).filter { told.insert($0.condition).inserted }
    return Array(improvements.prefix(Self.improvementsMax))
  }

  /// What could be tried, the most promising first: what the longest tasks are refused for, then replicas of what takes longest to move.
  private func changes(for base: ForecastTrace) -> [ForecastChange] {
    var changes: [ForecastChange] = []
    let views = Dictionary(
      basis.snapshot.clusters.map { ($0.spec.name, $0) }, uniquingKeysWith: { first, _ in first })
    let heavy = base.groups.sorted { Double($0.count) * $0.runtime.median > Double($1.count) * $1.runtime.median }
    for group in heavy.prefix(6) {
      for candidate in group.table.candidates {
        guard let rejection = candidate.rejection, let view = views[candidate.cluster] else { continue }
        changes += ForecastChange.relaxations(of: group.requirement, on: view, rejection)
      }
    }
    var replicas: [ForecastChange] = []
    // What a document names by its address alone nobody can pin.
    let nameless = Set(basis.seen.values.compactMap(\.key))
    let moves = base.transfers.filter { move in
      guard let key = move.data, !move.isSpeculative, !nameless.contains(key) else { return false }
      return basis.snapshot.data[key] != nil
    }
    .sorted { $0.endsAt - $0.beginsAt > $1.endsAt - $1.beginsAt }
    for move in moves.prefix(4) {
      guard let key = move.data, let view = basis.snapshot.data[key] else { continue }
      // Where it goes anyway, and the fastest others.
      let others = basis.snapshot.clusters.sorted { $0.speed > $1.speed }.map(\.spec.name).filter { $0 != move.to }
      for cluster in [move.to] + others.prefix(2) where !view.copies.contains(where: { $0.cluster == cluster }) {
        replicas.append(.replica(key, cluster))
      }
    }
    // Some of both kinds, each once.
    var seen: Set<ForecastChange> = []
    let half = limits.changes / 2
    let chosen = changes.prefix(max(half, limits.changes - replicas.count)) + replicas
    return chosen.filter { seen.insert($0).inserted }
  }

  private static func improvement(
    _ change: ForecastChange, _ base: ForecastTrace, _ trace: ForecastTrace
  ) -> (gain: Double, improvement: ForecastImprovement)? {
    guard trace.ending == .complete else { return nil }
    var parts: [String] = []
    var gain = 0.0
    if base.ending == .stuck {
      (gain, parts) = (.infinity, ["it could run, in \(text(trace.end))"])
    } else if base.ending == .complete {
      if trace.end < base.end * (1 - worthwhile) {
        gain = base.end / max(0.001, trace.end)
        parts.append("\(ratio(gain)) faster (\(text(trace.end)) instead of \(text(base.end)))")
      }
      for (currency, before) in base.money.sorted(by: { $0.key < $1.key }) {
        let after = trace.money[currency] ?? 0
        guard before > 0, after < before * (1 - worthwhile) else { continue }
        gain = max(gain, min(1000, before / max(1, after)))
        parts.append("\(Int((100 * (before - after) / before).rounded())) % cheaper in \(currency)")
      }
    }
    guard !parts.isEmpty else { return nil }
    // What it costs elsewhere is said, too.
    if base.ending == .complete, trace.end > base.end * (1 + worthwhile) {
      parts.append("\(ratio(trace.end / base.end)) slower")
    }
    for (currency, after) in trace.money.sorted(by: { $0.key < $1.key }) {
      let before = base.money[currency] ?? 0
      if base.ending == .complete, after > before * (1 + worthwhile), after - before >= 1 {
        parts.append("\(Int(after - before)) minor units of \(currency) dearer")
      }
    }
    return (
      gain,
      ForecastImprovement(
        condition: change.condition, cluster: change.cluster, makespan: trace.end, money: trace.money,
        message: "\(parts.joined(separator: ", ")) if \(change.condition)")
    )
  }

  private static func ratio(_ value: Double) -> String { "\((value * 10).rounded() / 10)x" }

  private static func text(_ seconds: Double) -> String {
    if seconds < 100 { return "\((seconds * 10).rounded() / 10) s" }
    let whole = Int(seconds.rounded())
    return whole < 3600 ? "\(whole / 60)m\(whole % 60)s" : "\(whole / 3600)h\(whole % 3600 / 60)m"
  }
}

extension Forecast.Ending {
  init(_ ending: ForecastTrace.Ending) {
    switch ending {
    case .complete: self = .complete
    case .bad(let message): self = .bad(message)
    case .stuck: self = .stuck
    case .cut: self = .cut
    }
  }
}

extension ForecastChange {
  var cluster: ClusterName {
    switch self {
    case .replica(_, let cluster), .open(let cluster, _), .image(_, let cluster), .relax(_, _, let cluster): cluster
    }
  }
}
