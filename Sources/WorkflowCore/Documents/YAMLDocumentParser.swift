import CYaml

/// Reads YAML with libyaml's event parser, so that every bound is checked while the document is read, never after.
struct YAMLDocumentParser {
  /// What an anchor stands for, and what each further mention of it costs.
  private struct Anchored {
    var node: DocumentNode
    var weight: Weight
  }

  private struct Weight {
    var nodes = 1
    var bytes = 0
    var height = 1
    mutating func add(_ child: Weight) {
      nodes += child.nodes
      bytes += child.bytes
      height = max(height, child.height + 1)
    }
  }

  /// A list or map that is still open.
  private struct Frame {
    var isMapping: Bool
    var items: [DocumentNode] = []
    var members: [DocumentNode.Member] = []
    var keys: Set<String> = []
    var key: (text: String, mark: SourceMark)?
    /// Maps to merge in (`<<`), once the explicit keys are known.
    var merged: [DocumentNode] = []
    var weight = Weight()
    var mark: SourceMark
    var anchor: String?
  }

  private var budget: DocumentBudget
  private var frames: [Frame] = []
  private var anchors: [String: Anchored] = [:]
  private var root: DocumentNode?
  private var documents: [DocumentNode] = []
  private let documentCountMax: Int

  /// The stream's documents, empty ones left out; reading ends after `documentCountMax`.
  static func parse(_ bytes: [UInt8], limits: DocumentLimits, documentCountMax: Int) throws(DocumentErrors)
    -> [DocumentNode]
  {
    var parser = YAMLDocumentParser(budget: DocumentBudget(limits: limits), documentCountMax: documentCountMax)
    try parser.run(bytes)
    return parser.documents
  }

  private init(budget: DocumentBudget, documentCountMax: Int) {
    self.budget = budget
    self.documentCountMax = documentCountMax
  }

  private mutating func run(_ bytes: [UInt8]) throws(DocumentErrors) {
    var libyaml = yaml_parser_t()
    guard yaml_parser_initialize(&libyaml) == 1 else { throw .syntax("there is no memory to read the document") }
    defer { yaml_parser_delete(&libyaml) }
    yaml_parser_set_encoding(&libyaml, YAML_UTF8_ENCODING)
    // libyaml keeps the pointer, so the whole reading happens inside; typed errors leave by the result.
    let failure = bytes.withUnsafeBufferPointer { buffer -> DocumentErrors? in
      yaml_parser_set_input_string(&libyaml, buffer.baseAddress, buffer.count)
      do throws(DocumentErrors) {
        try readEvents(from: &libyaml)
        return nil
      } catch {
        return error
      }
    }
    if let failure { throw failure }
  }

  private mutating func readEvents(from libyaml: inout yaml_parser_t) throws(DocumentErrors) {
    while true {
      var event = yaml_event_t()
      guard yaml_parser_parse(&libyaml, &event) == 1 else {
        throw Self.syntaxError(libyaml, depthLimit: budget.limits.depth)
      }
      defer { yaml_event_delete(&event) }
      if event.type == YAML_STREAM_END_EVENT { return }
      try take(event)
      if documents.count >= documentCountMax { return }
    }
  }

  private static func syntaxError(_ libyaml: yaml_parser_t, depthLimit: Int) -> DocumentErrors {
    let problem = libyaml.problem.map { String(cString: $0) } ?? "the text is no YAML"
    // libyaml has a bound of its own for what it must look ahead.
    if problem.contains("nesting level") {
      return .syntax("lists and maps are nested deeper than \(depthLimit) levels", at: mark(libyaml.problem_mark))
    }
    let context = libyaml.context.map { String(cString: $0) + ": " } ?? ""
    if libyaml.error == YAML_READER_ERROR { return .syntax("not readable as YAML: \(problem)") }
    return .syntax("not readable as YAML: \(context)\(problem)", at: mark(libyaml.problem_mark))
  }

  private static func mark(_ mark: yaml_mark_t) -> SourceMark {
    SourceMark(line: Int32(clamping: mark.line + 1), column: Int32(clamping: mark.column + 1))
  }

  private mutating func take(_ event: yaml_event_t) throws(DocumentErrors) {
    let mark = Self.mark(event.start_mark)
    switch event.type {
    case YAML_DOCUMENT_START_EVENT:
      root = nil
      anchors = [:]
    case YAML_DOCUMENT_END_EVENT:
      if let root, !root.isNull { documents.append(root) }
    case YAML_SCALAR_EVENT: try takeScalar(event, at: mark)
    case YAML_ALIAS_EVENT: try takeAlias(event, at: mark)
    case YAML_SEQUENCE_START_EVENT:
      let start = event.data.sequence_start
      try open(isMapping: false, anchor: start.anchor, tag: start.tag, at: mark)
    case YAML_MAPPING_START_EVENT:
      let start = event.data.mapping_start
      try open(isMapping: true, anchor: start.anchor, tag: start.tag, at: mark)
    case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT: try close()
    default: break
    }
  }

  // MARK: Values

  private static func text(_ pointer: UnsafeMutablePointer<yaml_char_t>?) -> String? {
    pointer.map { String(cString: $0) }
  }

