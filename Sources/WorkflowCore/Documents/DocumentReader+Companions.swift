import FederationModel

/// Containers beside the main one.
extension DocumentReader {
  /// `initContainers`, `sidecars`, or the containers of a set.
  mutating func readCompanions(_ node: DocumentNode, _ table: FieldTable) -> [CompanionContainer] {
    var names: Set<String> = []
    return list(node) { reader, item in
      guard case .mapping = item.value else {
        reader.report("must be a map, not \(item.kindName)", at: item.mark)
        return nil
      }
      let container = reader.readContainer(item, isScript: false, table: table)
      let name = item["name"]?.scalarText ?? ""
      reader.checkName(name, of: "container", pattern: .field, seen: &names, at: item)
      let dependencies = item["dependencies"].map { node in reader.at("dependencies") { $0.texts(node) } } ?? []
      return CompanionContainer(name: name, container: container, dependencies: dependencies)
    }
  }

  /// Its container named `main`, or the first, becomes the template's body.
  mutating func readContainerSet(_ node: DocumentNode, into template: inout WorkflowTemplate) {
    var set = ContainerSet()
    var mounts: [VolumeMount] = []
    fields(of: node, FieldTables.containerSet) { reader, key, value in
      switch key {
      case "containers": set.containers = reader.readCompanions(value, FieldTables.setContainer)
      case "volumeMounts": mounts = reader.list(value) { reader, item in reader.readVolumeMount(item) }
      default:
        reader.fields(of: value, FieldTables.setRetryStrategy) { reader, key, value in
          if key == "retries" {
            set.retries = reader.integerText(value, in: 0...1000)
          } else {
            set.retryPause = reader.durationText(value)
          }
        }
      }
    }
    guard !set.containers.isEmpty else { return report("a containerSet needs containers", at: node.mark) }
    checkDependencies(set.containers, at: node)
    for index in set.containers.indices { set.containers[index].container.volumeMounts += mounts }
    let main = set.containers.first { $0.name == RunContainers.resultName } ?? set.containers[0]
    template.body = .container(main.container)
    template.containerSet = set
  }

  /// Every name must be there, and nobody may wait for itself.
  private mutating func checkDependencies(_ containers: [CompanionContainer], at node: DocumentNode) {
    let names = Set(containers.map(\.name))
    for container in containers {
      for name in container.dependencies where !names.contains(name) {
        report(
          "there is no container \"\(name)\", on which \"\(container.name)\" depends", at: node.mark,
          suggestion: NearestName.find(name, among: names.sorted()))
      }
    }
    var settled: Set<String> = []
    var rest = containers
    while !rest.isEmpty {
      let ready = rest.filter { $0.dependencies.allSatisfy { settled.contains($0) || !names.contains($0) } }
      guard !ready.isEmpty else {
        return report(
          "the containers \(rest.map(\.name).sorted().joined(separator: ", ")) wait for each other", at: node.mark)
      }
      settled.formUnion(ready.map(\.name))
      rest.removeAll { settled.contains($0.name) }
    }
  }

  /// Companions belong to a program, and each has a name of its own.
  mutating func checkCompanions(of template: WorkflowTemplate, at node: DocumentNode) {
    let all = template.initContainers + template.sidecars
    guard !all.isEmpty || template.containerSet != nil else { return }
    guard template.isTask else {
      return report("initContainers and sidecars belong to a container, a script or a containerSet", at: node.mark)
    }
    if template.initContainers.contains(where: { $0.container.probes != nil }) {
      report("init containers have no probes: they run to their end", at: node["initContainers"]?.mark ?? node.mark)
    }
    guard let set = template.containerSet else {
      var names: Set<String> = [RunContainers.resultName]
      for companion in all where !names.insert(companion.name).inserted {
        report("two containers are named \"\(companion.name)\"; the template's own is named main", at: node.mark)
      }
      return
    }
    if !template.sidecars.isEmpty { report("a containerSet has no sidecars", at: node.mark) }
    let hasFiles =
      !template.inputs.artifacts.isEmpty || !template.outputs.artifacts.isEmpty
      || template.outputs.parameters.contains { if case .path? = $0.valueFrom?.source { true } else { false } }
    if hasFiles, !set.containers.contains(where: { $0.name == RunContainers.resultName }) {
      report("a containerSet with inputs or outputs needs a container named main", at: node.mark)
    }
  }
}
