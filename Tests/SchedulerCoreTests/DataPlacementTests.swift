import FederationModel
import SchedulerCore
import Testing

/// Data by name in placement passes: where the bytes are, what is on its way, what a pass wants moved.
@Suite("Placement and data")
struct DataPlacementTests {
  private static func cluster(
    _ name: ClusterName, slots: Int = 4, free: Int? = nil, megabytes: Double = 10, labels: [String: String] = [:],
    cache: CacheView? = nil, egress: Double = 0, speed: Double = 1, firstEnd: Double? = nil, closed: String? = nil
  ) -> ClusterView {
    let capacity = Resources(cpuMillicores: Int64(slots) * 1000, memory: .gibibytes(64))
    let taken = Resources(cpuMillicores: Int64(slots - (free ?? slots)) * 1000)
    return ClusterView(
      spec: ClusterSpec(
        name: name, kind: .process, labels: labels,
        prices: egress == 0 ? nil : PriceSheet(currency: "CNY", egressGibibyte: egress)),
      inventory: ClusterInventory(
        capacity: capacity, slots: slots, images: [ImageRule(pattern: "*", runsAs: "host")],
        cache: egress == 0
          ? nil : CacheInventory(name: name.text, capacity: .gibibytes(1000), exportURL: "https://\(name)")),
      closedBecause: closed, free: capacity - taken, freeSlots: free ?? slots, bandwidth: megabytes * 1e6,
      bandwidthOut: megabytes * 1e6, speed: speed, cache: cache, firstEnd: firstEnd, meanRun: firstEnd == nil ? 0 : 100)
  }

  private static func group(
    _ data: [DataKey], count: Int = 1, runtime: Double = 10, known: Bool = true, tail: Double = 0,
    deadline: Double? = nil, priority: PriorityClass = .interruptible
  ) -> PendingGroup {
    var hints = FederationHints()
    hints.priorityClass = priority
    return PendingGroup(
      requirement: Requirement(
        project: "p", image: "i", copy: Resources(cpuMillicores: 1000), hints: hints, data: data),
      tasks: (0..<count).map { TaskID(workflow: WorkflowID(1), node: NodeID(Int32($0))) },
      expectedRuntime: .seconds(runtime), isRuntimeKnown: known, tail: tail, deadline: deadline)
  }

  private static func at(_ cluster: ClusterName, _ megabytes: Int64, origin: Double? = nil) -> DataView {
    DataView(size: ByteCount(megabytes * 1_000_000), copies: [DataCopy(cluster: cluster)], origin: origin)
  }

  private static func plan(
    _ clusters: [ClusterView], _ groups: [PendingGroup], _ data: [DataKey: DataView], upcoming: [PendingGroup] = []
  ) -> PlacementPlan {
    PlacementPlanner().plan(
      SchedulingSnapshot(clusters: clusters, groups: groups, upcoming: upcoming, data: data))
  }

  @Test("an input that is on its way counts as seconds and not as bytes: the task follows it")
  func inFlight() throws {
    let clusters = [Self.cluster("a"), Self.cluster("b")]
    var view = DataView(size: ByteCount(1_000_000_000), origin: 1e9)
    view.copies = [DataCopy(cluster: "b", eta: 40, isThere: false)]
    let plan = Self.plan(clusters, [Self.group(["x"])], ["x": view])
    #expect(plan.placements.map(\.cluster) == ["b"] && plan.stagings.isEmpty)
    let estimate = try #require(plan.tables[0].candidates[1].estimate)
    #expect(estimate.stageSeconds == 40 && estimate.missing == .zero && estimate.inFlight.bytes == 1_000_000_000)
    view.copies[0].eta = 200
    #expect(Self.plan(clusters, [Self.group(["x"])], ["x": view]).placements.map(\.cluster) == ["a"])
  }

  @Test("what a fan-out reads is moved to a cluster once, from whoever has it, and the choice names the source (I5)")
  func movesOnce() throws {
    let clusters = [Self.cluster("a", slots: 8), Self.cluster("b", closed: "cordoned")]
    let plan = Self.plan(clusters, [Self.group(["x"], count: 8)], ["x": Self.at("b", 100)])
    #expect(plan.placements.count == 8)
    #expect(plan.stagings == [Staging(data: "x", cluster: "a", source: "b", isSpeculative: false)])
    #expect(plan.placements.map(\.moving.bytes) == [100_000_000] + Array(repeating: 0, count: 7))
    let estimate = try #require(plan.tables[0].candidates[0].estimate)
    #expect(estimate.source == "b" && estimate.stageSeconds == 10)
  }

