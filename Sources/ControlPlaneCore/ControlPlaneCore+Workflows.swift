import DequeModule
import FederationModel
import HeapModule
import SchedulerCore
import WorkflowCore

extension ControlPlaneCore {
  // MARK: Restoring

  /// Rebuilds the machines, the live runs and the waiting tasks from what was durable.
  mutating func restore(_ state: DurableState) {
    for loaded in state.workflows {
      do { try insert(RestoredWorkflow(loaded)) } catch { quarantine(loaded.row, error) }
    }
    for entry in workflows.values.sorted(by: { $0.row.createdAt < $1.row.createdAt }) {
      noteSubmission(to: entry.row.project, at: entry.row.createdAt)
    }
    for row in state.runs {
      guard let entry = workflows[row.task.workflow] else { continue }
      let spec = try? entry.machine.taskSpec(for: row.task.node)
      var run = RunEntry(
        row: row, promisedBytes: .zero, isReplaceable: spec?.federation.onDisconnect == .replace,
        template: template(of: row.task),
        // Of a workflow that cannot say it any more, what was set aside for the run counts, as for one copy.
        priced: spec.map { $0.resources.priced(copies: $0.federation.gangSize) } ?? row.resources.priced(copies: 1))
      run.priorityClass = row.priorityClass ?? spec?.federation.priorityClass ?? .interruptible
      run.expectedSeconds = expectedSeconds(run.template, row.inputBytes, walltime: spec?.federation.walltime)
      runs[row.id] = run
      preemption.began(run.priorityClass)
      countIn(row, of: entry.row.project)
      charge(run, to: entry.row.project)
      clusters[row.cluster]?.add(run)
      restoreInputs(of: row.id, spec)
      workflows[row.task.workflow]!.tasks[row.task.node, default: TaskEntry(epoch: row.epoch)].run = row.id
    }
    // What was launched and has neither a live run nor an end waits for a placement, as it did before.
    for loaded in state.workflows {
      let id = loaded.row.id
      guard workflows[id] != nil else { continue }
      for record in loaded.nodes where record.type.isTask && record.hasBegun && !record.phase.isTerminal {
        let task = TaskID(workflow: id, node: record.id)
        if workflows[id]!.tasks[record.id]?.run != nil { continue }
        if record.cancelReason != nil {
          workflows[id]!.tasks[record.id] = TaskEntry(epoch: state.epochs[task] ?? 0)
          end(task, TaskOutcome(phase: .cancelled, message: record.cancelReason!))
        } else {
          enqueue(task, epoch: state.epochs[task] ?? 0)
        }
      }
      putInLine(id)
    }
  }

  /// One workflow that cannot be read back must not keep all others from running: it ends in Error, with the reason.
  private mutating func quarantine(_ row: WorkflowRow, _ error: any Error) {
    var row = row
    row.status.phase = .error
    row.status.message = (error as? FederationError)?.publicMessage ?? "\(error)"
    row.status.finishedAt = now
    output.quarantined.append(row)
    output.events.append(EventRow(at: now, workflow: row.id, reason: "Error", message: row.status.message))
  }

  @discardableResult
  mutating func insert(_ restored: RestoredWorkflow) throws -> WorkflowID {
    let row = restored.row
    workflows[row.id] = WorkflowEntry(row: row, machine: try restored.machine.get(), isRowChanged: false)
    workflows[row.id]!.machine.transientErrors = configuration.transientErrors
    workflowByName[WorkflowReference(project: row.project, name: row.name)] = row.id
    workflowByName[WorkflowReference(project: row.project, name: row.uid)] = row.id
    noteReading(by: row.id, true)
    scheduleWake(row.id)
    restoreLocks(of: row.id)
    return row.id
  }

  // MARK: Commands

