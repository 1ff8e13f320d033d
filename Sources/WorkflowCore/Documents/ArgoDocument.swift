/// A document of any kind that is read here.
public enum ArgoDocument: Hashable, Sendable {
  case workflow(WorkflowDefinition)
  /// A `WorkflowTemplate` or a `ClusterWorkflowTemplate`.
  case template(WorkflowTemplateDefinition)
  case cronWorkflow(CronWorkflowDefinition)

  public var kind: ArgoKind {
    switch self {
    case .workflow: .workflow
    case .template(let template): template.reference.kind
    case .cronWorkflow: .cronWorkflow
    }
  }

  public var metadata: WorkflowMetadata {
    switch self {
    case .workflow(let definition): definition.metadata
    case .template(let definition): definition.metadata
    case .cronWorkflow(let definition): definition.metadata
    }
  }

  /// The whole document as compact JSON with sorted keys, without `status`.
  public var canonicalJSON: String {
    switch self {
    case .workflow(let definition): definition.canonicalJSON
    case .template(let definition): definition.canonicalJSON
    case .cronWorkflow(let definition): definition.canonicalJSON
    }
  }

  /// The mentions of templates of other documents, in the document's order.
  public var references: [TemplateMention] {
    switch self {
    case .workflow(let definition): definition.references
    case .template(let definition): definition.references
    case .cronWorkflow(let definition): definition.references
    }
  }

  /// Reads and checks every document of a text that a user sent: one of JSON, or a stream of YAML documents.
  ///
  /// Lines count through the whole text. Templates of other documents are not looked up: that is done where a workflow is
  /// submitted (`WorkflowDefinition.resolved(with:)`) or a template is stored (`WorkflowTemplateDefinition.check(with:)`).
  /// - Parameters:
  ///   - strict: When false, fields that Argo does not know are kept without effect.
  ///   - kinds: Those that may be there.
  /// - Throws: `DocumentErrors` with the problems of all documents.
  public static func decodeAll(
    _ bytes: some Collection<UInt8>, format: DocumentFormat = .auto, strict: Bool = true,
    kinds: Set<ArgoKind> = Set(ArgoKind.allCases), limits: DocumentLimits = .standard
  ) throws(DocumentErrors) -> [ArgoDocument] {
    let roots = try DocumentSource.trees(of: Array(bytes.prefix(limits.bytes + 1)), format: format, limits: limits)
    guard !roots.isEmpty else { throw .syntax("the document is empty") }
    var documents: [ArgoDocument] = []
    var problems: [DocumentProblem] = []
    var omittedCount = 0
    for root in roots {
      do throws(DocumentErrors) {
        documents.append(try decode(root, strict: strict, kinds: kinds))
      } catch {
        problems += error.problems
        omittedCount += error.omittedCount
      }
    }
    guard problems.isEmpty else { throw DocumentErrors.ordered(problems, omittedCount: omittedCount) }
    return documents
  }

  /// Reads and checks a text that holds exactly one document.
  /// - Throws: `DocumentErrors` with every problem.
  public static func decode(
    _ bytes: some Collection<UInt8>, format: DocumentFormat = .auto, strict: Bool = true,
    kinds: Set<ArgoKind> = Set(ArgoKind.allCases), limits: DocumentLimits = .standard
  ) throws(DocumentErrors) -> ArgoDocument {
    let roots = try DocumentSource.trees(of: Array(bytes.prefix(limits.bytes + 1)), format: format, limits: limits)
    return try decode(try DocumentSource.only(of: roots), strict: strict, kinds: kinds)
  }

  private static func decode(
    _ root: DocumentNode, strict: Bool, kinds: Set<ArgoKind>
  ) throws(DocumentErrors) -> ArgoDocument {
    switch try DocumentSource.kind(of: root, among: kinds) {
    case .workflow: .workflow(try WorkflowDefinition.read(root, strict: strict))
    case .workflowTemplate, .clusterWorkflowTemplate:
      .template(try WorkflowTemplateDefinition.read(root, strict: strict))
    case .cronWorkflow: .cronWorkflow(try CronWorkflowDefinition.read(root, strict: strict))
    }
  }
}