  @Test("the link out of a source is promised like the one into a cluster")
  func backlogOut() {
    var source = Self.cluster("b", closed: "cordoned")
    source.backlogOut = ByteCount(1_000_000_000)
    // 100 s of others' bytes are ahead at b; the repository is slower than b's link, and idle.
    let plan = Self.plan(
      [Self.cluster("a"), source], [Self.group(["x"])], ["x": Self.at("b", 100, origin: 2e6)])
    #expect(plan.stagings == [Staging(data: "x", cluster: "a", source: nil, isSpeculative: false)])
    #expect(plan.tables[0].candidates[0].estimate?.stageSeconds == 50)
  }

  @Test("what one task has a source send keeps the next one from it")
  func promisesOut() {
    var (reader, source) = (Self.cluster("a", slots: 8), Self.cluster("b", closed: "cordoned"))
    reader.bandwidth = 1e9
    source.bandwidthOut = 10e6
    // For 100 s b sends what the first task reads; the repository is slower than b's link, and idle.
    let data: [DataKey: DataView] = ["x": Self.at("b", 1000), "y": Self.at("b", 100, origin: 2e6)]
    let plan = Self.plan([reader, source], [Self.group(["x"]), Self.group(["y"])], data)
    #expect(plan.stagings.map(\.source) == ["b", nil])
    #expect(plan.tables.map { $0.candidates[0].estimate?.stageSeconds } == [100, 50])
  }

  @Test("a cluster that sends to nobody keeps its copies for its own tasks")
  func sendsNothing() {
    var shut = Self.cluster("b", closed: "cordoned")
    shut.bandwidthOut = 0
    func plan(_ origin: Double?) -> PlacementPlan {
      Self.plan([Self.cluster("a"), shut], [Self.group(["x"])], ["x": Self.at("b", 100, origin: origin)])
    }
    #expect(plan(1e6).stagings == [Staging(data: "x", cluster: "a", source: nil, isSpeculative: false)])
    #expect(plan(nil).placements.isEmpty)
    shut.closedBecause = nil
    #expect(plan(nil).placements.map(\.cluster) == ["b"])
  }

  @Test("I10: what must not leave its domain, and what nobody can send, are reasons of their own")
  func reasons() {
    var confined = Self.at("a", 10, origin: 1e9)
    confined.allowedClusters = ["zone": "de"]
    var away = Self.cluster("b", closed: "AgentOffline")
    away.isReachable = false
    let clusters = [Self.cluster("a", labels: ["zone": "de"]), away, Self.cluster("c", labels: ["zone": "fr"])]
    func codes(_ data: [DataKey: DataView]) -> [String?] {
      PlacementPlanner().explain(
        Self.group(["x"]), in: SchedulingSnapshot(clusters: clusters, groups: [], data: data)
      ).candidates.map { $0.rejection?.code }
    }
    #expect(codes(["x": confined]) == [nil, "Residency", "Residency"])
    #expect(codes(["x": Self.at("b", 10)]) == ["NoReplica", "Closed", "NoReplica"])
    #expect(codes([:]) == ["NoReplica", "NoReplica", "NoReplica"])
    #expect(codes(["x": Self.at("c", 10)]) == [nil, "Closed", nil])
  }

  @Test("I4: the whole input set must fit into the cache, if need be after evicting, beside what the pass has promised")
  func cacheRoom() {
    func cache(_ used: Int64, _ evictable: Int64) -> CacheView {
      CacheView(id: "c", capacity: ByteCount(100_000_000), used: ByteCount(used), evictable: ByteCount(evictable))
    }
    func code(_ cache: CacheView, _ megabytes: Int64) -> String? {
      PlacementPlanner().explain(
        Self.group(["x"]),
        in: SchedulingSnapshot(
          clusters: [Self.cluster("a", cache: cache)], groups: [],
          data: ["x": DataView(size: ByteCount(megabytes * 1_000_000), origin: 1e9)])
      ).candidates[0].rejection?.code
    }
    #expect(code(cache(60_000_000, 0), 40) == nil)
    #expect(code(cache(60_000_000, 0), 41) == "CacheFull")
    #expect(code(cache(60_000_000, 1_000_000), 41) == nil)
    #expect(code(cache(0, 0), 101) == "CacheTooSmall")
    let plan = Self.plan(
      [Self.cluster("a", cache: cache(0, 0))], [Self.group(["x"]), Self.group(["y"])],
      [
        "x": DataView(size: ByteCount(60_000_000), origin: 1e9),
        "y": DataView(size: ByteCount(50_000_000), origin: 1e9),
      ])
    #expect(plan.placements.count == 1 && plan.stagings.map(\.data) == ["x"])
  }