  /// - Parameter source: a workflow that failed; what succeeded in it is not done again.
  mutating func submit(
    _ submission: Submission, _ principal: Principal, continuing source: WorkflowMachine? = nil
  ) throws -> Reply {
    let name = WorkflowReference(project: submission.project, name: submission.name)
    guard workflowByName[name] == nil else {
      throw FederationError(
        .alreadyExists,
        "workflow \(submission.name) exists already in project \(submission.project): take another name, or generateName, or "
          + "delete that one")
    }
    let identity = WorkflowIdentity(
      name: submission.name, uid: submission.uid, project: submission.project, createdAt: now)
    try admit(to: submission.project)
    try admitClasses(of: submission.definition)
    try admitSubmission(to: submission.project)
    let machine: WorkflowMachine
    do {
      let program = try submission.program.get()
      machine =
        try source.map { try WorkflowMachine(continuing: $0, program: program, identity: identity, at: now) }
        ?? WorkflowMachine(program: program, identity: identity)
    } catch let error as FederationError {
      throw error
    } catch {
      throw FederationError(.invalidArgument, "\(error)", cause: error)
    }
    lastWorkflow = WorkflowID(lastWorkflow.number + 1)
    let id = lastWorkflow
    let versions = try datasetVersions(for: submission.definition.mountedDatasets, in: submission.project)
    let row = WorkflowRow(
      id: id, uid: submission.uid, project: submission.project, name: submission.name,
      document: submission.definition.canonicalJSON,
      labels: machine.labels, status: machine.status, createdAt: now, createdBy: principal.user,
      datasetVersions: versions.isEmpty ? nil : versions)
    noteSubmission(to: submission.project, at: now)
    workflows[id] = WorkflowEntry(row: row, machine: machine, isRowChanged: true)
    workflows[id]!.machine.transientErrors = configuration.transientErrors
    workflowByName[name] = id
    workflowByName[WorkflowReference(project: submission.project, name: submission.uid)] = id
    noteReading(by: id, true)
    output.events.append(
      EventRow(at: now, workflow: id, reason: "Submitted", message: "submitted by \(principal.user)"))
    if let source {
      let isSame = source.definition.spec.arguments == submission.definition.spec.arguments
      handle(.retry(restartSuccessful: false, selector: nil, hasNewArguments: !isSame), in: id)
      holdOutputs(of: id)
    } else {
      handle(.start, in: id)
    }
    return .submitted(project: submission.project, name: submission.name, uid: submission.uid)
  }

  /// Applies a command to a workflow in memory.
  mutating func perform(_ command: WorkflowCommand, on id: WorkflowID, _ principal: Principal) throws -> Reply {
    let row = workflows[id]!.row
    switch command {
    case .suspend: handle(.suspend, in: id)
    case .resume:
      // As in Argo: without a selector the workflow goes on, and so does every suspend node in it.
      if !workflows[id]!.machine.status.isSuspended, let refusal = workflows[id]!.machine.refusalToResume(.all, [:]) {
        throw refusal
      }
      handle(.resume, in: id)
      handle(.resumeNodes(selector: .all, parameters: [:]), in: id)
    case .resumeNodes(let selector, let parameters):
      if let refusal = workflows[id]!.machine.refusalToResume(selector, parameters) { throw refusal }
      handle(.resumeNodes(selector: selector, parameters: parameters), in: id)
    case .set(let selector, let phase, let message, let parameters):
      if let refusal = workflows[id]!.machine.refusalToSet(selector, phase, parameters) { throw refusal }
      handle(.setNodes(selector: selector, phase: phase, message: message, parameters: parameters), in: id)
    case .expire: throw FederationError(.failedPrecondition, "workflow \(row.name) still runs")
    case .cancelTasks(let tasks, let reason): handle(.cancelTasks(tasks, reason: reason), in: id)
    case .stop(let message): handle(.stop(message: message), in: id)
    case .terminate: handle(.terminate, in: id)
    case .retry:
      throw FederationError(.failedPrecondition, "workflow \(row.name) still runs; only a finished one can be retried")
    case .delete:
      workflows[id]!.row.deletionRequested = true
      workflows[id]!.isRowChanged = true
      output.workflows.insert(id)
      handle(.terminate, in: id)
      note(principal, "workflow.delete", "\(row.project)/\(row.name)")
      return .deleted
    }
    note(principal, "workflow.\(command.verb)", "\(row.project)/\(row.name)")
    return .workflow(project: row.project, name: row.name, uid: row.uid)
  }

