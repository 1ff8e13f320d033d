/// What has been decided so far, and the scorer that reads it: copies and those on their way, links, slots. The leader's pass and the
/// co-scheduler of the simulator decide on the same one.
///
/// Sites `0..<slots.count` run tasks; further ones, if any, only send (the world outside the clusters). Bytes, seconds since the start
/// of time; the columns are relative to the moment of the decision.
struct PlacementLedger: Sendable {
  struct Copy: Hashable, Sendable {
    var site: Int
    /// When it is complete; in the past for one that is there.
    var availableAt: Double
    var isThere: Bool
    /// Where it comes from while it is on its way.
    var source: Int
  }

  /// What a choice means, as long as nothing else happens.
  struct Commitment {
    /// When the last input is expected; now when nothing is to be moved.
    var inputsAt: Double
    /// Missing inputs, and who was chosen to send them.
    var moves: [(datum: Int, source: Int)] = []
  }

  var columns: ClusterColumns
  var kernel = ScoringKernel()
  var links: LinkBook
  var slots: [SlotBook]
  /// By datum.
  var sizes: [Double] = []
  var copies: [[Copy]] = []
  /// Sites that nothing can be copied from now.
  var isDown: [Bool]
  /// `mates[s]`: the sites that share the cache of s, without s; empty where none do.
  var mates: [[Int]] = []
  private var replicas: [Replica] = []
  /// What the links had promised before a trial; empty between commitments.
  private var marks: [LinkBook.Mark] = []

  init(columns: ClusterColumns, links: LinkBook, slots: [SlotBook]) {
    self.columns = columns
    self.links = links
    self.slots = slots
    isDown = Array(repeating: false, count: columns.count)
  }

  func copy(of datum: Int, at site: Int) -> Copy? { copies[datum].first { $0.site == site } }

  /// Brings a site's backlogs in the columns up to date.
  mutating func refresh(_ site: Int, at now: Double) {
    columns.setBacklog(
      site, in: Float(links.backlogIn(site, at: now)), out: Float(links.backlogOut(site, at: now)))
  }

  /// Scores a task with these inputs on all sites; `kernel.best` is the choice.
  mutating func score(_ inputs: [Int], _ request: ScoringRequest, _ weights: ScoringWeights, at now: Double) {
    gather(inputs, at: now)
    kernel.score(request, weights, columns)
  }

  /// Tells the kernel where the inputs of a task are: all that a commitment needs when its site is given.
  mutating func gather(_ inputs: [Int], at now: Double) {
    kernel.begin(clusters: columns.count, inputs: inputs.count)
    for input in inputs {
      replicas.removeAll(keepingCapacity: true)
      for copy in copies[input] where !isDown[copy.site] {
        // What is late is still on its way.
        let rest = copy.isThere ? 0 : max(copy.availableAt - now, 0.001)
        replicas.append(Replica(cluster: copy.site, eta: Float(rest)))
      }
      replicas.withUnsafeBufferPointer { kernel.add(size: Float(sizes[input]), replicas: $0, columns) }
    }
  }

  /// Commits the choice of a site for the inputs that were scored last: both links of each move are promised its bytes, and each
  /// input is on its way.
  ///
  /// - Parameters:
  ///   - passing: the last so many inputs are a task's own: nobody else finds them there later.
  ///   - isTrial: the links promise nothing once the commitment is made.
  mutating func commit(
    _ inputs: [Int], to site: Int, passing: Int = 0, isTrial: Bool = false, at now: Double
  ) -> Commitment {
    var commitment = Commitment(inputsAt: now)
    for (index, input) in inputs.enumerated() {
      if let copy = copy(of: input, at: site) {
        commitment.inputsAt = max(commitment.inputsAt, copy.isThere ? now : copy.availableAt)
        continue
      }
      let source = Int(kernel.sources[index])
      if isTrial { marks.append(links.mark(from: source, to: site)) }
      let sent = links.promise(sizes[input], from: source, to: site, at: now)
      let eta = max(sent, copy(of: input, at: source).map { $0.isThere ? now : $0.availableAt } ?? now)
      if index < inputs.count - passing {
        for holder in [site] + (mates.isEmpty ? [] : mates[site]) where copy(of: input, at: holder) == nil {
          copies[input].append(Copy(site: holder, availableAt: eta, isThere: false, source: source))
        }
      }
      if !isTrial { refresh(source, at: now) }
      commitment.moves.append((input, source))
      commitment.inputsAt = max(commitment.inputsAt, eta)
    }
    while let mark = marks.popLast() { links.restore(mark) }
    return commitment
  }

  /// Takes back copies that were only assumed.
  mutating func forget(_ assumed: [(datum: Int, site: Int)]) {
    for copy in assumed { copies[copy.datum].removeAll { $0.site == copy.site } }
  }

  /// Late binding: a task is handed over when its slot is free by the time its inputs are there (or its cluster's queue has let it
  /// through). Anything earlier would tie it to a place that may not be the best one by then, and win nothing.
  ///
  /// - Parameters:
  ///   - slot: when it would get a slot.
  ///   - queued: when the cluster's own queue would have let it through.
  static func isDue(slot: Double, inputsAt: Double, queued: Double) -> Bool { slot <= max(inputsAt, queued) }

  /// The site that would send a datum to another one first; nil when nobody who can be reached has it.
  func source(of datum: Int, to site: Int, at now: Double) -> Int? {
    var (source, soonest): (Int?, Double) = (nil, .infinity)
    for copy in copies[datum] where copy.isThere && !isDown[copy.site] {
      let sent =
        max(now, links.freeOut[copy.site]) + sizes[datum]
        / min(links.bandwidthOut[copy.site], links.paths.limit(from: copy.site, to: site))
      if sent < soonest { (source, soonest) = (copy.site, sent) }
    }
    return source
  }
}
