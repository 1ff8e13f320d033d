/// The weights of DESIGN section 8's score J, in seconds.
public struct ScoringWeights: Hashable, Sendable {
  /// Of a second until the finish and the tail behind it.
  public var alpha: Float
  /// Of a second beyond the deadline, on top of alpha.
  public var omega: Float
  /// Of one unit of money.
  public var lambda: Float
  /// Of a second for which the link into the cluster is taken: while it brings this, it brings nothing for others.
  public var kappa: Float
  public init(alpha: Float = 1, omega: Float = 0, lambda: Float = 0, kappa: Float = 0) {
    self.alpha = alpha
    self.omega = omega
    self.lambda = lambda
    self.kappa = kappa
  }
}

/// One copy of an input, there or on its way.
public struct Replica: Hashable, Sendable {
  public var cluster: Int32
  /// Seconds from now until it is complete; at most zero for one that is there.
  public var eta: Float
  public init(cluster: Int, eta: Float = 0) {
    self.cluster = Int32(cluster)
    self.eta = eta
  }
}

/// What one task asks, to the scoring kernel.
public struct ScoringRequest: Sendable {
  /// Seconds at speed 1.
  public var runtime: Float
  /// Seconds at speed 1 that nine of ten runs take at most, less `runtime`: a deadline is kept by those, not by the middle one.
  public var runtimeSpread: Float
  /// Seconds from now until it may run at all (its parents' ends); zero for a task that is ready.
  public var ready: Float
  /// Seconds from now.
  public var deadline: Float
  /// Seconds of work behind the task: its upward rank without itself.
  public var tail: Float
  /// The same by cluster, where the place of the outputs matters; replaces `tail` when it is not empty.
  public var tails: [ClusterColumns.Block]
  /// What `tails` are multiplied by.
  public var tailWeight: Float
  /// Added to the score of each cluster as it is, in seconds: what DESIGN section 8 calls `mu * unfairness - nu * futureReuse`, and
  /// what breaks ties. Empty: nothing.
  public var offsets: [ClusterColumns.Block]
  /// Bit `c % 8` of byte `c / 8`: whether cluster `c` passes the task's filters. Empty: all do.
  public var feasible: [UInt8]

  public init(
    runtime: Float, runtimeSpread: Float = 0, ready: Float = 0, deadline: Float = .infinity, tail: Float = 0,
    tails: [ClusterColumns.Block] = [],
    tailWeight: Float = 1, offsets: [ClusterColumns.Block] = [], feasible: [UInt8] = []
  ) {
    self.runtime = runtime
    self.runtimeSpread = runtimeSpread
    self.ready = ready
    self.deadline = deadline
    self.tail = tail
    self.tails = tails
    self.tailWeight = tailWeight
    self.offsets = offsets
    self.feasible = feasible
  }
}

/// The terms of one cluster's score, in seconds from now.
public struct ScoredTerms: Hashable, Sendable {
  public var missing: Float
  /// Seconds until what is on its way is there; 0 when nothing is.
  public var eta: Float
  public var stage: Float
  public var finish: Float
  /// Of the run and of the bytes to be moved.
  public var price: Float
  public var score: Float
}

/// Scores one task on all clusters.
///
/// ```
/// miss(c)   = bytes of inputs that are neither on c nor on their way to it
/// stage(c)  = max(ETA of inputs on their way to c, backlogIn[c] + miss(c) / bandwidthIn[c],
///                 max over sources s (backlogOut[s] + bytesFrom(s) / bandwidthOut[s]))
/// finish(c) = max(ready, stage(c), wait(c)) + runtime / speed(c)
/// J(c)      = alpha * (finish + tail) + omega * max(0, finish + tail - deadline) + lambda * (price + egress) + offset(c)
/// ```
///
/// Most clusters hold none of the inputs, and to all of these the same bytes are missing from the same sources. So one pass over
/// dense vectors scores every cluster as if it held nothing, and those that hold something are then scored one by one.
///
/// - Complexity: O(clusters / 8 + replicas * inputs). Allocates only while its scratch space grows.
/// - Source: DESIGN section 8.
public struct ScoringKernel: Sendable {
  /// One value for each cluster, the least is best; infinite where the task cannot go.
  public private(set) var scores: [ClusterColumns.Block] = []
  public private(set) var best: Int?
  /// The cluster that each input comes from, where it is missing; -1: nobody has it.
  public private(set) var sources: [Int32] = []

