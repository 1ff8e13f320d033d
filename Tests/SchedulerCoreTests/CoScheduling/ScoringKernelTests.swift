import SchedulerCore
import Testing

/// A generator of its own, so that a seed in a failure's message is all that is needed.
private struct Random {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state >> 33
  }
  mutating func number(_ low: Float, _ high: Float) -> Float { low + (high - low) * Float(next() % 10_000) / 10_000 }
}

@Suite("Scoring kernel")
struct ScoringKernelTests {
  /// One random question: clusters, and inputs with their replicas.
  private struct Case {
    var columns: ClusterColumns
    var inputs: [(size: Float, replicas: [Replica])] = []
    var request: ScoringRequest
    var bandwidth: [(in: Float, out: Float)] = []
    /// By source and cluster, of paths with limits of their own.
    var limits: [[Int]: Float] = [:]

    init(seed: UInt64) {
      var random = Random(state: seed)
      let count = 1 + Int(random.next() % 40)
      columns = ClusterColumns(count: count)
      for cluster in 0..<count {
        bandwidth.append((random.number(1e6, 1e9), random.number(1e6, 1e9)))
        columns.describe(
          cluster, speed: random.number(0.5, 2), bandwidthIn: bandwidth[cluster].in,
          bandwidthOut: bandwidth[cluster].out, pricePerSecond: random.number(0, 0.1),
          egressPerByte: random.number(0, 1e-9), pricePerByteIn: random.number(0, 1e-9))
        columns.setWait(cluster, random.number(0, 300))
        columns.setBacklog(cluster, in: random.number(0, 100), out: random.number(0, 100))
      }
      if random.next() % 2 == 0 {
        for _ in 0..<count {
          let path = [Int(random.next() % UInt64(count)), Int(random.next() % UInt64(count))]
          limits[path] = random.number(1e5, 1e8)
          columns.setPath(from: path[0], to: path[1], bytesPerSecond: limits[path]!)
        }
      }
      for _ in 0..<(random.next() % 90) {
        var holders: Set<Int> = []
        for _ in 0...(random.next() % 4) { holders.insert(Int(random.next() % UInt64(count))) }
        let replicas = holders.sorted().map {
          Replica(cluster: $0, eta: random.next() % 3 == 0 ? random.number(1, 50) : 0)
        }
        inputs.append((random.number(1e3, 1e9), replicas))
      }
      request = ScoringRequest(
        runtime: random.number(1, 500), runtimeSpread: random.number(0, 100), deadline: 400, tail: random.number(0, 100)
      )
      request.feasible = (0..<(count + 7) / 8).map { _ in UInt8(truncatingIfNeeded: random.next() | 1) }
      guard random.next() % 2 == 0 else { return }
      request.offsets = (0..<(count + 7) / 8).map { _ in
        var block = ClusterColumns.Block.zero
        for lane in 0..<8 { block[lane] = random.number(-20, 20) }
        return block
      }
    }
  }

  private static func scored(_ question: Case, _ weights: ScoringWeights) -> ScoringKernel {
    var kernel = ScoringKernel()
    kernel.begin(clusters: question.columns.count, inputs: question.inputs.count)
    for input in question.inputs {
      input.replicas.withUnsafeBufferPointer { kernel.add(size: input.size, replicas: $0, question.columns) }
    }
    kernel.score(question.request, weights, question.columns)
    return kernel
  }

