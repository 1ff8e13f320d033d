import FederationModel
import WorkflowCore

/// Caches of outputs, across the workflows of a project (ADR 0024, 0030).
extension ControlPlaneCore {
  /// What a memoized node is told. An entry that the repository need not hold any longer (`memoAge`) is none.
  mutating func recall(_ node: NodeID, maxAge: Duration?, in id: WorkflowID) -> WorkflowEvent {
    let entry = workflows[id]!
    guard let memo = entry.machine[node].gate?.memo,
      var row = memos[MemoName(project: entry.row.project, cache: memo.cache, key: memo.key)],
      maxAge.map({ now - row.createdAt <= $0 }) ?? true,
      row.outputs.artifacts.isEmpty || configuration.memoAge.map({ now - row.hitAt <= $0 }) ?? true
    else { return .recalled(node, outputs: nil) }
    row.hitAt = now
    keep(row)
    hold(row.outputs, for: TaskID(workflow: id, node: node))
    return .recalled(node, outputs: row.outputs)
  }

  /// What a client has of earlier workflows, to be found by memoized nodes of later ones.
  mutating func keepMemos(
    of cache: String, _ entries: [String: TaskOutputs], _ project: ProjectName, _ principal: Principal
  ) throws {
    guard entries.count <= 1000, entries.values.allSatisfy({ $0.textBytes <= MemoBook.bytesMax }) else {
      throw FederationError(
        .invalidArgument, "a cache takes 1000 entries at once, each of at most \(MemoBook.bytesMax >> 10) KiB")
    }
    for (key, outputs) in entries.sorted(by: { $0.key < $1.key }) {
      keep(
        MemoRow(
          name: MemoName(project: project, cache: cache, key: key), outputs: outputs, node: "", workflow: "",
          createdAt: now, hitAt: now))
    }
    note(principal, "memo.keep", "\(project)/\(cache)", "\(entries.count) entries")
  }

  mutating func remember(_ node: NodeID, in id: WorkflowID) {
    let entry = workflows[id]!
    let record = entry.machine[node]
    guard let memo = record.gate?.memo else { return }
    var refusal: String?
    if record.outputs.textBytes > MemoBook.bytesMax {
      refusal = "the outputs have more than \(MemoBook.bytesMax >> 10) KiB"
    } else if !record.outputs.artifacts.isEmpty, entry.machine.collectsOnCompletion {
      refusal = "artifacts of this workflow go with its end (artifactGC: OnWorkflowCompletion)"
    }
    if let refusal {
      output.events.append(
        EventRow(at: now, workflow: id, node: node, reason: "NotMemoized", message: refusal))
      return
    }
    keep(
      MemoRow(
        name: MemoName(project: entry.row.project, cache: memo.cache, key: memo.key), outputs: record.outputs,
        node: ArgoNames.nodeID(workflow: entry.row.name, node: record.name), workflow: entry.row.name, createdAt: now,
        hitAt: now))
  }

  private mutating func keep(_ row: MemoRow) {
    output.memos[row.name] = row
    output.forgottenMemos.remove(row.name)
    for gone in memos.keep(row) {
      output.memos[gone] = nil
      output.forgottenMemos.insert(gone)
    }
  }

  // MARK: Outputs of others

  /// Outputs that another workflow made are a node's own as well: the repository keeps them for it, whatever becomes of the other one.
  private mutating func hold(_ outputs: TaskOutputs, for task: TaskID) {
    guard let workflow = workflows[task.workflow]?.row else { return }
    // What lies elsewhere is its owner's, and of a key alone a client has told nothing that the repository could keep.
    for (name, artifact) in outputs.artifacts.sorted(by: { $0.key < $1.key })
    where artifact.origin == nil && !artifact.sha256.isEmpty {
      var row = ArtifactRow(
        task: task, name: name, workflowUID: workflow.uid, project: workflow.project, stored: artifact, createdAt: now)
      // The record may say what was so when its task ended.
      let isUnstored = unstored(artifact.key, in: workflow.project) != nil
      row.stored.isUnstored = isUnstored ? true : nil
      if isUnstored { row.storeBy = now }
      output.artifacts.append(row)
      guard isUnstored else { continue }
      keepUnstored(row)
      store(DataKey(sha256: row.stored.sha256))
    }
  }

  /// Of a workflow that goes on where another one had come to: what that one made.
  mutating func holdOutputs(of id: WorkflowID) {
    guard let machine = workflows[id]?.machine else { return }
    for ordinal in 0..<Int32(machine.nodeCount) {
      let record = machine[NodeID(ordinal)]
      guard !record.isSuperseded, record.phase == .succeeded, !record.outputs.artifacts.isEmpty else { continue }
      hold(record.outputs, for: TaskID(workflow: id, node: record.id))
    }
  }
}

extension TaskOutputs {
  /// About what it takes as text.
  fileprivate var textBytes: Int {
    var sum = result?.utf8.count ?? 0
    for (name, value) in parameters { sum += name.utf8.count + value.utf8.count }
    return sum + artifacts.count * 500
  }
}
