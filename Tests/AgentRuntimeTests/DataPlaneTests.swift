import Crypto
import FederationAPI
import FederationModel
import FederationPKI
import FoundationEssentials
import SwiftProtobuf
import Synchronization
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// The real agent with real runs against a control plane over TLS: data sets, orders and outputs that stay.
@Suite(.serialized) struct DataPlaneTests {
  private struct Cluster {
    let plane: FakeControlPlane
    let directory: TemporaryDirectory
    var state: String { directory.path + "/state" }
    var configuration: String { directory.path + "/agent.yaml" }
    var cache: CacheLayout { CacheLayout(directory: directory.path + "/cache") }
    var log: String { (try? directory.read("agent.log")) ?? "" }

    init(_ plane: FakeControlPlane, at address: String, sandbox: String = "bubblewrap", extra: String = "") async throws
    {
      self.plane = plane
      directory = try TemporaryDirectory()
      chmod(directory.path, 0o711)
      try directory.write(
        """
        controlPlane: ["\(address)"]
        stateDirectory: \(state)
        sandbox: \(sandbox)
        tenancy: shared
        cgroups: none
        slots: 3
        cache: {directory: \(directory.path)/cache, capacity: 100Mi, origins: [\(directory.path)/origin]}
        \(extra)

        """, to: "agent.yaml")
      var random = SystemRandomNumberGenerator()
      let token = JoinToken(pin: plane.authority.pin, using: &random).text
      let words = [AgentBinary.path, "join", "--config", configuration, "--token", token]
      let result = try await BlockingWork.run { try StepRunner.execute(words).output }
      #expect(result.hasPrefix("joined as cluster edge-1"), "\(result)")
    }

    func start() throws -> AgentBinary {
      try AgentBinary(["run", "--config", configuration], log: directory.path + "/agent.log")
    }

    func events(of key: String) -> [Fubini_Agent_V1_DataEvent] {
      plane.state.withLock { $0.dataEvents.filter { $0.key == key } }
    }
  }

  private func withCluster(
    sandbox: String = "bubblewrap", extra: String = "", _ body: @Sendable (Cluster) async throws -> Void
  ) async throws {
    let plane = try FakeControlPlane()
    plane.state.withLock { state in
      state.protocolVersion = 2
      state.capabilities = ["clock", "data"]
    }
    try await plane.serving { address in
      let cluster = try await Cluster(plane, at: address, sandbox: sandbox, extra: extra)
      defer { AgentBinary.endSupervisor(of: cluster.state) }
      try await body(cluster)
    }
  }

  /// As an upload puts it into the repository.
  private static func object(_ sample: SampleDataset, on plane: FakeControlPlane) throws -> Fubini_Agent_V1_DataObject {
    let repository = MemoryRepository()
    let wanted = try sample.packed(in: repository, packMax: 64 << 10)
    let objects = repository.state.withLock { $0.objects }
    plane.state.withLock { $0.artifacts.merge(objects) { $1 } }
    return .with {
      $0.key = wanted.key.text
      $0.project = "p"
      $0.size = wanted.size
      $0.files = wanted.files
      $0.manifest = .init(wanted.manifest!)
      $0.sources = wanted.sources.map { .init($0) }
    }
  }

  private func script(_ number: Int64, _ text: String) -> Fubini_Agent_V1_Assignment {
    assignment(number) {
      $0.spec.command = ["/bin/sh", "-c", text]
      $0.spec.image = "any"
    }
  }

