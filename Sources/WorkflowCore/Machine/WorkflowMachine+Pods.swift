import FederationModel

/// What only Kubernetes can obey.
extension WorkflowMachine {
  /// Settings of the workflow, those of the template in their place, and those of its containers.
  ///
  /// - Source: Argo Workflows v3.7, `addSchedulingConstraints` and `createWorkflowPod` (workflow/controller/workflowpod.go): aliases of
  ///   hosts are added up, everything else of a template is taken whole.
  func takePodSettings(_ template: WorkflowTemplate, at ordinal: Int32, into spec: inout TaskSpec) {
    let context = TagContext.leaf(ordinal)
    // A tag that stands for nothing is left for Kubernetes to refuse: where there is none, the setting means nothing.
    func value(_ written: JSONValue) -> JSONValue { (try? substitute(written, in: context)) ?? written }
    let shared = definition.spec.pod
    var pod = spec.pod ?? PodSettings()
    pod.spec = shared.spec.merging(template.pod.spec) { $1 }.mapValues(value)
    if let common = shared.spec["hostAliases"]?.arrayValue, let own = template.pod.spec["hostAliases"]?.arrayValue {
      pod.spec["hostAliases"] = value(.array(common + own))
    }
    var containers = (template.initContainers + template.sidecars).map { ($0.name, $0.container) }
    if let set = template.containerSet {
      containers += set.containers.map { ($0.name, $0.container) }
    } else if case .container(let main) = template.body {
      containers.append((RunContainers.resultName, main))
    }
    for (name, container) in containers {
      var members = container.podMembers
      let variables: [JSONValue] = container.variableSources.compactMap { source in
        guard case .pod(let from, let variable) = source else { return nil }
        return ["name": .string(variable), "valueFrom": .object(from)]
      }
      if !variables.isEmpty { members["env"] = .array(variables) }
      if !members.isEmpty { pod.containers[name] = members.mapValues(value) }
    }
    func text(_ written: String) -> String { (try? substitute(written, in: context)) ?? written }
    pod.labels = shared.labels.merging(template.labels) { $1 }.mapValues(text)
    pod.annotations = shared.annotations.merging(template.annotations) { $1 }.mapValues(text)
    spec.pod = pod.isEmpty ? nil : pod
  }

  /// What a `resource` template does, with every tag replaced.
  func object(_ template: ResourceTemplate, _ outputs: TemplateOutputs, at ordinal: Int32) throws -> RunResource {
    func text(_ value: String) throws -> String { try substitute(value, in: .leaf(ordinal)) }
    let values = try outputs.parameters.compactMap { parameter -> RunResource.Output? in
      guard case .jsonPath(let path)? = parameter.valueFrom?.source else { return nil }
      return RunResource.Output(
        name: parameter.name, jsonPath: try text(path),
        defaultValue: try (parameter.valueFrom?.defaultValue ?? parameter.defaultValue).map(text))
    }
    return RunResource(
      action: template.action, manifest: try text(template.manifest), mergeStrategy: template.mergeStrategy,
      setsOwner: template.setsOwner, successCondition: try template.successCondition.map(text),
      failureCondition: try template.failureCondition.map(text), flags: try template.flags.map(text), outputs: values,
      workflow: template.setsOwner ? identity.uid : nil)
  }

  /// Its program puts values down as files, which are collected like those of any other.
  func takeObject(
    _ template: ResourceTemplate, _ outputs: TemplateOutputs, at ordinal: Int32, into spec: inout TaskSpec
  )
    throws
  {
    let resource = try object(template, outputs, at: ordinal)
    spec.resource = resource
    guard !resource.outputs.isEmpty else { return }
    spec.scratchPaths.append(RunResource.outputDirectory)
    spec.outputParameters = resource.outputs.enumerated().map { index, output in
      OutputParameter(
        name: output.name, path: RunResource.path(ofOutput: index), defaultValue: output.defaultValue ?? "")
    }
  }
}
