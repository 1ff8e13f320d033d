/// How a document is written.
public enum DocumentFormat: String, Sendable, CaseIterable {
  /// JSON when it begins with a brace and reads as JSON, else YAML.
  case auto
  case yaml
  case json
}

extension WorkflowDefinition {
  /// Reads and checks a document that a user sent.
  ///
  /// The document must hold exactly one `Workflow`. Everything that is wrong with it is found in one pass, up to
  /// `DocumentErrors.limit`, in the document's order. Time and memory are bounded by `limits`; no recursion goes
  /// deeper than
  /// `limits.depth`. What it says of templates of other documents is checked by `resolved(with:)`.
  /// - Parameters:
  ///   - format: `auto` looks at the first character.
  ///   - strict: When false, fields that Argo does not know are kept without effect. Fields that Argo knows and this
  /// version
  ///     cannot obey are refused either way.
  /// - Throws: `DocumentErrors` with every problem.
  public static func decode(
    _ bytes: some Collection<UInt8>, format: DocumentFormat = .auto, strict: Bool = true,
    limits: DocumentLimits = .standard
  ) throws(DocumentErrors) -> WorkflowDefinition {
    let roots = try DocumentSource.trees(of: Array(bytes.prefix(limits.bytes + 1)), format: format, limits: limits)
    let root = try DocumentSource.only(of: roots)
    _ = try DocumentSource.kind(of: root, among: [.workflow])
    return try read(root, strict: strict)
  }

  /// - Throws: `DocumentErrors` with every problem.
  static func read(_ root: DocumentNode, strict: Bool) throws(DocumentErrors) -> WorkflowDefinition {
    var root = root
    // What the system says of a workflow is not the author's to say.
    root.remove("status")
    var reader = DocumentReader(isStrict: strict)
    let workflow = reader.readWorkflow(root)
    try validate(workflow, reader, root)
    return WorkflowDefinition(
      metadata: workflow.metadata, spec: workflow.spec, canonicalJSON: root.canonicalJSON,
      references: reader.mentions, tree: reader.mentions.isEmpty ? nil : root)
  }

  /// - Throws: `DocumentErrors` with what the reader and the validator found.
  static func validate(
    _ workflow: DocumentReader.Workflow, _ reader: DocumentReader, _ root: DocumentNode, kind: ArgoKind = .workflow
  ) throws(DocumentErrors) {
    var validator = WorkflowValidator(workflow: workflow, root: root, kind: kind)
    validator.validate()
    let problems = reader.problems + validator.problems
    guard problems.isEmpty else {
      throw DocumentErrors.ordered(problems, omittedCount: reader.omittedCount + validator.omittedCount)
    }
  }

  /// Restores what `canonicalJSON` of an accepted document said. The text is trusted: references are not checked again.
  /// - Throws: `DocumentErrors` when the text is no such document.
  public init(json text: String) throws(DocumentErrors) {
    let root = try JSONDocumentParser.parse(Array(text.utf8), limits: .stored)
    try self.init(trusted: root, canonicalJSON: text, hasLines: false)
  }

  /// - Parameters:
  ///   - canonicalJSON: of `root`; nil: it is written.
  ///   - hasLines: whether the marks are those of a text that a user knows.
  init(
    trusted root: DocumentNode, canonicalJSON: String? = nil, hasLines: Bool = true
  ) throws(DocumentErrors) {
    var reader = DocumentReader(isStrict: false)
    reader.isTrusted = true
    let workflow = reader.readWorkflow(DocumentReader.effective(root))
    guard reader.problems.isEmpty else {
      throw DocumentErrors(problems: reader.problems, omittedCount: reader.omittedCount)
    }
    var mentions = root["status"] == nil ? reader.mentions : []
    if !hasLines { for index in mentions.indices { (mentions[index].line, mentions[index].column) = (nil, nil) } }
    self.init(
      metadata: workflow.metadata, spec: workflow.spec, canonicalJSON: canonicalJSON ?? root.canonicalJSON,
      references: mentions, tree: mentions.isEmpty ? nil : hasLines ? root : root.marked(.none))
  }
}

extension DocumentErrors {
  /// In the document's order, without repetitions, cut to `limit`.
  static func ordered(_ problems: [DocumentProblem], omittedCount: Int) -> DocumentErrors {
    var seen: Set<DocumentProblem> = []
    let unique = problems.filter { seen.insert($0).inserted }
    let sorted = unique.enumerated().sorted { a, b in
      (a.element.line ?? 0, a.element.column ?? 0, a.offset) < (b.element.line ?? 0, b.element.column ?? 0, b.offset)
    }.map(\.element)
    let dropped = max(0, sorted.count - limit)
    return DocumentErrors(problems: Array(sorted.prefix(limit)), omittedCount: omittedCount + dropped)
  }
}
