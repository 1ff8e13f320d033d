import DequeModule
import FederationModel

/// When a project's submissions of the last minute were taken. Soft: a new leader knows of those whose workflows still live.
struct SubmissionWindow: Sendable {
  static let length = Duration.seconds(60)
  private var taken: Deque<Timestamp> = []

  mutating func add(_ moment: Timestamp) { taken.append(moment) }

  /// Forgets what is older than a minute; returns how many are left.
  mutating func count(at now: Timestamp) -> Int {
    while let first = taken.first, now - first >= Self.length { taken.removeFirst() }
    return taken.count
  }

  /// Until there are fewer than so many.
  func wait(until limit: Int, at now: Timestamp) -> Duration {
    guard taken.count >= limit, limit > 0 else { return limit > 0 ? .zero : Self.length }
    return max(.milliseconds(1), Self.length - (now - taken[taken.count - limit]))
  }
}

/// How fast a project's tasks leave its queue: what a Retry-After is made of. Soft.
struct StartRate: Sendable {
  /// Mean seconds between starts, of the last few; nil before the second.
  private var gap: Double?
  private var last: Timestamp?

  mutating func started(at now: Timestamp) {
    if let last {
      let seconds = (now - last).seconds
      gap = gap.map { $0 * 0.9 + seconds * 0.1 } ?? seconds
    }
    last = now
  }

  /// Until so many more have started, as far as one can tell; a minute when nobody can.
  func wait(for starts: Int, at now: Timestamp) -> Duration {
    guard let gap, let last else { return .seconds(60) }
    // When nothing has started for long it goes on as slowly.
    let pace = max(gap, (now - last).seconds / 2)
    return .seconds(min(3600, max(1, (pace * Double(starts)).rounded(.up))))
  }
}

/// What a project may submit.
extension ControlPlaneCore {
  /// Whether a project may submit another workflow now.
  ///
  /// - Throws: `.resourceExhausted` with which limit, and when to come again.
  mutating func admitSubmission(to name: ProjectName) throws {
    guard let limits = projects[name]?.limits else { return }
    if let limit = limits.pendingTasks, let waiting = pending.lanes[name]?.count, waiting >= limit {
      throw FederationError(
        .resourceExhausted,
        "\(waiting) tasks of project \(name) wait, and \(limit) may: submit again when some have started, or let an administrator "
          + "allow more: fubini project quota set \(name) --pending NUMBER",
        retryAfter: (startRates[name] ?? StartRate()).wait(for: waiting - Int(limit) + 1, at: now))
    }
    guard let limit = limits.submissionsPerMinute else { return }
    let count = submissions[name]?.count(at: now) ?? 0
    guard count >= limit else { return }
    throw FederationError(
      .resourceExhausted,
      "project \(name) has submitted \(count) workflows in the last minute, and may submit \(limit): try again later, or let an "
        + "administrator allow more: fubini project quota set \(name) --submissions-per-minute NUMBER",
      retryAfter: (submissions[name] ?? SubmissionWindow()).wait(until: Int(limit), at: now))
  }

  /// A submission was taken, or is read back.
  mutating func noteSubmission(to name: ProjectName, at moment: Timestamp) {
    guard projects[name]?.limits.submissionsPerMinute != nil else {
      submissions[name] = nil
      return
    }
    _ = submissions[name, default: SubmissionWindow()].count(at: now)
    submissions[name]!.add(moment)
  }
}
