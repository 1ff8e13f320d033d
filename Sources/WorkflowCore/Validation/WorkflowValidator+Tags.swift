import FederationModel

/// Why a tag cannot be resolved.
private struct TagProblem {
  var message: String
  /// Looked for only when the problem is listed.
  var suggestion: () -> String?
  init(_ message: String, suggestion: @autoclosure @escaping () -> String? = nil) {
    self.message = message
    self.suggestion = suggestion
  }
}

extension WorkflowValidator {
  /// Reports the tags of `text` that nothing in `scope` can resolve.
  ///
  /// A tag that begins with no name of Argo's is somebody else's (`{{.State}}` of another tool) and left as it is, as
  /// in Argo.
  /// Of an expression (`{{=...}}`) only the grammar is checked: what its names mean is known when it is evaluated.
  mutating func check(_ text: String, _ scope: TagScope, at path: @autoclosure () -> DocumentPath) {
    guard text.hasTags else { return }
    let (tags, unclosed) = DocumentTag.scan(text)
    for tag in tags {
      if tag.isExpression {
        checkExpression(tag.text, at: path())
        continue
      }
      guard let problem = problem(of: tag.text, in: scope) else { continue }
      report("{{\(tag.text)}} cannot be resolved: \(problem.message)", at: path(), suggestion: problem.suggestion())
    }
    // Braces that another tool wants are left alone; what begins like one of ours was meant as a tag.
    if let unclosed, Self.tagRoots.contains(where: { unclosed.drop { $0 == " " }.hasPrefix($0 + ".") }) {
      report("a tag is opened with {{ but never closed with }}", at: path())
    }
  }

  /// Reports an expr-lang text that is none. One with tags inside becomes an expression only when they are replaced.
  mutating func checkExpression(_ text: String, at path: @autoclosure () -> DocumentPath) {
    if text.hasTags { return }
    do {
      _ = try ExpressionParser.parse(text)
    } catch {
      report((error as? FederationError)?.publicMessage ?? "\(error)", at: path())
    }
  }

  private static let tagRoots = ["inputs", "item", "outputs", "steps", "tasks", "workflow"]

  private func problem(of tag: String, in scope: TagScope) -> TagProblem? {
    let parts = tag.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    switch parts[0] {
    case "inputs": return inputProblem(parts, in: scope)
    case "outputs": return outputProblem(parts, in: scope)
    case "workflow": return workflowProblem(parts, in: scope)
    case "steps", "tasks": return siblingProblem(parts, in: scope)
    case "item": return itemProblem(parts, in: scope)
    case "pod":
      if parts != ["pod", "name"] { return TagProblem("of the pod there is only pod.name") }
      return scope.isTask ? nil : TagProblem("only container and script templates have a pod")
    case "node": return parts == ["node", "name"] ? nil : TagProblem("of the node there is only node.name")
    case "retries", "lastRetry":
      return scope.hasRetries ? nil : TagProblem("the template has no retryStrategy")
    default: return nil
    }
  }

  // MARK: Of the template itself

  private func inputProblem(_ parts: [String], in scope: TagScope) -> TagProblem? {
    guard let template = scope.template else { return TagProblem("there are no inputs here") }
    let known: Set<String>
    switch (parts.count > 1 ? parts[1] : "", parts.count) {
    case ("parameters", 2): return nil
    case ("parameters", 3): known = names[template].inputParameters
    case ("artifacts", 3): known = names[template].inputArtifacts
    case ("artifacts", 4) where parts[3] == "path": known = names[template].inputArtifacts
    default: return TagProblem("write inputs.parameters.NAME, inputs.artifacts.NAME or inputs.artifacts.NAME.path")
    }
    if known.contains(parts[2]) { return nil }
    return TagProblem(
      "template \"\(workflow.spec.templates[template].name)\" has no input \(parts[1].dropLast()) \"\(parts[2])\"",
      suggestion: NearestName.find(parts[2], among: known.sorted()))
  }

