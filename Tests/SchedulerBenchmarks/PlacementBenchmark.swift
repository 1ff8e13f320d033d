import ArgumentParser
import PlacementReference
import SchedulerCore
import SimulatorCore

/// What a decision costs, against C that does the same arithmetic in the same run.
struct PlacementBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "placement",
    abstract: "Measures one decision, a pass over 100,000 tasks, and one eviction of 100,000 replicas.")

  @Option(help: "Decisions in each round.")
  var decisions = 20_000
  @Option(help: "Rounds; the median is told.")
  var rounds = 5

  func run() throws {
    let question = DecisionQuestion(clusters: 1000, inputs: 8, replicas: 4)
    var (swift, reference): ([Double], [Double]) = ([], [])
    for _ in 0..<rounds {
      let ours = question.decide(decisions)
      let theirs = question.decideInC(decisions)
      guard ours.sum == theirs.sum else {
        throw ValidationError("the two implementations chose different clusters")
      }
      swift.append(ours.microseconds)
      reference.append(theirs.microseconds)
    }
    let (ours, theirs) = (Self.median(swift), Self.median(reference))
    print("one decision, 1,000 clusters x 8 inputs x 4 replicas: \(Self.hundredths(ours)) us")
    print("the same in C: \(Self.hundredths(theirs)) us; ratio \(Self.hundredths(ours / theirs))")
    let pass = (0..<rounds).map { _ in Self.pass() }
    print("a pass over 100,000 tasks of 1,000 templates, 1,000 clusters: \(Self.hundredths(Self.median(pass))) s")
    for count in [1000, 10_000, 100_000] {
      let times = (0..<rounds).map { _ in Self.eviction(of: count) }
      print("evict 1 of \(count) replicas and add another: \(Self.hundredths(Self.median(times))) us")
    }
  }

  /// Seconds to plan 100,000 tasks, all of which find a slot.
  private static func pass() -> Double {
    var random = SplitMix64(seed: 7)
    // In a bounded cache a task is bound with its whole input set at once; else those whose data wait for their turn would stay.
    let sites = (0..<1000).map { _ in
      ComputeSite(
        slots: 120, speed: random.uniform(0.5, 2), bandwidthIn: random.uniform(1e7, 1e9),
        bandwidthOut: random.uniform(1e7, 1e9), pricePerSecond: random.uniform(0, 1e-4), cacheCapacity: 1e18)
    }
    var scheduler = CoScheduler(sites: sites, options: CoSchedulingOptions(isPrefetching: false))
    let data = (0..<1000).map { _ in
      TaskGraph.Datum(size: random.uniform(1e6, 1e9), sites: (0..<4).map { _ in Int(random.next() % 1000) })
    }
    let runtimes = (0..<1000).map { _ in random.uniform(10, 600) }
    scheduler.submitted(
      TaskGraph(
        tasks: (0..<100_000).map { TaskGraph.Task(inputs: [$0 / 100], runtime: runtimes[$0 / 100]) }, data: data))
    for task in 0..<100_000 { scheduler.ready(task) }
    let clock = ContinuousClock()
    var bound = 0
    let time = clock.measure {
      for case .bind in scheduler.decide(at: 0) { bound += 1 }
    }
    precondition(bound == 100_000, "the pass bound \(bound) tasks, not all")
    return time / .seconds(1)
  }

  /// Microseconds to evict one replica of `count` and to add another.
  private static func eviction(of count: Int) -> Double {
    var random = SplitMix64(seed: 3)
    var order = EvictionOrder()
    for replica in 0..<count { order.update(replica, value: random.unit()) }
    let clock = ContinuousClock()
    let time = clock.measure {
      for next in count..<count + 20_000 {
        _ = order.evict()
        order.update(next, value: random.unit())
      }
    }
    return time / .microseconds(20_000)
  }

  private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
  private static func hundredths(_ value: Double) -> Double { (value * 100).rounded() / 100 }
}

