public import FederationModel
public import KubernetesAPI
public import Logging

/// Has Fluid keep data sets, and reads back what it keeps.
///
/// Two watches for each namespace (Datasets, DataLoads) and nothing asked for each data set. Every object that is made has a name that
/// follows from the replica's key, and our mark; what has that name without it is somebody else's and never touched (I7).
public actor FluidDatasets {
  /// What is under way.
  public struct Progress: Hashable, Sendable {
    /// Bytes of the version that Fluid has.
    public var bytes: Int64
    /// Why nothing moves; empty when it does.
    public var waiting: String
  }

  private struct Name: Hashable {
    var namespace: String
    var name: String
  }

  private nonisolated let configuration: FluidConfiguration
  private nonisolated let settings: KubernetesExecutorConfiguration
  private nonisolated let client: KubernetesClient
  private nonisolated let mark: String
  private nonisolated let logger: Logger
  private let settlingTime: Duration
  private var datasets: [Name: FluidDatasetFacts] = [:]
  private var loads: [Name: FluidLoadFacts] = [:]
  private var synchronized: Set<String> = []
  private var silent: [String: String] = [:]
  private var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
  private var lastWaiter: UInt64 = 0
  /// Replicas that count as here, with their sizes.
  private var kept: [DataKey: ByteCount] = [:]
  /// Those that somebody wants now.
  private var wanted: [DataKey: Int] = [:]
  /// What is to be deleted, and could not be yet.
  private var leaving: Set<DataKey> = []
  /// UIDs of Datasets of ours that have their runtime.
  private var ensured: Set<String> = []
  /// Since when objects of ours are neither kept nor wanted.
  private var orphans: [DataKey: ContinuousClock.Instant] = [:]
  private var loops: [Task<Void, Never>] = []
  private nonisolated let losing: AsyncStream<DataKey>.Continuation
  /// Replicas that Fluid does not have whole any more; for one listener.
  public nonisolated let losses: AsyncStream<DataKey>

  private static let retryPause = Duration.seconds(30)
  /// Without being wanted or kept, an object of ours is deleted: its agent has died in between.
  private static let orphanAge = Duration.seconds(24 * 3600)

  /// - Parameter settlingTime: how long after the end of a DataLoad the state of its Dataset is waited for.
  public init?(
    configuration: KubernetesExecutorConfiguration, client: KubernetesClient, settlingTime: Duration = .seconds(120),
    logger: Logger
  ) {
    guard let fluid = configuration.fluid else { return nil }
    self.configuration = fluid
    settings = configuration
    self.client = client
    self.logger = logger
    self.settlingTime = settlingTime
    mark = configuration.mark
    (losses, losing) = AsyncStream.makeStream(bufferingPolicy: .unbounded)
  }

  /// Where Fluid keeps a replica; nil: it does not.
  public nonisolated func place(of key: DataKey) -> FluidPlace? { settings.fluidPlace(of: key) }

  /// Of Fluid's caches in sum.
  public nonisolated var capacity: ByteCount { configuration.capacity }

  /// What is kept, in sum.
  public var keptBytes: ByteCount { ByteCount(kept.values.reduce(0) { $0 + $1.bytes }) }

  /// Why Fluid's objects are not known; for people.
  public var notices: [String] {
    silent.sorted { $0.key < $1.key }.map { "Fluid's \($0.key) do not answer: \($0.value)" }
  }

  // MARK: Watching

  public func start() {
    guard loops.isEmpty else { return }
    for namespace in settings.allNamespaces { watch(namespace) }
    loops.append(
      Task { [weak self] in
        while (try? await Task.sleep(for: Self.retryPause)) != nil { await self?.clear() }
      })
  }

  public func close() {
    for loop in loops { loop.cancel() }
    loops = []
    losing.finish()
    changed()
  }

  private func watch(_ namespace: String) {
    let mark = mark
    func path(_ resource: String) -> String {
      KubernetesPath.collection(FluidConfiguration.version, resource, namespace: namespace)
    }
    let datasets = Reflector(client: client, path: path("datasets")) { FluidDatasetFacts($0, mark: mark) }
    let loads = Reflector(client: client, path: path("dataloads")) { FluidLoadFacts($0, mark: mark) }
    loops += [
      Task { [weak self] in
        for await change in datasets.changes() { await self?.saw(change, in: namespace) }
      },
      Task { [weak self] in
        for await change in loads.changes() { await self?.saw(change, in: namespace) }
      },
    ]
  }

  private func saw(_ change: Reflector<FluidDatasetFacts>.Change, in namespace: String) {
    Self.take(change, "\(namespace)/datasets", in: namespace, &datasets, &synchronized, &silent) {
      Name(namespace: $0.namespace, name: $0.name)
    }
    changed()
    lookForLosses()
  }

  private func saw(_ change: Reflector<FluidLoadFacts>.Change, in namespace: String) {
    Self.take(change, "\(namespace)/dataloads", in: namespace, &loads, &synchronized, &silent) {
      Name(namespace: $0.namespace, name: $0.name)
    }
    changed()
  }

  private static func take<Object: Sendable>(
    _ change: Reflector<Object>.Change, _ what: String, in namespace: String, _ known: inout [Name: Object],
    _ synchronized: inout Set<String>, _ silent: inout [String: String], name: (Object) -> Name
  ) {
    if case .silent(let why) = change {
      silent[what] = why
      return
    }
    silent[what] = nil
    switch change {
    case .synchronized(let objects):
      known = known.filter { $0.key.namespace != namespace }
      for object in objects { known[name(object)] = object }
      synchronized.insert(what)
    case .changed(let object): known[name(object)] = object
    case .deleted(let object): known[name(object)] = nil
    case .silent: break
    }
  }

  private func changed() {
    let all = waiters.values
    waiters = [:]
    for waiter in all { waiter.resume() }
  }

  /// Until something changes, or the task is cancelled.
  private func change() async {
    lastWaiter += 1
    let number = lastWaiter
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        waiters[number] = continuation
        if Task.isCancelled { wake(number) }
      }
    } onCancel: {
      Task { await self.wake(number) }
    }
  }

  private func wake(_ number: UInt64) { waiters.removeValue(forKey: number)?.resume() }

  // MARK: Obtaining

  /// Has Fluid bring all of a replica into its cache. Cancelled, it leaves what is there: who comes next goes on with it.
  ///
  /// - Parameters:
  ///   - origin: of the data set; nil: it has none that Fluid can mount.
  ///   - progress: told whenever it is another one.
  /// - Throws: `.unavailable` when another try may help, `.failedPrecondition` when none will, `CancellationError`.
  public func obtain(
    _ place: FluidPlace, size: ByteCount, files: Int64, origin: String?,
    progress: @Sendable (Progress) -> Void
  ) async throws {
    wanted[place.key, default: 0] += 1
    leaving.remove(place.key)
    defer {
      wanted[place.key]! -= 1
      if wanted[place.key] == 0 { wanted[place.key] = nil }
    }
    var settled: Task<Void, Never>?
    defer { settled?.cancel() }
    var hasSettled = false
    var settlingSince: ContinuousClock.Instant?
    while true {
      try Task.checkCancellation()
      if let settlingSince { hasSettled = ContinuousClock.now - settlingSince >= settlingTime }
      try await ensureRuntime(place)
      let step = step(place, size: size, files: files, hasSettled: hasSettled)
      switch step {
      case .whole: return
      case .make: try await make(place, origin)
      case .load:
        try await create(FluidObject.load(place, mark: mark), "dataloads", in: place)
      case .giveUp(let uid, let why):
        try await delete("dataloads", place.name, uid, in: place.namespace)
        loads[Name(namespace: place.namespace, name: place.name)]?.isDeleting = true
        throw FederationError(.unavailable, why, retryAfter: .seconds(5))
      case .failed(let why, let isForGood):
        if isForGood { throw FederationError(.failedPrecondition, why) }
        throw FederationError(.unavailable, why, retryAfter: .seconds(5))
      case .wait(let reason, let part, let isSettling):
        progress(Progress(bytes: Int64(Double(size.bytes) * part), waiting: reason))
        if isSettling, settlingSince == nil {
          settlingSince = .now
          // One alarm: nothing else need change for the time to be over.
          settled = Task { [settlingTime] in
            if (try? await Task.sleep(for: settlingTime)) != nil { self.changed() }
          }
        }
        await change()
      }
    }
  }

  private func step(_ place: FluidPlace, size: ByteCount, files: Int64, hasSettled: Bool) -> FluidStep {
    for list in ["\(place.namespace)/datasets", "\(place.namespace)/dataloads"] where !synchronized.contains(list) {
      return .wait(
        silent[list].map { "Fluid's \(list) do not answer: \($0)" } ?? "Fluid's \(list) have not been listed yet",
        part: 0)
    }
    return FluidStep(
      place, datasets[Name(namespace: place.namespace, name: place.dataset)],
      loads[Name(namespace: place.namespace, name: place.name)], size: size, files: files, hasSettled: hasSettled)
  }

  private func make(_ place: FluidPlace, _ origin: String?) async throws(FederationError) {
    guard let mountPoint = place.source.mountPoint ?? origin else {
      throw FederationError(
        .failedPrecondition,
        "\(place.key) has no origin that Fluid can mount: name a Dataset, or what is to be mounted, in `kubernetes.fluid`"
      )
    }
    try await create(FluidObject.dataset(place, mountPoint: mountPoint, mark: mark), "datasets", in: place)
  }

  /// A Dataset of ours that is not bound may lack its runtime: whoever made it may have died in between.
  private func ensureRuntime(_ place: FluidPlace) async throws(FederationError) {
    guard place.isMade, let runtime = configuration.runtime,
      let dataset = datasets[Name(namespace: place.namespace, name: place.dataset)], dataset.key == place.key,
      !dataset.isDeleting
    else { return }
    // One that was bound and is not any more may have lost its runtime.
    guard dataset.phase != "Bound" else {
      ensured.remove(dataset.uid)
      return
    }
    guard !ensured.contains(dataset.uid) else { return }
    let collection = KubernetesPath.collection(
      FluidConfiguration.version, runtime.resource, namespace: place.namespace)
    do throws(FederationError) {
      _ = try await client.create(collection, FluidObject.runtime(place, runtime, of: dataset.uid, mark: mark))
    } catch {
      guard error.code == .alreadyExists else { throw Self.passing(error) }
      try await checkRuntime(place, runtime, of: dataset.uid)
    }
    ensured.insert(dataset.uid)
  }

  /// A runtime of that name is there: of this Dataset, of an earlier one that is on its way out, or somebody else's.
  private func checkRuntime(
    _ place: FluidPlace, _ runtime: FluidConfiguration.Runtime, of uid: String
  ) async throws(FederationError) {
    let found = try await client.get(
      KubernetesPath.object(
        FluidConfiguration.version, runtime.resource, namespace: place.namespace, name: place.name))
    guard let metadata = found["metadata"], FluidObject.key(metadata, mark: mark) == place.key else {
      throw FederationError(
        .failedPrecondition,
        "there is an \(runtime.kind) \(place.name) in namespace \(place.namespace) that is somebody else's")
    }
    guard metadata["ownerReferences"]?.arrayValue?.contains(where: { $0["uid"]?.stringValue == uid }) == true else {
      throw FederationError(
        .unavailable, "the \(runtime.kind) of an earlier Dataset is still being deleted", retryAfter: .seconds(5))
    }
  }

  /// What is there already its watch tells, too; whose it is, the next step says.
  private func create(
    _ object: JSONValue, _ resource: String, in place: FluidPlace
  ) async throws(FederationError) {
    let collection = KubernetesPath.collection(FluidConfiguration.version, resource, namespace: place.namespace)
    let made: JSONValue
    do throws(FederationError) { made = try await client.create(collection, object) } catch {
      guard error.code == .alreadyExists else { throw Self.passing(error) }
      made = try await client.get(
        KubernetesPath.object(FluidConfiguration.version, resource, namespace: place.namespace, name: place.name))
    }
    let name = Name(namespace: place.namespace, name: place.name)
    // The watch may be behind: without this it would be made a second time.
    if resource == "datasets" {
      if datasets[name] == nil { datasets[name] = FluidDatasetFacts(made, mark: mark) }
    } else if loads[name] == nil {
      loads[name] = FluidLoadFacts(made, mark: mark)
    }
  }

  /// A missing right may be granted.
  private static func passing(_ error: FederationError) -> FederationError {
    guard !error.isRetryable, error.code == .permissionDenied || error.code == .notFound else { return error }
    return FederationError(.unavailable, error.publicMessage, cause: error, retryAfter: .seconds(5))
  }

  private func delete(
    _ resource: String, _ name: String, _ uid: String, in namespace: String
  ) async throws(FederationError) {
    do throws(FederationError) {
      _ = try await client.delete(
        KubernetesPath.object(FluidConfiguration.version, resource, namespace: namespace, name: name),
        options: KubernetesExecutor.precondition(uid))
    } catch {
      // What is gone, or is another one by now, is not ours to delete.
      guard error.code == .notFound || error.code == .failedPrecondition || error.code == .alreadyExists else {
        throw error
      }
    }
  }

  // MARK: Keeping

  /// A replica counts as here from now on. It is told at once when Fluid does not have it whole.
  public func keep(_ key: DataKey, size: ByteCount) {
    kept[key] = size
    leaving.remove(key)
    lookForLosses()
  }

  /// A replica does not count as here any more. What was made for it goes; a Dataset of somebody else's stays.
  public func drop(_ key: DataKey) async {
    kept[key] = nil
    guard wanted[key] == nil else { return }
    leaving.insert(key)
    await clear()
  }

  private func lookForLosses() {
    for (key, size) in kept {
      guard let place = place(of: key), synchronized.contains("\(place.namespace)/datasets") else { continue }
      let dataset = datasets[Name(namespace: place.namespace, name: place.dataset)]
      if let dataset, FluidStep.isWhole(place, dataset, size: size) { continue }
      kept[key] = nil
      losing.yield(key)
    }
  }

  private func isUnwanted(_ key: DataKey) -> Bool { wanted[key] == nil && kept[key] == nil }

  /// Deletes what is to go, and what an agent that died has left.
  private func clear() async {
    var found: [DataKey: ContinuousClock.Instant] = [:]
    for key in datasets.values.compactMap(\.key) where kept[key] == nil && wanted[key] == nil {
      found[key] = orphans[key] ?? .now
      if .now - found[key]! > Self.orphanAge { leaving.insert(key) }
    }
    orphans = found
    for key in leaving.sorted() {
      guard isUnwanted(key) else {
        leaving.remove(key)
        continue
      }
      do throws(FederationError) {
        let name = "fubini-\(mark)-\(FNV.text(key.text))"
        for load in loads.values where load.name == name && load.key == key && !load.isDeleting {
          guard isUnwanted(key) else { break }
          // From now on nobody takes it for one that stays.
          loads[Name(namespace: load.namespace, name: name)]?.isDeleting = true
          do throws(FederationError) { try await delete("dataloads", load.name, load.uid, in: load.namespace) } catch {
            loads[Name(namespace: load.namespace, name: name)]?.isDeleting = false
            throw error
          }
        }
        for dataset in datasets.values where dataset.name == name && dataset.key == key && !dataset.isDeleting {
          guard isUnwanted(key) else { break }
          datasets[Name(namespace: dataset.namespace, name: name)]?.isDeleting = true
          do throws(FederationError) {
            try await delete("datasets", dataset.name, dataset.uid, in: dataset.namespace)
          } catch {
            datasets[Name(namespace: dataset.namespace, name: name)]?.isDeleting = false
            throw error
          }
        }
        leaving.remove(key)
      } catch {
        logger.warning(
          "what Fluid kept of a data set cannot be deleted yet",
          metadata: ["data": "\(key)", "error": "\(error.publicMessage)"])
      }
    }
  }
}