  @Test("I5: a task for which there is no room, nobody knows how long, has its data brought meanwhile")
  func warmsWithoutRoom() {
    let full = [Self.cluster("a", free: 0, megabytes: 1), Self.cluster("b", free: 0)]
    let plan = Self.plan(
      full, [Self.group(["x"], known: false)], ["x": DataView(size: ByteCount(40_000_000), origin: .infinity)])
    #expect(plan.placements.isEmpty)
    #expect(plan.stagings == [Staging(data: "x", cluster: "b", isSpeculative: true)])
    let paid = [Self.cluster("a", free: 0), Self.cluster("b", slots: 0, egress: 100)]
    #expect(
      Self.plan(paid, [Self.group(["x"], known: false)], ["x": Self.at("b", 1)]).stagings.isEmpty,
      "a guess costs no money")
  }

  @Test("a short task waits behind short ones, and not behind a run of which nobody knows when it ends")
  func shortBehindLong() {
    var busy = Self.cluster("a", slots: 1, free: 0)
    busy.free = busy.inventory.capacity
    let group = Self.group([], runtime: 0.1)
    busy.longRuns = 1
    #expect(Self.plan([busy, Self.cluster("b")], [group], [:]).placements.map(\.cluster) == ["b"])
    #expect(Self.plan([busy], [group], [:]).placements.isEmpty)
    busy.longRuns = 0
    #expect(Self.plan([busy], [group], [:]).placements.map(\.cluster) == ["a"])
  }

  @Test("I10: files of a cluster that shows them to nobody keep their readers there")
  func confinedToItsCluster() {
    var view = Self.at("a", 10)
    view.isConfined = true
    let clusters = [Self.cluster("a", free: 0), Self.cluster("b")]
    let group = Self.group(["x"], known: false)
    #expect(Self.plan(clusters, [group], ["x": view]).placements.isEmpty)
    let table = PlacementPlanner().explain(
      group, in: SchedulingSnapshot(clusters: clusters, groups: [], data: ["x": view]))
    #expect(table.candidates.map { $0.rejection?.code } == ["Full", "NoReplica"])
  }

  @Test("clusters that share a cache share its replicas and its room, and one transfer serves both")
  func sharedCache() {
    let cache = CacheView(id: "gpfs", capacity: .gibibytes(100))
    let clusters = [
      Self.cluster("a", slots: 1, cache: cache), Self.cluster("b", slots: 1, cache: cache), Self.cluster("c", slots: 0),
    ]
    #expect(Self.plan(clusters, [Self.group(["x"])], ["x": Self.at("b", 1000)]).stagings.isEmpty)
    let both = Self.plan(clusters, [Self.group(["x"], count: 2)], ["x": Self.at("c", 1000)])
    #expect(both.placements.count == 2 && both.stagings.count == 1)
  }

  @Test("late binding: a task is handed to a full cluster only when its inputs take longer than the slot")
  func aheadOfItsSlot() {
    // 100 s of bytes; the slot is free in 50 s, or in 200.
    let data: [DataKey: DataView] = ["x": DataView(size: ByteCount(1_000_000_000), origin: 1e9)]
    let soon = Self.plan([Self.cluster("a", free: 0, firstEnd: 50)], [Self.group(["x"])], data)
    #expect(soon.placements.map(\.isAhead) == [true])
    #expect(soon.stagings.map(\.isSpeculative) == [false])
    let late = Self.plan([Self.cluster("a", free: 0, firstEnd: 200)], [Self.group(["x"])], data)
    #expect(late.placements.isEmpty && !late.isHolding)
    #expect(late.stagings == [Staging(data: "x", cluster: "a", source: nil, isSpeculative: true)])
    // Nor does it go past a gang for which that slot is kept (I6).
    var full = Self.cluster("a", free: 0, firstEnd: 50)
    full.inventory.startsGangs = true
    full.releases = [ExpectedRelease(resources: full.inventory.capacity, end: 50)]
    var gang = Self.group([])
    gang.requirement.hints.gangSize = 4
    let behind = Self.plan([full], [gang, Self.group(["x"])], data)
    #expect(behind.placements.isEmpty && behind.stagings.map(\.isSpeculative) == [true])
    // Nobody knows when the slot will be free: nothing is placed for it, and its data comes meanwhile.
    let unknown = Self.plan([Self.cluster("a", free: 0)], [Self.group(["x"])], data)
    #expect(unknown.placements.isEmpty && unknown.stagings == late.stagings)
  }

  @Test("a task waits for a slot beside its data when that is sooner than to move them to a free one; not on a guess")
  func waitsForBetter() throws {
    // 10 GB at 10 MB/s are 1000 s; the slot beside them is free in 60 s.
    let clusters = [Self.cluster("a"), Self.cluster("b", free: 0, firstEnd: 60)]
    let data: [DataKey: DataView] = ["x": Self.at("b", 10_000)]
    let held = Self.plan(clusters, [Self.group(["x"])], data)
    #expect(held.placements.isEmpty && held.isHolding && held.stagings.isEmpty)
    let table = PlacementPlanner().explain(
      Self.group(["x"]), in: SchedulingSnapshot(clusters: clusters, groups: [], data: data))
    #expect(table.candidates.map { $0.rejection?.code } == ["HeldForBetter", "Full"])
    let guessed = Self.plan(clusters, [Self.group(["x"], known: false)], data)
    #expect(guessed.placements.map(\.cluster) == ["a"])
    let slow = [Self.cluster("a"), Self.cluster("b", free: 0, firstEnd: 2000)]
    #expect(Self.plan(slow, [Self.group(["x"])], data).placements.map(\.cluster) == ["a"])
  }

  @Test("of many that wait, as many as are sooner there wait for slots, and the others go")
  func spreadsWaiting() {
    // A slot of one in 30 s and then every 100 s; elsewhere 200 s of bytes, once.
    let clusters = [Self.cluster("a", slots: 8), Self.cluster("b", slots: 1, free: 0, firstEnd: 30)]
    let plan = Self.plan(
      clusters, [Self.group(["x"], count: 8, runtime: 100)], ["x": Self.at("b", 2000)])
    #expect(plan.placements.count == 6 && plan.placements.allSatisfy { $0.cluster == "a" })
    #expect(plan.isHolding && plan.stagings.map(\.isSpeculative) == [false])
  }

  @Test("prefetch: idle links bring what upcoming tasks read to where they would go; nothing of it is placed")
  func prefetches() {
    let data: [DataKey: DataView] = ["x": Self.at("b", 100), "y": Self.at("b", 100)]
    func upcoming(_ cluster: ClusterView, _ keys: [DataKey], _ priority: PriorityClass = .interruptible) -> [Staging] {
      let plan = Self.plan(
        [cluster, Self.cluster("b", slots: 0)], [], data, upcoming: [Self.group(keys, priority: priority)])
      #expect(plan.placements.isEmpty)
      return plan.stagings
    }
    let one = [Staging(data: "x", cluster: "a", source: "b", isSpeculative: true)]
    #expect(upcoming(Self.cluster("a"), ["x"]) == one)
    #expect(upcoming(Self.cluster("a"), ["x", "y"]) == one, "one at a time over a link")
    var busy = Self.cluster("a")
    busy.backlogIn = ByteCount(1)
    #expect(upcoming(busy, ["x"]).isEmpty, "a link that works is not idle")
    #expect(upcoming(Self.cluster("a", egress: 5), ["x"]) == one, "what leaves b has b's price")
    let paid = Self.plan(
      [Self.cluster("a"), Self.cluster("b", slots: 0, egress: 5)], [], data, upcoming: [Self.group(["x"])])
    #expect(paid.stagings.isEmpty, "what may be in vain costs no money")
    let full = CacheView(
      id: "c", capacity: ByteCount(150_000_000), used: ByteCount(100_000_000), evictable: ByteCount(100_000_000))
    #expect(upcoming(Self.cluster("a", cache: full), ["x"]).isEmpty, "nothing is evicted for it")
  }

  @Test(
    "bytes cost what the cluster asks that they leave: a task stays with dear ones, and pays for them where it goes")
  func egress() throws {
    // 93 fen for 10 MB, which two lambdas make 186 s.
    func clusters(_ egress: Double, free: Int = 1) -> [ClusterView] {
      [Self.cluster("a", free: free, egress: egress, speed: 0.5), Self.cluster("b", egress: 1e-6)]
    }
    let data: [DataKey: DataView] = ["x": Self.at("a", 10)]
    #expect(Self.plan(clusters(1e-6), [Self.group(["x"])], data).placements.map(\.cluster) == ["b"])
    #expect(Self.plan(clusters(10_000), [Self.group(["x"])], data).placements.map(\.cluster) == ["a"])
    // It is full: the bytes leave it all the same.
    let plan = Self.plan(clusters(10_000, free: 0), [Self.group(["x"])], data)
    let placement = try #require(plan.placements.first)
    #expect(placement.cluster == "b" && placement.sources == ["a": ByteCount(10_000_000)])
    let estimate = try #require(plan.tables[placement.table].candidates[1].estimate)
    let price = 10_000 * 1e7 / 1_073_741_824
    #expect(estimate.egressMinorUnits == price && estimate.priceMinorUnits == price)
    #expect(estimate.sources == ["a": ByteCount(10_000_000)])
    #expect(plan.tables[placement.table].json.description.contains(#""sources":{"a":10000000}"#))
    #expect(plan.tables[placement.table].candidates[0].estimate?.egressMinorUnits == 0, "nothing leaves it")
  }

  @Test("what leaves a source counts against maxPrice and the budget; a price in another currency cannot be charged")
  func egressIsBounded() {
    let data: [DataKey: DataView] = ["x": Self.at("a", 10)]
    var dear = [Self.cluster("a", free: 0, egress: 10_000), Self.cluster("b", egress: 1e-6)]
    var group = Self.group(["x"])
    group.requirement.hints.maxPrice = Money("0.93 CNY")
    func rejection() -> String? {
      PlacementPlanner().explain(group, in: SchedulingSnapshot(clusters: dear, groups: [group], data: data))
        .candidates[1].rejection?.code
    }
    #expect(rejection() == "TooExpensive", "93.13 fen")
    group.requirement.hints.maxPrice = Money("0.94 CNY")
    #expect(rejection() == nil)
    group.budget = BudgetView(
      currency: "CNY", available: Amount("0.93")!, unspent: Amount("0.93")!, defaultWalltime: .seconds(60))
    #expect(rejection() == "OverBudget")
    dear[0].spec.prices!.currency = "USD"
    #expect(rejection() == nil)
    dear[0].spec.prices!.currency = "CNY"
    dear[0].inventory.cache!.exportURL = nil
    #expect(rejection() == nil, "through the repository it costs nothing")
  }

  @Test("a deadline makes seconds dear: a task pays for the faster cluster when its tail would be late")
  func deadline() {
    var dear = Self.cluster("b")
    dear.spec.prices = PriceSheet(currency: "CNY", coreHour: 3600)
    dear.speed = 2
    // 50 s sooner for 50 minor units, which count 100 s.
    func chosen(tail: Double, deadline: Double?) -> [ClusterName] {
      Self.plan(
        [Self.cluster("a"), dear], [Self.group([], runtime: 100, tail: tail, deadline: deadline)], [:]
      ).placements.map(\.cluster)
    }
    #expect(chosen(tail: 0, deadline: nil) == ["a"])
    #expect(chosen(tail: 0, deadline: 100) == ["a"])
    #expect(chosen(tail: 30, deadline: 100) == ["b"])
  }

  @Test("what many read is moved sooner than what one reads: each bears a part of it")
  func futureReuse() {
    // 20 s of bytes, or a queue of 17 s beside them, for one of many.
    let clusters = [Self.cluster("a", slots: 100), Self.cluster("b", slots: 1, free: 0, firstEnd: 17)]
    func first(_ count: Int) -> [ClusterName] {
      var group = Self.group(["x"], runtime: 5)
      group.waiting = count
      return PlacementPlanner(weights: PlacementWeights(nu: 0.25)).plan(
        SchedulingSnapshot(clusters: clusters, groups: [group], data: ["x": Self.at("b", 200)])
      ).placements.map(\.cluster)
    }
    #expect(first(1).isEmpty)
    #expect(first(100) == ["a"])
  }

  @Test("inputs of 1 MiB and more have names, smaller ones are volumes, so that a fan-out stays one group")
  func naming() {
    func spec(_ size: Int64, _ hash: String) -> TaskSpec {
      TaskSpec(inputs: [
        InputArtifact(
          name: "in", path: "/in",
          source: .stored(
            StoredArtifact(key: hash, size: ByteCount(size), sha256: hash, archive: .none, producedOn: "a")))
      ])
    }
    func requirement(_ size: Int64, _ hash: String) -> Requirement {
      Requirement(template: TemplateKey(project: "p", name: "t", program: 1), spec: spec(size, hash))
    }
    let limit = Requirement.namedSize.bytes
    #expect(requirement(limit - 1, "aa") == requirement(limit - 1, "bb"))
    #expect(requirement(limit, "aa").data == ["sha256:aa"] && requirement(limit, "aa").inputs.isEmpty)
  }
}
