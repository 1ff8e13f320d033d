/// The fields that Argo knows of one kind of object, and what becomes of each here.
struct FieldTable: Sendable {
  /// Read and obeyed.
  var honoured: Set<String>
  /// Read and kept, without any effect: each speaks of a Kubernetes object that does not exist here, or asks for what
  /// happens anyway, so that leaving it out changes no result.
  var accepted: Set<String>
  /// Kept without effect, which may make a difference: it is told with the workflow (`WorkflowSpec.warnings`), with the reason.
  var noted: [String: String]
  /// Read, and obeyed by clusters of Kubernetes alone; that others run the task without it is told with the workflow, with the reason.
  var pods: [String: String]
  /// Refused by name, with the reason: obeying it is not possible yet, and ignoring it would change results.
  var refused: [String: String]

  /// Other names for fields that are read.
  var aliases: [String: String]
  /// nil: what is not known is refused. Else it is kept without effect and told with the workflow, for this reason.
  var whyUnknownIsKept: String?

  init(
    _ honoured: Set<String>, accepted: Set<String> = [], aliases: [String: String] = [:], pods: [String: String] = [:],
    noted: [String: String] = [:],
    refused: [String: String] = [:], whyUnknownIsKept: String? = nil
  ) {
    self.whyUnknownIsKept = whyUnknownIsKept
    self.pods = pods
    self.aliases = aliases
    self.noted = noted
    self.honoured = honoured
    self.accepted = accepted
    self.refused = refused
  }

  func nearest(to name: String) -> String? {
    NearestName.find(
      name, among: honoured.union(accepted).union(pods.keys).union(noted.keys).union(refused.keys).sorted())
  }
}

/// Every object of an Argo `Workflow` document, field by field. The reference table in the documentation is made from
/// this.
///
/// - Source: Argo Workflows v3.7, docs/fields.md.
enum FieldTables {
  static let workflow = FieldTable(["apiVersion", "kind", "metadata", "spec"], accepted: ["status"])

  static let metadata = FieldTable(
    ["name", "generateName", "namespace", "labels", "annotations"],
    accepted: [
      "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generation",
      "managedFields",
      "ownerReferences", "resourceVersion", "selfLink", "uid",
    ], whyUnknownIsKept: "no metadata has a field of this name, and Kubernetes drops it")

  static let spec = FieldTable(
    [
      "activeDeadlineSeconds", "arguments", "artifactGC", "artifactRepositoryRef", "entrypoint", "federation", "hooks",
      "hostAliases", "imagePullSecrets", "nodeSelector", "onExit",
      "parallelism",
      "podResources", "podSpecPatch", "priority", "retryStrategy", "securityContext", "serviceAccountName",
      "shutdown", "suspend", "synchronization", "templateDefaults",
      "templates",
      "ttlStrategy", "volumeClaimGC", "volumeClaimTemplates", "volumes", "workflowMetadata", "workflowTemplateRef",
    ],
    accepted: [
      "archiveLogs", "automountServiceAccountToken", "executor", "podDisruptionBudget", "podGC",
    ],
    pods: [
      "affinity": placement, "dnsConfig": nameServers, "dnsPolicy": nameServers, "podMetadata": podMetadata,
      "podPriorityClassName": placement, "resourceClaims": devices, "schedulerName": placement,
      "tolerations": placement,
    ],
    noted: ["metrics": metrics, "podPriority": "Kubernetes takes a pod's priority from its class: name that"],
    refused: [
      "executorPlugins": "executor plugins are not supported",
      "hostNetwork": "runs never share the host's network identity",
    ])

  // Why a field that Kubernetes obeys makes no difference elsewhere.
  private static let placement =
    "it says where Kubernetes places a pod; elsewhere the federation block and shares decide"
  private static let nameServers = "runs have the name servers of their cluster's machines"
  private static let metrics = "no metrics are made of it; Fubini has its own"
  private static let podMetadata =
    "there is no pod that would carry it; a template's own metadata can be read by its run"
  private static let devices = "no devices are claimed; ask for GPUs by resources and gpuType"

