import FederationModel
import SchedulerCore
import WorkflowCore

/// An output whose last replica is lost before it was copied into the repository: its producer runs again when a waiting task reads
/// it (DESIGN section 7).
///
/// The producer's node stays as it ended; only its run is repeated, under the next epoch. What it makes anew belongs under the same
/// key of the repository, and takes the place of the old bytes in whatever has not begun.
extension ControlPlaneCore {
  /// Whether bytes were in caches alone, and no cache has them any more.
  func isLost(_ key: DataKey) -> Bool { data.unstored[key] != nil && data.replicas[key] == nil }

  /// Makes anew what waiting tasks read and nobody has; those who read what cannot be made anew end. Runs that wait for it in staging
  /// give up and wait again.
  mutating func recoverInputs() {
    data.lost = data.lost.filter { isLost($0) }
    let fresh = data.newlyLost.intersection(data.lost)
    data.newlyLost = []
    if !fresh.isEmpty {
      let stranded = runs.values.filter {
        $0.row.phase.rawValue <= RunPhase.staging.rawValue && !fresh.isDisjoint(with: $0.inputs.keys)
      }
      for run in stranded.sorted(by: { $0.row.id < $1.row.id }) {
        rebind(run.row.id, because: "an input was lost before it could be copied")
      }
    }
    for key in data.lost.filter({ pending.readers(of: $0) > 0 }).sorted().prefix(configuration.sliceLimit) {
      for row in data.unstored[key] ?? [] { remake(row) }
    }
  }

  private mutating func remake(_ row: ArtifactRow) {
    let task = row.task
    guard let entry = workflows[task.workflow], entry.tasks[task.node] == nil else { return }
    let attempts = data.remakings[task, default: 0] + 1
    let isAllowed = entry.machine.recompute(of: task.node) == .always
    guard isAllowed, attempts <= configuration.remakeLimit else {
      let why = isAllowed ? "it was made \(attempts) times" : "its template says recompute: never"
      return loseInput(row, "\(why); it was last on \(row.stored.producedOn?.text ?? "no cluster")")
    }
    data.remakings[task] = attempts
    output.events.append(
      EventRow(
        at: now, workflow: task.workflow, node: task.node, cluster: row.stored.producedOn, reason: "OutputLost",
        message:
          "\(row.name) was on \(row.stored.producedOn?.text ?? "a cluster") alone and is lost; its task runs again"))
    do {
      try wait(task, epoch: entry.epochs[task.node] ?? 1, first: true)
      workflows[task.workflow]!.tasks[task.node]!.isRemaking = true
    } catch {
      loseInput(row, (error as? FederationError)?.publicMessage ?? "\(error)")
    }
  }

  /// A producer has run again. Returns false for a run of any other kind.
  mutating func remade(_ task: TaskID, _ outcome: TaskOutcome) -> Bool {
    guard let entry = workflows[task.workflow], entry.tasks[task.node]?.isRemaking == true else { return false }
    workflows[task.workflow]!.tasks[task.node] = nil
    let old = data.unstored.values.flatMap { $0 }.filter {
      $0.task == task && isLost(DataKey(sha256: $0.stored.sha256))
    }
    for row in old.sorted(by: { $0.name < $1.name }) {
      if outcome.phase == .succeeded, let stored = outcome.outputs.artifacts[row.name] {
        dropUnstored(row)
        substitute(stored, for: row)
      } else {
        loseInput(row, "its task ended \(outcome.phase.name) when it ran again: \(outcome.message)")
      }
    }
    return true
  }

  /// The new bytes are read instead of the old ones by all that has not begun.
  private mutating func substitute(_ stored: StoredArtifact, for row: ArtifactRow) {
    data.remade[RepositoryName(project: row.project, key: row.stored.key)] = stored
    requeueReaders(of: DataKey(sha256: row.stored.sha256))
  }

  /// Nobody can make the bytes again: whoever waits for them ends.
  private mutating func loseInput(_ row: ArtifactRow, _ why: String) {
    let key = DataKey(sha256: row.stored.sha256)
    dropUnstored(row)
    for task in readers(of: key) {
      leaveQueue(task)
      end(task, TaskOutcome(phase: .error, message: "input lost: \(row.name) of \(row.stored.key): \(why)"))
    }
  }

  private mutating func dropUnstored(_ row: ArtifactRow) {
    let key = DataKey(sha256: row.stored.sha256)
    data.setUnstored(key, (data.unstored[key] ?? []).filter { $0.task != row.task || $0.name != row.name })
  }

  private mutating func requeueReaders(of key: DataKey) {
    for task in readers(of: key) {
      guard let entry = workflows[task.workflow]?.tasks[task.node] else { continue }
      leaveQueue(task)
      enqueue(task, epoch: entry.epoch)
    }
  }

  /// Tasks that wait and read a key. Rare enough to look through all that wait.
  private func readers(of key: DataKey) -> [TaskID] {
    pending.groups.keys.sorted().filter { pending.groups[$0]!.requirement.data.contains(key) }.flatMap { group in
      pending.groups[group]!.queue.filter { workflows[$0.workflow]?.tasks[$0.node]?.group == group }
    }
  }
}

extension ControlPlaneCore {
  /// After the workflows: transfers of clusters that are gone, and those that were begun for runs which do not wait for them any more.
  mutating func dropOrphanedTransfers() {
    for id in data.transfers.keys.sorted() where clusters[data.transfers[id]!.row.cluster] == nil {
      close(id, .cancelled, message: "its cluster was forgotten")
    }
    for id in data.transfers.keys.sorted() where data.transfers[id]!.row.cause == .run {
      guard data.transfers[id]!.waiters.isEmpty else { continue }
      close(id, .cancelled, message: "the runs that needed it have ended")
    }
  }

  /// After the workflows: what of them took the place of lost outputs, and which of their tasks were running again.
  mutating func restoreRemade(_ state: DurableState) {
    for row in state.remadeArtifacts {
      data.remade[RepositoryName(project: row.project, key: row.stored.key)] = row.stored
      data.remakings[row.task, default: 0] += 1
    }
    for row in state.unstoredArtifacts where workflows[row.task.workflow] != nil {
      workflows[row.task.workflow]!.epochs[row.task.node] = state.epochs[row.task]
    }
    for run in state.runs where workflows[run.task.workflow]?.machine[run.task.node].phase.isTerminal == true {
      workflows[run.task.workflow]!.tasks[run.task.node]?.isRemaking = true
    }
  }

  /// A workflow is over while tasks of it run again: nobody waits for what they make.
  mutating func endRemaking(of id: WorkflowID) {
    for node in workflows[id]!.tasks.keys.sorted() {
      leaveQueue(TaskID(workflow: id, node: node))
      if let run = workflows[id]!.tasks[node]?.run { rebind(run, because: "its workflow is over") }
    }
  }

  /// A workflow is over: nobody reads its outputs by what they were first.
  mutating func forgetRemade(of id: WorkflowID) {
    guard !data.remakings.isEmpty else { return }
    data.remakings = data.remakings.filter { $0.key.workflow != id }
    guard data.remakings.isEmpty else { return }
    data.remade = [:]
  }
}
