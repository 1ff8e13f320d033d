public import FederationModel

/// Where bytes can be had, and who may open what.
extension ControlPlaneCore {
  /// Where a cluster may fetch a key, the best first: by how fast it has been, where what was not tried yet counts as the default link;
  /// of equals caches of the federation come before where it came from.
  func sources(of key: DataKey, for cluster: ClusterName, repositoryKey: String? = nil) -> [DataSource] {
    var sources: [DataSource] = []
    let own = cache(of: cluster)
    for cache in (data.replicas[key] ?? [:]).keys.sorted() where cache != own {
      for neighbour in clusters(sharing: cache) where clusters[neighbour]!.session != nil {
        guard let url = clusters[neighbour]!.inventory.cache?.exportURL else { continue }
        sources.append(.export(neighbour, url: url))
      }
    }
    if let version = data.version(key) {
      // A git repository was packed by the agent that looked at it: nobody asks its server a second time.
      if let origin = version.origin, !origin.isGit {
        if origin.isReachable(from: cluster) {
          sources.append(.origin(origin))
        } else if let home = exportingHome(of: origin), !sources.contains(home) {
          sources.append(home)
        }
      } else if let archive = version.archive {
        sources.append(.archive(archive))
      } else {
        sources.append(.repository(key: nil))
      }
    } else {
      sources.append(.repository(key: repositoryKey ?? data.unstored[key]?.first?.stored.key))
    }
    return sources.enumerated().sorted {
      let (a, b) = (expectedRate($0.element, to: cluster), expectedRate($1.element, to: cluster))
      return (-a, $0.offset) < (-b, $1.offset)
    }.map(\.element)
  }

  /// Files of one cluster come to the others from its cache: where that is shown, once it is.
  func exportingHome(of origin: DataOrigin) -> DataSource? {
    guard let home = origin.onlyOn, let url = clusters[home]?.inventory.cache?.exportURL, clusters[home]?.session != nil
    else { return nil }
    return .export(home, url: url)
  }

  /// Whether a key can be had without its being copied into the repository first.
  func hasSource(_ key: DataKey, elsewhereThan cache: String) -> Bool {
    if data.unstored[key] == nil { return true }
    return (data.replicas[key] ?? [:]).keys.contains { other in
      other != cache
        && clusters(sharing: other).contains {
          clusters[$0]!.session != nil && clusters[$0]!.inventory.cache?.exportURL != nil
        }
    }
  }

  /// All that a cluster needs to fetch a key that is not part of an assignment; nil when nobody knows the key any more.
  func object(_ key: DataKey, _ project: ProjectName, for cluster: ClusterName) -> DataObject? {
    let transfer = cache(of: cluster).flatMap { data.inward[ReplicaName(key: key, cache: $0)] }.flatMap {
      data.transfers[$0]
    }
    let isGuess = transfer?.row.cause == .speculation
    if let version = data.version(key) {
      guard version.phase == .ready else { return nil }
      return DataObject(
        key: key, project: project, size: version.size, files: version.files, manifest: version.manifest,
        sources: affordable(sources(of: key, for: cluster), isGuess))
    }
    guard let transfer, let stored = transfer.repositoryKey ?? data.unstored[key]?.first?.stored.key else { return nil }
    return DataObject(
      key: key, project: project, size: transfer.row.size,
      sources: affordable(sources(of: key, for: cluster, repositoryKey: stored), isGuess))
  }

  /// A guess is fetched from where it costs nothing, because nobody could be charged for it; from anywhere if it has become dear since.
  private func affordable(_ sources: [DataSource], _ isGuess: Bool) -> [DataSource] {
    guard isGuess else { return sources }
    let free = sources.filter {
      guard case .export(let neighbour, _) = $0 else { return true }
      return clusters[neighbour]?.row.spec.prices(at: now)?.egressGibibyte ?? 0 == 0
    }
    return free.isEmpty ? sources : free
  }

  /// A secret that opens the origin of a key, or its archive, for a cluster that has to fetch, list or copy it now; nil for any other.
  public func secretAccess(of key: DataKey, named name: String, on cluster: ClusterName) -> SecretAccess? {
    guard let version = data.version(key) else { return nil }
    let isFetching = data.indexing[key] == cluster || isFetching(key, on: cluster)
    let outward = data.outward[key].flatMap { data.transfers[$0] }.flatMap { $0.row.cluster == cluster ? $0 : nil }
    let places = [
      isFetching ? version.origin : nil, isFetching || outward != nil ? version.archive : nil,
      outward?.row.cause == .archive ? archiveTarget(version) : nil,
    ]
    guard let place = places.compactMap({ $0 }).first(where: { $0.secret == name }) else { return nil }
    return SecretAccess(project: version.dataset.project, secret: name, fields: place.fields)
  }

