import ControlPlaneCore
import ControlPlaneStore
import Crypto
import FederationAPI
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import SlurmFrontDoor
import WorkflowCore

/// Batch jobs: workflows that people know by a number, and that may wait for each other (ADR 32).
extension APIServer {
  var jobRoutes: [Route] {
    let jobs = "/v1/projects/:p/jobs"
    return [
      Route(.post, jobs, .project(.create, .workflow), "Submits a batch job.") { try await submitJob($0, $1) },
      Route(.get, "/v1/jobs", .anywhere(.read, .workflow), "Batch jobs, newest first.") { try await listJobs($0, $1) },
      Route(.post, "\(jobs)/:j/cancel", .project(.update, .workflow), "Ends a batch job, or tasks of its array.") {
        try await cancelJob($0, $1)
      },
      Route(.post, "\(jobs)/:j/hold", .project(.update, .workflow), "Keeps a batch job from starting.") {
        try await holdJob($0, $1, true)
      },
      Route(.post, "\(jobs)/:j/release", .project(.update, .workflow), "Lets a held batch job start.") {
        try await holdJob($0, $1, false)
      },
    ]
  }

  // MARK: Submitting

  private func submitJob(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let project = ProjectName(try context.parameter("p"))
    let bytes = try await request.bytes(limit: APIContext.submissionSizeLimit)
    let body = try JSONBody.decode(JobRequest.self, from: bytes)
    let (document, dependency) = try await services.submissions.run(for: "project \(project)") {
      try Self.check(body)
    }
    let definition = try JobDesk.definition(document, number: 0)
    _ = try await services.objects.resolved(definition, in: project)
    let identity = Self.identityBytes(request, caller, project)
    let prefix = definition.metadata.generateName ?? "job-"
    if request.query("dryRun") == "true" {
      return try .json(JobAccepted(number: 0, project: project.text, workflow: prefix))
    }
    let key = request.headers[.idempotencyKey].map { JobDesk.hash("\(caller.user)\n\(project)\n\($0)") }
    let now = Timestamp.wallClock
    let begin = body.beginAt?.timestamp
    let waits = body.isHeld == true || begin.map { $0 > now } ?? false || !dependency.isEmpty
    var row = JobRow(
      taskCount: Int64(body.details.indices?.count ?? 1), project: project, name: body.name, submittedBy: caller.user,
      submittedAt: now, uid: WorkflowName.uuid(identity),
      workflow: "\(prefix)\(JobRow.numberMark)-\(WorkflowName.suffix(identity))", requestKey: key,
      requestHash: JobDesk.hash(String(decoding: bytes, as: UTF8.self)), document: document,
      details: String(decoding: try JSONEncoder().encode(body.details), as: UTF8.self), dependency: dependency,
      killsOnInvalid: body.killsOnInvalidDependency ?? false, isHeld: body.isHeld ?? false, beginAt: begin, reason: "")
    row.submission = body.submission ?? ""
    guard let job = try await services.store.create(row, from: caller.principal.address) else {
      throw FederationError(
        .failedPrecondition,
        "there is no project \(project), or it is archived; or no numbers of jobs are left (there are 2^31 - 1)")
    }
    guard job.requestHash == row.requestHash else {
      throw FederationError(
        .invalidArgument, "this Idempotency-Key was used for another request; use a new key for a new request")
    }
    // The job is there whatever happens now: what cannot be submitted at once is by the leader, soon.
    if !waits || job.state == .submitting { try? await jobDesk.advance(job, now: now) }
    return try .json(JobAccepted(number: job.number, project: project.text, workflow: job.workflow), .created)
  }

  var jobDesk: JobDesk { JobDesk(store: services.store, commands: services.commands) }

