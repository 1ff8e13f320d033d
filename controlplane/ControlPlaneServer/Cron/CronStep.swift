import ControlPlaneCore
import ControlPlaneStore
import Crypto
import FederationModel
import FoundationEssentials
import WorkflowCore

/// One look at one cron workflow: what became of its workflows, and what its clock says.
///
/// Nothing is submitted twice. A workflow's name, UID and idempotency key follow from the cron workflow's UID and the scheduled time,
/// so that who submits again after a crash is answered with what is there; and what was submitted and not noted is found by its label
/// and noted then.
struct CronStep {
  let store: ControlPlaneStore
  let commands: any CommandPort
  let objects: ObjectDesk
  let object: StoredObject
  let definition: CronWorkflowDefinition
  let plan: CronPlan
  /// Since when somebody has been deciding.
  let watchedSince: Timestamp
  let now: Timestamp

  struct Result: Sendable {
    var state: CronStateRow
    var handledThrough: Timestamp
    /// nil: its clock comes to nothing.
    var wakeAt: Timestamp?
    /// It could not be done just now, and is done again soon.
    var mustRepeat = false
  }

  static let label = CronWorkflowDefinition.label
  /// Of a cron workflow's workflows, so many are looked at in one step.
  private static let lookedAtMax = 500

  init(
    _ object: StoredObject, watchedSince: Timestamp, now: Timestamp, store: ControlPlaneStore,
    commands: any CommandPort
  ) throws {
    self.object = object
    self.watchedSince = watchedSince
    self.now = now
    self.store = store
    self.commands = commands
    objects = ObjectDesk(store: store, commands: commands)
    definition = try CronWorkflowDefinition(json: object.document)
    plan = try CronPlan(definition.spec)
  }

  /// - Parameter submitted: called between submitting and noting it; what it throws ends the step there, as a crash would.
  func run(submitted: () async throws -> Void = {}) async throws -> Result {
    let before = try await store.cronState(object.uid)
    var state = before ?? CronStateRow(uid: object.uid, schedule: plan.scheduleText, scheduledSince: object.createdAt)
    if state.schedule != plan.scheduleText {
      state.schedule = plan.scheduleText
      state.scheduledSince = object.changedAt
      state.hasNewSchedule = true
    }
    let finished = try await reconcile(&state)
    if !state.isStopped, (try? plan.shouldStop(view(of: state), now: now)) == true { state.isStopped = true }
    let decision = plan.decide(view(of: state), watchedSince: watchedSince, now: now)
    var result = Result(state: state, handledThrough: decision.handledThrough, wakeAt: decision.wakeAt)
    do { try await act(decision.action, &result.state, submitted) } catch let error as FederationError
      where error.isRetryable
    {
      result.handledThrough = watchedSince
      result.mustRepeat = true
    }
    if result.state != before {
      guard let revision = try await store.put(result.state) else {
        throw FederationError(.unavailable, "cron workflow \(object.name) was changed by another leader")
      }
      result.state.revision = revision
    }
    try await forget(finished)
    return result
  }

  private func view(of row: CronStateRow) -> CronState {
    CronState(
      name: object.name, namespace: object.project.text, scheduledSince: row.scheduledSince, labels: object.labels,
      annotations: definition.metadata.annotations, lastScheduledTime: row.lastScheduledAt,
      active: row.active.map(\.name), succeeded: row.succeeded, failed: row.failed, isStopped: row.isStopped,
      hasNewSchedule: row.hasNewSchedule)
  }

  // MARK: What became of its workflows

