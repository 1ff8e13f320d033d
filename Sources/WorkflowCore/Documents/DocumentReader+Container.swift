import FederationModel

extension DocumentReader {
  /// `container`, or `script` when `isScript`.
  mutating func readContainer(
    _ node: DocumentNode, isScript: Bool, table: FieldTable? = nil
  ) -> ContainerTemplate {
    var container = ContainerTemplate()
    fields(of: node, table ?? (isScript ? FieldTables.script : FieldTables.container)) { reader, key, value in
      switch key {
      // A companion's own; see `readCompanions`.
      case "name", "dependencies", "mirrorVolumeMounts": return
      // See `readProbes`.
      case "livenessProbe", "ports", "readinessProbe", "startupProbe": return
      case "imagePullPolicy", "lifecycle", "securityContext":
        container.podMembers[key] = reader.readPodMember(key, value)
      case "image": container.image = reader.text(value) ?? ""
      case "command": container.command = reader.texts(value)
      case "args": container.args = reader.texts(value)
      case "source": container.source = reader.text(value)
      case "env": reader.readEnvironment(value, into: &container)
      case "envFrom":
        container.variableSources += reader.list(value) { reader, item in reader.readWholeObject(item) }
      case "workingDir": container.workingDir = reader.absolutePath(value)
      case "resources": container.resources = reader.readResources(value)
      default: container.volumeMounts = reader.list(value) { reader, item in reader.readVolumeMount(item) }
      }
    }
    if case .mapping = node.value { container.probes = readProbes(of: node) }
    // As in Argo, a script of nothing: the command with its arguments and an empty file.
    if isScript, container.source == nil { container.source = "" }
    if container.image.isEmpty { report("no image is given", at: node.mark) }
    return container
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

  mutating func readVolumeMount(_ node: DocumentNode) -> VolumeMount {
    var mount = VolumeMount(name: "", mountPath: "")
    fields(of: node, FieldTables.volumeMount) { reader, key, value in
      switch key {
      case "name": mount.name = reader.text(value) ?? ""
      case "subPath": mount.subPath = reader.relativePath(value)
      case "readOnly": mount.isReadOnly = reader.bool(value) ?? false
      default: mount.mountPath = reader.absolutePath(value) ?? ""
      }
    }
    if mount.name.isEmpty { report("the volume mount has no name", at: node.mark) }
    if mount.mountPath.isEmpty { report("the volume mount has no mountPath", at: node.mark) }
    return mount
  }
}
