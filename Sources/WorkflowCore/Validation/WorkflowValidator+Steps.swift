import FederationModel

extension WorkflowValidator {
  mutating func validateSteps(
    _ groups: [[WorkflowStep]], of template: WorkflowTemplate, _ scope: TagScope, at path: DocumentPath
  ) {
    var scope = scope
    scope.siblings = TagScope.Siblings(prefix: "steps")
    scope.siblings?.all = Set(groups.joined().map(\.name))
    // Groups without steps are left out of the values; the document's own positions are needed for paths.
    let indices = groupIndices(at: path / "steps", count: groups.count)
    for (group, index) in zip(groups, indices) {
      for (position, step) in group.enumerated() {
        validateStep(step, scope, at: path / "steps" / index / position)
      }
      for step in group { scope.siblings?.visible[step.name] = outputNames(of: step) }
    }
    validateOutputSources(template, scope, at: path / "outputs")
  }

  private func groupIndices(at path: DocumentPath, count: Int) -> [Int] {
    guard case .sequence(let groups) = path.node(in: root)?.value else { return Array(0..<count) }
    let filled = groups.indices.filter {
      guard case .sequence(let steps) = groups[$0].value else { return false }
      return !steps.isEmpty
    }
    return filled.count == count ? filled : Array(0..<count)
  }

  /// What others may refer to of a step, once it has ended.
  func outputNames(of step: WorkflowStep) -> TagScope.Outputs {
    guard let index = positions[step.template] else { return TagScope.Outputs(isUnknown: true) }
    return TagScope.Outputs(
      template: index, hasResult: workflow.spec.templates[index].isTask, isLoop: step.loop != nil)
  }

  /// Everything about one step or task but its dependencies.
  mutating func validateStep(_ step: WorkflowStep, _ scope: TagScope, at path: DocumentPath) {
    var itemScope = scope
    if let loop = step.loop {
      validateLoop(loop, scope, at: path)
      itemScope.item = TagScope.Item(loop)
    }
    if let when = step.when { check(when, itemScope, at: path / "when") }
    validateArgumentTags(step.arguments, itemScope, at: path / "arguments")
    validateCall(of: step.template, arguments: step.arguments, at: path, key: "template")
    guard step.onExit != nil || !step.hooks.isEmpty else { return }
    var hookScope = itemScope
    hookScope.siblings?.visible[step.name] = outputNames(of: step)
    if let onExit = step.onExit { validate(onExit, at: path, scope: hookScope) }
    for hook in step.hooks { validate(hook.hook, named: hook.name, at: path, scope: hookScope) }
  }

  /// A hook: its template, arguments and condition. `defaults` are names that fill its inputs without being given.
  mutating func validate(
    _ hook: ExitHook, named name: String = "exit", at path: DocumentPath, scope: TagScope, defaults: Set<String> = []
  ) {
    let isHook = path.node(in: root)?["hooks"]?[name] != nil
    let place = isHook ? path / "hooks" / name : path
    validateArgumentTags(hook.arguments, scope, at: place / "arguments")
    if let expression = hook.expression { checkExpression(expression, at: place / "expression") }
    validateCall(
      of: hook.template, arguments: hook.arguments, at: place, key: isHook ? "template" : "onExit", defaults: defaults)
  }

  private mutating func validateLoop(_ loop: Loop, _ scope: TagScope, at path: DocumentPath) {
    switch loop {
    case .param(let text): check(text, scope, at: path / "withParam")
    case .items(let items):
      for (index, item) in items.enumerated() {
        for text in item.texts { check(text, scope, at: path / "withItems" / index) }
      }
    case .sequence(let sequence):
      for (key, text) in [
        ("count", sequence.count), ("start", sequence.start), ("end", sequence.end), ("format", sequence.format),
      ] {
        if let text { check(text, scope, at: path / "withSequence" / key) }
      }
    }
  }

