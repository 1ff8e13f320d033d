internal import Execution
internal import FederationModel
internal import FoundationEssentials

/// What all containers of a run's pod have, and the pod around them. Pure.
struct PodTemplate {
  private let request: RunRequest
  private let configuration: KubernetesExecutorConfiguration
  private let secretName: String
  var volumes: [JSONValue] = []
  var initContainers: [JSONValue] = []
  var containers: [JSONValue] = []
  /// Told to the program of a `resource` template.
  var owner: ResourceOwner?

  /// Kubernetes' own deadline is there for a pod whose program of the agent's cannot end it any more.
  static let backstop = Duration.seconds(600)
  /// For outputs, after the program has ended.
  static let farewell = Duration.seconds(30)

  /// The author's for Kubernetes, without what is decided here.
  let settings: PodSettings
  private let contexts: [String: [String: JSONValue]]

  /// - Throws: `.unplaceable` for an author's wish that the operator does not grant.
  init(
    _ request: RunRequest, _ configuration: KubernetesExecutorConfiguration, name: String
  ) throws(FederationError) {
    self.request = request
    self.configuration = configuration
    secretName = name
    var settings = request.spec.pod ?? PodSettings()
    if settings.features.contains(.privilegedPods), !configuration.isPrivileged {
      throw FederationError(
        .unplaceable, "this cluster's operator gives pods no more rights than others have (`kubernetes.privileged`)")
    }
    settings.serviceAccount = try configuration.account(settings.serviceAccount)
    contexts = settings.containers.compactMapValues { $0["securityContext"]?.objectValue }
    for container in settings.containers.keys { settings.containers[container]!["securityContext"] = nil }
    self.settings = settings
  }

  /// The restricted profile, with what the author says beside it; over it only where the operator allows that.
  private func context(_ container: String) -> JSONValue {
    guard case .object(var context) = Self.restricted, let wanted = contexts[container] else { return Self.restricted }
    let kept =
      configuration.isPrivileged ? [] : ["allowPrivilegeEscalation", "capabilities", "privileged", "procMount"]
    for (key, value) in wanted where !kept.contains(key) { context[key] = value }
    // Kubernetes refuses a privileged container that may not gain privileges.
    if context["privileged"]?.boolValue == true { context["allowPrivilegeEscalation"] = nil }
    return .object(context)
  }

  /// Files are brought by the user who is to read them.
  private var starterContext: JSONValue {
    guard case .object(var context) = Self.restricted, let wanted = contexts[RunContainers.resultName] else {
      return Self.restricted
    }
    for key in ["runAsUser", "runAsGroup", "runAsNonRoot"] { if let value = wanted[key] { context[key] = value } }
    return .object(context)
  }

  /// - Source: Kubernetes, Pod Security Standards, profile "restricted".
  static let restricted: JSONValue = [
    "allowPrivilegeEscalation": false, "capabilities": ["drop": ["ALL"]],
    "seccompProfile": ["type": "RuntimeDefault"],
  ]

  /// By which pods of one run are told apart: the agent serves the first alone.
  static let podVariable = "FUBINI_POD_UID"