  static let cronSpec = FieldTable([
    "concurrencyPolicy", "failedJobsHistoryLimit", "schedule", "schedules", "startingDeadlineSeconds", "stopStrategy",
    "successfulJobsHistoryLimit", "suspend", "timezone", "when", "workflowMetadata", "workflowSpec",
  ])
  static let stopStrategy = FieldTable(["expression"])
  /// Kubernetes' whole metadata; names and owners of the workflows are the schedule's own.
  static let cronWorkflowMetadata = FieldTable(
    ["annotations", "labels"], accepted: ["finalizers", "generateName", "name", "namespace"])

  static let template = FieldTable(
    [
      "activeDeadlineSeconds", "annotations", "container", "containerSet", "dag", "daemon", "data", "failFast",
      "federation", "hostAliases", "http", "initContainers", "inputs", "memoize", "metadata", "name", "nodeSelector",
      "onExit", "outputs", "parallelism", "pendingTimeout", "podResources", "podSpecPatch", "resource",
      "retryStrategy", "script", "securityContext", "serviceAccountName", "sidecars", "steps", "suspend",
      "synchronization", "timeout", "volumes",
    ],
    accepted: ["automountServiceAccountToken", "executor"],
    pods: [
      "affinity": placement, "priorityClassName": placement, "resourceClaims": devices, "schedulerName": placement,
      "tolerations": placement,
    ],
    noted: [
      "archiveLocation": "artifacts and logs go to the project's own repository", "metrics": metrics,
      "priority": "Kubernetes takes a pod's priority from its class: name that",
    ],
    refused: ["plugin": "plugin templates are not supported"])

  static let resourceTemplate = FieldTable(
    [
      "action", "failureCondition", "flags", "manifest", "mergeStrategy", "setOwnerReference", "successCondition",
    ], refused: ["manifestFrom": "manifests that are artifacts are not supported: write the manifest itself"])

  private static let containerFields: Set<String> = [
    "args", "command", "env", "envFrom", "image", "imagePullPolicy", "lifecycle", "livenessProbe", "ports",
    "readinessProbe", "resources",
    "securityContext", "startupProbe", "volumeMounts", "workingDir",
  ]
  private static let containerAccepted: Set<String> = [
    "name", "resizePolicy", "stdin", "stdinOnce", "tty",
  ]
  private static let containerNoted = [
    "terminationMessagePath": terminationMessage, "terminationMessagePolicy": terminationMessage,
  ]
  private static let terminationMessage = "the message of a run that failed is its exit code and what ended it"
  private static let containerRefused: [String: String] = [
    "restartPolicy": "restart policies of containers are not supported; use retryStrategy",
    "restartPolicyRules": "restart policies of containers are not supported; use retryStrategy",
    "volumeDevices": "block devices are not supported",
  ]
  static let container = FieldTable(
    containerFields, accepted: containerAccepted, noted: containerNoted, refused: containerRefused)
  static let script = FieldTable(
    containerFields.union(["source"]), accepted: containerAccepted, noted: containerNoted, refused: containerRefused)

  static let companion = FieldTable(
    containerFields.union(["mirrorVolumeMounts", "name"]), accepted: containerAccepted.subtracting(["name"]),
    noted: containerNoted, refused: containerRefused)
  static let containerSet = FieldTable(["containers", "retryStrategy", "volumeMounts"])
  static let setContainer = FieldTable(
    containerFields.union(["dependencies", "name"]), accepted: containerAccepted.subtracting(["name"]),
    noted: containerNoted, refused: containerRefused)
  static let setRetryStrategy = FieldTable(["duration", "retries"])

  static let port = FieldTable(["containerPort", "name"], accepted: ["hostIP", "hostPort", "protocol"])
  static let probe = FieldTable(
    [
      "exec", "failureThreshold", "httpGet", "initialDelaySeconds", "periodSeconds", "successThreshold", "tcpSocket",
      "terminationGracePeriodSeconds", "timeoutSeconds",
    ], refused: ["grpc": "probes over gRPC are not supported: use exec with a client, or tcpSocket"])
  static let execAction = FieldTable(["command"])
  static let httpAction = FieldTable(["host", "httpHeaders", "path", "port", "scheme"])
  /// Of headers and of variables that are patched.
  static let probeHeader = FieldTable(["name", "value"])
  static let tcpAction = FieldTable(["host", "port"])

