public import FederationModel

/// An accepted Argo `Workflow` document: what its author asked for, immutable, with every name checked.
///
/// It is made by `decode(_:format:strict:)` from what a user sent, or by `init(json:)` from the canonical text that
/// was stored
/// beside the workflow. `templateDefaults` are merged into the templates, and every `inline` template is lifted into
/// `templates` under a name of its own, so a step always refers to a template by name.
public struct WorkflowDefinition: CanonicalDocument {
  public let metadata: WorkflowMetadata
  public let spec: WorkflowSpec
  /// The whole document as compact JSON with sorted keys: the same document always gives the same bytes.
  ///
  /// It keeps what this version accepts without effect, too, so nothing that the author wrote is lost. Of a resolved workflow it holds
  /// the templates of other documents as well, in Argo's `status.storedTemplates` and `status.storedWorkflowTemplateSpec`: it says
  /// all that there is to know of the workflow.
  public let canonicalJSON: String
  /// The mentions of templates of other documents, as long as they are not resolved: such a definition cannot run.
  public let references: [TemplateMention]
  /// With its lines; only while there are references.
  let tree: DocumentNode?
  /// Position in `spec.templates` by name.
  private let positions: [String: Int]

  public init(metadata: WorkflowMetadata, spec: WorkflowSpec, canonicalJSON: String) {
    self.init(metadata: metadata, spec: spec, canonicalJSON: canonicalJSON, references: [], tree: nil)
  }

  init(
    metadata: WorkflowMetadata, spec: WorkflowSpec, canonicalJSON: String, references: [TemplateMention],
    tree: DocumentNode?
  ) {
    self.metadata = metadata
    self.spec = spec
    self.canonicalJSON = canonicalJSON
    self.references = references
    self.tree = tree
    var positions: [String: Int] = [:]
    positions.reserveCapacity(spec.templates.count)
    for (index, template) in spec.templates.enumerated() where positions[template.name] == nil {
      positions[template.name] = index
    }
    self.positions = positions
  }

  /// Whether every template that it needs is in it.
  public var isResolved: Bool { references.isEmpty }

  /// The template called `name`, or nil. O(1).
  public func template(named name: String) -> WorkflowTemplate? {
    positions[name].map { spec.templates[$0] }
  }

  /// The position in `spec.templates` of the template called `name`, or nil. O(1).
  public func templatePosition(named name: String) -> Int? { positions[name] }

  /// The federation terms of `template`: its own block, then the workflow's, then the defaults, field by field.
  public func federationHints(for template: WorkflowTemplate) -> FederationHints {
    federationBlock(for: template).hints
  }

  /// The type that a template's GPUs must have; nil: any.
  public func gpuType(for template: WorkflowTemplate) -> String? { federationBlock(for: template).gpuType }

  /// Every data set that any of its templates mounts.
  public var mountedDatasets: [DatasetMount] {
    var mounts = Set(spec.federation?.datasets ?? [])
    for template in spec.templates { mounts.formUnion(template.federation?.datasets ?? []) }
    return mounts.sorted { ($0.name, $0.version ?? 0, $0.mountPath) < ($1.name, $1.version ?? 0, $1.mountPath) }
  }

  /// When an output of `template` goes from the repository; nil: nothing was said of it.
  public func collection(of artifact: String, in template: WorkflowTemplate) -> ArtifactGCStrategy? {
    template.outputs.artifacts.first { $0.name == artifact }?.collection ?? spec.collection
  }

  /// Whether any output goes as soon as the workflow is over.
  public var collectsOnCompletion: Bool {
    spec.collection == .onWorkflowCompletion
      || spec.templates.contains { $0.outputs.artifacts.contains { $0.collection == .onWorkflowCompletion } }
  }

  private func federationBlock(for template: WorkflowTemplate) -> FederationBlock {
    (template.federation ?? FederationBlock()).filled(from: spec.federation ?? FederationBlock())
  }
}

/// `metadata` of a workflow, as far as users set it.
public struct WorkflowMetadata: Hashable, Sendable, Codable {
  /// nil when `generateName` is to make one.
  public var name: String?
  public var generateName: String?
  /// Names the project.
  public var namespace: String?
  public var labels: [String: String]
  public var annotations: [String: String]

  public init(
    name: String? = nil, generateName: String? = nil, namespace: String? = nil, labels: [String: String] = [:],
    annotations: [String: String] = [:]
  ) {
    self.name = name
    self.generateName = generateName
    self.namespace = namespace
    self.labels = labels
    self.annotations = annotations
  }
}