  /// What the agent's programs are told.
  private func variables(_ plan: PodPlan) -> [JSONValue] {
    func secret(_ name: String, _ key: String) -> JSONValue {
      [
        "name": .string(name),
        "valueFrom": ["secretKeyRef": ["name": .string(secretName), "key": .string(key)]],
      ]
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let text = (try? encoder.encode(plan)).map { String(decoding: $0, as: UTF8.self) } ?? ""
    return [
      ["name": .string(PodPlan.variable), "value": .string(KubernetesText.literal(text))],
      secret(PodPlan.tokenVariable, PodSecrets.token), secret(PodPlan.authorityVariable, PodSecrets.authority),
      ["name": .string(Self.podVariable), "valueFrom": ["fieldRef": ["fieldPath": "metadata.uid"]]],
    ]
  }

  /// Brings the agent's program and the run's inputs.
  func starter(_ plan: PodPlan) -> JSONValue {
    var container: [String: JSONValue] = [
      "name": .string(JobManifest.initName), "image": .string(configuration.image),
      "command": ["fubini-agent", "pod-init"], "env": .array(variables(plan)),
      "securityContext": starterContext, "resources": resources(hasGPUs: false),
      "volumeMounts": [
        ["name": "fubini-program", "mountPath": .string(PodPlan.Places().program)],
        ["name": "fubini-files", "mountPath": .string(PodPlan.Places().files)],
        ["name": "fubini-state", "mountPath": .string(PodPlan.Places().state)],
      ],
    ]
    if let policy = configuration.imagePullPolicy { container["imagePullPolicy"] = .string(policy) }
    return .object(container)
  }

  /// - Parameter plan: the agent's program starts it; nil: Kubernetes does.
  func dressed(_ container: PodContainers.Container, mounts: [JSONValue], plan: PodPlan? = nil) -> JSONValue {
    var command = container.command.map(KubernetesText.literal)
    if plan != nil { command = [PodPlan.Places().agent, "pod-step", "--container", container.name, "--"] + command }
    let isMain = container.name == (plan?.speaker ?? RunContainers.resultName)
    var value: [String: JSONValue] = [
      "name": .string(container.name), "image": .string(container.image),
      "command": .array(command.map { .string($0) }), "securityContext": context(container.name),
      "volumeMounts": .array(mounts), "terminationMessagePolicy": "File",
    ]
    var environment = container.environment
    if let plan { environment += variables(plan) }
    if let owner { environment.append(["name": .string(ResourceOwner.variable), "value": .string(owner.text)]) }
    if !environment.isEmpty { value["env"] = .array(environment) }
    if let directory = container.workingDirectory { value["workingDir"] = .string(directory) }
    // The run's resources are its main program's.
    if isMain { value["resources"] = resources(hasGPUs: true) }
    for (key, probe) in [
      ("startupProbe", container.probes.startup), ("readinessProbe", container.probes.readiness),
      ("livenessProbe", container.probes.liveness),
    ] {
      if let probe { value[key] = Self.probe(probe, isReadiness: key == "readinessProbe") }
    }
    return .object(value)
  }

  private static func probe(_ probe: RunProbe, isReadiness: Bool) -> JSONValue {
    func seconds(_ duration: Duration, _ least: Int64) -> JSONValue {
      .integer(max(least, (duration.milliseconds + 999) / 1000))
    }
    var value: [String: JSONValue] = [
      "initialDelaySeconds": seconds(probe.initialDelay, 0), "periodSeconds": seconds(probe.period, 1),
      "timeoutSeconds": seconds(probe.timeout, 1), "successThreshold": .integer(Int64(max(1, probe.successThreshold))),
      "failureThreshold": .integer(Int64(max(1, probe.failureThreshold))),
    ]
    switch probe.action {
    case .exec(let command): value["exec"] = ["command": .array(command.map { .string($0) })]
    case .tcp(let host, let port):
      var socket: [String: JSONValue] = ["port": .integer(Int64(port))]
      if !host.isEmpty { socket["host"] = .string(host) }
      value["tcpSocket"] = .object(socket)
    case .http(let host, let port, let path, let headers):
      var get: [String: JSONValue] = ["port": .integer(Int64(port)), "path": .string(path)]
      if !host.isEmpty { get["host"] = .string(host) }
      if !headers.isEmpty {
        get["httpHeaders"] = .array(headers.map { ["name": .string($0.name), "value": .string($0.value)] })
      }
      value["httpGet"] = .object(get)
    }
    return .object(value)
  }

  // MARK: Resources

  private func resources(hasGPUs: Bool) -> JSONValue {
    let wanted = request.spec.resources
    var requests: [String: JSONValue] = [:]
    var limits: [String: JSONValue] = [:]
    if wanted.cpuMillicores > 0 { requests["cpu"] = KubernetesText.cpu(wanted.cpuMillicores) }
    if wanted.memory.bytes > 0 { requests["memory"] = .string(String(wanted.memory.bytes)) }
    if let most = request.spec.limits {
      if most.cpuMillicores > 0 { limits["cpu"] = KubernetesText.cpu(most.cpuMillicores) }
      if most.memory.bytes > 0 { limits["memory"] = .string(String(most.memory.bytes)) }
    }
    if hasGPUs, wanted.gpus > 0 {
      // Devices cannot be overcommitted: both are the same.
      requests[GPUType.resource(wanted.gpuType)] = .string(String(wanted.gpus))
      limits[GPUType.resource(wanted.gpuType)] = .string(String(wanted.gpus))
    }
    var value: [String: JSONValue] = [:]
    if !requests.isEmpty { value["requests"] = .object(requests) }
    if !limits.isEmpty { value["limits"] = .object(limits) }
    return .object(value)
  }

  // MARK: The pod

  var spec: JSONValue {
    let task = request.spec
    var spec: [String: JSONValue] = [
      "restartPolicy": "Never", "automountServiceAccountToken": false, "enableServiceLinks": false,
      "initContainers": .array(initContainers), "containers": .array(containers), "volumes": .array(volumes),
      "terminationGracePeriodSeconds": .integer(Self.graceSeconds(task.terminationGrace)),
    ]
    var selector = configuration.nodeSelector
    // Of an author's labels those are Kubernetes' own that the cluster itself does not carry.
    selector.merge(task.nodeSelector) { $1 }
    if task.resources.gpus > 0, let label = GPUType.nodeLabel(task.resources.gpuType) {
      selector[label.key] = label.value
    }
    if let name = task.federation.slurm?.partition {
      let pool = configuration.pools.first { $0.name == name }
      selector.merge(pool?.nodeLabel ?? [:]) { author, _ in author }
      if pool == nil, name == ClusterCapacity.rest, let affinity = affinityBesidePools { spec["affinity"] = affinity }
    }
    if !selector.isEmpty { spec["nodeSelector"] = .object(selector.mapValues { .string($0) }) }
    if !configuration.tolerations.isEmpty { spec["tolerations"] = .array(configuration.tolerations) }
    if !configuration.imagePullSecrets.isEmpty {
      spec["imagePullSecrets"] = .array(configuration.imagePullSecrets.map { ["name": .string($0)] })
    }
    if let priority = configuration.priorityClass { spec["priorityClassName"] = .string(priority) }
    // Pods of Indexed Jobs have the names of their Job and rank; this makes them names of the cluster's DNS.
    if task.federation.gangSize > 1 { spec["subdomain"] = .string(secretName) }
    if let walltime = request.walltime {
      // A member of a gang may wait for the others first.
      let most = walltime + task.terminationGrace + Self.backstop * (task.federation.gangSize > 1 ? 2 : 1)
      spec["activeDeadlineSeconds"] = .integer(max(1, min(Int64(Int32.max), most.milliseconds / 1000)))
    }
    return .object(spec)
  }

  /// What is quoted the price of nodes that are in no pool takes those of a pool only where nothing else has room: a run is not to wait
  /// because a price has changed hands.
  private var affinityBesidePools: JSONValue? {
    let labels = configuration.pools.flatMap(\.nodeLabel).sorted { ($0.key, $0.value) < ($1.key, $1.value) }
    guard !labels.isEmpty else { return nil }
    let terms: [JSONValue] = labels.map {
      ["key": .string($0.key), "operator": "NotIn", "values": [.string($0.value)]]
    }
    return [
      "nodeAffinity": [
        "preferredDuringSchedulingIgnoredDuringExecution": [
          ["weight": 100, "preference": ["matchExpressions": .array(terms)]]
        ]
      ]
    ]
  }

  /// From SIGTERM to SIGKILL, with time for outputs behind the program's own.
  static func graceSeconds(_ grace: Duration) -> Int64 {
    min(86_400, max(0, (grace.milliseconds + 999) / 1000) + farewell.components.seconds)
  }
}

/// How kinds of GPUs are called: in tasks and inventories by one word, in pods by a resource and, where that says less, by a node's label.
enum GPUType {
  static let plain = "nvidia.com/gpu"
  static let productLabel = "nvidia.com/gpu.product"
  private static let partPrefix = "nvidia.com/"

  /// - Parameter type: nil: any; `mig-1g.5gb`: a part of one; `amd.com/gpu`: a resource's own name; else a product, by its node's label.
  static func resource(_ type: String?) -> String {
    guard let type else { return plain }
    if type.contains("/") { return type }
    return type.hasPrefix("mig-") ? partPrefix + type : plain
  }

  /// What nodes must be called that have it.
  static func nodeLabel(_ type: String?) -> (key: String, value: String)? {
    guard let type, !type.contains("/"), !type.hasPrefix("mig-") else { return nil }
    return (productLabel, type)
  }

  /// Whether a resource of a node counts as GPUs: devices of a vendor's by the usual names.
  static func isGPU(_ resource: String) -> Bool {
    resource == plain || resource.hasPrefix("nvidia.com/mig-")
      || ["amd.com/gpu", "gpu.intel.com/i915"].contains(resource)
  }

  /// The type as inventories call it; nil: what the node's label says, or none.
  static func name(of resource: String, nodeLabels: JSONValue?) -> String? {
    if resource.hasPrefix("nvidia.com/mig-") { return String(resource.dropFirst(partPrefix.utf8.count)) }
    if resource != plain { return resource }
    return nodeLabels?[productLabel]?.stringValue
  }
}
