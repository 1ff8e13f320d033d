/// From bytes to the trees of the documents that they hold.
enum DocumentSource {
  static let documentCountMax = 100

  /// - Throws: `DocumentErrors` when the bytes are no text of the format, or too many.
  static func trees(
    of bytes: [UInt8], format: DocumentFormat, limits: DocumentLimits
  ) throws(DocumentErrors) -> [DocumentNode] {
    guard bytes.count <= limits.bytes else {
      throw .syntax("the document is larger than \(limits.bytes) bytes")
    }
    if let position = firstInvalidByte(bytes) {
      throw .syntax("the document is not UTF-8 text: byte \(position + 1) does not belong to a character")
    }
    let source = bytes.starts(with: [0xef, 0xbb, 0xbf]) ? Array(bytes[3...]) : bytes
    let trees = try parse(source, format: format, limits: limits)
    guard trees.count <= documentCountMax else {
      throw .syntax("the text has more than \(documentCountMax) documents", at: trees[documentCountMax].mark)
    }
    return trees
  }

  /// The one document that there must be.
  static func only(of documents: [DocumentNode]) throws(DocumentErrors) -> DocumentNode {
    guard let first = documents.first else { throw .syntax("the document is empty") }
    guard documents.count > 1 else { return first }
    let found = documents.map { document in
      let kind = document["kind"]?.scalarText ?? document.kindName
      let name = document["metadata"].flatMap { $0["name"] ?? $0["generateName"] }?.scalarText
      return name.map { "\(kind) \($0)" } ?? kind
    }
    let shown = found.prefix(10).joined(separator: ", ") + (found.count > 10 ? ", ..." : "")
    throw .syntax(
      "exactly one document can be sent at a time here; found \(documents.count) documents: \(shown)",
      at: documents[1].mark)
  }

  /// - Throws: `DocumentErrors` when the document says no kind, or none of `kinds`.
  static func kind(of root: DocumentNode, among kinds: Set<ArgoKind>) throws(DocumentErrors) -> ArgoKind {
    guard case .mapping = root.value else {
      throw .syntax(
        "the document is \(root.kindName), not a map with apiVersion, kind, metadata and spec", at: root.mark)
    }
    let names = kinds.map(\.rawValue).sorted()
    guard let kind = root["kind"], let name = kind.scalarText else {
      throw DocumentErrors(problems: [
        DocumentProblem(
          path: "kind", mark: root.mark,
          message: "kind is missing: write kind: \(kinds.contains(.workflow) ? ArgoKind.workflow.rawValue : names[0])")
      ])
    }
    guard let known = ArgoKind(rawValue: name), kinds.contains(known) else {
      throw DocumentErrors(problems: [
        DocumentProblem(
          path: "kind", mark: kind.mark,
          message: "only documents of kind \(names.joined(separator: ", ")) are taken here, not \(name)",
          suggestion: NearestName.find(name, among: names))
      ])
    }
    return known
  }

  private static func parse(
    _ bytes: [UInt8], format: DocumentFormat, limits: DocumentLimits
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
          return try YAMLDocumentParser.parse(bytes, limits: limits, documentCountMax: documentCountMax + 1)
        } catch _ {
          throw error
        }
      }
    case .auto, .yaml:
      return try YAMLDocumentParser.parse(bytes, limits: limits, documentCountMax: documentCountMax + 1)
    }
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
