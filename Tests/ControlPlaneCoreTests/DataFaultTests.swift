import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

@testable import ControlPlaneCore

private let roles = ["a": ["role": "make"], "b": ["role": "use"], "c": ["role": "check"]]

extension Federation {
  fileprivate mutating func pass() {
    settle()
    plan()
    settle()
    deliverAll()
  }

  fileprivate mutating func tick(after seconds: Double = 1) {
    clock = clock + .seconds(seconds)
    apply(.tick(silence: [:]))
    settle()
    deliverAll()
  }

  /// A cluster's agent tells of its newest run.
  fileprivate mutating func tell(
    _ cluster: ClusterName, _ phase: RunPhase, _ artifact: StoredArtifact? = nil
  ) throws {
    let run = try #require(agents[cluster]!.runs.keys.sorted().last)
    agents[cluster]!.sequence += 10
    agents[cluster]!.runs[run]!.phase = phase
    let outcome = TaskOutcome(
      phase: phase, exitCode: 0, outputs: TaskOutputs(artifacts: artifact.map { ["out": $0] } ?? [:]))
    apply(
      .agentEvents(
        cluster, agents[cluster]!.session!,
        [
          AgentEvent(
            sequence: agents[cluster]!.sequence, run: run, phase: phase, at: .epoch,
            outcome: phase.isTerminal ? outcome : nil)
        ]))
    settle()
    deliverAll()
  }

  /// The agent comes back with another cache.
  fileprivate mutating func restart(_ cluster: ClusterName, _ change: (inout CacheInventory) -> Void) {
    disconnect(cluster)
    change(&agents[cluster]!.cache!)
    connect(cluster)
    settle()
    deliverAll()
  }

  fileprivate var open: [TransferRow] { database.transfers.values.filter { !$0.phase.isTerminal } }
}

@Suite("Data when clusters change, go, and come back")
struct DataFaultTests {
  private let first = DataKey(project: "default", dataset: "water", version: 1)
  private let made = StoredArtifact(
    key: "chain/out.tgz", size: .mebibytes(64), sha256: String(repeating: "fe", count: 32), archive: .tar,
    isUnstored: true)
  private var key: DataKey { DataKey(sha256: made.sha256) }

  /// The output is in the cache of `a` alone, and the task that reads it waits for `check`.
  private func afterMaking(_ federation: String) throws -> Federation {
    var federation = try beforeMaking(federation)
    try federation.tell("a", .succeeded, made)
    return federation
  }

  private func beforeMaking(_ hints: String) throws -> Federation {
    var federation = Federation.withCaches(["a", "b", "c"], labels: roles)
    _ = try federation.submit("chain", chain(hints))
    federation.pass()
    return federation
  }

