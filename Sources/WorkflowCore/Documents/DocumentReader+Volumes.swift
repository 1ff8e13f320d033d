import FederationModel

/// Volumes, and what variables take from secrets and config maps.
extension DocumentReader {
  // MARK: Environment

  /// Of two variables of one name the later counts, as in Kubernetes.
  mutating func readEnvironment(_ node: DocumentNode, into container: inout ContainerTemplate) {
    var names: [String] = []
    var written: [String: EnvironmentVariable] = [:]
    var taken: [String: VariableSource] = [:]
    for (name, value, source) in list(node, { reader, item in reader.readEnvironmentVariable(item) }) {
      if written[name] == nil, taken[name] == nil { names.append(name) }
      (written[name], taken[name]) = (source == nil ? EnvironmentVariable(name: name, value: value) : nil, source)
    }
    container.env = names.compactMap { written[$0] }
    container.variableSources += names.compactMap { taken[$0] }
  }

  private mutating func readEnvironmentVariable(_ node: DocumentNode) -> (String, String, VariableSource?)? {
    var (name, value): (String, String) = ("", "")
    var source: VariableSource?
    var hasSource = false
    fields(of: node, FieldTables.environmentVariable) { reader, key, member in
      switch key {
      case "name": name = reader.text(member) ?? ""
      case "value": value = reader.text(member) ?? ""
      default: hasSource = !member.isNull
      }
    }
    if name.isEmpty || name.utf8.contains(where: { $0 == UInt8(ascii: "=") || $0 == 0 }) {
      report("an environment variable needs a name without \"=\"", at: node.mark)
    }
    if hasSource, let from = node["valueFrom"] {
      if let written = node["value"], !written.isNull, written.scalarText != "" {
        report("takes value or valueFrom, not both", at: node.mark)
      }
      source = at("valueFrom") { $0.readVariableSource(from, for: name) }
      // What was wrong with it has been said.
      if source == nil { return nil }
    }
    return (name, value, source)
  }

  private mutating func readVariableSource(_ node: DocumentNode, for variable: String) -> VariableSource? {
    var source: VariableSource?
    var count = 0
    fields(of: node, FieldTables.variableSource) { reader, key, value in
      count += 1
      switch key {
      case "fieldRef":
        source =
          reader.readFieldReference(value, isVariable: true).map { .field($0, variable: variable) }
          ?? (reader.isPodPath(value) ? .pod(["fieldRef": value.jsonValue], variable: variable) : nil)
      case "resourceFieldRef": source = reader.readResourceField(value, for: variable)
      default:
        let kind: ProjectObject.Kind = key == "secretKeyRef" ? .secret : .configMap
        source = reader.readKeyReference(value, kind).map { reference in
          .object(
            .value(
              variable: variable, key: reference.key, of: reference.object, isOptional: reference.isOptional))
        }
      }
    }
    if count > 1 {
      report("takes one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef, not \(count)", at: node.mark)
    }
    return source
  }

  mutating func readKeyReference(
    _ node: DocumentNode, _ kind: ProjectObject.Kind
  ) -> (object: ProjectObject, key: String, isOptional: Bool)? {
    var (name, key): (String?, String?)
    var isOptional = false
    fields(of: node, FieldTables.keyReference) { reader, member, value in
      switch member {
      case "name": name = reader.text(value)
      case "key": key = reader.text(value)
      default: isOptional = reader.bool(value) ?? false
      }
    }
    guard let name, let key, !name.isEmpty, !key.isEmpty else {
      report("needs the name of \(kind.article) and the key of one of its values", at: node.mark)
      return nil
    }
    return (ProjectObject(kind, name), key, isOptional)
  }

  /// Whether it is a field of a pod that a variable can be; others are said to be none.
  private func isPodPath(_ node: DocumentNode) -> Bool {
    node["fieldPath"]?.scalarText.map(Self.podPaths.contains) ?? false
  }

  /// - Source: Kubernetes, "Downward API": fields that are available by environment variables alone, or that a run does not have.
  private static let podPaths: Set<String> = [
    "spec.nodeName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
  ]

  private mutating func readFieldReference(_ node: DocumentNode, isVariable: Bool = false) -> PodField? {
    if isVariable, isPodPath(node) { return nil }
    var field: PodField?
    fields(of: node, FieldTables.fieldReference) { reader, _, value in
      guard let path = reader.text(value) else { return }
      field = PodField(path)
      if field == nil {
        reader.report(
          "\(path) is not supported: of the fields of a pod metadata.name, namespace, uid, labels and "
            + "annotations and spec.serviceAccountName alone have a meaning everywhere, and for variables spec.nodeName and "
            + "status.hostIP and podIP in Kubernetes", at: value.mark)
      }
    }
    return field
  }