  private var inputs = 0
  /// Words of one row of inputs: a bit for each.
  private var words = 0
  private var holders: [Holder] = []
  /// By cluster: index into `holders`, or -1.
  private var holderOfCluster: [Int32] = []
  /// A row for each holder: which inputs it has or will have.
  private var held: [UInt64] = []
  private var usedSources: [Source] = []
  /// By cluster: index into `usedSources`, or -1.
  private var sourceOfCluster: [Int32] = []
  /// A row for each used source: which inputs it sends to those that have none.
  private var sent: [UInt64] = []
  private var sizes: [Float] = []
  /// The inputs that nobody has.
  private var unreachable: [UInt64] = []
  private var isUnreachable = false

  private struct Holder {
    var cluster: Int32
    /// Of what is on its way.
    var eta: Float
  }

  private struct Source {
    var cluster: Int32
    var bytes: Float
    /// When the last of what it sends has become available to it.
    var eta: Float
  }

  public init() {}

  /// Begins a request. Inputs follow by `add`, then `score`.
  public mutating func begin(clusters: Int, inputs: Int) {
    for holder in holders { holderOfCluster[Int(holder.cluster)] = -1 }
    for source in usedSources { sourceOfCluster[Int(source.cluster)] = -1 }
    if holderOfCluster.count != clusters {
      holderOfCluster = Array(repeating: -1, count: clusters)
      sourceOfCluster = holderOfCluster
    }
    holders.removeAll(keepingCapacity: true)
    held.removeAll(keepingCapacity: true)
    usedSources.removeAll(keepingCapacity: true)
    sent.removeAll(keepingCapacity: true)
    sources.removeAll(keepingCapacity: true)
    sizes.removeAll(keepingCapacity: true)
    words = (inputs + 63) / 64
    self.inputs = inputs
    unreachable.removeAll(keepingCapacity: true)
    for _ in 0..<words { unreachable.append(0) }
    isUnreachable = false
  }

  /// Adds an input of `size` bytes with its replicas. It is taken from the source that would have sent it first, given what the
  /// inputs before it take from there.
  public mutating func add(size: Float, replicas: UnsafeBufferPointer<Replica>, _ columns: borrowing ClusterColumns) {
    let input = sizes.count
    precondition(input < inputs, "more inputs than were announced")
    let (word, bit) = (input >> 6, UInt64(1) << UInt64(input & 63))
    var (source, soonest): (Int32, Float) = (-1, .infinity)
    for replica in replicas {
      let cluster = Int(replica.cluster)
      var index = Int(holderOfCluster[cluster])
      if index < 0 {
        index = holders.count
        holderOfCluster[cluster] = Int32(index)
        holders.append(Holder(cluster: replica.cluster, eta: 0))
        for _ in 0..<words { held.append(0) }
      }
      held[index * words + word] |= bit
      holders[index].eta = max(holders[index].eta, replica.eta)
      let used = Int(sourceOfCluster[cluster])
      let bytes = size + (used < 0 ? 0 : usedSources[used].bytes)
      let end = max(columns.backlogOut[cluster], replica.eta) + bytes * columns.secondsPerByteOut[cluster]
      if end < soonest { (source, soonest) = (replica.cluster, end) }
    }
    sizes.append(size)
    sources.append(source)
    guard source >= 0 else {
      unreachable[word] |= bit
      isUnreachable = true
      return
    }
    send(size, from: Int(source), after: replicas.first { $0.cluster == source }!.eta, word, bit)
  }

  private mutating func send(_ size: Float, from source: Int, after eta: Float, _ word: Int, _ bit: UInt64) {
    var index = Int(sourceOfCluster[source])
    if index < 0 {
      index = usedSources.count
      sourceOfCluster[source] = Int32(index)
      usedSources.append(Source(cluster: Int32(source), bytes: 0, eta: 0))
      for _ in 0..<words { sent.append(0) }
    }
    usedSources[index].bytes += size
    usedSources[index].eta = max(usedSources[index].eta, eta)
    sent[index * words + word] |= bit
  }
}

extension ScoringKernel {
  /// Scores the request that `begin` and `add` have described, and chooses; equal scores go to the first cluster.
  public mutating func score(
    _ request: ScoringRequest, _ weights: ScoringWeights, _ columns: borrowing ClusterColumns
  ) {
    scoreWithoutInputs(request, weights, columns)
    for index in holders.indices {
      let cluster = Int(holders[index].cluster)
      scores[cluster >> 3][cluster & 7] = terms(cluster, request, weights, columns).score
    }
    choose()
  }

