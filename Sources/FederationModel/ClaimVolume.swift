/// A directory of a cluster that outlives the run which sees it: what stands in for a persistent volume claim.
public struct ClaimVolume: Hashable, Sendable, Codable {
  public struct Mount: Hashable, Sendable, Codable {
    /// Absolute, as the run sees it.
    public var path: String
    /// The part of the directory that is seen; nil: all of it.
    public var subPath: String?
    public var isReadOnly: Bool
    public init(path: String, subPath: String? = nil, isReadOnly: Bool = false) {
      self.path = path
      self.subPath = subPath
      self.isReadOnly = isReadOnly
    }
  }
  /// Of a claim that the cluster's operator has named, or of a template of the workflow's own.
  public var name: String
  /// It is the workflow's own: made for its first run there, and gone with it. Else one that the operator has named.
  public var isWorkflows: Bool
  public var mounts: [Mount]

  public init(name: String, isWorkflows: Bool, mounts: [Mount]) {
    self.name = name
    self.isWorkflows = isWorkflows
    self.mounts = mounts
  }
}

/// What a task must be beside, on the same cluster.
public struct Companion: Hashable, Sendable, Codable {
  public enum Reason: String, Hashable, Sendable, Codable {
    /// A daemon whose address is known to that cluster alone.
    case daemon
    /// The workflow's volumes.
    case volumes
  }
  public var cluster: ClusterName
  public var reason: Reason
  public init(_ cluster: ClusterName, _ reason: Reason) {
    self.cluster = cluster
    self.reason = reason
  }
}