  private func outputProblem(_ parts: [String], in scope: TagScope) -> TagProblem? {
    guard let template = scope.template, scope.isTask else {
      return TagProblem("only a container has outputs of its own")
    }
    guard parts.count == 4, parts[3] == "path", parts[1] == "parameters" || parts[1] == "artifacts" else {
      return TagProblem("write outputs.parameters.NAME.path or outputs.artifacts.NAME.path")
    }
    let known = parts[1] == "parameters" ? names[template].outputParameters : names[template].outputArtifacts
    if known.contains(parts[2]) { return nil }
    return TagProblem(
      "template \"\(workflow.spec.templates[template].name)\" has no output \(parts[1].dropLast()) \"\(parts[2])\"",
      suggestion: NearestName.find(parts[2], among: known.sorted()))
  }

  private func itemProblem(_ parts: [String], in scope: TagScope) -> TagProblem? {
    switch scope.item {
    case nil: return TagProblem("there is no withItems, withParam or withSequence here")
    case .anything: return nil
    case .keys(let keys):
      if parts.count == 1 || keys.contains(parts[1...].joined(separator: ".")) || keys.contains(parts[1]) { return nil }
      return TagProblem(
        "no item has the key \"\(parts[1])\"", suggestion: NearestName.find(parts[1], among: keys.sorted()))
    }
  }

  // MARK: Of the workflow

  private static let workflowFields: Set<String> = [
    "creationTimestamp", "duration", "mainEntrypoint", "name", "namespace", "parameters", "priority", "scheduledTime",
    "serviceAccountName", "uid",
  ]

  private func workflowProblem(_ parts: [String], in scope: TagScope) -> TagProblem? {
    guard parts.count > 1 else { return TagProblem("say which field of the workflow") }
    let rest = parts.dropFirst(2).joined(separator: ".")
    // A template is used by workflows that may have more of these than it names itself.
    let isOpen = kind.isTemplate || workflow.isOpen
    if isOpen, parts.count > 2, ["parameters", "labels", "annotations", "outputs"].contains(parts[1]) { return nil }
    switch parts[1] {
    case "status" where parts.count == 2: return nil
    case "failures":
      return scope.isInExitHandler && parts.count == 2
        ? nil : TagProblem("it is known only in the workflow's exit handler")
    case "parameters" where parts.count > 2:
      if workflowParameters.contains(rest) || rest == "json" { return nil }
      return TagProblem(
        "the workflow has no parameter \"\(rest)\"",
        suggestion: NearestName.find(rest, among: workflowParameters.sorted()))
    case "labels", "annotations":
      let made = workflow.spec.labelsFrom
      let values = parts[1] == "labels" ? workflow.metadata.labels.merging(made) { $1 } : workflow.metadata.annotations
      if parts.count == 2 || rest == "json" || values[rest] != nil { return nil }
      return TagProblem(
        "the workflow has no \(parts[1].dropLast()) \"\(rest)\"",
        suggestion: NearestName.find(rest, among: values.keys.sorted()))
    case "outputs": return globalOutputProblem(parts)
    case "creationTimestamp": return nil
    default:
      if parts.count == 2, Self.workflowFields.contains(parts[1]) { return nil }
      return TagProblem(
        "the workflow has no field \"\(parts.dropFirst().joined(separator: "."))\"",
        suggestion: NearestName.find(parts[1], among: Self.workflowFields.sorted()))
    }
  }

  private func globalOutputProblem(_ parts: [String]) -> TagProblem? {
    guard parts.count == 4, parts[2] == "parameters" || parts[2] == "artifacts" else {
      return TagProblem("write workflow.outputs.parameters.NAME or workflow.outputs.artifacts.NAME")
    }
    guard let known = parts[2] == "parameters" ? globalOutputs.parameters : globalOutputs.artifacts else { return nil }
    if known.contains(parts[3]) { return nil }
    return TagProblem(
      "no output has the globalName \"\(parts[3])\"", suggestion: NearestName.find(parts[3], among: known.sorted()))
  }

  // MARK: Of other steps and tasks