  /// The template exists and gets every input that it needs.
  private mutating func validateCall(
    of name: String, arguments: WorkflowArguments, at path: DocumentPath, key: String, defaults: Set<String> = []
  ) {
    // An empty name was reported when the step was read.
    if name.isEmpty { return }
    guard let index = positions[name] else {
      return isElsewhere(name) ? () : reportMissingTemplate(name, at: path / key)
    }
    let inputs = workflow.spec.templates[index].inputs
    let given = Dictionary(
      arguments.parameters.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    for parameter in inputs.parameters {
      guard let position = given[parameter.name] else {
        if parameter.isRequired, !defaults.contains(parameter.name) {
          report("template \"\(name)\" needs the parameter \"\(parameter.name)\", which is not given", at: path)
        }
        continue
      }
      checkSupplied(arguments.parameters[position], to: parameter, at: path / "arguments" / "parameters" / position)
    }
    let givenArtifacts = Set(arguments.artifacts.map(\.name))
    for artifact in inputs.artifacts where artifact.isRequired {
      if !givenArtifacts.contains(artifact.name) {
        report("template \"\(name)\" needs the artifact \"\(artifact.name)\", which is not given", at: path)
      }
    }
    for (position, artifact) in arguments.artifacts.enumerated() where artifact.isRequired {
      report(
        "the artifact \"\(artifact.name)\" needs a source: from, raw, s3 or http",
        at: path / "arguments" / "artifacts" / position)
    }
  }

  private mutating func checkSupplied(
    _ argument: WorkflowParameter, to parameter: WorkflowParameter, at path: DocumentPath
  ) {
    if argument.isRequired, parameter.isRequired {
      report("the parameter \"\(argument.name)\" is given no value", at: path)
    }
    if let allowed = parameter.allowedValues, let value = argument.value, !value.contains("{{"),
      !allowed.contains(value)
    {
      report("the value \"\(value)\" is not one of the enum: \(allowed.joined(separator: ", "))", at: path / "value")
    }
  }

  /// Outputs of a steps or dag template come from its children.
  mutating func validateOutputSources(_ template: WorkflowTemplate, _ scope: TagScope, at path: DocumentPath) {
    for (index, parameter) in template.outputs.parameters.enumerated() {
      let place = path / "parameters" / index
      switch parameter.valueFrom?.source {
      case .parameter(let text): check(text, scope, at: place / "valueFrom" / "parameter")
      case .expression(let text): checkExpression(text, at: place / "valueFrom" / "expression")
      case .supplied: break
      case .path:
        report("a steps or dag template has no files: use valueFrom.parameter", at: place / "valueFrom" / "path")
      case .jsonPath:
        report("a steps or dag template has no object: use valueFrom.parameter", at: place / "valueFrom" / "jsonPath")
      case nil:
        if parameter.isRequired {
          report("an output parameter needs valueFrom.parameter or valueFrom.expression", at: place)
        }
      }
      if let value = parameter.value { check(value, scope, at: place / "value") }
    }
    for (index, artifact) in template.outputs.artifacts.enumerated() {
      if let from = artifact.from {
        check(from, scope, at: path / "artifacts" / index / "from")
      } else if let text = artifact.fromExpression {
        checkExpression(text, at: path / "artifacts" / index / "fromExpression")
      } else if artifact.isRequired {
        report(
          "an output artifact of a steps or dag template needs from or fromExpression", at: path / "artifacts" / index)
      }
    }
  }
}

extension JSONValue {
  /// Every text inside, at any depth (which the document's own depth bounds).
  var texts: [String] {
    switch self {
    case .string(let text): [text]
    case .array(let items): items.flatMap(\.texts)
    case .object(let members): members.sorted { $0.key < $1.key }.flatMap(\.value.texts)
    case .null, .bool, .integer, .number: []
    }
  }
}

extension DocumentPath {
  /// The value here; nil when the document has none.
  func node(in root: DocumentNode) -> DocumentNode? {
    var node: DocumentNode? = root
    for component in components {
      switch component {
      case .key(let key): node = node?[key]
      case .index(let index):
        guard case .sequence(let items) = node?.value, items.indices.contains(index) else { return nil }
        node = items[index]
      }
    }
    return node
  }
}
