extension DocumentReader {
  static let apiVersion = "argoproj.io/v1alpha1"

  /// The document's values, and where each template stands.
  struct Workflow {
    var metadata = WorkflowMetadata()
    var spec = WorkflowSpec(entrypoint: "")
    /// Of `spec.templates[i]`, the lifted ones and those of other documents included.
    var templatePaths: [DocumentPath] = []
    /// Where `spec` stands.
    var specPath = DocumentPath() / "spec"
    /// Whether the spec is taken from another document that is not here.
    var isOpen = false
  }

  mutating func readWorkflow(_ root: DocumentNode) -> Workflow {
    var workflow = Workflow()
    var annotationBlock: FederationBlock?
    fields(of: root, FieldTables.workflow) { reader, key, value in
      switch key {
      case "apiVersion": reader.checkAPIVersion(value)
      case "kind": break
      case "metadata":
        let added = workflow.metadata
        workflow.metadata = reader.readMetadata(value)
        workflow.metadata.labels.merge(added.labels) { $1 }
        workflow.metadata.annotations.merge(added.annotations) { $1 }
        annotationBlock = reader.readFederationAnnotation(
          workflow.metadata.annotations, at: value["annotations"]?.mark ?? value.mark)
      default:
        reader.readSpec(value, into: &workflow)
      }
    }
    reportMissingParts(of: root)
    readStoredTemplates(root, into: &workflow)
    // In an order of their own: the stored document has its keys in another than its author did.
    workflow.spec.warnings = warnings.sorted()
    if let annotationBlock {
      workflow.spec.federation = (workflow.spec.federation ?? FederationBlock()).filled(from: annotationBlock)
    }
    return workflow
  }

  mutating func checkAPIVersion(_ node: DocumentNode) {
    if let text = text(node), text != Self.apiVersion {
      report("must be \(Self.apiVersion), not \"\(text)\"", at: node.mark)
    }
  }

  mutating func reportMissingParts(of root: DocumentNode) {
    if root["apiVersion"] == nil {
      report("apiVersion is missing: write apiVersion: \(Self.apiVersion)", at: root.mark)
    }
    if root["spec"]?.isNull ?? true { report("spec is missing", at: root.mark) }
  }

  mutating func readMetadata(_ node: DocumentNode) -> WorkflowMetadata {
    var metadata = WorkflowMetadata()
    fields(of: node, FieldTables.metadata) { reader, key, value in
      switch key {
      case "name": metadata.name = reader.name(value, pattern: .subdomain)
      case "generateName": metadata.generateName = reader.name(value, pattern: .generatePrefix)
      case "namespace": metadata.namespace = reader.name(value, pattern: .subdomain)
      case "labels": metadata.labels = reader.textMap(value)
      default: metadata.annotations = reader.textMap(value)
      }
    }
    return metadata
  }

  private mutating func name(_ node: DocumentNode, pattern: NamePattern) -> String? {
    guard let name = text(node), !name.isEmpty else { return nil }
    if !pattern.matches(name) { report("\"\(name)\" must consist of \(pattern.rule)", at: node.mark) }
    return name
  }

  /// Replaces a spec that another document gave by what was made of both.
  static func effective(_ root: DocumentNode) -> DocumentNode {
    guard let merged = root["status"]?["storedWorkflowTemplateSpec"] else { return root }
    var root = root
    root.set("spec", to: merged)
    return root
  }

  /// Templates of other documents, as the resolution put them into `status.storedTemplates`. What a user writes there never comes
  /// this far.
  mutating func readStoredTemplates(_ root: DocumentNode, into workflow: inout Workflow) {
    guard case .mapping(let stored)? = root["status"]?["storedTemplates"]?.value else { return }
    let defaults = root["spec"]?["templateDefaults"]
    for member in stored.sorted(by: { $0.key < $1.key }) {
      let start = inlineTemplates.count
      scope = TemplateScope.split(member.key).scope
      path = DocumentPath() / "status" / "storedTemplates" / member.key
      workflow.spec.templates.append(readTemplate(defaults.map { Self.merge(member.value, over: $0) } ?? member.value))
      workflow.templatePaths.append(path)
      for (template, path) in inlineTemplates[start...] {
        workflow.spec.templates.append(template)
        workflow.templatePaths.append(path)
      }
    }
    (scope, path) = (.local, DocumentPath())
  }

