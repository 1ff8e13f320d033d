import ControlPlaneCore
import ControlPlaneStore
import Crypto
import FederationAPI
import FederationModel
import FoundationEssentials
import SlurmFrontDoor
import WorkflowCore

/// Batch jobs on their way to being workflows (ADR 32).
///
/// Nothing is submitted twice. A workflow's name, UID and idempotency key are fixed with the job's row, so that who submits again after
/// a crash is answered with what is there.
struct JobDesk: Sendable {
  let store: ControlPlaneStore
  let commands: any CommandPort
  var objects: ObjectDesk { ObjectDesk(store: store, commands: commands) }

  /// Says that somebody has asked for the end of a job; in front of messages of tasks.
  static let cancelReason = "cancelled by scancel"

  // MARK: Waiting

  /// What a job waits for.
  enum Standing: Hashable, Sendable {
    case ready
    case waiting(String)
    case never
  }

  func standing(of job: JobRow, now: Timestamp) async throws -> Standing {
    if job.isHeld { return .waiting(PendingReason.held) }
    if let begin = job.beginAt, begin > now { return .waiting(PendingReason.beginTime) }
    guard !job.dependency.isEmpty else { return .ready }
    let dependency = try Self.dependency(of: job)
    var known: [JobDependency.Condition: JobDependency.Standing] = [:]
    for condition in dependency.conditions where known[condition] == nil {
      known[condition] = try await standing(of: condition, for: job, now: now)
    }
    return switch dependency.verdict({ known[$0] ?? .unknown }) {
    case .met: .ready
    case .waiting: .waiting(PendingReason.dependency)
    case .never: .never
    }
  }

  /// `aftercorr` of a job that is no array is `afterok`.
  private static func dependency(of job: JobRow) throws -> JobDependency {
    var dependency: JobDependency
    do { dependency = try JobDependency(job.dependency) } catch {
      throw FederationError(.internal, "the dependency of job \(job.number) cannot be read", cause: error)
    }
    guard try indices(of: job) == nil else { return dependency }
    for index in dependency.conditions.indices where dependency.conditions[index].kind == .aftercorr {
      dependency.conditions[index].kind = .afterok
    }
    return dependency
  }

  private static func indices(of job: JobRow) throws -> [Int32]? {
    try JSONDecoder().decode(JobDetails.self, from: Data(job.details.utf8)).indices
  }

  /// Leaves out the tasks of an array whose counterparts (`aftercorr`) did not end well.
  ///
  /// - Returns: the job as it is to be submitted; nil where nothing of it is left.
  private func corresponding(_ job: JobRow, now: Timestamp) async throws -> JobRow? {
    guard let indices = try Self.indices(of: job) else { return job }
    var job = job
    if job.dependency.contains(JobDependency.Kind.aftercorr.rawValue) {
      for condition in try Self.dependency(of: job).conditions where condition.kind == .aftercorr {
        var unmet: [Int32: String] = [:]
        for task in indices where job.leftOut[task] == nil {
          let counterpart = JobDependency.Condition(.afterok, job: condition.job, task: task)
          // One that the other array does not have ended as little as one that failed.
          if try await standing(of: counterpart, for: job, now: now) != .succeeded {
            unmet[task] = "task \(task) of job \(condition.job) did not end well"
          }
        }
        guard !unmet.isEmpty else { continue }
        guard try await store.leaveOut(unmet, of: job.number, by: job.submittedBy, at: now) else { return job }
        job.leftOut.merge(unmet) { first, _ in first }
      }
    }
    return indices.allSatisfy { job.leftOut[$0] != nil } ? nil : job
  }

  /// Jobs of other projects are as if they were not there.
  private func standing(
    of condition: JobDependency.Condition, for job: JobRow, now: Timestamp
  ) async throws -> JobDependency.Standing {
    if condition.kind == .singleton {
      return try await store.hasEarlierOpenJob(than: job) ? .open(startedSecondsAgo: nil) : .succeeded
    }
    guard let other = try await store.job(condition.job), other.project == job.project else { return .unknown }
    switch other.state {
    case .waiting, .submitting: return .open(startedSecondsAgo: nil)
    case .cancelled, .refused: return .failed
    case .submitted: break
    }
    // A number inside an array's block names one task of it.
    let details = try JSONDecoder().decode(JobDetails.self, from: Data(other.details.utf8))
    let ordinal = Int(condition.job - other.number)
    let inside = ordinal > 0 ? details.indices.flatMap { $0.indices.contains(ordinal) ? $0[ordinal] : nil } : nil
    guard let head = try await store.workflowHead(uid: other.uid) else { return .unknown }
    if let task = condition.task ?? inside {
      return try await standing(ofTask: task, in: head, now: now)
    }
    if head.status.phase.isTerminal { return head.status.phase.isFulfilledWell ? .succeeded : .failed }
    return .open(startedSecondsAgo: Self.seconds(since: try await firstStart(in: head), now))
  }