  static let httpTemplate = FieldTable([
    "body", "bodyFrom", "headers", "insecureSkipVerify", "method", "successCondition", "timeoutSeconds", "url",
  ])
  static let httpBodyFrom = FieldTable(["bytes"])
  static let httpHeader = FieldTable(["name", "value", "valueFrom"])
  static let httpHeaderSource = FieldTable(["secretKeyRef"])

  static let environmentVariable = FieldTable(["name", "value", "valueFrom"])
  static let configMapKey = FieldTable(["key", "name", "optional"])
  static let variableSource = FieldTable(
    ["configMapKeyRef", "fieldRef", "resourceFieldRef", "secretKeyRef"],
    refused: ["fileKeyRef": "variables from files are not supported"])
  static let resourceField = FieldTable(["containerName", "divisor", "resource"])
  static let keyReference = FieldTable(["key", "name", "optional"])
  static let objectReference = FieldTable(["name", "optional"])
  static let fieldReference = FieldTable(["fieldPath"], accepted: ["apiVersion"])
  static let wholeObject = FieldTable(["configMapRef", "prefix", "secretRef"])
  static let resources = FieldTable(
    ["limits", "requests"], noted: ["claims": devices])
  static let volumeMount = FieldTable(
    ["mountPath", "name", "readOnly", "subPath"], accepted: ["mountPropagation", "recursiveReadOnly"],
    refused: [
      "subPathExpr": "this is not supported: parts of volumes are named by subPath, in which {{tags}} are replaced"
    ])
  static let volume = FieldTable(
    podVolumeKinds.union([
      "configMap", "downwardAPI", "emptyDir", "name", "persistentVolumeClaim", "projected", "secret",
    ]),
    refused: Dictionary(
      uniqueKeysWithValues: ["flocker", "gitRepo"].map { ($0, "volumes of this kind are not supported any more") }))
  /// Kinds of volumes that only clusters of Kubernetes have; others do not take a task that mounts one.
  static let podVolumeKinds: Set<String> = [
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "ephemeral", "fc", "flexVolume",
    "gcePersistentDisk", "glusterfs", "hostPath", "image", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume",
    "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume",
  ]
  static let secretVolume = FieldTable(["defaultMode", "items", "optional", "secretName"])
  static let configMapVolume = FieldTable(["defaultMode", "items", "name", "optional"])
  static let projectedObject = FieldTable(["items", "name", "optional"])
  static let downwardAPI = FieldTable(["defaultMode", "items"])
  static let projected = FieldTable(["defaultMode", "sources"])
  static let projectedSource = FieldTable(
    ["configMap", "downwardAPI", "secret"],
    refused: [
      "clusterTrustBundle": "this is not supported: there is no cluster whose certificates these would be",
      "podCertificate": "this is not supported: there is no pod that could have a certificate",
      "serviceAccountToken": "this is not supported: there are no service accounts; use a secret",
    ])
  static let keyToPath = FieldTable(["key", "mode", "path"])
  static let fieldFile = FieldTable(
    ["fieldRef", "mode", "path"],
    refused: [
      "resourceFieldRef": "fields of resources are not supported: what a container asks for is known to its author"
    ])
  static let emptyDir = FieldTable(
    [],
    pods: [
      "medium": "the directory is on the disk of the run's machine",
      "sizeLimit": "the directory has no limit of its own",
    ])
  static let securityContext = FieldTable(
    ["allowPrivilegeEscalation", "capabilities", "privileged", "procMount", "runAsNonRoot", "runAsUser", "sysctls"],
    pods: [
      "appArmorProfile": confinement, "fsGroup": users, "fsGroupChangePolicy": users,
      "readOnlyRootFilesystem": "a run may write in its own root, which is deleted with it", "runAsGroup": users,
      "seLinuxChangePolicy": confinement, "seLinuxOptions": confinement, "seccompProfile": confinement,
      "supplementalGroups": users, "supplementalGroupsPolicy": users,
    ],
    refused: ["windowsOptions": "there are no clusters of Windows machines"])
  private static let users = "runs have the user and group that their cluster gives them"
  private static let confinement = "runs are confined as their cluster's operator has decided"
  static let claimVolume = FieldTable(["claimName", "readOnly"])
  static let claimTemplate = FieldTable(["metadata", "spec"], accepted: ["apiVersion", "kind", "status"])
  static let claimMetadata = FieldTable(
    ["name"], accepted: ["creationTimestamp"],
    noted: ["annotations": claimObject, "labels": claimObject, "namespace": claimObject])
  private static let claimObject = "there is no object that would carry it"
  static let claimSpec = FieldTable(
    ["volumeMode"],
    pods: [
      "accessModes": "all runs that mount it read and write it at once",
      "resources": "the directory has no limit of its own",
      "storageClassName": storage, "volumeAttributesClassName": storage,
    ],
    refused: [
      "dataSource": claimSource, "dataSourceRef": claimSource,
      "selector": "no volume is chosen: name one as persistentVolumeClaim",
      "volumeName": "no volume is chosen: name one as persistentVolumeClaim",
    ])
  private static let storage = "the cluster's operator has chosen where it lies"
  private static let claimSource = "it begins empty; put data there by a first step, or mount a data set"
  static let claimGC = FieldTable(["strategy"])
  static let podPatch = FieldTable(
    [
      "activeDeadlineSeconds", "containers", "hostAliases", "imagePullSecrets", "initContainers", "nodeSelector",
      "securityContext", "serviceAccountName", "terminationGracePeriodSeconds",
    ],
    pods: [
      "affinity": placement, "dnsConfig": nameServers, "dnsPolicy": nameServers, "priorityClassName": placement,
      "resourceClaims": devices,
      "runtimeClassName": "runs are confined as their cluster's operator has decided", "schedulerName": placement,
      "tolerations": placement,
    ])
  static let containerPatch = FieldTable(
    ["args", "command", "env", "image", "imagePullPolicy", "name", "resources", "securityContext", "workingDir"])
  static let capabilities = FieldTable(["add", "drop"])

