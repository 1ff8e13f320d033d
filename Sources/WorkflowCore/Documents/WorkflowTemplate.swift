public import FederationModel

/// One entry of `spec.templates`, or a lifted `inline` template.
///
/// Texts that may hold `{{tags}}` are kept as written: limits and durations, too, are texts until the tags are
/// replaced.
public struct WorkflowTemplate: Hashable, Sendable, Codable {
  /// What a template does.
  public enum Body: Hashable, Sendable, Codable {
    /// A leaf: one container, or a script in one.
    case container(ContainerTemplate)
    /// Groups that run one after the other; the steps of a group run at once.
    case steps([[WorkflowStep]])
    case dag(DAGTemplate)
    /// Waits for a resume, or for `duration` (seconds or `1h30m`; may hold tags).
    case suspend(duration: String?)
  }

  /// An `inline` template is called `<template>.<step>`; a dot cannot occur in a name that an author gives.
  public var name: String
  public var isInline: Bool
  public var body: Body
  public var inputs: TemplateInputs
  public var outputs: TemplateOutputs
  public var retryStrategy: RetryStrategy?
  /// Bounds a leaf, waiting included: a Go duration. May hold tags.
  public var timeout: String?
  /// Bounds the wait of a leaf before its run: a Go duration. May hold tags.
  public var pendingTimeout: String?
  /// Bounds a leaf's run: whole seconds. May hold tags.
  public var activeDeadlineSeconds: String?
  /// Children of a steps or dag template that may run at once.
  public var parallelism: Int?
  /// Fails the template at the first failed child, without waiting for the others.
  public var failFast: Bool?
  public var onExit: ExitHook?
  public var nodeSelector: [String: String]
  /// The template's own.
  public var volumes: [WorkflowVolume]
  public var labels: [String: String]
  public var annotations: [String: String]
  public var federation: FederationBlock?
  public var synchronization: Synchronization?
  public var memoize: Memoization?
  /// Of all containers together, in place of the workflow's.
  public var podResources: ResourceRequirements?
  /// In the order in which they run.
  public var initContainers: [CompanionContainer] = []
  public var sidecars: [CompanionContainer] = []
  /// With it, the body is the container named `main`, or the first.
  public var containerSet: ContainerSet?
  /// With it, the body is a container of nothing.
  public var http: HTTPTemplate?
  /// With it, the body is a container of nothing.
  public var resource: ResourceTemplate?
  /// What only Kubernetes can obey of it, in place of what the workflow says. Texts may hold tags.
  public var pod = PodSettings()
  /// `data`: with it, the body is a container of nothing. The expressions, applied one after the other to the names of what is at the
  /// place of the last input artifact.
  public var transformations: [String]?
  /// What follows goes on as soon as it is ready, and it runs until the template that it stands in has ended.
  public var isDaemon = false
  /// YAML or JSON; see `PodPatch`. May hold tags.
  public var podSpecPatch: String?

  /// Names the nodes of a template for people. May hold the template's own inputs.
  /// - Source: Argo Workflows v4.1, docs/walk-through/annotations.md.
  static let displayNameAnnotation = "workflows.argoproj.io/display-name"

  public init(
    name: String, isInline: Bool = false, body: Body, inputs: TemplateInputs = TemplateInputs(),
    outputs: TemplateOutputs = TemplateOutputs(), retryStrategy: RetryStrategy? = nil, timeout: String? = nil,
    activeDeadlineSeconds: String? = nil, parallelism: Int? = nil, failFast: Bool? = nil, onExit: ExitHook? = nil,
    nodeSelector: [String: String] = [:], volumes: [WorkflowVolume] = [], labels: [String: String] = [:],
    annotations: [String: String] = [:], federation: FederationBlock? = nil,
    synchronization: Synchronization? = nil, memoize: Memoization? = nil
  ) {
    self.synchronization = synchronization
    self.memoize = memoize
    self.name = name
    self.isInline = isInline
    self.body = body
    self.inputs = inputs
    self.outputs = outputs
    self.retryStrategy = retryStrategy
    self.timeout = timeout
    self.activeDeadlineSeconds = activeDeadlineSeconds
    self.parallelism = parallelism
    self.failFast = failFast
    self.onExit = onExit
    self.nodeSelector = nodeSelector
    self.volumes = volumes
    self.labels = labels
    self.annotations = annotations
    self.federation = federation
  }

  /// Whether it runs on a cluster, as opposed to arranging other templates or waiting.
  public var isTask: Bool { if case .container = body { true } else { false } }
}

