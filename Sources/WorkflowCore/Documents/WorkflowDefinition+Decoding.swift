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
  /// `limits.depth`.
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
    let root = try workflowNode(in: Array(bytes.prefix(limits.bytes + 1)), format: format, limits: limits)
    var reader = DocumentReader(isStrict: strict)
    let workflow = reader.readWorkflow(root)
    var validator = WorkflowValidator(workflow: workflow, root: root)
    validator.validate()
    let problems = reader.problems + validator.problems
    guard problems.isEmpty else {
      throw DocumentErrors.ordered(problems, omittedCount: reader.omittedCount + validator.omittedCount)
    }
    var text = ""
    text.reserveCapacity(bytes.count)
    root.writeCanonicalJSON(to: &text)
    return WorkflowDefinition(metadata: workflow.metadata, spec: workflow.spec, canonicalJSON: text)
  }

  /// Restores what `canonicalJSON` of an accepted document said. The text is trusted: references are not checked again.
  /// - Throws: `DocumentErrors` when the text is no such document.
  public init(json text: String) throws(DocumentErrors) {
    let root = try JSONDocumentParser.parse(Array(text.utf8), limits: .stored)
    var reader = DocumentReader(isStrict: false)
    let workflow = reader.readWorkflow(root)
    guard reader.problems.isEmpty else {
      throw DocumentErrors(problems: reader.problems, omittedCount: reader.omittedCount)
    }
    self.init(metadata: workflow.metadata, spec: workflow.spec, canonicalJSON: text)
  }

  // MARK: From bytes to one tree

  private static func workflowNode(
    in bytes: [UInt8], format: DocumentFormat, limits: DocumentLimits
  ) throws(DocumentErrors) -> DocumentNode {
    guard bytes.count <= limits.bytes else {
      throw .syntax("the document is larger than \(limits.bytes) bytes")
    }
    if let position = firstInvalidByte(bytes) {
      throw .syntax("the document is not UTF-8 text: byte \(position + 1) does not belong to a character")
    }
    let source = bytes.starts(with: [0xef, 0xbb, 0xbf]) ? Array(bytes[3...]) : bytes
    let documents = try trees(of: source, format: format, limits: limits)
    try checkCount(of: documents)
    let root = documents[0]
    guard case .mapping = root.value else {
      throw .syntax(
        "the document is \(root.kindName), not a map with apiVersion, kind, metadata and spec", at: root.mark)
    }
    guard let kind = root["kind"], let name = kind.scalarText else {
      throw DocumentErrors(problems: [
        DocumentProblem(path: "kind", mark: root.mark, message: "kind is missing: write kind: Workflow")
      ])
    }
    guard name == "Workflow" else {
      throw DocumentErrors(problems: [
        DocumentProblem(
          path: "kind", mark: kind.mark, message: "only documents of kind Workflow can be submitted, not \(name)",
          suggestion: NearestName.find(name, among: ["Workflow"]))
      ])
    }
    return root
  }

  private static let documentCountMax = 100

  private static func trees(
    of bytes: [UInt8], format: DocumentFormat, limits: DocumentLimits
  ) throws(DocumentErrors) -> [DocumentNode] {
    let first = bytes.first { ![0x20, 0x09, 0x0a, 0x0d].contains($0) }
    let beginsAsJSON = first == UInt8(ascii: "{")
    switch format {
    case .json: return [try JSONDocumentParser.parse(bytes, limits: limits)]
    case .auto where beginsAsJSON:
      do throws(DocumentErrors) {
        return [try JSONDocumentParser.parse(bytes, limits: limits)]
      } catch {
        // A YAML flow map begins like JSON. If it is no YAML either, the author meant JSON.
        do throws(DocumentErrors) {
          return try YAMLDocumentParser.parse(bytes, limits: limits, documentCountMax: documentCountMax)
        } catch _ {
          throw error
        }
      }
    case .auto, .yaml:
      return try YAMLDocumentParser.parse(bytes, limits: limits, documentCountMax: documentCountMax)
    }
  }

  private static func checkCount(of documents: [DocumentNode]) throws(DocumentErrors) {
    guard let first = documents.first else { throw .syntax("the document is empty") }
    guard documents.count > 1 else { return }
    let found = documents.map { document in
      let kind = document["kind"]?.scalarText ?? document.kindName
      let name = document["metadata"].flatMap { $0["name"] ?? $0["generateName"] }?.scalarText
      return name.map { "\(kind) \($0)" } ?? kind
    }
    let shown = found.prefix(10).joined(separator: ", ") + (found.count > 10 ? ", ..." : "")
    throw .syntax(
      "exactly one Workflow can be submitted at a time; found \(documents.count) documents: \(shown)",
      at: documents.count > 1 ? documents[1].mark : first.mark)
  }

  /// The offset of the first byte that breaks UTF-8; nil when all is well.
  private static func firstInvalidByte(_ bytes: [UInt8]) -> Int? {
    if String(validating: bytes, as: UTF8.self) != nil { return nil }
    var decoder = UTF8()
    var iterator = CountingIterator(bytes: bytes)
    while true {
      let start = iterator.position
      switch decoder.decode(&iterator) {
      case .scalarValue: continue
      case .emptyInput: return nil
      case .error: return start
      }
    }
  }

  private struct CountingIterator: IteratorProtocol {
    let bytes: [UInt8]
    var position = 0
    mutating func next() -> UInt8? {
      guard position < bytes.count else { return nil }
      defer { position += 1 }
      return bytes[position]
    }
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

extension WorkflowDefinition: Codable {
  public init(from decoder: any Decoder) throws {
    try self.init(json: decoder.singleValueContainer().decode(String.self))
  }

  /// As its canonical text.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(canonicalJSON)
  }
}
