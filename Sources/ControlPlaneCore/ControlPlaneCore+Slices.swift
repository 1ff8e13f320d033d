import FederationModel
import HeapModule
import LedgerCore
import WorkflowCore

/// A run's slice is to be renewed at a moment.
struct Renewal: Comparable, Sendable {
  var at: Timestamp
  var run: RunID
  static func < (a: Self, b: Self) -> Bool { (a.at, a.run) < (b.at, b.run) }
}

/// How runs are paid for as they go on (ADR 0020): what is held for a run pays for a slice of its time, and is renewed while it runs.
///
/// Only runs whose bound is longer than their slice are ever looked at here, each once in a slice.
extension ControlPlaneCore {
  /// How much of a run's time is held at once: no shorter than what its cluster may be silent for.
  func sliceLength(_ spec: BudgetSpec) -> Duration { max(spec.slice, configuration.disconnectLimit) }

  // MARK: When

  /// A run has begun. The agent's clock says when, within what we know ourselves: it cannot have begun before it was bound. Earlier than
  /// in truth costs a renewal that comes early, and is mended by it; later could cost the run.
  mutating func noteBegin(of event: AgentEvent) {
    guard let run = runs[event.run], ledger.reservations[event.run]?.isRenewable == true else { return }
    ledger.began(event.run, at: min(max(event.at, run.row.boundAt), now))
    planRenewal(of: event.run)
  }

  /// Renewed is at half of a slice, and no later than a disconnect limit before its end: a leader may change meanwhile.
  mutating func planRenewal(of id: RunID) {
    guard let reservation = ledger.reservations[id], reservation.isRenewable, let end = reservation.sliceEnd,
      let budget = ledger.budgets[reservation.project]
    else { return }
    let lead = max(sliceLength(budget.spec) / 2, configuration.disconnectLimit)
    planRenewal(of: id, at: end + (.zero - lead))
  }

  private mutating func planRenewal(of id: RunID, at moment: Timestamp) {
    guard runs[id] != nil else { return }
    runs[id]!.renewalAt = moment
    renewals.insert(Renewal(at: moment, run: id))
  }

  var isRenewalDue: Bool { renewals.min.map { $0.at <= now } ?? false }

  /// Renews what is due, as much of it as a turn has time for.
  mutating func renewSlices() {
    for _ in 0..<configuration.sliceLimit {
      guard let next = renewals.min, next.at <= now else { return }
      renewals.removeMin()
      guard runs[next.run]?.renewalAt == next.at else { continue }
      runs[next.run]!.renewalAt = nil
      renew(next.run)
    }
  }

  // MARK: Renewing

  /// Holds the next slice of a run and tells its agent, after the commit.
  ///
  /// A run whose agent has no session is left: it could not be told, and what is held for it bounds what it can use. The next welcome
  /// plans its renewal anew; so it does for a run that is to end, or of which nobody knows. One whose agent is there and has not told its
  /// end has not used up its slice, whatever our clock says.
  private mutating func renew(_ id: RunID) {
    guard let run = runs[id], run.row.cancelReason == nil, !run.row.isUnaccounted,
      let cluster = clusters[run.row.cluster], let session = cluster.session, cluster.renewsSlices,
      !cluster.row.isAdopting, let reservation = ledger.reservations[id], reservation.since != nil,
      let budget = ledger.budgets[reservation.project]
    else { return }
    ledger.goesOn(id, at: now)
    let whole = sliceLength(budget.spec)
    var refusal = ""
    // The last money is used up in small steps.
    for step in [whole, configuration.disconnectLimit] {
      guard let next = nextSlice(of: id, by: step) else { return }
      do {
        try ledger.extend(id, by: next.amount, to: next.slice, at: now)
      } catch {
        if refusal.isEmpty { refusal = (error as? FederationError)?.publicMessage ?? "\(error)" }
        continue
      }
      output.extend(id, to: next.slice, on: run.row.cluster, session)
      guard !refusal.isEmpty else {
        noteRenewed(id)
        return planRenewal(of: id)
      }
      break
    }
    let until = ledger.reservations[id]!.sliceEnd!
    noteLapsing(id, refusal, until: until)
    let pause = max(.seconds(1), min((until - now) / 8, .seconds(60)))
    planRenewal(of: id, at: now + pause)
  }