  /// Scores one cluster again after its columns have changed, and chooses again: what follows a commitment that moved no bytes.
  public mutating func rescore(
    _ cluster: Int, _ request: ScoringRequest, _ weights: ScoringWeights, _ columns: borrowing ClusterColumns
  ) {
    scores[cluster >> 3][cluster & 7] = terms(cluster, request, weights, columns).score
    choose()
  }

  /// Scores one cluster as if a slot were free after other seconds than its columns say; `choose` follows when all are scored.
  ///
  /// - Parameter wait: the seconds, given those until the inputs are there.
  mutating func setScore(
    _ cluster: Int, _ request: ScoringRequest, _ weights: ScoringWeights, _ columns: borrowing ClusterColumns,
    wait: (_ stage: Float) -> Float
  ) {
    guard scores[cluster >> 3][cluster & 7] < .infinity else { return }
    scores[cluster >> 3][cluster & 7] = terms(cluster, request, weights, columns, wait: wait).score
  }

  /// Whether every input is on a cluster or can be brought there.
  func canServe(_ cluster: Int, _ columns: borrowing ClusterColumns) -> Bool {
    !isUnreachable || staging(to: cluster, columns).missing < .infinity
  }

  /// The terms of one cluster's score.
  public func terms(
    _ cluster: Int, _ request: ScoringRequest, _ weights: ScoringWeights, _ columns: borrowing ClusterColumns
  ) -> ScoredTerms {
    let wait = columns.waitSeconds(cluster)
    return terms(cluster, request, weights, columns) { _ in wait }
  }

  @inline(__always)
  private func terms(
    _ cluster: Int, _ request: ScoringRequest, _ weights: ScoringWeights, _ columns: borrowing ClusterColumns,
    wait: (_ stage: Float) -> Float
  ) -> ScoredTerms {
    let staging = staging(to: cluster, columns)
    let missing = staging.missing
    var stage = staging.eta
    if missing > 0 {
      stage = max(stage, staging.sent, columns.backlogInSeconds(cluster) + columns.secondsIn(cluster, missing))
    }
    let run = columns.runSeconds(cluster, request.runtime)
    let finish = max(request.ready, stage, wait(stage)) + run
    let tail = request.tails.isEmpty ? request.tail : request.tails[cluster >> 3][cluster & 7] * request.tailWeight
    let price = columns.price(cluster, run) + columns.priceIn(cluster, missing) + staging.egress
    var score = weights.alpha * (finish + tail) + weights.lambda * price
    if weights.kappa > 0 { score += weights.kappa * columns.secondsIn(cluster, missing) }
    if !request.offsets.isEmpty { score += request.offsets[cluster >> 3][cluster & 7] }
    if weights.omega > 0 {
      let late = finish + columns.runSeconds(cluster, request.runtimeSpread) + tail - request.deadline
      score += weights.omega * max(0, late)
    }
    let isFeasible =
      columns.isOpen(cluster) && missing < .infinity
      && (request.feasible.isEmpty || request.feasible[cluster >> 3] & (1 << UInt8(cluster & 7)) != 0)
    return ScoredTerms(
      missing: missing, eta: staging.eta, stage: stage, finish: finish, price: price,
      score: isFeasible ? score : .infinity)
  }

  /// Whether input `input` is on `cluster` or on its way to it.
  public func holds(_ cluster: Int, _ input: Int) -> Bool {
    let index = Int(holderOfCluster[cluster])
    return index >= 0 && held[index * words + input >> 6] & (1 << UInt64(input & 63)) != 0
  }

  /// What has to be moved to a cluster.
  private func staging(to cluster: Int, _ columns: borrowing ClusterColumns) -> Staging {
    let index = cluster < holderOfCluster.count ? Int(holderOfCluster[cluster]) : -1
    var staging = Staging()
    if index >= 0 { staging.eta = holders[index].eta }
    if isUnreachable {
      for word in 0..<words where unreachable[word] & ~(index < 0 ? 0 : held[index * words + word]) != 0 {
        staging.missing = .infinity
        return staging
      }
    }
    for used in usedSources.indices {
      let bytes = bytes(used, missingOn: index)
      guard bytes > 0 else { continue }
      let source = Int(usedSources[used].cluster)
      staging.missing += bytes
      staging.egress += columns.egress(source, bytes)
      let begin = max(columns.backlogOut[source], usedSources[used].eta)
      staging.sent = max(staging.sent, begin + bytes * columns.secondsPerByteOut[source])
      guard cluster < columns.count else { continue }
      staging.sent = max(
        staging.sent, begin + columns.secondsOnPath(from: source, to: cluster, bytes))
    }
    return staging
  }

