public import FederationModel

/// What a run needs to know.
extension WorkflowMachine {
  /// The spec of a leaf node's run: its template with every tag replaced. A pure function of definition, identity and records.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) when a tag cannot be resolved or a quantity makes no sense; the caller then
  ///   reports the task's end with `.error`.
  public func taskSpec(for node: NodeID) throws -> TaskSpec {
    let ordinal = node.ordinal
    guard nodes.indices.contains(Int(ordinal)), let written = plan(of: ordinal)?.template, written.isTask
    else { throw FederationError(.invalidArgument, "node \(node) runs no container") }
    let context = TagContext.leaf(ordinal)
    func text(_ value: String) throws -> String { try substitute(value, in: context) }
    // As in Argo, where a program may look at what is left of an expression (pydflow's do): `expressionReplace` of util/template.
    func word(_ value: String) throws -> String { try substitute(value, in: context, keepsUnknown: true) }
    let (template, grace) = try patched(written, in: context)
    guard case .container(let container) = template.body else { return TaskSpec() }
    let needs = container.resources.filled(from: template.podResources ?? definition.spec.podResources)
    var spec = TaskSpec(
      image: try text(container.image), command: try container.command.map(word),
      arguments: try container.args.map(word),
      // As in Argo, the file of a script of nothing is no argument: its command gets those that are written.
      script: try container.source.map(word).flatMap { $0.isEmpty ? nil : $0 },
      environment: try container.env.map { EnvironmentVariable(name: $0.name, value: try word($0.value)) },
      workingDirectory: try container.workingDir.map(text), resources: try resources(needs, in: context),
      limits: try limits(needs, in: context))
    try takeVariables(of: container, template, at: ordinal, into: &spec)
    try mountVolumes(of: template.allContainers.flatMap(\.volumeMounts), template, at: ordinal, into: &spec)
    spec.transformations = try template.transformations?.map(text)
    spec.inputs = try inputArtifacts(of: template, at: ordinal)
    spec.outputArtifacts = try outputArtifacts(of: template, at: ordinal)
    spec.outputParameters = try template.outputs.parameters.compactMap { parameter in
      guard case .path(let path)? = parameter.valueFrom?.source else { return nil }
      let fallback = try (parameter.valueFrom?.defaultValue ?? parameter.defaultValue).map(text)
      return OutputParameter(name: parameter.name, path: try text(path), defaultValue: fallback)
    }
    spec.capturesResult = mentionsResult || spec.transformations != nil
    if let http = template.http {
      spec.http = try request(http, at: ordinal)
      spec.capturesResult = true
    }
    if let resource = template.resource {
      try takeObject(resource, template.outputs, at: ordinal, into: &spec)
    }
    takePodSettings(template, at: ordinal, into: &spec)
    try gatherContainers(container, template, at: ordinal, into: &spec)
    try checkClaims(of: spec)
    spec.beside = try companion(of: ordinal, spec)
    if let grace { spec.terminationGrace = grace }
    if let seconds = template.activeDeadlineSeconds {
      guard let limit = Int64(try text(seconds)), limit > 0 else {
        throw FederationError(
          .invalidArgument, "activeDeadlineSeconds '\(try text(seconds))' is no positive whole number")
      }
      spec.activeDeadline = .seconds(limit)
    }
    spec.federation = definition.federationHints(for: template)
    if spec.resources.gpus > 0 { spec.resources.gpuType = definition.gpuType(for: template) }
    let labels = definition.metadata.labels.merging(template.labels) { $1 }
    if !labels.isEmpty { spec.labels = labels.mapValues { (try? text($0)) ?? $0 } }
    continueFromCheckpoint(&spec, nodes[Int(ordinal)])
    spec.nodeSelector = try definition.spec.nodeSelector.merging(template.nodeSelector) { $1 }.mapValues(text)
    return spec
  }

  private func companion(of ordinal: Int32, _ spec: TaskSpec) throws -> Companion? {
    let (daemons, volumes) = (try clusterOfDaemons(for: ordinal), clusterOfVolumes(for: spec))
    guard let daemons, let volumes, daemons != volumes else {
      return volumes.map { Companion($0, .volumes) } ?? daemons.map { Companion($0, .daemon) }
    }
    throw FederationError(
      .failedPrecondition,
      "the volumes of its workflow are on \(volumes), and the daemon that it is to reach on \(daemons), which no other "
        + "cluster reaches")
  }

