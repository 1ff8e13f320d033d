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
    revalueStale()
    let victims = data.inBook(view.id) { $0.evict(excess) } ?? []
    guard !victims.isEmpty else { return }
    output.order(writer, session) { $0.evict += victims }
  }

  /// Tells values anew that may have changed, a slice of them at a time.
  mutating func revalueStale() {
    staleValues.formUnion(pending.takeReread())
    guard !staleValues.isEmpty else { return }
    var told: [ClusterName: [DataOrders.Value]] = [:]
    for key in staleValues.sorted().prefix(Self.revaluedAtOnce) {
      staleValues.remove(key)
      for (cache, row) in (data.replicas[key] ?? [:]).sorted(by: { $0.key < $1.key }) {
        let value = value(of: row)
        guard data.inBook(cache, { $0.revalue(key, value) }) == true,
          let cluster = clusters(sharing: cache).first, let writer = writer(for: cluster)
        else { continue }
        told[writer, default: []].append(DataOrders.Value(key: key, value: value))
      }
    }
    for (writer, values) in told.sorted(by: { $0.key < $1.key }) {
      guard let session = dataSession(of: writer) else { continue }
      output.order(writer, session) { $0.values += values }
    }
  }

  private static var revaluedAtOnce: Int { 1000 }
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
    let source = sources(of: row.key, for: cluster).first?.linkName ?? ""
    let bandwidth =
      data.links[Link(source: source, cluster: cluster)]?.bandwidth
      ?? entry.view(defaultBandwidth: configuration.defaultBandwidth, at: now).bandwidth
    let gibibytes = Double(row.size.bytes) / Double(1 << 30)
    let egress = entry.row.spec.prices(at: now)?.egressGibibyte ?? 0
    return Double(row.size.bytes) / max(1, bandwidth) + configuration.weights.lambda * egress * gibibytes
  }
}
