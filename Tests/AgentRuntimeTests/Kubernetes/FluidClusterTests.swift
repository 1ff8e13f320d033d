import Execution
import FederationAPI
import FederationModel
import FoundationEssentials
import KubernetesAPI
import KubernetesSupport
import SwiftProtobuf
import Synchronization
import Testing

@testable import AgentRuntime
@testable import KubernetesExecutor

/// Data sets that Fluid keeps: its kinds on a real API server, and `FluidController` in Fluid's place.
///
/// The agent has the rights that its preflight asks for, and no others.
@Suite(
  .serialized, .timeLimit(.minutes(20)),
  .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
struct FluidClusterTests {
  private static let key = DataKey(project: "p", dataset: "genomes", version: 1)
  private static let size: Int64 = 3 << 20

  private struct Setup {
    var fixture: KubernetesFixture
    var fluid: FluidController
    var replicas: FluidReplicas
    var cache: DataCache
    var orders: ReplicaOrders
    var events: DataEventOutbox
    var directory: TemporaryDirectory

    /// The control plane wants it here.
    func prefetch() async {
      await orders.apply(
        .with {
          $0.stage = [
            .with {
              $0.key = FluidClusterTests.key.text
              $0.project = "p"
              $0.size = FluidClusterTests.size
              $0.files = 3
              $0.manifest = .with {
                $0.key = "list"
                $0.sha256 = String(repeating: "0", count: 64)
              }
              $0.sources = [.with { $0.origin.uri = "s3://bucket/genomes?endpoint=minio" }]
            }
          ]
        })
    }

    /// What the control plane is told, until `condition` holds.
    func told(
      within limit: Duration = .seconds(60), _ condition: (Fubini_Agent_V1_DataEvent) -> Bool
    ) async throws -> [Fubini_Agent_V1_DataEvent] {
      let deadline = ContinuousClock.now + limit
      var seen: [Fubini_Agent_V1_DataEvent] = []
      while true {
        seen += events.take()
        if seen.contains(where: condition) { return seen }
        guard ContinuousClock.now < deadline else {
          throw FederationError(.deadlineExceeded, "waited in vain; told: \(seen)")
        }
        try await Task.sleep(for: .milliseconds(20))
      }
    }

    func isReady(_ event: Fubini_Agent_V1_DataEvent) -> Bool {
      if case .ready? = event.event { true } else { false }
    }

    /// Of the transfer that is under way.
    func reading() async -> TransferGauge.Reading? { await cache.transfers().first?.reading }

    func dataset() async throws -> JSONValue { try #require(try await fluid.objects("datasets").first) }
    func name() async throws -> String { try #require(try await dataset()["metadata"]?["name"]?.stringValue) }
  }

  private struct Nowhere: ReplicaFetching {
    func fetch(_ wanted: WantedReplica, for run: RunID?, into layout: CacheLayout, _ gauge: TransferGauge) async throws
    {
      throw FederationError(.failedPrecondition, "nothing is fetched here")
    }
  }

  private static func with(
    _ change: (inout FluidConfiguration) -> Void = { _ in }, settlingTime: Duration = .seconds(120),
    _ body: (Setup) async throws -> Void
  ) async throws {
    try await KubernetesFixture.with(settings: { settings in
      var fluid = FluidConfiguration()
      fluid.capacity = .gibibytes(10)
      fluid.runtime = .init(kind: "AlluxioRuntime", spec: ["replicas": 1])
      fluid.datasets["genomes"] = .init()
      change(&fluid)
      settings.fluid = fluid
    }) { fixture in
      let controller = try await FluidController(fixture.cluster, fixture.admin, in: fixture.namespace)
      try await agent(fixture, controller, settlingTime, TemporaryDirectory(), body)
      controller.close()
    }
  }

  /// One life of the agent's data plane.
  private static func agent(
    _ fixture: KubernetesFixture, _ controller: FluidController, _ settlingTime: Duration,
    _ directory: TemporaryDirectory, _ body: (Setup) async throws -> Void
  ) async throws {
    let datasets = try #require(
      FluidDatasets(
        configuration: fixture.configuration, client: fixture.client, settlingTime: settlingTime,
        logger: silentLogger()))
    let replicas = FluidReplicas(datasets)
    let events = DataEventOutbox()
    let cache = try DataCache(
      layout: CacheLayout(directory: directory.path + "/cache"), capacity: 1 << 20,
      fetching: KeptFetching(fluid: replicas, others: Nowhere()), keeper: replicas, events: events)
    let (repository, sources) = (MemoryRepository(), try StoreFixture.sources(directory))
    let orders = ReplicaOrders(
      cache: cache, repository: repository, indexer: OriginIndexer(sources: sources, repository: repository),
      versions: VersionMover(
        cache: cache, repository: repository, sources: sources,
        meters: LinkMeters(TransferMeter(bytesPerSecond: nil))), events: events, logger: silentLogger())
    let running = Task { await replicas.run(cache) }
    defer { running.cancel() }
    try await body(
      Setup(
        fixture: fixture, fluid: controller, replicas: replicas, cache: cache, orders: orders, events: events,
        directory: directory))
    await orders.stopAll()
  }

  @Test("A prefetch order makes Dataset, runtime and DataLoad once; what Fluid has is told, and a run sees its files")
  func prefetch() async throws {
    try await Self.with { setup in
      setup.fluid.behaviour.withLock { $0.isPaused = true }
      await setup.prefetch()
      try await waitUntil(timeout: .seconds(60)) { (try? await setup.fluid.objects("dataloads"))?.count == 1 }
      let dataset = try await setup.dataset()
      #expect(dataset["spec"]?["mounts"]?[0]?["mountPoint"] == "s3://bucket/genomes")
      #expect(dataset["metadata"]?["labels"]?[ObjectName.markLabel]?.stringValue == setup.fixture.executor.mark)
      let name = try await setup.name()
      let load = try #require(try await setup.fluid.objects("dataloads").first)
      // What Fluid's kinds do not know the API server would have taken away.
      #expect(load["spec"]?["dataset"]?["name"]?.stringValue == name)
      #expect(load["spec"]?["target"] == [["path": "/", "replicas": 1]])
      #expect(try await setup.fluid.objects("alluxioruntimes").map { $0["spec"] } == [["replicas": 1]])
      try await waitUntil { await setup.reading()?.waiting.contains("has not begun") == true }
      let requests = try await setup.fixture.quietCount()
      setup.fluid.behaviour.withLock {
        $0.isPaused = false
        $0.step = 5
      }
      // Nothing is asked for while Fluid works: what is known comes by the watches.
      try await waitUntil(timeout: .seconds(60)) { (await setup.reading()?.bytesDone ?? 0) >= Self.size / 4 }
      let told = try await setup.told { setup.isReady($0) }
      #expect(setup.fixture.client.requestCount - requests <= 2)
      let ready = told.last { setup.isReady($0) }
      #expect(ready?.ready.size == Self.size)
      #expect(try await setup.fluid.objects("dataloads").count == 1)
      try setup.fluid.write("ACGT\n", to: "a.txt", of: name)
      let request = setup.fixture.request(RunID(incarnation: 5, counter: 1), "cat /data/a.txt; ! touch /data/b") {
        $0.spec.datasets = [
          MountedDataset(
            object: DataObject(key: Self.key, project: "p", size: ByteCount(Self.size)), mountPath: "/data")
        ]
        $0 = $0.mounting(from: setup.cache)
      }
      try await setup.fixture.submit(request)
      let end = try await setup.fixture.end(of: request.id)
      #expect(end.phase == .succeeded, "\(end.message) \(setup.fixture.log(request.id))")
      #expect(setup.fixture.log(request.id).contains("ACGT"))
    }
  }

  @Test("A Dataset that its cluster's people made is used, and stays when the replica is evicted")
  func named() async throws {
    try await Self.with({
      $0.runtime = nil
      $0.datasets["genomes"]!.dataset = "archive"
    }) { setup in
      await setup.prefetch()
      _ = try await setup.told { $0.progress.waiting.contains("no Dataset") }
      try await setup.fluid.makeDataset("archive")
      _ = try await setup.told { setup.isReady($0) }
      await setup.orders.apply(.with { $0.evict = [Self.key.text] })
      _ = try await setup.told { $0.gone.reason == "evicted" }
      try await waitUntil(timeout: .seconds(60)) { (try? await setup.fluid.objects("dataloads"))?.isEmpty == true }
      #expect(try await setup.name() == "archive")
    }
  }

  @Test("What was made for a replica goes when it is evicted")
  func evicted() async throws {
    try await Self.with { setup in
      await setup.prefetch()
      _ = try await setup.told { setup.isReady($0) }
      await setup.orders.apply(.with { $0.evict = [Self.key.text] })
      // The runtime is the Dataset's: Kubernetes takes it along.
      for resource in ["dataloads", "datasets", "alluxioruntimes"] {
        try await waitUntil(timeout: .seconds(60)) { (try? await setup.fluid.objects(resource))?.isEmpty == true }
      }
      // And comes again.
      await setup.prefetch()
      _ = try await setup.told { setup.isReady($0) }
      #expect(try await setup.fluid.objects("datasets").count == 1)
    }
  }

  @Test("A Dataset whose cache went down says so, and the next order loads it again")
  func cacheLost() async throws {
    try await Self.with(settlingTime: .seconds(2)) { setup in
      await setup.prefetch()
      _ = try await setup.told { setup.isReady($0) }
      setup.fluid.set(60, of: try await setup.name())
      _ = try await setup.told { $0.gone.reason == "evicted" }
      let first = try #require(try await setup.fluid.objects("dataloads").first)
      await setup.prefetch()
      _ = try await setup.told { setup.isReady($0) }
      let second = try #require(try await setup.fluid.objects("dataloads").first)
      #expect(first["metadata"]?["uid"] != second["metadata"]?["uid"], "the one that was complete brings nothing more")
    }
  }

  @Test("A DataLoad that fails, or brings too little, is told with Fluid's words and tried again")
  func failures() async throws {
    try await Self.with(settlingTime: .seconds(1)) { setup in
      setup.fluid.behaviour.withLock { $0.failsLoads = true }
      await setup.prefetch()
      _ = try await setup.told { $0.progress.waiting.contains("no such bucket") }
      setup.fluid.behaviour.withLock {
        $0.failsLoads = false
        $0.ceiling = 80
      }
      let told = try await setup.told { $0.progress.waiting.contains("80.0 %") }
      let isReady = told.contains { setup.isReady($0) }
      #expect(!isReady)
      setup.fluid.behaviour.withLock { $0.ceiling = 100 }
      _ = try await setup.told { setup.isReady($0) }
    }
  }

  @Test("A Dataset that holds something else than the version is no replica of it")
  func otherVersion() async throws {
    try await Self.with { setup in
      setup.fluid.behaviour.withLock { $0.files = "4" }
      await setup.prefetch()
      let told = try await setup.told { !$0.failed.message.isEmpty }
      let says = told.contains { $0.failed.message.contains("4 files, not 3") }
      #expect(says, "\(told)")
    }
  }

  @Test("I7: a namesake of somebody else's is neither used nor changed nor deleted")
  func namesake() async throws {
    try await Self.with { setup in
      let place = try #require(setup.fixture.configuration.fluidPlace(of: Self.key))
      try await setup.fluid.makeDataset(place.dataset, labels: ["app": "theirs"])
      await setup.prefetch()
      let told = try await setup.told { !$0.failed.message.isEmpty }
      let says = told.contains { $0.failed.message.contains("somebody else's") }
      #expect(says, "\(told)")
      await setup.orders.apply(.with { $0.evict = [Self.key.text] })
      try await Task.sleep(for: .seconds(2))
      let dataset = try await setup.dataset()
      #expect(dataset["spec"]?["mounts"]?[0]?["mountPoint"] == "s3://theirs/x")
      #expect(dataset["metadata"]?["deletionTimestamp"] == nil)
      #expect(try await setup.fluid.objects("dataloads").isEmpty)
    }
  }

  @Test(
    "An agent that dies while Fluid loads goes on with the same objects, and knows what went down while it was away")
  func restart() async throws {
    try await KubernetesFixture.with(settings: { settings in
      var fluid = FluidConfiguration()
      fluid.capacity = .gibibytes(10)
      fluid.runtime = .init(kind: "AlluxioRuntime", spec: [:])
      fluid.datasets["genomes"] = .init()
      settings.fluid = fluid
    }) { fixture in
      let controller = try await FluidController(fixture.cluster, fixture.admin, in: fixture.namespace)
      defer { controller.close() }
      let directory = try TemporaryDirectory()
      controller.behaviour.withLock { $0.isPaused = true }
      try await Self.agent(fixture, controller, .seconds(60), directory) { setup in
        await setup.prefetch()
        try await waitUntil(timeout: .seconds(60)) { (try? await controller.objects("dataloads"))?.count == 1 }
      }
      let before = try await controller.objects("dataloads").map { $0["metadata"]?["uid"] }
      controller.behaviour.withLock { $0.isPaused = false }
      try await Self.agent(fixture, controller, .seconds(60), directory) { setup in
        await setup.prefetch()
        _ = try await setup.told { setup.isReady($0) }
        #expect(try await controller.objects("dataloads").map { $0["metadata"]?["uid"] } == before)
        #expect(try await controller.objects("datasets").count == 1)
      }
      let name = try #require(try await controller.objects("datasets").first?["metadata"]?["name"]?.stringValue)
      controller.set(10, of: name)
      try await Task.sleep(for: .seconds(1))
      try await Self.agent(fixture, controller, .seconds(60), directory) { setup in
        // Told only of what counted as here when the agent began.
        _ = try await setup.told { $0.gone.reason == "evicted" }
        #expect(await !setup.cache.contains(Self.key))
      }
    }
  }
}
