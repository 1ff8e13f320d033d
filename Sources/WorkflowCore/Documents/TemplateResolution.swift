/// Puts the templates of other documents into the document that speaks of them.
///
/// It is a pure step between a document that was accepted and a workflow that runs: everything that the workflow will ever need of other
/// documents is copied, so that a later change of these never touches it.
struct TemplateResolution<Catalogue: TemplateCatalogue> {
  let catalogue: Catalogue
  let limits: ResolutionLimits
  /// By qualified name.
  private var stored: [String: DocumentNode] = [:]
  /// `documents[d]`: the templates of d by their names in it.
  private var documents: [TemplateReference: [String: DocumentNode]] = [:]
  private var bytes = 0
  private var problems: [DocumentProblem] = []

  init(catalogue: Catalogue, limits: ResolutionLimits) {
    self.catalogue = catalogue
    self.limits = limits
  }

  /// A mention that has not been looked up.
  private struct Open {
    var mention: TemplateMention
    var depth: Int
  }

  struct Result {
    var workflow: DocumentReader.Workflow
    /// What the author wrote, with `status`.
    var root: DocumentNode
  }

  /// - Throws: `DocumentErrors` for what is missing, does not fit, or is too much.
  mutating func resolve(
    _ root: DocumentNode, kind: ArgoKind, mentions: [TemplateMention]
  ) throws(DocumentErrors) -> Result {
    var status: [DocumentNode.Member] = []
    var open = mentions.filter { $0.template != nil }.map { Open(mention: $0, depth: 1) }
    let specPath = kind == .cronWorkflow ? ["spec", "workflowSpec"] : ["spec"]
    var effective = root
    if let whole = mentions.first(where: { $0.template == nil }) {
      guard let definition = try definition(whole) else { throw DocumentErrors(problems: problems) }
      let own = specPath.reduce(root as DocumentNode?) { $0?[$1] } ?? DocumentNode(.mapping([]))
      let merged = SpecMerge.merge(own, over: (definition.tree["spec"] ?? DocumentNode(.mapping([]))).marked(.none))
      status.append(.init("storedWorkflowTemplateSpec", merged.value))
      effective.update(specPath[...]) { $0 = merged }
      open += definition.references.map { Open(mention: $0.from(whole), depth: 2) }
    }
    while let next = open.popLast() { open += try take(next) }
    guard problems.isEmpty else { throw DocumentErrors.ordered(problems, omittedCount: 0) }
    let templates = stored.sorted { $0.key < $1.key }.map { DocumentNode.Member($0.key, $0.value.value) }
    status.append(.init("storedTemplates", .mapping(templates)))
    effective.set("status", to: DocumentNode(.mapping([.init("storedTemplates", .mapping(templates))])))
    let workflow = try check(effective, kind: kind, mentions)
    var result = root
    result.set("status", to: DocumentNode(.mapping(status)))
    return Result(workflow: workflow, root: result)
  }

  // MARK: Looking up

  private mutating func definition(_ mention: TemplateMention) throws(DocumentErrors) -> WorkflowTemplateDefinition? {
    guard let definition = catalogue.template(mention.reference) else {
      report("there is no \(mention.reference)", mention)
      return nil
    }
    if documents[mention.reference] == nil {
      guard documents.count < limits.documents else {
        report("the workflow needs templates of more than \(limits.documents) documents", mention)
        throw DocumentErrors.ordered(problems, omittedCount: 0)
      }
      documents[mention.reference] = definition.templateNodes
    }
    return definition
  }

  /// Takes one template in; returns what it speaks of.
  private mutating func take(_ open: Open) throws(DocumentErrors) -> [Open] {
    let mention = open.mention
    guard let name = mention.template else { return [] }
    let scope = TemplateScope(reference: mention.reference)
    let key = scope.qualified(name)
    guard stored[key] == nil else { return [] }
    guard try definition(mention) != nil, let nodes = documents[mention.reference] else { return [] }
    guard let node = nodes[name] else {
      report(
        "\(mention.reference) has no template \"\(name)\"", mention,
        suggestion: NearestName.find(name, among: nodes.keys.sorted()))
      return []
    }
    var text = ""
    node.writeCanonicalJSON(to: &text)
    bytes += text.utf8.count
    let excess: String? =
      if stored.count >= limits.templates {
        "the workflow needs more than \(limits.templates) templates of other documents"
      } else if bytes > limits.bytes {
        "the templates of other documents have more than \(limits.bytes) bytes together"
      } else if open.depth > limits.depth {
        "templates of other documents are behind each other more than \(limits.depth) deep"
      } else {
        nil
      }
    if let excess {
      report(excess, mention)
      throw DocumentErrors.ordered(problems, omittedCount: 0)
    }
    stored[key] = node.marked(.none)
    var reader = DocumentReader(isStrict: false)
    reader.scope = scope
    reader.path = DocumentPath() / "status" / "storedTemplates" / key
    _ = reader.readTemplate(node)
    return reader.mentions.map { Open(mention: Self.named($0.from(mention)), depth: open.depth + 1) }
  }