/// `container` or `script` of a template. Every text may hold tags.
public struct ContainerTemplate: Hashable, Sendable, Codable {
  public var image: String
  public var command: [String]
  public var args: [String]
  /// A script's text; nil for a `container`. Its file's path is appended to `command`.
  public var source: String?
  public var env: [EnvironmentVariable]
  /// What `env[].valueFrom` and `envFrom` take from elsewhere. No name is also one of `env`.
  public var variableSources: [VariableSource] = []
  /// Absolute.
  public var workingDir: String?
  public var resources: ResourceRequirements
  public var volumeMounts: [VolumeMount]
  /// nil: none.
  public var probes: ProbesTemplate?
  /// What only Kubernetes can obey of it: `PodSettings.containerMembers` but for `env`. Texts may hold tags.
  public var podMembers: [String: JSONValue] = [:]

  public init(
    image: String = "", command: [String] = [], args: [String] = [], source: String? = nil,
    env: [EnvironmentVariable] = [], workingDir: String? = nil,
    resources: ResourceRequirements = ResourceRequirements(),
    volumeMounts: [VolumeMount] = []
  ) {
    self.image = image
    self.command = command
    self.args = args
    self.source = source
    self.env = env
    self.workingDir = workingDir
    self.resources = resources
    self.volumeMounts = volumeMounts
  }
}

/// One of `initContainers`, `sidecars` or `containerSet.containers`.
public struct CompanionContainer: Hashable, Sendable, Codable {
  public var name: String
  public var container: ContainerTemplate
  /// Of a container set: names of those that must have ended well before it starts.
  public var dependencies: [String]
  public init(name: String, container: ContainerTemplate, dependencies: [String] = []) {
    self.name = name
    self.container = container
    self.dependencies = dependencies
  }
}

/// `http` of a template. Every text may hold tags.
public struct HTTPTemplate: Hashable, Sendable, Codable {
  public var method = "GET"
  public var url = ""
  public var headers: [RunHTTP.Header] = []
  /// Headers from secrets.
  public var secretHeaders: [EnvironmentSource] = []
  public var body = ""
  /// Whole seconds.
  public var timeoutSeconds = "30"
  public var skipsVerification = false
  public var successCondition: String?
  public init() {}

  /// Everything in it that may hold tags.
  var texts: [String] {
    [method, url, body, timeoutSeconds] + headers.flatMap { [$0.name, $0.value] } + [successCondition].compactMap { $0 }
  }
}

/// `resource` of a template. Every text may hold tags.
public struct ResourceTemplate: Hashable, Sendable, Codable {
  public var action = RunResource.Action.get
  public var manifest = ""
  public var mergeStrategy = RunResource.MergeStrategy.strategic
  public var setsOwner = false
  public var successCondition: String?
  public var failureCondition: String?
  public var flags: [String] = []
  public init() {}

  /// Everything in it that may hold tags.
  var texts: [String] { [manifest] + flags + [successCondition, failureCondition].compactMap { $0 } }
}

/// `containerSet` of a template.
public struct ContainerSet: Hashable, Sendable, Codable {
  public var containers: [CompanionContainer]
  /// Of each container; whole numbers. May hold tags.
  public var retries: String?
  /// Before each retry; a Go duration. May hold tags.
  public var retryPause: String?
  public init(containers: [CompanionContainer] = [], retries: String? = nil, retryPause: String? = nil) {
    self.containers = containers
    self.retries = retries
    self.retryPause = retryPause
  }
}

/// `resources` of a container: Kubernetes quantities by resource name, as written (`500m`, `2Gi`). May hold tags.
public struct ResourceRequirements: Hashable, Sendable, Codable {
  public var requests: [String: String]
  public var limits: [String: String]
  public init(requests: [String: String] = [:], limits: [String: String] = [:]) {
    self.requests = requests
    self.limits = limits
  }
}

extension ResourceRequirements {
  /// With what it leaves open taken from `base`.
  func filled(from base: ResourceRequirements) -> ResourceRequirements {
    ResourceRequirements(
      requests: requests.merging(base.requests) { own, _ in own }, limits: limits.merging(base.limits) { own, _ in own }
    )
  }
}

/// Where a volume appears in the container.
public struct VolumeMount: Hashable, Sendable, Codable {
  public var name: String
  /// Absolute. May hold tags.
  public var mountPath: String
  /// Relative; nil: the whole volume. May hold tags.
  public var subPath: String?
  public var isReadOnly = false
  public init(name: String, mountPath: String) {
    self.name = name
    self.mountPath = mountPath
  }
}

