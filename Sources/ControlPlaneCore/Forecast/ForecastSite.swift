import FederationModel
import SchedulerCore

/// A cluster in an imagined course: what it holds, runs and is sent.
struct ForecastSite: Sendable {
  struct Running: Sendable {
    var resources: Resources
    /// Index of the simulation's task; -1 before it has one.
    var task: Int
    /// Seconds, when it is expected to end.
    var expectedEnd: Double
    /// It is on spot capacity.
    var isSpot = false
    /// The partition that it was quoted for.
    var partition: String?
  }

  /// As it was at the beginning.
  let base: ClusterView
  private(set) var running: [Running]
  /// Runs whose inputs are there, in the order in which they will start.
  private(set) var queue: [Int] = []
  private(set) var linkFreeAt: Double
  private var linkOutFreeAt = 0.0
  /// The workflow's task whose end was the last one here; nil when it was somebody else's.
  var lastEnded: Int?
  // What passes see as taken: what is bound here and not in staging.
  private var held: Resources
  private var slotsHeld: Int
  private var spotHeld: Resources
  private var spotSlotsHeld: Int
  /// Tasks on spot capacity that are not over.
  private var spot: Set<Int> = []
  /// Where tasks that are not over were sent, of those whose prices depend on it.
  private var partitions: [Int: String] = [:]
  private var partitionsHeld: [String: Resources]
  // What really runs.
  private var busy = Resources.zero
  private var staging: Set<Int> = []
  private var longRuns: Int
  /// Tasks that are no short ones, and not over.
  private var long: Set<Int> = []
  private var brought = ByteCount.zero

  init(_ view: ClusterView, running: [ExpectedRelease]) {
    base = view
    self.running = running.map {
      Running(
        resources: $0.resources, task: -1, expectedEnd: $0.end, isSpot: $0.isSpot, partition: $0.partition)
    }
    spotHeld = view.spot?.used ?? .zero
    spotSlotsHeld = view.spot?.slotsUsed ?? 0
    partitionsHeld = view.partitionsUsed
    held = view.inventory.capacity - view.free
    slotsHeld = view.freeSlots.map { (view.inventory.slots ?? 0) - $0 } ?? 0
    longRuns = view.longRuns
    linkFreeAt = Double(view.backlogIn.bytes) / max(1, view.bandwidth)
    linkOutFreeAt = Double(view.backlogOut.bytes) / max(1, view.bandwidthOut)
    for run in running { busy += occupied(by: run.resources) }
  }

  var name: ClusterName { base.spec.name }
  /// Names where its data is: clusters with the same one share it.
  var place: String { base.cache.map { "cache \($0.id)" } ?? "cluster \(name)" }

  mutating func adopt(_ number: Int, as task: Int) {
    running[number].task = task
    if running[number].isSpot { spot.insert(task) }
    partitions[task] = running[number].partition
    // Which of them are short ones is not told: those that end first.
    if running.count - number <= base.longRuns { long.insert(task) }
  }

  func view(at time: Double) -> ClusterView {
    var view = base
    view.free = base.inventory.capacity - held
    view.freeSlots = base.inventory.slots.map { $0 - slotsHeld }
    view.backlogIn = ByteCount(estimated: (linkFreeAt - time) * base.bandwidth)
    if base.bandwidthOut.isFinite {
      view.backlogOut = ByteCount(estimated: (linkOutFreeAt - time) * base.bandwidthOut)
    }
    view.longRuns = longRuns
    view.spot?.used = spotHeld
    view.spot?.slotsUsed = spotSlotsHeld
    view.partitionsUsed = partitionsHeld
    view.cache?.used += brought
    // One that takes longer than expected takes nobody knows how long: as a leader sees it.
    let ends = running.map { $0.expectedEnd > time ? $0.expectedEnd - time : max(1, (time - $0.expectedEnd) / 10) }
    view.firstEnd = ends.min()
    view.meanRun = ends.isEmpty ? 0 : ends.reduce(0, +) / Double(ends.count)
    view.releases = zip(running, ends).map { ExpectedRelease(resources: $0.resources, end: $1, isSpot: $0.isSpot) }
      .sorted { $0.end < $1.end }
    return view
  }

  // MARK: Data

  /// When so many bytes more will have come over its link.
  mutating func promise(_ size: ByteCount, at time: Double) -> Double {
    linkFreeAt = max(time, linkFreeAt) + Double(size.bytes) / max(1, base.bandwidth)
    return linkFreeAt
  }

  /// When it will have sent so many bytes more.
  mutating func promiseOut(_ size: ByteCount, at time: Double) -> Double {
    linkOutFreeAt = max(time, linkOutFreeAt) + Double(size.bytes) / max(1, base.bandwidthOut)
    return linkOutFreeAt
  }

  mutating func keep(_ size: ByteCount) { brought += size }

  // MARK: Runs

