public import FederationModel

/// What a CronWorkflow does when a scheduled time comes while workflows of it still run.
public enum CronConcurrencyPolicy: String, Sendable, CaseIterable {
  case allow = "Allow"
  /// Skips.
  case forbid = "Forbid"
  /// Terminates what runs, then submits.
  case replace = "Replace"
}

/// When a CronWorkflow submits, as its document says it.
public struct CronPlan: Sendable, Equatable {
  public static let scheduleLimit = 64

  public var schedules: [CronSchedule]
  public var concurrencyPolicy: CronConcurrencyPolicy
  /// How long after its time a missed run may still be submitted; nil: never.
  public var startingDeadline: Duration?
  public var isSuspended: Bool
  /// A condition in which `cronworkflow.*` are tags; empty: always.
  public var when: String
  /// `stopStrategy.expression`, expr-lang over `cronworkflow.*`; empty: never.
  public var stopExpression: String

  /// - Parameters:
  ///   - schedules: in cron format, at least one.
  ///   - timezone: the zone that they are read in; empty: UTC.
  ///   - zone: the rules of a named zone, nil where there is none.
  /// - Throws: `FederationError` (`invalidArgument`) for a schedule or an expression that cannot be read.
  public init(
    schedules: [String], timezone: String = "", concurrencyPolicy: CronConcurrencyPolicy = .allow,
    startingDeadline: Duration? = nil, isSuspended: Bool = false, when: String = "", stopExpression: String = "",
    zone: (String) throws -> TimeZoneRules?
  ) throws {
    guard (1...Self.scheduleLimit).contains(schedules.count) else {
      throw FederationError(.invalidArgument, "cron workflow must have 1 to \(Self.scheduleLimit) schedules")
    }
    if let startingDeadline, startingDeadline < .zero {
      throw FederationError(.invalidArgument, "startingDeadlineSeconds must be positive")
    }
    self.schedules = try schedules.map { text in
      try CronSchedule(timezone.isEmpty ? text : "CRON_TZ=\(timezone) \(text)", zone: zone)
    }
    self.concurrencyPolicy = concurrencyPolicy
    self.startingDeadline = startingDeadline
    self.isSuspended = isSuspended
    self.when = when
    self.stopExpression = stopExpression
    try CronConditions.check(self)
  }

  /// The schedules with their time zones, joined by commas: Argo keeps them in the annotation `last-used-schedule`.
  public var scheduleText: String { schedules.map(\.text).joined(separator: ",") }

  /// The first scheduled time after `moment`; nil when there is none within five years.
  ///
  /// - Parameter start: what `@every` counts from.
  public func next(after moment: Timestamp, countingFrom start: Timestamp) -> Timestamp? {
    schedules.compactMap { $0.next(after: moment, countingFrom: start) }.min()
  }

  /// The latest scheduled time in `moment < t <= end`.
  private func last(after moment: Timestamp, through end: Timestamp, _ state: CronState) -> Timestamp? {
    schedules.compactMap { $0.last(after: moment, through: end, countingFrom: state.scheduledSince) }.max()
  }

  /// The workflow of one scheduled time has this name, so that submitting it twice makes one: `name-1763784000`.
  public static func workflowName(of cronWorkflow: String, at scheduled: Timestamp) -> String {
    "\(cronWorkflow)-\(scheduled.wholeSeconds)"
  }
}

/// What a CronWorkflow has come to, as its status says it.
public struct CronState: Sendable, Equatable {
  public var name: String
  public var namespace: String
  public var labels: [String: String]
  public var annotations: [String: String]
  /// When its schedule was written: `@every` counts from here, through all changes of leader.
  public var scheduledSince: Timestamp
  /// Of the last run that was submitted.
  public var lastScheduledTime: Timestamp?
  /// Names of workflows of it that have not ended.
  public var active: [String]
  /// Workflows of it that ended well, and those that did not or could not be submitted.
  public var succeeded: Int64
  public var failed: Int64
  /// Its `stopStrategy` has come true; it never submits again.
  public var isStopped: Bool
  /// The schedule has changed since `lastScheduledTime`: what it would have run before counts for nothing.
  public var hasNewSchedule: Bool

  public init(
    name: String, namespace: String, scheduledSince: Timestamp, labels: [String: String] = [:],
    annotations: [String: String] = [:], lastScheduledTime: Timestamp? = nil, active: [String] = [],
    succeeded: Int64 = 0, failed: Int64 = 0,
    isStopped: Bool = false, hasNewSchedule: Bool = false
  ) {
    self.name = name
    self.namespace = namespace
    self.scheduledSince = scheduledSince
    self.labels = labels
    self.annotations = annotations
    self.lastScheduledTime = lastScheduledTime
    self.active = active
    self.succeeded = succeeded
    self.failed = failed
    self.isStopped = isStopped
    self.hasNewSchedule = hasNewSchedule
  }
}

