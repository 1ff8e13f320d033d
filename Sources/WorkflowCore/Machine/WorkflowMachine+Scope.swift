import FederationModel

/// Whose eyes a tag is read with.
struct TagContext {
  /// The node whose inputs are `inputs.*`; a steps or dag node for the arguments of its children, else the leaf itself.
  var owner: Int32
  /// The parameters of a node that is just being made: its template's own raw artifacts and keys may use them.
  var boundParameters: [NodeParameter]?
  /// The loop's item.
  var item: JSONValue?
  /// Whether `owner` is a leaf, which sees its own attempt and paths.
  var isLeaf = false
  /// The node whose hook reads: what it says of its own step is about this node, also in a loop.
  var hooked: Int32?
  var cache: TagCache?

  static func leaf(_ node: Int32) -> Self { TagContext(owner: node, isLeaf: true) }
  static func children(of node: Int32) -> Self { TagContext(owner: node) }
  /// Only `workflow.*`.
  static var workflow: Self { TagContext(owner: -1) }
}

/// Values of tags that are the same for all items of one loop, so that an aggregate of n results is made once and not n times.
/// Lives only within one expansion.
final class TagCache {
  var values: [String: TagValue] = [:]
}

/// What a name in a tag stands for.
enum TagValue: Sendable, Equatable {
  case text(String)
  /// The node that it names ran and gave no such output: the tag stays as it is, as in Argo.
  case absent
  /// The node that it names never ran, and its template has no default for the output: where no default of the reader's takes its
  /// place, the reader ends in Error.
  case skipped
  case unknown
}

/// The names that tags and expressions may use.
extension WorkflowMachine {
  /// Replaces every tag of `text` in one pass.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) naming the tag that cannot be resolved.
  func substitute(_ text: String, in context: TagContext, keepsUnknown: Bool = false) throws -> String {
    guard Tags.mayContainTag(text) else { return text }
    do {
      return try Tags.substitute(text, at: moment(of: context), keepsUnknown: keepsUnknown) { name in
        lookup(name, in: context)
      }
    } catch {
      // An expression that cannot do with an unknown value what it would do with a known one.
      guard foresight != nil, text.contains("{{=") else { throw error }
      return Foresight.unknown
    }
  }

  /// The value of an expression. Tags in it are replaced first.
  func evaluate(
    _ expression: String, in context: TagContext, lookup own: ((String) -> TagValue?)? = nil
  ) throws -> ExprLang.Result {
    let find = { (name: String) in own?(name) ?? lookup(name, in: context) }
    let moment = moment(of: context)
    let text = Tags.mayContainTag(expression) ? try Tags.substitute(expression, at: moment, find) : expression
    return try ExprLang.evaluate(text, at: moment) { find($0).string }
  }

  /// What takes the place of a clock and of chance in expressions: a leaf's own beginning, else the event that is being handled,
  /// so that a machine rebuilt from its records gives the same again.
  func moment(of context: TagContext) -> ExpressionMoment {
    var now = now
    if context.isLeaf, context.owner >= 0 {
      now = nodes[Int(context.owner)].startedAt ?? status.startedAt ?? identity.createdAt
    }
    let place = context.isLeaf ? "leaf \(context.owner)" : "node \(nodes.count) of \(context.owner)"
    return ExpressionMoment(
      now: now, seed: ExpressionRandom.seed([identity.uid, place, context.item?.description ?? ""]))
  }

  func lookup(_ name: String, in context: TagContext) -> TagValue {
    if name == "item" || name.hasPrefix("item.") { return itemValue(name, context.item) }
    guard let cache = context.cache else { return find(name, in: context) }
    if let value = cache.values[name] { return value }
    let value = find(name, in: context)
    cache.values[name] = value
    return value
  }

  private func itemValue(_ name: String, _ item: JSONValue?) -> TagValue {
    guard let item else { return .unknown }
    if name == "item" { return .text(item.tagText) }
    var value = item
    for key in name.dropFirst("item.".count).split(separator: ".") {
      guard let member = value[String(key)] else {
        return foresight != nil && Foresight.isUnknown(value.tagText) ? .text(Foresight.unknown) : .unknown
      }
      value = member
    }
    return .text(value.tagText)
  }

