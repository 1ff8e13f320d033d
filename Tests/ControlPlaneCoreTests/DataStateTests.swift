import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

let water = DatasetReference(project: "default", name: "water")
let gigabyte = ByteCount.gibibytes(1)

/// A task on clusters that make, and one on clusters that use what it made.
private func pair(stageOut policy: String = "lazy") -> String {
  """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: pair}
  spec:
    entrypoint: main
    templates:
    - name: main
      dag:
        tasks:
        - {name: make, template: make}
        - name: use
          template: use
          dependencies: [make]
          arguments: {artifacts: [{name: in, from: "{{tasks.make.outputs.artifacts.out}}"}]}
    - name: make
      federation: {clusters: {labels: {role: make}}, stageOut: \(policy)}
      container: {image: any, command: ["true"]}
      outputs: {artifacts: [{name: out, path: /out}]}
    - name: use
      federation: {clusters: {labels: {role: use}}}
      inputs: {artifacts: [{name: in, path: /in}]}
      container: {image: any, command: ["true"]}
  """
}

func readsWater(_ version: Int32 = 1) -> String {
  """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: reads}
  spec:
    entrypoint: main
    federation: {datasets: [{name: water, version: \(version), mountPath: /data/water}]}
    templates: [{name: main, container: {image: any, command: ["true"]}}]
  """
}

extension Federation {
  /// Clusters whose agents keep caches.
  static func withCaches(_ names: [String], labels: [String: [String: String]] = [:]) -> Federation {
    var federation = Federation(seed: 3, clusters: names)
    for name in names.map({ ClusterName($0) }) {
      if let labels = labels[name.text] {
        federation.command(.updateCluster(ClusterSpec(name: name, kind: .process, labels: labels)))
      }
      federation.disconnect(name)
      federation.agents[name]!.cache = CacheInventory(name: name.text, capacity: .gibibytes(100))
      federation.connect(name)
    }
    federation.settle()
    federation.deliverAll()
    return federation
  }

  mutating func deliverAll() {
    for name in agents.keys.sorted() { while agents[name]?.inbox.isEmpty == false { deliver(name) } }
  }

  mutating func tell(_ cluster: ClusterName, _ key: DataKey, _ change: DataEvent.Change) {
    apply(.dataEvents(cluster, agents[cluster]!.session!, [DataEvent(key: key, change: change)]))
    settle()
    deliverAll()
  }

  /// Everything happens until all workflows are over.
  mutating func mustEnd(_ place: SourceLocation = #_sourceLocation) {
    let isOver = runToEnd()
    #expect(isOver, "\(remains)", sourceLocation: place)
  }

  mutating func ask(_ command: Command) -> Result<Reply, FederationError>? {
    let request = self.command(command)
    settle()
    deliverAll()
    return replies[request]
  }

  mutating func createWater(origin: DataOrigin? = nil, expiresAfter: Duration? = nil) {
    _ = ask(
      .dataset(
        water,
        .create(DatasetSpec(project: "default", name: "water", origin: origin, expiresAfter: expiresAfter))))
  }

  mutating func uploadWater() {
    let manifest = StoredArtifact(
      key: "datasets/m", size: ByteCount(9), sha256: String(repeating: "0a", count: 32), archive: .none)
    _ = ask(.dataset(water, .addVersion(.uploaded(manifest: manifest, files: 3, size: gigabyte))))
  }
}

@Suite("Data sets, replicas and transfers")
struct DataStateTests {
  private let first = DataKey(project: "default", dataset: "water", version: 1)

  @Test("Versions are numbered, never twice, also after the newest was deleted and the leader was rebuilt")
  func numbersVersions() {
    var federation = Federation.withCaches(["a"])
    federation.createWater()
    federation.uploadWater()
    federation.uploadWater()
    _ = federation.ask(.dataset(water, .removeVersion(2)))
    federation.crash()
    federation.uploadWater()
    #expect(federation.database.versions.values.map(\.number).sorted() == [1, 3])
  }

