import FederationModel

extension DocumentReader {
  /// `container`, or `script` when `isScript`.
  mutating func readContainer(_ node: DocumentNode, isScript: Bool) -> ContainerTemplate {
    var container = ContainerTemplate()
    fields(of: node, isScript ? FieldTables.script : FieldTables.container) { reader, key, value in
      switch key {
      case "image": container.image = reader.text(value) ?? ""
      case "command": container.command = reader.texts(value)
      case "args": container.args = reader.texts(value)
      case "source": container.source = reader.text(value)
      case "env": container.env = reader.list(value) { reader, item in reader.readEnvironmentVariable(item) }
      case "workingDir": container.workingDir = reader.absolutePath(value)
      case "resources": container.resources = reader.readResources(value)
      default: container.volumeMounts = reader.list(value) { reader, item in reader.readVolumeMount(item) }
      }
    }
    if isScript, container.source == nil {
      report("a script needs a source", at: node.mark)
      container.source = ""
    }
    if container.image.isEmpty { report("no image is given", at: node.mark) }
    return container
  }

  private mutating func readEnvironmentVariable(_ node: DocumentNode) -> EnvironmentVariable {
    var variable = EnvironmentVariable(name: "", value: "")
    fields(of: node, FieldTables.environmentVariable) { reader, key, value in
      switch key {
      case "name": variable.name = reader.text(value) ?? ""
      case "value": variable.value = reader.text(value) ?? ""
      default:
        reader.fields(of: value, FieldTables.environmentValueFrom) { reader, _, source in
          reader.readConfigMapKey(source)
        }
      }
    }
    if variable.name.isEmpty || variable.name.utf8.contains(where: { $0 == UInt8(ascii: "=") || $0 == 0 }) {
      report("an environment variable needs a name without \"=\"", at: node.mark)
    }
    return variable
  }

  mutating func readResources(_ node: DocumentNode) -> ResourceRequirements {
    var resources = ResourceRequirements()
    fields(of: node, FieldTables.resources) { reader, key, value in
      let amounts = reader.textMap(value)
      for (name, amount) in amounts.sorted(by: { $0.key < $1.key })
      where !amount.contains("{{") && Quantity.parse(amount, scale: 1000) == nil {
        reader.at(name) {
          $0.report("must be a quantity like 500m, 2 or 1.5Gi, not \"\(amount)\"", at: value[name]?.mark ?? value.mark)
        }
      }
      if key == "requests" { resources.requests = amounts } else { resources.limits = amounts }
    }
    return resources
  }

  private mutating func readVolumeMount(_ node: DocumentNode) -> VolumeMount {
    var mount = VolumeMount(name: "", mountPath: "")
    fields(of: node, FieldTables.volumeMount) { reader, key, value in
      if key == "name" {
        mount.name = reader.text(value) ?? ""
      } else {
        mount.mountPath = reader.absolutePath(value) ?? ""
      }
    }
    if mount.name.isEmpty { report("the volume mount has no name", at: node.mark) }
    if mount.mountPath.isEmpty { report("the volume mount has no mountPath", at: node.mark) }
    return mount
  }

  /// Names of the `emptyDir` volumes.
  mutating func readVolumes(_ node: DocumentNode) -> [String] {
    var names: Set<String> = []
    return list(node) { reader, item in
      var name = ""
      var hasKnownKind = false
      reader.fields(of: item, FieldTables.volume) { reader, key, value in
        if key == "name" {
          name = reader.text(value) ?? ""
        } else {
          hasKnownKind = true
          reader.fields(of: value, FieldTables.emptyDir) { _, _, _ in }
        }
      }
      if case .mapping(let members) = item.value, !hasKnownKind, members.allSatisfy({ $0.key == "name" }) {
        reader.report("the volume has no kind; only emptyDir is supported yet", at: item.mark)
      }
      reader.checkName(name, of: "volume", pattern: .parameter, seen: &names, at: item)
      return name
    }
  }
}
