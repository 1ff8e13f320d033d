import FederationModel
import SchedulerCore

/// What replicas are worth, and which of them make room.
///
/// A value is what its replica is expected to save: the tasks that wait and read it, and what runs read lately, times the seconds and
/// the money that bringing it there again would cost, for each byte. Agents are told the values, and make room by them when they have
/// to do so by themselves, also while nobody answers them; what the control plane brings it makes room for in the same order.
extension ControlPlaneCore {
  /// Bytes that fit into a cluster's cache without anything having to go.
  func room(on cluster: ClusterName) -> ByteCount {
    guard let view = cacheView(of: cluster) else { return .zero }
    return view.free
  }

  /// Lets the least valuable replicas go until what moves to a cluster's cache fits, or nothing is left that may go.
  mutating func makeRoom(on cluster: ClusterName) {
    guard let view = cacheView(of: cluster), let book = data.books[view.id] else { return }
    let excess = view.used - book.leaving - view.capacity
    guard excess > .zero, let writer = writer(for: cluster), let session = dataSession(of: writer) else { return }
    var (left, fresh, victims) = (excess, Set<DataKey>(), [DataKey]())
    while left > .zero, let key = data.books[view.id]?.least {
      // Somebody may want by now what is about to go.
      if fresh.count < Self.revaluedForRoom, isStale(key), fresh.insert(key).inserted {
        revalue(key, in: view.id, isTouched: true)
        continue
      }
      guard let size = data.inBook(view.id, { $0.dismissLeast() }) ?? nil else { break }
      left -= size
      victims.append(key)
    }
    guard !victims.isEmpty else { return }
    output.order(writer, session) { $0.evict += victims }
  }

  private func isStale(_ key: DataKey) -> Bool { staleValues.contains(key) || pending.reread.contains(key) }

  /// A tick: a slice of the values that may have changed are told anew, and a slice of all others in turn.
  mutating func revalueStale() {
    var left = Self.rereadAtOnce
    while left > 0, let key = pending.reread.popFirst() {
      left -= 1
      if data.replicas[key] != nil { staleValues.insert(key) }
    }
    left = configuration.sliceLimit
    while left > 0, let key = staleValues.popFirst() { left -= revalue(key, isTouched: true) }
    left = min(valuedInTurn.count, max(1, configuration.sliceLimit / 4))
    while left > 0, let key = valuedInTurn.popFirst() { left -= revalue(key, isTouched: false) }
  }

  /// - Parameter isTouched: something happened to it, so that it begins to age anew.
  /// - Returns: how many replicas were looked at, and 1 when it was none.
  private mutating func revalue(_ key: DataKey, isTouched: Bool) -> Int {
    guard let caches = data.replicas[key]?.keys.sorted() else { return 1 }
    for cache in caches { revalue(key, in: cache, isTouched: isTouched) }
    valuedInTurn.insert(key)
    return caches.count
  }

  private mutating func revalue(_ key: DataKey, in cache: String, isTouched: Bool) {
    guard let row = data.replicas[key]?[cache] else { return }
    let value = value(of: row)
    guard data.inBook(cache, { $0.revalue(key, value, isTouched: isTouched) }) == true,
      let cluster = clusters(sharing: cache).first, let writer = writer(for: cluster),
      let session = dataSession(of: writer)
    else { return }
    output.order(writer, session) { $0.values.append(DataOrders.Value(key: key, value: value)) }
  }

  /// How many of those that are about to go are looked at first, for one transfer.
  private static var revaluedForRoom: Int { 32 }
  /// Most keys that tasks read have no replica, and cost next to nothing.
  private static var rereadAtOnce: Int { 1000 }
  /// Of how many copies the best source is looked for.
  private static var copiesCompared: Int { 32 }
  /// What a use within the last hours counts, of one that is known to come.
  private static var pastUse: Double { 0.1 }
  /// What the next reader may be who is known of by nothing: so that what is dear to fetch outlives what is cheap.
  private static var unknownUse: Double { 0.01 }

  /// Seconds that a replica is expected to save, for each byte.
  private func value(of row: ReplicaRow) -> Double {
    let copies = Double(max(1, data.replicas[row.key]?.count ?? 1))
    // Whoever waits goes to one of those that have it.
    var waiting = Double(pending.readers(of: row.key)) / copies
    // Whoever fetches it from here reads it, too.
    if let abroad = data.abroad[row.key], abroad.kept?.cache == row.cache { waiting += Double(abroad.transfers.count) }
    let past = data.books[row.cache]?.heat(of: row.key, at: now) ?? 0
    return EvictionOrder.value(
      usesExpected: waiting + Self.pastUse * past + Self.unknownUse, refetchSeconds: refetchSeconds(of: row),
      size: Double(row.size.bytes))
  }

  /// What bringing a replica again would cost, money counted in seconds as placement does.
  private func refetchSeconds(of row: ReplicaRow) -> Double {
    guard let cluster = clusters(sharing: row.cache).first, let entry = clusters[cluster] else { return 0 }
    // Where many have it, one is near enough, and to compare all for each of them would take too long.
    let isRare = (data.replicas[row.key]?.count ?? 0) <= Self.copiesCompared
    let source = isRare ? sources(of: row.key, for: cluster).first : nil
    let bandwidth =
      source.flatMap { data.links[Link(source: $0.linkName, cluster: cluster)]?.bandwidth }
      ?? entry.view(defaultBandwidth: configuration.defaultBandwidth, at: now).bandwidth
    let gibibytes = Double(row.size.bytes) / Double(1 << 30)
    var egress = 0.0
    if case .export(let neighbour, _)? = source, let sheet = clusters[neighbour]?.row.spec.prices(at: now) {
      egress = sheet.egressGibibyte
    }
    return Double(row.size.bytes) / max(1, bandwidth) + configuration.weights.lambda * egress * gibibytes
  }
}
