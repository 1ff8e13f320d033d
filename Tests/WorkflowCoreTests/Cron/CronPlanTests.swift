import FederationModel
import Testing

@testable import WorkflowCore

@Suite("CronPlan")
struct CronPlanTests {
  private func at(_ text: String) throws -> Timestamp { try #require(RFC3339.parse("2026-11-22T\(text)Z")) }

  private func plan(
    _ schedules: String..., policy: CronConcurrencyPolicy = .allow, deadline: Int64? = nil, suspended: Bool = false,
    when: String = "", stop: String = ""
  ) throws -> CronPlan {
    try CronPlan(
      schedules: schedules, concurrencyPolicy: policy, startingDeadline: deadline.map { .seconds($0) },
      isSuspended: suspended, when: when, stopExpression: stop, zone: TestZones.known)
  }

  private func state(
    last: String? = nil, active: [String] = [], succeeded: Int64 = 0, failed: Int64 = 0, stopped: Bool = false,
    new: Bool = false
  ) throws -> CronState {
    CronState(
      name: "nightly", namespace: "lab", scheduledSince: try at("00:00:00"), labels: ["team": "a"],
      lastScheduledTime: try last.map(at), active: active, succeeded: succeeded, failed: failed, isStopped: stopped,
      hasNewSchedule: new)
  }

  @Test("It waits until its time, submits then, and wakes up for the next")
  func submits() throws {
    let plan = try plan("*/5 * * * *")
    let early = plan.decide(try state(), watchedSince: try at("08:01:00"), now: try at("08:04:59"))
    #expect(early == CronDecision(action: .wait, handledThrough: try at("08:04:59"), wakeAt: try at("08:05:00")))
    let due = plan.decide(try state(), watchedSince: early.handledThrough, now: try at("08:05:00"))
    #expect(due.action == .submit(scheduled: try at("08:05:00"), replacing: []))
    #expect(due.wakeAt == (try at("08:10:00")))
    let again = plan.decide(try state(last: "08:05:00"), watchedSince: due.handledThrough, now: try at("08:05:00"))
    #expect(again.action == .wait)
  }

  @Test("A late wake-up acts on the latest time that came, and on it only")
  func lateWakeUp() throws {
    let plan = try plan("*/5 * * * *")
    let decision = plan.decide(try state(), watchedSince: try at("08:01:00"), now: try at("08:13:00"))
    #expect(decision.action == .submit(scheduled: try at("08:10:00"), replacing: []))
    #expect(plan.decide(try state(), watchedSince: decision.handledThrough, now: try at("08:13:01")).action == .wait)
  }

  @Test("Of several schedules the nearest counts, and one moment makes one run")
  func severalSchedules() throws {
    let plan = try plan("30 * * * *", "*/20 * * * *", "40 8 * * *")
    var moments: [Timestamp] = []
    var watched = try at("08:00:00")
    while moments.count < 5 {
      let wake = try #require(plan.decide(try state(), watchedSince: watched, now: watched).wakeAt)
      let decision = plan.decide(try state(), watchedSince: watched, now: wake)
      guard case .submit(let scheduled, _) = decision.action else {
        Issue.record("woke up for nothing")
        return
      }
      moments.append(scheduled)
      watched = decision.handledThrough
    }
    #expect(moments == (try ["08:20:00", "08:30:00", "08:40:00", "09:00:00", "09:20:00"].map(at)))
  }

  @Test(
    "After an outage the latest missed run is made up for, within the deadline only",
    arguments: [
      // Runs are due every minute; the last that ran was 08:05, and a leader begins at 08:10:30.
      (31, false, "08:10:00"), (30, false, nil), (nil, false, nil), (3600, false, "08:10:00"), (3600, true, nil),
    ] as [(Int64?, Bool, String?)])
  func missedRun(deadline: Int64?, isNew: Bool, expected: String?) throws {
    let plan = try plan("* * * * *", deadline: deadline)
    let now = try at("08:10:30")
    let decision = plan.decide(try state(last: "08:05:00", new: isNew), watchedSince: now, now: now)
    #expect(decision.action == (try expected.map { .submit(scheduled: try at($0), replacing: []) } ?? .wait))
    #expect(decision.wakeAt == (try at("08:11:00")))
  }

  @Test("What has never run has missed nothing")
  func neverRan() throws {
    let now = try at("08:10:30")
    let decision = try plan("* * * * *", deadline: 3600).decide(try state(), watchedSince: now, now: now)
    #expect(decision.action == .wait)
  }

  @Test(
    "The concurrency policy decides while a workflow runs",
    arguments: [
      (CronConcurrencyPolicy.allow, [], CronAction.submit(scheduled: .epoch, replacing: [])),
      (.forbid, [], .submit(scheduled: .epoch, replacing: [])),
      (.replace, [], .submit(scheduled: .epoch, replacing: [])),
      (.allow, ["a"], .submit(scheduled: .epoch, replacing: [])),
      (.forbid, ["a"], .skip(scheduled: .epoch, .forbidden(active: ["a"]))),
      (.replace, ["a", "b"], .submit(scheduled: .epoch, replacing: ["a", "b"])),
    ] as [(CronConcurrencyPolicy, [String], CronAction)])
  func concurrency(policy: CronConcurrencyPolicy, active: [String], expected: CronAction) throws {
    let plan = try plan("* * * * *", policy: policy)
    let state = CronState(name: "n", namespace: "p", scheduledSince: .epoch, active: active)
    #expect(
      plan.decide(state, watchedSince: Timestamp(milliseconds: -1), now: .epoch).action == expected)
  }

