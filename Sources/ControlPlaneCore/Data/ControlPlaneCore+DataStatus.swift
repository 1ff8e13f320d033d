public import FederationModel

/// How far a transfer is. Soft: an agent tells it once a second.
public struct TransferProgress: Hashable, Sendable {
  public var moved: ByteCount
  /// Bytes per second; 0 until something moved.
  public var rate: Int64
  /// Why it stands still; empty while it moves.
  public var waiting: String
  public var source: String
  public init(moved: ByteCount, rate: Int64, waiting: String, source: String) {
    self.moved = moved
    self.rate = rate
    self.waiting = waiting
    self.source = source
  }
}

/// How well bytes move from a source to a cluster, and what is promised over that link. Soft.
public struct LinkStatus: Hashable, Sendable {
  /// `repository`, `origin`, or a cluster's name.
  public var source: String
  public var cluster: ClusterName
  /// Bytes per second; nil until something was moved.
  public var bandwidth: Double?
  public var samples: Int
  public var measuredAt: Timestamp?
  public var backlog: ByteCount
  public init(
    source: String, cluster: ClusterName, bandwidth: Double? = nil, samples: Int = 0, measuredAt: Timestamp? = nil,
    backlog: ByteCount = .zero
  ) {
    self.source = source
    self.cluster = cluster
    self.bandwidth = bandwidth
    self.samples = samples
    self.measuredAt = measuredAt
    self.backlog = backlog
  }
}

/// What the API shows of the data plane's soft state.
extension ControlPlaneCore {
  public func transferProgress(of project: ProjectName) -> [TransferID: TransferProgress] {
    var progress: [TransferID: TransferProgress] = [:]
    for id in data.transfersByProject[project] ?? [] {
      let entry = data.transfers[id]!
      progress[id] = TransferProgress(
        moved: entry.row.moved, rate: entry.rate,
        waiting: entry.waiting.isEmpty ? standstill(of: entry) : entry.waiting,
        source: entry.row.source)
    }
    return progress
  }

  /// Why nothing moves, as far as the control plane knows; empty when it knows no reason.
  private func standstill(of entry: TransferEntry) -> String {
    guard entry.rate == 0 else { return "" }
    let cluster = entry.row.cluster
    guard clusters[cluster]?.session != nil else { return "waits for cluster \(cluster), which does not answer" }
    if let home = absentHome(of: entry.row.key, for: cluster) {
      return "waits for cluster \(home), which does not answer and alone has the files"
    }
    // What a run is told by its agent, it need not be told twice: a full disk or cache holds up the run before the transfer begins.
    return entry.waiters.sorted().lazy.compactMap { runs[$0]?.row }
      .first { $0.phase.rawValue <= RunPhase.staging.rawValue && !$0.message.isEmpty }?.message ?? ""
  }

  /// By cluster, then by source. A transfer whose source is not known yet counts with the one that its cluster tries first.
  public func linkStatuses() -> [LinkStatus] {
    var links: [Link: LinkStatus] = [:]
    for (link, entry) in data.links.all {
      links[link] = LinkStatus(
        source: link.source, cluster: link.cluster, bandwidth: entry.bandwidth, samples: entry.samples,
        measuredAt: entry.measuredAt)
    }
    for entry in data.transfers.values where !entry.row.cause.isOutward {
      var source = entry.row.source
      if source.isEmpty {
        source =
          sources(of: entry.row.key, for: entry.row.cluster, repositoryKey: entry.repositoryKey).first?.linkName ?? ""
      }
      let link = Link(source: source, cluster: entry.row.cluster)
      links[link, default: LinkStatus(source: source, cluster: entry.row.cluster)].backlog += entry.remaining
    }
    return links.sorted { $0.key < $1.key }.map(\.value)
  }
}
