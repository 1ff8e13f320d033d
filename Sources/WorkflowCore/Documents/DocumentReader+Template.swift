extension DocumentReader {
  /// The fields of which a template has exactly one.
  static let bodyFields: Set<String> = [
    "container", "containerSet", "dag", "data", "http", "plugin", "resource", "script", "steps", "suspend",
  ]

  /// A template; `inlineName` names one that stands inside a step.
  mutating func readTemplate(_ node: DocumentNode, inlineName: String? = nil) -> WorkflowTemplate {
    let name = inlineName ?? scope.qualified(node["name"]?.scalarText ?? "")
    var template = WorkflowTemplate(
      name: name, isInline: inlineName != nil, body: .container(ContainerTemplate()))
    var annotationBlock: FederationBlock?
    var bodyCount = 0
    if case .mapping(let members) = node.value {
      bodyCount = members.count { Self.bodyFields.contains($0.key) && !$0.value.isNull }
    }
    fields(of: node, FieldTables.template) { reader, key, value in
      switch key {
      case "name":
        if let text = reader.text(value), inlineName == nil { template.name = reader.scope.qualified(text) }
      case "container", "script", "steps", "dag", "suspend":
        if !value.isNull { template.body = reader.readBody(value, key: key, template: name) }
      case "http": if !value.isNull { template.http = reader.readHTTPTemplate(value) }
      case "resource": if !value.isNull { template.resource = reader.readResourceTemplate(value) }
      case "data": if !value.isNull { reader.readData(value, into: &template) }
      case "containerSet": if !value.isNull { reader.readContainerSet(value, into: &template) }
      case "metadata":
        let labels = reader.readObjectLabels(value, FieldTables.objectLabels)
        template.labels = labels.labels
        template.annotations.merge(labels.annotations) { $1 }
        annotationBlock = reader.readFederationAnnotation(
          labels.annotations, at: value["annotations"]?.mark ?? value.mark)
      default: reader.readTemplateField(key, value, into: &template)
      }
    }
    if bodyCount != 1 {
      report(
        bodyCount == 0
          ? "a template needs one of container, script, containerSet, data, http, resource, steps, dag and suspend"
          : "a template has one of container, script, containerSet, data, http, resource, steps, dag and suspend, not \(bodyCount)",
        at: node.mark)
    }
    checkResourceOutputs(of: template, at: node)
    if template.transformations != nil { placeDataSource(in: &template, node) }
    checkCompanions(of: template, at: node)
    if template.isDaemon,
      !template.isTask || template.containerSet != nil || template.http != nil || template.transformations != nil
        || template.resource != nil
    {
      report("only a container or a script can be a daemon", at: node["daemon"]?.mark ?? node.mark)
    }
    if let annotationBlock {
      template.federation = (template.federation ?? FederationBlock()).filled(from: annotationBlock)
    }
    return template
  }

  private mutating func readTemplateField(_ key: String, _ value: DocumentNode, into template: inout WorkflowTemplate) {
    switch key {
    case "inputs": template.inputs = readInputs(value)
    case "outputs": template.outputs = readOutputs(value)
    case "retryStrategy": template.retryStrategy = value.isNull ? nil : readRetryStrategy(value)
    // Argo keeps them apart from those of the pod; here they speak of the same node.
    case "annotations": template.annotations.merge(textMap(value)) { own, _ in own }
    case "pendingTimeout": template.pendingTimeout = durationText(value)
    case "podResources": template.podResources = value.isNull ? nil : readResources(value)
    case "timeout": template.timeout = durationText(value)
    case "activeDeadlineSeconds": template.activeDeadlineSeconds = integerText(value, in: 1...Self.secondsMax)
    case "parallelism":
      template.parallelism = integer(value, in: 0...Self.parallelismMax).flatMap { $0 == 0 ? nil : Int($0) }
    case "failFast": template.failFast = bool(value)
    case "daemon": template.isDaemon = bool(value) ?? false
    case "affinity", "hostAliases", "priorityClassName", "resourceClaims", "schedulerName", "securityContext",
      "serviceAccountName", "tolerations":
      readPodMember(key, value, into: &template.pod)
    case "podSpecPatch": template.podSpecPatch = podPatchText(value)
    case "synchronization": template.synchronization = readSynchronization(value)
    case "memoize": template.memoize = value.isNull ? nil : readMemoization(value)
    case "onExit": template.onExit = readOnExit(value)
    case "nodeSelector": template.nodeSelector = textMap(value)
    case "volumes": template.volumes = readVolumes(value)
    case "initContainers": template.initContainers = readCompanions(value, FieldTables.companion)
    case "sidecars": template.sidecars = readCompanions(value, FieldTables.companion)
    case "federation": template.federation = readFederation(value)
    default: break
    }
  }

  /// A hundred years: anything longer is a mistake.
  static let secondsMax: Int64 = 100 * 365 * 86_400
  static let parallelismMax: Int64 = 1_000_000
  static let retryLimitMax: Int64 = 1_000_000
  static let sequenceMax: Int64 = 1_000_000_000

  private mutating func readBody(_ node: DocumentNode, key: String, template: String) -> WorkflowTemplate.Body {
    switch key {
    case "container": return .container(readContainer(node, isScript: false))
    case "script": return .container(readContainer(node, isScript: true))
    case "steps": return .steps(readSteps(node, template: template))
    case "dag": return .dag(readDAG(node, template: template))
    default:
      var duration: String?
      fields(of: node, FieldTables.suspend) { reader, _, value in duration = reader.durationText(value) }
      return .suspend(duration: duration)
    }
  }

  mutating func readRetryStrategy(_ node: DocumentNode) -> RetryStrategy {
    var strategy = RetryStrategy()
    fields(of: node, FieldTables.retryStrategy) { reader, key, value in
      switch key {
      case "limit": strategy.limit = reader.integerText(value, in: 0...Self.retryLimitMax)
      case "retryPolicy": strategy.policy = reader.choice(value)
      case "expression": strategy.expression = reader.text(value)
      case "affinity":
        reader.fields(of: value, FieldTables.retryAffinity) { _, _, value in
          if !value.isNull { strategy.avoidsTriedClusters = true }
        }
      default: strategy.backoff = reader.readBackoff(value)
      }
    }
    return strategy
  }

  private mutating func readBackoff(_ node: DocumentNode) -> RetryStrategy.Backoff {
    var backoff = RetryStrategy.Backoff()
    fields(of: node, FieldTables.backoff) { reader, key, value in
      switch key {
      case "duration": backoff.duration = reader.durationText(value)
      case "maxDuration": backoff.maxDuration = reader.durationText(value)
      case "cap": backoff.cap = reader.durationText(value)
      default:
        guard let text = reader.text(value) else { return }
        backoff.factor = text
        if !text.contains("{{"), Double(text).map({ $0 >= 0 && $0 <= 1000 }) != true {
          reader.report("must be a number between 0 and 1000, not \"\(text)\"", at: value.mark)
        }
      }
    }
    return backoff
  }

  mutating func readObjectLabels(
    _ node: DocumentNode, _ table: FieldTable
  ) -> (labels: [String: String], annotations: [String: String]) {
    var labels: [String: String] = [:]
    var annotations: [String: String] = [:]
    fields(of: node, table) { reader, key, value in
      switch key {
      case "labels": labels = reader.textMap(value)
      case "annotations": annotations = reader.textMap(value)
      default: break  // labelsFrom: read by its owner
      }
    }
    return (labels, annotations)
  }

  // MARK: Steps and tasks

  private mutating func readSteps(_ node: DocumentNode, template: String) -> [[WorkflowStep]] {
    var names: Set<String> = []
    let groups = list(node) { reader, group -> [WorkflowStep]? in
      if case .mapping = group.value {
        reader.report("must be a list of the steps that run at once: write \"- - name: ...\"", at: group.mark)
        return nil
      }
      return reader.list(group) { reader, item in
        let step = reader.readStep(item, FieldTables.step, template: template)
        reader.checkName(step.name, of: "step", pattern: .field, seen: &names, at: item)
        return step
      }
    }
    return groups.filter { !$0.isEmpty }
  }

  private mutating func readDAG(_ node: DocumentNode, template: String) -> DAGTemplate {
    var dag = DAGTemplate(tasks: [])
    var names: Set<String> = []
    fields(of: node, FieldTables.dag) { reader, key, value in
      switch key {
      case "target": dag.target = reader.text(value).flatMap { $0.isEmpty ? nil : $0 }
      case "failFast": dag.failFast = reader.bool(value) ?? true
      default:
        dag.tasks = reader.list(value) { reader, item in
          let task = reader.readStep(item, FieldTables.task, template: template)
          reader.checkName(task.name, of: "task", pattern: .field, seen: &names, at: item)
          return task
        }
      }
    }
    if dag.tasks.isEmpty { report("a dag needs at least one task", at: node.mark) }
    return dag
  }

  private mutating func readStep(_ node: DocumentNode, _ table: FieldTable, template: String) -> WorkflowStep {
    let name = node["name"]?.scalarText ?? ""
    var step = WorkflowStep(name: name, template: "")
    var loopCount = 0
    var templateCount = 0
    fields(of: node, table) { reader, key, value in
      if value.isNull { return }
      switch key {
      case "name": step.name = reader.text(value) ?? ""
      case "template":
        step.template = reader.readTemplateName(value)
        templateCount += 1
      case "templateRef":
        step.template = reader.readTemplateRef(value) ?? ""
        templateCount += 1
      case "inline":
        let inline = reader.readTemplate(value, inlineName: "\(template).\(name)")
        reader.inlineTemplates.append((inline, reader.path))
        step.template = inline.name
        templateCount += 1
      case "withItems", "withParam", "withSequence":
        step.loop = reader.readLoop(value, key: key)
        loopCount += 1
      default: reader.readStepField(key, value, into: &step)
      }
    }
    if case .mapping = node.value {
      if templateCount != 1 {
        report("a step or task names one template, by template, templateRef or inline", at: node.mark)
      }
      if loopCount > 1 { report("takes one of withItems, withParam and withSequence, not \(loopCount)", at: node.mark) }
      if step.depends != nil, !step.dependencies.isEmpty {
        report("takes depends or dependencies, not both", at: node.mark)
      }
    }
    return step
  }

  private mutating func readStepField(_ key: String, _ value: DocumentNode, into step: inout WorkflowStep) {
    switch key {
    case "arguments": step.arguments = readArguments(value)
    case "when": step.when = text(value).flatMap { $0.isEmpty ? nil : $0 }
    case "continueOn":
      var continueOn = ContinueOn()
      fields(of: value, FieldTables.continueOn) { reader, key, value in
        if key == "error" {
          continueOn.error = reader.bool(value) ?? false
        } else {
          continueOn.failed = reader.bool(value) ?? false
        }
      }
      step.continueOn = continueOn
    case "onExit": step.onExit = readOnExit(value) ?? step.onExit
    case "hooks":
      let hooks = readHooks(value)
      step.onExit = hooks.exit ?? step.onExit
      step.hooks = hooks.others
    case "depends": step.depends = text(value).flatMap { $0.isEmpty ? nil : $0 }
    case "dependencies": step.dependencies = texts(value)
    default: break
    }
  }

  private mutating func readLoop(_ node: DocumentNode, key: String) -> Loop? {
    switch key {
    case "withItems":
      // Argo's own type is a list; older documents give a tag in a text, which is what withParam is for.
      if case .string(let text) = node.value, text.contains("{{") { return .param(text) }
      return .items(list(node) { _, item in item.jsonValue })
    case "withParam": return text(node).map { .param($0) }
    default:
      var sequence = Loop.Sequence()
      fields(of: node, FieldTables.sequence) { reader, key, value in
        let range = -Self.sequenceMax...Self.sequenceMax
        switch key {
        case "count": sequence.count = reader.integerText(value, in: 0...Self.sequenceMax)
        case "start": sequence.start = reader.integerText(value, in: range)
        case "end": sequence.end = reader.integerText(value, in: range)
        default: sequence.format = reader.text(value)
        }
      }
      if (sequence.count == nil) == (sequence.end == nil) { report("needs either count or end", at: node.mark) }
      return .sequence(sequence)
    }
  }

  // MARK: Names of templates

  /// A template of the document that is being read.
  private mutating func readTemplateName(_ node: DocumentNode) -> String {
    guard let name = text(node), !name.isEmpty else { return "" }
    if let reference = scope.reference { mention(reference, template: name, at: node.mark) }
    return scope.qualified(name)
  }

  /// A template of another document: what it is called in the workflow. nil, reported, when it names none.
  private mutating func readTemplateRef(_ node: DocumentNode) -> String? {
    guard let (reference, template) = readTemplateReference(node, FieldTables.templateRef) else { return nil }
    mention(reference, template: template, at: node.mark)
    return TemplateScope(reference: reference).qualified(template)
  }

  /// `templateRef` or `workflowTemplateRef`: the other document, and the template in it (empty for the latter).
  mutating func readTemplateReference(
    _ node: DocumentNode, _ table: FieldTable
  ) -> (reference: TemplateReference, template: String)? {
    var reference = TemplateReference(name: "")
    var template = ""
    fields(of: node, table) { reader, key, value in
      switch key {
      case "name": reference.name = reader.text(value) ?? ""
      case "template": template = reader.text(value) ?? ""
      default: reference.isClusterScope = reader.bool(value) ?? false
      }
    }
    guard case .mapping = node.value else { return nil }
    let needsTemplate = table.honoured.contains("template")
    guard !reference.name.isEmpty, !needsTemplate || !template.isEmpty else {
      report(
        needsTemplate ? "needs the name of a workflow template and a template in it" : "needs a name", at: node.mark)
      return nil
    }
    guard !reference.name.hasTags, !template.hasTags else {
      report("tags in the names of templates are not supported yet: name the template itself", at: node.mark)
      return nil
    }
    guard NamePattern.subdomain.matches(reference.name), !needsTemplate || NamePattern.field.matches(template) else {
      report("\"\(reference.name)\" and \"\(template)\" name no template", at: node.mark)
      return nil
    }
    return (reference, template)
  }

  // MARK: Hooks

  /// `onExit: template`; an empty name means none.
  mutating func readOnExit(_ node: DocumentNode) -> ExitHook? {
    let name = readTemplateName(node)
    return name.isEmpty ? nil : ExitHook(template: name)
  }

  /// `hooks`: what runs at the end, and what runs as soon as its condition holds, by name.
  mutating func readHooks(_ node: DocumentNode) -> (exit: ExitHook?, others: [LifecycleHook]) {
    guard case .mapping(let members) = node.value else {
      if !node.isNull { report("must be a map, not \(node.kindName)", at: node.mark) }
      return (nil, [])
    }
    var exit: ExitHook?
    var others: [LifecycleHook] = []
    for member in members {
      at(member.key) { reader in
        let hook = reader.readHook(member.value)
        if member.key == "exit" {
          exit = hook
          return
        }
        if !NamePattern.parameter.matches(member.key) {
          reader.report("the hook's name must consist of \(NamePattern.parameter.rule)", at: member.keyMark)
        }
        if hook.expression?.isEmpty ?? true {
          reader.report("a hook other than exit needs an expression that says when it runs", at: member.keyMark)
        }
        others.append(LifecycleHook(name: member.key, hook: hook))
      }
    }
    return (exit, others.sorted { $0.name < $1.name })
  }

  private mutating func readHook(_ node: DocumentNode) -> ExitHook {
    var hook = ExitHook(template: "")
    var templateCount = 0
    fields(of: node, FieldTables.hook) { reader, key, value in
      if value.isNull { return }
      switch key {
      case "template":
        hook.template = reader.readTemplateName(value)
        templateCount += 1
      case "templateRef":
        hook.template = reader.readTemplateRef(value) ?? ""
        templateCount += 1
      case "expression": hook.expression = reader.text(value)
      default: hook.arguments = reader.readArguments(value)
      }
    }
    if templateCount != 1 { report("a hook names one template, by template or templateRef", at: node.mark) }
    return hook
  }
}
