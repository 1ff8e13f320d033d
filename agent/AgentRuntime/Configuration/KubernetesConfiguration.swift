public import FederationModel
public import KubernetesExecutor

/// What an operator decides about a Kubernetes cluster: the block `kubernetes` of the agent's configuration.
public struct KubernetesConfiguration: Sendable, Equatable {
  public enum Cache: Sendable, Equatable {
    case claim(String)
    case hostPath(String)
  }

  /// One of `pools`.
  public struct Pool: Sendable, Equatable {
    public var name = ""
    /// `resources`: of one node.
    public var resources = Resources.zero
    /// `max`: nodes.
    public var nodesMax = 1
    /// `startupTime`: until a node that is wanted is ready.
    public var startupTime = Duration.seconds(300)
    /// `nodeLabel`: `{KEY: VALUE}`, that its nodes have and no others; empty: none.
    public var nodeLabel: [String: String] = [:]
    public init() {}
  }

  /// `kubeconfig`: absolute; nil: the agent runs in the cluster, and has a service account.
  public var kubeconfig: String?
  /// `context`: of the kubeconfig; nil: its current one.
  public var context: String?
  /// `namespace`: where runs' objects are; nil: the agent's own, or the context's.
  public var namespace: String?
  /// `image`: of the agent, as the cluster's nodes pull it.
  public var image = ""
  /// `imagePullPolicy`: Always, IfNotPresent or Never; nil: Kubernetes' choice.
  public var imagePullPolicy: String?
  /// `imagePullSecrets`: names, in the namespaces of runs.
  public var imagePullSecrets: [String] = []
  /// `filesAddress`: https://HOST:PORT, as pods reach the agent.
  public var filesAddress = ""
  /// `filesPort`: where the agent serves pods' files.
  public var filesPort = 7443
  /// `nodeSelector`, `tolerations`, `priorityClass`, `serviceAccount`: of all pods of runs.
  public var nodeSelector: [String: String] = [:]
  public var tolerations: [JSONValue] = []
  public var priorityClass: String?
  public var serviceAccount: String?
  /// `serviceAccounts`: those that authors may name, and which account a pod has for each; `*`: any other name.
  public var serviceAccounts: [String: String] = [:]
  /// `privileged`: whether authors may ask for what the restricted profile of pods forbids.
  public var isPrivileged = false
  /// `cache`: where the agent's cache directory is, as pods can mount it.
  public var cache: Cache?
  /// `claims`: names of volume claims that runs may mount.
  public var claims: [String] = []
  /// `workflowClaims`: nil: `volumeClaimTemplates` do not run here.
  public var workflowClaims: KubernetesExecutorConfiguration.WorkflowClaims?
  /// `fluid`: data sets that Fluid keeps.
  public var fluid: FluidConfiguration?
  /// `kueue.queue`, `kueue.queues`: of Kueue, for all projects and by project.
  public var queue: String?
  public var queues: [ProjectName: String] = [:]
  /// `pools`: groups of nodes that an autoscaler makes.
  public var pools: [Pool] = []
  /// `maxJobs`: of this agent at once.
  public var maxJobs = 1000

  public init() {}

  static let pullPolicies = ["Always", "IfNotPresent", "Never"]

  /// - Throws: `.invalidArgument` naming the key.
  func validate() throws(FederationError) {
    guard !image.isEmpty else {
      throw FederationError(
        .invalidArgument, "kubernetes.image must name the agent's own image: runs' pods begin with a container of it")
    }
    guard filesAddress.hasPrefix("https://"), filesAddress.utf8.count > 8, !filesAddress.hasSuffix("/") else {
      throw FederationError(
        .invalidArgument,
        "kubernetes.filesAddress must be https://HOST:PORT, as pods reach this agent (port \(filesPort), kubernetes.filesPort)"
      )
    }
    if context != nil, kubeconfig == nil {
      throw FederationError(.invalidArgument, "kubernetes.context belongs to kubernetes.kubeconfig, which is not set")
    }
  }
}
