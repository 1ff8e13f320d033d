import FederationModel

/// What one pass of the planner knows and has decided: the snapshot, its ledger, and the plan so far. Now is 0.
struct PlacementPass {
  let weights: PlacementWeights
  var clusters: [ClusterView]
  /// Site `i` is cluster `i`; behind them the places outside that data can be had from, one for each rate, and last the artifact
  /// repository.
  var ledger: PlacementLedger
  /// The links with what is placed, without what is only assumed: what prefetching asks whether they are idle.
  private var links: LinkBook
  var plan = PlacementPlan()
  /// Tasks that were left waiting for a slot, or looked ahead to.
  var heldCount = 0
  /// Room that is kept for gangs which come before what is looked at now, by cluster: one for each at most.
  var reservations: [Int: GangReservation] = [:]
  /// What the group that is looked at now may not count on, by cluster.
  private(set) var withheld: [Int: Withheld] = [:]
  /// Whether there is a gang to keep room for: only then it matters when what is placed gives back its room.
  let keepsRoom: Bool
  /// Whether a cluster charges for what others fetch from it.
  let hasEgress: Bool

  /// The clusters as they were when the pass began.
  private let start: [ClusterView]
  private let siteOfCluster: [ClusterName: Int]
  private let keys: [DataKey]
  private let views: [DataView]
  private let indexOfKey: [DataKey: Int]
  /// `uses[d]`: queued tasks that read datum d.
  private let uses: [Int]
  /// `shares[c]`: part of all slots that cluster c has.
  private let shares: [Double]
  /// Copies that are assumed for tasks that were not placed.
  private var assumed: [AssumedCopy] = []
  private var isAssumed: Set<AssumedCopy> = []

  private struct AssumedCopy: Hashable {
    var datum: Int
    var site: Int
  }

  init(_ snapshot: SchedulingSnapshot, _ weights: PlacementWeights) {
    self.weights = weights
    clusters = snapshot.clusters
    start = snapshot.clusters
    keepsRoom = (snapshot.groups + snapshot.gangsAhead).contains { $0.requirement.hints.gangSize > 1 }
    hasEgress = snapshot.clusters.contains { $0.chargesEgress }
    siteOfCluster = Dictionary(
      snapshot.clusters.enumerated().map { ($1.spec.name, $0) }, uniquingKeysWith: { first, _ in first })
    keys = snapshot.data.keys.sorted()
    let views = keys.map { snapshot.data[$0]! }
    self.views = views
    indexOfKey = Dictionary(uniqueKeysWithValues: keys.enumerated().map { ($1, $0) })
    var uses = keys.map { _ in 0 }
    for group in snapshot.groups {
      for key in group.requirement.data { if let index = indexOfKey[key] { uses[index] += group.waiting } }
    }
    self.uses = uses
    let slots = snapshot.clusters.map(\.parallelRuns)
    let all = max(1, slots.reduce(0, +))
    shares = slots.map { $0 / all }
    let rates = OriginRates(views)
    ledger = Self.ledger(snapshot.clusters, rates)
    links = ledger.links
    for (index, view) in views.enumerated() {
      add(view, rates.site(of: view).map { $0 + snapshot.clusters.count }, index)
    }
  }

  private static func ledger(_ clusters: [ClusterView], _ rates: OriginRates) -> PlacementLedger {
    let outside = rates.list + [.infinity]
    var columns = ClusterColumns(count: clusters.count + outside.count)
    let bandwidthIn = clusters.map { max(1, $0.bandwidth) } + outside.map { _ in .infinity }
    let bandwidthOut = clusters.map { max(0, $0.bandwidthOut) } + outside
    for (index, cluster) in clusters.enumerated() {
      columns.describe(
        index, speed: Float(cluster.speed), bandwidthIn: Float(bandwidthIn[index]),
        bandwidthOut: Float(bandwidthOut[index]))
    }
    for index in clusters.count..<columns.count {
      columns.describe(index, speed: 1, bandwidthIn: .infinity, bandwidthOut: Float(bandwidthOut[index]))
      columns.setOpen(index, false)
    }
    var ledger = PlacementLedger(
      columns: columns, links: LinkBook(bandwidthIn: bandwidthIn, bandwidthOut: bandwidthOut),
      slots: clusters.map(\.slotBook))
    for (index, cluster) in clusters.enumerated() {
      ledger.links.open(
        index, backlogIn: Double(cluster.backlogIn.bytes), backlogOut: Double(cluster.backlogOut.bytes), at: 0)
      ledger.refresh(index, at: 0)
      ledger.isDown[index] = !cluster.isReachable
    }
    ledger.mates = mates(clusters)
    return ledger
  }