  private func find(_ name: String, in context: TagContext) -> TagValue {
    let head = name.prefix { $0 != "." }
    let rest = name.dropFirst(head.count + 1)
    switch head {
    case "workflow": return workflowValue(name)
    case "inputs":
      if let bound = context.boundParameters {
        let prefix = "parameters."
        guard rest.hasPrefix(prefix), let value = bound.first(where: { $0.name == rest.dropFirst(prefix.count) }) else {
          return .unknown
        }
        return .text(value.value)
      }
      return context.owner < 0 ? .unknown : inputValue(rest, of: context.owner)
    case "steps", "tasks":
      if context.owner < 0 { return .unknown }
      return rest == "name" ? ownName(head, of: context.owner) : stepValue(rest, in: context)
    case "node": return context.owner >= 0 ? .text(nodes[Int(context.owner)].name) : .unknown
    case "outputs", "pod", "retries", "lastRetry":
      return context.isLeaf && context.owner >= 0 ? leafValue(name, of: context.owner) : .unknown
    default: return .unknown
    }
  }

  // MARK: workflow.*

  private func workflowValue(_ name: String) -> TagValue {
    if let value = constants[name] { return .text(value) }
    switch name {
    case "workflow.status": return .text(root < 0 ? NodePhase.running.rawValue : entrypointPhase.rawValue)
    // A JSON text as a JSON text, quotes and all, as Argo has it.
    case "workflow.failures": return .text(JSONValue.string(failures().description).description)
    case "workflow.duration":
      let end = status.finishedAt ?? now
      return .text(decimal(status.startedAt.map { max(0, (end - $0).milliseconds) } ?? 0))
    default: break
    }
    let prefix = "workflow.outputs.parameters."
    guard name.hasPrefix(prefix) else { return .unknown }
    return status.outputs.parameters[String(name.dropFirst(prefix.count))].map { .text($0) } ?? .unknown
  }

  /// Milliseconds as seconds with six decimals, as Argo prints durations.
  private func decimal(_ milliseconds: Int64) -> String {
    let fraction = String(milliseconds % 1000)
    return "\(milliseconds / 1000)." + String(repeating: "0", count: 3 - fraction.count) + fraction + "000"
  }

  /// What an exit handler may know of the entrypoint: Running turns to Succeeded only when it has ended.
  private var entrypointPhase: NodePhase {
    let phase = nodes[Int(root)].phase
    if status.shutdown != nil, phase.isTerminal, phase != .error { return phase == .succeeded ? .succeeded : .failed }
    return phase == .skipped || phase == .omitted ? .succeeded : phase == .pending ? .running : phase
  }

  /// `workflow.failures`: the failed nodes, in order.
  private func failures() -> JSONValue {
    .array(
      nodes.filter { ($0.phase == .failed || $0.phase == .error) && !$0.isSuperseded }.map { node in
        [
          "displayName": .string(node.displayName), "message": .string(node.message),
          "templateName": .string(node.templateName), "phase": .string(node.phase.rawValue),
          "podName": .string(argoID(of: node.id.ordinal)),
          "finishedAt": node.finishedAt.map { .string(RFC3339.format($0)) } ?? .null,
        ]
      })
  }