/// One question, as both implementations take it.
private struct DecisionQuestion {
  private var columns: ClusterColumns
  private var vectors: [[Float]]
  private var sizes: [Float]
  private var rows: [[Replica]]
  private let weights = ScoringWeights(lambda: 10)

  init(clusters: Int, inputs: Int, replicas: Int) {
    var random = SplitMix64(seed: 1)
    columns = ClusterColumns(count: clusters)
    vectors = Array(repeating: [], count: 9)
    for cluster in 0..<clusters {
      let speed = Float(random.uniform(0.5, 2))
      let (bandwidthIn, bandwidthOut) = (Float(random.uniform(1e7, 1e9)), Float(random.uniform(1e7, 1e9)))
      let (price, egress) = (Float(random.uniform(0, 1e-3)), Float(random.uniform(0, 1e-10)))
      let priceIn = Float(random.uniform(0, 1e-10))
      let (wait, backlogIn, backlogOut) = (
        Float(random.uniform(0, 100)), Float(random.uniform(0, 30)), Float(random.uniform(0, 30))
      )
      columns.describe(
        cluster, speed: speed, bandwidthIn: bandwidthIn, bandwidthOut: bandwidthOut, pricePerSecond: price,
        egressPerByte: egress, pricePerByteIn: priceIn)
      columns.setWait(cluster, wait)
      columns.setBacklog(cluster, in: backlogIn, out: backlogOut)
      let row = [wait, backlogIn, backlogOut, 1 / bandwidthIn, 1 / bandwidthOut, 1 / speed, price, egress, priceIn]
      for (index, value) in row.enumerated() { vectors[index].append(value) }
    }
    sizes = (0..<inputs).map { _ in Float(random.uniform(1e6, 1e9)) }
    rows = (0..<inputs).map { _ in
      (0..<replicas).map { _ in Replica(cluster: Int(random.next() % UInt64(clusters)), eta: 0) }
    }
  }

  /// Each decision asks for another runtime, so that none can be taken over from the one before.
  private static func runtime(_ decision: Int) -> Float { Float(10 + decision % 512) }

  func decide(_ count: Int) -> (microseconds: Double, sum: Int) {
    var kernel = ScoringKernel()
    var sum = 0
    let time = ContinuousClock().measure {
      for decision in 0..<count {
        kernel.begin(clusters: columns.count, inputs: sizes.count)
        for input in sizes.indices {
          rows[input].withUnsafeBufferPointer { kernel.add(size: sizes[input], replicas: $0, columns) }
        }
        kernel.score(ScoringRequest(runtime: Self.runtime(decision), tail: 5), weights, columns)
        sum += kernel.best ?? -1
      }
    }
    return (time / .microseconds(count), sum)
  }

  func decideInC(_ count: Int) -> (microseconds: Double, sum: Int) {
    // One block of memory for all vectors, so that their addresses hold while C runs.
    let lanes = vectors[0].count
    let flat = vectors.flatMap { $0 }
    let replicas = rows.flatMap { $0.map { pr_replica(cluster: $0.cluster, eta: $0.eta) } }
    var scores = Array(repeating: Float(0), count: lanes)
    var scratch = Array(repeating: Int32(-1), count: lanes)
    var sum = 0
    var time = Duration.zero
    flat.withUnsafeBufferPointer { all in
      let base = all.baseAddress!
      var clusters = pr_clusters(
        count: Int32(lanes), wait: base, backlog_in: base + lanes, backlog_out: base + 2 * lanes,
        seconds_per_byte_in: base + 3 * lanes, seconds_per_byte_out: base + 4 * lanes, slowness: base + 5 * lanes,
        price_per_second: base + 6 * lanes, egress_per_byte: base + 7 * lanes, price_per_byte_in: base + 8 * lanes)
      time = ContinuousClock().measure {
        for decision in 0..<count {
          sum += Int(
            pr_decide(
              &clusters, Int32(sizes.count), Int32(rows[0].count), sizes, replicas, Self.runtime(decision), 5,
              weights.lambda, &scores, &scratch))
        }
      }
    }
    return (time / .microseconds(count), sum)
  }
}
