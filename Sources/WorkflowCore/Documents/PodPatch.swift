import FederationModel

/// `podSpecPatch`: what it may change of a run, as Kubernetes' strategic merge would: maps are merged, containers and variables by their
/// names, everything else is replaced.
struct PodPatch: Hashable, Sendable {
  struct Container: Hashable, Sendable {
    var image: String?
    var command: [String]?
    var args: [String]?
    var env: [EnvironmentVariable] = []
    var workingDir: String?
    var resources = ResourceRequirements()
    /// What only Kubernetes can obey.
    var podMembers: [String: JSONValue] = [:]
  }
  /// By name; the template's own is called main.
  var containers: [String: Container] = [:]
  var nodeSelector: [String: String] = [:]
  var activeDeadlineSeconds: String?
  var terminationGraceSeconds: Int64?
  /// What only Kubernetes can obey.
  var pod = PodSettings()

  /// - Throws: `DocumentErrors` for what is neither YAML nor JSON, and for fields that cannot be changed here.
  init(_ text: String) throws(DocumentErrors) {
    let trees = try DocumentSource.trees(of: Array(text.utf8), format: .auto, limits: .standard)
    var reader = DocumentReader(isStrict: true)
    self = reader.readPodPatch(try DocumentSource.only(of: trees))
    guard reader.problems.isEmpty else { throw DocumentErrors(problems: reader.problems) }
  }

  fileprivate init() {}

  /// - Throws: `FederationError` (`invalidArgument`) when it is about a container that the template does not have.
  func apply(to template: inout WorkflowTemplate) throws {
    var rest = containers
    func patch(_ container: inout ContainerTemplate, _ name: String) {
      rest.removeValue(forKey: name)?.apply(to: &container)
    }
    if case .container(var main) = template.body, template.containerSet == nil {
      patch(&main, RunContainers.resultName)
      template.body = .container(main)
    }
    for index in template.sidecars.indices {
      patch(&template.sidecars[index].container, template.sidecars[index].name)
    }
    for index in template.initContainers.indices {
      patch(&template.initContainers[index].container, template.initContainers[index].name)
    }
    for index in template.containerSet?.containers.indices ?? 0..<0 {
      patch(&template.containerSet!.containers[index].container, template.containerSet!.containers[index].name)
    }
    if let name = rest.keys.min() {
      throw FederationError(.invalidArgument, "podSpecPatch: the template has no container \(name)")
    }
    template.nodeSelector.merge(nodeSelector) { $1 }
    template.pod.spec.merge(pod.spec) { $1 }
    template.activeDeadlineSeconds = activeDeadlineSeconds ?? template.activeDeadlineSeconds
  }
}

extension PodPatch.Container {
  fileprivate func apply(to container: inout ContainerTemplate) {
    container.image = image ?? container.image
    container.command = command ?? container.command
    container.args = args ?? container.args
    container.workingDir = workingDir ?? container.workingDir
    container.resources.requests.merge(resources.requests) { $1 }
    container.resources.limits.merge(resources.limits) { $1 }
    container.podMembers.merge(podMembers) { $1 }
    for variable in env {
      container.variableSources.removeAll { $0.variable == variable.name }
      if let index = container.env.firstIndex(where: { $0.name == variable.name }) {
        container.env[index] = variable
      } else {
        container.env.append(variable)
      }
    }
  }
}

extension VariableSource {
  /// The one variable that it is; nil for a whole object.
  fileprivate var variable: String? {
    switch self {
    case .field(_, let variable), .pod(_, let variable), .object(.value(let variable, _, _, _)): variable
    case .object(.all): nil
    }
  }
}

extension DocumentReader {
  /// The text of a `podSpecPatch`, whose fields are checked if it can be read before its tags are replaced.
  mutating func podPatchText(_ node: DocumentNode) -> String? {
    guard let text = text(node), !text.allSatisfy(\.isWhitespace) else { return nil }
    if isTrusted { return text }
    do throws(DocumentErrors) { _ = try PodPatch(text) } catch {
      // A tag may stand where no text could.
      if error.problems.allSatisfy({ $0.path.isEmpty }), text.hasTags { return text }
      for problem in error.problems {
        report("\(problem.path.isEmpty ? "" : problem.path + ": ")\(problem.message)", at: node.mark)
      }
    }
    return text
  }

  fileprivate mutating func readPodPatch(_ node: DocumentNode) -> PodPatch {
    var patch = PodPatch()
    fields(of: node, FieldTables.podPatch) { reader, key, value in
      switch key {
      case "containers", "initContainers":
        _ = reader.list(value) { reader, item -> Bool? in
          let (name, container) = reader.readContainerPatch(item)
          patch.containers[name] = container
          return nil
        }
      case "nodeSelector": patch.nodeSelector = reader.textMap(value)
      case "activeDeadlineSeconds":
        patch.activeDeadlineSeconds = reader.integerText(value, in: 1...Self.secondsMax)
      case "affinity", "dnsConfig", "dnsPolicy", "hostAliases", "imagePullSecrets", "priorityClassName",
        "resourceClaims", "runtimeClassName", "schedulerName", "securityContext", "serviceAccountName", "tolerations":
        reader.readPodMember(key, value, into: &patch.pod)
      default: patch.terminationGraceSeconds = reader.integer(value, in: 0...Self.secondsMax)
      }
    }
    return patch
  }

  private mutating func readContainerPatch(_ node: DocumentNode) -> (String, PodPatch.Container) {
    var patch = PodPatch.Container()
    var name = ""
    fields(of: node, FieldTables.containerPatch) { reader, key, value in
      switch key {
      case "name": name = reader.text(value) ?? ""
      case "image": patch.image = reader.text(value)
      case "command": patch.command = reader.texts(value)
      case "args": patch.args = reader.texts(value)
      case "workingDir": patch.workingDir = reader.absolutePath(value)
      case "resources": patch.resources = reader.readResources(value)
      case "imagePullPolicy", "securityContext": patch.podMembers[key] = reader.readPodMember(key, value)
      default:
        patch.env = reader.list(value) { reader, item in
          var variable = EnvironmentVariable(name: "", value: "")
          reader.fields(of: item, FieldTables.probeHeader) { reader, key, value in
            if key == "name" {
              variable.name = reader.text(value) ?? ""
            } else {
              variable.value = reader.text(value) ?? ""
            }
          }
          return variable
        }
      }
    }
    if name.isEmpty { report("a container is changed by its name", at: node.mark) }
    return (name, patch)
  }
}