/// Why a scheduled time passes without a workflow.
public enum CronSkip: Sendable, Equatable {
  case suspended
  case stopped
  /// `when` came to false.
  case conditionIsFalse
  /// `concurrencyPolicy: Forbid`, and these run.
  case forbidden(active: [String])
}

/// What to do now. Every case but `wait` is about one scheduled time.
public enum CronAction: Sendable, Equatable {
  case wait
  /// Terminate `replacing`, then submit one workflow; `scheduled` becomes `lastScheduledTime`.
  case submit(scheduled: Timestamp, replacing: [String])
  case skip(scheduled: Timestamp, CronSkip)
  /// The `stopStrategy` has come true: mark it as stopped for good.
  case stop(scheduled: Timestamp)
  /// An expression failed. Argo shows it as a condition: `SpecError` for the stop expression, `SubmissionError` for `when`.
  case fail(scheduled: Timestamp, isSpecError: Bool, message: String)
}

/// A decision, and when to decide again.
public struct CronDecision: Sendable, Equatable {
  public var action: CronAction
  /// Pass it as `watchedSince` the next time: everything up to it is dealt with.
  public var handledThrough: Timestamp
  /// The next scheduled time; nil when nothing will come.
  public var wakeAt: Timestamp?
}

extension CronPlan {
  /// Decides what is to be done at `now`; a pure function of its arguments.
  ///
  /// A scheduled time that comes while somebody watches is acted on, however late the wake-up; of several the latest. One that came
  /// before `watchedSince` was missed: the latest of them is made up for within `startingDeadline`, unless the workflow has never
  /// run or its schedule is new.
  /// - Parameter watchedSince: since when somebody has been deciding: the moment this leader began or the document was written,
  ///   then the last `handledThrough`.
  /// - Source: Argo `workflow/cron/operator.go` (`run`, `enforceRuntimePolicy`, `shouldOutstandingWorkflowsBeRun`).
  public func decide(_ state: CronState, watchedSince: Timestamp, now: Timestamp) -> CronDecision {
    let action: CronAction
    if let scheduled = due(state, since: watchedSince, now: now) {
      action = act(on: scheduled, state, now: now)
    } else {
      action = .wait
    }
    let isOver = if case .stop = action { true } else { state.isStopped }
    return CronDecision(
      action: action, handledThrough: max(watchedSince, now),
      wakeAt: isOver ? nil : next(after: now, countingFrom: state.scheduledSince))
  }

  private func due(_ state: CronState, since watchedSince: Timestamp, now: Timestamp) -> Timestamp? {
    if let scheduled = last(after: watchedSince, through: now, state) { return scheduled }
    guard let startingDeadline, let last = state.lastScheduledTime, !state.hasNewSchedule,
      let missed = self.last(after: last, through: now + .milliseconds(-1), state)
    else { return nil }
    return now < missed + startingDeadline ? missed : nil
  }

  private func act(on scheduled: Timestamp, _ state: CronState, now: Timestamp) -> CronAction {
    do {
      if try shouldStop(state, now: now), !state.isStopped { return .stop(scheduled: scheduled) }
    } catch {
      return .fail(scheduled: scheduled, isSpecError: true, message: message(of: error))
    }
    if isSuspended { return .skip(scheduled: scheduled, .suspended) }
    if state.isStopped { return .skip(scheduled: scheduled, .stopped) }
    do {
      guard try CronConditions.holds(when: when, state, now: now) else {
        return .skip(scheduled: scheduled, .conditionIsFalse)
      }
    } catch {
      return .fail(scheduled: scheduled, isSpecError: false, message: message(of: error))
    }
    guard !state.active.isEmpty else { return .submit(scheduled: scheduled, replacing: []) }
    switch concurrencyPolicy {
    case .allow: return .submit(scheduled: scheduled, replacing: [])
    case .forbid: return .skip(scheduled: scheduled, .forbidden(active: state.active))
    case .replace: return .submit(scheduled: scheduled, replacing: state.active)
    }
  }

  private func message(of error: any Error) -> String { (error as? FederationError)?.publicMessage ?? "\(error)" }

  /// Whether the `stopStrategy` has come true. Ask also whenever a workflow of it has ended and is counted.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) when the expression fails or comes to no truth value.
  public func shouldStop(_ state: CronState, now: Timestamp) throws -> Bool {
    try CronConditions.holds(stop: stopExpression, state, now: now)
  }
}