  mutating func readSpec(_ node: DocumentNode, into workflow: inout Workflow) {
    let templateDefaults = readTemplateDefaults(node["templateDefaults"])
    var result = workflow
    fields(of: node, FieldTables.spec) { reader, key, value in
      switch key {
      case "entrypoint": result.spec.entrypoint = reader.text(value) ?? ""
      case "arguments": result.spec.arguments = reader.readArguments(value)
      case "templates": reader.readTemplates(value, defaults: templateDefaults, into: &result)
      case "onExit": result.spec.onExit = reader.readOnExit(value) ?? result.spec.onExit
      case "hooks":
        let hooks = reader.readHooks(value)
        result.spec.onExit = hooks.exit ?? result.spec.onExit
        result.spec.hooks = hooks.others
      case "parallelism":
        result.spec.parallelism = reader.integer(value, in: 0...Self.parallelismMax).flatMap { $0 == 0 ? nil : Int($0) }
      case "activeDeadlineSeconds": result.spec.activeDeadlineSeconds = reader.integer(value, in: 1...Self.secondsMax)
      case "priority": result.spec.priority = reader.integer(value, in: -2_147_483_648...2_147_483_647) ?? 0
      case "synchronization": result.spec.synchronization = reader.readSynchronization(value)
      case "serviceAccountName":
        result.spec.serviceAccountName = reader.text(value).flatMap { $0.isEmpty ? nil : $0 } ?? "default"
        reader.readPodMember(key, value, into: &result.spec.pod)
      case "podResources": result.spec.podResources = reader.readResources(value)
      case "shutdown": if value.scalarText != "" { result.spec.shutdown = reader.choice(value) }
      case "ttlStrategy": result.spec.ttl = value.isNull ? nil : reader.readTTL(value)
      case "suspend": result.spec.suspend = reader.bool(value) ?? false
      case "retryStrategy": result.spec.retryStrategy = value.isNull ? nil : reader.readRetryStrategy(value)
      case "podMetadata": reader.readPodMetadata(value, into: &result.spec.pod)
      case "affinity", "dnsConfig", "dnsPolicy", "hostAliases", "imagePullSecrets", "podPriorityClassName",
        "resourceClaims", "schedulerName", "securityContext", "tolerations":
        reader.readPodMember(key, value, into: &result.spec.pod)
      case "podSpecPatch": result.spec.podSpecPatch = reader.podPatchText(value)
      case "nodeSelector": result.spec.nodeSelector = reader.textMap(value)
      case "volumes": result.spec.volumes += reader.readVolumes(value)
      case "volumeClaimTemplates": result.spec.volumes += reader.readClaimTemplates(value)
      case "volumeClaimGC": result.spec.claimsGoWithFailure = reader.readClaimCollection(value)
      case "federation": result.spec.federation = reader.readFederation(value)
      case "artifactRepositoryRef":
        // It is looked up when the workflow is submitted (`withArtifactRepository`).
        reader.fields(of: value, FieldTables.artifactRepositoryRef) { reader, _, value in
          if reader.text(value)?.contains("{{") == true {
            reader.report("is looked up when the workflow is submitted, and can hold no tags", at: value.mark)
          }
        }
      case "artifactGC":
        result.spec.collection = reader.readCollection(value, FieldTables.workflowArtifactGC)
      case "workflowTemplateRef":
        if let reference = reader.readTemplateReference(value, FieldTables.workflowTemplateRef)?.reference {
          reader.mention(reference, template: nil, at: value.mark)
          result.isOpen = true
        }
      case "workflowMetadata":
        let added = reader.readObjectLabels(value, FieldTables.workflowMetadata)
        if let sources = value["labelsFrom"] {
          result.spec.labelsFrom = reader.at("labelsFrom") { $0.readLabelSources(sources) }
        }
        result.metadata.labels.merge(added.labels) { $1 }
        result.metadata.annotations.merge(added.annotations) { $1 }
      default: break  // templateDefaults: read before
      }
    }
    for (template, path) in inlineTemplates {
      result.spec.templates.append(template)
      result.templatePaths.append(path)
    }
    workflow = result
  }