  private static let stepFields: Set<String> = [
    "arguments", "continueOn", "hooks", "inline", "name", "onExit", "template", "templateRef", "when", "withItems",
    "withParam", "withSequence",
  ]
  static let step = FieldTable(stepFields)
  static let task = FieldTable(stepFields.union(["dependencies", "depends"]))
  static let templateRef = FieldTable(["clusterScope", "name", "template"])
  static let workflowTemplateRef = FieldTable(["clusterScope", "name"])
  static let dag = FieldTable(["failFast", "target", "tasks"])
  static let synchronization = FieldTable(["mutex", "mutexes", "semaphore", "semaphores"])
  static let mutex = FieldTable(["database", "name", "namespace"])
  static let semaphore = FieldTable(["configMapKeyRef", "database", "namespace"])
  static let databaseSemaphore = FieldTable(["key"])
  static let memoize = FieldTable(["cache", "key", "maxAge"])
  static let memoCache = FieldTable(["configMap"])
  static let memoConfigMap = FieldTable(["name"], accepted: ["key", "optional"])
  static let suspend = FieldTable(["duration"])
  static let continueOn = FieldTable(["error", "failed"])
  static let sequence = FieldTable(["count", "end", "format", "start"])
  static let hook = FieldTable(["arguments", "expression", "template", "templateRef"])

  static let retryStrategy = FieldTable(
    ["affinity", "backoff", "expression", "limit", "retryPolicy"])
  static let retryAffinity = FieldTable(["nodeAntiAffinity"])
  static let ttlStrategy = FieldTable(["secondsAfterCompletion", "secondsAfterFailure", "secondsAfterSuccess"])
  static let backoff = FieldTable(["cap", "duration", "factor", "maxDuration"])

  static let arguments = FieldTable(["artifacts", "parameters"])
  static let outputs = FieldTable(["artifacts", "parameters"], accepted: ["exitCode", "result"])
  static let parameter = FieldTable(
    ["default", "description", "enum", "globalName", "name", "value", "valueFrom"])
  static let valueFrom = FieldTable(
    ["configMapKeyRef", "default", "expression", "jsonPath", "parameter", "path", "supplied"],
    // Argo reads names of fields in any case, and documents of its own rely on it here.
    aliases: ["Expression": "expression", "Parameter": "parameter", "Path": "path"],
    refused: [
      "event": "values from events are not supported",
      "jqFilter": "jq filters are not supported: take the value by jsonPath",
    ])

