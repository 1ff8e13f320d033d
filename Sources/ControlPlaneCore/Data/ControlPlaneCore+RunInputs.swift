import FederationModel
import HeapModule
import WorkflowCore

/// What runs read, and what of the data state is durable.
extension ControlPlaneCore {
  /// A task's spec with its data sets found, and for a cluster with the places where it can have its inputs.
  ///
  /// - Throws: `FederationError` when a tag cannot be resolved, or a data set is gone; the task then ends in Error.
  func spec(of task: TaskID, for cluster: ClusterName?) throws -> TaskSpec {
    // Read in place: a copy of the entry would be copied again by its next mutation.
    var spec = try workflows[task.workflow]!.machine.taskSpec(for: task.node)
    if let mounts = spec.federation.datasets {
      spec.datasets = try mounted(mounts, by: task.workflow, for: cluster)
    }
    if !data.remade.isEmpty, let project = workflows[task.workflow]?.row.project {
      for index in spec.inputs.indices {
        guard case .stored(let old) = spec.inputs[index].source,
          let new = data.remade[RepositoryName(project: project, key: old.key)]
        else { continue }
        spec.inputs[index].source = .stored(new)
      }
    }
    guard let cluster else { return spec }
    for index in spec.inputs.indices {
      if case .foreign(var foreign) = spec.inputs[index].source, let key = foreign.object?.key {
        foreign.object!.sources = sources(of: key, for: cluster)
        spec.inputs[index].source = .foreign(foreign)
      }
      guard case .stored(var artifact) = spec.inputs[index].source, artifact.size >= Self.followedSize else { continue }
      artifact.sources = sources(of: DataKey(sha256: artifact.sha256), for: cluster, repositoryKey: artifact.key)
      spec.inputs[index].source = .stored(artifact)
    }
    if mayStayUnstored(spec, on: cluster) {
      for index in spec.outputArtifacts.indices {
        // What outlives its workflow must be in the repository when the workflow's rows go.
        let name = spec.outputArtifacts[index].name
        let collection = workflows[task.workflow]!.machine.collection(of: name, madeBy: task.node)
        // A checkpoint is read by the task that makes it, which cannot make it anew.
        let isCheckpoint = name == spec.federation.onPreempt?.checkpoint
        spec.outputArtifacts[index].mayStayUnstored = collection == .never || isCheckpoint ? nil : true
      }
    }
    return spec
  }

  /// A run was bound: what it lacks is on its way from now on, and counts on its link.
  mutating func awaitInputs(of id: RunID, _ spec: TaskSpec) {
    let run = runs[id]!
    let inputs = followedInputs(of: spec)
    guard !inputs.isEmpty, cache(of: run.row.cluster) != nil,
      let project = workflows[run.row.task.workflow]?.row.project
    else { return }
    runs[id]!.inputs = inputs
    var keys: [DataKey: String] = [:]
    for case .stored(let artifact) in spec.inputs.map(\.source) {
      keys[DataKey(sha256: artifact.sha256)] = artifact.key
    }
    let cache = cache(of: run.row.cluster)!
    // All of them first: room for one of them must not be made of another.
    for key in inputs.keys.sorted() {
      used(key)
      data.pin(ReplicaName(key: key, cache: cache), true)
      let moment = now
      _ = data.inBook(cache) { $0.used(key, at: moment) }
      staleValues.insert(key)
    }
    for (key, size) in inputs.sorted(by: { $0.key < $1.key }) {
      guard want(key, size, of: project, on: run.row.cluster, .run, repositoryKey: keys[key], for: id) != nil else {
        continue
      }
      // What is followed counts by its transfer, and not a second time by its run.
      let own = min(runs[id]!.promisedBytes, size)
      clusters[run.row.cluster]!.backlogIn -= own
      runs[id]!.promisedBytes = runs[id]!.promisedBytes - own
    }
  }

  /// After a restart of the control plane: runs in staging wait for what they waited for.
  mutating func restoreInputs(of id: RunID, _ spec: TaskSpec?) {
    guard var spec, let run = runs[id] else { return }
    spec.datasets = spec.federation.datasets.flatMap { try? mounted($0, by: run.row.task.workflow, for: nil) }
    let inputs = followedInputs(of: spec)
    guard let cache = cache(of: run.row.cluster) else { return }
    runs[id]!.inputs = inputs
    for key in inputs.keys { data.pin(ReplicaName(key: key, cache: cache), true) }
    guard run.row.phase.rawValue <= RunPhase.staging.rawValue else { return }
    for key in inputs.keys {
      if let transfer = data.inward[ReplicaName(key: key, cache: cache)] {
        data.change(transfer) { _ = $0.waiters.insert(id) }
      }
    }
  }

  mutating func restoreData(_ state: DurableState) {
    for row in state.datasets {
      if row.removedAt == nil {
        data.datasets[row.reference] = DatasetEntry(row: row)
        if row.reference.isForeign, let origin = row.spec.origin {
          data.foreign[ForeignName(project: row.spec.project, origin: origin)] = row.reference
        }
      } else {
        data.keepNumbers(of: row)
      }
    }
    for row in state.datasetVersions {
      data.datasets[row.dataset]?.versions[row.number] = row
      if row.phase == .indexing { data.unlisted.insert(row.key) }
      expect(row)
    }
    for row in state.replicas {
      data.insert(row)
      staleValues.insert(row.key)
    }
    for row in state.unstoredArtifacts {
      let key = DataKey(sha256: row.stored.sha256)
      data.setUnstored(key, (data.unstored[key] ?? []) + [row])
      if let moment = row.storeBy { storeDeadlines.insert(StoreDeadline(at: moment, key: key)) }
    }
    for key in data.unstored.keys where isLost(key) { data.lost.insert(key) }
    data.newlyLost = data.lost
    for row in state.transfers {
      let isInward = !row.cause.isOutward
      data.add(TransferEntry(row: row), into: isInward ? cache(of: row.cluster) : nil)
      if isInward {
        clusters[row.cluster]?.backlogIn += data.transfers[row.id]!.remaining
      }
    }
  }

  func collectData(into delta: inout DurableDelta) {
    delta.datasets = output.datasets.values.sorted { $0.reference < $1.reference }
    delta.datasetVersions = output.datasetVersions.values.sorted { $0.key < $1.key }
    delta.replicas = output.replicas.values.sorted { ($0.key, $0.cache) < ($1.key, $1.cache) }
    delta.transfers = output.transfers.values.sorted { $0.id < $1.id }
    delta.deletedDatasets = output.deletedDatasets.filter { output.datasets[$0] == nil }.sorted()
    delta.deletedVersions = output.deletedVersions.filter { output.datasetVersions[$0] == nil }.sorted()
    delta.deletedReplicas = output.deletedReplicas.filter { output.replicas[$0] == nil }.sorted()
  }
}
