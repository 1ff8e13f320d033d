import FederationModel

/// A step or task about to become nodes.
struct StepCall: Sendable {
  var step: WorkflowStep
  /// In its group or dag.
  var position: Int32
  /// The parent of the new nodes: a StepGroup, a TaskGroup or a DAG node.
  var container: Int32
  /// The steps or dag node whose template mentions the step.
  var boundary: Int32
  var upstream: [NodeID]
}

/// Loops, conditions, and the nodes that they make.
extension WorkflowMachine {
  /// Descriptions of loop items in node names are cut at this many characters; the item's number keeps names unique.
  static let itemDescriptionLimit = 1024

  /// Makes the node of a step without a loop. One that exists already (a retried workflow) is left alone.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) when a tag or a condition makes no sense.
  mutating func instantiate(_ call: StepCall) throws {
    guard liveMembers(of: call).isEmpty else { return }
    try instantiate(call, name: baseName(of: call), displayName: call.step.name, item: nil, index: -1, TagCache())
  }

  /// Makes the node of a step, or at most `limit` of those of its loop's items that do not exist yet; whether all are there now.
  ///
  /// - Parameter cursor: Gets the loop's items when they are needed once more.
  /// - Throws: `FederationError` (`invalidArgument`) when a tag, a condition or the loop makes no sense.
  mutating func instantiate(_ call: StepCall, _ cursor: inout NodeExpansion, limit: Int) throws -> Bool {
    guard call.step.loop != nil else {
      try instantiate(call)
      return true
    }
    var loop: OpenLoop
    do { loop = try openLoops.removeValue(forKey: call.container) ?? openLoop(call, cursor) } catch {
      // Of a loop that would not run anyway, nobody asks for the items.
      guard isLeftOut(call) else { throw error }
      if liveMembers(of: call).isEmpty { addSkipped(call, .skipped, "Skipped, empty params") }
      return true
    }
    if foresight != nil { noteUnknownItems(of: call, loop) }
    guard loop.items.count > 0 else {
      if loop.existing.isEmpty { addSkipped(call, .skipped, "Skipped, empty params") }
      return true
    }
    let base = baseName(of: call)
    let cache = TagCache()
    cache.values = loop.values
    var made = 0
    while loop.next < loop.items.count, made < limit {
      let index = loop.next
      loop.next += 1
      if loop.existing.contains(Int32(index)) { continue }
      // Other loops may have grown the workflow since this one was begun.
      guard nodes.count < Self.nodeLimit else { throw Self.tooManyNodes(call, loop.items.count) }
      let item = try loop.items.item(at: index)
      let suffix = "(\(index):\(Self.describe(item)))"
      try instantiate(
        call, name: base + suffix, displayName: call.step.name + suffix, item: item, index: Int32(index), cache)
      made += 1
    }
    if loop.next == loop.items.count { return true }
    if cursor.items == nil {
      let text = loop.items.text
      cursor.items = text
      // As the text says: a machine that is rebuilt from the cursor has nothing else.
      loop.items = try LoopItems(text: text)
    }
    loop.keepValues(of: cache)
    openLoops[call.container] = loop
    return false
  }

  /// Whether a loop's condition is false whatever its items are.
  func isLeftOut(_ call: StepCall) -> Bool {
    guard let when = call.step.when, !when.isEmpty,
      let text = try? substitute(when, in: TagContext(owner: call.boundary)),
      let holds = try? WhenExpression.evaluate(text)
    else { return false }
    return !holds
  }

  private mutating func noteUnknownItems(of call: StepCall, _ loop: OpenLoop) {
    let written: [String?]
    switch call.step.loop {
    case .param(let text)?: written = [text]
    case .sequence(let sequence)?: written = [sequence.count, sequence.start, sequence.end]
    case .items, nil: return
    }
    let context = TagContext(owner: call.boundary)
    for text in written.compactMap(\.self) {
      guard let value = try? substitute(text, in: context), Foresight.isUnknown(value) else { continue }
      // A list of what members of a loop hand on is as long as the loop was, whatever is in it.
      if case .array? = try? JSONText.parse(value) { continue }
      foresight?.assume(
        .items(template: nodes[Int(call.boundary)].templateName, step: call.step.name, count: loop.items.count))
    }
  }

  private func openLoop(_ call: StepCall, _ cursor: NodeExpansion) throws -> OpenLoop {
    let items = try cursor.items.map { try LoopItems(text: $0) } ?? loopItems(of: call)
    let existing = Set(liveMembers(of: call).map { nodes[Int($0)].item })
    guard cursor.items != nil || nodes.count + items.count - existing.count <= Self.nodeLimit else {
      throw Self.tooManyNodes(call, items.count)
    }
    return OpenLoop(items: items, existing: existing)
  }

