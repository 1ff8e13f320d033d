public import FederationModel

/// What a run sees of secrets, config maps and volumes.
extension WorkflowMachine {
  func takeVariables(
    of container: ContainerTemplate, _ template: WorkflowTemplate, at ordinal: Int32, into spec: inout TaskSpec
  ) throws {
    let taken = try variables(of: container, template, at: ordinal)
    spec.environment += taken.fields
    spec.environmentSources = taken.sources
  }

  /// What fields of the node say, and what is asked for when the run starts (nil: nothing).
  func variables(
    of container: ContainerTemplate, _ template: WorkflowTemplate, at ordinal: Int32
  ) throws -> (fields: [EnvironmentVariable], sources: [EnvironmentSource]?) {
    let context = TagContext.leaf(ordinal)
    func text(_ value: String) throws -> String { try substitute(value, in: context) }
    var fields: [EnvironmentVariable] = []
    var sources: [EnvironmentSource] = []
    for source in container.variableSources {
      switch source {
      case .pod: break  // `PodSettings`
      case .field(let field, let variable):
        fields.append(EnvironmentVariable(name: variable, value: try value(of: field, template, at: ordinal)))
      case .object(.value(let variable, let key, let object, let isOptional)):
        sources.append(
          .value(
            variable: variable, key: try text(key), of: ProjectObject(object.kind, try text(object.name)),
            isOptional: isOptional))
      case .object(.all(let object, let prefix, let isOptional)):
        sources.append(
          .all(
            of: ProjectObject(object.kind, try text(object.name)), prefix: try text(prefix), isOptional: isOptional))
      }
    }
    return (fields, sources.isEmpty ? nil : sources)
  }

  /// The template's own volumes hide the workflow's of the same name.
  func mountVolumes(
    of wanted: [VolumeMount], _ template: WorkflowTemplate, at ordinal: Int32, into spec: inout TaskSpec
  ) throws {
    let context = TagContext.leaf(ordinal)
    let wanted = try wanted.map { mount in
      var mount = mount
      mount.name = try substitute(mount.name, in: context)
      return mount
    }
    let volumes = Dictionary(
      (definition.spec.volumes + template.volumes).map { ($0.name, $0) }, uniquingKeysWith: { $1 })
    var mounts: [String: [FileVolume.Mount]] = [:]
    var order: [String] = []
    var taken: [String: (name: String, mount: FileVolume.Mount)] = [:]
    var readOnlyClaims: Set<String> = []
    let writable = Set(wanted.filter { !$0.isReadOnly }.map { "\($0.name) \($0.mountPath)" })
    for mount in wanted {
      guard let volume = volumes[mount.name] else {
        throw FederationError(.invalidArgument, "there is no volume \"\(mount.name.prefix(200))\"")
      }
      let path = Self.withoutSlash(try substitute(mount.mountPath, in: context))
      let part = try mount.subPath.map { try Self.part(substitute($0, in: context)) }.flatMap { $0.isEmpty ? nil : $0 }
      let place = FileVolume.Mount(path: path, subPath: part)
      if let other = taken[path] {
        guard other == (mount.name, place) else {
          throw FederationError(
            .invalidArgument, "the containers of one run see one file system: two volumes cannot both be at \(path)")
        }
        continue
      }
      taken[path] = (mount.name, place)
      // One of two containers may write there.
      let isReadOnly = mount.isReadOnly && !writable.contains("\(mount.name) \(mount.mountPath)")
      if mounts[mount.name] == nil { order.append(mount.name) }
      mounts[mount.name, default: []].append(place)
      if case .emptyDir = volume.kind, isReadOnly { readOnly(path, part, &spec) }
      if volume.isClaim || volume.isPodVolume, isReadOnly { readOnlyClaims.insert(path) }
    }
    for name in order {
      switch volumes[name]!.kind {
      case .emptyDir:
        let path = shareDirectory(name, mounts[name]!, &spec)
        if let settings = try volumes[name]!.directorySettings.map({ try substitute($0, in: context) }), let path {
          spec.pod = spec.pod ?? PodSettings()
          spec.pod!.directories = (spec.pod!.directories ?? [:]).merging([path: settings]) { $1 }
        }
      case .ownClaim(let specification):
        let owner = ClaimVolume.Owner(uid: identity.uid, goesWithFailure: definition.spec.claimsGoWithFailure)
        claim(
          name, owner, mounts[name]!.map { .init(path: $0.path, isReadOnly: readOnlyClaims.contains($0.path)) }, &spec,
          try specification.map { try substitute($0, in: context) })
      case .pod(let source):
        spec.pod = spec.pod ?? PodSettings()
        spec.pod!.volumes.append(
          PodVolume(
            name: name, source: try substitute(source, in: context),
            mounts: mounts[name]!.map {
              .init(path: $0.path, subPath: $0.subPath, isReadOnly: readOnlyClaims.contains($0.path))
            }))
      case .claim(let claimName, let isReadOnly):
        claim(
          try substitute(claimName, in: context), nil,
          mounts[name]!.map { .init(path: $0.path, isReadOnly: isReadOnly || readOnlyClaims.contains($0.path)) }, &spec)
      case .files(let sources, let mode):
        let files = try sources.map { try source($0, template, at: ordinal) }
        spec.fileVolumes =
          (spec.fileVolumes ?? []) + [
            FileVolume(name: name, sources: files, mode: mode, mounts: mounts[name]!)
          ]
      }
    }
    if let all = spec.directoryMounts {
      spec.directoryMounts = all.map { mount in
        var mount = mount
        if mount.directory.isEmpty { mount.directory = mount.path }
        return mount
      }
    }
  }