/// `spec` of a workflow.
public struct WorkflowSpec: Hashable, Sendable, Codable {
  public var entrypoint: String
  public var arguments: WorkflowArguments
  /// In the document's order, then the lifted `inline` templates.
  public var templates: [WorkflowTemplate]
  /// Runs after everything else, whatever the outcome (`onExit` or `hooks.exit`).
  public var onExit: ExitHook?
  /// What runs beside the workflow once its condition holds, by name.
  public var hooks: [LifecycleHook]
  /// Task nodes that may run at once; nil for no bound.
  public var parallelism: Int?
  /// Seconds that the whole workflow may take, from its start.
  public var activeDeadlineSeconds: Int64?
  /// Starts suspended.
  public var suspend: Bool
  /// For every template that has none of its own.
  public var retryStrategy: RetryStrategy?
  /// For every template; a template's own entries win.
  public var nodeSelector: [String: String]
  /// Those of `volumeClaimTemplates` included.
  public var volumes: [WorkflowVolume]
  public var federation: FederationBlock?
  /// When outputs go from the repository that do not say so themselves (`artifactGC`); nil: those whose keys were made for the workflow
  /// go when it is deleted.
  public var collection: ArtifactGCStrategy?
  /// Locks of the whole workflow.
  public var synchronization: Synchronization?
  /// Of its waiting for locks, among those of its project: the greatest comes first.
  public var priority: Int64
  /// For what containers leave open of their own resources.
  public var podResources = ResourceRequirements()
  /// Ends before it begins.
  public var shutdown: Shutdown?
  /// nil: it stays until somebody deletes it.
  public var ttl: TTLStrategy?
  /// Labels that are made when the workflow is submitted: expr-lang by the label's key.
  public var labelsFrom: [String: String] = [:]
  /// What only Kubernetes can obey, of all tasks. Texts may hold tags.
  public var pod = PodSettings()
  /// Told by `workflow.serviceAccountName`; for Kubernetes see `pod`.
  public var serviceAccountName = "default"
  /// `volumeClaimGC`: volumes of its own go with its end even if it failed.
  public var claimsGoWithFailure = false
  /// YAML or JSON; see `PodPatch`. May hold tags.
  public var podSpecPatch: String?
  /// Fields that have no effect here and may have one on Kubernetes, with the reasons.
  public var warnings: [String] = []

  public init(
    entrypoint: String, arguments: WorkflowArguments = WorkflowArguments(), templates: [WorkflowTemplate] = [],
    onExit: ExitHook? = nil, parallelism: Int? = nil, activeDeadlineSeconds: Int64? = nil, suspend: Bool = false,
    retryStrategy: RetryStrategy? = nil, nodeSelector: [String: String] = [:], volumes: [WorkflowVolume] = [],
    federation: FederationBlock? = nil, collection: ArtifactGCStrategy? = nil, hooks: [LifecycleHook] = [],
    synchronization: Synchronization? = nil, priority: Int64 = 0
  ) {
    self.hooks = hooks
    self.synchronization = synchronization
    self.priority = priority
    self.collection = collection
    self.entrypoint = entrypoint
    self.arguments = arguments
    self.templates = templates
    self.onExit = onExit
    self.parallelism = parallelism
    self.activeDeadlineSeconds = activeDeadlineSeconds
    self.suspend = suspend
    self.retryStrategy = retryStrategy
    self.nodeSelector = nodeSelector
    self.volumes = volumes
    self.federation = federation
  }
}

/// How long a workflow is kept once it is over, in seconds, by its outcome.
public struct TTLStrategy: Hashable, Sendable, Codable {
  /// Where the outcome's own is nil.
  public var secondsAfterCompletion: Int64?
  public var secondsAfterSuccess: Int64?
  public var secondsAfterFailure: Int64?
  public init(
    secondsAfterCompletion: Int64? = nil, secondsAfterSuccess: Int64? = nil, secondsAfterFailure: Int64? = nil
  ) {
    self.secondsAfterCompletion = secondsAfterCompletion
    self.secondsAfterSuccess = secondsAfterSuccess
    self.secondsAfterFailure = secondsAfterFailure
  }

  /// nil: for ever.
  func seconds(after phase: NodePhase) -> Int64? {
    (phase == .succeeded ? secondsAfterSuccess : secondsAfterFailure) ?? secondsAfterCompletion
  }
}

/// A template to run beside a workflow, step or task, once, as soon as its condition holds while that exists.
public struct LifecycleHook: Hashable, Sendable, Codable {
  /// Its key in `hooks`; never `exit`, which is an `ExitHook` alone.
  public var name: String
  /// With an expression.
  public var hook: ExitHook
  public init(name: String, hook: ExitHook) {
    self.name = name
    self.hook = hook
  }
}

/// A template to run when a workflow, template, step or task has ended.
public struct ExitHook: Hashable, Sendable, Codable {
  public var template: String
  public var arguments: WorkflowArguments
  /// An expr-lang condition; nil runs the hook always.
  public var expression: String?
  public init(template: String, arguments: WorkflowArguments = WorkflowArguments(), expression: String? = nil) {
    self.template = template
    self.arguments = arguments
    self.expression = expression
  }
}