  /// Notes workflows that nobody has noted, and counts those that have ended.
  ///
  /// - Returns: those that are over, the newest first.
  private func reconcile(_ state: inout CronStateRow) async throws -> [WorkflowHead] {
    let filter = WorkflowFilter(project: object.project, labels: [Self.label: object.name])
    var heads = try await store.workflowHeads(filter, limit: Self.lookedAtMax)
    // One that was deleted and made anew has the name, and not the workflows, of the old one.
    heads.removeAll { $0.createdAt < object.createdAt }
    let known = Dictionary(heads.map { ($0.uid, $0) }, uniquingKeysWith: { first, _ in first })
    var open: [CronStateRow.ActiveWorkflow] = []
    for entry in state.active {
      var head = known[entry.uid]
      if head == nil { head = try await store.workflowHead(uid: entry.uid) }
      guard let head else { continue }
      if head.status.phase.isTerminal { Self.count(head, &state) } else { open.append(entry) }
    }
    for head in heads.reversed()
    where head.id > state.seenWorkflow && !state.active.contains(where: { $0.uid == head.uid }) {
      if let scheduled = scheduledTime(of: head.name) {
        state.lastScheduledAt = max(state.lastScheduledAt ?? scheduled, scheduled)
        state.hasNewSchedule = false
      }
      if head.status.phase.isTerminal {
        Self.count(head, &state)
      } else {
        open.append(CronStateRow.ActiveWorkflow(name: head.name, uid: head.uid))
      }
    }
    state.active = open
    if let newest = heads.first { state.seenWorkflow = max(state.seenWorkflow, newest.id) }
    return heads.filter(\.status.phase.isTerminal)
  }

  private static func count(_ head: WorkflowHead, _ state: inout CronStateRow) {
    if head.status.phase.isFulfilledWell { state.succeeded += 1 } else { state.failed += 1 }
  }

  /// The time that a workflow of this name was made for; nil for one that was submitted by hand.
  private func scheduledTime(of name: String) -> Timestamp? {
    guard name.hasPrefix(object.name + "-"), let seconds = Int64(name.dropFirst(object.name.utf8.count + 1)) else {
      return nil
    }
    return Timestamp(milliseconds: seconds * 1000)
  }

  /// Deletes what is beyond the history limits.
  private func forget(_ finished: [WorkflowHead]) async throws {
    let well = finished.filter(\.status.phase.isFulfilledWell)
    let badly = finished.filter { !$0.status.phase.isFulfilledWell }
    let old =
      well.dropFirst(max(0, definition.spec.successfulJobsHistoryLimit))
      + badly.dropFirst(max(0, definition.spec.failedJobsHistoryLimit))
    for head in old {
      do {
        _ = try await commands.perform(
          .workflow(WorkflowReference(project: head.project, name: head.uid), .delete), as: author, idempotency: nil)
      } catch let error as FederationError where error.code == .notFound { continue }
    }
  }

  // MARK: What its clock says

  /// Who answers for what it submits: whoever wrote it last.
  private var author: Principal { Principal(user: object.changedBy, address: "cron") }

  private func act(
    _ action: CronAction, _ state: inout CronStateRow, _ submitted: () async throws -> Void
  ) async throws {
    switch action {
    case .wait, .skip: break
    case .stop: state.isStopped = true
    case .fail(_, let isSpecError, let message):
      state.condition = CronStateRow.Condition(type: isSpecError ? "SpecError" : "SubmissionError", message: message)
    case .submit(let scheduled, let replacing):
      do {
        try await checkAuthor()
        for name in replacing { try await terminate(name) }
        let workflow = try await submit(scheduled)
        try await submitted()
        if !state.active.contains(workflow) { state.active.append(workflow) }
        if let head = try await store.workflowHead(uid: workflow.uid) {
          state.seenWorkflow = max(state.seenWorkflow, head.id)
        }
        state.lastScheduledAt = scheduled
        state.hasNewSchedule = false
        state.condition = nil
      } catch let error as FederationError where !error.isRetryable {
        state.failed += 1
        let condition = CronStateRow.Condition(type: "SubmissionError", message: error.publicMessage)
        // Every time it is the same: the log has it once.
        if error.code == .permissionDenied, state.condition != condition {
          try await store.appendAudit(
            AuditRow(
              at: now, actor: author.user, address: author.address, action: "cronWorkflow.submit",
              object: "\(object.project)/\(object.name)", detail: error.publicMessage, isDenied: true))
        }
        state.condition = condition
      } catch let error as DocumentErrors {
        let problem = error.problems.first
        state.failed += 1
        state.condition = CronStateRow.Condition(
          type: "SubmissionError", message: "\(problem?.path ?? ""): \(problem?.message ?? "the workflow is refused")")
      }
    }
  }

