import FederationModel
import SchedulerCore
import SimulatorCore
import Testing

@Suite("Simulation")
struct SimulationTests {
  static func site(
    _ name: String, slots: Int, speed: Double = 1, megabytes: Double = 10, price: Double = 0, cache: Double? = nil,
    wait: QueueWaitModel? = nil, outages: [Outage] = [], holdsInputs: Bool = false
  ) -> PlatformSite {
    PlatformSite(
      name: name,
      compute: ComputeSite(
        slots: slots, speed: speed, bandwidthIn: megabytes * 1e6, bandwidthOut: megabytes * 1e6, pricePerSecond: price,
        cacheCapacity: cache),
      wait: wait, outages: outages, holdsInputs: holdsInputs)
  }

  static let platform = Platform(
    name: "three",
    sites: [
      site("store", slots: 0, megabytes: 100, holdsInputs: true), site("slow", slots: 6, megabytes: 50, price: 0.1),
      site("fast", slots: 4, speed: 2, price: 0.3, wait: QueueWaitModel(p50: 5, p90: 30)),
    ])

  /// Rollouts take their time without optimisation.
  static let effort = RolloutPolicy.Effort(courses: 2, decisions: 4_000, revisions: 1)

  @Test("every policy brings every generated workflow to its end", arguments: PolicyName.allCases)
  func completes(policy: PolicyName) throws {
    for kind in GeneratedWorkload.allCases {
      let workload = kind.workload(size: 6, seed: 3).withRuntimeError(0.3, seed: 4)
      let report = try Simulation.run(policy, Self.platform, [workload], seed: 5, effort: Self.effort)
      #expect(report.spans.count == workload.graph.tasks.count, "\(kind)")
      // Nothing starts before its parents have ended, and no cluster runs more than its slots.
      var end = Array(repeating: 0.0, count: workload.graph.tasks.count)
      for span in report.spans { end[span.task] = span.endedAt }
      for span in report.spans {
        for parent in workload.graph.tasks[span.task].parents { #expect(end[parent] <= span.startedAt + 1e-6) }
        let beside = report.spans.filter {
          $0.site == span.site && $0.startedAt <= span.startedAt && $0.endedAt > span.startedAt + 1e-6
        }
        #expect(beside.count <= Self.platform.sites[span.site].compute.slots)
      }
    }
  }

  @Test("the same seed gives the same result, and another seed another one")
  func determinism() throws {
    func report(_ seed: UInt64) throws -> SimulationReport {
      let workload = GeneratedWorkload.layered.workload(size: 12, seed: seed).withRuntimeError(0.3, seed: seed)
      return try Simulation.run(.ours, Self.platform, [workload], seed: seed)
    }
    #expect(try report(1) == report(1))
    #expect(try report(1) != report(2))
  }

  @Test("staging overlaps queueing: the wait is the longer of the two, not their sum")
  func overlap() throws {
    let platform = Platform(
      name: "one",
      sites: [
        Self.site("store", slots: 0, holdsInputs: true),
        Self.site("queue", slots: 1, wait: QueueWaitModel(p50: 60, p90: 60)),
      ])
    let graph = TaskGraph(
      tasks: [TaskGraph.Task(inputs: [0], runtime: 100)], data: [TaskGraph.Datum(size: 400e6)])
    let report = try Simulation.run(
      .ours, platform, [Workload(name: "one", graph: graph, runtimes: [100])], seed: 9)
    // 40 s of transfer beside at most 60 s of queue.
    #expect(report.spans[0].startedAt <= 60.001)
    #expect(report.spans[0].startedAt >= 40 - 0.001)
  }

  @Test("waiting for data holds no compute slot (I5)")
  func noSlotWhileStaging() throws {
    let platform = Platform(
      name: "one", sites: [Self.site("store", slots: 0, holdsInputs: true), Self.site("one", slots: 1)])
    // The long chain ranks first and waits 100 s for its data; the other task needs none and runs meanwhile.
    let graph = TaskGraph(
      tasks: [TaskGraph.Task(inputs: [0], runtime: 500), TaskGraph.Task(runtime: 50)],
      data: [TaskGraph.Datum(size: 1e9)])
    let report = try Simulation.run(
      .dataBlind, platform, [Workload(name: "two", graph: graph, runtimes: [500, 50])], seed: 1)
    let short = try #require(report.spans.first { $0.task == 1 })
    #expect(short.startedAt == 0)
    #expect(abs(report.makespan - 600) < 0.01)
  }

  @Test("no transfer of a datum to a cluster happens twice (I5)", arguments: PolicyName.allCases)
  func singleFlight(policy: PolicyName) throws {
    let workload = GeneratedWorkload.forkJoin.workload(size: 15, seed: 2)
    let report = try Simulation.run(policy, Self.platform, [workload], seed: 2, effort: Self.effort)
    #expect(report.transfers <= workload.graph.data.count * 2)
    #expect(report.bytesMoved <= workload.graph.data.reduce(0) { $0 + $1.size } * 2)
  }

  @Test("what runs in an outage runs again, and the workflow ends", arguments: PolicyName.allCases)
  func outage(policy: PolicyName) throws {
    var platform = Self.platform
    platform.sites[2].outages = [Outage(at: 60, seconds: 200)]
    platform.sites[0].outages = [Outage(at: 20, seconds: 100)]
    let workload = GeneratedWorkload.forkJoin.workload(size: 12, seed: 7)
    let report = try Simulation.run(policy, platform, [workload], seed: 7, effort: Self.effort)
    #expect(report.spans.filter { !$0.isLost }.count == workload.graph.tasks.count)
    for span in report.spans where span.site == 2 {
      #expect(span.endedAt <= 60.001 || span.startedAt >= 260 - 0.001 || span.isLost)
    }
  }

  @Test("clusters and runs that fail by chance cost time and no task", arguments: PolicyName.allCases)
  func failures(policy: PolicyName) throws {
    let workload = GeneratedWorkload.montage.workload(size: 8, seed: 7)
    let calm = try Simulation.run(policy, Self.platform, [workload], seed: 7, effort: Self.effort)
    var platform = Self.platform
    platform.sites[1].failures = FailureModel(runFailureProbability: 0.4)
    platform.sites[2].failures = FailureModel(meanSecondsBetweenOutages: 150, meanOutageSeconds: 40)
    let report = try Simulation.run(policy, platform, [workload], seed: 7, effort: Self.effort)
    #expect(report.spans.filter { !$0.isLost }.count == workload.graph.tasks.count)
    #expect(!report.spans.filter(\.isLost).isEmpty)
    #expect(report.makespan > calm.makespan)
    #expect(try Simulation.run(policy, platform, [workload], seed: 7, effort: Self.effort) == report)
  }

  @Test("an outage within another does not end with it")
  func outagesOverlap() throws {
    let platform = Platform(
      name: "one",
      sites: [
        Self.site(
          "only", slots: 1, outages: [Outage(at: 10, seconds: 100), Outage(at: 20, seconds: 5)], holdsInputs: true)
      ])
    let workload = Workload(
      name: "one", graph: TaskGraph(tasks: [TaskGraph.Task(runtime: 30)], data: []), runtimes: [30])
    #expect(try Simulation.run(.ours, platform, [workload], seed: 1).makespan == 140)
  }

  @Test("in bounded caches no input of a bound run is evicted, and no last replica (I4)", arguments: 1...10)
  func boundedCaches(seed: Int) throws {
    var platform = Self.platform
    platform.sites[1].compute.cacheCapacity = 20e9
    platform.sites[2].compute.cacheCapacity = 20e9
    // The simulation itself stops at an eviction that I4 forbids.
    let workload = GeneratedWorkload.forkJoin.workload(size: 16, seed: UInt64(seed))
    let report = try Simulation.run(.ours, platform, [workload], seed: UInt64(seed))
    #expect(report.spans.count == workload.graph.tasks.count)
  }

  @Test("transfers share links max-min fairly")
  func fairLinks() {
    var links = FairLinks(capacityIn: [100, 100, 30], capacityOut: [90, 100, 100])
    links.start(0, from: 0, to: 2, bytes: 1000)
    links.start(1, from: 0, to: 1, bytes: 1000)
    links.start(2, from: 1, to: 0, bytes: 1000)
    _ = links.untilNextEnd()
    // The thin link in gives 30, what it leaves of the source's 90 goes to the other, and the third is alone.
    #expect(links.transfers.map(\.rate) == [30, 60, 100])
    #expect(links.advance(10).map(\.datum) == [2])
  }

  @Test("a path's own limit holds for all transfers on it, and what it leaves goes to others")
  func paths() {
    let path = PathLimits.Path(from: 0, to: 1)
    var links = FairLinks(
      capacityIn: [100, 100, 100], capacityOut: [90, 100, 100], paths: PathLimits([path: 20]))
    links.start(0, from: 0, to: 1, bytes: 1000)
    links.start(1, from: 0, to: 1, bytes: 1000)
    links.start(2, from: 0, to: 2, bytes: 1000)
    links.start(3, from: 2, to: 1, bytes: 1000)
    _ = links.untilNextEnd()
    #expect(links.transfers.map(\.rate) == [10, 10, 70, 80])
  }

  @Test(
    "what is known of a path between two clusters decides where a task goes and who sends", arguments: [true, false])
  func pathDecides(isThin: Bool) throws {
    // The fast cluster is 100 s ahead, unless the path to it from the only holder takes 400 s more.
    let platform = Platform(
      name: "three",
      sites: [
        Self.site("store", slots: 0, holdsInputs: true), Self.site("slow", slots: 1),
        Self.site("fast", slots: 1, speed: 2),
      ], paths: PathLimits(isThin ? [PathLimits.Path(from: 0, to: 2): 1e6] : [:]))
    let graph = TaskGraph(
      tasks: [TaskGraph.Task(inputs: [0], runtime: 200)], data: [TaskGraph.Datum(size: 400e6)])
    let report = try Simulation.run(
      .ours, platform, [Workload(name: "one", graph: graph, runtimes: [200])], seed: 1)
    #expect(report.spans.map(\.site) == [isThin ? 1 : 2])
    #expect(abs(report.makespan - (isThin ? 240 : 140)) < 0.01)
  }

  @Test("our own policy beats the data-blind one where data are what takes long")
  func beatsDataBlind() throws {
    let workload = GeneratedWorkload.layered.workload(size: 20, dataScale: 10, seed: 1)
    let ours = try Simulation.run(.ours, Self.platform, [workload], seed: 1)
    let blind = try Simulation.run(.dataBlind, Self.platform, [workload], seed: 1)
    #expect(ours.makespan < 0.8 * blind.makespan)
    #expect(ours.bytesMoved < blind.bytesMoved)
  }

  @Test("with a deadline that is far the planned policy pays less than without one")
  func planned() throws {
    let workload = GeneratedWorkload.chains.workload(size: 5, seed: 6)
    // Enough to try every candidate.
    let effort = RolloutPolicy.Effort(courses: 2, decisions: 80_000, revisions: 1)
    let hurried = try Simulation.run(.planned, Self.platform, [workload], seed: 6, effort: effort)
    let options = CoSchedulingOptions(deadline: hurried.makespan * 4)
    let patient = try Simulation.run(.planned, Self.platform, [workload], seed: 6, options: options, effort: effort)
    #expect(patient.money < 0.9 * hurried.money)
    #expect(patient.makespan <= hurried.makespan * 4)
  }

  @Test("a Gantt chart has a bar for each run, and names that are no markup")
  func gantt() throws {
    var workload = GeneratedWorkload.chains.workload(size: 2, seed: 6)
    workload.taskNames[0] = "<a & b>"
    let svg = GanttChart(try Simulation.run(.ours, Self.platform, [workload], seed: 6)).svg
    #expect(svg.split(separator: "<rect").count == workload.graph.tasks.count + 1)
    #expect(svg.contains("&lt;a &amp; b&gt;") && !svg.contains("<a &"))
  }
}
