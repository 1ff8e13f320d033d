import FederationModel

/// Turns a document's tree into values, noting every problem on its way instead of stopping at the first.
///
/// Each `read...` method of its extensions understands one kind of object and answers with the best value that it can
/// make, so
/// that what follows can still be checked. A document with problems is never used.
struct DocumentReader {
  /// Whether unknown fields are problems.
  let isStrict: Bool
  private(set) var problems: [DocumentProblem] = []
  private(set) var omittedCount = 0
  /// What is kept without effect where that may make a difference: the field and why.
  private(set) var warnings: [String] = []
  /// A stored document is read: what an earlier release has accepted is not refused any more.
  var isTrusted = false
  var path = DocumentPath()
  /// Of the templates that are being read.
  var scope = TemplateScope.local
  /// Templates of other documents that were spoken of; within another document's scope, those of its own, too.
  private(set) var mentions: [TemplateMention] = []
  /// Lifted `inline` templates with their places.
  var inlineTemplates: [(template: WorkflowTemplate, path: DocumentPath)] = []
  /// Whether a bucket without a key means all that is in it.
  var takesWholeBuckets = false

  init(isStrict: Bool) { self.isStrict = isStrict }

  /// How many problems were found, listed or not.
  var problemCount: Int { problems.count + omittedCount }

  // MARK: Problems

  mutating func report(_ message: String, at mark: SourceMark, suggestion: @autoclosure () -> String? = nil) {
    report(message, path: path, mark: mark, suggestion: suggestion())
  }

  mutating func report(
    _ message: String, path: DocumentPath, mark: SourceMark, suggestion: @autoclosure () -> String? = nil
  ) {
    guard problems.count < DocumentErrors.limit else {
      omittedCount += 1
      return
    }
    problems.append(DocumentProblem(path: path.description, mark: mark, message: message, suggestion: suggestion()))
  }

  /// The field at the path has no effect, or none on some clusters.
  mutating func warn(_ reason: String, scope: String = " has no effect: ") {
    guard warnings.count < DocumentErrors.limit else { return }
    warnings.append(path.description + scope + reason)
  }

  static let elsewhere = " has an effect on Kubernetes clusters alone: "

  mutating func mention(_ reference: TemplateReference, template: String?, at mark: SourceMark) {
    mentions.append(
      TemplateMention(
        reference: reference, template: template, path: path.description, line: mark.line > 0 ? Int(mark.line) : nil,
        column: mark.line > 0 ? Int(mark.column) : nil))
  }

  /// Runs `body` one step further down the path.
  mutating func at<Value>(_ key: String, _ body: (inout DocumentReader) -> Value) -> Value {
    path.components.append(.key(key))
    defer { path.components.removeLast() }
    return body(&self)
  }

  // MARK: Collections

  /// Visits the members of a map that are honoured; reports what is not a map and the fields that it must not have.
  mutating func fields(
    of node: DocumentNode, _ table: FieldTable, _ visit: (inout DocumentReader, String, DocumentNode) -> Void
  ) {
    guard case .mapping(let members) = node.value else {
      if !node.isNull { report("must be a map, not \(node.kindName)", at: node.mark) }
      return
    }
    for member in members {
      path.components.append(.key(member.key))
      defer { path.components.removeLast() }
      if table.honoured.contains(member.key) {
        visit(&self, member.key, member.value)
      } else if let reason = table.pods[member.key] {
        if !member.value.isNull, !member.value.isEmptyList { warn(reason, scope: Self.elsewhere) }
        visit(&self, member.key, member.value)
      } else if let reason = table.noted[member.key] {
        if !member.value.isNull, !member.value.isEmptyList { warn(reason) }
      } else if let reason = table.refused[member.key] {
        // Typed clients send lists of nothing where nothing was asked for.
        if !member.value.isNull, !member.value.isEmptyList, !isTrusted { report(reason, at: member.keyMark) }
      } else if let name = table.aliases[member.key] {
        visit(&self, name, member.value)
      } else if let reason = table.whyUnknownIsKept, !table.accepted.contains(member.key) {
        warn(reason + (table.nearest(to: member.key).map { "; did you mean \($0)?" } ?? ""))
      } else if isStrict, !table.accepted.contains(member.key) {
        report("unknown field", at: member.keyMark, suggestion: table.nearest(to: member.key))
      }
    }
  }