  @Test(
    "A data set that is made anew goes on with the numbers of the one before; what an agent still has of that is evicted"
  )
  func numbersGoOn() {
    var federation = Federation.withCaches(["a"])
    federation.createWater()
    federation.uploadWater()
    federation.tell("a", first, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    federation.disconnect("a")
    _ = federation.ask(.dataset(water, .remove))
    federation.crash()
    federation.createWater()
    federation.uploadWater()
    #expect(federation.database.versions.values.map(\.number) == [2])
    federation.connect("a")
    let session = federation.agents["a"]!.session!
    let report = CacheReport(replicas: [.init(key: first, size: gigabyte)], isFirst: true, isLast: true)
    federation.apply(.cacheReported("a", session, report))
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.evict == [first])
    #expect(federation.database.replicas.isEmpty)
    // More than a year later nobody remembers it.
    _ = federation.ask(.dataset(water, .remove))
    federation.clock = federation.clock + .seconds(401 * 86_400)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    #expect(federation.database.datasets.isEmpty)
  }

  @Test("A run that starts before its agent tells how its input came leaves a transfer that says from where")
  func namesSources() throws {
    var federation = Federation.withCaches(["a"])
    federation.createWater()
    federation.uploadWater()
    _ = try federation.submit("reads", readsWater())
    federation.settle()
    federation.plan()
    federation.settle()
    federation.deliverAll()
    let run = try #require(federation.agents["a"]!.runs.keys.first)
    let event = AgentEvent(sequence: 2, run: run, phase: .running, at: .epoch)
    federation.apply(.agentEvents("a", federation.agents["a"]!.session!, [event]))
    federation.settle()
    #expect(federation.database.transfers.values.map(\.phase) == [.done])
    federation.tell(
      "a", first, .ready(size: gigabyte, moved: .mebibytes(900), milliseconds: 9000, source: .repository(key: nil)))
    let row = try #require(federation.database.transfers.values.first)
    #expect(row.source == "repository" && row.moved == .mebibytes(900))
    #expect(federation.core.linkStatuses().first { $0.source == "repository" }?.samples == 1)
  }

