import FederationModel

/// From where to where bytes move.
struct Link: Hashable, Comparable, Sendable {
  /// `repository`, `origin`, or a cluster's name.
  var source: String
  var cluster: ClusterName
  static func < (a: Self, b: Self) -> Bool { (a.cluster, a.source) < (b.cluster, b.source) }
}

struct LinkEntry: Sendable {
  /// Bytes per second, an exponentially weighted mean.
  var bandwidth: Double
  var samples = 1
  var measuredAt: Timestamp
}

/// How well bytes have moved, found from both ends.
struct LinkTable: Sendable {
  /// By cluster, then by source.
  private var inward: [ClusterName: [String: LinkEntry]] = [:]
  /// Who had something from a source.
  private var readers: [String: Set<ClusterName>] = [:]

  /// Names of sources that are no clusters, and so may be the name of none; see `DataSource.linkName`.
  static let outside: Set<String> = ["repository", "origin", "archive"]
  /// Sources that are remembered of one cluster: beyond them the one that was measured longest ago is forgotten.
  static let sourcesMax = 256

  subscript(link: Link) -> LinkEntry? { inward[link.cluster]?[link.source] }

  /// By source.
  func into(_ cluster: ClusterName) -> [String: LinkEntry] { inward[cluster] ?? [:] }

  func out(of source: String) -> [LinkEntry] { (readers[source] ?? []).compactMap { inward[$0]?[source] } }

  /// In no particular order.
  var all: [(Link, LinkEntry)] {
    inward.flatMap { cluster, sources in sources.map { (Link(source: $0.key, cluster: cluster), $0.value) } }
  }

  /// - Parameter sample: bytes per second.
  mutating func measured(_ sample: Double, over link: Link, at now: Timestamp) {
    guard var known = inward[link.cluster]?[link.source] else {
      inward[link.cluster, default: [:]][link.source] = LinkEntry(bandwidth: sample, measuredAt: now)
      readers[link.source, default: []].insert(link.cluster)
      return forgetOldest(of: link.cluster)
    }
    known.bandwidth = known.bandwidth * 0.7 + sample * 0.3
    known.samples += 1
    known.measuredAt = now
    inward[link.cluster]![link.source] = known
  }

  private mutating func forgetOldest(of cluster: ClusterName) {
    guard let sources = inward[cluster], sources.count > Self.sourcesMax,
      let oldest = sources.min(by: { ($0.value.measuredAt, $0.key) < ($1.value.measuredAt, $1.key) })
    else { return }
    remove(Link(source: oldest.key, cluster: cluster))
  }

  /// A cluster is gone: nothing moves to it or from it any more.
  mutating func forget(_ cluster: ClusterName) {
    for source in into(cluster).keys { remove(Link(source: source, cluster: cluster)) }
    for reader in readers[cluster.text] ?? [] { remove(Link(source: cluster.text, cluster: reader)) }
  }

  private mutating func remove(_ link: Link) {
    inward[link.cluster]?[link.source] = nil
    if inward[link.cluster]?.isEmpty == true { inward[link.cluster] = nil }
    readers[link.source]?.remove(link.cluster)
    if readers[link.source]?.isEmpty == true { readers[link.source] = nil }
  }
}
