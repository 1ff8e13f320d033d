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

  /// Between two looks at whether what others fetch is at home.
  private static let homePause = Duration.seconds(30)
}
