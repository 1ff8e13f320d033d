import FederationModel

/// Runs of several containers.
extension WorkflowMachine {
  /// Puts every container of a template that has several into its spec, the main one too, and what they need together.
  func gatherContainers(
    _ main: ContainerTemplate, _ template: WorkflowTemplate, at ordinal: Int32, into spec: inout TaskSpec
  ) throws {
    guard template.hasSeveralContainers else { return }
    var list = try template.initContainers.map { try container($0, .initial, template, at: ordinal) }
    if let set = template.containerSet {
      list += try set.containers.map { try container($0, .member, template, at: ordinal) }
      // The result is what the container of that name writes, and nobody else.
      if !set.containers.contains(where: { $0.name == RunContainers.resultName }) { spec.capturesResult = false }
    } else {
      list.append(
        RunContainers.Container(
          name: RunContainers.resultName, role: .main, image: spec.image, command: spec.command,
          arguments: spec.arguments, environment: spec.environment, environmentSources: spec.environmentSources,
          workingDirectory: spec.workingDirectory, probes: try probes(of: main, template, at: ordinal)))
      list += try template.sidecars.map { try container($0, .sidecar, template, at: ordinal) }
    }
    var containers = RunContainers(list: list, isDaemon: template.isDaemon ? true : nil)
    if let retries = template.containerSet?.retries {
      let text = try substitute(retries, in: .leaf(ordinal))
      guard let count = Int32(text), (0...1000).contains(count) else {
        throw FederationError(.invalidArgument, "retries: '\(text)' is no number of retries")
      }
      containers.retries = count
    }
    if let pause = template.containerSet?.retryPause {
      let text = try substitute(pause, in: .leaf(ordinal))
      guard let duration = GoDuration.parse(text) else {
        throw FederationError(.invalidArgument, "duration: '\(text)' is no duration")
      }
      containers.retryPause = duration
    }
    (spec.command, spec.arguments, spec.environment, spec.environmentSources) = ([], [], [], nil)
    try setAside(template, at: ordinal, &spec)
    spec.containers = containers
  }

  private func container(
    _ companion: CompanionContainer, _ role: RunContainers.Role, _ template: WorkflowTemplate, at ordinal: Int32
  ) throws -> RunContainers.Container {
    let written = companion.container
    let context = TagContext.leaf(ordinal)
    func text(_ value: String) throws -> String { try substitute(value, in: context) }
    let taken = try variables(of: written, template, at: ordinal)
    return RunContainers.Container(
      name: companion.name, role: role, image: try text(written.image), command: try written.command.map(text),
      arguments: try written.args.map(text),
      environment: try written.env.map { EnvironmentVariable(name: $0.name, value: try text($0.value)) } + taken.fields,
      environmentSources: taken.sources, workingDirectory: try written.workingDir.map(text),
      dependencies: companion.dependencies, probes: try probes(of: written, template, at: ordinal))
  }

  /// That a container is ready matters to those that wait for a daemon alone.
  private func probes(
    of container: ContainerTemplate, _ template: WorkflowTemplate, at ordinal: Int32
  ) throws -> RunProbes? {
    guard let probes = container.probes else { return nil }
    func text(_ value: String) throws -> String { try substitute(value, in: .leaf(ordinal)) }
    let resolved = RunProbes(
      startup: try probes.startup?.resolved(text),
      readiness: template.isDaemon ? try probes.readiness?.resolved(text) : nil,
      liveness: try probes.liveness?.resolved(text))
    return resolved.isEmpty ? nil : resolved
  }

  /// What runs at the same time is added up, and no init container may need more. A limit of all is the sum of theirs, where each has one.
  ///
  /// - Source: Kubernetes, "Init Containers", "Resource sharing within containers".
  private func setAside(_ template: WorkflowTemplate, at ordinal: Int32, _ spec: inout TaskSpec) throws {
    let context = TagContext.leaf(ordinal)
    var sum = Resources.zero
    var limit = Resources.zero
    var (hasCPULimit, hasMemoryLimit) = (true, true)
    for container in template.concurrentContainers {
      sum = sum + (try resources(container.resources, in: context))
      let own = try limits(container.resources, in: context)
      limit = limit + (own ?? .zero)
      if own.map({ $0.cpuMillicores > 0 }) != true { hasCPULimit = false }
      if own.map({ $0.memory.bytes > 0 }) != true { hasMemoryLimit = false }
    }
    for companion in template.initContainers {
      let own = try resources(companion.container.resources, in: context)
      sum.cpuMillicores = max(sum.cpuMillicores, own.cpuMillicores)
      sum.memory = max(sum.memory, own.memory)
      sum.gpus = max(sum.gpus, own.gpus)
    }
    // What is said of the whole pod counts in place of the sum.
    let whole = try resources(template.podResources ?? definition.spec.podResources, in: context)
    if whole.cpuMillicores > 0 { sum.cpuMillicores = whole.cpuMillicores }
    if whole.memory.bytes > 0 { sum.memory = whole.memory }
    spec.resources = sum
    spec.limits =
      hasCPULimit || hasMemoryLimit
      ? Resources(
        cpuMillicores: hasCPULimit ? limit.cpuMillicores : 0, memory: hasMemoryLimit ? limit.memory : .zero) : nil
  }
}

extension WorkflowTemplate {
  /// Several containers, or one that must be looked after.
  var hasSeveralContainers: Bool {
    if containerSet != nil || !initContainers.isEmpty || !sidecars.isEmpty || isDaemon { return true }
    guard case .container(let main) = body else { return false }
    return main.probes?.endsContainers == true
  }

  /// Those that run at the same time.
  var concurrentContainers: [ContainerTemplate] {
    guard case .container(let main) = body else { return [] }
    return containerSet?.containers.map(\.container) ?? [main] + sidecars.map(\.container)
  }

  /// Init containers and the concurrent ones.
  var allContainers: [ContainerTemplate] { initContainers.map(\.container) + concurrentContainers }
}
