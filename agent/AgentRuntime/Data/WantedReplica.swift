internal import Execution
internal import FederationModel
internal import Synchronization

/// Bytes that somebody wants in the cache, and where they can be had.
struct WantedReplica: Sendable, Hashable {
  var key: DataKey
  var project: ProjectName
  var size: Int64
  var files: Int64 = 1
  /// Nil for one file.
  var manifest: StoredArtifact?
  /// In order of preference.
  var sources: [DataSource]

  init(_ object: DataObject) {
    key = object.key
    project = object.project
    size = object.size.bytes
    files = object.files
    manifest = object.manifest
    sources = object.sources
  }

  init(_ artifact: StoredArtifact, of project: ProjectName) {
    key = DataKey(sha256: artifact.sha256)
    self.project = project
    size = artifact.size.bytes
    sources = artifact.sources ?? []
    // The control plane names it last; without a list, it is all there is.
    if sources.isEmpty { sources = [.repository(key: artifact.key)] }
  }
}

extension RunRequest {
  /// Whether anything is brought here before it starts.
  var isStaged: Bool { spec.transformations == nil && hasInputs }
  private var hasInputs: Bool { spec.inputs.contains { $0.source != .absent } || spec.datasets?.isEmpty == false }

  /// The same run, with the data sets that it mounts where the cache has them.
  func mounting(from cache: DataCache) -> RunRequest {
    guard let datasets = spec.datasets, !datasets.isEmpty else { return self }
    var request = self
    request.inputs = datasets.map {
      StagedInput(
        hostPath: cache.layout.mountSource($0.object.key), path: $0.mountPath,
        claim: cache.keeper?.place(of: $0.object.key)?.claim)
    }
    return request
  }

  /// Everything that must be in the cache before the run starts.
  var wantedReplicas: [WantedReplica] {
    var wanted: [WantedReplica] = []
    // Names of files alone are asked for.
    for input in spec.transformations == nil ? spec.inputs : [] {
      switch input.source {
      case .stored(let artifact): wanted.append(WantedReplica(artifact, of: project))
      case .foreign(let artifact): if let object = artifact.object { wanted.append(WantedReplica(object)) }
      case .raw, .absent: continue
      }
    }
    return wanted + (spec.datasets ?? []).map { WantedReplica($0.object) }
  }
}

/// For whom the cache has, or is to get, a replica.
enum ReplicaHolder: Hashable, Sendable {
  case run(RunID)
  /// The control plane's order.
  case order(DataKey)

  var run: RunID? { if case .run(let id) = self { id } else { nil } }
}

/// What one transfer has done so far; read while it goes on.
final class TransferGauge: Sendable {
  struct Reading: Sendable, Hashable {
    var bytesDone: Int64 = 0
    /// Of them, those that came over a link now: the rest was here from an earlier attempt.
    var bytesMoved: Int64 = 0
    /// Of `bytesMoved`, by the clusters from whose exports they came.
    var bytesFromClusters: [ClusterName: Int64] = [:]
    var source: DataSource?
    var waiting = ""
  }
  private let state = Mutex(Reading())
  private let isCancelled = Atomic(false)
  /// Whether `reached` was ever told.
  private let isReached = Atomic(false)

  var reading: Reading { state.withLock { $0 } }
  func moved(_ bytes: Int) {
    state.withLock {
      $0.bytesDone += Int64(bytes)
      $0.bytesMoved += Int64(bytes)
      if case .export(let cluster, _)? = $0.source { $0.bytesFromClusters[cluster, default: 0] += Int64(bytes) }
    }
  }
  /// Somebody else moves them, and says how many are there: what was there at first did not move now.
  func reached(_ bytes: Int64) {
    state.withLock { state in
      if isReached.exchange(true, ordering: .relaxed) { state.bytesMoved += max(0, bytes - state.bytesDone) }
      state.bytesDone = max(state.bytesDone, bytes)
    }
  }
  func found(_ bytes: Int64) { state.withLock { $0.bytesDone += bytes } }
  /// Another source begins, or the same one again: what is there is counted anew.
  func begin(_ source: DataSource) {
    state.withLock {
      $0.bytesDone = 0
      $0.source = source
    }
  }
  /// Whoever wanted it does not any more: asked by those who block.
  func cancel() { isCancelled.store(true, ordering: .relaxed) }
  func checkCancellation() throws { if isCancelled.load(ordering: .relaxed) { throw CancellationError() } }
  func wait(for reason: String) { state.withLock { $0.waiting = reason } }
}
