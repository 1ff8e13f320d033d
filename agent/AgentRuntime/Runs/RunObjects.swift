internal import Execution
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import ProcessExecutor
internal import Supervisor
internal import SwiftProtobuf

/// What an object holds.
struct ObjectValues: Sendable {
  var texts: [String: String]
  /// `binaryData` of a config map: for files alone, as in Kubernetes.
  var bytes: [String: [UInt8]] = [:]
}

/// Values of a project's secrets and config maps, asked for right before the run that names them starts, and kept nowhere (I9).
protocol ObjectAsking: Sendable {
  /// - Throws: `.notFound`; `.permissionDenied` when the run does not name the object, or is not this cluster's.
  func values(of object: ProjectObject, for run: RunID) async throws -> ObjectValues
}

extension RemoteSecrets: ObjectAsking {
  func values(of object: ProjectObject, for run: RunID) async throws -> ObjectValues {
    let reply = try await reply(
      to: .with {
        $0.runID = run.number
        $0.name = object.name
        $0.configMap = object.kind == .configMap
      })
    return ObjectValues(texts: reply.values, bytes: reply.binary.mapValues { Array($0) })
  }
}

/// Gives a run what its template takes from secrets and config maps. What is not there and not optional ends it with the words that
/// Kubernetes has for it.
struct RunObjects: Sendable {
  let asking: any ObjectAsking
  /// The cluster's rules: what containers without a command run.
  var images: @Sendable () async -> [ImageRule] = { [] }
  /// Of runs that list what is in a bucket; nil: there are none.
  var names: NameListing?

  /// - Throws: `.failedPrecondition` for what is missing; what `ObjectAsking` throws.
  func fill(_ request: RunRequest) async throws -> RunRequest {
    let spec = request.spec
    let wanted = spec.objects
    guard Self.hasWork(request) else { return request }
    var found: [ProjectObject: [String: String]] = [:]
    var bytes: [ProjectObject: [String: [UInt8]]] = [:]
    for object in wanted {
      do {
        let values = try await asking.values(of: object, for: request.id)
        (found[object], bytes[object]) = (values.texts, values.bytes)
      } catch let error as FederationError where error.code == .notFound { continue }
    }
    var filled = request
    let variables = try RunVariables(
      spec.environment, spec.environmentSources ?? [],
      values: Self.environment(of: spec, in: request.project, found), found)
    filled.secrets += variables.added
    if spec.containers == nil {
      filled.spec.command = try variables.expand(spec.command)
      filled.spec.arguments = try variables.expand(spec.arguments)
    }
    if let containers = spec.containers {
      filled.privateFiles.append(
        RunFile(
          path: ContainerPlan.fileName, mode: 0o400,
          bytes: try Self.plan(containers, spec, await images(), in: request.project, found).bytes))
    }
    if let http = spec.http {
      var request = http
      request.secretHeaders = []
      request.headers += try Self.environment(http.secretHeaders, beside: [], in: filled.project, found).map {
        RunHTTP.Header(name: $0.name, value: $0.value)
      }
      filled.privateFiles.append(
        RunFile(path: RequestProgram.fileName, mode: 0o400, bytes: Array(try JSONEncoder().encode(request))))
    }
    if let resource = spec.resource {
      filled.privateFiles.append(
        RunFile(path: RequestProgram.fileName, mode: 0o400, bytes: Array(try JSONEncoder().encode(resource))))
    }
    if let expressions = spec.transformations {
      guard let names else { throw FederationError(.failedPrecondition, "this agent lists no files for runs") }
      let listing = NamesToTransform(names: try await names.names(for: request), transformations: expressions)
      filled.privateFiles.append(
        RunFile(path: RequestProgram.fileName, mode: 0o400, bytes: Array(try JSONEncoder().encode(listing))))
    }
    filled.privateFiles += try (spec.fileVolumes ?? []).enumerated().flatMap { index, volume in
      try Self.files(of: volume, found, bytes).map { file in
        RunFile(path: "\(index)/\(file.path)", mode: file.mode, bytes: file.bytes)
      }
    }
    let size =
      filled.privateFiles.reduce(0) { $0 + $1.bytes.count } + filled.secrets.reduce(0) { $0 + $1.value.utf8.count }
    guard size <= RunRequest.privateBytesMax else {
      throw FederationError(
        .failedPrecondition,
        "what the run takes from secrets and config maps has \(ByteCount(Int64(size))); at most "
          + "\(ByteCount(Int64(RunRequest.privateBytesMax))) fit")
    }
    return filled
  }