  /// Applies a command to a finished workflow that was loaded for it.
  mutating func perform(_ command: WorkflowCommand, onFinished restored: RestoredWorkflow, _ principal: Principal)
    throws
    -> Reply
  {
    let row = restored.row
    guard row.status.phase.isTerminal, row.generation >= generations[row.id] ?? 0 else {
      throw FederationError(
        .unavailable, "workflow \(row.name) has just changed; ask again", retryAfter: .milliseconds(200))
    }
    switch command {
    case .delete:
      forgetUnstored(of: row.id)
      output.deletedWorkflows.insert(row.id)
      note(principal, "workflow.delete", "\(row.project)/\(row.name)")
      return .deleted
    case .retry(let restartSuccessful, let selector, let parameters):
      if let refusal = try restored.machine.get().refusalToRetry(restartSuccessful, selector) { throw refusal }
      try admitSubmission(to: row.project)
      let id = try insert(restored)
      workflows[id]!.isRowChanged = true
      workflows[id]!.row.generation += 1
      workflows[id]!.row.deletionRequested = false
      generations[id] = workflows[id]!.row.generation
      noteSubmission(to: row.project, at: now)
      output.workflows.insert(id)
      output.events.append(EventRow(at: now, workflow: id, reason: "Retried", message: "retried by \(principal.user)"))
      handle(
        .retry(restartSuccessful: restartSuccessful, selector: selector, hasNewArguments: !parameters.isEmpty), in: id)
      note(principal, "workflow.retry", "\(row.project)/\(row.name)")
      return .workflow(project: row.project, name: row.name, uid: row.uid)
    case .expire:
      guard let moment = row.status.expiresAt, moment <= now else {
        throw FederationError(.failedPrecondition, "workflow \(row.name) is kept")
      }
      forgetUnstored(of: row.id)
      output.deletedWorkflows.insert(row.id)
      note(principal, "workflow.expire", "\(row.project)/\(row.name)")
      return .deleted
    case .suspend, .resume, .resumeNodes, .set, .cancelTasks, .stop, .terminate:
      throw FederationError(
        .failedPrecondition, "workflow \(row.name) has already finished (\(row.status.phase.rawValue))")
    }
  }

  // MARK: The machines

  /// Tells a machine what happened and does what it answers. Loops instead of recursing: an action may end a task at once, which
  /// is the next event.
  mutating func handle(_ event: WorkflowEvent, in id: WorkflowID) {
    var events = [event]
    while !events.isEmpty {
      let next = events.removeFirst()
      guard workflows[id] != nil else { return }
      output.workflows.insert(id)
      let actions = workflows[id]!.machine.handle(next, at: now, limit: max(0, sliceLeft))
      sliceLeft -= workflows[id]!.machine.stepsTaken
      for action in actions {
        switch action {
        case .launch(let node):
          if let failure = launch(TaskID(workflow: id, node: node)) { events.append(.taskEnded(node, failure)) }
        case .cancel(let node, let reason):
          if let ended = cancel(TaskID(workflow: id, node: node), reason: reason) {
            events.append(.taskEnded(node, ended))
          }
        case .acquire(let node): events.append(askForLocks(LockHolder(workflow: id, node: node)))
        case .release(let node): giveBackLocks(LockHolder(workflow: id, node: node))
        case .recall(let node, let maxAge): events.append(recall(node, maxAge: maxAge, in: id))
        case .remember(let node): remember(node, in: id)
        case .finished:
          finish(id)
        }
      }
    }
    scheduleWake(id)
    putInLine(id)
    if !lockGrants.isEmpty { passOnLocks() }
  }

  /// A workflow whose machine has more to do waits for its next slice.
  private mutating func putInLine(_ id: WorkflowID) {
    guard workflows[id]?.machine.isUnfinished == true, !workflows[id]!.isInLine else { return }
    workflows[id]!.isInLine = true
    unfinished.append(id)
  }

  /// Returns how the task ended when it cannot even be described.
  private mutating func launch(_ task: TaskID) -> TaskOutcome? {
    do {
      try wait(task, epoch: 0, first: false)
      return nil
    } catch {
      return TaskOutcome(phase: .error, message: (error as? FederationError)?.publicMessage ?? "\(error)")
    }
  }