  private func claim(
    _ name: String, _ owner: ClaimVolume.Owner?, _ mounts: [ClaimVolume.Mount], _ spec: inout TaskSpec,
    _ specification: JSONValue? = nil
  ) {
    spec.claims =
      (spec.claims ?? []) + [
        ClaimVolume(name: name, workflow: owner, mounts: mounts, specification: specification)
      ]
  }

  /// What a run puts into a volume stays there: outputs are taken from its own directories.
  func checkClaims(of spec: TaskSpec) throws {
    let places = (spec.claims ?? []).flatMap(\.mounts).map(\.path)
    guard !places.isEmpty else { return }
    let paths =
      spec.outputArtifacts.map { ($0.name, $0.path) } + spec.outputParameters.map { ($0.name, $0.path) }
      + spec.inputs.map { ($0.name, $0.path) }
    for (name, path) in paths where places.contains(where: { path == $0 || path.hasPrefix($0 + "/") }) {
      throw FederationError(
        .invalidArgument,
        "\(name) lies at \(path), in a volume claim: artifacts and values are read and written outside of volume claims"
      )
    }
  }

  /// The cluster on which the workflow's own volumes are, for a run that mounts one; nil: any that can have them.
  func clusterOfVolumes(for spec: TaskSpec) -> ClusterName? {
    spec.claims?.contains { $0.workflow != nil } == true ? status.volumesOn : nil
  }

  /// The first run that mounts a volume of the workflow's own has been placed: all others go there.
  public mutating func volumesPlaced(on cluster: ClusterName) {
    guard status.volumesOn == nil else { return }
    status.volumesOn = cluster
    statusChanged = true
  }

  /// Noted first: where its bytes are is known when all mounts of the volume are.
  private func readOnly(_ path: String, _ part: String?, _ spec: inout TaskSpec) {
    spec.directoryMounts = (spec.directoryMounts ?? []) + [DirectoryMount(path: path, directory: "", isReadOnly: true)]
  }

