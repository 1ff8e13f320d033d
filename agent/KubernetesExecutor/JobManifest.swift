internal import Execution
internal import FederationModel
internal import FoundationEssentials
internal import ProcessExecutor
internal import Supervisor

/// The Secret and the Job of a run, as the API server is asked to make them. Pure.
///
/// The restricted profile of Pod Security holds for every container but for `runAsNonRoot`, which most images could not obey: no
/// privilege escalation, no capabilities, the runtime's seccomp profile. No token of the API is mounted, and no addresses of services are
/// put into environments.
struct JobManifest: Sendable {
  static let initName = "fubini-init"

  /// What the manifest needs beside the request and the configuration.
  struct Circumstances {
    var mark: String
    var workspace: RunWorkspace
    var access: PodAccess
    /// Of the API server.
    var minor = 24
    /// With what an object is to go that a `resource` template makes; nil: with nothing.
    var owner: ResourceOwner?
    /// Whether there is anything at a path of the agent's.
    var exists: (String) -> Bool = { _ in true }
  }

  let name: ObjectName
  let namespace: String
  let secret: JSONValue
  let job: JSONValue
  let plan: PodPlan
  /// What the agent's server of files may show to the pod, and take from it.
  let shared: SharedPodFiles
  /// Of its workflow: they must be there before it.
  let claims: [WorkflowClaim]
  /// The main container's image.
  let runsAs: String
  /// A script, which the agent puts at `scriptFile` of the run's directory.
  static let scriptFile = "script"
  /// Of a gang: what a Service's members, an environment and the agent's streams of logs are made for.
  static let gangSizeMax = 1000
  /// Of Kubernetes 1.*: the first that has Indexed Jobs which may be suspended.
  static let gangMinor = 24

  /// - Throws: `.invalidArgument`, `.unplaceable` for a run that this cluster can never start, with the reason.
  init(
    _ request: RunRequest, _ configuration: KubernetesExecutorConfiguration, _ circumstances: Circumstances
  ) throws(FederationError) {
    let queue = configuration.queue(of: request.project)
    try Self.checkGang(request, queue, circumstances.minor)
    name = ObjectName(mark: circumstances.mark, run: request.id)
    namespace = try configuration.namespace(of: request.project)
    var files = PodVolumes(request, configuration, circumstances, secret: name.text)
    try files.mountScratch()
    try files.mountPrivateFiles()
    files.mountAccount()
    try files.mountClaims(in: namespace)
    try files.mountInputs()
    claims = files.claims
    var secrets = PodSecrets(token: circumstances.access.token, authority: circumstances.access.certificateAuthorityPEM)
    secrets.data.merge(files.secretData) { $1 }
    var containers = PodContainers(request, configuration)
    try containers.make(&secrets)
    runsAs = containers.runsAs
    var plan = try Self.plan(request, circumstances, files, containers)
    let size = request.spec.federation.gangSize
    if request.spec.federation.onPreempt != nil { plan.hasFarewell = true }
    if size > 1 { plan.gang = PodPlan.Gang(size: size, name: name.text) }
    self.plan = plan
    shared = SharedPodFiles(inputs: files.sources, outputs: plan.outputs, gangSize: plan.gang?.size)
    var pod = try PodTemplate(request, configuration, name: name.text)
    pod.volumes = files.volumes
    pod.owner = circumstances.owner
    pod.initContainers = [pod.starter(plan)] + containers.initial.map { pod.dressed($0, mounts: files.mounts) }
    pod.containers = containers.lasting.map {
      pod.dressed($0, mounts: files.mounts + files.stepMounts + files.accountMounts, plan: plan)
    }
    let labels = name.labels(project: request.project)
    secret = [
      "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
      "metadata": ["name": .string(name.text), "namespace": .string(namespace), "labels": .object(labels)],
      "data": .object(secrets.data.mapValues { .string(Data($0).base64EncodedString()) }),
    ]
    var jobLabels = labels
    var jobSpec: [String: JSONValue] = [
      "backoffLimit": 0, "completions": .integer(Int64(max(1, size))), "parallelism": .integer(Int64(max(1, size))),
      "template": pod.settings.merged(into: [
        "metadata": [
          "labels": .object(labels),
          // Autoscalers leave the nodes of runs alone: moving one would mean to begin it anew.
          "annotations": .object(Self.annotations(plan)),
        ], "spec": pod.spec,
      ]),
    ]
    // A pod that ends is not replaced before it has ended.
    if circumstances.minor >= 29 { jobSpec["podReplacementPolicy"] = "Failed" }
    if plan.gang != nil { jobSpec["completionMode"] = "Indexed" }
    if let queue {
      jobLabels[ObjectName.queueLabel] = .string(queue)
      jobSpec["suspend"] = true
    }
    job = [
      "apiVersion": "batch/v1", "kind": "Job",
      "metadata": [
        "name": .string(name.text), "namespace": .string(namespace), "labels": .object(jobLabels),
        "finalizers": [.string(ObjectName.finalizer)],
      ], "spec": .object(jobSpec),
    ]
  }

