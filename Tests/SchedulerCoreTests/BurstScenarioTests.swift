import FederationModel
import SchedulerCore
import Testing

/// Ten times the load, in virtual time: passes as the control plane makes them, on each arrival and each end.
@Suite("Scenario: federation burst")
struct BurstScenarioTests {
  struct Start {
    var at: Double
    var arrived: Double
    var cluster: ClusterName
    /// Of its kind, when it was placed, itself among them.
    var waiting: Int
    var localFree: Int
  }

  static let runtime = 60.0
  static let slots: [ClusterName: Int] = ["local": 8, "cloud": 20, "dear": 500, "hpc": 200]
  static let prices: [ClusterName: Double] = ["cloud": 300, "dear": 5000, "hpc": 200]
  static let threshold = 300.0
  /// 5 fen for the cloud, 4 for the supercomputer, 84 for the dear one.
  static let limit = Money("0.10 CNY")
  /// Seconds; half the load of eight slots before and after, and ten times as much between.
  static let (peakBegin, peakEnd, end) = (3600.0, 5400.0, 14_400.0)

  static func arrivals(seed: UInt64) -> [Double] {
    var state = seed
    /// Between 0 and 1. - Source: Knuth, MMIX's linear congruence.
    func random() -> Double {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Double(state >> 11) / Double(1 << 53)
    }
    var times: [Double] = []
    var now = 0.0
    while now < end {
      let mean = (peakBegin..<peakEnd).contains(now) ? 1.5 : 15.0
      now += mean * (0.5 + random())
      times.append(now)
    }
    return times
  }

  static func simulate(_ arrivals: [Double]) -> [Start] {
    var taken: [ClusterName: Int] = [:]
    var ends: [(at: Double, cluster: ClusterName)] = []
    var waiting: [(task: TaskID, arrived: Double)] = []
    var starts: [Start] = []
    var next = 0
    let requirement = Burst.requirement(threshold: .seconds(threshold), price: limit)
    while next < arrivals.count || !ends.isEmpty {
      let firstEnd = ends.map(\.at).min() ?? .infinity
      let now = min(firstEnd, next < arrivals.count ? arrivals[next] : .infinity)
      for ended in ends where ended.at <= now { taken[ended.cluster]! -= 1 }
      ends.removeAll { $0.at <= now }
      while next < arrivals.count, arrivals[next] <= now {
        waiting.append((TaskID(workflow: WorkflowID(1), node: NodeID(Int32(next))), arrivals[next]))
        next += 1
      }
      let clusters = slots.keys.sorted().map { name in
        Burst.cluster(
          name, slots: slots[name]!, free: slots[name]! - (taken[name] ?? 0), coreHour: prices[name],
          kind: name == "hpc" ? .slurm : .process)
      }
      let room = clusters.reduce(0) { $0 + max(0, $1.freeSlots ?? 0) }
      let group = PendingGroup(
        requirement: requirement, tasks: waiting.prefix(room).map(\.task), waiting: waiting.count,
        expectedRuntime: .seconds(runtime))
      let plan = PlacementPlanner().plan(SchedulingSnapshot(clusters: clusters, groups: [group]))
      for placement in plan.placements {
        let index = waiting.firstIndex { $0.task == placement.task }!
        starts.append(
          Start(
            at: now, arrived: waiting[index].arrived, cluster: placement.cluster, waiting: waiting.count,
            localFree: slots["local"]! - (taken["local"] ?? 0)))
        waiting.remove(at: index)
        taken[placement.cluster, default: 0] += 1
        ends.append((now + runtime, placement.cluster))
      }
    }
    return starts
  }

  @Test(
    "ten times the load: local fills first, bursts only above the wait threshold and below the price, and comes back",
    arguments: [1, 2, 3] as [UInt64])
  func tenfold(_ seed: UInt64) throws {
    let arrivals = Self.arrivals(seed: seed)
    let starts = Self.simulate(arrivals)
    #expect(starts.count == arrivals.count, "seed \(seed): every task starts once")
    let bursts = starts.filter { $0.cluster != "local" }
    let capacity = Double(Self.slots["local"]!) * Self.threshold / Self.runtime

    #expect(!starts.contains { $0.cluster == "dear" }, "seed \(seed): nothing above the price threshold")
    #expect(!bursts.isEmpty && bursts.allSatisfy { $0.localFree == 0 }, "seed \(seed): local is full at each burst")
    #expect(bursts.allSatisfy { Double($0.waiting) > capacity }, "seed \(seed): the queue is longer than the threshold")
    #expect(bursts.contains { $0.cluster == "hpc" }, "seed \(seed): the cloud alone does not suffice")
    let firstHPC = try #require(bursts.first { $0.cluster == "hpc" })
    let cloudBefore = bursts.count { $0.cluster == "cloud" && $0.at <= firstHPC.at }
    #expect(cloudBefore >= Self.slots["cloud"]!, "seed \(seed): the cloud is full before the supercomputer")

    // It takes the queue some time to fill and to empty.
    let (first, last) = (try #require(bursts.first?.at), try #require(bursts.last?.at))
    #expect(first > Self.peakBegin && first < Self.peakBegin + Self.threshold, "seed \(seed): \(first)")
    #expect(last < Self.peakEnd + Self.threshold, "seed \(seed): back to local at \(last)")
    let after = starts.filter { $0.at > Self.peakEnd + Self.threshold + Self.runtime }
    #expect(!after.isEmpty && after.allSatisfy { $0.cluster == "local" })
    // The threshold holds for each tier but the last: what the cloud starts within it waits for the cloud.
    let longest = starts.map { $0.at - $0.arrived }.max() ?? 0
    #expect(longest <= 2 * Self.threshold + Self.runtime, "seed \(seed): \(longest) s")
  }
}