  @Test("scores are those of the formula, cluster by cluster", arguments: 1...200)
  func formula(seed: Int) {
    let question = Case(seed: UInt64(seed))
    let weights = ScoringWeights(alpha: 1, omega: 3, lambda: 20, kappa: 0.5)
    let kernel = Self.scored(question, weights)
    let columns = question.columns
    var best: (cluster: Int, score: Float)?
    for cluster in 0..<columns.count {
      var (missing, eta, egress): (Float, Float, Float) = (0, 0, 0)
      var from: [Int: (bytes: Float, eta: Float)] = [:]
      // What a source has on its way it can send when it is there.
      var sourceETA: [Int: Float] = [:]
      for (input, entry) in question.inputs.enumerated() {
        let source = Int(kernel.sources[input])
        let there = entry.replicas.first { Int($0.cluster) == source }!.eta
        sourceETA[source] = max(sourceETA[source] ?? 0, there)
      }
      for (input, entry) in question.inputs.enumerated() {
        if let replica = entry.replicas.first(where: { Int($0.cluster) == cluster }) {
          eta = max(eta, replica.eta)
        } else {
          let source = Int(kernel.sources[input])
          missing += entry.size
          egress += columns.egress(source, entry.size)
          from[source, default: (0, 0)].bytes += entry.size
        }
      }
      var stage = eta
      if missing > 0 {
        stage = max(stage, columns.backlogInSeconds(cluster) + missing / question.bandwidth[cluster].in)
      }
      for (source, sent) in from {
        let start = max(columns.backlogOutSeconds(source), sourceETA[source] ?? 0)
        stage = max(stage, start + sent.bytes / question.bandwidth[source].out)
        if let limit = question.limits[[source, cluster]] { stage = max(stage, start + sent.bytes / limit) }
      }
      let run = columns.runSeconds(cluster, question.request.runtime)
      let end = max(stage, columns.waitSeconds(cluster)) + run + question.request.tail
      let late = end + columns.runSeconds(cluster, question.request.runtimeSpread) - 400
      let expected =
        end + 3 * max(0, late) + 20 * (columns.price(cluster, run) + columns.priceIn(cluster, missing) + egress)
        + 0.5 * missing / question.bandwidth[cluster].in
        + (question.request.offsets.isEmpty ? 0 : question.request.offsets[cluster / 8][cluster % 8])
      let isFeasible = question.request.feasible[cluster / 8] & (1 << UInt8(cluster % 8)) != 0
      let score = kernel.scores[cluster / 8][cluster % 8]
      if isFeasible {
        #expect(abs(score - expected) <= 1e-3 * expected, "seed \(seed), cluster \(cluster)")
        if best == nil || score < best!.score { best = (cluster, score) }
      } else {
        #expect(score == .infinity, "seed \(seed), cluster \(cluster)")
      }
    }
    #expect(kernel.best == best?.cluster, "seed \(seed)")
  }

  @Test("an input that nobody has makes every other cluster impossible")
  func unreachable() {
    var columns = ClusterColumns(count: 3)
    for cluster in 0..<3 { columns.describe(cluster, speed: 1, bandwidthIn: 1e6, bandwidthOut: 1e6) }
    var kernel = ScoringKernel()
    kernel.begin(clusters: 3, inputs: 1)
    [Replica]().withUnsafeBufferPointer { kernel.add(size: 5, replicas: $0, columns) }
    kernel.score(ScoringRequest(runtime: 1), ScoringWeights(), columns)
    #expect(kernel.best == nil)
  }

  @Test("a deadline is kept by nine of ten runs, not by the middle one")
  func spread() {
    var columns = ClusterColumns(count: 2)
    columns.describe(0, speed: 1, bandwidthIn: 1e6, bandwidthOut: 1e6)
    columns.describe(1, speed: 2, bandwidthIn: 1e6, bandwidthOut: 1e6, pricePerSecond: 10)
    var kernel = ScoringKernel()
    for (spread, cluster) in [(Float(0), 0), (60, 1)] {
      kernel.begin(clusters: 2, inputs: 0)
      kernel.score(
        ScoringRequest(runtime: 100, runtimeSpread: spread, deadline: 120), ScoringWeights(omega: 100, lambda: 1),
        columns)
      #expect(kernel.best == cluster)
    }
  }

  @Test("a closed cluster is never chosen, however good it is")
  func closed() {
    var columns = ClusterColumns(count: 2)
    columns.describe(0, speed: 10, bandwidthIn: 1e6, bandwidthOut: 1e6)
    columns.describe(1, speed: 1, bandwidthIn: 1e6, bandwidthOut: 1e6)
    columns.setOpen(0, false)
    var kernel = ScoringKernel()
    kernel.begin(clusters: 2, inputs: 0)
    kernel.score(ScoringRequest(runtime: 100), ScoringWeights(), columns)
    #expect(kernel.best == 1)
  }
}