  @Test("What Forbid skipped runs as a missed run once the other has ended, within the deadline")
  func forbiddenThenFree() throws {
    let plan = try plan("0 * * * *", policy: .forbid, deadline: 600)
    let blocked = plan.decide(
      try state(last: "08:00:00", active: ["a"]), watchedSince: try at("08:30:00"), now: try at("09:00:00"))
    #expect(blocked.action == .skip(scheduled: try at("09:00:00"), .forbidden(active: ["a"])))
    let free = plan.decide(
      try state(last: "08:00:00"), watchedSince: blocked.handledThrough, now: try at("09:05:00"))
    #expect(free.action == .submit(scheduled: try at("09:00:00"), replacing: []))
    let late = plan.decide(try state(last: "08:00:00"), watchedSince: blocked.handledThrough, now: try at("09:10:00"))
    #expect(late.action == .wait)
  }

  @Test("Suspended or stopped, it skips; stopped, it does not wake up again")
  func suspendedAndStopped() throws {
    let (before, now) = (try at("08:59:00"), try at("09:00:00"))
    let suspended = try plan("0 * * * *", suspended: true).decide(try state(), watchedSince: before, now: now)
    #expect(suspended.action == .skip(scheduled: now, .suspended))
    #expect(suspended.wakeAt == (try at("10:00:00")))
    let stopped = try plan("0 * * * *").decide(try state(stopped: true), watchedSince: before, now: now)
    #expect(stopped.action == .skip(scheduled: now, .stopped))
    #expect(stopped.wakeAt == nil)
  }

  @Test(
    "The stop strategy counts what succeeded and what failed",
    arguments: [
      ("cronworkflow.failed >= 3", 0, 2, false), ("cronworkflow.failed >= 3", 0, 3, true),
      ("cronworkflow.succeeded > 1 || cronworkflow.failed > 1", 2, 0, true),
      ("cronworkflow.labels['team'] == 'a' && cronworkflow.name == 'nightly'", 0, 0, true),
      ("cronworkflow.lastScheduledTime == nil", 0, 0, true),
    ] as [(String, Int64, Int64, Bool)])
  func stopStrategy(expression: String, succeeded: Int64, failed: Int64, stops: Bool) throws {
    let plan = try plan("0 * * * *", stop: expression)
    let state = try state(succeeded: succeeded, failed: failed)
    let now = try at("09:00:00")
    #expect(try plan.shouldStop(state, now: now) == stops)
    let decision = plan.decide(state, watchedSince: try at("08:59:00"), now: now)
    #expect(decision.action == (stops ? .stop(scheduled: now) : .submit(scheduled: now, replacing: [])))
    #expect((decision.wakeAt == nil) == stops)
  }

