/// A `WorkflowTemplate` of a project, or a `ClusterWorkflowTemplate` of all of them.
public struct TemplateReference: Hashable, Sendable, Codable, Comparable, CustomStringConvertible {
  public var name: String
  /// `clusterScope`: whether it is a `ClusterWorkflowTemplate`.
  public var isClusterScope: Bool

  public init(name: String, isClusterScope: Bool = false) {
    self.name = name
    self.isClusterScope = isClusterScope
  }

  public var kind: ArgoKind { isClusterScope ? .clusterWorkflowTemplate : .workflowTemplate }

  public var description: String { "\(kind.rawValue) \(name)" }

  public static func < (a: Self, b: Self) -> Bool {
    (a.isClusterScope ? 1 : 0, a.name) < (b.isClusterScope ? 1 : 0, b.name)
  }
}

/// One mention of a template of another document.
public struct TemplateMention: Hashable, Sendable {
  public var reference: TemplateReference
  /// The template inside of it; nil for `workflowTemplateRef`, which takes the whole document.
  public var template: String?
  /// Of the mention, from the root of the document that a user sent.
  public var path: String
  /// From 1; nil where the document gives no position.
  public var line: Int?
  public var column: Int?
}

/// The names that templates have inside of one workflow.
///
/// A workflow's own templates keep theirs. A template of another document is called `namespaced/DOCUMENT/TEMPLATE` or
/// `cluster/DOCUMENT/TEMPLATE`, and names without a reference inside of it belong to its own document. An author's names hold no
/// slash, so that the two never meet.
/// - Source: Argo Workflows v3.7, `workflow_types.go`, `resolveTemplateReference`: the keys of `status.storedTemplates`.
public struct TemplateScope: Hashable, Sendable {
  /// nil: the workflow's own document.
  public var reference: TemplateReference?

  public static let local = TemplateScope(reference: nil)

  public init(reference: TemplateReference?) { self.reference = reference }

  /// As in Argo's `templateScope`, for the workflow called `workflow`.
  public func text(workflow: String) -> String {
    guard let reference else { return "local/\(workflow)" }
    return "\(reference.isClusterScope ? "cluster" : "namespaced")/\(reference.name)"
  }

  /// What the template that its own document calls `name` is called in the workflow.
  public func qualified(_ name: String) -> String {
    guard reference != nil, !name.isEmpty else { return name }
    return "\(text(workflow: ""))/\(name)"
  }

  /// Where a template belongs, and what it is called there.
  public static func split(_ qualified: String) -> (scope: TemplateScope, name: String) {
    let parts = qualified.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == "namespaced" || parts[0] == "cluster" else { return (.local, qualified) }
    let reference = TemplateReference(name: String(parts[1]), isClusterScope: parts[0] == "cluster")
    return (TemplateScope(reference: reference), String(parts[2]))
  }
}

/// Where templates of other documents are looked up while a workflow is resolved.
public protocol TemplateCatalogue {
  /// nil: there is none of that name.
  func template(_ reference: TemplateReference) -> WorkflowTemplateDefinition?
}

/// The templates that one workflow needs, fetched step by step by somebody who may wait for them.
///
/// ```swift
/// var templates = LoadedTemplates()
/// while case let missing = templates.missing(for: definition.references), !missing.isEmpty {
///   for reference in missing { templates.note(reference, try await store.template(reference)) }
/// }
/// let resolved = try definition.resolved(with: templates)
/// ```
public struct LoadedTemplates: TemplateCatalogue, Sendable {
  private var templates: [TemplateReference: WorkflowTemplateDefinition] = [:]
  private var absent: Set<TemplateReference> = []

  public init() {}

  public init(_ templates: [WorkflowTemplateDefinition]) {
    for template in templates { self.templates[template.reference] = template }
  }

  public func template(_ reference: TemplateReference) -> WorkflowTemplateDefinition? { templates[reference] }

  /// What a look-up found; nil: there is none of that name.
  public mutating func note(_ reference: TemplateReference, _ template: WorkflowTemplateDefinition?) {
    templates[reference] = template
    if template == nil { absent.insert(reference) } else { absent.remove(reference) }
  }

  /// The documents to look up next: those that `mentions` and the documents found so far speak of, and that were not looked up.
  /// Empty once `ResolutionLimits.documents` were found: the resolution then says that there are too many.
  public func missing(for mentions: [TemplateMention], limits: ResolutionLimits = .standard) -> [TemplateReference] {
    guard templates.count <= limits.documents else { return [] }
    var seen: Set<TemplateReference> = []
    var open = mentions.map(\.reference)
    var missing: [TemplateReference] = []
    while let next = open.popLast() {
      guard seen.insert(next).inserted, !absent.contains(next) else { continue }
      if let template = templates[next] {
        open += template.references.map(\.reference)
      } else {
        missing.append(next)
      }
    }
    return missing.sorted()
  }
}

/// What the templates of other documents that one workflow needs may cost.
public struct ResolutionLimits: Hashable, Sendable {
  /// Documents that are asked for templates.
  public var documents: Int
  /// Templates that are taken from them.
  public var templates: Int
  /// Bytes of those templates as canonical JSON.
  public var bytes: Int
  /// References behind each other.
  public var depth: Int

  public init(documents: Int, templates: Int, bytes: Int, depth: Int) {
    self.documents = documents
    self.templates = templates
    self.bytes = bytes
    self.depth = depth
  }

  /// 200 documents, 2,000 templates, 4 MiB; as deep as templates may call each other.
  public static let standard = ResolutionLimits(
    documents: 200, templates: 2_000, bytes: 4 << 20, depth: WorkflowMachine.depthLimit)
}
