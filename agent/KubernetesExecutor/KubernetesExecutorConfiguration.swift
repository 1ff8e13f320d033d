internal import Execution
public import FederationModel

/// What an operator decides about a Kubernetes cluster, as the executor needs it.
public struct KubernetesExecutorConfiguration: Sendable, Equatable {
  /// Where the agent's cache is, as pods can mount it.
  public enum CacheVolume: Sendable, Equatable {
    case claim(String)
    /// The same directory on every node.
    case hostPath(String)
  }

  /// A group of nodes that the cluster's autoscaler makes when they are wanted.
  public struct Pool: Sendable, Equatable {
    public var name: String
    /// Of one node.
    public var resources: Resources
    /// Nodes at most.
    public var nodesMax: Int
    /// From the wish to the node being ready.
    public var startupTime: Duration
    /// The one label that its nodes have, and no others; empty: runs cannot be sent to it, and its nodes are not told apart.
    public var nodeLabel: [String: String]
    public init(
      name: String, resources: Resources, nodesMax: Int, startupTime: Duration, nodeLabel: [String: String] = [:]
    ) {
      self.nodeLabel = nodeLabel
      self.name = name
      self.resources = resources
      self.nodesMax = nodesMax
      self.startupTime = startupTime
    }
  }

  /// Of `volumeClaimTemplates`.
  public struct WorkflowClaims: Sendable, Equatable {
    /// Of those that name none; nil: the cluster's default.
    public var storageClass: String?
    /// Of one claim; nil: what the cluster gives.
    public var sizeMax: ByteCount?
    public init(storageClass: String? = nil, sizeMax: ByteCount? = nil) {
      self.storageClass = storageClass
      self.sizeMax = sizeMax
    }
  }

  /// Absolute; runs have directories below it.
  public var stateDirectory: String
  public var federationID: String
  public var cluster: String
  /// Of every project, unless `namespaces` names one.
  public var namespace: String
  /// By project (`mapped` tenancy): then a project that is not in it has no runs here.
  public var namespaces: [ProjectName: String] = [:]
  /// Of the agent: what init containers are made of.
  public var image: String
  public var imagePullPolicy: String?
  public var imagePullSecrets: [String] = []
  /// First match wins: `runsAs: "*"` is the image itself, anything else the reference of another one.
  public var images: [ImageRule]
  public var nodeSelector: [String: String] = [:]
  /// As in a PodSpec.
  public var tolerations: [JSONValue] = []
  public var priorityClass: String?
  /// Of runs' pods; its token is mounted for `resource` templates alone. nil: the namespace's default.
  public var serviceAccount: String?
  /// Those that authors may name beside it, and the account that the pod has for each; `*`: any other name.
  public var serviceAccounts: [String: String] = [:]
  /// Whether authors may ask for what the restricted profile forbids.
  public var isPrivileged = false
  public var cache: CacheVolume?
  /// The agent's own path of what `cache` is.
  public var cacheDirectory = ""
  /// Names of volume claims that runs may mount, each in the run's namespace.
  public var claims: Set<String> = []
  /// nil: workflows have no volume claims of their own here.
  public var workflowClaims: WorkflowClaims?
  /// What Fluid keeps; nil: the cluster has no Fluid.
  public var fluid: FluidConfiguration?
  /// Of Kueue; nil: Kubernetes starts pods itself.
  public var queue: String?
  public var queues: [ProjectName: String] = [:]
  public var pools: [Pool] = []
  /// Of this agent at once.
  public var jobsMax = 1000
  public var logLimit = ByteCount.mebibytes(64)
  /// The oldest version that is used; older ones are refused.
  public var minimumMinor = 24

  public init(
    stateDirectory: String, federationID: String, cluster: String, namespace: String, image: String,
    images: [ImageRule] = [ImageRule(pattern: "*", runsAs: "*")]
  ) {
    self.stateDirectory = stateDirectory
    self.federationID = federationID
    self.cluster = cluster
    self.namespace = namespace
    self.image = image
    self.images = images
  }

  /// - Throws: `.permissionDenied` for a project that is mapped to no namespace.
  func namespace(of project: ProjectName) throws(FederationError) -> String {
    guard !namespaces.isEmpty else { return namespace }
    guard let namespace = namespaces[project] else {
      throw FederationError(.permissionDenied, "project \(project) has no namespace on this cluster")
    }
    return namespace
  }

  /// All that the agent watches.
  var allNamespaces: [String] { namespaces.isEmpty ? [namespace] : Set(namespaces.values).sorted() }

  /// By which objects are known as ours.
  var mark: String { OwnershipMark.text(federationID: federationID, cluster: cluster) }

  /// Where Fluid keeps a replica; nil: it does not.
  func fluidPlace(of key: DataKey) -> FluidPlace? {
    fluid?.place(of: key, mark: mark) { project in try? namespace(of: project) }
  }

  /// The account of a run's pod; nil: the namespace's default.
  ///
  /// - Throws: `.unplaceable` for a name that the operator does not list.
  func account(_ named: String?) throws(FederationError) -> String? {
    guard let named, named != serviceAccount else { return serviceAccount }
    guard let account = serviceAccounts[named] ?? serviceAccounts[ClusterInventory.anyServiceAccount] else {
      throw FederationError(
        .unplaceable,
        "this cluster's operator lets no task name the service account \(named) (`kubernetes.serviceAccounts`)")
    }
    return account
  }

  /// What tasks may name.
  var accountNames: Set<String> { Set(serviceAccounts.keys).union(serviceAccount.map { [$0] } ?? []) }

  /// Whether Kueue decides when pods are made, of one project at least.
  var usesKueue: Bool { queue != nil || !queues.isEmpty }

  func queue(of project: ProjectName) -> String? { queues[project] ?? queue }
}