  /// Puts a launched task among those that wait; a task that cannot be described ends in Error.
  mutating func enqueue(_ task: TaskID, epoch: Int32) {
    do { try wait(task, epoch: epoch, first: epoch > 0) } catch {
      workflows[task.workflow]?.tasks[task.node] = TaskEntry(epoch: epoch)
      end(task, TaskOutcome(phase: .error, message: (error as? FederationError)?.publicMessage ?? "\(error)"))
    }
  }

  mutating func wait(_ task: TaskID, epoch: Int32, first: Bool) throws {
    // Read in place: a copy of the entry would be copied again by the mutation below.
    var spec = try spec(of: task, for: nil)
    let before = workflows[task.workflow]!.tasks[task.node]
    var avoids = before?.avoids ?? []
    // A further attempt of a task goes to a cluster that has not had it, unless all have.
    let tried = workflows[task.workflow]!.machine.triedClusters(of: task.node)
    if !tried.isEmpty, clusters.keys.contains(where: { !tried.contains($0) && !spec.federation.exclude.contains($0) }) {
      avoids.formUnion(tried)
    }
    if spec.inputs.contains(where: \.isUnseen) {
      workflows[task.workflow]!.tasks[task.node] = TaskEntry(
        epoch: epoch, run: nil, group: nil, avoids: avoids, isLooking: true, isRemaking: before?.isRemaking ?? false)
      do {
        guard try lookUpInputs(of: task, spec) else { return }
        spec = try self.spec(of: task, for: nil)
      } catch {
        workflows[task.workflow]!.tasks[task.node] = before
        throw error
      }
    }
    // Where it has to be it is not kept away from.
    if let beside = spec.beside { avoids.remove(beside.cluster) }
    spec.federation.exclude += avoids.subtracting(spec.federation.exclude).sorted()
    var requirement = Requirement(template: template(of: task), spec: spec)
    requirement.member = workflows[task.workflow]!.row.createdBy
    requirement.isHeldWhole = workflows[task.workflow]!.machine[task.node].isHeldWhole
    let group = pending.add(
      task, requirement: requirement, artifacts: Self.artifacts(spec, requirement), first: first)
    backlog.came(requirement.hints.priorityClass)
    preemption.waits(
      group, requirement.hints.priorityClass,
      isGuaranteed: projects[requirement.project]?.limits.guarantee?.isEmpty == false)
    workflows[task.workflow]!.tasks[task.node] = TaskEntry(
      epoch: epoch, run: nil, group: group, avoids: avoids, isRemaking: before?.isRemaking ?? false, since: now)
    wantsPlacement = true
  }

  static func artifacts(_ spec: TaskSpec, _ requirement: Requirement) -> [DataKey: PendingTasks.Artifact] {
    guard !requirement.data.isEmpty else { return [:] }
    var artifacts: [DataKey: PendingTasks.Artifact] = [:]
    for case .stored(let artifact) in spec.inputs.map(\.source) {
      artifacts[DataKey(sha256: artifact.sha256)] = PendingTasks.Artifact(
        size: artifact.size, producedOn: artifact.producedOn, project: requirement.project, repositoryKey: artifact.key)
    }
    return artifacts
  }

  /// Returns how the task ended when it had no run; otherwise its run is asked to end, and answers later.
  private mutating func cancel(_ task: TaskID, reason: String) -> TaskOutcome? {
    guard let entry = workflows[task.workflow]?.tasks[task.node] else { return nil }
    guard let run = entry.run else {
      leaveQueue(task)
      workflows[task.workflow]!.tasks[task.node] = nil
      return TaskOutcome(phase: .cancelled, message: reason)
    }
    guard runs[run]!.row.cancelReason == nil else { return nil }
    runs[run]!.row.cancelReason = reason
    output.runs[run] = runs[run]!.row
    let cluster = runs[run]!.row.cluster
    if let session = clusters[cluster]?.session, !clusters[cluster]!.row.isAdopting {
      output.add(.send(cluster, session, .cancel([run], reason: reason)))
    }
    return nil
  }

  mutating func leaveQueue(_ task: TaskID) {
    guard let group = workflows[task.workflow]?.tasks[task.node]?.group else { return }
    workflows[task.workflow]!.tasks[task.node]!.group = nil
    if let requirement = pending.requirement(of: group) { backlog.left(requirement.hints.priorityClass) }
    pending.leave(group)
  }