  static func constants(_ definition: WorkflowDefinition, _ identity: WorkflowIdentity) -> [String: String] {
    var values = [
      "workflow.name": identity.name, "workflow.namespace": identity.project.text, "workflow.uid": identity.uid,
      "workflow.serviceAccountName": definition.spec.serviceAccountName,
      "workflow.mainEntrypoint": definition.spec.entrypoint,
      "workflow.priority": String(definition.spec.priority),
    ]
    if let scheduled = definition.metadata.annotations[CronWorkflowDefinition.scheduledTimeAnnotation] {
      values["workflow.scheduledTime"] = scheduled
    }
    for (key, value) in definition.metadata.labels { values["workflow.labels.\(key)"] = value }
    for (key, value) in definition.metadata.annotations { values["workflow.annotations.\(key)"] = value }
    // One that is called `json` itself goes before.
    func setAll(_ name: String, _ text: String) {
      if values[name + ".json"] == values[name] { values[name + ".json"] = text }
      values[name] = text
    }
    setAll("workflow.labels", JSONValue.object(definition.metadata.labels.mapValues { .string($0) }).description)
    setAll(
      "workflow.annotations",
      JSONValue.object(definition.metadata.annotations.mapValues { .string($0) }).description)
    for (suffix, text) in RFC3339.creationTimestamps(identity.createdAt) {
      values["workflow.creationTimestamp" + suffix] = text
    }
    var list: [JSONValue] = []
    for parameter in definition.spec.arguments.parameters {
      guard let written = parameter.value ?? parameter.valueFrom?.defaultValue ?? parameter.defaultValue else {
        continue
      }
      let known = values
      let value =
        (try? Tags.substitute(written, at: ExpressionMoment(now: identity.createdAt)) { name in
          known[name].map { .text($0) } ?? .absent
        }) ?? written
      values["workflow.parameters.\(parameter.name)"] = value
      list.append(["name": .string(parameter.name), "value": .string(value)])
    }
    setAll("workflow.parameters", JSONValue.array(list).description)
    let made = madeLabels(definition, values, at: identity.createdAt)
    if !made.isEmpty {
      for (key, value) in made { values["workflow.labels.\(key)"] = value }
      let all = definition.metadata.labels.merging(made) { $1 }
      setAll("workflow.labels", JSONValue.object(all.mapValues { .string($0) }).description)
    }
    return values
  }

  /// The labels of `workflowMetadata.labelsFrom` that can be made; `checkArguments` tells of the others.
  private static func madeLabels(
    _ definition: WorkflowDefinition, _ values: [String: String], at now: Timestamp
  ) -> [String: String] {
    var labels: [String: String] = [:]
    for (key, expression) in definition.spec.labelsFrom {
      labels[key] = try? ExprLang.evaluate(expression, at: ExpressionMoment(now: now)) { values[$0] }.text()
    }
    return labels
  }

  /// The workflow's labels: the author's, and those that were made for it.
  public var labels: [String: String] {
    var labels = definition.metadata.labels
    for key in definition.spec.labelsFrom.keys { labels[key] = constants["workflow.labels.\(key)"] ?? labels[key] }
    return labels
  }

  // MARK: inputs.*, leaf's own

  private func inputValue(_ name: Substring, of node: Int32) -> TagValue {
    let inputs = nodes[Int(node)].inputs
    if name == "parameters" {
      return .text(
        JSONValue.array(inputs.parameters.map { ["name": .string($0.name), "value": .string($0.value)] }).description)
    }
    if name.hasPrefix("parameters.") {
      return inputs.parameter(String(name.dropFirst("parameters.".count))).map { .text($0) } ?? .unknown
    }
    guard name.hasPrefix("artifacts."), let plan = plan(of: node) else { return .unknown }
    let artifact = name.dropFirst("artifacts.".count)
    if let entry = plan.template.inputs.artifacts.first(where: { artifact == $0.name + ".path" }), let path = entry.path
    {
      return .text(path)
    }
    if case .raw(let data)? = inputs.artifact(String(artifact)) { return .text(data) }
    return .unknown
  }

  private func leafValue(_ name: String, of node: Int32) -> TagValue {
    let record = nodes[Int(node)]
    switch name {
    case "pod.name": return .text(argoID(of: node))
    case "retries": return record.role == .attempt ? .text(String(record.step)) : .unknown
    default: break
    }
    if name.hasPrefix("lastRetry.") {
      return record.role == .attempt ? lastRetryValue(name.dropFirst("lastRetry.".count), before: record) : .unknown
    }
    guard let outputs = plan(of: node)?.template.outputs else { return .unknown }
    if name.hasPrefix("outputs.artifacts."), name.hasSuffix(".path") {
      let artifact = name.dropFirst("outputs.artifacts.".count).dropLast(".path".count)
      return outputs.artifacts.first { $0.name == artifact }?.path.map { .text($0) } ?? .unknown
    }
    guard name.hasPrefix("outputs.parameters."), name.hasSuffix(".path") else { return .unknown }
    let parameter = name.dropFirst("outputs.parameters.".count).dropLast(".path".count)
    guard case .path(let path)? = outputs.parameters.first(where: { $0.name == parameter })?.valueFrom?.source else {
      return .unknown
    }
    return .text(path)
  }