  private func firstStart(in head: WorkflowHead) async throws -> Timestamp? {
    let nodes = try await store.nodes(of: head.id, limit: TaskArray.countMax + 16).filter(\.type.isTask)
    return nodes.compactMap(\.startedAt).min()
  }

  private static func seconds(since start: Timestamp?, _ now: Timestamp) -> Int64? {
    start.map { max(0, (now - $0).milliseconds / 1000) }
  }

  private func standing(
    ofTask task: Int32, in head: WorkflowHead, now: Timestamp
  ) async throws -> JobDependency.Standing {
    let nodes = try await store.nodes(of: head.id, limit: TaskArray.countMax + 16)
    let wanted = nodes.first {
      $0.type.isTask && $0.inputs.parameter(SlurmFrontDoor.JobDocument.taskParameter) == "\(task)"
    }
    guard let wanted else { return head.status.phase.isTerminal ? .failed : .open(startedSecondsAgo: nil) }
    if wanted.phase.isTerminal { return wanted.phase.isFulfilledWell ? .succeeded : .failed }
    return .open(startedSecondsAgo: Self.seconds(since: wanted.startedAt, now))
  }

  // MARK: Submitting

  /// Submits a job that nothing keeps waiting; one that changes its mind meanwhile is left.
  ///
  /// - Throws: retryable errors only; it is submitted again then.
  func submit(_ job: JobRow, now: Timestamp) async throws {
    if job.state == .waiting {
      guard try await store.beginSubmission(of: job.number) else { return }
    }
    do {
      try await submitWorkflow(of: job)
      try await store.noteSubmitted(job.number)
    } catch let error as FederationError where !error.isRetryable {
      try await refuse(job, error.publicMessage, now)
    } catch let error as DocumentErrors {
      let problem = error.problems.first
      try await refuse(job, "\(problem?.path ?? ""): \(problem?.message ?? "the workflow is refused")", now)
    }
  }

  private func refuse(_ job: JobRow, _ message: String, _ now: Timestamp) async throws {
    _ = try await store.end(
      job.number, as: .refused, from: .submitting, reason: "BadConstraints", message: message, by: job.submittedBy,
      at: now)
  }

  private func submitWorkflow(of job: JobRow) async throws {
    if try await store.workflowHead(uid: job.uid) != nil { return }
    let open = try Self.definition(try Self.document(of: job), number: job.number)
    let definition = try await objects.resolved(open, in: job.project)
    let key = IdempotencyKey(key: "job/\(job.uid)", requestHash: Self.hash("job\n\(job.uid)"))
    _ = try await commands.perform(
      .submit(Submission(definition: definition, project: job.project, name: job.workflow, uid: job.uid)),
      as: Principal(user: job.submittedBy, address: "jobs"), idempotency: key)
  }

  /// Without the tasks that are left out.
  static func document(of job: JobRow) throws -> String {
    guard !job.leftOut.isEmpty else { return job.document }
    let document = try JSONDecoder().decode(JSONValue.self, from: Data(job.document.utf8))
    let kept = SlurmFrontDoor.JobDocument.keeping(document) { job.leftOut[$0] == nil }
    return String(decoding: try JSONEncoder().encode(kept), as: UTF8.self)
  }

  static func definition(_ document: String, number: Int64) throws -> WorkflowDefinition {
    try WorkflowDefinition.decode(Array(document.utf8), strict: true)
      .withArguments([SlurmFrontDoor.JobDocument.numberParameter: "\(number)"])
      .withLabels([Self.label: "\(number)"])
  }

  /// On a job's workflow: its number.
  static let label = "fubini.dev/job"

  static func hash(_ text: String) -> String { SHA256.hash(data: Data(text.utf8)).hexadecimal }

  // MARK: One that waits

  /// Looks at a job once more: submits it, ends it, or notes why it waits.
  func advance(_ job: JobRow, now: Timestamp) async throws {
    guard job.state == .waiting else { return try await submit(job, now: now) }
    var standing = try await standing(of: job, now: now)
    var job = job
    if standing == .ready {
      if let whole = try await corresponding(job, now: now) { job = whole } else { standing = .never }
    }
    switch standing {
    case .ready: try await submit(job, now: now)
    case .waiting(let reason): if reason != job.reason { try await store.noteReason(reason, of: job.number) }
    case .never:
      guard job.killsOnInvalid else {
        if job.reason != PendingReason.dependencyNever {
          try await store.noteReason(PendingReason.dependencyNever, of: job.number)
        }
        return
      }
      _ = try await store.end(
        job.number, as: .cancelled, from: .waiting, reason: PendingReason.dependencyNever,
        message: "what it depends on can never be", by: job.submittedBy, at: now)
    }
  }
}