  private func inputArtifacts(of template: WorkflowTemplate, at ordinal: Int32) throws -> [InputArtifact] {
    let inputs = nodes[Int(ordinal)].inputs
    if template.transformations != nil {
      // The others of its inputs are for nobody: it runs no program that could read them.
      return template.inputs.artifacts.suffix(1).compactMap { artifact in
        inputs.artifact(artifact.name).map { InputArtifact(name: artifact.name, path: "/", source: $0) }
      }
    }
    return try template.inputs.artifacts.compactMap { artifact in
      guard let path = artifact.path, let source = inputs.artifact(artifact.name) else { return nil }
      return InputArtifact(
        name: artifact.name, path: try substitute(path, in: .leaf(ordinal)), source: source, mode: artifact.mode,
        isModeRecursive: artifact.isModeRecursive ? true : nil)
    }
  }

  private func outputArtifacts(of template: WorkflowTemplate, at ordinal: Int32) throws -> [OutputArtifact] {
    func text(_ value: String) throws -> String { try substitute(value, in: .leaf(ordinal)) }
    var names: Set<String> = []
    return try template.outputs.artifacts.compactMap { artifact in
      guard let path = artifact.path else { return nil }
      let archive = artifact.archive ?? .tar
      let name = try outputName(of: artifact, in: .leaf(ordinal))
      guard names.insert(name).inserted else {
        throw FederationError(.invalidArgument, "two output artifacts have the name \(name)")
      }
      return OutputArtifact(
        name: name, path: try text(path), archive: archive, optional: artifact.optional,
        key: try (artifact.key ?? artifact.foreign?.bucketKey).map(text)
          ?? defaultKey(of: name, archive, at: ordinal),
        target: try artifact.foreign.map { try $0.origin(text) }, compressionLevel: artifact.compressionLevel)
    }
  }

  /// What an output artifact is called, with its tags replaced.
  func outputName(of artifact: WorkflowArtifact, in context: TagContext) throws -> String {
    guard Tags.mayContainTag(artifact.name) else { return artifact.name }
    let name = try substitute(artifact.name, in: context)
    guard NamePattern.parameter.matches(name) else {
      throw FederationError(
        .invalidArgument, "the artifact name \"\(name.prefix(200))\" must consist of \(NamePattern.parameter.rule)")
    }
    return name
  }

  /// What a run has made, with the places of what it has put elsewhere than into the repository.
  public func placed(_ artifacts: [String: StoredArtifact], madeBy node: NodeID) -> [String: StoredArtifact] {
    guard !artifacts.isEmpty, let outputs = plan(of: node.ordinal)?.template.outputs.artifacts,
      outputs.contains(where: { $0.foreign != nil })
    else { return artifacts }
    var artifacts = artifacts
    for output in outputs {
      guard let foreign = output.foreign, let name = try? outputName(of: output, in: .leaf(node.ordinal)),
        artifacts[name] != nil,
        let origin = try? foreign.origin({ try substitute($0, in: .leaf(node.ordinal)) })
      else { continue }
      artifacts[name]!.origin = origin
      // Others may write there, too: what is there is looked at by whoever reads it.
      artifacts[name]!.sha256 = ""
      artifacts[name]!.isUnstored = nil
    }
    return artifacts
  }

  /// A template as `podSpecPatch` of the workflow, and then its own, changes it, with the grace that these say.
  private func patched(
    _ written: WorkflowTemplate, in context: TagContext
  ) throws -> (template: WorkflowTemplate, grace: Duration?) {
    var (template, grace) = (written, nil as Duration?)
    for text in [definition.spec.podSpecPatch, written.podSpecPatch].compactMap(\.self) {
      let text = try substitute(text, in: context)
      let patch: PodPatch
      do throws(DocumentErrors) { patch = try PodPatch(text) } catch {
        let reason = error.problems.first.map { "\($0.path) \($0.message)" } ?? ""
        throw FederationError(.invalidArgument, "podSpecPatch: \(reason)")
      }
      try patch.apply(to: &template)
      grace = patch.terminationGraceSeconds.map { .seconds($0) } ?? grace
    }
    return (template, grace)
  }

  /// Where earlier attempts of the same task ran, when a further one is to run elsewhere (`retryStrategy.affinity`).
  public func triedClusters(of node: NodeID) -> Set<ClusterName> {
    let record = nodes[Int(node.ordinal)]
    guard record.role == .attempt, let parent = record.parent?.ordinal, let template = plan(of: parent)?.template,
      retryStrategy(of: template)?.avoidsTriedClusters == true
    else { return [] }
    return Set(liveAttempts(of: parent).filter { $0 != node.ordinal }.compactMap { nodes[Int($0)].hostCluster })
  }