  @Test(
    "I4, I5: runs see a data set read-only at its path, fetched once for all of them and an order",
    .timeLimit(.minutes(2)))
  func mounted() async throws {
    try await withCluster { cluster in
      let plane = cluster.plane
      let object = try Self.object(.small, on: plane)
      let runs = (Int64(1)...3).map { number in
        var run = script(
          number,
          "wc -c < /data/set/d1/f11; touch /data/set/x 2>/dev/null && echo writable; rm /data/set/d1/f11 2>/dev/null && echo gone; :"
        )
        run.spec.datasets = [
          .with {
            $0.object = object
            $0.mountPath = "/data/set"
          }
        ]
        return run
      }
      plane.state.withLock { state in
        state.assignments = runs
        state.orders.stage = [object]
      }
      let agent = try cluster.start()
      defer { agent.end(SIGTERM) }
      try await waitUntil { (Int64(1)...3).allSatisfy { plane.isFinished($0) } }
      for run in Int64(1)...3 {
        #expect(plane.ends(of: run).map(\.phase) == [.succeeded], "\(plane.ends(of: run)) \(cluster.log)")
        #expect(plane.state.withLock { $0.logs[run] } == Data("407\n".utf8))
      }
      try await waitUntil { cluster.events(of: object.key).contains { $0.ready.bytesMoved == object.size } }
      let packs = plane.state.withLock { $0.artifactRequests.filter { $0.key == "pack-0" } }
      #expect(packs.count == 1)
      // The next session begins with a report of everything.
      agent.end(SIGKILL)
      plane.state.withLock { $0.reports = [] }
      let again = try cluster.start()
      defer { again.end(SIGTERM) }
      try await waitUntil { plane.state.withLock { $0.reports.contains { $0.last } } }
      let report = plane.state.withLock { $0.reports }
      #expect(report.flatMap(\.replicas).map(\.key) == [object.key])
      #expect(report.first?.first == true)
    }
  }

  @Test("an agent that was killed amid a transfer goes on with it, and nothing comes twice", .timeLimit(.minutes(2)))
  func killedAmid() async throws {
    try await withCluster { cluster in
      let plane = cluster.plane
      let sample = SampleDataset(
        files: (0..<60).map { (format(number: $0), [UInt8](repeating: UInt8($0), count: 60_000)) })
      let object = try Self.object(sample, on: plane)
      plane.state.withLock { state in
        state.orders.stage = [object]
        // Every answer is cut: the transfer lasts.
        state.getLimitBytes = 20_000
      }
      let first = try cluster.start()
      try await waitUntil { plane.state.withLock { $0.artifactRequests.count } > 6 }
      first.end(SIGKILL)
      plane.state.withLock { $0.getLimitBytes = .max }
      let second = try cluster.start()
      defer { second.end(SIGTERM) }
      try await waitUntil { cluster.events(of: object.key).contains { $0.ready.size == object.size } }
      try sample.expectEqual(cluster.cache.mountSource(DataKey(object.key)))
      #expect(plane.state.withLock { $0.artifactRequests.contains { $0.offset > 0 } })
      // By order: in nobody's name but the project's.
      #expect(plane.state.withLock { $0.artifactRequests.allSatisfy { $0.runID == 0 && $0.project == "p" } })
      // No longer wanted, and not pinned: it goes.
      plane.send(.with { $0.data.evict = [object.key] })
      try await waitUntil { cluster.events(of: object.key).contains { $0.gone.reason == "evicted" } }
      #expect(access(cluster.cache.tree(DataKey(object.key)), F_OK) != 0)
    }
  }

  private func format(number: Int) -> String { "f" + (number < 10 ? "0" : "") + String(number) }