  /// - Source: Kubernetes, pkg/kubelet/kubelet_pods.go, `makeEnvironmentVariables`: what is listed by name goes before whole objects, and of
  ///   whole objects the later one.
  static func environment(
    of spec: TaskSpec, in project: ProjectName, _ found: [ProjectObject: [String: String]]
  ) throws -> [EnvironmentVariable] {
    try environment(spec.environmentSources ?? [], beside: spec.environment, in: project, found)
  }

  private static func environment(
    _ sources: [EnvironmentSource], beside environment: [EnvironmentVariable], in project: ProjectName,
    _ found: [ProjectObject: [String: String]]
  ) throws -> [EnvironmentVariable] {
    var values: [String: String] = [:]
    let written = Set(environment.map(\.name))
    for case .all(let object, let prefix, let isOptional) in sources {
      guard let known = found[object] else {
        if isOptional { continue }
        throw missing(object)
      }
      for (key, value) in known {
        let name = prefix + key
        guard !name.contains("="), !name.isEmpty, !written.contains(name) else { continue }
        values[name] = value
      }
    }
    for case .value(let variable, let key, let object, let isOptional) in sources {
      guard let known = found[object] else {
        if isOptional { continue }
        throw missing(object)
      }
      guard let value = known[key] else {
        if isOptional { continue }
        throw FederationError(
          .failedPrecondition,
          "CreateContainerConfigError: couldn't find key \(key) in \(object.kind == .secret ? "Secret" : "ConfigMap") "
            + "\(project)/\(object.name)")
      }
      values[variable] = value
    }
    for (name, value) in values where value.utf8.contains(0) {
      throw FederationError(
        .failedPrecondition, "the value of the environment variable \(name) has a NUL byte; mount it as a file instead")
    }
    return values.sorted { $0.key < $1.key }.map { EnvironmentVariable(name: $0.key, value: $0.value) }
  }

  /// Whether anything is to be done for a run before it starts.
  static func hasWork(_ request: RunRequest) -> Bool {
    !request.spec.objects.isEmpty || request.spec.fileVolumes?.isEmpty == false || request.spec.containers != nil
      || request.spec.http != nil || request.spec.transformations != nil || request.spec.resource != nil
      || RunVariables.areMentioned(in: request.spec)
  }

  /// What the first program of a run with several needs to know.
  private static func plan(
    _ containers: RunContainers, _ spec: TaskSpec, _ images: [ImageRule], in project: ProjectName,
    _ found: [ProjectObject: [String: String]]
  ) throws -> ContainerPlan {
    let list = try containers.list.map { container -> ContainerPlan.Container in
      let variables = try RunVariables(
        container.environment, container.environmentSources ?? [],
        values: try environment(
          container.environmentSources ?? [], beside: container.environment, in: project, found), found)
      var arguments = container.command
      // As an entry point would be; a script brings its interpreter.
      if arguments.isEmpty, container.role != .main || spec.script == nil {
        arguments = images.first { $0.matches(container.image) }?.command ?? []
      }
      if container.role == .main, spec.script != nil { arguments.append(RunLayout.scriptPath) }
      arguments = try variables.expand(arguments + container.arguments)
      guard let program = arguments.first, !program.isEmpty else {
        throw FederationError(
          .invalidArgument, "container \(container.name) has no command; images run here without their entry points")
      }
      return ContainerPlan.Container(
        name: container.name, role: container.role.planned, arguments: arguments,
        environment: variables.all.map { "\($0.name)=\($0.value)" },
        workingDirectory: container.workingDirectory, dependencies: container.dependencies,
        isResult: container.role != .initial && container.name == RunContainers.resultName,
        probes: Self.probes(container.probes ?? RunProbes(), spec))
    }
    return ContainerPlan(
      containers: list, graceMs: UInt64(max(0, spec.terminationGrace.milliseconds)),
      retries: UInt32(max(0, containers.retries)), retryPauseMs: UInt64(max(0, containers.retryPause.milliseconds)),
      isDaemon: containers.isDaemon == true)
  }