  /// Empty unless some clusters share a cache.
  private static func mates(_ clusters: [ClusterView]) -> [[Int]] {
    let sharers = Dictionary(grouping: clusters.indices.filter { clusters[$0].cache != nil }) {
      clusters[$0].cache!.id
    }
    guard sharers.values.contains(where: { $0.count > 1 }) else { return [] }
    return clusters.indices.map { index in
      clusters[index].cache.map { sharers[$0.id]!.filter { $0 != index } } ?? []
    }
  }

  private mutating func add(_ view: DataView, _ origin: Int?, _ index: Int) {
    ledger.sizes.append(Double(view.size.bytes))
    ledger.copies.append([])
    for copy in view.copies {
      guard let site = siteOfCluster[copy.cluster] else { continue }
      for holder in [site] + (ledger.mates.isEmpty ? [] : ledger.mates[site]) {
        guard ledger.copy(of: index, at: holder) == nil else { continue }
        ledger.copies[index].append(
          PlacementLedger.Copy(site: holder, availableAt: copy.eta, isThere: copy.isThere, source: site))
      }
    }
    if let origin {
      ledger.copies[index].append(
        PlacementLedger.Copy(site: origin, availableAt: 0, isThere: true, source: origin))
    }
  }

  // MARK: What is kept for others

  /// Until `giveBack` the clusters are as tasks of a group may count on them: of those with spot capacity the part that it goes to, which
  /// is the same in all its turns of a pass.
  mutating func withhold(from group: PendingGroup) {
    let requirement = group.requirement
    for index in clusters.indices where clusters[index].spot != nil {
      clusters[index].enter(start[index].choice(for: requirement, lasting: group.expectedRuntime))
    }
    for index in clusters.indices { clusters[index].enter(partition: clusters[index].partition(for: requirement)) }
    for index in clusters.indices where !clusters[index].claims.isEmpty || clusters[index].headroom != nil {
      let part = clusters[index].withheld(from: requirement)
      guard !part.isNothing else { continue }
      clusters[index].withhold(part)
      withheld[index] = part
    }
  }

  mutating func giveBack() {
    for (index, part) in withheld { clusters[index].giveBack(part) }
    withheld = [:]
    for index in clusters.indices { clusters[index].leavePartition() }
    for index in clusters.indices where clusters[index].spot != nil { clusters[index].leave() }
  }

  // MARK: What a requirement reads

  /// A requirement's inputs as the ledger numbers them: what it names, then its small ones by where they are.
  mutating func inputs(of requirement: Requirement) -> RoundInputs {
    var inputs = RoundInputs(named: requirement.data.compactMap { indexOfKey[$0] })
    inputs.unknown = requirement.data.first { indexOfKey[$0] == nil }
    let repository = ledger.columns.count - 1
    for volume in requirement.inputs {
      let holders = [volume.cluster.flatMap { siteOfCluster[$0] }, repository].compactMap(\.self)
      inputs.all.append(ledger.sizes.count)
      ledger.sizes.append(Double(volume.size.bytes))
      ledger.copies.append(
        holders.map { PlacementLedger.Copy(site: $0, availableAt: 0, isThere: true, source: $0) })
    }
    return inputs
  }