  /// Whoever wrote it may have lost the right to submit since, or be gone; the project may take nothing new any more.
  ///
  /// - Throws: `.permissionDenied`.
  private func checkAuthor() async throws {
    let (who, name) = (author.user.isEmpty ? "its author" : author.user, object.name)
    guard let rights = try await store.rights(of: author.user) else {
      throw FederationError(
        .permissionDenied,
        "\(who), who wrote cron workflow \(name) last, is disabled or gone: whoever may submit writes it again")
    }
    guard rights.allows(Permission(.create, .workflow), in: object.project) else {
      throw FederationError(
        .permissionDenied,
        "\(who), who wrote cron workflow \(name) last, may not submit workflows in project \(object.project) any more: "
          + "whoever may writes it again")
    }
    guard try await !store.isArchived(object.project) else {
      throw FederationError(
        .permissionDenied,
        "project \(object.project) is archived and takes nothing new, of cron workflow \(name) neither")
    }
  }

  private func terminate(_ name: String) async throws {
    do {
      _ = try await commands.perform(
        .workflow(WorkflowReference(project: object.project, name: name), .terminate), as: author, idempotency: nil)
    } catch let error as FederationError where error.code == .notFound || error.code == .failedPrecondition {
      // It has just ended by itself.
    }
  }

  private func submit(_ scheduled: Timestamp) async throws -> CronStateRow.ActiveWorkflow {
    let name = CronPlan.workflowName(of: object.name, at: scheduled)
    let uid = Self.uid(of: object.uid, at: scheduled)
    let open = try definition.workflow(name: name, scheduledAt: scheduled)
    let workflow = try await objects.resolved(open, in: object.project)
    let key = IdempotencyKey(
      key: "cron/\(object.uid)/\(scheduled.milliseconds)",
      requestHash: Self.hash("\(object.uid)\n\(scheduled.milliseconds)"))
    let reply = try await commands.perform(
      .submit(Submission(definition: workflow, project: object.project, name: name, uid: uid)), as: author,
      idempotency: key)
    guard case .submitted(_, let name, let uid) = reply else {
      throw FederationError(.internal, "the submission was answered with something else")
    }
    return CronStateRow.ActiveWorkflow(name: name, uid: uid)
  }

  /// Of the workflow of one scheduled time.
  static func uid(of cronWorkflow: String, at scheduled: Timestamp) -> String {
    WorkflowName.uuid(
      Array(SHA256.hash(data: Data("cron\n\(cronWorkflow)\n\(scheduled.milliseconds)".utf8)).prefix(16)))
  }

  private static func hash(_ text: String) -> String {
    SHA256.hash(data: Data(text.utf8)).hexadecimal
  }
}

extension CronStateRow {
  /// `status` as Argo has it.
  ///
  /// - Source: Argo Workflows v3.7, `cron_workflow_types.go`, `CronWorkflowStatus`.
  func rendered(in project: ProjectName) -> JSONValue {
    var status: [String: JSONValue] = [
      "active": .array(
        active.map {
          [
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": .string($0.name),
            "namespace": .string(project.text), "uid": .string($0.uid),
          ]
        }),
      "lastScheduledTime": lastScheduledAt.map { .string(RFC3339.format($0)) } ?? .null,
      "succeeded": .integer(succeeded), "failed": .integer(failed), "phase": isStopped ? "Stopped" : "Active",
      "conditions": .array(
        condition.map { [["type": .string($0.type), "status": "True", "message": .string($0.message)]] } ?? []),
    ]
    if status["lastScheduledTime"] == .null { status["lastScheduledTime"] = nil }
    return .object(status)
  }
}
