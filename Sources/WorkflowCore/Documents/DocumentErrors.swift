/// Everything that is wrong with a document, in the document's order. Never empty.
public struct DocumentErrors: Error, Hashable, Sendable, Codable, CustomStringConvertible {
  public var problems: [DocumentProblem]
  /// Problems beyond `limit` that were found but are not listed.
  public var omittedCount: Int

  /// How many problems are listed at most: a person mends the first ones and sends the document again.
  public static let limit = 200

  public init(problems: [DocumentProblem], omittedCount: Int = 0) {
    self.problems = problems
    self.omittedCount = omittedCount
  }

  public var description: String {
    var lines = problems.map(\.description)
    if omittedCount > 0 { lines.append("... and \(omittedCount) more problems") }
    return lines.joined(separator: "\n")
  }
}

/// One thing that is wrong with a document.
public struct DocumentProblem: Hashable, Sendable, Codable, CustomStringConvertible {
  /// From the document's root: `spec.templates[2].dag.tasks[0].depends`. Empty for the document as a whole.
  public var path: String
  /// From 1; nil where the document gives no position.
  public var line: Int?
  /// From 1, in characters; nil where the document gives no position.
  public var column: Int?
  public var message: String
  /// What the author may have meant; nil when nothing is near.
  public var suggestion: String?

  public init(path: String, line: Int? = nil, column: Int? = nil, message: String, suggestion: String? = nil) {
    self.path = path
    self.line = line
    self.column = column
    self.message = message
    self.suggestion = suggestion
  }

  public var description: String {
    var text = ""
    if let line { text += column.map { "\(line):\($0): " } ?? "\(line): " }
    if !path.isEmpty { text += "\(path): " }
    text += message
    if let suggestion { text += "; did you mean \"\(suggestion)\"?" }
    return text
  }
}