  static let artifact = FieldTable(
    [
      "archive", "artifactGC", "from", "fromExpression", "git", "globalName", "http", "mode", "name", "optional",
      "path",
      "raw", "recurseMode", "s3", "subPath",
    ],
    accepted: ["archiveLogs", "deleted"],
    refused: [
      "artifactory": "Artifactory artifacts are not supported",
      "azure": "Azure artifacts are not supported yet",
      "gcs": "Google Cloud Storage artifacts are not supported yet",
      "hdfs": "HDFS artifacts are not supported",
      "oss": "OSS artifacts are not supported yet",
      "plugin": "artifact plugins are not supported",
    ])
  static let artifactRepositoryRef = FieldTable(["configMap", "key"])
  static let data = FieldTable(["source", "transformation"])
  static let dataSource = FieldTable(["artifactPaths"])
  static let transformation = FieldTable(["expression"])
  static let git = FieldTable([
    "branch", "depth", "disableSubmodules", "fetch", "insecureIgnoreHostKey", "insecureSkipTLS", "passwordSecret",
    "repo", "revision", "singleBranch", "sshPrivateKeySecret", "usernameSecret",
  ])
  static let artifactGC = FieldTable(["strategy"], accepted: ["podMetadata", "serviceAccountName"])
  /// A deleted workflow never waits for its objects: `forceFinalizerRemoval` asks for what happens anyway.
  static let workflowArtifactGC = FieldTable(
    ["strategy"], accepted: ["forceFinalizerRemoval", "podMetadata", "serviceAccountName"],
    refused: ["podSpecPatch": "no pod collects artifacts here; leave the patch out"])
  static let raw = FieldTable(["data"])
  static let s3 = FieldTable(
    [
      "accessKeySecret", "bucket", "endpoint", "insecure", "key", "region", "secretKeySecret", "sessionTokenSecret",
    ],
    refused: [
      "caSecret": "certificate authorities of object stores are not supported yet: agents trust those of their machine",
      "createBucketIfNotPresent": "no bucket is ever made: have it made by its owner",
      "encryptionOptions": "keys of server-side encryption are not supported yet",
      "roleARN": "roles of clusters' machines are not used: give accessKeySecret and secretKeySecret",
      "useSDKCreds": "credentials of clusters' machines are not used: give accessKeySecret and secretKeySecret",
    ])
  static let http = FieldTable(
    ["auth", "headers", "url"])
  static let plainHeader = FieldTable(["name", "value"])
  static let httpAuth = FieldTable(
    ["basicAuth"],
    refused: [
      "clientCert": "client certificates are not supported yet; use basicAuth",
      "oauth2": "OAuth is not supported yet; use basicAuth",
    ])
  static let basicAuth = FieldTable(["passwordSecret", "usernameSecret"])
  static let secretKey = FieldTable(["key", "name"], accepted: ["optional"])
  static let archive = FieldTable(["none", "tar", "zip"])
  static let tar = FieldTable(["compressionLevel"])
  static let nothing = FieldTable([])

  static let objectLabels = FieldTable(["annotations", "labels"])
  static let workflowMetadata = FieldTable(["annotations", "labels", "labelsFrom"])
  static let labelSource = FieldTable(["expression"])

  static let federation = FieldTable(
    [
      "clusters", "datasets", "gang", "gpuType", "maxPrice", "onDisconnect", "onPreempt", "placementPolicy",
      "priorityClass", "recompute", "slurm", "spot", "stageOut", "walltime",
    ])
  static let datasetMount = FieldTable(["mountPath", "name", "version"])
  static let onPreempt = FieldTable(["checkpoint", "grace", "signal"])
  static let gang = FieldTable(["size"])
  static let placementPolicy = FieldTable(["name", "priceThreshold", "waitThreshold"])
  static let slurm = FieldTable([
    "account", "batch", "constraint", "exclusive", "licences", "nodes", "partition", "qos", "requeue", "reservation",
    "tasksPerNode",
  ])
  static let clusters = FieldTable(["exclude", "kinds", "labels"])
}