  @Test("I5: ten who want one version on one cluster cause one transfer, and a second cluster one of its own")
  func movesOnce() {
    var federation = Federation.withCaches(["a", "b"])
    federation.createWater()
    federation.uploadWater()
    var transfers: Set<String> = []
    for _ in 0..<10 {
      let reply = federation.ask(.dataset(water, .prefetch(version: nil, cluster: "a")))
      if case .success(.transfer(let id))? = reply { transfers.insert(id.hexadecimal) }
    }
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "b")))
    #expect(transfers.count == 1)
    #expect(federation.database.transfers.count == 2)
    #expect(federation.agents["a"]!.orders.stage.map(\.key) == [first])
    #expect(federation.agents["a"]!.orders.stage[0].manifest?.key == "datasets/m")
    federation.tell(
      "a", first, .ready(size: gigabyte, moved: gigabyte, milliseconds: 1000, source: .repository(key: nil)))
    guard case .success(.alreadyThere)? = federation.ask(.dataset(water, .prefetch(version: nil, cluster: "a"))) else {
      Issue.record("what is there was wanted again")
      return
    }
    #expect(federation.database.replicas[ReplicaName(key: first, cache: "a")]?.size == gigabyte)
    #expect(federation.database.transfers.values.count { $0.phase == .done } == 1)
  }

  @Test("A transfer that is under way goes on after the leader was rebuilt, and is ordered anew with the welcome")
  func survivesTheLeader() {
    var federation = Federation.withCaches(["a"])
    federation.createWater()
    federation.uploadWater()
    _ = federation.ask(.dataset(water, .prefetch(version: nil, cluster: "a")))
    federation.tell(
      "a", first, .progress(done: .mebibytes(512), rate: 1 << 20, waiting: "", source: nil))
    federation.crash()
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.stage.map(\.key) == [first])
    federation.tell(
      "a", first, .ready(size: gigabyte, moved: gigabyte, milliseconds: 1000, source: .repository(key: nil)))
    #expect(federation.database.transfers.values.map(\.phase) == [.done])
  }

  @Test(
    "A complete report repairs what the control plane believed: what it does not name is gone, what it names is there")
  func reportsRepair() {
    var federation = Federation.withCaches(["a"])
    federation.createWater()
    federation.uploadWater()
    federation.uploadWater()
    let second = DataKey(project: "default", dataset: "water", version: 2)
    federation.tell("a", first, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    let session = federation.agents["a"]!.session!
    federation.apply(.cacheReported("a", session, CacheReport(replicas: [], isFirst: true, isLast: false)))
    federation.apply(
      .cacheReported(
        "a", session,
        CacheReport(
          replicas: [
            CacheReport.Replica(key: second, size: gigabyte),
            CacheReport.Replica(key: "dataset:default/unknown@1", size: gigabyte),
          ], isFirst: false, isLast: true)))
    federation.settle()
    #expect(federation.database.replicas.keys.map(\.key) == [second])
  }

  @Test("A pinned replica that was found corrupt is fetched again")
  func refetchesPinned() {
    var federation = Federation.withCaches(["a"])
    federation.createWater()
    federation.uploadWater()
    federation.tell("a", first, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    _ = federation.ask(.dataset(water, .pin(version: nil, cluster: "a", true)))
    #expect(federation.agents["a"]!.orders.pin == [first])
    federation.tell("a", first, .gone(reason: "corrupt"))
    #expect(federation.database.replicas.isEmpty)
    #expect(federation.agents["a"]!.orders.stage.map(\.key) == [first])
  }

  @Test(
    "An origin is listed by a cluster that reaches it, by another one when that goes away, and is ready with its list")
  func listsOrigins() {
    var federation = Federation.withCaches(["a", "b"])
    federation.createWater(origin: DataOrigin(uri: "s3://bucket/water", secret: "keys"))
    _ = federation.ask(.dataset(water, .addVersion(.origin(path: "2026", via: nil))))
    #expect(federation.agents["a"]!.orders.index.map(\.origin.uri) == ["s3://bucket/water/2026"])
    #expect(federation.core.secretAccess(of: first, named: "keys", on: "a")?.secret == "keys")
    #expect(federation.core.secretAccess(of: first, named: "keys", on: "b") == nil)
    federation.disconnect("a")
    federation.disconnect("b")
    federation.connect("b")
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["b"]!.orders.index.map(\.key) == [first])
    let list = StoredArtifact(
      key: "datasets/water/1/manifest", size: ByteCount(1), sha256: "x", archive: .none)
    federation.tell("b", first, .indexed(failure: "", manifest: list, files: 7, size: gigabyte))
    #expect(federation.database.versions[first]?.phase == .ready)
    #expect(federation.database.versions[first]?.files == 7)
    #expect(federation.core.secretAccess(of: first, named: "keys", on: "b") == nil)
  }

  @Test("A version that nobody used for its data set's lifetime goes, with its replicas")
  func expires() {
    var federation = Federation.withCaches(["a"])
    federation.createWater(expiresAfter: .seconds(3600))
    federation.uploadWater()
    federation.tell("a", first, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    federation.clock = federation.clock + .seconds(3000)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    #expect(federation.database.versions[first] != nil)
    federation.clock = federation.clock + .seconds(700)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    federation.deliverAll()
    #expect(federation.database.versions.isEmpty)
    #expect(federation.database.replicas.isEmpty)
    #expect(federation.agents["a"]!.orders.evict == [first])
  }
}

@Suite("Caches that clusters share, and clusters that go")
struct SharedCacheTests {
  private let first = DataKey(project: "default", dataset: "water", version: 1)

  @Test("I5: what a run on a cluster that only reads a cache needs is ordered from the cluster that writes it, once")
  func ordersFromTheWriter() throws {
    var federation = Federation.withCaches(["a", "b"], labels: ["a": ["role": "make"], "b": ["role": "use"]])
    federation.disconnect("b")
    federation.agents["b"]!.cache = CacheInventory(name: "a", capacity: .gibibytes(100), isWriter: false)
    federation.connect("b")
    federation.settle()
    federation.deliverAll()
    federation.createWater()
    federation.uploadWater()
    for name in ["one", "two"] {
      _ = try federation.submit(
        name,
        """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: reads}
        spec:
          entrypoint: main
          federation: {clusters: {labels: {role: use}}, datasets: [{name: water, mountPath: /data/water}]}
          templates: [{name: main, container: {image: any, command: ["true"]}}]
        """)
    }
    federation.settle()
    federation.plan()
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["b"]!.runs.count == 2)
    #expect(federation.agents["a"]!.orders.stage.map(\.key) == [first])
    federation.disconnect("a")
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.stage.map(\.key) == [first])
    federation.tell("a", first, .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: .repository(key: nil)))
    #expect(federation.database.transfers.values.map(\.phase) == [.done])
  }

  @Test("Nothing goes on moving to a cluster that was forgotten, what was pinned there least of all")
  func forgets() {
    var federation = Federation.withCaches(["a", "b"])
    federation.createWater()
    federation.uploadWater()
    federation.tell("a", first, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    _ = federation.ask(.dataset(water, .pin(version: nil, cluster: "a", true)))
    _ = federation.ask(.forgetCluster("a", confirmStopped: true))
    #expect(federation.database.clusters["a"] == nil)
    #expect(federation.database.replicas.isEmpty)
    #expect(federation.database.transfers.values.allSatisfy { $0.phase.isTerminal })
  }
}