  private static let siblingFields: Set<String> = [
    "exitCode", "finishedAt", "hostNodeName", "id", "ip", "startedAt", "status",
  ]

  private func siblingProblem(_ parts: [String], in scope: TagScope) -> TagProblem? {
    if parts.count == 2, parts[1] == "name" { return nil }
    guard let siblings = scope.siblings, siblings.prefix == parts[0] else {
      return TagProblem(
        scope.siblings.map { "here the others are called \($0.prefix), not \(parts[0])" }
          ?? "only steps and dag templates can refer to \(parts[0])")
    }
    let kind = String(parts[0].dropLast())
    guard parts.count >= 3 else { return TagProblem("write \(parts[0]).NAME.outputs. and what you need of it") }
    guard let outputs = siblings.visible[parts[1]] else {
      if siblings.all.contains(parts[1]) {
        return TagProblem("the \(kind) \"\(parts[1])\" has not ended before this one begins")
      }
      return TagProblem(
        "there is no \(kind) \"\(parts[1])\"", suggestion: NearestName.find(parts[1], among: siblings.all.sorted()))
    }
    if outputs.isUnknown { return nil }
    if parts.count == 3, parts[2] == "ip", !workflow.spec.templates[outputs.template].isDaemon {
      return TagProblem(
        "only a daemon has an ip that others can use, and template "
          + "\"\(workflow.spec.templates[outputs.template].name)\" is none")
    }
    if parts.count == 3, Self.siblingFields.contains(parts[2]) { return nil }
    guard parts[2] == "outputs", parts.count > 3 else {
      return TagProblem(
        "a \(kind) has no field \"\(parts[2])\"",
        suggestion: NearestName.find(parts[2], among: Self.siblingFields.union(["outputs"]).sorted()))
    }
    return siblingOutputProblem(parts, outputs)
  }

  private func siblingOutputProblem(_ parts: [String], _ outputs: TagScope.Outputs) -> TagProblem? {
    let template = workflow.spec.templates[outputs.template].name
    let known: Set<String>
    switch (parts[3], parts.count) {
    case ("result", 4), ("exitCode", 4):
      return outputs.hasResult
        ? nil : TagProblem("template \"\(template)\" runs no program of its own, so it has no \(parts[3])")
    case ("parameters", 4): return outputs.isLoop ? nil : TagProblem("say which parameter")
    case ("parameters", 5): known = names[outputs.template].outputParameters
    case ("artifacts", 5): known = names[outputs.template].outputArtifacts
    default:
      return TagProblem("write outputs.result, outputs.exitCode, outputs.parameters.NAME or outputs.artifacts.NAME")
    }
    if known.contains(parts[4]) { return nil }
    return TagProblem(
      "template \"\(template)\" has no output \(parts[3].dropLast()) \"\(parts[4])\"",
      suggestion: NearestName.find(parts[4], among: known.sorted()))
  }

  // MARK: Where tags stand

  mutating func validateArgumentTags(_ arguments: WorkflowArguments, _ scope: TagScope, at path: DocumentPath) {
    for (index, parameter) in arguments.parameters.enumerated() {
      if let value = parameter.value { check(value, scope, at: path / "parameters" / index / "value") }
      let source = path / "parameters" / index / "valueFrom"
      if case .parameter(let text) = parameter.valueFrom?.source { check(text, scope, at: source / "parameter") }
      if case .expression(let text) = parameter.valueFrom?.source { checkExpression(text, at: source / "expression") }
    }
    for (index, artifact) in arguments.artifacts.enumerated() {
      validateTags(of: artifact, scope, at: path / "artifacts" / index)
    }
  }

  private mutating func validateTags(of artifact: WorkflowArtifact, _ scope: TagScope, at path: DocumentPath) {
    if let from = artifact.from { check(from, scope, at: path / "from") }
    if let text = artifact.fromExpression { checkExpression(text, at: path / "fromExpression") }
    if let raw = artifact.raw { check(raw, scope, at: path / "raw" / "data") }
    if let key = artifact.key { check(key, scope, at: path / "s3" / "key") }
    if let foreign = artifact.foreign {
      for text in foreign.texts { check(text, scope, at: path / foreign.field) }
    }
    if let part = artifact.subPath { check(part, scope, at: path / "subPath") }
    if let place = artifact.path { check(place, scope, at: path / "path") }
  }

