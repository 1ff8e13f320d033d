import FederationModel
import SchedulerCore
import Testing

@testable import ControlPlaneCore

/// What transfers teach of links: what a pass reckons with, and where an agent looks first.
@Suite("Links are learnt from transfers")
struct LinkLearningTests {
  private let water = DatasetReference(project: "default", name: "water")
  private let key = DataKey(project: "default", dataset: "water", version: 1)
  private let gigabyte = ByteCount.gibibytes(1)

  /// `a` and `b` show their caches to others, `c` does not.
  private static func federation() -> Federation {
    var federation = Federation(seed: 3, clusters: ["a", "b", "c"])
    for name: ClusterName in ["a", "b", "c"] {
      federation.disconnect(name)
      var cache = CacheInventory(name: name.text, capacity: .gibibytes(100))
      if name != "c" { cache.exportURL = "https://\(name):1" }
      federation.agents[name]!.cache = cache
      federation.connect(name)
    }
    federation.settle()
    federation.deliverAll()
    return federation
  }

  private func view(_ name: String, _ federation: Federation) -> ClusterView? {
    federation.core.views().first { $0.spec.name.text == name }
  }

  @Test("a slow transfer between clusters is put down to the sender, until another one from there is faster")
  func sender() throws {
    var federation = Self.federation()
    federation.createWater()
    federation.uploadWater()
    federation.tell("a", key, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "b")))
    let slow = DataSource.export("a", url: "https://a:1")
    federation.tell("b", key, .ready(size: gigabyte, moved: gigabyte, milliseconds: 107_374, source: slow))
    let rate = Double(gigabyte.bytes) / 107.374
    #expect(view("a", federation).map { abs($0.bandwidthOut - rate) < 1 } == true)
    #expect(view("b", federation)?.bandwidth == 50_000_000, "its own link may be as fast as any")
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "c")))
    let order = try #require(federation.agents["c"]!.orders.stage.first)
    // Of those that nobody has tried caches come first.
    #expect(order.sources.map(\.name) == ["a", "b", "repository"])
    federation.tell("c", key, .ready(size: gigabyte, moved: gigabyte, milliseconds: 10_737, source: slow))
    #expect(view("a", federation)!.bandwidthOut > 9 * rate)
    #expect(view("c", federation)!.bandwidth > 9 * rate)
  }

  @Test("an agent is sent first to the source that has been fast for it")
  func order() throws {
    var federation = Self.federation()
    federation.createWater()
    federation.uploadWater()
    federation.uploadWater()
    let second = DataKey(project: "default", dataset: "water", version: 2)
    federation.tell("a", key, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    federation.tell("a", second, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "b")))
    #expect(federation.agents["b"]!.orders.stage.first?.sources.map(\.name) == ["a", "repository"])
    federation.tell(
      "b", key,
      .ready(size: gigabyte, moved: gigabyte, milliseconds: 107_374, source: .export("a", url: "https://a:1")))
    _ = federation.ask(.dataset(water, .prefetch(version: 2, cluster: "b")))
    let order = try #require(federation.agents["b"]!.orders.stage.first { $0.key == second })
    #expect(order.sources.map(\.name) == ["repository", "a"], "nobody has tried the repository, and a was slow")
  }

  @Test("a neighbour that is known to be fast is asked before what nobody has tried")
  func fastFirst() throws {
    var federation = Self.federation()
    federation.createWater()
    for number in 1...2 as ClosedRange<Int32> {
      federation.uploadWater()
      federation.tell(
        "a", DataKey(project: "default", dataset: "water", version: number),
        .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    }
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "b")))
    federation.tell(
      "b", key,
      .ready(size: gigabyte, moved: gigabyte, milliseconds: 1074, source: .export("a", url: "https://a:1")))
    _ = federation.ask(.dataset(water, .prefetch(version: 2, cluster: "b")))
    let order = try #require(federation.agents["b"]!.orders.stage.first { $0.key != key })
    #expect(order.sources.map(\.name) == ["a", "repository"])
  }

  @Test("files of one cluster are brought into its own cache first, where another one can read them")
  func home() throws {
    var federation = Self.federation()
    federation.createWater(origin: DataOrigin(uri: "file://a/data"))
    _ = federation.ask(.dataset(water, .addVersion(.origin(path: "", via: "a"))))
    let manifest = StoredArtifact(
      key: "datasets/water/1/manifest", size: ByteCount(9), sha256: String(repeating: "0a", count: 32), archive: .none)
    federation.tell("a", key, .indexed(failure: "", manifest: manifest, files: 3, size: gigabyte))
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "b")))
    #expect(federation.agents["a"]!.orders.stage.map(\.key) == [key])
    #expect(federation.agents["b"]!.orders.stage.first?.sources.map(\.name) == ["a"])
  }
}

extension DataSource {
  fileprivate var name: String {
    switch self {
    case .repository: "repository"
    case .origin: "origin"
    case .archive: "archive"
    case .export(let cluster, _): cluster.text
    }
  }
}
