import FederationModel

/// An accepted `WorkflowTemplate` or `ClusterWorkflowTemplate`: a spec that workflows take whole, or templates from.
public struct WorkflowTemplateDefinition: CanonicalDocument {
  public let metadata: WorkflowMetadata
  /// Its name and its kind.
  public let reference: TemplateReference
  /// `entrypoint` may be empty, and arguments may have no value: whoever makes a workflow of it gives them.
  public let spec: WorkflowSpec
  /// The whole document as compact JSON with sorted keys, without `status`.
  public let canonicalJSON: String
  /// The mentions of templates of other documents, in the document's order.
  public let references: [TemplateMention]
  let tree: DocumentNode

  private init(_ workflow: DocumentReader.Workflow, _ root: DocumentNode, _ reader: DocumentReader, json: String?) {
    metadata = workflow.metadata
    reference = TemplateReference(
      name: workflow.metadata.name ?? "",
      isClusterScope: root["kind"]?.scalarText == ArgoKind.clusterWorkflowTemplate.rawValue)
    spec = workflow.spec
    canonicalJSON = json ?? root.canonicalJSON
    references = reader.mentions
    tree = root
  }

  /// Reads and checks a document that a user sent. One may have `generateName` instead of a name; whoever stores it gives it one.
  /// - Throws: `DocumentErrors` with every problem.
  static func read(_ root: DocumentNode, strict: Bool) throws(DocumentErrors) -> WorkflowTemplateDefinition {
    var root = root
    root.remove("status")
    var reader = DocumentReader(isStrict: strict)
    let workflow = reader.readWorkflow(root)
    let kind = root["kind"]?.scalarText.flatMap(ArgoKind.init) ?? .workflowTemplate
    try WorkflowDefinition.validate(workflow, reader, root, kind: kind)
    return WorkflowTemplateDefinition(workflow, root, reader, json: nil)
  }

  /// Restores what `canonicalJSON` of an accepted document said.
  /// - Throws: `DocumentErrors` when the text is no such document.
  public init(json text: String) throws(DocumentErrors) {
    let root = try JSONDocumentParser.parse(Array(text.utf8), limits: .stored)
    _ = try DocumentSource.kind(of: root, among: [.workflowTemplate, .clusterWorkflowTemplate])
    var reader = DocumentReader(isStrict: false)
    reader.isTrusted = true
    let workflow = reader.readWorkflow(root)
    guard reader.problems.isEmpty else {
      throw DocumentErrors(problems: reader.problems, omittedCount: reader.omittedCount)
    }
    self.init(workflow, root, reader, json: text)
  }

  /// The same document under a name that was made of its `generateName`.
  public func named(_ name: String) throws(DocumentErrors) -> WorkflowTemplateDefinition {
    var root = tree
    root.setMetadata("name", to: name)
    return try WorkflowTemplateDefinition(json: root.canonicalJSON)
  }

  /// Checks what it says of templates of other documents, its own included.
  /// - Throws: `DocumentErrors` for those that are missing, and for what does not fit them.
  public func check(
    with catalogue: some TemplateCatalogue, limits: ResolutionLimits = .standard
  ) throws(DocumentErrors) {
    if references.isEmpty { return }
    var resolution = TemplateResolution(catalogue: catalogue, limits: limits)
    _ = try resolution.resolve(tree, kind: reference.kind, mentions: references)
  }

  /// A workflow that takes this template whole, as `submit --from` makes it: with a generated name and Argo's label.
  ///
  /// Its arguments and entrypoint are those of the template until they are given (`withArguments`, `withEntrypoint`).
  /// - Source: Argo Workflows v3.7, `workflow/common/convert.go`, `NewWorkflowFromWorkflowTemplate`.
  public func workflow() throws(DocumentErrors) -> WorkflowDefinition {
    var spec: [String: JSONValue] = ["name": .string(reference.name)]
    if reference.isClusterScope { spec["clusterScope"] = true }
    let label = reference.isClusterScope ? "cluster-workflow-template" : "workflow-template"
    let document: JSONValue = [
      "apiVersion": .string(DocumentReader.apiVersion), "kind": .string(ArgoKind.workflow.rawValue),
      "metadata": [
        "generateName": .string(reference.name + "-"),
        "labels": .object(["workflows.argoproj.io/\(label)": .string(reference.name)]),
      ],
      "spec": ["workflowTemplateRef": .object(spec)],
    ]
    return try WorkflowDefinition(json: document.description)
  }
}

extension DocumentNode {
  /// Sets a field of `metadata`, which is made where there is none.
  mutating func setMetadata(_ key: String, to text: String) {
    var metadata = self["metadata"] ?? DocumentNode(.mapping([]))
    metadata.set(key, to: DocumentNode(.string(text)))
    set("metadata", to: metadata)
  }
}
