/// What a run may ask of a cluster that not every cluster's agent can do. An agent names what it can; a task that needs more is not
/// placed there, and its reader learns what is lacking.
public enum RunFeature: String, Hashable, Sendable, Codable, CaseIterable, Comparable {
  /// Values of secrets and config maps in the environment.
  case objects
  /// Volumes of secrets, config maps and the like, and volumes that are mounted in parts or read-only.
  case volumes
  /// Several containers in one run: sidecars, init containers, container sets.
  case containers
  /// A request over HTTP in place of a program (`http` templates).
  case http
  /// Parts of artifacts, modes of whole directories, outputs that go to buckets and web servers, and lists of files (`data` templates).
  case artifacts
  /// Probes of containers.
  case probes
  /// Runs that others go on beside, and that these can reach.
  case daemons
  /// Volumes that the runs of a workflow share, in a directory that the operator declares.
  case claims
  /// Runs are pods of Kubernetes.
  case pods
  /// Pods that may have more rights than others: its operator allows it.
  case privilegedPods
  /// Objects of the cluster's Kubernetes API (`resource` templates).
  case resources
  /// Batch scripts that start programs on several nodes by `srun`.
  case steps

  /// Why a cluster without it is no place for such a task.
  public var lack: String {
    switch self {
    case .objects: "its agent is too old to give runs values of secrets and config maps: upgrade it"
    case .volumes:
      "it cannot show a run volumes of secrets and config maps, or parts of volumes: that takes a sandbox "
        + "(`sandbox: bubblewrap` in the agent's configuration, or images that run in Apptainer)"
    case .containers:
      "it cannot run several containers as one: that takes a sandbox, and a root file system that runs the agent's program"
    case .http:
      "it cannot make requests in place of a program: that takes a root file system that runs the agent's program"
    case .artifacts:
      "its agent is too old for parts of artifacts, modes of whole directories and outputs elsewhere than in the repository: upgrade it"
    case .probes:
      "it cannot look after a container's health by probes: that takes a sandbox, and an agent of this release or a later one"
    case .daemons:
      "it cannot run a daemon that other runs reach: that takes a Kubernetes cluster, or processes in sandboxes which share the "
        + "machine's network (`network: host`), and batch systems have none of that"
    case .claims:
      "it has no room for volume claims of workflows: its operator declares it (`claims.directory` in the agent's configuration, or "
        + "`kubernetes.workflowClaims`)"
    case .pods:
      "it is no cluster of Kubernetes, and the task asks for what only a pod has: another user (root), hostAliases, lifecycle handlers, "
        + "fields of the pod, or volumes of Kubernetes' own kinds"
    case .privilegedPods:
      "its operator gives pods no more rights than others have (`kubernetes.privileged` in the agent's configuration), and the task "
        + "asks for privileges, capabilities, sysctls or a directory of the machine"
    case .resources:
      "it does nothing to objects of Kubernetes: that takes a Kubernetes cluster, and an agent of this release or a later one"
    case .steps:
      "it starts no job of several nodes that starts its own programs with srun: that takes a Slurm cluster whose agent is of this "
        + "release or a later one, is not the user root, and runs jobs in sandboxes"
    }
  }

  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

extension TaskSpec {
  /// What the cluster that runs it must be able to do.
  public var features: Set<RunFeature> {
    var features: Set<RunFeature> = []
    if !objects.isEmpty { features.insert(.objects) }
    if fileVolumes?.isEmpty == false || directoryMounts?.isEmpty == false { features.insert(.volumes) }
    if http != nil { features.insert(.http) }
    if transformations != nil { features.formUnion([.http, .artifacts]) }
    if inputs.contains(where: { $0.subPath != nil || $0.isModeRecursive == true })
      || outputArtifacts.contains(where: { $0.target != nil })
    {
      features.insert(.artifacts)
    }
    if let containers {
      features.insert(.containers)
      if containers.isDaemon == true { features.insert(.daemons) }
      if containers.isDaemon == true || containers.list.contains(where: { $0.probes?.isEmpty == false }) {
        features.insert(.probes)
      }
    }
    if claims?.contains(where: { $0.workflow != nil }) == true { features.insert(.claims) }
    if let pod { features.formUnion(pod.features) }
    if resource != nil { features.insert(.resources) }
    if federation.gangSize > 1, federation.slurm?.isBatch == true { features.insert(.steps) }
    return features
  }
}
