import SchedulerCore
import SimulatorCore
import Testing

@Suite("Rollout policy")
struct RolloutPolicyTests {
  /// Nothing on it is uncertain, so that what rollouts promise is what then happens.
  private static let certain = Platform(
    name: "certain",
    sites: [
      SimulationTests.site("store", slots: 2, megabytes: 40, holdsInputs: true),
      SimulationTests.site("cheap", slots: 4, megabytes: 20, price: 0.1),
      SimulationTests.site("dear", slots: 6, speed: 2, megabytes: 10, price: 0.4),
    ])

  /// Enough for a few dozen rollouts, which take their time without optimisation.
  private static let effort = RolloutPolicy.Effort(courses: 5, decisions: 20_000)

  @Test(
    "with the time that data-blind takes as deadline, a plan never costs more and is never late",
    arguments: GeneratedWorkload.allCases, [UInt64(1), 2])
  func neverDearer(kind: GeneratedWorkload, seed: UInt64) throws {
    let workload = kind.workload(size: 3, seed: seed).withRuntimeError(0, seed: seed)
    let blind = try Simulation.run(.dataBlind, Self.certain, [workload], seed: seed)
    let planned = try Simulation.run(
      .planned, Self.certain, [workload], seed: seed, options: CoSchedulingOptions(deadline: blind.makespan),
      effort: SimulationTests.effort)
    #expect(planned.money <= blind.money * (1 + 1e-9), "seed \(seed)")
    #expect(planned.makespan <= blind.makespan * (1 + 1e-9), "seed \(seed)")
  }

  @Test("where nothing cheaper keeps the deadline the data-blind policy decides, and nothing else is different")
  func fallsBack() throws {
    // Nothing reads anything, and only one cluster runs tasks: no plan is cheaper.
    let platform = Platform(
      name: "one",
      sites: [
        SimulationTests.site("only", slots: 2, price: 0.5, wait: QueueWaitModel(p50: 5, p90: 40), holdsInputs: true)
      ])
    let workload = GeneratedWorkload.layered.workload(size: 4, seed: 2).withRuntimeError(0.3, seed: 2)
    let blind = try Simulation.run(.dataBlind, platform, [workload], seed: 2)
    let planned = try Simulation.run(
      .planned, platform, [workload], seed: 2, options: CoSchedulingOptions(deadline: blind.makespan),
      effort: Self.effort)
    #expect(planned == blind)
  }

  @Test("no task sees by itself that it pays to stay together; a plan does", arguments: [UInt64(1), 2])
  func joins(seed: UInt64) throws {
    let workload = GeneratedWorkload.montage.workload(size: 5, dataScale: 10, seed: seed).withRuntimeError(
      0, seed: seed)
    let planned = try Simulation.run(.planned, Self.certain, [workload], seed: seed, effort: Self.effort)
    // Where nothing is uncertain what a rollout promises is what happens, and the co-scheduler without a plan is one of them.
    let ours = try Simulation.run(.ours, Self.certain, [workload], seed: seed)
    #expect(planned.makespan < ours.makespan * 0.99, "seed \(seed)")
    let heft = try Simulation.run(.heft, Self.certain, [workload], seed: seed)
    #expect(planned.makespan <= heft.makespan, "seed \(seed)")
  }

  @Test(
    "the more decisions a choice may cost the better the plan where nothing is uncertain, and it is the same each time")
  func anytime() throws {
    let workload = GeneratedWorkload.layered.workload(size: 4, dataScale: 10, seed: 3).withRuntimeError(0, seed: 3)
    func makespan(_ decisions: Int) throws -> Double {
      let effort = RolloutPolicy.Effort(decisions: decisions)
      return try Simulation.run(.planned, Self.certain, [workload], seed: 3, effort: effort).makespan
    }
    var last = try Simulation.run(.ours, Self.certain, [workload], seed: 3).makespan
    for decisions in [0, 5000, 20_000] {
      let next = try makespan(decisions)
      #expect(next <= last * (1 + 1e-9), "\(decisions) decisions")
      last = next
    }
    #expect(try makespan(20_000) == last)
  }

  @Test("a plan is looked at again when a cluster becomes dearer in the middle")
  func pricesMove() throws {
    var platform = Self.certain
    platform.sites[0].compute.slots = 0
    let graph = TaskGraph(
      tasks: (0..<12).map { TaskGraph.Task(runtime: 100, runtimeSpread: 0, parents: $0 < 4 ? [] : [$0 - 4]) }, data: [])
    let workload = Workload(name: "chains", graph: graph, runtimes: graph.tasks.map(\.runtime))
    let options = CoSchedulingOptions(deadline: 2000)
    let calm = try Simulation.run(.planned, platform, [workload], seed: 1, options: options, effort: Self.effort)
    #expect(calm.spans.allSatisfy { $0.site == 1 })
    platform.sites[1].prices = [PriceChange(at: 50, perSecond: 5, egressPerByte: 0)]
    let moved = try Simulation.run(.planned, platform, [workload], seed: 1, options: options, effort: Self.effort)
    // The first four were bound at the old price, which holds for them to their end; all others go elsewhere.
    #expect(moved.spans.filter { $0.site == 1 }.map(\.task) == [0, 1, 2, 3])
    let expected: Double = 4 * 100 * 0.1 + 8 * 50 * 0.4
    #expect(abs(moved.money - expected) < 1e-6)
  }
}