  /// Every probe is a program: the author's own, or ours for what goes over the network.
  private static func probes(_ probes: RunProbes, _ spec: TaskSpec) -> [ContainerPlan.Probe] {
    func milliseconds(_ duration: Duration) -> UInt64 { UInt64(max(0, duration.milliseconds)) }
    let kinds: [(ContainerPlan.Probe.Kind, RunProbe?)] = [
      (.startup, probes.startup), (.readiness, probes.readiness), (.liveness, probes.liveness),
    ]
    return kinds.compactMap { kind, probe in
      guard let probe else { return nil }
      let arguments =
        switch probe.action {
        case .exec(let command): command
        case .tcp(let host, let port): ContainerProbe.arguments(tcp: host, port: port)
        case .http(let host, let port, let path, let headers):
          ContainerProbe.arguments(http: host, port: port, path: path, headers: headers.map { ($0.name, $0.value) })
        }
      return ContainerPlan.Probe(
        kind: kind, arguments: arguments, initialDelayMs: milliseconds(probe.initialDelay),
        periodMs: max(1, milliseconds(probe.period)), timeoutMs: max(1, milliseconds(probe.timeout)),
        successThreshold: UInt32(max(1, probe.successThreshold)),
        failureThreshold: UInt32(max(1, probe.failureThreshold)),
        graceMs: milliseconds(probe.grace ?? spec.terminationGrace))
    }
  }

  private static func missing(_ object: ProjectObject) -> FederationError {
    FederationError(
      .failedPrecondition, "CreateContainerConfigError: \(object.kind.word) \"\(object.name)\" not found")
  }

  /// - Returns: with paths below the volume; always the volume itself first.
  static func files(
    of volume: FileVolume, _ found: [ProjectObject: [String: String]], _ bytes: [ProjectObject: [String: [UInt8]]]
  ) throws -> [RunFile] {
    func failure(_ what: String) -> FederationError {
      FederationError(.failedPrecondition, "MountVolume.SetUp failed for volume \"\(volume.name)\" : \(what)")
    }
    var files: [String: RunFile] = [:]
    for source in volume.sources {
      switch source {
      case .text(let text, let path, let mode):
        files[path] = RunFile(path: path, mode: UInt32(mode ?? volume.mode), bytes: Array(text.utf8))
      case .object(let object, let items, let isOptional):
        guard let texts = found[object] else {
          if isOptional { continue }
          throw failure("\(object.kind.word) \"\(object.name)\" not found")
        }
        let known = texts.mapValues { Array($0.utf8) }.merging(bytes[object] ?? [:]) { $1 }
        for item in items ?? known.keys.map({ FileVolume.Item(key: $0, path: $0) }) {
          guard let value = known[item.key] else {
            if isOptional { continue }
            throw failure("references non-existent \(object.kind == .secret ? "secret" : "config") key: \(item.key)")
          }
          files[item.path] = RunFile(
            path: item.path, mode: UInt32(item.mode ?? volume.mode), bytes: value)
        }
      }
    }
    for mount in volume.mounts {
      guard let part = mount.subPath else { continue }
      guard files.keys.contains(where: { $0 == part || $0.hasPrefix(part + "/") }) else {
        throw failure("there is no \"\(part)\" in it, which is to be mounted at \(mount.path)")
      }
    }
    return [RunFile(path: "", mode: 0o755)] + files.values.sorted { $0.path < $1.path }
  }
}

extension ProjectObject.Kind {
  /// As Kubernetes calls it in messages.
  fileprivate var word: String { self == .secret ? "secret" : "configmap" }
}

extension RunContainers.Role {
  fileprivate var planned: ContainerPlan.Role {
    switch self {
    case .initial: .initial
    case .main: .main
    case .sidecar: .sidecar
    case .member: .member
    }
  }
}