  /// What the attempt before `record` left; the defaults of the first attempt are Argo's.
  private func lastRetryValue(_ field: Substring, before record: NodeRecord) -> TagValue {
    let attempts = record.parent.map { liveAttempts(of: $0.ordinal) } ?? []
    guard record.step > 0, attempts.indices.contains(Int(record.step) - 1) else {
      return ["exitCode": .text("0"), "status": .text(""), "duration": .text("0"), "message": .text("")][field]
        ?? .unknown
    }
    return retryValue(field, of: attempts[Int(record.step) - 1])
  }

  /// A field of `lastRetry`, where `attempt` was the last.
  func retryValue(_ field: Substring, of attempt: Int32) -> TagValue {
    let record = nodes[Int(attempt)]
    switch field {
    case "exitCode": return .text(record.exitCode.map(String.init) ?? "-1")
    case "status": return .text(record.phase.rawValue)
    case "message": return .text(record.message)
    case "duration":
      guard let started = record.startedAt, let finished = record.finishedAt else { return .text("0") }
      return .text(String(max(0, (finished - started).milliseconds / 1000)))
    default: return .unknown
    }
  }

  // MARK: steps.* and tasks.*

  /// `steps.name` and `tasks.name`: what the step or task is called that runs the template, with the item of its loop.
  private func ownName(_ head: Substring, of node: Int32) -> TagValue {
    var record = nodes[Int(node)]
    if record.role == .attempt, let parent = record.parent { record = nodes[Int(parent.ordinal)] }
    // As in Argo, what begins a workflow or ends it is a step without a name.
    if record.role != .step { return head == "steps" ? .text("") : .unknown }
    guard let boundary = record.boundary.map({ nodes[Int($0.ordinal)] }),
      boundary.type == (head == "steps" ? .steps : .dag)
    else { return .unknown }
    return .text(String(record.name.dropFirst(boundary.name.count).drop { $0 != "." }.dropFirst()))
  }

  /// The nodes that a step or task of `owner`'s template became; nil when it is no step's name.
  func members(ofStep name: String, in owner: Int32) -> (step: WorkflowStep, nodes: [Int32])? {
    guard let plan = plan(of: owner) else { return nil }
    if let dag = plan.dag {
      guard let position = dag.positions[name] else { return nil }
      guard let node = dagFrames[owner]?.nodes[Int(position)], node >= 0 else { return (dag.tasks[Int(position)], []) }
      let isGroup = nodes[Int(node)].type == .taskGroup
      return (dag.tasks[Int(position)], isGroup ? groupFrames[node]!.members[0] : [node])
    }
    guard let place = plan.steps[name], case .steps(let groups) = plan.template.body else { return nil }
    let step = groups[Int(place.group)][Int(place.step)]
    guard let group = stepsFrames[owner]?.groups, group.indices.contains(Int(place.group)) else { return (step, []) }
    return (step, groupFrames[group[Int(place.group)]]!.members[Int(place.step)])
  }

  private func stepValue(_ path: Substring, in context: TagContext) -> TagValue {
    let name = path.prefix { $0 != "." }
    let field = path.dropFirst(name.count + 1)
    if let hooked = context.hooked, let own = step(of: hooked), own.name == name {
      return value(field, of: nodes[Int(hooked)])
    }
    // The workflow's volumes may name what steps before this one gave.
    let owner = context.isLeaf ? nodes[Int(context.owner)].boundary?.ordinal ?? context.owner : context.owner
    guard let (step, members) = members(ofStep: String(name), in: owner) else { return .unknown }
    if step.loop != nil { return aggregate(field, of: members) }
    guard let node = members.first.map({ nodes[Int($0)] }) else { return .absent }
    if node.type == .skipped, node.phase == .skipped || node.phase == .omitted, field.hasPrefix("outputs.") {
      return skippedValue(field, of: node)
    }
    return value(field, of: node)
  }

