import SchedulerCore
import Testing

@Suite("Co-scheduler")
struct CoSchedulerTests {
  private static func site(_ slots: Int, speed: Double = 1, megabytes: Double = 10, cache: Double? = nil) -> ComputeSite
  {
    ComputeSite(
      slots: slots, speed: speed, bandwidthIn: megabytes * 1e6, bandwidthOut: megabytes * 1e6, cacheCapacity: cache)
  }

  private static func binds(_ actions: [SchedulingAction]) -> [Int: Int] {
    var sites: [Int: Int] = [:]
    for case .bind(let task, let site, _) in actions { sites[task] = site }
    return sites
  }

  @Test("a task goes to its data when moving them takes longer than the faster cluster saves")
  func locality() {
    // 1 GB at 10 MB/s is 100 s; the other cluster saves 50 s of 100, or 500 s of 1000.
    for (runtime, expected) in [(100.0, 0), (1000.0, 1)] {
      var scheduler = CoScheduler(sites: [Self.site(1), Self.site(1, speed: 2)])
      scheduler.submitted(
        TaskGraph(
          tasks: [TaskGraph.Task(inputs: [0], runtime: runtime)], data: [TaskGraph.Datum(size: 1e9, sites: [0])]))
      scheduler.ready(0)
      #expect(Self.binds(scheduler.decide(at: 0)) == [0: expected])
    }
  }

  @Test("each choice is committed before the next: a link that was promised is not promised twice at once")
  func commitment() {
    // Cluster 1 is a little faster, but each of the tasks would bring 1 GB over its link.
    var scheduler = CoScheduler(sites: [Self.site(8), Self.site(8, speed: 2)])
    scheduler.submitted(
      TaskGraph(
        tasks: (0..<4).map { TaskGraph.Task(inputs: [$0], runtime: 250) },
        data: (0..<4).map { _ in TaskGraph.Datum(size: 1e9, sites: [0]) }))
    for task in 0..<4 { scheduler.ready(task) }
    let sites = Self.binds(scheduler.decide(at: 0))
    // 100 + 125 s there against 250 s here; the second one would finish there after 200 + 125.
    #expect(sites.values.filter { $0 == 1 }.count == 1)
    #expect(sites.values.filter { $0 == 0 }.count == 3)
  }

  @Test("what many tasks read is copied to a cluster once (I5)")
  func singleFlight() {
    var scheduler = CoScheduler(sites: [Self.site(0), Self.site(4), Self.site(4)])
    scheduler.submitted(
      TaskGraph(
        tasks: (0..<40).map { _ in TaskGraph.Task(inputs: [0], runtime: 60) },
        data: [TaskGraph.Datum(size: 1e8, sites: [0])]))
    for task in 0..<40 { scheduler.ready(task) }
    var copies: [Int: Int] = [:]
    for now in [0.0, 1, 2, 10, 11] {
      if now == 10 { scheduler.transferFinished(0, to: 1, at: now) }
      for case .stage(let datum, _, let site) in scheduler.decide(at: now) {
        #expect(datum == 0)
        copies[site, default: 0] += 1
      }
    }
    #expect(copies == [1: 1, 2: 1])
  }

  @Test("a task is bound late: one whose slot is taken stays unbound, and its data are warmed")
  func lateBinding() {
    var scheduler = CoScheduler(sites: [Self.site(0), Self.site(1)])
    scheduler.submitted(
      TaskGraph(
        tasks: [TaskGraph.Task(inputs: [0], runtime: 900), TaskGraph.Task(inputs: [1], runtime: 800)],
        data: [TaskGraph.Datum(size: 1e6, sites: [0]), TaskGraph.Datum(size: 2e6, sites: [0])]))
    scheduler.ready(0)
    scheduler.ready(1)
    #expect(Self.binds(scheduler.decide(at: 0)) == [0: 1])
    scheduler.transferFinished(0, to: 1, at: 0.1)
    scheduler.started(0, at: 0.1)
    let warming = scheduler.decide(at: 0.1)
    #expect(warming == [.stage(datum: 1, from: 0, to: 1)])
    scheduler.transferFinished(1, to: 1, at: 0.3)
    #expect(scheduler.decide(at: 0.3).isEmpty)
    scheduler.finished(0, at: 900)
    #expect(Self.binds(scheduler.decide(at: 900)) == [1: 1])
  }

  @Test(
    "inputs come one after the other by rank, so that the first runs while the next one comes; a task waits unbound for its turn"
  )
  func stagingInTurn() {
    var scheduler = CoScheduler(sites: [Self.site(0), Self.site(4)])
    scheduler.submitted(
      TaskGraph(
        tasks: [300.0, 900, 600].enumerated().map { TaskGraph.Task(inputs: [$0], runtime: $1) },
        data: (0..<3).map { _ in TaskGraph.Datum(size: 1e9, sites: [0]) }))
    for task in 0..<3 { scheduler.ready(task) }
    for (turn, task) in [1, 2, 0].enumerated() {
      let now = Double(turn) * 100
      let actions = scheduler.decide(at: now)
      #expect(actions.contains(.stage(datum: task, from: 0, to: 1)))
      #expect(Self.binds(actions) == [task: 1])
      #expect(scheduler.decide(at: now + 50).isEmpty)
      scheduler.transferFinished(task, to: 1, at: now + 100)
      scheduler.started(task, at: now + 100)
    }
  }