  /// Bytes that a used source would send to a holder; index -1 stands for those that hold nothing.
  private func bytes(_ used: Int, missingOn index: Int) -> Float {
    guard index >= 0 else { return usedSources[used].bytes }
    var (rest, isAll): (Float, Bool) = (0, true)
    for word in 0..<words {
      let row = sent[used * words + word]
      var bits = row & ~held[index * words + word]
      if bits != row { isAll = false }
      while bits != 0 {
        rest += sizes[word << 6 + bits.trailingZeroBitCount]
        bits &= bits - 1
      }
    }
    return isAll ? usedSources[used].bytes : rest
  }

  private struct Staging {
    /// Bytes; infinite when nobody has them.
    var missing: Float = 0
    /// Seconds until what is on its way is there.
    var eta: Float = 0
    /// Seconds until the last source has sent what is missing.
    var sent: Float = 0
    /// Money.
    var egress: Float = 0
  }

  /// The dense pass: every cluster as if it held nothing.
  private mutating func scoreWithoutInputs(
    _ request: ScoringRequest, _ weights: ScoringWeights, _ columns: borrowing ClusterColumns
  ) {
    typealias Block = ClusterColumns.Block
    let staging = staging(to: Int.max, columns)
    let blocks = columns.wait.count
    if scores.count != blocks { scores = Array(repeating: .zero, count: blocks) }
    let (alpha, omega, lambda, kappa) = (weights.alpha, weights.omega, weights.lambda, weights.kappa)
    let missing = staging.missing
    // Nobody has it; times zero seconds a byte that would be no number.
    guard missing < .infinity else {
      for block in 0..<blocks { scores[block] = Block(repeating: .infinity) }
      return
    }
    let floor = Block(repeating: max(request.ready, staging.sent))
    let (hasTails, hasOffsets, isFiltered) = (
      !request.tails.isEmpty, !request.offsets.isEmpty, !request.feasible.isEmpty
    )
    let limited = columns.secondsPerByteOnPath.isEmpty ? [] : limitedSources(columns)
    let lanes = SIMD8<Int32>(1, 2, 4, 8, 16, 32, 64, 128)
    for block in 0..<blocks {
      var start = pointwiseMax(columns.wait[block], floor)
      if missing > 0 {
        start = pointwiseMax(start, columns.backlogIn[block] + missing * columns.secondsPerByteIn[block])
      }
      for source in limited {
        start = pointwiseMax(
          start, source.begin + source.bytes * columns.secondsPerByteOnPath[source.cluster][block])
      }
      let run = request.runtime * columns.slowness[block]
      let end = start + run + (hasTails ? request.tails[block] * request.tailWeight : Block(repeating: request.tail))
      var score = alpha * end + columns.closed[block]
      if lambda != 0 {
        let moved = staging.egress + missing * columns.pricePerByteIn[block]
        score += lambda * (run * columns.pricePerSecond[block] + moved)
      }
      if kappa != 0 { score += kappa * missing * columns.secondsPerByteIn[block] }
      if hasOffsets { score += request.offsets[block] }
      if omega != 0 {
        let late = end + request.runtimeSpread * columns.slowness[block] - request.deadline
        score += omega * pointwiseMax(.zero, late)
      }
      if isFiltered {
        let bits = SIMD8<Int32>(repeating: Int32(request.feasible[block])) & lanes
        score.replace(with: .infinity, where: bits .== 0)
      }
      scores[block] = score
    }
  }

  /// The sources some of whose paths have limits of their own, and what they send to those that hold nothing.
  private func limitedSources(_ columns: borrowing ClusterColumns) -> [(
    cluster: Int, begin: Float, bytes: Float
  )] {
    var limited: [(cluster: Int, begin: Float, bytes: Float)] = []
    for source in usedSources {
      let cluster = Int(source.cluster)
      guard source.bytes > 0, !columns.secondsPerByteOnPath[cluster].isEmpty else { continue }
      limited.append((cluster, max(columns.backlogOut[cluster], source.eta), source.bytes))
    }
    return limited
  }

  /// The first cluster with the least score.
  mutating func choose() {
    var least = ClusterColumns.Block(repeating: .infinity)
    for block in scores { least = pointwiseMin(least, block) }
    let value = least.min()
    best = nil
    guard value < .infinity else { return }
    for (block, lanes) in scores.enumerated() where lanes.min() == value {
      for lane in 0..<8 where lanes[lane] == value {
        best = block << 3 + lane
        return
      }
    }
  }
}