  /// Whether a cluster may open the export of another now: it fetches something that is there.
  public func mayReadExport(of neighbour: ClusterName, on cluster: ClusterName) -> Bool {
    guard let cache = cache(of: neighbour) else { return false }
    return (data.transfersByCluster[cluster] ?? []).contains { id in
      let row = data.transfers[id]!.row
      return !row.cause.isOutward && data.replicas[row.key]?[cache] != nil
    }
      || (clusters[cluster]?.runs ?? []).contains { run in
        runs[run]!.row.phase.rawValue <= RunPhase.staging.rawValue
          && runs[run]!.inputs.keys.contains { data.replicas[$0]?[cache] != nil }
      }
  }

  private func isFetching(_ key: DataKey, on cluster: ClusterName) -> Bool {
    if let cache = cache(of: cluster), let id = data.inward[ReplicaName(key: key, cache: cache)],
      data.transfers[id]?.row.cluster == cluster
    {
      return true
    }
    return (clusters[cluster]?.runs ?? []).contains { id in
      guard let run = runs[id], run.row.phase.rawValue <= RunPhase.staging.rawValue else { return false }
      return run.inputs[key] != nil
    }
  }
}

extension DataOrigin {
  /// The cluster whose own files these are (`file://CLUSTER/path`); nil for an origin of the network.
  var onlyOn: ClusterName? {
    guard uri.hasPrefix("file://") else { return nil }
    return ClusterName(String(uri.dropFirst(7).prefix { $0 != "/" }))
  }

  func isReachable(from cluster: ClusterName) -> Bool { onlyOn == nil || onlyOn == cluster }
}

/// The secret that opens something, and how its values are to be called.
public struct SecretAccess: Hashable, Sendable {
  public var project: ProjectName
  public var secret: String
  /// What the secret's values are called, by what agents call them; nil: the same.
  public var fields: [String: String]?
  public init(project: ProjectName, secret: String, fields: [String: String]? = nil) {
    self.project = project
    self.secret = secret
    self.fields = fields
  }
}

/// What a cluster wants with an object of the repository.
public enum ObjectUse: Hashable, Sendable {
  case read, write
}

extension ControlPlaneCore {
  /// Whether an order of the cluster, or a data set that a run there mounts, lets it use an object of the repository.
  public func mayUse(
    object key: String, of project: ProjectName, _ use: ObjectUse, on cluster: ClusterName
  ) -> Bool {
    switch use {
    case .write:
      return (data.transfersByCluster[cluster] ?? []).contains { id in
        let row = data.transfers[id]!.row
        guard row.cause == .stageOut, let order = storeOrder(row.key), order.project == project else { return false }
        // Packs are named by what they hold: whoever brings one cannot bring anything else under its name.
        return row.key.sha256 == nil ? DatasetManifest.isObject(key) : order.repositoryKey == key
      }
        || data.indexing.contains {
          guard $0.value == cluster, let order = indexOrder($0.key), order.project == project else { return false }
          return order.repositoryKey == key || order.origin.isGit && DatasetManifest.isObject(key)
        }
    case .read:
      let wanted = (data.transfersByCluster[cluster] ?? []).lazy.map { data.transfers[$0]! }.filter {
        $0.row.project == project
      }
      if wanted.contains(where: { $0.repositoryKey == key }) { return true }
      // Versions of one project share packs, which its manifests name: they are below one prefix.
      guard key.hasPrefix("datasets/") else { return false }
      return wanted.contains { data.version($0.row.key) != nil }
        || (clusters[cluster]?.runs ?? []).contains { run in
          runs[run]!.inputs.keys.contains { DatasetReference.parse($0)?.0.project == project }
        }
    }
  }

  /// An output in caches alone, by where it belongs.
  func unstored(_ key: String, in project: ProjectName) -> ArtifactRow? {
    data.unstoredNames[RepositoryName(project: project, key: key)].flatMap { data.unstored[$0] }?.first {
      $0.project == project && $0.stored.key == key
    }
  }

  /// The cluster whose cache alone has an output that belongs under a key of the repository; nil when there is none.
  public func unstoredHolder(of key: String, in project: ProjectName) -> ClusterName? {
    unstored(key, in: project)?.stored.producedOn
  }
}
