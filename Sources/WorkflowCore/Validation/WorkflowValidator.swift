import FederationModel

/// Checks what a document's parts say about each other: names that must exist, arguments that must be given, tags
/// that must
/// resolve, graphs that must have no cycle.
///
/// It reports everything that it finds. Time is linear in the document, apart from a factor of 1/64 per distinct
/// ancestor that
/// dag tasks refer to without depending on it directly.
struct WorkflowValidator {
  let workflow: DocumentReader.Workflow
  let root: DocumentNode
  let kind: ArgoKind
  /// Positions in `spec.templates`.
  let positions: [String: Int]
  /// Of `spec.templates[i]`: the names that tags may use.
  let names: [TemplateNames]
  /// Templates that the workflow's exit handler reaches: they may speak of `workflow.status`.
  private(set) var exitTemplates: Set<Int> = []
  /// Names of the workflow's own outputs; nil when a name is made from tags, so that any may exist.
  let globalOutputs: (parameters: Set<String>?, artifacts: Set<String>?)
  let workflowParameters: Set<String>
  private(set) var problems: [DocumentProblem] = []
  private(set) var omittedCount = 0

  init(workflow: DocumentReader.Workflow, root: DocumentNode, kind: ArgoKind) {
    self.workflow = workflow
    self.root = root
    self.kind = kind
    positions = Dictionary(
      workflow.spec.templates.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    names = workflow.spec.templates.map(TemplateNames.init)
    workflowParameters = Set(workflow.spec.arguments.parameters.map(\.name))
    globalOutputs = Self.globalOutputs(of: workflow.spec.templates)
  }

  mutating func validate() {
    let spec = workflow.specPath
    exitTemplates = templatesReached(
      from: [workflow.spec.onExit?.template].compactMap(\.self) + workflow.spec.hooks.map(\.hook.template))
    validateEntrypoint(at: spec)
    if let onExit = workflow.spec.onExit {
      validate(onExit, at: spec, scope: TagScope(isInExitHandler: true), defaults: workflowParameters)
    }
    for hook in workflow.spec.hooks {
      validate(
        hook.hook, named: hook.name, at: spec, scope: TagScope(isInExitHandler: true), defaults: workflowParameters)
    }
    let scope = TagScope()
    validateArgumentTags(workflow.spec.arguments, scope, at: spec / "arguments")
    if let retry = workflow.spec.retryStrategy {
      validateTags(of: retry, TagScope(hasRetries: true), at: spec / "retryStrategy")
    }
    for (name, value) in workflow.spec.nodeSelector.sorted(by: { $0.key < $1.key }) {
      check(value, scope, at: spec / "nodeSelector" / name)
    }
    if let synchronization = workflow.spec.synchronization { validateTags(of: synchronization, scope, at: spec) }
    validateCommonPreemptionHook(at: spec)
    for index in workflow.spec.templates.indices { validateTemplate(index) }
  }

  mutating func report(_ message: String, at path: DocumentPath, suggestion: @autoclosure () -> String? = nil) {
    guard problems.count < DocumentErrors.limit else {
      omittedCount += 1
      return
    }
    problems.append(
      DocumentProblem(path: path.description, mark: path.mark(in: root), message: message, suggestion: suggestion()))
  }

  // MARK: Entrypoint and reach

  private mutating func validateEntrypoint(at spec: DocumentPath) {
    if let reference = (spec / "workflowTemplateRef").node(in: root), !reference.isNull {
      if kind.isTemplate {
        report("a workflow template cannot take another one whole", at: spec / "workflowTemplateRef")
      }
      if workflow.isOpen, !workflow.spec.templates.isEmpty {
        report("templates cannot be given beside workflowTemplateRef", at: spec / "templates")
      }
    }
    if kind == .cronWorkflow, !workflow.isOpen { validateValues(at: spec / "arguments" / "parameters") }
    if workflow.isOpen { return }
    let name = workflow.spec.entrypoint
    guard !name.isEmpty else {
      if kind.isTemplate { return }
      report("entrypoint is missing: name the template to begin with", at: spec)
      return
    }
    guard let index = positions[name], !workflow.spec.templates[index].isInline else {
      reportMissingTemplate(name, at: spec / "entrypoint")
      return
    }
    // Whoever makes a workflow of it gives what is missing.
    if kind.isTemplate { return }
    let template = workflow.spec.templates[index]
    let path = workflow.templatePaths[index] / "inputs"
    let artifacts = Set(workflow.spec.arguments.artifacts.map(\.name))
    for (position, parameter) in template.inputs.parameters.enumerated()
    where parameter.isRequired && !workflowParameters.contains(parameter.name) {
      report(
        "the entrypoint needs the parameter \"\(parameter.name)\": give it in spec.arguments.parameters or a default",
        at: path / "parameters" / position)
    }
    for (position, artifact) in template.inputs.artifacts.enumerated()
    where artifact.isRequired && !artifacts.contains(artifact.name) {
      report(
        "the entrypoint needs the artifact \"\(artifact.name)\": give it in spec.arguments.artifacts",
        at: path / "artifacts" / position)
    }
  }

  /// Nobody is there to give an argument of a scheduled workflow.
  private mutating func validateValues(at path: DocumentPath) {
    for (index, parameter) in workflow.spec.arguments.parameters.enumerated() where parameter.isRequired {
      report(
        "the parameter \"\(parameter.name)\" needs a value: nobody gives one at the scheduled time", at: path / index)
    }
  }

  /// Whether a template that is not here may be believed in: another document has it, and the resolution looks there.
  func isElsewhere(_ template: String) -> Bool { workflow.isOpen || template.contains("/") }

  mutating func reportMissingTemplate(_ name: String, at path: DocumentPath) {
    let workflow = workflow
    report(
      "there is no template \"\(name)\"", at: path,
      suggestion: NearestName.find(
        name, among: workflow.spec.templates.lazy.filter { !$0.isInline && !$0.name.contains("/") }.map(\.name)))
  }

  private func templatesReached(from names: [String]) -> Set<Int> {
    var reached: Set<Int> = []
    var open = names.compactMap { positions[$0] }
    while let index = open.popLast() {
      guard reached.insert(index).inserted else { continue }
      for step in workflow.spec.templates[index].allSteps {
        open += ([step.template] + step.hookTemplates).compactMap { positions[$0] }
      }
    }
    return reached
  }

  private static func globalOutputs(
    of templates: [WorkflowTemplate]
  ) -> (parameters: Set<String>?, artifacts: Set<String>?) {
    func names(_ all: [String]) -> Set<String>? { all.contains { $0.contains("{{") } ? nil : Set(all) }
    return (
      names(templates.flatMap { $0.outputs.parameters.compactMap(\.globalName) }),
      names(templates.flatMap { $0.outputs.artifacts.compactMap(\.globalName) })
    )
  }

  // MARK: Templates

  private mutating func validateTemplate(_ index: Int) {
    let template = workflow.spec.templates[index]
    let path = workflow.templatePaths[index]
    var scope = TagScope(template: index, isTask: template.isTask, isInExitHandler: exitTemplates.contains(index))
    scope.hasRetries = template.retryStrategy != nil || workflow.spec.retryStrategy != nil
    validateCommonTags(of: template, scope, at: path)
    if let onExit = template.onExit { validate(onExit, at: path, scope: scope) }
    switch template.body {
    case .container(let container):
      let isScript = container.source != nil
      if let http = template.http {
        for text in http.texts { check(text, scope, at: path / "http") }
      } else if let resource = template.resource {
        for text in resource.texts { check(text, scope, at: path / "resource") }
      } else if let expressions = template.transformations {
        for text in expressions {
          if text.hasTags {
            check(text, scope, at: path / "data" / "transformation")
          } else {
            checkExpression(text, at: path / "data" / "transformation")
          }
        }
      } else if template.containerSet == nil {
        validateContainer(container, of: template, scope, at: path / (isScript ? "script" : "container"))
      }
      for text in template.pod.texts { check(text, scope, at: path) }
      validateCompanions(of: template, scope, at: path)
      validateLeafOutputs(template, at: path / "outputs")
    case .suspend(let duration):
      if let duration { check(duration, scope, at: path / "suspend" / "duration") }
    case .steps(let groups): validateSteps(groups, of: template, scope, at: path)
    case .dag(let dag): validateDAG(dag, of: template, scope, at: path)
    }
    if template.isTask {
      validateArtifactPaths(template, at: path)
      validateDatasetPaths(template, at: path)
      validatePreemptionHook(template, at: path)
    }
  }

  private mutating func validateCompanions(of template: WorkflowTemplate, _ scope: TagScope, at path: DocumentPath) {
    let groups = [
      (path / "initContainers", template.initContainers), (path / "sidecars", template.sidecars),
      (path / "containerSet" / "containers", template.containerSet?.containers ?? []),
    ]
    for (place, companions) in groups {
      for (index, companion) in companions.enumerated() {
        validateContainer(companion.container, of: template, scope, at: place / index)
      }
    }
    if let set = template.containerSet {
      for text in [set.retries, set.retryPause].compactMap({ $0 }) {
        check(text, scope, at: path / "containerSet" / "retryStrategy")
      }
    }
  }

  private mutating func validateContainer(
    _ container: ContainerTemplate, of template: WorkflowTemplate, _ scope: TagScope, at path: DocumentPath
  ) {
    check(container.image, scope, at: path / "image")
    for (index, text) in container.command.enumerated() { check(text, scope, at: path / "command" / index) }
    for (index, text) in container.args.enumerated() { check(text, scope, at: path / "args" / index) }
    if let source = container.source { check(source, scope, at: path / "source") }
    for (index, variable) in container.env.enumerated() {
      check(variable.value, scope, at: path / "env" / index / "value")
    }
    for source in container.variableSources {
      guard case .object(let source) = source else { continue }
      var texts = [source.object.name]
      switch source {
      case .value(_, let key, _, _): texts.append(key)
      case .all(_, let prefix, _): texts.append(prefix)
      }
      for text in texts { check(text, scope, at: path / "env") }
    }
    for text in container.podMembers.values.flatMap(\.texts) { check(text, scope, at: path) }
    for text in container.probes?.all.flatMap(\.texts) ?? [] { check(text, scope, at: path) }
    checkSecretReferences(of: container, at: path)
    if let directory = container.workingDir { check(directory, scope, at: path / "workingDir") }
    for (key, amounts) in [("requests", container.resources.requests), ("limits", container.resources.limits)] {
      for (name, amount) in amounts { check(amount, scope, at: path / "resources" / key / name) }
    }
    if container.volumeMounts.isEmpty { return }
    let all = workflow.spec.volumes + template.volumes
    let volumes = Set(all.map(\.name))
    let claims = Set(all.filter(\.isClaim).map(\.name))
    for (index, mount) in container.volumeMounts.enumerated() {
      check(mount.mountPath, scope, at: path / "volumeMounts" / index / "mountPath")
      check(mount.name, scope, at: path / "volumeMounts" / index / "name")
      if let part = mount.subPath { check(part, scope, at: path / "volumeMounts" / index / "subPath") }
      if mount.subPath != nil, claims.contains(mount.name) {
        report(
          "a part of a volume claim cannot be mounted alone: mount all of it",
          at: path / "volumeMounts" / index / "subPath")
      }
      if claims.contains(mount.name) { checkFiles(of: template, inClaimAt: mount.mountPath) }
      if !volumes.contains(mount.name), !mount.name.contains("{{") {
        report(
          "there is no volume \"\(mount.name)\"", at: path / "volumeMounts" / index / "name",
          suggestion: NearestName.find(mount.name, among: volumes.sorted()))
      }
    }
  }

  /// What would end every run of the template is said before the first; paths with tags are known when a run is.
  private mutating func checkFiles(of template: WorkflowTemplate, inClaimAt directory: String) {
    guard !directory.contains("{{"), let index = workflow.spec.templates.firstIndex(where: { $0.name == template.name })
    else { return }
    let path = workflow.templatePaths[index]
    func check(_ place: String?, _ part: DocumentPath) {
      guard let place, place == directory || place.hasPrefix(directory.hasSuffix("/") ? directory : directory + "/")
      else { return }
      report(
        "files in a volume claim are not supported: artifacts and values are read and written outside of them", at: part
      )
    }
    for (number, artifact) in template.inputs.artifacts.enumerated() {
      check(artifact.path, path / "inputs" / "artifacts" / number / "path")
    }
    for (number, artifact) in template.outputs.artifacts.enumerated() {
      check(artifact.path, path / "outputs" / "artifacts" / number / "path")
    }
    for (number, parameter) in template.outputs.parameters.enumerated() {
      guard case .path(let place)? = parameter.valueFrom?.source else { continue }
      check(place, path / "outputs" / "parameters" / number / "valueFrom" / "path")
    }
  }

  /// What would show a secret to everybody is said before the task fails for it.
  private mutating func checkSecretReferences(of container: ContainerTemplate, at path: DocumentPath) {
    var secret: Set<String> = []
    for case .object(.value(let variable, _, let object, _)) in container.variableSources where object.kind == .secret {
      secret.insert(variable)
    }
    guard !secret.isEmpty else { return }
    for (key, texts) in [("command", container.command), ("args", container.args)] {
      for (index, text) in texts.enumerated() {
        guard let name = VariableReferences.names(in: text).first(where: secret.contains) else { continue }
        report(VariableReferences.secretInArguments(name).publicMessage, at: path / key / index)
      }
    }
  }

  /// What a container hands on lies in a file; what a steps or dag template hands on is another's.
  private mutating func validateLeafOutputs(_ template: WorkflowTemplate, at path: DocumentPath) {
    for (index, parameter) in template.outputs.parameters.enumerated() {
      switch parameter.valueFrom?.source {
      case .path, .expression, .jsonPath: continue
      case .parameter, .supplied, nil:
        if parameter.value != nil || parameter.defaultValue != nil || parameter.valueFrom?.defaultValue != nil {
          continue
        }
        report("an output parameter of a container needs valueFrom.path", at: path / "parameters" / index)
      }
    }
    for (index, artifact) in template.outputs.artifacts.enumerated() {
      if let foreign = artifact.foreign { validate(foreign, ofOutput: artifact, at: path / "artifacts" / index) }
      if artifact.subPath != nil { report("is of inputs alone", at: path / "artifacts" / index / "subPath") }
    }
    for (index, artifact) in template.outputs.artifacts.enumerated() where artifact.path == nil && !artifact.optional {
      report("an output artifact of a container needs a path", at: path / "artifacts" / index)
    }
  }

  /// Where an output goes that the repository does not get.
  private mutating func validate(
    _ foreign: ForeignSource, ofOutput artifact: WorkflowArtifact, at path: DocumentPath
  ) {
    switch foreign.place {
    case .git: report("a git repository is of inputs alone", at: path / "git")
    case .http, .s3:
      let collection = artifact.collection ?? workflow.spec.collection
      if collection != nil, collection != .never {
        report(
          "what is put into somebody's bucket or server stays there: artifactGC with strategy Never is the one that can be kept",
          at: path / foreign.field)
      }
    }
  }

  private mutating func validateArtifactPaths(_ template: WorkflowTemplate, at path: DocumentPath) {
    var seen: [String: String] = [:]
    for (index, artifact) in template.inputs.artifacts.enumerated() {
      // What a data template lists is fetched by nobody.
      if template.transformations != nil { continue }
      guard let place = artifact.path else {
        report("an input artifact of a container needs a path", at: path / "inputs" / "artifacts" / index)
        continue
      }
      if let other = seen.updateValue(artifact.name, forKey: place) {
        report(
          "the artifacts \"\(other)\" and \"\(artifact.name)\" have the same path \(place)",
          at: path / "inputs" / "artifacts" / index / "path")
      }
    }
  }
}

/// The names of a template's inputs and outputs.
struct TemplateNames {
  let inputParameters: Set<String>
  let inputArtifacts: Set<String>
  let outputParameters: Set<String>
  let outputArtifacts: Set<String>

  init(_ template: WorkflowTemplate) {
    inputParameters = Set(template.inputs.parameters.map(\.name))
    inputArtifacts = Set(template.inputs.artifacts.map(\.name))
    outputParameters = Set(template.outputs.parameters.map(\.name))
    outputArtifacts = Set(template.outputs.artifacts.map(\.name))
  }
}

extension WorkflowParameter {
  /// Whether an input must be given by the caller.
  var isRequired: Bool { value == nil && defaultValue == nil && valueFrom == nil }
}

extension WorkflowArtifact {
  /// Whether an input must be given by the caller.
  var isRequired: Bool {
    !optional && raw == nil && key == nil && foreign == nil && from == nil && fromExpression == nil
  }
}

extension WorkflowStep {
  /// What its hooks run, the exit handler included.
  var hookTemplates: [String] { [onExit?.template].compactMap(\.self) + hooks.map(\.hook.template) }
}

extension WorkflowTemplate {
  /// Steps of all groups, or tasks; empty for leaves.
  var allSteps: [WorkflowStep] {
    switch body {
    case .steps(let groups): groups.flatMap { $0 }
    case .dag(let dag): dag.tasks
    case .container, .suspend: []
    }
  }
}
