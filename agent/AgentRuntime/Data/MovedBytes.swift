internal import FederationModel

/// Bytes that came over the link, and whose they were: another cluster is paid for what leaves its export.
struct MovedBytes: Sendable, Hashable {
  var total: Int64 = 0
  /// Of `total`, those that came from other clusters' exports.
  var fromClusters: [ClusterName: Int64] = [:]

  static func += (a: inout Self, b: Self) {
    a.total += b.total
    a.fromClusters.merge(b.fromClusters, uniquingKeysWith: +)
  }

  /// As the control plane is told: the empty name stands for what came from no cluster.
  static func told(_ total: Int64, _ fromClusters: [ClusterName: Int64]) -> [String: Int64] {
    guard total > 0 else { return [:] }
    var told = Dictionary(uniqueKeysWithValues: fromClusters.map { ($0.text, $1) })
    let rest = total - fromClusters.values.reduce(0, +)
    // An empty map would be that of an agent which does not meter.
    if rest > 0 || told.isEmpty { told[""] = rest }
    return told
  }
}