  mutating func bind(_ resources: Resources, _ task: Int, isStaging: Bool, isShort: Bool, to placement: Placement) {
    if placement.isSpot { spot.insert(task) }
    partitions[task] = placement.partition
    if !isShort {
      long.insert(task)
      longRuns += 1
    }
    if isStaging { staging.insert(task) } else { hold(resources, task) }
  }

  /// Its inputs are there, and the cluster's own queue has let it through.
  mutating func staged(_ resources: Resources, _ task: Int) {
    if staging.remove(task) != nil { hold(resources, task) }
    queue.append(task)
  }

  private mutating func hold(_ resources: Resources, _ task: Int) {
    held += resources
    slotsHeld += 1
    if let partition = partitions[task] { partitionsHeld[partition, default: .zero] += resources }
    guard spot.contains(task) else { return }
    spotHeld += resources
    spotSlotsHeld += 1
  }

  /// Whether it can start now.
  func fits(_ resources: Resources) -> Bool {
    if let slots = base.inventory.slots, running.count >= slots { return false }
    // What takes more than all there is takes all of it: the planner has let it pass.
    return running.isEmpty || (busy + occupied(by: resources)).fits(in: base.inventory.capacity)
  }

  /// What a run keeps from others. Batch systems give whole cores, one at least.
  private func occupied(by resources: Resources) -> Resources {
    guard base.inventory.queues else { return resources }
    var whole = resources
    whole.cpuMillicores = max(1, (resources.cpuMillicores + 999) / 1000) * 1000
    return whole
  }

  mutating func startNext(_ resources: Resources, expectedEnd: Double) {
    let task = queue.removeFirst()
    running.append(
      Running(resources: resources, task: task, expectedEnd: expectedEnd, isSpot: spot.contains(task)))
    busy += occupied(by: resources)
  }

  /// A run is over, or will never be.
  mutating func release(_ task: Int, _ resources: Resources) {
    if long.remove(task) != nil { longRuns -= 1 }
    let isSpot = spot.remove(task) != nil
    let partition = partitions.removeValue(forKey: task)
    if staging.remove(task) != nil { return }
    held -= resources
    slotsHeld -= 1
    if let partition { partitionsHeld[partition]? -= resources }
    if isSpot {
      spotHeld -= resources
      spotSlotsHeld -= 1
    }
    if let place = running.firstIndex(where: { $0.task == task }) {
      running.remove(at: place)
      busy -= occupied(by: resources)
    } else {
      queue.removeAll { $0 == task }
    }
  }
}

/// Where data is in an imagined course, and when it will be elsewhere.
struct ForecastData: Sendable {
  private var views: [DataKey: DataView]
  /// `arrivals[key][place]`: seconds from the beginning of the forecast; see `ForecastSite.place`.
  private var arrivals: [DataKey: [String: Double]] = [:]
  private var clusters: [String: [ClusterName]]

  init(_ snapshot: SchedulingSnapshot, _ sites: [ForecastSite]) {
    views = snapshot.data
    clusters = Dictionary(grouping: sites, by: \.place).mapValues { $0.map(\.name) }
    let places = Dictionary(sites.map { ($0.name, $0.place) }, uniquingKeysWith: { first, _ in first })
    for (key, view) in snapshot.data {
      for copy in view.copies {
        guard let place = places[copy.cluster] else { continue }
        arrivals[key, default: [:]][place] = min(arrivals[key]?[place] ?? .infinity, copy.eta)
      }
    }
  }

  /// As a pass sees it at a moment; nil for a name that nobody knows.
  func view(_ key: DataKey, at time: Double) -> DataView? {
    guard var view = views[key] else { return nil }
    view.copies = (arrivals[key] ?? [:]).sorted { $0.key < $1.key }.flatMap { place, at in
      (clusters[place] ?? []).map { DataCopy(cluster: $0, eta: max(0, at - time), isThere: at <= time) }
    }
    return view
  }

  /// When it is there; nil when it is neither there nor on its way.
  func arrival(of key: DataKey, on site: ForecastSite) -> Double? { arrivals[key]?[site.place] }

  mutating func arrive(_ key: DataKey, on site: ForecastSite, at time: Double) {
    // Without a cache nothing stays for others.
    if site.base.cache != nil { arrivals[key, default: [:]][site.place] = time }
  }

  /// A run has made it. Small outputs have no names: see `Requirement.inputs`.
  mutating func made(_ key: DataKey, _ size: ByteCount, on site: ForecastSite, at time: Double) {
    guard size >= Requirement.namedSize else { return }
    views[key] = DataView(size: size, origin: .infinity)
    arrivals[key, default: [:]][site.place] = time
  }

  func size(of key: DataKey) -> ByteCount { views[key]?.size ?? .zero }

  /// Of all that it reads.
  func size(of requirement: Requirement) -> ByteCount {
    let small = requirement.inputs.reduce(ByteCount.zero) { $0 + $1.size }
    return requirement.data.reduce(small) { $0 + size(of: $1) }
  }
}