  /// The document as text, and the dependency as it is kept.
  private static func check(_ body: JobRequest) throws -> (document: String, dependency: String) {
    guard (1...1024).contains(body.name.utf8.count), !body.name.contains(where: \.isNewline) else {
      throw FederationError(.invalidArgument, "the name of a job has 1 to 1,024 bytes on one line")
    }
    if let indices = body.details.indices {
      guard (1...TaskArray.countMax).contains(indices.count), zip(indices, indices.dropFirst()).allSatisfy({ $0 < $1 })
      else { throw FederationError(.invalidArgument, "an array has 1 to 10,000 indices, in ascending order") }
    }
    if let key = body.submission {
      // It is deleted with the job, so it is one that nothing else has.
      let parts = key.split(separator: "/", omittingEmptySubsequences: false)
      guard parts.count == 3, parts[0] == "slurm", !parts[1].isEmpty, parts[2] == "submission.tar",
        key.utf8.count <= 200
      else { throw FederationError(.invalidArgument, "the archive of a job is slurm/ANYTHING/submission.tar") }
    }
    var dependency = ""
    if let text = body.dependency, !text.isEmpty {
      do { dependency = try JobDependency(text).text } catch {
        throw FederationError(.invalidArgument, "\"\(text.prefix(200))\" is no dependency as sbatch has them")
      }
    }
    let data = try JSONEncoder().encode(body.document)
    guard data.count <= APIContext.sizeLimit else {
      throw FederationError(.invalidArgument, "the workflow of a job has at most 2 MiB")
    }
    return (String(decoding: data, as: UTF8.self), dependency)
  }

  // MARK: Reading

  private func listJobs(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    var filter = JobFilter()
    filter.projects = caller.rights.projects(allowing: Permission(.read, .workflow))
    if let project = request.query("project"), !project.isEmpty { filter.project = ProjectName(project) }
    filter.name = request.query("name")
    filter.submittedBy = request.query("user")
    filter.isOpen = request.query("open") == "true"
    filter.numbers = try request.query("ids").map { text in
      let numbers = text.split(separator: ",").map { Int64($0) }
      guard numbers.count <= 1000, !numbers.contains(nil) else {
        throw FederationError(.invalidArgument, "ids are at most 1,000 numbers, separated by commas")
      }
      return numbers.compactMap { $0 }
    }
    filter.since = try request.query("since").map { text in
      guard let time = WireTime(text) else {
        throw FederationError(
          .invalidArgument, "since is a moment like 2026-03-01T12:00:00Z, not \"\(text.prefix(40))\"")
      }
      return time.timestamp
    }
    let limit = try request.limit()
    let before = try request.query("continue").map { try Cursor.number($0) } ?? .max
    let rows = try await services.store.jobs(filter, before: before, limit: limit)
    var items: [FederationAPI.JobDocument] = []
    for row in rows { items.append(try await document(of: row, caller)) }
    return try .json(JobList(items: items, next: rows.count == limit ? rows.last.map { "\($0.number)" } : nil))
  }

  private func document(of row: JobRow, _ caller: Caller) async throws -> FederationAPI.JobDocument {
    let details = try JSONDecoder().decode(JobDetails.self, from: Data(row.details.utf8))
    return FederationAPI.JobDocument(
      number: row.number, project: row.project.text, name: row.name, submittedBy: row.submittedBy,
      submittedAt: row.submittedAt.wire, beginAt: row.beginAt?.wire, workflow: row.workflow, workflowUID: row.uid,
      dependency: row.dependency, details: details, tasks: try await tasks(of: row, details, caller))
  }

  private func tasks(of row: JobRow, _ details: JobDetails, _ caller: Caller) async throws -> [JobTaskDocument] {
    let indices: [Int32?] = details.indices.map { $0.map { Optional($0) } } ?? [nil]
    switch row.state {
    case .waiting, .submitting:
      let reason = row.isHeld ? PendingReason.held : row.reason.isEmpty ? PendingReason.priority : row.reason
      return indices.map {
        Self.leftOut($0, row)
          ?? JobTaskDocument(task: $0, phase: .pending, reason: reason, message: Self.sentence(row, reason))
      }
    case .cancelled, .refused:
      return indices.map {
        JobTaskDocument(
          task: $0, phase: .failed, reason: row.reason, message: row.message, finishedAt: row.endedAt?.wire,
          exitCode: nil,
          isCancelled: row.state == .cancelled)
      }
    case .submitted: break
    }
    guard let head = try await services.store.workflowHead(uid: row.uid) else {
      return indices.map {
        JobTaskDocument(
          task: $0, phase: .failed, reason: "None", message: "its workflow was deleted", isCancelled: true)
      }
    }
    let records = try await services.store.nodes(of: head.id, limit: TaskArray.countMax + 16).filter(\.type.isTask)
    let view = try await nodesView(head, records, withChildren: false)
    let code = try await waitingCode(head, records, view, caller)
    var found: [Int32?: JobTaskDocument] = [:]
    for record in records {
      let task = record.inputs.parameter(SlurmFrontDoor.JobDocument.taskParameter).flatMap { Int32($0) }
      found[details.indices == nil ? nil : task] = Self.task(record, view, head, task: task, code)
    }
    return indices.map { index in found[index] ?? Self.leftOut(index, row) ?? Self.missing(index, head) }
  }