  @Test(
    "I5: a cluster whose cache gets another name takes its transfers along; who shared the old one can want the same")
  func renamesCaches() {
    var federation = Federation.withCaches(["a", "b"])
    federation.restart("b") { ($0.name, $0.isWriter) = ("a", false) }
    federation.createWater()
    federation.uploadWater()
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "a")))
    federation.restart("a") { $0.name = "new" }
    #expect(federation.agents["a"]!.orders.stage.map(\.key) == [first])
    #expect(federation.core.data.books["a"]?.expected == .zero)
    federation.tell("a", first, .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: .repository(key: nil)))
    #expect(federation.core.data.inward.isEmpty)
    federation.restart("b") { $0.isWriter = true }
    guard case .success(.transfer)? = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "b"))) else {
      Issue.record("who shared the old cache gets nothing")
      return
    }
    #expect(federation.agents["b"]!.orders.stage.map(\.key) == [first])
  }

  @Test(
    "A cache that gets another name leaves nothing behind under the old one, once its agent has told what it has; nothing is lost by that"
  )
  func forgetsOldNames() throws {
    var federation = try afterMaking("stageOut: never")
    federation.createWater()
    federation.uploadWater()
    federation.tell("a", first, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    federation.restart("a") { $0.name = "new" }
    #expect(Set(federation.database.replicas.keys.map(\.cache)) == ["a"], "until then both may be true")
    let session = federation.agents["a"]!.session!
    let here = [first, key].map { CacheReport.Replica(key: $0, size: $0 == first ? gigabyte : made.size) }
    // Who does not answer has its cache still.
    federation.tell("b", first, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    federation.disconnect("b")
    federation.apply(.cacheReported("a", session, CacheReport(replicas: here, isFirst: true, isLast: true)))
    federation.settle()
    let new = [first, key].map { ReplicaName(key: $0, cache: "new") }
    #expect(Set(federation.database.replicas.keys) == Set(new + [ReplicaName(key: first, cache: "b")]))
    #expect(federation.core.data.lost.isEmpty, "the output is there, under the new name")
  }

  @Test("I4: what a run reads is kept under its cache's new name until the run ends, and under the old one no longer")
  func keepsInputsAcrossNames() throws {
    var federation = Federation.withCaches(["a"])
    federation.createWater()
    federation.uploadWater()
    federation.tell("a", first, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    _ = try federation.submit(
      "reads",
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: reads}
      spec:
        entrypoint: main
        federation: {datasets: [{name: water, mountPath: /data/water}]}
        templates: [{name: main, container: {image: any, command: ["true"]}}]
      """)
    federation.pass()
    #expect(federation.core.data.books["a"]?.evictable == .zero)
    federation.restart("a") { $0.name = "new" }
    federation.tell("a", first, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    #expect(federation.core.data.books["new"]?.evictable == .zero)
    #expect(federation.core.data.books["a"]?.evictable == gigabyte)
    try federation.tell("a", .succeeded)
    #expect(federation.core.data.books["new"]?.evictable == gigabyte)
  }

  @Test("An output whose cluster was forgotten is copied by nobody until it is made again, and then from there")
  func storesFromTheLiving() throws {
    var federation = try afterMaking("stageOut: never")
    _ = federation.ask(.storeArtifact(repositoryKey: made.key, "default"))
    #expect(federation.open.map(\.cluster) == ["a"])
    _ = federation.ask(.forgetCluster("a", confirmStopped: true))
    federation.tick(after: 40)
    #expect(federation.open.isEmpty)
    guard case .failure(let error)? = federation.ask(.storeArtifact(repositoryKey: made.key, "default")) else {
      Issue.record("nobody has it, and it is on its way")
      return
    }
    #expect(error.code == .failedPrecondition)
    federation.crash()
    for name in ["b", "c"] as [ClusterName] { federation.connect(name) }
    federation.settle()
    // Its bytes are found elsewhere.
    federation.tell("b", key, .ready(size: made.size, moved: .zero, milliseconds: 0, source: nil))
    #expect(federation.open.map(\.cluster) == ["b"])
    #expect(federation.agents["b"]!.orders.store.map(\.repositoryKey) == [made.key])
    federation.tell("b", key, .stored(failure: "", moved: made.size, milliseconds: 10))
    #expect(federation.open.isEmpty)
    #expect(federation.core.unstoredHolder(of: made.key, in: "default") == nil)
  }

  @Test("A copy into the repository that waits for a silent cluster is begun anew by one that comes by the same bytes")
  func relievesTheSilent() throws {
    var federation = try afterMaking("stageOut: lazy")
    _ = federation.ask(.storeArtifact(repositoryKey: made.key, "default"))
    federation.disconnect("a")
    federation.tell("b", key, .ready(size: made.size, moved: .zero, milliseconds: 0, source: nil))
    #expect(federation.agents["b"]!.orders.store.map(\.repositoryKey) == [made.key])
    #expect(federation.open.map(\.cluster) == ["b"])
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.store.isEmpty)
  }

  @Test("A transfer of a cluster that is not there any more ends when the leader is rebuilt")
  func endsTransfersOfNobody() {
    var federation = Federation.withCaches(["a"])
    let row = TransferRow(
      id: TransferID(incarnation: 9, counter: 9), key: key, project: "default", cluster: "gone", cause: .stageOut,
      size: gigabyte, createdAt: .epoch)
    federation.database.transfers[row.id] = row
    federation.crash()
    federation.settle()
    #expect(federation.database.transfers.values.map(\.phase) == [.cancelled])
  }

  @Test("A copy into the repository that somebody asked for and that failed is tried again by the next leader (I2)")
  func retriesAcrossLeaders() throws {
    var federation = try afterMaking("stageOut: never")
    _ = federation.ask(.storeArtifact(repositoryKey: made.key, "default"))
    federation.tell("a", key, .stored(failure: "the repository is full", moved: .zero, milliseconds: 0))
    federation.crash()
    federation.connect("a")
    federation.settle()
    federation.tick()
    #expect(federation.agents["a"]!.orders.store.isEmpty)
    federation.tick(after: 60)
    #expect(federation.agents["a"]!.orders.store.map(\.repositoryKey) == [made.key])
  }

  @Test("An input that is lost while its reader is only looked ahead to ends it when it waits, and not before")
  func losesInputsAhead() throws {
    var federation = try afterMaking("recompute: never")
    federation.pass()
    try federation.tell("c", .running)
    federation.pass()
    federation.tell("a", key, .gone(reason: "corrupt"))
    federation.tick()
    federation.tick()
    #expect(federation.database.workflows.values.map(\.status.phase) == [.running])
    try federation.tell("c", .succeeded)
    federation.tick()
    #expect(federation.database.workflows.values.map(\.status.phase) == [.error])
    let use = federation.database.nodes.values.first { $0.displayName == "use" }
    #expect(use?.message.contains("input lost") == true)
  }
}

@Suite("Files of one cluster that others read")
struct HomeTests {
  private func key(_ number: Int32) -> DataKey { DataKey(project: "default", dataset: "water", version: number) }

  /// Versions 1 to 4 are files of `a`, whose cache of 3 GiB shows the versions 2 to 4 to others.
  private func federation() -> Federation {
    var federation = Federation.withCaches(["a", "b"])
    federation.restart("a") {
      $0.exportURL = "https://a:1"
      $0.capacity = .gibibytes(3)
    }
    federation.createWater(origin: DataOrigin(uri: "file://a/data"))
    for number in 1...4 as ClosedRange<Int32> {
      _ = federation.ask(.dataset(water, .addVersion(.origin(path: "", via: "a"))))
      let manifest = StoredArtifact(
        key: "datasets/water/\(number)/manifest", size: ByteCount(9), sha256: String(repeating: "0a", count: 32),
        archive: .none)
      federation.tell("a", key(number), .indexed(failure: "", manifest: manifest, files: 3, size: gigabyte))
      if number > 1 {
        federation.tell("a", key(number), .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
      }
    }
    return federation
  }

  private func staged(_ federation: Federation) -> [DataKey] { federation.agents["a"]!.orders.stage.map(\.key) }

  @Test("I10: a version whose cluster is away says for whom it waits, and no longer when that one is there")
  func waitsForItsLister() throws {
    var federation = federation()
    federation.disconnect("a")
    _ = federation.ask(.dataset(water, .addVersion(.origin(path: "", via: nil))))
    func said() -> String? { federation.core.data.version(key(5))?.message }
    #expect(said()?.contains("waits for cluster a") == true, "\(said() ?? "no version")")
    federation.restart("a") { _ in }
    #expect(federation.core.data.version(key(5))?.phase == .indexing && said() == "")
  }

  @Test(
    "They make room at home, are brought there again after a failure and after a loss, and stay while others fetch them"
  )
  func bringsHome() {
    var federation = federation()
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "b")))
    #expect(staged(federation) == [key(1)])
    #expect(federation.agents["a"]!.orders.evict == [key(2)])
    federation.tell("a", key(1), .failed(message: "the disk is busy"))
    federation.tick()
    #expect(staged(federation) == [key(1)], "not at once")
    federation.tick(after: 40)
    #expect(staged(federation) == [key(1), key(1)])
    federation.tell("a", key(2), .gone(reason: "evicted"))
    federation.tell("a", key(1), .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: nil))
    // Whatever else is wanted there: the one that is being fetched stays.
    for number in [3, 4] as [Int32] {
      _ = federation.ask(.dataset(water, .pin(version: number, cluster: "a", true)))
    }
    _ = federation.ask(.dataset(water, .prefetch(version: 2, cluster: "a")))
    #expect(federation.agents["a"]!.orders.evict == [key(2)])
    federation.tell("a", key(1), .gone(reason: "corrupt"))
    federation.tick()
    #expect(staged(federation).count { $0 == key(1) } == 3)
    federation.tell("a", key(1), .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: nil))
    #expect(federation.core.data.books["a"]!.evictable == .zero)
    federation.tell(
      "b", key(1), .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: .export("a", url: "https://a:1")))
    #expect(federation.core.data.books["a"]!.evictable == gigabyte)
    #expect(federation.core.data.abroad.isEmpty)
  }

  @Test(
    "I10: while the cluster that alone has them does not answer, nobody is sent for them, that is said, and they come when it does"
  )
  func waitsForHome() throws {
    var federation = federation()
    federation.disconnect("a")
    guard case .success(.transfer(let id))? = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "b")))
    else {
      Issue.record("it is refused")
      return
    }
    #expect(federation.agents["b"]!.orders.stage.isEmpty, "an order without a source")
    let words = federation.core.transferProgress(of: "default")[id]?.waiting
    #expect(words?.contains("waits for cluster a, which does not answer") == true, "\(words ?? "-")")
    // Nor with what a new session of its own agent is told.
    federation.disconnect("b")
    federation.connect("b")
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["b"]!.orders.stage.isEmpty)
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    let order = try #require(federation.agents["b"]!.orders.stage.first)
    #expect(order.key == key(1) && order.sources == [.export("a", url: "https://a:1")])
    #expect(federation.database.transfers[id]?.phase.isTerminal == false)
  }

  @Test("The next leader brings them home, too")
  func bringsHomeAfterAFailOver() {
    var federation = federation()
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "b")))
    federation.tell("a", key(1), .failed(message: "the disk is busy"))
    federation.crash()
    for name in ["a", "b"] as [ClusterName] { federation.connect(name) }
    federation.settle()
    federation.deliverAll()
    #expect(staged(federation).isEmpty)
    federation.tick()
    #expect(staged(federation) == [key(1)])
  }
}

@Suite("What replicas are worth")
struct ReplicaValueTests {
  private func key(_ number: Int32) -> DataKey { DataKey(project: "default", dataset: "water", version: number) }

  /// A cluster that has some versions.
  private func federation(_ count: Int32) -> Federation {
    var federation = Federation.withCaches(["a"])
    federation.createWater()
    for number in 1...count {
      federation.uploadWater()
      federation.tell("a", key(number), .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    }
    return federation
  }

  /// The last told of each.
  private func told(_ federation: Federation) -> [DataKey: Double] {
    federation.agents["a"]!.orders.values.reduce(into: [:]) { $0[$1.key] = $1.value }
  }

  @Test("They are told a slice with each tick, until all are known, and by the next leader anew")
  func slices() {
    var federation = federation(200)
    #expect(told(federation).isEmpty)
    federation.tick()
    #expect((1...160).contains(told(federation).count))
    federation.tick()
    #expect(told(federation).count == 200)
    federation.crash()
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    #expect(told(federation).isEmpty, "what the welcome says is all that an agent knows")
    for _ in 0..<3 { federation.tick() }
    #expect(told(federation).count == 200)
  }

  @Test("What was read hours ago is worth less than it was, though nothing happened since")
  func cools() throws {
    var federation = federation(2)
    _ = try federation.submit(
      "reads",
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: reads}
      spec:
        entrypoint: main
        federation: {datasets: [{name: water, version: 1, mountPath: /data/water}]}
        templates: [{name: main, container: {image: any, command: ["true"]}}]
      """)
    federation.mustEnd()
    for _ in 0..<3 { federation.tick() }
    let warm = try #require(told(federation)[key(1)])
    #expect(warm > 5 * (told(federation)[key(2)] ?? 0))
    federation.tick(after: 24 * 3600)
    for _ in 0..<3 { federation.tick() }
    #expect(try #require(told(federation)[key(1)]) < warm / 3)
  }
}

@Suite("What is remembered of links")
struct LinkTableTests {
  @Test("The last 256 sources of a cluster are remembered, and nothing of a cluster that is gone")
  func isBounded() {
    var links = LinkTable()
    for number in 1...300 {
      links.measured(
        1e6, over: Link(source: "s\(number)", cluster: "a"), at: Timestamp(milliseconds: Int64(number)))
    }
    links.measured(1e6, over: Link(source: "a", cluster: "b"), at: .epoch)
    #expect(links.into("a").count == 256)
    #expect(links.into("a")["s44"] == nil && links.into("a")["s45"] != nil)
    #expect(links.out(of: "s44").isEmpty && links.out(of: "a").count == 1)
    links.forget("a")
    #expect(links.all.isEmpty && links.out(of: "a").isEmpty && links.out(of: "s300").isEmpty)
  }

  @Test(
    "No cluster takes the name of what data that comes from no cluster comes from", arguments: ["repository", "origin"])
  func reservesNames(name: String) {
    var federation = Federation(seed: 1, clusters: [])
    guard
      case .failure(let error)? = federation.ask(.createCluster(ClusterSpec(name: ClusterName(name), kind: .process)))
    else {
      Issue.record("\(name) is a cluster")
      return
    }
    #expect(error.code == .invalidArgument)
  }
}

@Suite("How long versions and numbers are kept")
struct LifetimeTests {
  private let first = DataKey(project: "default", dataset: "water", version: 1)

  private func apply(_ lifetime: Duration, to federation: inout Federation) {
    _ = federation.ask(
      .dataset(water, .update(DatasetSpec(project: "default", name: "water", expiresAfter: lifetime))))
  }

  @Test("A data set that is applied again and again leaves one moment for each version, and the earliest holds")
  func countsOnce() {
    var federation = Federation.withCaches(["a"])
    federation.createWater(expiresAfter: .seconds(3600))
    federation.uploadWater()
    for _ in 0..<50 { apply(.seconds(3600), to: &federation) }
    #expect(federation.core.data.lookCount == 1)
    for _ in 0..<50 {
      apply(.seconds(7200), to: &federation)
      apply(.seconds(3600), to: &federation)
    }
    #expect(federation.core.data.lookCount == 1)
    apply(.seconds(7200), to: &federation)
    federation.tick(after: 4000)
    #expect(federation.database.versions[first] != nil)
    apply(.seconds(600), to: &federation)
    federation.tick(after: 100)
    #expect(federation.database.versions.isEmpty)
    federation.tick(after: 8000)
    #expect(federation.core.data.lookCount == 0)
  }

  @Test("The numbers of a data set are kept for as long as agents may come back, counted from its last removal")
  func keepsNumbers() {
    var federation = Federation.withCaches(["a"])
    let day = 86_400.0
    federation.createWater()
    _ = federation.ask(.dataset(water, .remove))
    federation.tick(after: 200 * day)
    federation.createWater()
    federation.uploadWater()
    _ = federation.ask(.dataset(water, .remove))
    federation.crash()
    federation.tick(after: 201 * day)
    #expect(federation.database.datasets[water]?.lastVersion == 1)
    federation.tick(after: 200 * day)
    #expect(federation.database.datasets.isEmpty)
  }
}