  func view(of datum: Int) -> (key: DataKey, view: DataView) { (keys[datum], views[datum]) }

  /// `missing[c]`: bytes that are neither on cluster c nor on their way to it.
  func missing(_ inputs: RoundInputs) -> [Double] {
    let all = inputs.all.reduce(0.0) { $0 + ledger.sizes[$1] }
    var missing = clusters.map { _ in all }
    for input in inputs.all {
      for copy in ledger.copies[input] where copy.site < clusters.count { missing[copy.site] -= ledger.sizes[input] }
    }
    return missing
  }

  func missing(_ inputs: RoundInputs, on cluster: Int) -> ByteCount {
    ByteCount(
      Int64(
        inputs.all.reduce(0.0) { ledger.copy(of: $1, at: cluster) == nil ? $0 + ledger.sizes[$1] : $0 }))
  }

  /// Bytes of named inputs that clusters would send to another one, as the kernel has chosen sources for `inputs` last. Small inputs
  /// come through the repository. Empty while no cluster charges for egress.
  func sources(_ inputs: RoundInputs, to cluster: Int, _ ledger: PlacementLedger) -> [ClusterName: ByteCount] {
    guard hasEgress else { return [:] }
    var sources: [ClusterName: ByteCount] = [:]
    for (position, datum) in inputs.named.enumerated() where ledger.copy(of: datum, at: cluster) == nil {
      let source = Int(ledger.kernel.sources[position])
      guard source >= 0, let name = name(of: source) else { continue }
      sources[name, default: .zero] += ByteCount(estimated: Double(ledger.sizes[datum]))
    }
    return sources
  }

  /// Minor units that these sources charge.
  func egress(_ inputs: RoundInputs, to cluster: Int, _ ledger: PlacementLedger) -> Double {
    guard hasEgress, let currency = clusters[cluster].spec.prices?.currency else { return 0 }
    var sum = 0.0
    for (position, datum) in inputs.named.enumerated() where ledger.copy(of: datum, at: cluster) == nil {
      let source = Int(ledger.kernel.sources[position])
      guard source >= 0, source < clusters.count else { continue }
      let gibibyte = clusters[source].egressGibibyte(in: currency)
      sum += EgressQuote.cost(of: ByteCount(estimated: Double(ledger.sizes[datum])), at: gibibyte)
    }
    return sum
  }

  /// Seconds that a replica of each missing input would save the other tasks in the queue that come here; see `FutureReuse`.
  func futureReuse(_ inputs: RoundInputs, on cluster: Int) -> Double {
    guard inputs.named.contains(where: { uses[$0] > 1 }) else { return 0 }
    return inputs.named.reduce(0.0) { sum, datum in
      guard uses[datum] > 1, ledger.copy(of: datum, at: cluster) == nil else { return sum }
      let seconds = ledger.sizes[datum] / ledger.links.bandwidthIn[cluster]
      return sum + FutureReuse.seconds(uses: Double(uses[datum] - 1) * shares[cluster], refetchSeconds: seconds)
    }
  }

  // MARK: What is decided

  /// What a placed task lacks is to be moved, what was assumed for others that were not placed included.
  mutating func stage(_ inputs: RoundInputs, _ moves: [(datum: Int, source: Int)], to cluster: Int) {
    let moved = Dictionary(moves.map { ($0.datum, $0.source) }, uniquingKeysWith: { first, _ in first })
    for datum in inputs.named {
      var source = moved[datum]
      if isAssumed.remove(AssumedCopy(datum: datum, site: cluster)) != nil {
        source = ledger.copy(of: datum, at: cluster)?.source
      }
      guard let source else { continue }
      order(datum, from: source, to: cluster, isSpeculative: false)
    }
    for datum in inputs.all.dropFirst(inputs.named.count) {
      if let source = moved[datum] { _ = links.promise(ledger.sizes[datum], from: source, to: cluster, at: 0) }
    }
  }