@Suite("Outputs that stay where they were made")
struct StageOutTests {
  private let large = StoredArtifact(
    key: "pair/make/out.tgz", size: .mebibytes(64), sha256: String(repeating: "fe", count: 32), archive: .tar,
    isUnstored: true)

  /// A workflow whose first task has ended on `a` with an output that is in its cache alone.
  private func afterMaking(policy: String = "lazy") throws -> Federation {
    var federation = Federation.withCaches(["a", "b"], labels: ["a": ["role": "make"], "b": ["role": "use"]])
    _ = try federation.submit("pair", pair(stageOut: policy))
    federation.settle()
    federation.plan()
    federation.settle()
    federation.deliverAll()
    let run = try #require(federation.agents["a"]!.runs.first)
    #expect(run.value.assignment.spec.outputArtifacts.map(\.mayStayUnstored) == [true])
    let outcome = TaskOutcome(phase: .succeeded, exitCode: 0, outputs: TaskOutputs(artifacts: ["out": large]))
    federation.apply(
      .agentEvents(
        "a", federation.agents["a"]!.session!,
        [AgentEvent(sequence: 2, run: run.key, phase: .succeeded, at: .epoch, outcome: outcome)]))
    federation.settle()
    federation.deliverAll()
    return federation
  }

  private var key: DataKey { DataKey(sha256: large.sha256) }