  private mutating func takeScalar(_ event: yaml_event_t, at mark: SourceMark) throws(DocumentErrors) {
    let scalar = event.data.scalar
    let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: Int(scalar.length)), as: UTF8.self)
    let size = Int(scalar.length)
    try budget.spend(nodes: 1, bytes: size, at: mark)
    try budget.checkText(text, at: mark)
    let tag = Self.text(scalar.tag)
    let isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
    if tag == nil, isPlain, text == "<<", expectsKey {
      frames[frames.count - 1].key = (text: Self.mergeKey, mark: mark)
      return
    }
    var value = try resolve(text, tag: tag, isPlain: isPlain, at: mark)
    if tag == nil, isPlain, !DocumentNode(value).isNull, expectsName { value = .string(text) }
    let node = DocumentNode(value, mark: mark)
    let weight = Weight(bytes: size)
    if let anchor = Self.text(scalar.anchor) { anchors[anchor] = Anchored(node: node, weight: weight) }
    try add(node, weight: weight)
  }

  private func resolve(
    _ text: String, tag: String?, isPlain: Bool, at mark: SourceMark
  ) throws(DocumentErrors) -> DocumentNode.Value {
    switch tag {
    case nil where !isPlain, "!", "tag:yaml.org,2002:str": return .string(text)
    case nil, "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null":
      guard let value = YAMLScalar.resolve(plain: text) else {
        throw .syntax("\"\(text)\" is no number that JSON can hold; quote it if it is a text", at: mark)
      }
      return value
    default: throw .syntax("the tag \(tag ?? "") is not supported; write the value without it", at: mark)
    }
  }

  private mutating func takeAlias(_ event: yaml_event_t, at mark: SourceMark) throws(DocumentErrors) {
    let name = Self.text(event.data.alias.anchor) ?? ""
    guard let anchored = anchors[name] else {
      throw .syntax("the alias *\(name) names no anchor before it (an anchor cannot contain itself)", at: mark)
    }
    try budget.spend(nodes: anchored.weight.nodes, bytes: anchored.weight.bytes, at: mark)
    try budget.checkDepth(frames.count + anchored.weight.height - 1, at: mark)
    try add(anchored.node, weight: anchored.weight)
  }

  private mutating func open(
    isMapping: Bool, anchor: UnsafeMutablePointer<yaml_char_t>?, tag: UnsafeMutablePointer<yaml_char_t>?,
    at mark: SourceMark
  ) throws(DocumentErrors) {
    try budget.spend(nodes: 1, bytes: 0, at: mark)
    try budget.checkDepth(frames.count + 1, at: mark)
    if let tag = Self.text(tag), tag != "tag:yaml.org,2002:map", tag != "tag:yaml.org,2002:seq", tag != "!" {
      throw .syntax("the tag \(tag) is not supported; write the value without it", at: mark)
    }
    if expectsKey { throw .syntax("a list or a map cannot be a key", at: mark) }
    frames.append(Frame(isMapping: isMapping, mark: mark, anchor: Self.text(anchor)))
  }

  private mutating func close() throws(DocumentErrors) {
    guard var frame = frames.popLast() else { return }
    let node: DocumentNode
    if frame.isMapping {
      for source in frame.merged { Self.merge(source, into: &frame) }
      node = DocumentNode(.mapping(frame.members), mark: frame.mark)
    } else {
      node = DocumentNode(.sequence(frame.items), mark: frame.mark)
    }
    if let anchor = frame.anchor { anchors[anchor] = Anchored(node: node, weight: frame.weight) }
    try add(node, weight: frame.weight)
  }

  // MARK: Building

  /// Cannot be a key that an author writes: a NUL is no character of YAML.
  private static let mergeKey = "\0<<"

  private var expectsKey: Bool {
    guard let frame = frames.last else { return false }
    return frame.isMapping && frame.key == nil
  }

  /// What names something: other places refer to it as it is written, so that `n` and `010` must not become `false` and `8`.
  private static let nameKeys: Set<String> = [
    "name", "generateName", "template", "entrypoint", "onExit", "target", "depends", "globalName", "parameter",
  ]

  /// Whether what comes next is a key, or a name in one of the places where a workflow has names. Items of a loop are data.
  private var expectsName: Bool {
    guard let frame = frames.last else { return false }
    if frame.isMapping, frame.key == nil { return true }
    guard !frames.contains(where: { $0.key?.text == "withItems" }) else { return false }
    if let key = frame.key { return Self.nameKeys.contains(key.text) }
    return frames.dropLast().last?.key?.text == "dependencies"
  }

  private mutating func add(_ node: DocumentNode, weight: Weight) throws(DocumentErrors) {
    guard !frames.isEmpty else {
      root = node
      return
    }
    let last = frames.count - 1
    frames[last].weight.add(weight)
    guard frames[last].isMapping else {
      frames[last].items.append(node)
      return
    }
    guard let key = frames[last].key else {
      guard let text = node.scalarText else { throw .syntax("\(node.kindName) cannot be a key", at: node.mark) }
      guard frames[last].keys.insert(text).inserted else {
        throw .syntax("the key \"\(text)\" is given twice", at: node.mark)
      }
      frames[last].key = (text: text, mark: node.mark)
      return
    }
    frames[last].key = nil
    if key.text == Self.mergeKey {
      try noteMerge(of: node, at: key.mark)
    } else {
      frames[last].members.append(DocumentNode.Member(key: key.text, keyMark: key.mark, value: node))
    }
  }

  private mutating func noteMerge(of node: DocumentNode, at mark: SourceMark) throws(DocumentErrors) {
    switch node.value {
    case .mapping: frames[frames.count - 1].merged.append(node)
    case .sequence(let items) where items.allSatisfy({ if case .mapping = $0.value { true } else { false } }):
      frames[frames.count - 1].merged += items
    default: throw .syntax("\"<<\" takes a map, or a list of maps, to merge in", at: mark)
    }
  }

  private static func merge(_ source: DocumentNode, into frame: inout Frame) {
    guard case .mapping(let members) = source.value else { return }
    for member in members where frame.keys.insert(member.key).inserted { frame.members.append(member) }
  }
}