/// `dag` of a template.
public struct DAGTemplate: Hashable, Sendable, Codable {
  /// Names of the tasks to reach, separated by blanks; nil for all. May hold tags.
  public var target: String?
  /// Whether no further task starts once one has failed; Argo's default is true.
  public var failFast: Bool
  public var tasks: [WorkflowStep]
  public init(target: String? = nil, failFast: Bool = true, tasks: [WorkflowStep]) {
    self.target = target
    self.failFast = failFast
    self.tasks = tasks
  }
}

/// One step of a steps template, or one task of a dag.
public struct WorkflowStep: Hashable, Sendable, Codable {
  public var name: String
  /// The template's name; for an `inline` one the name that it was lifted to.
  public var template: String
  public var arguments: WorkflowArguments
  /// govaluate after substitution; nil runs always.
  public var when: String?
  public var loop: Loop?
  public var continueOn: ContinueOn
  public var onExit: ExitHook?
  /// What runs beside it once its condition holds, by name.
  public var hooks: [LifecycleHook]
  /// Of a dag task; nil when `dependencies` or nothing is given.
  public var depends: String?
  /// Of a dag task: names of the tasks that must end well first.
  public var dependencies: [String]

  public init(
    name: String, template: String, arguments: WorkflowArguments = WorkflowArguments(), when: String? = nil,
    loop: Loop? = nil, continueOn: ContinueOn = ContinueOn(), onExit: ExitHook? = nil, depends: String? = nil,
    dependencies: [String] = [], hooks: [LifecycleHook] = []
  ) {
    self.hooks = hooks
    self.name = name
    self.template = template
    self.arguments = arguments
    self.when = when
    self.loop = loop
    self.continueOn = continueOn
    self.onExit = onExit
    self.depends = depends
    self.dependencies = dependencies
  }
}

/// What makes many nodes out of one step.
public enum Loop: Hashable, Sendable, Codable {
  /// Scalars, maps or lists. Strings inside may hold tags.
  case items([JSONValue])
  /// A text that becomes a JSON list once its tags are replaced.
  case param(String)
  case sequence(Sequence)

  /// `withSequence`: from `start` (0) to `end`, or `count` numbers. Texts of whole numbers; may hold tags.
  public struct Sequence: Hashable, Sendable, Codable {
    public var count: String?
    public var start: String?
    public var end: String?
    /// A printf format with one number in it.
    public var format: String?
    public init(count: String? = nil, start: String? = nil, end: String? = nil, format: String? = nil) {
      self.count = count
      self.start = start
      self.end = end
      self.format = format
    }
  }
}

/// Which bad ends of a step do not stop its template.
public struct ContinueOn: Hashable, Sendable, Codable {
  public var error: Bool
  public var failed: Bool
  public init(error: Bool = false, failed: Bool = false) {
    self.error = error
    self.failed = failed
  }
}

/// `retryStrategy`.
public struct RetryStrategy: Hashable, Sendable, Codable {
  public enum Policy: String, Hashable, Sendable, Codable, CaseIterable {
    case always = "Always"
    case onFailure = "OnFailure"
    case onError = "OnError"
    case onTransientError = "OnTransientError"
  }
  /// With `affinity`: a further attempt goes to another cluster, where there is one.
  public var avoidsTriedClusters = false
  public struct Backoff: Hashable, Sendable, Codable {
    /// Before the first retry: seconds or a Go duration. May hold tags.
    public var duration: String?
    /// Multiplies the wait after each retry; a number. May hold tags.
    public var factor: String?
    /// Bounds the time since the first attempt began.
    public var maxDuration: String?
    /// Bounds one wait.
    public var cap: String?
    public init(duration: String? = nil, factor: String? = nil, maxDuration: String? = nil, cap: String? = nil) {
      self.duration = duration
      self.factor = factor
      self.maxDuration = maxDuration
      self.cap = cap
    }
  }
  /// Retries after the first attempt; nil for no bound. A whole number; may hold tags.
  public var limit: String?
  /// nil means `OnFailure`, or `Always` when an expression is given, as in Argo.
  public var policy: Policy?
  public var backoff: Backoff?
  /// expr-lang over `lastRetry.*`; false ends the retries.
  public var expression: String?
  public init(limit: String? = nil, policy: Policy? = nil, backoff: Backoff? = nil, expression: String? = nil) {
    self.limit = limit
    self.policy = policy
    self.backoff = backoff
    self.expression = expression
  }
}