  private static func tooManyNodes(_ call: StepCall, _ count: Int) -> FederationError {
    FederationError(
      .invalidArgument,
      "the loop of '\(call.step.name)' has \(count) items; a workflow may have \(nodeLimit) nodes at most")
  }

  private func baseName(of call: StepCall) -> String {
    let container = nodes[Int(call.container)]
    return container.type == .taskGroup ? container.name : "\(container.name).\(call.step.name)"
  }

  private func liveMembers(of call: StepCall) -> [Int32] {
    guard let frame = groupFrames[call.container] else { return [] }
    return frame.members[nodes[Int(call.container)].type == .taskGroup ? 0 : Int(call.position)]
  }

  private mutating func instantiate(
    _ call: StepCall, name: String, displayName: String, item: JSONValue?, index: Int32, _ cache: TagCache
  ) throws {
    let context = TagContext(owner: call.boundary, item: item, cache: cache)
    var place = NodePlace(
      name: name, displayName: displayName, role: .step, parent: NodeID(call.container),
      boundary: NodeID(call.boundary),
      step: call.position, item: index, upstream: call.upstream)
    if let when = call.step.when, !when.isEmpty {
      let text = try substitute(when, in: context)
      let isUnknown = foresight != nil && Foresight.isUnknown(text)
      guard try isUnknown ? assumeCondition(of: call, text) : WhenExpression.evaluate(text) else {
        add(place.record(.skipped, .skipped, template: call.step.template, message: "when '\(text)' evaluated false"))
        return
      }
    }
    if let item, ([call.step.onExit].compactMap(\.self) + call.step.hooks.map(\.hook)).contains(where: \.mentionsItem) {
      place.itemJSON = item.description
    }
    invoke(call.step.template, with: try resolve(call.step.arguments, in: context), at: place)
  }

  /// A node for a step that does not run.
  mutating func addSkipped(_ call: StepCall, _ phase: NodePhase, _ message: String) {
    let name = "\(nodes[Int(call.container)].name).\(call.step.name)"
    let place = NodePlace(
      name: name, displayName: call.step.name, role: .step, parent: NodeID(call.container),
      boundary: NodeID(call.boundary),
      step: call.position, upstream: call.upstream)
    add(place.record(.skipped, phase, template: call.step.template, message: message))
  }

  /// Makes a node that runs a template, or that ends in Error because it cannot.
  mutating func invoke(_ template: String, with arguments: ResolvedArguments, at place: NodePlace) {
    guard let plan = plan(named: template) else {
      add(place.record(.skipped, .error, template: template, message: "template '\(template)' not found"))
      return
    }
    if let boundary = place.boundary, depths[Int(boundary.ordinal)] + 1 >= Self.depthLimit {
      let message =
        "Maximum recursion depth exceeded: templates call each other more than \(Self.depthLimit) deep; "
        + "make '\(template)' stop earlier with a 'when'"
      add(place.record(.skipped, .error, template: template, message: message))
      return
    }
    do {
      let isRetried = retryStrategy(of: plan.template) != nil
      var record = place.record(isRetried ? .retry : plan.nodeType, .pending, template: template, message: "")
      record.inputs = try bind(arguments, to: plan.template)
      if let name = try displayName(plan.template, record.inputs) { record.displayName = name }
      add(record)
    } catch {
      add(place.record(.skipped, .error, template: template, message: Self.message(of: error)))
    }
  }