  /// A task that was left out of its array, for `scancel` or `aftercorr`.
  private static func leftOut(_ index: Int32?, _ row: JobRow) -> JobTaskDocument? {
    guard let index, let why = row.leftOut[index] else { return nil }
    let message = why == JobRow.cancelledTask ? JobDesk.cancelReason : why
    return JobTaskDocument(task: index, phase: .failed, reason: "None", message: message, isCancelled: true)
  }

  private static func sentence(_ row: JobRow, _ reason: String) -> String {
    switch reason {
    case PendingReason.held: "it is held: `scontrol release \(row.number)` lets it start"
    case PendingReason.beginTime: "it begins at \(row.beginAt.map { RFC3339.format($0) } ?? "its time")"
    case PendingReason.dependency: "it waits for \(row.dependency)"
    case PendingReason.dependencyNever: "\(row.dependency) can never be met: `scancel \(row.number)`"
    default: "it is about to be submitted"
    }
  }

  /// One whose node was not made, or not yet.
  private static func missing(_ index: Int32?, _ head: WorkflowHead) -> JobTaskDocument {
    guard head.status.phase.isTerminal else {
      return JobTaskDocument(
        task: index, phase: .pending, reason: PendingReason.arrayLimit, message: "waiting for its turn")
    }
    return JobTaskDocument(
      task: index, phase: .failed, reason: "None", message: head.status.message,
      finishedAt: head.status.finishedAt?.wire,
      isCancelled: head.status.shutdown != nil)
  }

  /// In one word, why the first of the tasks waits that no cluster has taken yet.
  private func waitingCode(
    _ head: WorkflowHead, _ records: [NodeRecord], _ view: NodesView, _ caller: Caller
  ) async throws -> String {
    if head.status.isSuspended { return PendingReason.held }
    let waiting = records.first { record in
      record.phase == .pending && record.hasBegun && view.latest[record.id]?.phase.isTerminal ?? true
    }
    guard let waiting, !head.status.phase.isTerminal else { return PendingReason.arrayLimit }
    let reply = try? await services.commands.perform(
      .explain(head.reference, node: waiting.name), as: caller.principal, idempotency: nil)
    guard case .explanation(let text)? = reply,
      let table = try? JSONDecoder().decode(CandidateList.self, from: Data(text.utf8))
    else { return PendingReason.priority }
    return PendingReason.waiting(
      codes: (table.candidates ?? []).map(\.rejected), isUnplaceable: table.unplaceable ?? false)
  }

  private static func task(
    _ record: NodeRecord, _ view: NodesView, _ head: WorkflowHead, task: Int32?, _ code: String
  ) -> JobTaskDocument {
    let run = view.latest[record.id]
    let isPlaced = run.map { !$0.phase.isTerminal } ?? false
    var reason = ""
    let message = view.message(of: record)
    if record.phase == .pending {
      if let run, isPlaced {
        // The leader's sentence says why the cluster is closed after the run's phase.
        reason = PendingReason.placed(phase: run.phase.name, isAgentAway: message.contains("; "))
      } else {
        reason = record.hasBegun || head.status.isSuspended ? code : PendingReason.arrayLimit
      }
    }
    let isBad = record.phase.isTerminal && !record.phase.isFulfilledWell
    return JobTaskDocument(
      task: task, node: record.id.ordinal, phase: record.phase, reason: reason, message: message,
      cluster: run?.cluster.text, run: run?.id.hexadecimal, runPhase: run?.phase.name, startedAt: run?.startedAt?.wire,
      finishedAt: record.finishedAt?.wire, exitCode: record.exitCode, cause: isBad ? cause(of: run) : nil,
      isCancelled: isBad
        && (run?.phase == .cancelled || record.cancelReason != nil || record.message.hasPrefix(JobDesk.cancelReason)
          || head.status.shutdown != nil && run == nil),
      hasResults: record.outputs.artifacts[SlurmFrontDoor.JobDocument.resultsArtifact] != nil)
  }