  private func value(_ field: Substring, of node: NodeRecord) -> TagValue {
    switch field {
    case "id": return .text(argoID(of: node.id.ordinal))
    case "status": return .text(node.phase.rawValue)
    case "exitCode", "outputs.exitCode": return exitCode(of: node).map { .text(String($0)) } ?? .absent
    case "startedAt": return node.startedAt.map { .text(RFC3339.format($0)) } ?? .absent
    case "finishedAt": return node.finishedAt.map { .text(RFC3339.format($0)) } ?? .absent
    case "hostNodeName": return node.hostCluster.map { .text($0.text) } ?? .absent
    case "ip": return node.daemon.map { .text($0.address) } ?? .absent
    case "outputs.result": return node.outputs.result.map { .text($0) } ?? .absent
    case "outputs.parameters":
      return .text(JSONValue.object(node.outputs.parameters.mapValues { .string($0) }).description)
    default: break
    }
    guard field.hasPrefix("outputs.parameters.") else { return field.hasPrefix("outputs.") ? .absent : .unknown }
    let parameter = String(field.dropFirst("outputs.parameters.".count))
    return node.outputs.parameters[parameter].map { .text($0) } ?? .absent
  }

  /// An output of a node that never ran: its template's default.
  ///
  /// - Source: Argo Workflows v4.1, `docs/variables.md`, "Outputs of Skipped and Omitted Nodes".
  private func skippedValue(_ field: Substring, of node: NodeRecord) -> TagValue {
    let prefix = "outputs.parameters."
    guard field.hasPrefix(prefix) else { return .skipped }
    let declared = plan(named: node.templateName)?.template.outputs.parameters.first {
      $0.name == field.dropFirst(prefix.count)
    }
    return declared?.valueFrom?.defaultValue.map { .text($0) } ?? .skipped
  }

  private func exitCode(of node: NodeRecord) -> Int32? {
    node.exitCode ?? liveAttempts(of: node.id.ordinal).last.flatMap { nodes[Int($0)].exitCode }
  }

  /// The outputs of a loop's members that succeeded, as a JSON list.
  ///
  /// - Source: Argo `processAggregateNodeOutputs`: results that are JSON are taken as JSON; values of parameters only where all of
  ///   them are maps. Lists stay texts, as up to Argo 3.5: pydflow's slices read them so.
  private func aggregate(_ field: Substring, of members: [Int32]) -> TagValue {
    let good = members.lazy.map { nodes[Int($0)] }.filter { $0.phase == .succeeded }
    func value(_ text: String) -> JSONValue { (try? JSONText.parse(text)) ?? .string(text) }
    switch field {
    case "outputs.result":
      return .text(JSONValue.array(good.compactMap { $0.outputs.result }.filter { !$0.isEmpty }.map(value)).description)
    case "outputs.parameters":
      let maps = good.filter { !$0.outputs.parameters.isEmpty }.map { node in
        JSONValue.object(node.outputs.parameters.mapValues { .string($0) })
      }
      return .text(JSONValue.array(Array(maps)).description)
    case "status":
      guard let worst = members.map({ nodes[Int($0)].phase }).first(where: { $0 == .failed || $0 == .error }) else {
        return .text(NodePhase.succeeded.rawValue)
      }
      return .text(worst.rawValue)
    default: break
    }
    guard field.hasPrefix("outputs.parameters.") else { return .absent }
    let parameter = String(field.dropFirst("outputs.parameters.".count))
    let texts = good.compactMap { $0.outputs.parameters[parameter] }
    var list: [JSONValue] = []
    for text in texts {
      guard case .object(let members)? = try? JSONText.parse(text) else {
        return .text(JSONValue.array(texts.map { .string($0) }).description)
      }
      list.append(.object(members))
    }
    return .text(JSONValue.array(list).description)
  }
}