  /// The first place at which all of the volume appears is where its bytes are; every other shows them.
  ///
  /// - Returns: that place; nil where no mount shows all of it.
  private func shareDirectory(_ name: String, _ mounts: [FileVolume.Mount], _ spec: inout TaskSpec) -> String? {
    let readOnly = Set((spec.directoryMounts ?? []).filter { $0.directory.isEmpty }.map(\.path))
    let first = mounts.first { $0.subPath == nil }
    let directory = first?.path ?? "\(Self.volumesDirectory)/\(name)"
    if let first { spec.scratchPaths.append(first.path) }
    for mount in mounts where mount != first {
      let target = mount.subPath.map { "\(directory)/\($0)" } ?? directory
      spec.directoryMounts =
        (spec.directoryMounts ?? []).filter { $0.path != mount.path } + [
          DirectoryMount(path: mount.path, directory: target, isReadOnly: readOnly.contains(mount.path))
        ]
    }
    return first?.path
  }

  /// Of a run's root: volumes that appear nowhere whole.
  static let volumesDirectory = "/.fubini/volumes"

  private func source(
    _ source: WorkflowVolume.FileSource, _ template: WorkflowTemplate, at ordinal: Int32
  ) throws -> FileVolume.Source {
    let context = TagContext.leaf(ordinal)
    switch source {
    case .field(let field, let path, let mode):
      return .text(try value(of: field, template, at: ordinal), path: path, mode: mode)
    case .object(let object, let items, let isOptional):
      let items = try items?.map { item in
        FileVolume.Item(
          key: try substitute(item.key, in: context), path: try Self.part(substitute(item.path, in: context)),
          mode: item.mode)
      }
      let named = ProjectObject(object.kind, try substitute(object.name, in: context))
      return .object(named, items: items, isOptional: isOptional)
    }
  }

  /// What a tag puts in must not lead out of the volume.
  private static func part(_ path: String) throws -> String {
    let parts = path.split(separator: "/").filter { $0 != "." }
    guard !path.hasPrefix("/"), !parts.contains(".."), !path.utf8.contains(0) else {
      throw FederationError(.invalidArgument, "'\(path)' is no path below a volume")
    }
    return parts.joined(separator: "/")
  }

  private static func withoutSlash(_ path: String) -> String {
    var path = path
    while path.utf8.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }

  /// A leaf node is what comes closest to a pod.
  private func value(of field: PodField, _ template: WorkflowTemplate, at ordinal: Int32) throws -> String {
    let context = TagContext.leaf(ordinal)
    func lines(_ map: [String: String]) throws -> String {
      try map.sorted { $0.key < $1.key }.map { "\($0.key)=\(JSONValue.string(try substitute($0.value, in: context)))" }
        .joined(separator: "\n")
    }
    switch field {
    case .name, .uid: return argoID(of: ordinal)
    case .namespace: return identity.project.text
    case .serviceAccountName:
      let own = template.pod.spec["serviceAccountName"]?.stringValue
      return try substitute(own ?? definition.spec.serviceAccountName, in: context)
    case .label(let key): return try podLabels(template)[key].map { try substitute($0, in: context) } ?? ""
    case .annotation(let key):
      return try podAnnotations(template, at: ordinal)[key].map { try substitute($0, in: context) } ?? ""
    case .labels: return try lines(podLabels(template))
    case .annotations: return try lines(podAnnotations(template, at: ordinal))
    }
  }

  /// - Source: Argo Workflows, workflow/controller/workflowpod.go: what it adds to the template's own.
  private func podLabels(_ template: WorkflowTemplate) -> [String: String] {
    template.labels.merging([
      "workflows.argoproj.io/workflow": identity.name, "workflows.argoproj.io/completed": "false",
    ]) { $1 }
  }

  private func podAnnotations(_ template: WorkflowTemplate, at ordinal: Int32) -> [String: String] {
    template.annotations.merging([
      "workflows.argoproj.io/node-name": nodes[Int(ordinal)].name,
      "workflows.argoproj.io/node-id": argoID(of: ordinal),
    ]) { $1 }
  }
}