  private mutating func report(_ message: String, _ mention: TemplateMention, suggestion: String? = nil) {
    problems.append(
      DocumentProblem(
        path: mention.path, line: mention.line, column: mention.column, message: message, suggestion: suggestion))
  }

  // MARK: Checking the whole

  private func check(
    _ root: DocumentNode, kind: ArgoKind, _ mentions: [TemplateMention]
  ) throws(DocumentErrors) -> DocumentReader.Workflow {
    var reader = DocumentReader(isStrict: false)
    var workflow: DocumentReader.Workflow
    if kind == .cronWorkflow {
      workflow = reader.readCronWorkflow(root).workflow
      reader.readStoredTemplates(root, into: &workflow)
    } else {
      workflow = reader.readWorkflow(root)
    }
    workflow.isOpen = false
    do throws(DocumentErrors) {
      try WorkflowDefinition.validate(workflow, reader, root, kind: kind)
    } catch {
      var errors = error
      let whole = mentions.first { $0.template == nil }
      errors.problems = errors.problems.map { Self.placed($0, whole) }
      throw errors
    }
    return workflow
  }

  /// Says in whose document a problem is.
  private static func placed(_ problem: DocumentProblem, _ whole: TemplateMention?) -> DocumentProblem {
    var problem = problem
    if problem.path.hasPrefix(storedPrefix) {
      problem.path = outside(problem.path)
    } else if let whole, problem.line == nil {
      problem.path = "\(whole.reference): \(problem.path)"
      (problem.line, problem.column) = (whole.line, whole.column)
    }
    return problem
  }

  private static var storedPrefix: String { "status.storedTemplates" }

  private static func named(_ mention: TemplateMention) -> TemplateMention {
    var mention = mention
    mention.path = outside(mention.path)
    return mention
  }

  /// `WorkflowTemplate tools: templates.say.container` for `status.storedTemplates.namespaced/tools/say.container`.
  private static func outside(_ path: String) -> String {
    guard path.hasPrefix(storedPrefix) else { return path }
    var rest = path.dropFirst(storedPrefix.count)
    let isQuoted = rest.hasPrefix("[\"")
    rest = rest.dropFirst(isQuoted ? 2 : 1)
    let parts = rest.split(separator: "/", maxSplits: 2)
    guard parts.count == 3 else { return path }
    let kind: ArgoKind = parts[0] == "cluster" ? .clusterWorkflowTemplate : .workflowTemplate
    let place = isQuoted ? parts[2].split(separator: "\"]", maxSplits: 1).joined() : String(parts[2])
    return "\(kind.rawValue) \(parts[1]): templates.\(place)"
  }
}

extension TemplateMention {
  /// Behind another one, which is where the author sees it.
  fileprivate func from(_ origin: TemplateMention) -> TemplateMention {
    var mention = self
    (mention.line, mention.column) = (origin.line, origin.column)
    return mention
  }
}

extension WorkflowTemplateDefinition {
  /// Its templates by their names in it.
  fileprivate var templateNodes: [String: DocumentNode] {
    guard case .sequence(let items)? = tree["spec"]?["templates"]?.value else { return [:] }
    return Dictionary(
      items.compactMap { item in item["name"]?.scalarText.map { ($0, item) } }, uniquingKeysWith: { first, _ in first })
  }
}

extension WorkflowDefinition {
  /// The same workflow with every template of other documents in it: what is submitted.
  ///
  /// With `workflowTemplateRef` the other document's spec is taken, and what this one says goes before it, field by field, as Argo
  /// merges the two. A template of another document keeps the names of its own: what it calls by a name alone belongs to its
  /// document, and `workflow.*` is the running workflow's.
  /// - Throws: `DocumentErrors` for what is missing, with the place of the mention, and for what does not fit together.
  /// - Source: Argo Workflows v3.7, `workflow/util/merge.go` and `workflow/templateresolution/context.go`.
  public func resolved(
    with catalogue: some TemplateCatalogue, limits: ResolutionLimits = .standard
  ) throws(DocumentErrors) -> WorkflowDefinition {
    if isResolved { return self }
    var resolution = TemplateResolution(catalogue: catalogue, limits: limits)
    let result = try resolution.resolve(try editable(), kind: .workflow, mentions: references)
    return WorkflowDefinition(
      metadata: result.workflow.metadata, spec: result.workflow.spec, canonicalJSON: result.root.canonicalJSON)
  }
}