  /// What a run's next slice adds to what is held for it; nil when nothing would.
  private func nextSlice(of id: RunID, by step: Duration) -> (amount: Amount, slice: Duration)? {
    guard let run = runs[id], let quote = run.row.quote, let reservation = ledger.reservations[id],
      reservation.isRenewable
    else { return nil }
    let slice = min(reservation.slice + step, reservation.bound)
    // Of all its time and not of the step, so that roundings do not add up.
    let whole = Amount(reserving: quote.cost(of: run.priced, for: slice) + run.row.egress.plannedCost)
    return (max(.zero, whole - reservation.amount), slice)
  }

  /// Why money keeps a run's slice from being renewed now; nil when it does not.
  func refusalToRenew(_ id: RunID) -> String? {
    guard let reservation = ledger.reservations[id],
      let next = nextSlice(of: id, by: configuration.disconnectLimit)
    else { return nil }
    return ledger.refusal(of: next.amount, for: reservation.project, by: reservation.member)?.publicMessage
  }

  // MARK: Telling

  private static var lapseReason: String { "RunLapsing" }

  /// Its people are told ahead, once, and see at the node how long it has.
  private mutating func noteLapsing(_ id: RunID, _ refusal: String, until: Timestamp) {
    let isNew = runs[id]!.lapse == nil
    runs[id]!.lapse = refusal
    let row = runs[id]!.row
    let message = "it is paid for until \(RFC3339.format(until)), and is ended then: \(refusal)"
    if row.message != message {
      runs[id]!.row.message = message
      output.runs[id] = runs[id]!.row
    }
    guard isNew else { return }
    output.events.append(
      EventRow(
        at: now, workflow: row.task.workflow, node: row.task.node, cluster: row.cluster, reason: Self.lapseReason,
        message: message))
    note(unpaid: row, "budget.lapsing", message)
  }

  private mutating func noteRenewed(_ id: RunID) {
    guard runs[id]!.lapse != nil else { return }
    runs[id]!.lapse = nil
    runs[id]!.row.message = ""
    let row = runs[id]!.row
    output.runs[id] = row
    output.events.append(
      EventRow(
        at: now, workflow: row.task.workflow, node: row.task.node, cluster: row.cluster, reason: "RunRenewed",
        message: "it is paid for again, and goes on"))
  }

  private mutating func note(unpaid row: RunRow, _ action: String, _ message: String) {
    guard let workflow = workflows[row.task.workflow] else { return }
    output.audit.append(
      AuditRow(
        at: now, actor: "fubini", action: action, object: "\(workflow.row.project)/\(workflow.row.name)",
        detail: "\(workflow.machine[row.task.node].name): \(message)"))
  }

  // MARK: Ends

  /// A run was ended where its slice was. Its task is not to blame, so that no attempt of its own counts: it waits for money, and the
  /// next run begins only when all that it may take is held; where the budget says so its workflow is stopped instead.
  ///
  /// - Parameter shortage: what the budget lacked; nil: there was money, and its agent could not be told in time.
  mutating func endUnpaid(_ row: RunRow, _ outcome: TaskOutcome, because shortage: String?) {
    var outcome = outcome
    guard let shortage else {
      outcome.message =
        "what was held for it was used up while the agent of \(row.cluster) could not be told to let it go on"
      note(end: row, outcome.message, "RunUnrenewed", "budget.unrenewed")
      // As a loss: it was its cluster's doing, or ours.
      if !replace(row) { end(row.task, outcome) }
      return
    }
    outcome.message = "budget exhausted: \(shortage)"
    note(end: row, outcome.message, "BudgetExhausted", "budget.end")
    guard let entry = workflows[row.task.workflow], entry.tasks[row.task.node] != nil else {
      return end(row.task, outcome)
    }
    if ledger.budgets[entry.row.project]?.stopsWhenExhausted == true {
      workflows[row.task.workflow]!.tasks[row.task.node]!.run = nil
      stop(row.task.workflow, shortage)
      return end(row.task, outcome)
    }
    let hook = (try? entry.machine.taskSpec(for: row.task.node))?.federation.onPreempt
    workflows[row.task.workflow]!.machine.taskUnpaid(
      row.task.node, outcome.outputs.artifacts.filter { $0.key == hook?.checkpoint })
    output.workflows.insert(row.task.workflow)
    workflows[row.task.workflow]!.tasks[row.task.node]!.run = nil
    enqueue(row.task, epoch: row.epoch)
  }

  private mutating func note(end row: RunRow, _ message: String, _ reason: String, _ action: String) {
    var row = row
    row.message = message
    output.runs[row.id] = row
    output.events.append(
      EventRow(
        at: now, workflow: row.task.workflow, node: row.task.node, cluster: row.cluster, reason: reason,
        message: message))
    note(unpaid: row, action, message)
  }
}