  /// An entry of `envFrom`.
  mutating func readWholeObject(_ node: DocumentNode) -> VariableSource? {
    var prefix = ""
    var found: (object: ProjectObject, isOptional: Bool)?
    var count = 0
    fields(of: node, FieldTables.wholeObject) { reader, key, value in
      switch key {
      case "prefix": prefix = reader.text(value) ?? ""
      default:
        count += 1
        let kind: ProjectObject.Kind = key == "secretRef" ? .secret : .configMap
        var (name, isOptional) = ("", false)
        reader.fields(of: value, FieldTables.objectReference) { reader, member, value in
          if member == "name" { name = reader.text(value) ?? "" } else { isOptional = reader.bool(value) ?? false }
        }
        if name.isEmpty { reader.report("needs the name of \(kind.article)", at: value.mark) }
        found = (ProjectObject(kind, name), isOptional)
      }
    }
    if count != 1 { report("takes one of configMapRef and secretRef, not \(count)", at: node.mark) }
    if prefix.utf8.contains(where: { $0 == UInt8(ascii: "=") || $0 == 0 }) {
      report("a prefix of variables has no \"=\"", at: node.mark)
    }
    return found.map { .object(.all(of: $0.object, prefix: prefix, isOptional: $0.isOptional)) }
  }

  // MARK: Volumes

  /// One without a kind is an empty directory, as in Kubernetes.
  mutating func readVolumes(_ node: DocumentNode) -> [WorkflowVolume] {
    var names: Set<String> = []
    return list(node) { reader, item in
      var volume = WorkflowVolume(name: "")
      var kinds = 0
      reader.fields(of: item, FieldTables.volume) { reader, key, value in
        if key == "name" {
          volume.name = reader.text(value) ?? ""
        } else {
          kinds += 1
          volume.kind = reader.readVolumeKind(value, key)
          if key == "emptyDir" { volume.directorySettings = reader.readDirectorySettings(value) }
        }
      }
      if kinds > 1 { reader.report("a volume has one kind, not \(kinds)", at: item.mark) }
      reader.checkName(volume.name, of: "volume", pattern: .parameter, seen: &names, at: item)
      return volume
    }
  }

  private mutating func readDirectorySettings(_ node: DocumentNode) -> JSONValue? {
    var settings: [String: JSONValue] = [:]
    fields(of: node, FieldTables.emptyDir) { reader, key, value in
      guard let text = reader.text(value), !text.isEmpty else { return }
      if key == "sizeLimit", !text.contains("{{"), Quantity.parse(text, scale: 1) == nil {
        reader.report("must be a quantity like 500Mi, not \"\(text)\"", at: value.mark)
      }
      settings[key] = .string(text)
    }
    return settings.isEmpty ? nil : .object(settings)
  }

  private mutating func readVolumeKind(_ node: DocumentNode, _ kind: String) -> WorkflowVolume.Kind {
    switch kind {
    case "emptyDir": return .emptyDir
    case _ where FieldTables.podVolumeKinds.contains(kind):
      if case .mapping = node.value { return .pod(.object([kind: node.jsonValue])) }
      report("must be a map, not \(node.kindName)", at: node.mark)
      return .emptyDir
    case "persistentVolumeClaim":
      var (name, isReadOnly) = ("", false)
      fields(of: node, FieldTables.claimVolume) { reader, key, value in
        if key == "claimName" { name = reader.text(value) ?? "" } else { isReadOnly = reader.bool(value) ?? false }
      }
      if name.isEmpty { report("needs the name of a claim", at: node.mark) }
      return .claim(name: name, isReadOnly: isReadOnly)
    case "projected":
      var mode = Self.defaultFileMode
      var sources: [WorkflowVolume.FileSource] = []
      fields(of: node, FieldTables.projected) { reader, key, value in
        if key == "defaultMode" {
          mode = reader.fileMode(value) ?? mode
          return
        }
        sources = reader.list(value) { reader, item -> [WorkflowVolume.FileSource]? in
          var found: [WorkflowVolume.FileSource] = []
          reader.fields(of: item, FieldTables.projectedSource) { reader, key, value in
            found += reader.readFileSources(value, key, FieldTables.projectedObject).sources
          }
          return found
        }.flatMap { $0 }
      }
      return .files(sources, mode: mode)
    default:
      let read = readFileSources(
        node, kind, kind == "secret" ? FieldTables.secretVolume : FieldTables.configMapVolume)
      return .files(read.sources, mode: read.mode ?? Self.defaultFileMode)
    }
  }