  @Test("a transfer that a slow source holds back leaves the link to another source")
  func spareLink() {
    var scheduler = CoScheduler(
      sites: [Self.site(0, megabytes: 1), Self.site(0, megabytes: 10), Self.site(2, megabytes: 10)])
    scheduler.submitted(
      TaskGraph(
        tasks: [TaskGraph.Task(inputs: [0], runtime: 900), TaskGraph.Task(inputs: [1], runtime: 600)],
        data: [TaskGraph.Datum(size: 1e9, sites: [0]), TaskGraph.Datum(size: 1e9, sites: [1])]))
    scheduler.ready(0)
    scheduler.ready(1)
    #expect(Self.binds(scheduler.decide(at: 0)) == [0: 2, 1: 2])
  }

  @Test("a slot is kept for a greater task that is about to be ready, and a short one still fits before it")
  func reservationOfSlots() {
    // Cluster 1 is ten times faster and has one slot. Task 0 runs on the slow one; its child is the greatest task by far.
    func graph(_ runtime: Double) -> TaskGraph {
      TaskGraph(
        tasks: [
          TaskGraph.Task(outputs: [0], runtime: 100),
          TaskGraph.Task(inputs: [0], runtime: 5000, parents: [0]),
          TaskGraph.Task(inputs: [1], runtime: runtime),
        ], data: [TaskGraph.Datum(size: 0), TaskGraph.Datum(size: 0, sites: [1])])
    }
    for (runtime, expected) in [(800.0, [2: 1]), (3000, [:])] {
      var scheduler = CoScheduler(sites: [Self.site(3), Self.site(1, speed: 10)])
      scheduler.submitted(graph(runtime))
      scheduler.reachabilityChanged(1, isDown: true)
      scheduler.ready(0)
      #expect(Self.binds(scheduler.decide(at: 0)) == [0: 0])
      scheduler.started(0, at: 0)
      scheduler.reachabilityChanged(1, isDown: false)
      scheduler.ready(2)
      // 100 s are left until the child comes: 80 s of run fit before it; 300 s do not, and are sooner
      // done behind it than here.
      #expect(Self.binds(scheduler.decide(at: 0)) == expected, "\(runtime)")
    }
  }

  @Test("the inputs of a bound task are reserved at once and pinned (I4), and only what is spare is evicted")
  func reservation() {
    // The cache holds two inputs of 40 MB.
    var scheduler = CoScheduler(
      sites: [Self.site(0), Self.site(2, cache: 100e6)], options: CoSchedulingOptions(isPrefetching: false))
    scheduler.submitted(
      TaskGraph(
        tasks: (0..<3).map { TaskGraph.Task(inputs: [$0], runtime: 100) },
        data: (0..<3).map { _ in TaskGraph.Datum(size: 40e6, sites: [0]) }))
    for task in 0..<3 { scheduler.ready(task) }
    let first = scheduler.decide(at: 0)
    #expect(Self.binds(first).count == 2)
    #expect(!first.contains { if case .evict = $0 { true } else { false } })
    let bound = Self.binds(first).keys.sorted()
    let last = (0..<3).first { !bound.contains($0) }!
    for task in bound {
      scheduler.transferFinished(task, to: 1, at: 8)
      scheduler.started(task, at: 8)
    }
    #expect(scheduler.decide(at: 8).isEmpty)
    scheduler.finished(bound[0], at: 108)
    let second = scheduler.decide(at: 108)
    #expect(second.first == .evict(datum: bound[0], at: 1))
    #expect(Self.binds(second) == [last: 1])
  }

  @Test("a last replica is never evicted, so a task that would need its room waits")
  func lastReplica() {
    var scheduler = CoScheduler(sites: [Self.site(1, cache: 50e6), Self.site(0)])
    scheduler.submitted(
      TaskGraph(
        tasks: [
          TaskGraph.Task(inputs: [0], outputs: [1], runtime: 10),
          TaskGraph.Task(inputs: [2], runtime: 10, parents: [0]),
        ],
        data: [
          TaskGraph.Datum(size: 5e6, sites: [1]), TaskGraph.Datum(size: 40e6), TaskGraph.Datum(size: 20e6, sites: [1]),
        ]))
    scheduler.ready(0)
    _ = scheduler.decide(at: 0)
    scheduler.transferFinished(0, to: 0, at: 1)
    scheduler.started(0, at: 1)
    scheduler.finished(0, at: 11)
    scheduler.ready(1)
    #expect(scheduler.decide(at: 11).isEmpty)
  }

  @Test("a cluster out of reach gets nothing, and what was lost on it goes elsewhere")
  func outage() {
    var scheduler = CoScheduler(sites: [Self.site(1), Self.site(1, speed: 4)])
    scheduler.submitted(TaskGraph(tasks: [TaskGraph.Task(runtime: 100)], data: []))
    scheduler.ready(0)
    #expect(Self.binds(scheduler.decide(at: 0)) == [0: 1])
    scheduler.started(0, at: 0)
    scheduler.reachabilityChanged(1, isDown: true)
    scheduler.ready(0)
    #expect(Self.binds(scheduler.decide(at: 5)) == [0: 0])
  }
}
