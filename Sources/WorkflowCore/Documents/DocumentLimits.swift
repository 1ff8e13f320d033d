/// What a document may cost before anybody looks at what it means.
///
/// The first value that passes a bound ends the reading, so a hostile document costs time in proportion to the bound,
/// not to
/// what it would have become.
public struct DocumentLimits: Hashable, Sendable {
  /// Of the source.
  public var bytes: Int
  /// Lists and maps inside each other.
  public var depth: Int
  /// Scalars, lists and maps, aliases expanded.
  public var nodes: Int
  /// Bytes of all scalars and keys, aliases expanded.
  public var expandedBytes: Int

  public init(bytes: Int, depth: Int, nodes: Int, expandedBytes: Int) {
    self.bytes = bytes
    self.depth = depth
    self.nodes = nodes
    self.expandedBytes = expandedBytes
  }

  /// 2 MiB of source, 64 levels, 500,000 values, 8 MiB of text.
  public static let standard = DocumentLimits(bytes: 2 << 20, depth: 64, nodes: 500_000, expandedBytes: 8 << 20)

  /// For what was accepted once and is sent again: its canonical text may be longer than its source.
  public static let accepted = stored

  /// For what was accepted once and is read back: the canonical text may be longer than its source, because aliases are
  /// expanded and characters escaped.
  static let stored = DocumentLimits(bytes: 64 << 20, depth: 64, nodes: 600_000, expandedBytes: 64 << 20)
}

/// The running cost of a document that is being read, checked against its limits.
struct DocumentBudget {
  let limits: DocumentLimits
  private var nodes = 0
  private var bytes = 0

  init(limits: DocumentLimits) { self.limits = limits }

  mutating func spend(nodes count: Int, bytes size: Int, at mark: SourceMark) throws(DocumentErrors) {
    nodes += count
    bytes += size
    if nodes > limits.nodes {
      throw .syntax("the document has more than \(limits.nodes) values (aliases expanded)", at: mark)
    }
    if bytes > limits.expandedBytes {
      throw .syntax("the document has more than \(limits.expandedBytes) bytes of text (aliases expanded)", at: mark)
    }
  }

  /// NUL ends a text wherever a program meets it: half of an argument would be gone without a word.
  func checkText(_ text: String, at mark: SourceMark) throws(DocumentErrors) {
    if limits != .stored, text.utf8.contains(0) { throw .syntax("a text must not hold the character NUL", at: mark) }
  }

  func checkDepth(_ depth: Int, at mark: SourceMark) throws(DocumentErrors) {
    if depth > limits.depth {
      throw .syntax("lists and maps are nested deeper than \(limits.depth) levels", at: mark)
    }
  }
}

extension DocumentErrors {
  /// One problem of the document as a whole.
  static func syntax(_ message: String, at mark: SourceMark = .none) -> DocumentErrors {
    DocumentErrors(problems: [DocumentProblem(path: "", mark: mark, message: message)])
  }
}

extension DocumentProblem {
  init(path: String, mark: SourceMark, message: String, suggestion: String? = nil) {
    self.init(
      path: path, line: mark.line > 0 ? Int(mark.line) : nil, column: mark.line > 0 ? Int(mark.column) : nil,
      message: message, suggestion: suggestion)
  }
}
