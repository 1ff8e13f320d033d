/// A directory of a cluster that outlives the run which sees it: what stands in for a persistent volume claim.
public struct ClaimVolume: Hashable, Sendable, Codable {
  public struct Mount: Hashable, Sendable, Codable {
    /// Absolute, as the run sees it.
    public var path: String
    public var isReadOnly: Bool
    public init(path: String, isReadOnly: Bool = false) {
      self.path = path
      self.isReadOnly = isReadOnly
    }
  }
  /// Of a claim that the cluster's operator has named, or of one of the workflow's `volumeClaimTemplates`.
  public var name: String
  /// Whose it is: made for its first run there, and gone with it. nil: one that the operator has named.
  public var workflow: Owner?
  public var mounts: [Mount]
  /// Of the workflow's own: what its document says of it, as Kubernetes takes it (`spec` of a PersistentVolumeClaim); nil: nothing.
  public var specification: JSONValue?

  public struct Owner: Hashable, Sendable, Codable {
    public var uid: String
    /// It goes with the end of the workflow even if that failed.
    public var goesWithFailure: Bool
    public init(uid: String, goesWithFailure: Bool) {
      self.uid = uid
      self.goesWithFailure = goesWithFailure
    }
  }

  public init(name: String, workflow: Owner?, mounts: [Mount], specification: JSONValue? = nil) {
    self.specification = specification
    self.name = name
    self.workflow = workflow
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