  /// `volumeClaimTemplates`: volumes of the workflow's own, by their templates' names.
  mutating func readClaimTemplates(_ node: DocumentNode) -> [WorkflowVolume] {
    var names: Set<String> = []
    return list(node) { reader, item in
      var name = ""
      var specification: JSONValue?
      reader.fields(of: item, FieldTables.claimTemplate) { reader, key, value in
        if key == "metadata" {
          reader.fields(of: value, FieldTables.claimMetadata) { reader, _, value in name = reader.text(value) ?? "" }
        } else {
          specification = value.isNull ? nil : value.jsonValue
          reader.fields(of: value, FieldTables.claimSpec) { reader, key, value in
            if key == "volumeMode", let mode = reader.text(value), mode != "Filesystem" {
              reader.report("only volumes with a file system are supported, not \(mode)", at: value.mark)
            }
            if key == "accessModes" {
              for mode in reader.texts(value) where !Self.accessModes.contains(mode) {
                reader.report(
                  "must be some of \(Self.accessModes.joined(separator: ", ")), not \"\(mode)\"", at: value.mark)
              }
            }
          }
        }
      }
      reader.checkName(name, of: "volume claim", pattern: .parameter, seen: &names, at: item)
      return WorkflowVolume(name: name, kind: .ownClaim(specification: specification))
    }
  }

  /// - Source: Kubernetes, "Persistent Volumes", Access Modes.
  private static let accessModes = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]

  /// `volumeClaimGC`: whether claims go with the end of a workflow that failed, too.
  mutating func readClaimCollection(_ node: DocumentNode) -> Bool {
    var goesWithFailure = false
    fields(of: node, FieldTables.claimGC) { reader, _, value in
      switch reader.text(value) {
      case "OnWorkflowCompletion": goesWithFailure = true
      case "OnWorkflowSuccess", "", nil: break
      case let other?:
        reader.report("must be OnWorkflowCompletion or OnWorkflowSuccess, not \"\(other)\"", at: value.mark)
      }
    }
    return goesWithFailure
  }

  static let defaultFileMode: Int32 = 0o644

  /// `secret`, `configMap` or `downwardAPI`, as a volume or as a part of one.
  private mutating func readFileSources(
    _ node: DocumentNode, _ kind: String, _ table: FieldTable
  ) -> (sources: [WorkflowVolume.FileSource], mode: Int32?) {
    var mode: Int32?
    if kind == "downwardAPI" {
      var sources: [WorkflowVolume.FileSource] = []
      fields(of: node, FieldTables.downwardAPI) { reader, key, value in
        if key == "defaultMode" { return mode = reader.fileMode(value) }
        sources = reader.list(value) { reader, item in reader.readFieldFile(item) }
      }
      return (sources, mode)
    }
    var (name, isOptional): (String?, Bool) = (nil, false)
    var items: [FileVolume.Item]?
    fields(of: node, table) { reader, key, value in
      switch key {
      case "name", "secretName": name = reader.text(value)
      case "optional": isOptional = reader.bool(value) ?? false
      case "defaultMode": mode = reader.fileMode(value)
      default: items = value.isNull ? nil : reader.list(value) { reader, item in reader.readItem(item) }
      }
    }
    let object: ProjectObject.Kind = kind == "secret" ? .secret : .configMap
    guard let name, !name.isEmpty else {
      report("needs the name of \(object.article)", at: node.mark)
      return ([], mode)
    }
    return ([.object(ProjectObject(object, name), items: items, isOptional: isOptional)], mode)
  }

  private mutating func readItem(_ node: DocumentNode) -> FileVolume.Item? {
    var (key, path): (String?, String?)
    var mode: Int32?
    fields(of: node, FieldTables.keyToPath) { reader, member, value in
      switch member {
      case "key": key = reader.text(value)
      case "path": path = reader.relativePath(value)
      default: mode = reader.fileMode(value)
      }
    }
    guard let key, let path else {
      report("needs a key, and the path of its file", at: node.mark)
      return nil
    }
    return FileVolume.Item(key: key, path: path, mode: mode)
  }

  private mutating func readFieldFile(_ node: DocumentNode) -> WorkflowVolume.FileSource? {
    var path: String?
    var field: PodField?
    var mode: Int32?
    fields(of: node, FieldTables.fieldFile) { reader, member, value in
      switch member {
      case "path": path = reader.relativePath(value)
      case "fieldRef": field = reader.readFieldReference(value)
      default: mode = reader.fileMode(value)
      }
    }
    guard let path, let field else {
      if path == nil || node["fieldRef"] == nil { report("needs a path and a fieldRef", at: node.mark) }
      return nil
    }
    return .field(field, path: path, mode: mode)
  }

  private mutating func fileMode(_ node: DocumentNode) -> Int32? {
    integer(node, in: 0...0o777).map { Int32($0) }
  }

  /// A path below something: neither absolute nor with `..`.
  mutating func relativePath(_ node: DocumentNode) -> String? {
    guard let text = text(node), !text.isEmpty else { return nil }
    if text.hasPrefix("/") || text.utf8.contains(0) || text.split(separator: "/").contains("..") {
      report("must be a path below the volume: not absolute, without \"..\"", at: node.mark)
    }
    return text.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
  }
}

extension ProjectObject.Kind {
  /// In sentences.
  fileprivate var article: String { self == .secret ? "a secret" : "a config map" }
}
