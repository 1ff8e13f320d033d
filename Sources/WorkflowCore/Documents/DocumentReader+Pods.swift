import FederationModel

/// Parts of pods, which are kept as the Kubernetes API takes them. Their shape is looked at here, and the rest by that API.
extension DocumentReader {
  /// A member of a pod's `spec`; nil where nothing is asked for.
  mutating func readPodMember(_ key: String, _ node: DocumentNode) -> JSONValue? {
    if node.isNull || node.isEmptyList { return nil }
    switch key {
    case "hostAliases", "imagePullSecrets", "resourceClaims", "tolerations":
      return .array(list(node) { reader, item in reader.objectMember(item) })
    case "affinity", "dnsConfig", "lifecycle": return objectMember(node)
    case "securityContext": return readSecurityContext(node)
    default:
      // Names: priorityClassName, schedulerName, runtimeClassName, serviceAccountName, dnsPolicy, imagePullPolicy.
      return text(node).flatMap { $0.isEmpty ? nil : .string($0) }
    }
  }

  /// A map that says something.
  private mutating func objectMember(_ node: DocumentNode) -> JSONValue? {
    guard case .mapping(let members) = node.value else {
      report("must be a map, not \(node.kindName)", at: node.mark)
      return nil
    }
    return members.isEmpty ? nil : node.jsonValue
  }

  /// Of a workflow or a template: one of `PodSettings.specMembers`, or the name that Argo gives it.
  mutating func readPodMember(_ key: String, _ node: DocumentNode, into pod: inout PodSettings) {
    let member = key == "podPriorityClassName" ? "priorityClassName" : key
    pod.spec[member] = readPodMember(member, node)
  }

  /// `podMetadata`.
  mutating func readPodMetadata(_ node: DocumentNode, into pod: inout PodSettings) {
    (pod.labels, pod.annotations) = readObjectLabels(node, FieldTables.objectLabels)
  }

  /// `resourceFieldRef` of a variable, and fields of a pod that no run has elsewhere.
  mutating func readResourceField(_ node: DocumentNode, for variable: String) -> VariableSource? {
    var hasResource = false
    fields(of: node, FieldTables.resourceField) { reader, key, value in
      if key == "resource" { hasResource = reader.text(value)?.isEmpty == false }
    }
    guard hasResource else {
      report("needs the name of a resource, for instance limits.memory", at: node.mark)
      return nil
    }
    return .pod(["resourceFieldRef": node.jsonValue], variable: variable)
  }

  /// `resource` of a template.
  mutating func readResourceTemplate(_ node: DocumentNode) -> ResourceTemplate {
    var resource = ResourceTemplate()
    var action: RunResource.Action?
    fields(of: node, FieldTables.resourceTemplate) { reader, key, value in
      switch key {
      case "action": action = reader.choice(value)
      case "manifest": resource.manifest = reader.text(value) ?? ""
      case "mergeStrategy":
        if value.scalarText != "" { resource.mergeStrategy = reader.choice(value) ?? .strategic }
      case "setOwnerReference": resource.setsOwner = reader.bool(value) ?? false
      case "successCondition": resource.successCondition = reader.condition(value)
      case "failureCondition": resource.failureCondition = reader.condition(value)
      default: resource.flags = reader.texts(value)
      }
    }
    if let action { resource.action = action } else { report("a resource template needs an action", at: node.mark) }
    if resource.manifest.isEmpty, resource.flags.isEmpty, node["manifestFrom"] == nil {
      report("a resource template needs a manifest, or flags that name the object", at: node.mark)
    }
    if Int64(resource.manifest.utf8.count) > RunResource.manifestMax.bytes {
      report("the manifest is larger than \(RunResource.manifestMax)", at: node["manifest"]?.mark ?? node.mark)
    }
    if let action, !resource.flags.contains(where: \.hasTags) {
      do { _ = try KubectlFlags(resource.flags, action: action) } catch {
        report(error.publicMessage, at: node["flags"]?.mark ?? node.mark)
      }
    }
    if !resource.manifest.isEmpty, !resource.manifest.hasTags {
      do throws(DocumentErrors) {
        _ = try DocumentSource.trees(of: Array(resource.manifest.utf8), format: .auto, limits: .standard)
      } catch {
        let problem = error.problems.first.map { ": \($0.message)" } ?? ""
        report("the manifest is neither YAML nor JSON\(problem)", at: node["manifest"]?.mark ?? node.mark)
      }
    }
    return resource
  }

  /// Values of the object are of resource templates alone, and these have no files.
  mutating func checkResourceOutputs(of template: WorkflowTemplate, at node: DocumentNode) {
    let outputs = template.outputs
    let hasPaths = outputs.parameters.contains { if case .jsonPath? = $0.valueFrom?.source { true } else { false } }
    if template.resource == nil {
      if hasPaths { report("jsonPath is of resource templates alone: their object has values", at: node.mark) }
      return
    }
    let waits = template.resource?.successCondition != nil || template.resource?.failureCondition != nil
    if template.resource?.action == .delete, waits || hasPaths {
      report("delete leaves no object: it has neither conditions nor outputs", at: node.mark)
    }
    let hasFiles = outputs.parameters.contains { if case .path? = $0.valueFrom?.source { true } else { false } }
    if hasFiles || !outputs.artifacts.isEmpty || !template.inputs.artifacts.isEmpty {
      report("a resource template has no files: its outputs are values of the object, by jsonPath", at: node.mark)
    }
  }

  /// A template as `kubectl get -o jsonpath=` takes it; one with tags is checked when they are replaced.
  mutating func kubectlPath(_ node: DocumentNode) -> String? {
    guard let text = text(node) else { return nil }
    if !text.hasTags {
      do { try KubectlPath.check(text) } catch { report(error.publicMessage, at: node.mark) }
    }
    return text
  }

  private mutating func condition(_ node: DocumentNode) -> String? {
    guard let text = text(node), !text.isEmpty else { return nil }
    if !text.hasTags {
      do { _ = try ResourceCondition(text) } catch { report("\(error.publicMessage)", at: node.mark) }
    }
    return text
  }
}