  @Test(
    "`when` is asked at each scheduled time",
    arguments: [
      ("{{= cronworkflow.lastScheduledTime == nil }}", true), ("{{= cronworkflow.lastScheduledTime != nil }}", false),
      ("{{cronworkflow.failed}} < 3 && {{cronworkflow.namespace}} == lab", true),
      ("{{cronworkflow.labels.team}} == b", false),
      ("1 == 1", true), ("false", false),
    ])
  func when(condition: String, holds: Bool) throws {
    let now = try at("09:00:00")
    let decision = try plan("0 * * * *", when: condition).decide(
      try state(), watchedSince: try at("08:59:00"), now: now)
    #expect(
      decision.action == (holds ? .submit(scheduled: now, replacing: []) : .skip(scheduled: now, .conditionIsFalse)))
  }

  @Test(
    "`when` knows how long ago the last run was",
    arguments: [(">", "30", true), (">", "7200", false), ("<=", "3600", true)])
  func whenByTime(sign: String, seconds: String, holds: Bool) throws {
    let condition =
      "{{= cronworkflow.lastScheduledTime == nil || (now() - cronworkflow.lastScheduledTime).Seconds() \(sign) \(seconds) }}"
    let now = try at("09:00:00")
    let decision = try plan("0 * * * *", when: condition).decide(
      try state(last: "08:00:00"), watchedSince: try at("08:59:00"), now: now)
    #expect(
      decision.action == (holds ? .submit(scheduled: now, replacing: []) : .skip(scheduled: now, .conditionIsFalse)))
  }

  @Test("An expression that fails says so and submits nothing")
  func failingExpressions() throws {
    let (before, now) = (try at("08:59:00"), try at("09:00:00"))
    for condition in ["{{cronworkflow.nope}} == 1", "5", "=="] {
      let decision = try plan("0 * * * *", when: condition).decide(try state(), watchedSince: before, now: now)
      guard case .fail(now, isSpecError: false, _) = decision.action else {
        Issue.record("\(condition): \(decision.action)")
        continue
      }
    }
    let decision = try plan("0 * * * *", stop: "cronworkflow.failed").decide(
      try state(), watchedSince: before, now: now)
    guard case .fail(now, isSpecError: true, let message) = decision.action else {
      Issue.record("\(decision.action)")
      return
    }
    #expect(message.contains("to bool"))
  }

  @Test("`@every` counts from when the schedule was written, whoever watches")
  func intervals() throws {
    let plan = try plan("@every 7m")
    #expect(plan.next(after: try at("08:00:00"), countingFrom: try at("00:00:00")) == (try at("08:03:00")))
    let decision = plan.decide(try state(), watchedSince: try at("08:02:00"), now: try at("08:04:00"))
    #expect(decision.action == .submit(scheduled: try at("08:03:00"), replacing: []))
    #expect(decision.wakeAt == (try at("08:10:00")))
  }

  @Test("A plan that cannot be read is refused")
  func refused() {
    #expect(throws: FederationError.self) { try CronPlan(schedules: [], zone: TestZones.known) }
    #expect(throws: FederationError.self) { try CronPlan(schedules: ["x"], zone: TestZones.known) }
    #expect(throws: FederationError.self) {
      try CronPlan(schedules: ["* * * * *"], timezone: "Nowhere", zone: TestZones.known)
    }
    #expect(throws: FederationError.self) { try plan("* * * * *", deadline: -1) }
    #expect(throws: FederationError.self) { try plan("* * * * *", stop: "1 +") }
  }

  @Test("A time zone applies to every schedule, and shows in their text")
  func timezone() throws {
    let plan = try CronPlan(schedules: ["0 9 * * *", "@daily"], timezone: "Asia/Kolkata", zone: TestZones.known)
    #expect(plan.scheduleText == "CRON_TZ=Asia/Kolkata 0 9 * * *,CRON_TZ=Asia/Kolkata @daily")
    #expect(plan.next(after: try at("00:00:00"), countingFrom: .epoch) == (try at("03:30:00")))
    #expect(CronPlan.workflowName(of: "nightly", at: try at("03:30:00")) == "nightly-1795318200")
  }
}
