public import FederationModel

/// An accepted `CronWorkflow`: what runs, and when.
public struct CronWorkflowDefinition: CanonicalDocument {
  public let metadata: WorkflowMetadata
  public let spec: CronWorkflowSpec
  /// The whole document as compact JSON with sorted keys, without `status`.
  public let canonicalJSON: String
  /// The mentions of templates of other documents, in the document's order.
  public let references: [TemplateMention]
  private let tree: DocumentNode

  private init(_ cron: DocumentReader.CronWorkflow, _ root: DocumentNode, _ reader: DocumentReader, json: String?) {
    metadata = cron.metadata
    spec = cron.spec
    canonicalJSON = json ?? root.canonicalJSON
    references = reader.mentions
    tree = root
  }

  /// Reads and checks a document that a user sent.
  /// - Throws: `DocumentErrors` with every problem.
  static func read(_ root: DocumentNode, strict: Bool) throws(DocumentErrors) -> CronWorkflowDefinition {
    var root = root
    root.remove("status")
    var reader = DocumentReader(isStrict: strict)
    let cron = reader.readCronWorkflow(root)
    try WorkflowDefinition.validate(cron.workflow, reader, root, kind: .cronWorkflow)
    return CronWorkflowDefinition(cron, root, reader, json: nil)
  }

  /// Restores what `canonicalJSON` of an accepted document said.
  /// - Throws: `DocumentErrors` when the text is no such document.
  public init(json text: String) throws(DocumentErrors) {
    let root = try JSONDocumentParser.parse(Array(text.utf8), limits: .stored)
    _ = try DocumentSource.kind(of: root, among: [.cronWorkflow])
    var reader = DocumentReader(isStrict: false)
    reader.isTrusted = true
    let cron = reader.readCronWorkflow(root)
    guard reader.problems.isEmpty else {
      throw DocumentErrors(problems: reader.problems, omittedCount: reader.omittedCount)
    }
    self.init(cron, root, reader, json: text)
  }

  /// The same document under a name that was made of its `generateName`.
  public func named(_ name: String) throws(DocumentErrors) -> CronWorkflowDefinition {
    var root = tree
    root.setMetadata("name", to: name)
    return try CronWorkflowDefinition(json: root.canonicalJSON)
  }

  /// The same document, suspended or resumed.
  public func suspended(_ isSuspended: Bool) throws(DocumentErrors) -> CronWorkflowDefinition {
    var root = tree
    root.update(["spec"]) { $0.set("suspend", to: DocumentNode(.bool(isSuspended))) }
    return try CronWorkflowDefinition(json: root.canonicalJSON)
  }

  /// Checks what its workflow says of templates of other documents.
  /// - Throws: `DocumentErrors` for those that are missing, and for what does not fit them.
  public func check(
    with catalogue: some TemplateCatalogue, limits: ResolutionLimits = .standard
  ) throws(DocumentErrors) {
    if references.isEmpty { return }
    var resolution = TemplateResolution(catalogue: catalogue, limits: limits)
    _ = try resolution.resolve(tree, kind: .cronWorkflow, mentions: references)
  }

  /// The workflow of one scheduled time. It is not resolved yet (`WorkflowDefinition.resolved(with:)`).
  ///
  /// - Parameters:
  ///   - name: of the workflow; nil takes `<name of this>-` as the prefix of a generated one, as Argo does for a run by hand.
  ///   - scheduledAt: goes into the annotation that `workflow.scheduledTime` reads.
  /// - Source: Argo Workflows v3.7, `workflow/common/convert.go`.
  public func workflow(name: String?, scheduledAt: Timestamp) throws(DocumentErrors) -> WorkflowDefinition {
    let own = metadata.name ?? ""
    var labels = metadata.labels.filter { Self.inheritedLabels.contains($0.key) }
    labels[Self.label] = own
    labels.merge(spec.workflowLabels) { $1 }
    var annotations = [Self.scheduledTimeAnnotation: RFC3339.format(scheduledAt)]
    annotations.merge(spec.workflowAnnotations) { $1 }
    var fields: [DocumentNode.Member] = [
      .init("labels", .mapping(labels.sorted { $0.key < $1.key }.map { .init($0.key, .string($0.value)) })),
      .init("annotations", .mapping(annotations.sorted { $0.key < $1.key }.map { .init($0.key, .string($0.value)) })),
    ]
    fields.append(name.map { .init("name", .string($0)) } ?? .init("generateName", .string(own + "-")))
    let root = DocumentNode(
      .mapping([
        .init("apiVersion", .string(DocumentReader.apiVersion)), .init("kind", .string(ArgoKind.workflow.rawValue)),
        .init("metadata", .mapping(fields)),
        .init("spec", tree["spec"]?["workflowSpec"]?.value ?? .mapping([])),
      ]))
    return try WorkflowDefinition(trusted: root)
  }

  /// On every workflow of a schedule: the schedule's name.
  public static let label = "workflows.argoproj.io/cron-workflow"
  /// On every workflow of a schedule: the time it was scheduled for.
  public static let scheduledTimeAnnotation = "workflows.argoproj.io/scheduled-time"
  private static let inheritedLabels: Set<String> = [
    "workflows.argoproj.io/creator", "workflows.argoproj.io/creator-email",
    "workflows.argoproj.io/creator-preferred-username", "workflows.argoproj.io/controller-instanceid",
  ]
}

extension DocumentNode.Member {
  init(_ key: String, _ value: DocumentNode.Value) {
    self.init(key: key, keyMark: .none, value: DocumentNode(value))
  }
}

/// `spec` of a `CronWorkflow`.
/// - Source: Argo Workflows v3.7, `cron_workflow_types.go`.
public struct CronWorkflowSpec: Hashable, Sendable {
  /// What happens when a time comes while an earlier run goes on.
  public enum ConcurrencyPolicy: String, Hashable, Sendable, Codable, CaseIterable {
    case allow = "Allow"
    case forbid = "Forbid"
    /// The earlier runs are terminated.
    case replace = "Replace"
  }

  /// Cron expressions as written, `schedule` first; at least one.
  public var schedules: [String] = []
  /// IANA name; nil: UTC.
  public var timezone: String?
  public var concurrencyPolicy: ConcurrencyPolicy = .allow
  /// How late a missed run may still start; nil: it is not made up for.
  public var startingDeadlineSeconds: Int64?
  /// Finished runs that are kept, by outcome.
  public var successfulJobsHistoryLimit: Int = 3
  public var failedJobsHistoryLimit: Int = 1
  public var isSuspended = false
  /// expr-lang; a time at which it is not true is passed over.
  public var when: String?
  /// `stopStrategy.expression`, expr-lang: nothing is scheduled any more once it is true.
  public var stopExpression: String?
  /// `workflowMetadata`, for the workflows that it makes.
  public var workflowLabels: [String: String] = [:]
  public var workflowAnnotations: [String: String] = [:]
  /// `workflowSpec`; when it takes a template whole, that template is not in it.
  public var workflow = WorkflowSpec(entrypoint: "")

  public init() {}
}
