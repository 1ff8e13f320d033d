import FederationModel
import LedgerCore

/// What pinned data costs (ADR 0016): a pin holds the money of a day ahead, which is charged when the day is over or the pin is taken
/// away, for as much of it as has passed. The next day is held then; a pin whose next day cannot be held lapses, so that nothing is kept
/// that nobody can pay for (invariant I3).
extension ControlPlaneCore {
  /// What is held for at once.
  static let pinSlice = Duration.seconds(86_400)
  /// So long before a pin lapses its project is told.
  static let pinWarning = Duration.seconds(6 * 3600)
  private static let pinReview = Duration.seconds(60)

  static func holdName(of name: ReplicaName) -> String { "\(name.key) in cache \(name.cache)" }

  /// The cluster whose prices hold for a cache: the one whose agent writes it.
  private func keeper(of cache: String) -> ClusterEntry? {
    let sharers = clusters(sharing: cache)
    return (sharers.first { clusters[$0]?.inventory.cache?.isWriter == true } ?? sharers.first).flatMap { clusters[$0] }
  }

  /// What a pin must hold from a moment on; nil: nothing, because its project has no budget or keeping costs nothing there.
  ///
  /// - Throws: `.failedPrecondition` for a price in another currency than the budget's.
  private func pinHold(of row: ReplicaRow, for member: String, from: Timestamp) throws -> StorageHold? {
    guard let project = data.version(row.key)?.dataset.project, let budget = ledger.budgets[project],
      let keeper = keeper(of: row.cache), let sheet = keeper.row.spec.prices(at: now),
      sheet.storageGibibyteHour ?? 0 > 0
    else { return nil }
    guard sheet.currency == budget.spec.currency else {
      throw FederationError(
        .failedPrecondition,
        "the budget of project \(project) is in \(budget.spec.currency), and \(keeper.row.spec.name) keeps data for "
          + "\(sheet.currency)")
    }
    return StorageHold(
      name: Self.holdName(of: ReplicaName(key: row.key, cache: row.cache)), project: project, member: member,
      currency: budget.spec.currency, amount: Amount(reserving: sheet.cost(ofKeeping: row.size, for: Self.pinSlice)),
      from: from, until: from + Self.pinSlice)
  }

  /// A user pins a replica, or pins one again that is about to lapse.
  ///
  /// - Throws: `.budgetDenied`, `.failedPrecondition`; nothing has changed then.
  mutating func holdPin(_ row: ReplicaRow, for member: String) throws {
    let name = ReplicaName(key: row.key, cache: row.cache)
    // One that is held for already is renewed in its time; one without money has been given notice.
    if let known = ledger.storage[Self.holdName(of: name)], known.amount > .zero { return }
    guard let hold = try pinHold(of: row, for: member, from: now) else { return }
    if let refusal = ledger.refusal(of: hold.amount, for: hold.project, by: member) { throw refusal }
    releasePin(name)
    try ledger.keep(hold, at: now)
  }

  /// A replica is not pinned any more, or its while is over.
  mutating func releasePin(_ name: ReplicaName) {
    warnedPins.remove(name)
    release(Self.holdName(of: name))
  }

  private mutating func release(_ name: String) {
    guard let project = ledger.storage[name]?.project, let settlement = ledger.release(name, at: now),
      let alert = settlement.alert
    else { return }
    tell(alert, of: project)
  }

  /// A tick: what is due is charged and held anew, and what is pinned since before its project had a budget, or its cluster a price, is
  /// held for from now on.
  mutating func reviewPins() {
    guard now - pinsReviewedAt >= Self.pinReview else { return }
    pinsReviewedAt = now
    guard !ledger.budgets.isEmpty else { return }
    var names: Set<String> = []
    for name in data.userPins.sorted() {
      names.insert(Self.holdName(of: name))
      review(name)
    }
    // Replicas that were unpinned without a word: of a version that is gone.
    for name in ledger.storage.keys.sorted() where !names.contains(name) { release(name) }
  }

  private mutating func review(_ name: ReplicaName) {
    guard let row = data.replicas[name.key]?[name.cache] else { return }
    guard var hold = ledger.storage[Self.holdName(of: name)] else { return begin(row) }
    if hold.until > now {
      if hold.until - now <= Self.pinWarning { warn(row, hold) }
      return
    }
    // Nobody may have led for some days: each is held before it is charged.
    while hold.until <= now {
      let wasNotice = hold.amount == .zero
      releasePin(name)
      do {
        guard let next = try pinHold(of: row, for: hold.member, from: wasNotice ? now : hold.until) else { return }
        try ledger.keep(next, at: now)
        hold = next
      } catch { return lapse(row, because: Self.reason(error)) }
    }
  }

  /// A pin for which nothing was held yet. It is given notice when it cannot be paid for.
  private mutating func begin(_ row: ReplicaRow) {
    do {
      guard let hold = try pinHold(of: row, for: "", from: now) else { return }
      try ledger.keep(hold, at: now)
    } catch {
      guard let project = data.version(row.key)?.dataset.project, let budget = ledger.budgets[project] else { return }
      let notice = StorageHold(
        name: Self.holdName(of: ReplicaName(key: row.key, cache: row.cache)), project: project, member: "",
        currency: budget.spec.currency, amount: .zero, from: now, until: now + Self.pinWarning)
      guard (try? ledger.keep(notice, at: now)) != nil else { return lapse(row, because: Self.reason(error)) }
      warn(row, notice)
    }
  }

  private mutating func warn(_ row: ReplicaRow, _ hold: StorageHold) {
    let name = ReplicaName(key: row.key, cache: row.cache)
    guard !warnedPins.contains(name) else { return }
    let refusal: String
    do {
      guard let next = try pinHold(of: row, for: hold.member, from: hold.until),
        let error = ledger.refusal(of: next.amount, for: next.project, by: next.member)
      else { return }
      refusal = error.publicMessage
    } catch { refusal = Self.reason(error) }
    warnedPins.insert(name)
    tell("PinLapsing", "dataset.pin-lapsing", row, "stays pinned until \(RFC3339.format(hold.until)): \(refusal)")
  }

  private mutating func lapse(_ row: ReplicaRow, because reason: String) {
    var row = row
    row.isPinned = false
    data.insert(row)
    output.replicas[ReplicaName(key: row.key, cache: row.cache)] = row
    if let cluster = clusters(sharing: row.cache).first, let writer = writer(for: cluster),
      let session = dataSession(of: writer)
    {
      output.order(writer, session) { $0.unpin.append(row.key) }
    }
    wantsPlacement = true
    tell("PinLapsed", "dataset.unpin", row, "is no longer pinned: \(reason)")
  }

  private mutating func tell(_ event: String, _ action: String, _ row: ReplicaRow, _ message: String) {
    let text = "\(row.key) in cache \(row.cache) \(message)"
    output.events.append(
      EventRow(at: now, cluster: clusters(sharing: row.cache).first, reason: event, message: text))
    output.audit.append(
      AuditRow(at: now, actor: "fubini", action: action, object: Self.object(row.key), detail: text))
  }

  /// As what users do is audited: `project/name@version`.
  private static func object(_ key: DataKey) -> String {
    DatasetReference.parse(key).map { "\($0.0)@\($0.1)" } ?? key.text
  }

  private static func reason(_ error: any Error) -> String { (error as? FederationError)?.publicMessage ?? "\(error)" }
}
