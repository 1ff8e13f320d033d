import FederationModel
import SchedulerCore

/// Data as placement passes see it.
extension ControlPlaneCore {
  /// Where an input that waiting tasks read can be had; nil when nobody knows it.
  func dataView(_ key: DataKey) -> DataView? {
    if let version = data.version(key) {
      guard version.phase == .ready, let spec = data.datasets[version.dataset]?.row.spec else { return nil }
      // The repository is as fast as the link into a cluster; how fast origins are is learnt.
      var view = DataView(
        size: version.size, copies: copies(of: key), origin: version.origin == nil ? .infinity : originRate,
        allowedClusters: spec.allowedClusters)
      if let home = version.origin?.onlyOn {
        // What lies on one cluster is fetched there from its disk, and elsewhere from that cluster's cache.
        view.origin = nil
        if clusters[home] != nil, !view.copies.contains(where: { $0.cluster == home }) {
          view.copies.append(DataCopy(cluster: home))
        }
        view.isConfined = !view.copies.contains {
          $0.isThere && clusters[$0.cluster]?.inventory.cache?.exportURL != nil
        }
      }
      return view
    }
    guard let artifact = pending.artifacts[key] else { return nil }
    var known = copies(of: key)
    if let maker = artifact.producedOn, cache(of: maker) == nil, clusters[maker] != nil {
      // An agent that tells nothing of its cache has what it made there, as a rule.
      known.append(DataCopy(cluster: maker))
    }
    if data.unstored[key] != nil, !known.contains(where: \.isThere) { return nil }
    // Whatever is stored is in the repository, and only the link into a cluster limits how fast it comes from there. What is not
    // stored yet comes from the export of who has it, or is copied into the repository first, as fast as it can be sent there.
    guard data.unstored[key] != nil else { return DataView(size: artifact.size, copies: known, origin: .infinity) }
    let holders = known.filter(\.isThere).map(\.cluster)
    let isExported = holders.contains { clusters[$0]?.inventory.cache?.exportURL != nil }
    let rate = holders.compactMap { clusters[$0]?.bandwidthOut }.max() ?? .infinity
    return DataView(size: artifact.size, copies: known, origin: isExported ? nil : rate)
  }

  func copies(of key: DataKey) -> [DataCopy] {
    var copies: [DataCopy] = []
    for cache in (data.replicas[key] ?? [:]).keys.sorted() {
      for cluster in clusters(sharing: cache) { copies.append(DataCopy(cluster: cluster)) }
    }
    let transfers = data.underWay[key] ?? []
    for id in transfers.sorted() {
      guard let entry = data.transfers[id], !entry.row.cause.isOutward else { continue }
      let cluster = entry.row.cluster
      copies.append(DataCopy(cluster: cluster, eta: eta(of: entry), isThere: false))
    }
    return copies
  }

  /// Seconds until a transfer is expected to be complete: at the rate that it has, else behind all that its link was promised.
  func eta(of entry: TransferEntry) -> Double {
    if entry.rate > 0 { return Double(entry.remaining.bytes) / Double(entry.rate) }
    guard let cluster = clusters[entry.row.cluster] else { return .infinity }
    let bandwidth = cluster.view(defaultBandwidth: configuration.defaultBandwidth, at: now).bandwidth
    return Double(cluster.backlogIn.bytes) / max(1, bandwidth)
  }

  func cacheView(of cluster: ClusterName) -> CacheView? {
    guard let inventory = clusters[cluster]?.inventory.cache else { return nil }
    let book = data.books[inventory.name]
    // What its agent tells counts what it has promised already, and may be older than what was ordered since.
    let used = max(inventory.used, book?.used ?? .zero)
    return CacheView(
      id: inventory.name, capacity: inventory.capacity, used: used, evictable: min(used, book?.evictable ?? .zero))
  }

  /// Brings what a waiting task will probably read to where it will probably run.
  mutating func warm(_ staging: Staging) {
    guard clusters[staging.cluster]?.closedBecause == nil else { return }
    if let version = data.version(staging.data) {
      want(staging.data, version.size, of: version.dataset.project, on: staging.cluster, .speculation)
    } else if let artifact = pending.artifacts[staging.data], data.unstored[staging.data] == nil,
      let project = pending.project(reading: staging.data)
    {
      want(
        staging.data, artifact.size, of: project, on: staging.cluster, .speculation,
        repositoryKey: artifact.repositoryKey)
    }
  }
}