  @Test("It is copied into the repository when a task that reads it is placed elsewhere, and not before")
  func storesForConsumers() throws {
    var federation = try afterMaking()
    #expect(federation.agents["a"]!.orders.store.isEmpty)
    #expect(federation.core.unstoredHolder(of: large.key, in: "default") == "a")
    federation.plan()
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.store.map(\.repositoryKey) == [large.key])
    #expect(federation.core.mayUse(object: large.key, of: "default", .write, on: "a"))
    #expect(!federation.core.mayUse(object: large.key, of: "other", .write, on: "a"))
    #expect(!federation.core.mayUse(object: large.key, of: "default", .write, on: "b"))
    federation.tell("a", key, .stored(failure: "", moved: large.size, milliseconds: 10))
    #expect(federation.core.unstoredHolder(of: large.key, in: "default") == nil)
    #expect(federation.database.artifacts.values.map(\.stored.isUnstored) == [nil])
  }

  @Test("It is copied at its deadline, tried again after a failure, also by the next leader")
  func storesAtItsDeadline() throws {
    var federation = try afterMaking()
    federation.crash()
    federation.connect("a")
    federation.settle()
    federation.clock = federation.clock + .seconds(400)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.store.count == 1)
    federation.tell("a", key, .stored(failure: "the repository is full", moved: .zero, milliseconds: 0))
    federation.clock = federation.clock + .seconds(60)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.store.count == 2)
    #expect(
      federation.database.transfers.values.map(\.phase).sorted { $0.rawValue < $1.rawValue } == [.failed, .waiting])
  }

  @Test("With stageOut: never it waits until somebody needs it, also after a leader's restart")
  func neverStores() throws {
    var federation = try afterMaking(policy: "never")
    federation.crash()
    federation.connect("a")
    federation.settle()
    for _ in 0..<3 {
      federation.clock = federation.clock + .seconds(4000)
      federation.apply(.tick(silence: [:]))
      federation.settle()
      federation.deliverAll()
    }
    #expect(federation.agents["a"]!.orders.store.isEmpty)
    #expect(federation.database.transfers.isEmpty)
  }

  @Test("A user who wants it gets it stored at once, and hears when there is nothing to wait for")
  func storesForUsers() throws {
    var federation = try afterMaking()
    guard case .success(.transfer)? = federation.ask(.storeArtifact(repositoryKey: large.key, "default")) else {
      Issue.record("nothing is on its way")
      return
    }
    #expect(federation.agents["a"]!.orders.store.count == 1)
    guard case .success(.alreadyThere)? = federation.ask(.storeArtifact(repositoryKey: large.key, "other")) else {
      Issue.record("another project's key was found")
      return
    }
  }

  /// Both tasks of the workflow, run by run, whoever they are on.
  private func finish(
    _ federation: inout Federation, _ cluster: ClusterName, _ artifact: StoredArtifact?, phase: RunPhase = .succeeded
  ) throws {
    federation.plan()
    federation.settle()
    federation.deliverAll()
    let runs = federation.agents[cluster]!.runs.filter { !$0.value.phase.isTerminal }
    let run = try #require(runs.keys.sorted().last)
    let outcome = TaskOutcome(
      phase: phase, exitCode: 0, outputs: TaskOutputs(artifacts: artifact.map { ["out": $0] } ?? [:]))
    federation.agents[cluster]!.sequence += 10
    federation.agents[cluster]!.runs[run]!.phase = phase
    federation.apply(
      .agentEvents(
        cluster, federation.agents[cluster]!.session!,
        [
          AgentEvent(
            sequence: federation.agents[cluster]!.sequence, run: run, phase: phase, at: .epoch, outcome: outcome)
        ]))
    federation.settle()
    federation.deliverAll()
  }

  private func tick(_ federation: inout Federation) {
    federation.clock = federation.clock + .seconds(1)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    federation.deliverAll()
  }

  @Test(
    "Lost before it was copied, it is made again, also by the next leader, and its reader gets the new bytes",
    arguments: [false, true])
  func remakesLostOutputs(isRebuilt: Bool) throws {
    var federation = try afterMaking()
    federation.tell("a", key, .gone(reason: "corrupt"))
    if isRebuilt {
      federation.crash()
      federation.connect("a")
      federation.connect("b")
      federation.settle()
      federation.deliverAll()
    }
    tick(&federation)
    var other = large
    other.sha256 = String(repeating: "ba", count: 32)
    try finish(&federation, "a", other)
    #expect(federation.database.runs.values.filter { $0.cluster == "a" }.map(\.epoch).sorted() == [1, 2])
    federation.plan()
    federation.settle()
    federation.deliverAll()
    let reader = try #require(federation.agents["b"]!.runs.first)
    guard case .stored(let read)? = reader.value.assignment.spec.inputs.first?.source else {
      Issue.record("the reader has no input")
      return
    }
    #expect(read.sha256 == other.sha256)
    try finish(&federation, "b", nil)
    #expect(federation.database.workflows.values.map(\.status.phase) == [.succeeded])
  }

  @Test(
    "A run that waits in staging for what is lost gives up first, and its task is placed anew when the bytes are there (I1)"
  )
  func rebindsReaders() throws {
    var federation = try afterMaking()
    federation.plan()
    federation.settle()
    federation.deliverAll()
    let first = try #require(federation.agents["b"]!.runs.keys.first)
    federation.tell("a", key, .gone(reason: "lost"))
    tick(&federation)
    #expect(federation.agents["b"]!.runs[first]?.isCancelWanted == true)
    try finish(&federation, "b", nil, phase: .cancelled)
    tick(&federation)
    try finish(&federation, "a", large)
    federation.plan()
    federation.settle()
    federation.deliverAll()
    #expect(federation.database.runs.values.filter { $0.cluster == "b" }.map(\.epoch).sorted() == [1, 2])
    try finish(&federation, "b", nil)
    #expect(federation.database.workflows.values.map(\.status.phase) == [.succeeded])
  }

  @Test("When its producer fails the second time, whoever reads it ends in Error and says that its input is lost")
  func endsReaders() throws {
    var federation = try afterMaking()
    federation.tell("a", key, .gone(reason: "lost"))
    tick(&federation)
    try finish(&federation, "a", nil, phase: .failed)
    #expect(federation.database.workflows.values.map(\.status.phase) == [.error])
    let use = federation.database.nodes.values.first { $0.displayName == "use" }
    #expect(use?.message.contains("input lost") == true)
  }
}