  /// A task is over: its machine hears of it.
  mutating func end(_ task: TaskID, _ outcome: TaskOutcome) {
    if remade(task, outcome) { return }
    guard workflows[task.workflow]?.tasks.removeValue(forKey: task.node) != nil else { return }
    handle(.taskEnded(task.node, outcome), in: task.workflow)
  }

  private mutating func finish(_ id: WorkflowID) {
    let entry = workflows[id]!
    output.events.append(
      EventRow(
        at: now, workflow: id, reason: entry.machine.status.phase.rawValue, message: entry.machine.status.message))
    output.retired.insert(id)
    if let moment = entry.machine.status.expiresAt {
      expiries.insert(
        Expiry(at: moment, workflow: WorkflowReference(project: entry.row.project, name: entry.row.name)))
    }
  }

  /// Deletes workflows whose time is up (`ttlStrategy`), some at a time: each has to be read first.
  mutating func expireWorkflows() {
    for _ in 0..<Self.expiriesPerTick {
      guard let next = expiries.min, next.at <= now else { return }
      expiries.removeMin()
      output.add(
        .load(next.workflow, .workflow(next.workflow, .expire), Self.noRequest, Principal(user: "ttl"), nil))
    }
  }

  private static let expiriesPerTick = 100
  /// Nobody waits for the answer.
  private static let noRequest = RequestID(0)

  /// - Precondition: the task's workflow is in memory.
  func template(of task: TaskID) -> TemplateKey {
    let entry = workflows[task.workflow]!
    return TemplateKey(
      project: entry.row.project, name: entry.machine[task.node].templateName,
      program: entry.machine.program(of: task.node))
  }

  mutating func scheduleWake(_ id: WorkflowID) {
    guard let wake = workflows[id]?.machine.nextWake else { return }
    if let scheduled = workflows[id]!.scheduledWake, scheduled <= wake { return }
    workflows[id]!.scheduledWake = wake
    wakes.insert(Wake(at: wake, workflow: id))
  }

  // MARK: Rows

  /// Writes what the machines changed, and lets go of the workflows that are over.
  mutating func collectWorkflows(into delta: inout DurableDelta) {
    delta.workflows = output.quarantined
    for id in output.workflows.sorted() {
      guard workflows[id] != nil else { continue }
      let changes = workflows[id]!.machine.takeChanges()
      workflows[id]!.row.status = workflows[id]!.machine.status
      if output.deletedWorkflows.contains(id) { continue }
      // The document is part of the row, and large: it is not sent again with every node.
      if changes.status || workflows[id]!.isRowChanged {
        workflows[id]!.isRowChanged = false
        delta.workflows.append(workflows[id]!.row)
      }
      for node in changes.nodes { delta.nodes.append(NodeRow(workflow: id, record: workflows[id]!.machine[node])) }
    }
    for id in output.retired.sorted() {
      guard let entry = workflows[id], entry.machine.status.phase.isTerminal else { continue }
      // One that is deleted with its end has nobody who would read them.
      if !entry.row.deletionRequested { storeOutputs(of: id) }
      if entry.machine.collectsOnCompletion, !entry.row.deletionRequested {
        forgetUnstored(of: id) { $0.collection == .onWorkflowCompletion }
        delta.collectedWorkflows.append(id)
      }
      endRemaking(of: id)
      forgetRemade(of: id)
      noteReading(by: id, false)
      workflows[id] = nil
      retired.append(entry)
      workflowByName[WorkflowReference(project: entry.row.project, name: entry.row.name)] = nil
      workflowByName[WorkflowReference(project: entry.row.project, name: entry.row.uid)] = nil
      if entry.row.deletionRequested {
        forgetUnstored(of: id)
        output.deletedWorkflows.insert(id)
        delta.workflows.removeAll { $0.id == id }
        delta.nodes.removeAll { $0.workflow == id }
      }
    }
  }
}

extension WorkflowCommand {
  /// For the audit log.
  var verb: String {
    switch self {
    case .suspend: "suspend"
    case .resume: "resume"
    case .resumeNodes: "resumeNodes"
    case .cancelTasks: "cancelTasks"
    case .stop: "stop"
    case .terminate: "terminate"
    case .set: "set"
    case .expire: "expire"
    case .retry: "retry"
    case .delete: "delete"
    }
  }
}
