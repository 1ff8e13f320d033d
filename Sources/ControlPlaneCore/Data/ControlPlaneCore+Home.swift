import FederationModel

/// Files of one cluster (`file://CLUSTER/path`) that others read: they come from that cluster's own cache, so that they have to be
/// there, and to stay, as long as others fetch them.
extension ControlPlaneCore {
  /// A transfer of a key was added: where its cluster reads it from another one's disk, that one brings it into its cache, and makes
  /// room for it unless all is a guess.
  mutating func bringHome(_ key: DataKey) {
    guard let readers = data.abroad[key], let version = data.version(key), let origin = version.origin,
      let home = origin.onlyOn, exportingHome(of: origin) != nil, let cache = cache(of: home)
    else { return }
    data.keepAtHome(ReplicaName(key: key, cache: cache), checkedAt: now)
    staleValues.insert(key)
    let isGuess = readers.transfers.allSatisfy {
      data.transfers[$0].map { $0.row.cause == .speculation && $0.waiters.isEmpty } ?? true
    }
    want(key, version.size, of: version.dataset.project, on: home, isGuess ? .speculation : .prefetch)
  }

  /// A tick: what others still fetch is brought home again where that failed, where there was no room for a guess, and where the
  /// bytes were lost.
  mutating func bringHomeWhatIsRead() {
    let due = now + (.zero - Self.homePause)
    let unseen = data.abroad.filter { $0.value.checkedAt <= due }.keys.sorted()
    for key in unseen.prefix(configuration.sliceLimit) { bringHome(key) }
  }

  /// The cluster whose own files a key is, while it does not answer and nobody else has them: until then nobody can be told to fetch it.
  func absentHome(of key: DataKey, for cluster: ClusterName) -> ClusterName? {
    guard let home = data.version(key)?.origin?.onlyOn, home != cluster, let entry = clusters[home],
      entry.session == nil, sources(of: key, for: cluster).isEmpty
    else { return nil }
    return home
  }

  /// A cluster answers again: who waits for its files is told to fetch them.
  mutating func orderFiles(of home: ClusterName) {
    for key in data.abroad.keys.sorted() where data.version(key)?.origin?.onlyOn == home {
      for id in data.abroad[key]!.transfers.sorted() where isOrdered(data.transfers[id]!) { order(id) }
    }
  }

  /// Between two looks at whether what others fetch is at home.
  private static let homePause = Duration.seconds(30)
}