  /// Notes what a task that was not placed would lack.
  mutating func assume(_ inputs: RoundInputs, _ moves: [(datum: Int, source: Int)], at cluster: Int) {
    heldCount += 1
    for move in moves where inputs.named.contains(move.datum) {
      let copy = AssumedCopy(datum: move.datum, site: cluster)
      if isAssumed.insert(copy).inserted { assumed.append(copy) }
    }
  }

  /// Brings ahead what waiting tasks will probably read: over idle links, from who has it now and charges nothing for it, because
  /// nobody could be charged for a guess, where nothing must make room for it.
  mutating func prefetch() {
    for copy in assumed where isAssumed.contains(copy) {
      let (datum, cluster) = (copy.datum, copy.site)
      let size = ByteCount(estimated: Double(ledger.sizes[datum]))
      guard links.isIdleIn(cluster, at: 0), clusters[cluster].cache.map({ size <= $0.free }) ?? true else { continue }
      let source = ledger.copies[datum].first {
        $0.isThere && canSend($0) && links.isIdleOut($0.site, at: 0)
          && !($0.site < clusters.count && clusters[$0.site].chargesEgress)
      }
      guard let source else { continue }
      order(datum, from: source.site, to: cluster, isSpeculative: true)
    }
  }

  private mutating func order(_ datum: Int, from source: Int, to cluster: Int, isSpeculative: Bool) {
    _ = links.promise(ledger.sizes[datum], from: source, to: cluster, at: 0)
    let size = ByteCount(estimated: Double(ledger.sizes[datum]))
    if let id = clusters[cluster].cache?.id {
      for index in clusters.indices where clusters[index].cache?.id == id { clusters[index].cache!.used += size }
    }
    plan.stagings.append(
      Staging(
        data: keys[datum], cluster: clusters[cluster].spec.name, source: name(of: source),
        isSpeculative: isSpeculative))
  }

  func canSend(_ copy: PlacementLedger.Copy) -> Bool {
    !ledger.isDown[copy.site] && ledger.links.bandwidthOut[copy.site] > 0
  }

  /// nil: outside the clusters.
  func name(of site: Int) -> ClusterName? { site < clusters.count ? clusters[site].spec.name : nil }
}

/// The rates at which data can be had from outside, each once.
private struct OriginRates {
  /// Ascending. More than this many different ones are rounded down to powers of two.
  static let limit = 16
  let list: [Double]
  private let isRounded: Bool

  init(_ views: [DataView]) {
    let exact = Set(views.compactMap(\.origin).map { max(1, $0) })
    isRounded = exact.count > Self.limit
    list = (isRounded ? Set(exact.map { $0.isFinite ? $0.binade : $0 }) : exact).sorted()
  }

  func site(of view: DataView) -> Int? {
    guard let rate = view.origin.map({ max(1, $0) }) else { return nil }
    return list.firstIndex(of: isRounded && rate.isFinite ? rate.binade : rate)
  }
}

/// A requirement's inputs by their numbers in the ledger.
struct RoundInputs {
  /// Those with names.
  var named: [Int]
  /// Those, and then the small ones, which are each task's own.
  var all: [Int]
  /// A name that the snapshot does not know.
  var unknown: DataKey?
  init(named: [Int]) {
    self.named = named
    all = named
  }
  var passing: Int { all.count - named.count }
}

extension ClusterView {
  /// Runs of one core that it takes at once; at least one.
  fileprivate var parallelRuns: Double {
    Double(max(1, inventory.slots.map(Int64.init) ?? inventory.capacity.cpuMillicores / 1000))
  }

  /// When slots that are taken become free: the first one as its run is expected to end, and further ones as far apart as that many
  /// runs of mean length would end.
  fileprivate var slotBook: SlotBook {
    guard let firstEnd else { return SlotBook(ends: []) }
    let slots = parallelRuns
    return SlotBook(
      ends: (0..<min(Int(slots), PlacementPlanner.lookaheadLimit)).map { firstEnd + Double($0) * meanRun / slots })
  }
}