  /// What an earlier run had reached lies where it was put down, and the program is told how often it was preempted.
  private func continueFromCheckpoint(_ spec: inout TaskSpec, _ record: NodeRecord) {
    guard record.restarts > 0 || spec.federation.onPreempt != nil else { return }
    spec.environment.removeAll { $0.name == PreemptionHook.restartCountVariable }
    spec.environment.append(
      EnvironmentVariable(name: PreemptionHook.restartCountVariable, value: "\(record.restarts)"))
    guard let name = spec.federation.onPreempt?.checkpoint, let stored = record.checkpoints[name],
      let output = spec.outputArtifacts.first(where: { $0.name == name })
    else { return }
    // An input that a document puts there is what the first run began with.
    spec.inputs.removeAll { $0.path == output.path }
    spec.inputs.append(InputArtifact(name: name, path: output.path, source: .stored(stored)))
  }

  /// What an input of a leaf node is has been found out: size and name of an object of which the document knows only where it is. It
  /// stays so for all runs of this node.
  public mutating func found(_ artifact: String, of node: NodeID, to be: InputArtifact.Source) {
    let ordinal = Int(node.ordinal)
    guard nodes.indices.contains(ordinal),
      let index = nodes[ordinal].inputs.artifacts.firstIndex(where: { $0.name == artifact }),
      nodes[ordinal].inputs.artifacts[index].source != be
    else { return }
    nodes[ordinal].inputs.artifacts[index].source = be
    markChanged(node.ordinal)
  }

  /// Whether a leaf node runs without an input that is not there.
  public func isOptional(_ artifact: String, of node: NodeID) -> Bool {
    plan(of: node.ordinal)?.template.inputs.artifacts.first { $0.name == artifact }?.optional == true
  }

  /// What a leaf node's template runs, as those know it who learn from runs: `WorkflowTemplate.program`.
  public func program(of node: NodeID) -> Int64 { plan(of: node.ordinal)?.program ?? 0 }

  /// When the outputs of a leaf node go to the repository.
  public func stageOut(of node: NodeID) -> StageOutPolicy {
    guard let template = plan(of: node.ordinal)?.template else { return .lazy }
    // What other workflows may take from a cache must be where these can read it.
    if template.memoize != nil { return .eager }
    return definition.federationHints(for: template).stageOut ?? .lazy
  }

  /// When an output of a leaf node goes from the repository; nil: nothing was said of it.
  public func collection(of artifact: String, madeBy node: NodeID) -> ArtifactGCStrategy? {
    plan(of: node.ordinal).flatMap { definition.collection(of: artifact, in: $0.template) }
  }

  /// Whether any output goes as soon as the workflow is over.
  public var collectsOnCompletion: Bool { definition.collectsOnCompletion }

  /// Whether a leaf node runs again when its outputs are lost.
  public func recompute(of node: NodeID) -> RecomputePolicy {
    plan(of: node.ordinal).map { definition.federationHints(for: $0.template).recompute ?? .always } ?? .always
  }

  /// `<workflow>/<node id>/<artifact>`, with an ending that tells how it is packed.
  private func defaultKey(of artifact: String, _ archive: ArchiveFormat, at node: Int32) -> String {
    let ending =
      switch archive {
      case .tar: ".tgz";
      case .zip: ".zip";
      case .none: ""
      }
    return "\(identity.name)/\(argoID(of: node))/\(artifact)\(ending)"
  }

  /// A request, else the limit, is what the task asks for.
  func resources(_ requirements: ResourceRequirements, in context: TagContext) throws -> Resources {
    func quantity(_ name: String, scale: Double = 1) throws -> Int64 {
      try self.quantity(name, requirements.requests[name] ?? requirements.limits[name], scale: scale, in: context)
    }
    let gpuNames = (Array(requirements.requests.keys) + Array(requirements.limits.keys)).filter { $0.hasSuffix("/gpu") }
    return Resources(
      cpuMillicores: try quantity("cpu", scale: 1000), memory: ByteCount(try quantity("memory")),
      gpus: try gpuNames.min().map { try quantity($0) } ?? 0)
  }

  /// What the task may use at most: limits alone, as in Kubernetes. A request is no limit.
  func limits(_ requirements: ResourceRequirements, in context: TagContext) throws -> Resources? {
    let limits = requirements.limits
    guard limits["cpu"] != nil || limits["memory"] != nil else { return nil }
    return Resources(
      cpuMillicores: try quantity("cpu", limits["cpu"], scale: 1000, in: context),
      memory: ByteCount(try quantity("memory", limits["memory"], in: context)))
  }

  private func quantity(_ name: String, _ written: String?, scale: Double = 1, in context: TagContext) throws -> Int64 {
    guard let written else { return 0 }
    let text = try substitute(written, in: context)
    guard let value = Quantity.parse(text, scale: scale) else {
      throw FederationError(
        .invalidArgument, "resources: '\(text)' is no quantity for \(name); write for example 500m or 2Gi")
    }
    return value
  }
}
