internal import Execution
internal import FederationModel
internal import Glibc
internal import Supervisor

extension ProcessExecutor {
  /// What the supervisor is asked to do for a run; writes the script and hands the workspace to the run's user.
  func supervisedRun(_ run: RunRequest) throws(FederationError) -> SupervisedRun {
    let runsAs = try resolveImage(run.spec.image)
    guard !run.spec.command.isEmpty || runsAs == "host" && !run.spec.arguments.isEmpty else {
      throw FederationError(.invalidArgument, "the template has no command; images run here without their entry points")
    }
    let workspace = try prepareSynchronously(run)
    let layout = try RunLayout(run)
    // A run that was started has its files already, and may be writing them.
    let isNew = !HostFiles.exists(workspace.directory + "/started")
    var command = run.spec.command
    if let script = run.spec.script {
      let path = workspace.root + RunLayout.scriptPath
      if isNew { try HostFiles.write(path, script.utf8, mode: 0o755) }
      command.append(probe == nil ? path : RunLayout.scriptPath)
    }
    command += run.spec.arguments
    if isNew {
      try HostFiles.write(workspace.directory + "/runs-as", runsAs.utf8, mode: 0o600)
      if let identity { HostFiles.give(workspace.root, to: identity) }
    }
    var supervised = SupervisedRun(
      id: UInt64(bitPattern: run.id.number), arguments: command, environment: environment(run, workspace),
      user: identity?.user, group: identity?.group, isSandboxed: probe != nil,
      capturesStandardOutput: run.spec.capturesResult, walltimeMs: Self.milliseconds(run.walltime),
      activeDeadlineMs: Self.milliseconds(run.spec.activeDeadline),
      disconnectLimitMs: Self.milliseconds(run.disconnectLimit),
      graceMs: UInt64(max(0, run.spec.terminationGrace.milliseconds)),
      logBytesMax: UInt64(max(0, configuration.logLimit.bytes)),
      memoryBytesMax: UInt64(max(0, run.spec.resources.memory.bytes)),
      cpuMillicoresMax: UInt64(max(0, run.spec.resources.cpuMillicores)))
    if let probe {
      let launch = try sandbox(run, layout, command, workspace, runsAs, probe).launch(listing: list)
      supervised.arguments = launch.arguments
      supervised.mounts = launch.mounts
    } else {
      supervised.workingDirectory = run.spec.workingDirectory ?? workspace.root + RunLayout.defaultWorkingDirectory
    }
    return supervised
  }

  private func sandbox(
    _ run: RunRequest, _ layout: RunLayout, _ command: [String], _ workspace: RunWorkspace, _ runsAs: String,
    _ probe: SandboxProbe
  ) throws(FederationError) -> Sandbox {
    var base = Sandbox.Base.host(etc: preparedConfiguration)
    if runsAs != "host" {
      guard let directory = configuration.rootFileSystems[runsAs] else {
        throw FederationError(
          .failedPrecondition, "the cluster's operator names no directory for the root file system \(runsAs)")
      }
      base = .directory(directory)
    }
    return Sandbox(
      bubblewrap: probe.bubblewrap, base: base, root: workspace.root, allowedHostPaths: configuration.allowedHostPaths,
      inputs: run.inputs.map { Sandbox.Binding(source: $0.hostPath, path: AbsolutePath.normalise($0.path) ?? $0.path) },
      writableDirectories: layout.directories, sharesNetwork: sharesNetwork,
      stage: identity == nil ? nil : "/tmp",
      workingDirectory: layout.workingDirectory, command: command,
      disablesUserNamespaces: probe.disablesUserNamespaces)
  }

  func prepareSynchronously(_ run: RunRequest) throws(FederationError) -> RunWorkspace {
    let workspace = workspace(for: run.id)
    guard !HostFiles.exists(workspace.directory + "/started") else { return workspace }
    if let shortage = diskShortage {
      throw FederationError(.resourceExhausted, "nothing is started here: \(shortage)", retryAfter: .seconds(5))
    }
    if probe == nil, let path = run.spec.scratchPaths.first {
      throw FederationError(
        .unplaceable,
        "the template mounts an empty directory at \(path), which only a sandbox can give a run of its own; this cluster "
          + "has none: use TMPDIR or the working directory, or another cluster")
    }
    let layout = try RunLayout(run)
    try HostFiles.makeDirectory(workspace.directory, mode: probe == nil && identity != nil ? 0o711 : 0o700)
    try HostFiles.makeDirectory(workspace.root, mode: 0o755)
    for directory in layout.directories { try HostFiles.makeDirectories(directory, below: workspace.root) }
    return workspace
  }

  /// Why nothing new is started for want of space; nil while there is enough.
  nonisolated var diskShortage: String? {
    guard let room = HostFiles.room(at: configuration.stateDirectory) else { return nil }
    let reserve = min(ProcessExecutorConfiguration.diskReserve.bytes, room.size / 20)
    guard room.free < reserve else { return nil }
    return "the agent's disk is full (\(ByteCount(room.free)) free in its state directory, "
      + "\(ByteCount(reserve)) needed); free some space there, and work goes on by itself"
  }

  private func resolveImage(_ image: String) throws(FederationError) -> String {
    guard let rule = configuration.images.first(where: { $0.matches(image) }) else {
      throw FederationError(.unplaceable, "this cluster has no rule for the image \(image)")
    }
    if probe == nil, rule.runsAs != "host" {
      throw FederationError(
        .unplaceable, "without a sandbox this cluster runs the host's own tools only, not \(rule.runsAs)")
    }
    return rule.runsAs
  }

  /// A small, fixed environment; then what the author and the secrets say. Nothing of the agent's own.
  private func environment(_ run: RunRequest, _ workspace: RunWorkspace) -> [String] {
    let home = probe == nil ? workspace.root + RunLayout.defaultWorkingDirectory : RunLayout.defaultWorkingDirectory
    var values = [
      "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "LANG": "C.UTF-8",
      "TMPDIR": "/tmp",
      "USER": "fubini",
    ]
    for variable in run.spec.environment + run.secrets { values[variable.name] = variable.value }
    return values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
  }

  private static func milliseconds(_ duration: Duration?) -> UInt64 {
    // A limit of nothing is a limit: it must not turn into "none".
    duration.map { UInt64(max(1, $0.milliseconds)) } ?? 0
  }

  /// The host's root and /etc change rarely, and are listed for every run.
  private func list(_ directory: String) -> [Sandbox.Entry]? {
    guard directory == "/" || directory == "/etc" else { return HostFiles.list(directory) }
    if let known = hostListings[directory] { return known }
    let entries = HostFiles.list(directory)
    hostListings[directory] = entries
    return entries
  }
}