  @Test(
    "an output may stay where it was made; a consumer there moves nothing, and an order stores it",
    .timeLimit(.minutes(2)))
  func unstored() async throws {
    try await withCluster { cluster in
      let plane = cluster.plane
      var producer = script(1, "head -c 3000000 /dev/zero > /out/large; echo x > /out/small; echo made")
      producer.spec.outputArtifacts = ["large", "small"].map { name in
        .with {
          $0.name = name
          $0.path = "/out/" + name
          $0.key = "k/" + name
          $0.archive = .none
          $0.keepUnstored = true
        }
      }
      plane.state.withLock { $0.assignments = [producer] }
      let agent = try cluster.start()
      defer { agent.end(SIGTERM) }
      try await waitUntil { plane.isFinished(1) }
      let outcome = try #require(plane.ends(of: 1).first?.outcome, "\(cluster.log)")
      let large = try #require(outcome.artifacts["large"])
      #expect(large.unstored && large.size == 3_000_000 && outcome.bytesOut == 2)
      #expect(outcome.artifacts["small"]?.unstored == false)
      #expect(plane.state.withLock { $0.artifacts.keys.sorted() } == ["k/small"])
      try await waitUntil { cluster.events(of: "sha256:" + large.sha256).contains { $0.ready.size == 3_000_000 } }
      // On the same cluster it is there already.
      var consumer = script(2, "wc -c < /in/large")
      consumer.spec.inputs = [
        .with {
          $0.name = "large"
          $0.path = "/in/large"
          $0.stored = large
        }
      ]
      let next = [producer, consumer]
      plane.state.withLock { $0.assignments = next }
      plane.send(.with { $0.assign.assignments = [next[1]] })
      try await waitUntil { plane.isFinished(2) }
      #expect(plane.state.withLock { $0.logs[2] } == Data("3000000\n".utf8))
      #expect(plane.ends(of: 2).first?.outcome.bytesIn == 0)
      #expect(plane.state.withLock { $0.artifactRequests.isEmpty })
      plane.send(
        .with {
          $0.data.store = [
            .with {
              $0.key = "sha256:" + large.sha256
              $0.repositoryKey = "k/large"
              $0.project = "p"
            }
          ]
        })
      try await waitUntil { cluster.events(of: "sha256:" + large.sha256).contains { $0.isStored } }
      #expect(cluster.events(of: "sha256:" + large.sha256).last { $0.isStored }?.stored.failure == "")
      #expect(plane.state.withLock { $0.artifacts["k/large"]?.count } == 3_000_000)
    }
  }

  @Test("an origin is listed by order, and staged by its list", .timeLimit(.minutes(2)))
  func indexed() async throws {
    try await withCluster { cluster in
      let plane = cluster.plane
      try SampleDataset.small.write(below: cluster.directory.path + "/origin/set")
      let origin = DataOrigin(uri: "file://edge-1\(cluster.directory.path)/origin/set")
      plane.state.withLock { state in
        state.orders.index = [
          .with {
            $0.key = "dataset:p/o@1"
            $0.project = "p"
            $0.origin.uri = origin.uri
            $0.repositoryKey = "datasets/o/1/manifest"
          }
        ]
      }
      let agent = try cluster.start()
      defer { agent.end(SIGTERM) }
      try await waitUntil { cluster.events(of: "dataset:p/o@1").contains { $0.isIndexed } }
      let listed = try #require(cluster.events(of: "dataset:p/o@1").last { $0.isIndexed }).indexed
      #expect(listed.failure == "" && listed.files == 40 && listed.bytes == SampleDataset.small.size)
      plane.send(
        .with {
          $0.data.stage = [
            .with {
              $0.key = "dataset:p/o@1"
              $0.project = "p"
              $0.size = listed.bytes
              $0.files = listed.files
              $0.manifest = listed.manifest
              $0.sources = [.init(.origin(origin))]
            }
          ]
        })
      try await waitUntil { cluster.events(of: "dataset:p/o@1").contains { $0.ready.size == listed.bytes } }
      try SampleDataset.small.expectEqual(cluster.cache.mountSource("dataset:p/o@1"))
    }
  }

  @Test("without a sandbox there is a link to the data set where the run's own files are", .timeLimit(.minutes(2)))
  func unsandboxed() async throws {
    try await withCluster(sandbox: "none") { cluster in
      let plane = cluster.plane
      let object = try Self.object(.small, on: plane)
      var run = script(1, "wc -c < ../data/set/d1/f11")
      run.spec.datasets = [
        .with {
          $0.object = object
          $0.mountPath = "/data/set"
        }
      ]
      let assigned = run
      plane.state.withLock { $0.assignments = [assigned] }
      let agent = try cluster.start()
      defer { agent.end(SIGTERM) }
      try await waitUntil { plane.isFinished(1) }
      #expect(plane.ends(of: 1).map(\.phase) == [.succeeded], "\(plane.ends(of: 1)) \(cluster.log)")
      #expect(plane.state.withLock { $0.logs[1] } == Data("407\n".utf8))
    }
  }
}

extension Fubini_Agent_V1_DataEvent {
  fileprivate var isStored: Bool { if case .stored = event { true } else { false } }
  fileprivate var isIndexed: Bool { if case .indexed = event { true } else { false } }
}