  private mutating func readTemplates(_ node: DocumentNode, defaults: DocumentNode?, into workflow: inout Workflow) {
    var names: Set<String> = []
    var paths: [DocumentPath] = []
    workflow.spec.templates = list(node) { reader, item in
      let template = reader.readTemplate(defaults.map { Self.merge(item, over: $0) } ?? item)
      reader.checkName(template.name, of: "template", pattern: .field, seen: &names, at: item)
      paths.append(reader.path)
      return template
    }
    workflow.templatePaths = paths
  }

  private mutating func readLabelSources(_ node: DocumentNode) -> [String: String] {
    guard case .mapping(let members) = node.value else {
      if !node.isNull { report("must be a map, not \(node.kindName)", at: node.mark) }
      return [:]
    }
    var sources: [String: String] = [:]
    for member in members {
      at(member.key) { reader in
        reader.fields(of: member.value, FieldTables.labelSource) { reader, _, value in
          sources[member.key] = reader.expressionText(value)
        }
        if sources[member.key] == nil { reader.report("needs an expression", at: member.keyMark) }
      }
    }
    return sources
  }

  private mutating func readTTL(_ node: DocumentNode) -> TTLStrategy {
    var ttl = TTLStrategy()
    fields(of: node, FieldTables.ttlStrategy) { reader, key, value in
      let seconds = reader.integer(value, in: 0...Self.secondsMax)
      switch key {
      case "secondsAfterSuccess": ttl.secondsAfterSuccess = seconds
      case "secondsAfterFailure": ttl.secondsAfterFailure = seconds
      default: ttl.secondsAfterCompletion = seconds
      }
    }
    return ttl
  }

  // MARK: templateDefaults

  /// Checks the defaults as if they were a template, once; nil when there are none or they are no use.
  private mutating func readTemplateDefaults(_ node: DocumentNode?) -> DocumentNode? {
    guard let node, !node.isNull else { return nil }
    let countBefore = problemCount
    at("templateDefaults") { reader in
      // Values are read again inside each template; here only the shape of the fields is of interest.
      reader.fields(of: node, FieldTables.template) { reader, key, value in
        var ignored = WorkflowTemplate(name: "", body: .container(ContainerTemplate()))
        reader.readDefaultsField(key, value, into: &ignored)
      }
    }
    return problemCount == countBefore ? node : nil
  }

  private mutating func readDefaultsField(_ key: String, _ value: DocumentNode, into template: inout WorkflowTemplate) {
    switch key {
    case "container", "script":
      if case .mapping = value.value { return }
      report("must be a map, not \(value.kindName)", at: value.mark)
    case "metadata": _ = readObjectLabels(value, FieldTables.objectLabels)
    default: break
    }
  }

  /// `template` with every field that it leaves open taken from `defaults`; maps are merged, lists are taken whole. A
  /// default
  /// for a kind of template that this one is not does not apply.
  /// - Source: Argo Workflows, docs/template-defaults.md.
  private static func merge(_ template: DocumentNode, over defaults: DocumentNode) -> DocumentNode {
    guard case .mapping(let members) = template.value, case .mapping(let added) = defaults.value else {
      return template
    }
    var result = members
    for member in added where member.key != "name" {
      if let position = members.firstIndex(where: { $0.key == member.key }) {
        result[position].value = fill(members[position].value, from: member.value)
      } else if !bodyFields.contains(member.key) {
        result.append(member)
      }
    }
    return DocumentNode(.mapping(result), mark: template.mark)
  }

  private static func fill(_ node: DocumentNode, from base: DocumentNode) -> DocumentNode {
    guard case .mapping(let members) = node.value, case .mapping(let added) = base.value else { return node }
    var result = members
    for member in added {
      if let position = members.firstIndex(where: { $0.key == member.key }) {
        result[position].value = fill(members[position].value, from: member.value)
      } else {
        result.append(member)
      }
    }
    return DocumentNode(.mapping(result), mark: node.mark)
  }
}