  /// What the template's annotation calls its nodes; nil where there is none.
  private func displayName(_ template: WorkflowTemplate, _ inputs: NodeInputs) throws -> String? {
    guard let written = template.annotations[WorkflowTemplate.displayNameAnnotation], !written.isEmpty else {
      return nil
    }
    var context = TagContext.workflow
    context.boundParameters = inputs.parameters
    let name = try substitute(written, in: context)
    let isAllowed = name.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20) || byte == 0x2d || byte == 0x2e
    }
    let ends = [name.utf8.first, name.utf8.last].compactMap(\.self)
    guard (2...63).contains(name.utf8.count), isAllowed, ends.allSatisfy({ $0 != 0x2d && $0 != 0x2e }) else {
      throw FederationError(
        .invalidArgument,
        "the display name '\(name.prefix(100))' must have 2 to 63 letters, digits, '-' and '.', and begin and end with a letter or "
          + "digit")
    }
    return name
  }

  // MARK: Items

  /// The items of a step's loop; none when it has no loop.
  func loopItems(of call: StepCall) throws -> LoopItems {
    let context = TagContext(owner: call.boundary)
    switch call.step.loop {
    case nil: return .list([])
    case .items(let items): return .list(try items.map { try substitute($0, in: context) })
    case .param(let text):
      let list = try substitute(text, in: context)
      let value: JSONValue
      do { value = try JSONText.parse(list) } catch {
        if let foresight, Foresight.isUnknown(list) {
          return .list(Array(repeating: .string(Foresight.unknown), count: foresight.fanOut))
        }
        throw Self.noList(call, list, Self.message(of: error))
      }
      guard case .array(let items) = value else { throw Self.noList(call, list, "it is no list") }
      return .list(items)
    case .sequence(let sequence): return try numbers(of: sequence, in: context)
    }
  }

  private static func noList(_ call: StepCall, _ text: String, _ reason: String) -> FederationError {
    FederationError(
      .invalidArgument,
      "withParam value of '\(call.step.name)' could not be parsed as a JSON list (\(reason)): \(text.prefix(200))")
  }

  func substitute(_ value: JSONValue, in context: TagContext) throws -> JSONValue {
    switch value {
    case .string(let text): return .string(try substitute(text, in: context))
    case .array(let elements): return .array(try elements.map { try substitute($0, in: context) })
    case .object(let members): return .object(try members.mapValues { try substitute($0, in: context) })
    case .null, .bool, .integer, .number: return value
    }
  }

  /// - Source: Argo `expandSequence`: `count` numbers from `start`, or `start` to `end` inclusive, downwards when end is less.
  private func numbers(of sequence: Loop.Sequence, in context: TagContext) throws -> LoopItems {
    func number(_ text: String?, _ field: String) throws -> Int? {
      guard let text, !text.isEmpty else { return nil }
      let value = try substitute(text, in: context)
      // So many of them, from wherever they begin.
      if let foresight, Foresight.isUnknown(value) { return field == "start" ? 0 : foresight.fanOut }
      guard let number = Int(value), abs(number) <= 1 << 53 else {
        throw FederationError(.invalidArgument, "withSequence.\(field) is '\(value)', which is no whole number")
      }
      return number
    }
    let start = try number(sequence.start, "start") ?? 0
    var end = try number(sequence.end, "end") ?? start
    if let count = try number(sequence.count, "count") {
      if count <= 0 { return .list([]) }
      end = start + count - 1
    }
    guard abs(end - start) < Self.nodeLimit else {
      throw FederationError(.invalidArgument, "withSequence has more than \(Self.nodeLimit) numbers")
    }
    return .numbers(start: Int64(start), end: Int64(end), format: sequence.format ?? "")
  }

  /// What stands for an item in a node's name: `a:1,b:2` for a map, the text itself for a scalar.
  static func describe(_ item: JSONValue) -> String {
    let text: String
    if case .object(let members) = item {
      text = members.keys.sorted().map { "\($0):\(members[$0]!.tagText)" }.joined(separator: ",")
    } else {
      text = item.tagText
    }
    return text.utf8.count <= itemDescriptionLimit ? text : String(text.prefix(itemDescriptionLimit))
  }
}

/// Where a new node belongs.
struct NodePlace: Sendable {
  var name: String
  var displayName: String
  var role: NodeRole
  var parent: NodeID?
  var boundary: NodeID?
  var step: Int32 = -1
  var item: Int32 = -1
  var itemJSON: String?
  var upstream: [NodeID] = []

  func record(_ type: NodeType, _ phase: NodePhase, template: String, message: String) -> NodeRecord {
    var record = NodeRecord(
      id: .root, name: name, displayName: displayName, type: type, role: role, phase: phase, templateName: template,
      parent: parent, boundary: boundary, step: step, item: item, upstream: upstream)
    record.message = message
    record.itemJSON = itemJSON
    return record
  }
}

extension ExitHook {
  /// Whether its arguments or its condition look at the loop's item.
  var mentionsItem: Bool {
    let texts = arguments.parameters.flatMap { [$0.value, $0.valueFrom.flatMap(\.text)] } + [expression]
    return texts.contains { $0?.contains("item") ?? false }
  }
}

extension ValueFrom {
  fileprivate var text: String? {
    switch source {
    case .parameter(let text), .expression(let text), .path(let text), .jsonPath(let text): text
    case .supplied, nil: nil
    }
  }
}

extension JSONValue {
  /// What a tag is replaced by: the text itself for a string, JSON for everything else.
  var tagText: String { if case .string(let text) = self { text } else { description } }
}