  /// One value for each item of a list; an absent list has none.
  mutating func list<Value>(
    _ node: DocumentNode, _ read: (inout DocumentReader, DocumentNode) -> Value?
  ) -> [Value] {
    guard case .sequence(let items) = node.value else {
      if !node.isNull { report("must be a list, not \(node.kindName)", at: node.mark) }
      return []
    }
    var values: [Value] = []
    values.reserveCapacity(items.count)
    for (index, item) in items.enumerated() {
      path.components.append(.index(index))
      if let value = read(&self, item) { values.append(value) }
      path.components.removeLast()
    }
    return values
  }

  mutating func texts(_ node: DocumentNode) -> [String] {
    list(node) { reader, item in reader.text(item) }
  }

  /// A map from any names to texts: labels, quantities.
  mutating func textMap(_ node: DocumentNode) -> [String: String] {
    guard case .mapping(let members) = node.value else {
      if !node.isNull { report("must be a map, not \(node.kindName)", at: node.mark) }
      return [:]
    }
    var map: [String: String] = [:]
    for member in members { map[member.key] = at(member.key) { $0.text(member.value) } ?? "" }
    return map
  }

  // MARK: Scalars

  /// A text; a number or boolean counts as its text. nil, reported unless null, for anything else.
  mutating func text(_ node: DocumentNode) -> String? {
    if let text = node.scalarText { return text }
    if !node.isNull { report("must be a text, not \(node.kindName)", at: node.mark) }
    return nil
  }

  mutating func bool(_ node: DocumentNode) -> Bool? {
    switch node.value {
    case .bool(let value): return value
    case .string("true"): return true
    case .string("false"): return false
    case .null: return nil
    default:
      report("must be true or false", at: node.mark)
      return nil
    }
  }

  /// A whole number in `range`.
  mutating func integer(_ node: DocumentNode, in range: ClosedRange<Int64>) -> Int64? {
    if node.isNull { return nil }
    guard case .number(let text) = node.value, let value = Int64(text) else {
      report("must be a whole number, not \(node.kindName)", at: node.mark)
      return nil
    }
    guard range.contains(value) else {
      report("must be between \(range.lowerBound) and \(range.upperBound), not \(value)", at: node.mark)
      return nil
    }
    return value
  }

  /// A whole number as a number or a text; a text with tags is checked when they are replaced.
  mutating func integerText(_ node: DocumentNode, in range: ClosedRange<Int64>) -> String? {
    guard let text = text(node) else { return nil }
    if text.contains("{{") { return text }
    guard let value = Int64(text) else {
      report("must be a whole number, not \"\(text)\"", at: node.mark)
      return nil
    }
    guard range.contains(value) else {
      report("must be between \(range.lowerBound) and \(range.upperBound), not \(value)", at: node.mark)
      return nil
    }
    return text
  }

  /// A duration as Argo takes it; one with tags is checked when they are replaced.
  mutating func durationText(_ node: DocumentNode) -> String? {
    guard let text = text(node) else { return nil }
    if !text.contains("{{"), GoDuration.parse(text) == nil {
      report("must be a duration like 30, 30s or 1h30m, not \"\(text)\"", at: node.mark)
    }
    return text
  }

  /// One of the names of `Value`.
  mutating func choice<Value: RawRepresentable & CaseIterable>(_ node: DocumentNode) -> Value?
  where Value.RawValue == String {
    guard let text = text(node) else { return nil }
    if let value = Value(rawValue: text) { return value }
    let names = Value.allCases.map(\.rawValue)
    report(
      "must be one of \(names.joined(separator: ", ")), not \"\(text)\"", at: node.mark,
      suggestion: NearestName.find(text, among: names))
    return nil
  }

  mutating func absolutePath(_ node: DocumentNode) -> String? {
    guard let text = text(node), !text.isEmpty else { return nil }
    if !text.hasPrefix("/"), !text.hasPrefix("{{") {
      report("must be an absolute path, not \"\(text)\"", at: node.mark)
    } else if text.utf8.contains(0) || text.split(separator: "/").contains("..") {
      report("must not contain \"..\" or a NUL character", at: node.mark)
    }
    return text
  }
}