  /// A run that is lost is so because its node, or all of its cluster, is.
  private static func cause(of run: RunRow?) -> RunEndCause? {
    run?.cause ?? (run?.phase == .lost ? .nodeFailure : nil)
  }

  // MARK: Changing

  private func job(_ context: APIContext) async throws -> JobRow {
    let project = ProjectName(try context.parameter("p"))
    let text = try context.parameter("j")
    guard let number = Int64(text), let job = try await services.store.job(number), job.project == project else {
      throw FederationError(.notFound, "there is no job \(text.prefix(20)) in project \(project)")
    }
    return job
  }

  private func cancelJob(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let body = try await request.document(JobCancelRequest.self, orElse: JobCancelRequest())
    let job = try await job(context)
    let answer = AcceptedDocument(name: "\(job.number)", project: job.project.text)
    if job.state == .waiting {
      if let tasks = try Self.wanted(body.tasks, of: job) {
        let cancelled = Dictionary(tasks.map { ($0, JobRow.cancelledTask) }, uniquingKeysWith: { first, _ in first })
        if try await services.store.leaveOut(
          cancelled, of: job.number, by: caller.user, address: caller.principal.address, at: .wallClock)
        {
          return try .json(answer)
        }
      } else if try await services.store.end(
        job.number, as: .cancelled, from: .waiting, reason: "None", message: JobDesk.cancelReason, by: caller.user,
        address: caller.principal.address, at: .wallClock)
      {
        return try .json(answer)
      }
    }
    guard let head = try await services.store.workflowHead(uid: job.uid) else {
      throw FederationError(
        .unavailable, "job \(job.number) is being submitted; ask again", retryAfter: .milliseconds(300))
    }
    guard !head.status.phase.isTerminal else {
      throw FederationError(.failedPrecondition, "Job/step already completing or completed")
    }
    var command = WorkflowCommand.terminate
    if let tasks = body.tasks {
      let wanted = Set(tasks.map { "\($0)" })
      let records = try await services.store.nodes(of: head.id, limit: TaskArray.countMax + 16).filter { record in
        record.type.isTask
          && record.inputs.parameter(SlurmFrontDoor.JobDocument.taskParameter).map { wanted.contains($0) } ?? false
      }
      guard !records.isEmpty else {
        throw FederationError(.notFound, "job \(job.number) has none of these tasks")
      }
      command = .cancelTasks(records.map(\.id), reason: JobDesk.cancelReason)
    }
    _ = try await services.commands.perform(
      .workflow(WorkflowReference(project: job.project, name: job.workflow), command), as: caller.principal,
      idempotency: nil)
    return try .json(answer)
  }

  /// Those of a waiting array's tasks that are to be left out; nil: nothing of it would be left.
  ///
  /// - Throws: `.notFound` for tasks that it does not have.
  private static func wanted(_ tasks: [Int32]?, of job: JobRow) throws -> [Int32]? {
    guard let tasks else { return nil }
    let details = try JSONDecoder().decode(JobDetails.self, from: Data(job.details.utf8))
    let wanted = Set(tasks).intersection(details.indices ?? [])
    guard !wanted.isEmpty else { throw FederationError(.notFound, "job \(job.number) has none of these tasks") }
    let rest = Set(details.indices ?? []).subtracting(wanted).subtracting(job.leftOut.keys)
    return rest.isEmpty ? nil : wanted.sorted()
  }

  private func holdJob(_ request: Request, _ context: APIContext, _ isHeld: Bool) async throws -> Response {
    let caller = try context.signedIn()
    let job = try await job(context)
    let answer = AcceptedDocument(name: "\(job.number)", project: job.project.text)
    if try await services.store.hold(
      job.number, isHeld, by: caller.user, address: caller.principal.address, at: .wallClock)
    {
      // It need not wait for the next look.
      if !isHeld, let released = try await services.store.job(job.number) {
        try? await jobDesk.advance(released, now: .wallClock)
      }
      return try .json(answer)
    }
    guard let head = try await services.store.workflowHead(uid: job.uid), !head.status.phase.isTerminal else {
      throw FederationError(.failedPrecondition, "Job/step already completing or completed")
    }
    guard head.status.isSuspended != isHeld else { return try .json(answer) }
    _ = try await services.commands.perform(
      .workflow(head.reference, isHeld ? .suspend : .resume), as: caller.principal, idempotency: nil)
    return try .json(answer)
  }
}