  /// Pods of a Job start one by one, as there is room: what lets all of them start, or none, is Kueue, which knows what is free.
  private static func checkGang(_ request: RunRequest, _ queue: String?, _ minor: Int) throws(FederationError) {
    let size = request.spec.federation.gangSize
    guard size > 1 else { return }
    func refused(_ why: String) -> FederationError {
      FederationError(.unplaceable, "a gang of \(size) cannot start here: \(why)")
    }
    guard queue != nil else {
      throw refused("project \(request.project) has no queue of Kueue on this cluster (`kubernetes.kueue`)")
    }
    guard minor >= gangMinor else { throw refused("that takes Kubernetes 1.\(gangMinor), and this is 1.\(minor)") }
    guard size <= gangSizeMax else { throw refused("gangs on Kubernetes have \(gangSizeMax) members at most") }
  }

  /// The Service by which the members of a gang find each other: it has no address of its own, and goes with the Job.
  static func service(for job: JobFacts, mark: String) -> JSONValue {
    let labels: JSONValue = [
      ObjectName.markLabel: .string(mark), ObjectName.runLabel: .string(job.run.hexadecimal),
    ]
    return [
      "apiVersion": "v1", "kind": "Service",
      "metadata": [
        "name": .string(job.name), "namespace": .string(job.namespace), "labels": labels,
        "ownerReferences": [
          ["apiVersion": "batch/v1", "kind": "Job", "name": .string(job.name), "uid": .string(job.uid)]
        ],
      ],
      // Members look for each other before they are ready.
      "spec": ["clusterIP": "None", "publishNotReadyAddresses": true, "selector": labels],
    ]
  }

  private static func annotations(_ plan: PodPlan) -> [String: JSONValue] {
    var annotations: [String: JSONValue] = [
      "cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true",
    ]
    if let speaker = plan.speaker { annotations[PodFacts.speakerAnnotation] = .string(speaker) }
    return annotations
  }

  private static func plan(
    _ request: RunRequest, _ circumstances: Circumstances, _ files: PodVolumes, _ containers: PodContainers
  ) throws(FederationError) -> PodPlan {
    let spec = request.spec
    func milliseconds(_ duration: Duration?) -> UInt64? { duration.map { UInt64(max(1, $0.milliseconds)) } }
    // Where a path is seen twice, what the agent looks for is at the first.
    var outputs: [String] = []
    var directories: Set<String> = []
    for path in spec.outputArtifacts.map(\.path) + spec.outputParameters.map(\.path) {
      let path = try PodVolumes.absolute(spec.storedPath(of: PodVolumes.absolute(path)))
      if !outputs.contains(path) { outputs.append(path) }
      directories.insert(PodVolumes.parent(of: path))
    }
    directories.remove("/")
    let isSet = containers.lasting.contains { $0.role == .member }
    guard outputs.isEmpty || !isSet || containers.lasting.contains(where: { $0.name == RunContainers.resultName })
    else {
      throw FederationError(
        .invalidArgument,
        "a container set's outputs come from its container \(RunContainers.resultName), and it has none of that name")
    }
    var plan = PodPlan(
      run: request.id, url: circumstances.access.url, inputs: files.inputs, outputs: outputs,
      directories: directories.sorted(),
      capturesResult: spec.capturesResult, walltimeMs: milliseconds(request.walltime),
      activeDeadlineMs: milliseconds(spec.activeDeadline),
      graceMs: UInt64(max(0, spec.terminationGrace.milliseconds)),
      disconnectLimitMs: milliseconds(request.disconnectLimit),
      containers: containers.lasting.map {
        PodPlan.Container(
          name: $0.name, role: $0.role.planned, dependencies: $0.dependencies.isEmpty ? nil : $0.dependencies)
      }, sliceMs: milliseconds(request.slice))
    if isSet, let set = spec.containers {
      plan.retries = UInt32(clamping: set.retries)
      plan.retryPauseMs = milliseconds(set.retryPause)
    }
    return plan
  }
}

extension RunContainers.Role {
  fileprivate var planned: PodPlan.Role {
    switch self {
    case .main: .main
    case .member: .member
    case .sidecar, .initial: .sidecar
    }
  }
}

/// The values of a run's Secret by their keys.
struct PodSecrets: Sendable {
  static let token = "token"
  static let authority = "ca.crt"
  var data: [String: [UInt8]]

  init(token: String, authority: String) {
    data = [Self.token: Array(token.utf8), Self.authority: Array(authority.utf8)]
  }
}

/// The containers of a run's pod without what all of them have. Pure.
struct PodContainers {
  struct Container {
    var name: String
    var role: RunContainers.Role
    var image: String
    var command: [String]
    var workingDirectory: String?
    /// Entries of `env`.
    var environment: [JSONValue]
    var probes = RunProbes()
    /// Of a container set: names of those that must have ended well before.
    var dependencies: [String] = []
  }