  mutating func validateTags(of synchronization: Synchronization, _ scope: TagScope, at path: DocumentPath) {
    for text in synchronization.locks.flatMap({ [$0.name, $0.key, $0.namespace ?? ""] }) {
      check(text, scope, at: path / "synchronization")
    }
  }

  mutating func validateTags(of retry: RetryStrategy, _ scope: TagScope, at path: DocumentPath) {
    if let limit = retry.limit { check(limit, scope, at: path / "limit") }
    if let text = retry.expression { checkExpression(text, at: path / "expression") }
    if let backoff = retry.backoff {
      if let text = backoff.duration { check(text, scope, at: path / "backoff" / "duration") }
      if let text = backoff.factor { check(text, scope, at: path / "backoff" / "factor") }
      if let text = backoff.maxDuration { check(text, scope, at: path / "backoff" / "maxDuration") }
      if let text = backoff.cap { check(text, scope, at: path / "backoff" / "cap") }
    }
  }

  /// The fields that every kind of template has.
  mutating func validateCommonTags(of template: WorkflowTemplate, _ scope: TagScope, at path: DocumentPath) {
    for (index, parameter) in template.inputs.parameters.enumerated() {
      // Argo sees a template with its caller's arguments: of an item only that knows which may be given in place of this.
      if let value = parameter.value, !value.contains("{{item") {
        check(value, scope, at: path / "inputs" / "parameters" / index / "value")
      }
      if let text = parameter.defaultValue {
        check(text, scope, at: path / "inputs" / "parameters" / index / "default")
      }
    }
    for (index, artifact) in template.inputs.artifacts.enumerated() {
      validateTags(of: artifact, scope, at: path / "inputs" / "artifacts" / index)
    }
    if let retry = template.retryStrategy { validateTags(of: retry, scope, at: path / "retryStrategy") }
    if let synchronization = template.synchronization { validateTags(of: synchronization, scope, at: path) }
    if let memoize = template.memoize {
      check(memoize.key, scope, at: path / "memoize" / "key")
      check(memoize.cache, scope, at: path / "memoize" / "cache" / "configMap" / "name")
      if let age = memoize.maxAge { check(age, scope, at: path / "memoize" / "maxAge") }
    }
    if let timeout = template.pendingTimeout { check(timeout, scope, at: path / "pendingTimeout") }
    for (name, value) in template.annotations where name == WorkflowTemplate.displayNameAnnotation {
      check(value, scope, at: path / "annotations" / name)
    }
    for amounts in [template.podResources?.requests, template.podResources?.limits].compactMap(\.self) {
      for (name, amount) in amounts { check(amount, scope, at: path / "podResources" / name) }
    }
    if let timeout = template.timeout { check(timeout, scope, at: path / "timeout") }
    if let deadline = template.activeDeadlineSeconds { check(deadline, scope, at: path / "activeDeadlineSeconds") }
    for (name, value) in template.nodeSelector { check(value, scope, at: path / "nodeSelector" / name) }
    guard template.isTask else { return }
    for (index, parameter) in template.outputs.parameters.enumerated() {
      if case .path(let text) = parameter.valueFrom?.source {
        check(text, scope, at: path / "outputs" / "parameters" / index / "valueFrom" / "path")
      }
      if case .jsonPath(let text) = parameter.valueFrom?.source {
        check(text, scope, at: path / "outputs" / "parameters" / index / "valueFrom" / "jsonPath")
      }
    }
    for (index, artifact) in template.outputs.artifacts.enumerated() {
      validateTags(of: artifact, scope, at: path / "outputs" / "artifacts" / index)
      check(artifact.name, scope, at: path / "outputs" / "artifacts" / index / "name")
    }
  }
}