  private let request: RunRequest
  private let configuration: KubernetesExecutorConfiguration
  private(set) var initial: [Container] = []
  private(set) var lasting: [Container] = []
  private(set) var runsAs = ""

  init(_ request: RunRequest, _ configuration: KubernetesExecutorConfiguration) {
    self.request = request
    self.configuration = configuration
  }

  mutating func make(_ secrets: inout PodSecrets) throws(FederationError) {
    let spec = request.spec
    if let containers = spec.containers { return try several(containers, &secrets) }
    let isRequest = spec.http != nil || spec.transformations != nil || spec.resource != nil
    let (image, rule) = isRequest ? (configuration.image, nil) : try image(spec.image)
    let program = spec.resource == nil ? RequestProgram.command : ResourceProgram.command
    var command = isRequest ? [PodPlan.Places().agent, program] : spec.command
    if command.isEmpty, spec.script == nil { command = rule?.command ?? [] }
    if spec.script != nil { command.append(RunLayout.scriptPath) }
    command += isRequest ? [] : spec.arguments
    guard isRequest || !spec.command.isEmpty || spec.script != nil || rule?.command != nil else {
      throw FederationError(
        .invalidArgument,
        "the template has no command: on Kubernetes programs are started by the agent's, which cannot read an image's entry "
          + "point; give `command`, or let the operator give it (`images[].command`)")
    }
    let names = Set(request.secrets.map(\.name))
    lasting = [
      Container(
        name: RunContainers.resultName, role: .main, image: image, command: command,
        workingDirectory: spec.workingDirectory,
        environment: spec.environment.filter { !names.contains($0.name) }.map(Self.variable)
          + hidden(request.secrets, "env", &secrets))
    ]
    runsAs = image
  }

  /// What each program gets was worked out by `RunObjects`: its environment holds secrets, and so it goes into the Secret whole.
  private mutating func several(_ containers: RunContainers, _ secrets: inout PodSecrets) throws(FederationError) {
    guard let file = request.privateFiles.first(where: { $0.path == ContainerPlan.fileName }),
      let plan = try? ContainerPlan(bytes: file.bytes), plan.containers.count == containers.list.count
    else { throw FederationError(.internal, "the plan of the run's containers is not there") }
    for (container, planned) in zip(containers.list, plan.containers) {
      let (image, _) = try image(container.image)
      let variables = planned.environment.map { text in
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        return EnvironmentVariable(name: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : "")
      }
      let made = Container(
        name: container.name, role: container.role, image: image, command: planned.arguments,
        workingDirectory: container.workingDirectory ?? request.spec.workingDirectory,
        environment: hidden(variables, "env-\(container.name)", &secrets),
        probes: container.probes ?? RunProbes(), dependencies: container.dependencies)
      if container.role == .initial { initial.append(made) } else { lasting.append(made) }
      if container.name == RunContainers.resultName || runsAs.isEmpty { runsAs = image }
    }
    // Of a container set none has to be called so.
    guard lasting.contains(where: { $0.name == RunContainers.resultName || $0.role == .member }) else {
      throw FederationError(.invalidArgument, "none of the run's containers is called \(RunContainers.resultName)")
    }
  }

  private func image(_ name: String) throws(FederationError) -> (String, ImageRule?) {
    guard let rule = configuration.images.first(where: { $0.matches(name) }) else {
      throw FederationError(.unplaceable, "this cluster has no rule for the image \(name)")
    }
    let image = rule.runsAs == "*" ? name : rule.runsAs
    guard !image.isEmpty else {
      throw FederationError(.unplaceable, "the template names no image, and Kubernetes runs nothing without one")
    }
    return (image, rule)
  }

  private static func variable(_ variable: EnvironmentVariable) -> JSONValue {
    ["name": .string(variable.name), "value": .string(KubernetesText.literal(variable.value))]
  }

  private func hidden(
    _ variables: [EnvironmentVariable], _ prefix: String, _ secrets: inout PodSecrets
  ) -> [JSONValue] {
    variables.enumerated().map { index, variable in
      let key = "\(prefix)-\(index)"
      secrets.data[key] = Array(variable.value.utf8)
      let name = ObjectName(mark: configuration.mark, run: request.id).text
      return [
        "name": .string(variable.name),
        "valueFrom": ["secretKeyRef": ["name": .string(name), "key": .string(key)]],
      ]
    }
  }
}

/// Texts as they come through Kubernetes unchanged.
enum KubernetesText {
  /// Kubernetes replaces `$(NAME)` in commands, arguments and values, and takes `$$` for `$`. What is here was replaced already.
  static func literal(_ text: String) -> String {
    guard text.contains("$(") || text.contains("$$") else { return text }
    return String(text.flatMap { $0 == "$" ? ["$", "$"] : [$0] })
  }

  /// `250m`, or whole cores.
  static func cpu(_ millicores: Int64) -> JSONValue {
    .string(millicores % 1000 == 0 ? "\(millicores / 1000)" : "\(millicores)m")
  }
}
