package import Execution
package import FederationModel
internal import Glibc
package import Supervisor

/// Whom a run becomes.
package struct RunAccount: Hashable, Sendable {
  /// nil: whoever starts it.
  package var identity: RunIdentity?
  /// The `/etc` that `PreparedConfiguration` wrote for it.
  package var preparedConfiguration: String

  package init(identity: RunIdentity?, preparedConfiguration: String) {
    self.identity = identity
    self.preparedConfiguration = preparedConfiguration
  }
}

/// Makes of a `RunRequest` what a supervisor is asked to do, and the run's files beside it. Shared by every executor whose runs
/// are processes in the end: those of this machine, and those of a batch system's nodes.
package struct RunPreparation {
  /// Where runs' files are: a full disk there stops what is new.
  package var directory: String
  /// First match wins. Without a rule for it a task's image cannot be honoured.
  package var images: [ImageRule]
  /// Root file systems by name.
  package var rootFileSystems: [String: String]
  /// Shown to every sandbox, read-only.
  package var allowedHostPaths: [String]
  /// nil: runs are not sandboxed.
  package var probe: SandboxProbe?
  package var sharesNetwork: Bool
  /// Whom runs become, and the `/etc` that they see.
  package var account: RunAccount
  /// In place of it, by project; empty: one account for all.
  package var accounts: [ProjectName: RunAccount] = [:]
  package var logLimit: ByteCount
  /// Processes and threads of one run at once; 0: no limit, or that of a batch system.
  package var processLimit: Int
  /// The program behind rules that run as `apptainer:FILE`; nil: there are none.
  package var apptainer: String?
  /// What its operator declares for volume claims.
  package var claims = ClaimDirectories()
  /// Device files that every sandbox shows where they exist.
  package var devices: [String] = []
  /// The agent's own program for the inside of sandboxes; nil: runs have one program each.
  package var helper: HelperProgram?
  /// Roots of ended runs for new ones; nil: each run's root is made for it.
  var roots: RootPool?
  /// They change rarely, and every run needs them.
  private let hostListings: [String: [Sandbox.Entry]]
  private let reachable: Set<String>

  package init(
    directory: String, images: [ImageRule], rootFileSystems: [String: String] = [:], allowedHostPaths: [String] = [],
    probe: SandboxProbe?, sharesNetwork: Bool, account: RunAccount, logLimit: ByteCount, processLimit: Int = 0,
    apptainer: String? = nil
  ) {
    self.directory = directory
    self.images = images
    self.rootFileSystems = rootFileSystems
    self.allowedHostPaths = allowedHostPaths
    self.probe = probe
    self.sharesNetwork = sharesNetwork
    self.account = account
    self.logLimit = logLimit
    self.processLimit = processLimit
    self.apptainer = apptainer
    reachable = Set((Sandbox.hostDirectories + Sandbox.hostConfiguration).filter(HostFiles.isReachableByAll))
    hostListings = ["/": HostFiles.list("/") ?? [], "/etc": HostFiles.list("/etc") ?? []]
  }

  /// How one run sees its files.
  private enum Enclosing {
    /// The host's paths are its own.
    case none
    case sandbox(SandboxProbe)
    case apptainer(program: String, image: String)
  }

  /// What the supervisor is asked to do for a run; writes the script and hands the workspace to the run's user. Secrets are
  /// part of the environment only if `includesSecrets`.
  package func supervisedRun(
    _ request: RunRequest, in workspace: RunWorkspace, includesSecrets: Bool = true
  ) throws(FederationError) -> SupervisedRun {
    let runsAs = try root(of: request.spec)
    let directory = PrivateFiles.directory(ofRun: workspace.directory)
    let run = try showingContainers(try request.showingFileVolumes(in: directory), runsAs, in: directory)
    let enclosing = try enclosing(runsAs)
    let account = try account(of: run.project)
    // The host's own tools may be named by the first argument; an option names none, and was meant for an entry point.
    var command = run.spec.command
    // As an entry point would be; a script brings its interpreter.
    if command.isEmpty, run.spec.script == nil { command = images.first { $0.matches(run.spec.image) }?.command ?? [] }
    let isNamed =
      run.spec.usesHelper || !command.isEmpty
      || runsAs == "host" && run.spec.arguments.first.map { !$0.hasPrefix("-") } ?? false
    guard isNamed else {
      throw FederationError(.invalidArgument, "the template has no command; images run here without their entry points")
    }
    try prepare(run, in: workspace)
    let shared = try sharedDirectories(of: run, account)
    let layout = try RunLayout(run)
    // A run that was started has its files already, and may be writing them.
    let isNew = !HostFiles.exists(workspace.directory + "/started")
    if let script = run.spec.script {
      let path = workspace.root + RunLayout.scriptPath
      if isNew { try HostFiles.write(path, script.utf8, mode: 0o755) }
      if case .none = enclosing { command.append(path) } else { command.append(RunLayout.scriptPath) }
    }
    command += run.spec.arguments
    if run.spec.containers != nil { command = [ContainerPlan.program, ContainerPlan.command] }
    if run.spec.isRequest { command = RequestProgram.arguments }
    if isNew {
      try HostFiles.write(workspace.directory + "/runs-as", runsAs.utf8, mode: 0o600)
      if let identity = account.identity { HostFiles.give(workspace.root, to: identity) }
    }
    let secrets = includesSecrets ? run.secrets : []
    var supervised = SupervisedRun(
      id: UInt64(bitPattern: run.id.number), arguments: command,
      environment: environment(run.spec.environment + secrets, workspace, enclosing),
      user: account.identity?.user, group: account.identity?.group,
      capturesStandardOutput: run.spec.capturesResult, walltimeMs: Self.milliseconds(run.walltime),
      activeDeadlineMs: Self.milliseconds(run.spec.activeDeadline),
      disconnectLimitMs: Self.milliseconds(run.disconnectLimit),
      graceMs: UInt64(max(0, run.spec.terminationGrace.milliseconds)),
      logBytesMax: UInt64(max(0, logLimit.bytes)),
      memoryBytesMax: UInt64(max(0, run.spec.limits?.memory.bytes ?? 0)),
      cpuMillicoresMax: UInt64(max(0, run.spec.limits?.cpuMillicores ?? 0)),
      processesMax: UInt64(max(0, processLimit)), sliceMs: Self.milliseconds(run.slice))
    if run.spec.fileVolumes?.isEmpty == false || run.spec.usesHelper {
      supervised.privateDirectory = directory
      if includesSecrets {
        supervised.privateFiles = run.privateFiles.map { PrivateFile(path: $0.path, mode: $0.mode, bytes: $0.bytes) }
      }
    }
    switch enclosing {
    case .none:
      // Without a sandbox a run sees the host's paths, and its own below its root: there are links to what it is shown.
      for input in run.inputs where isNew {
        let path = AbsolutePath.normalise(input.path) ?? input.path
        try HostFiles.makeLink(workspace.root + path, to: input.hostPath)
      }
      supervised.workingDirectory = run.spec.workingDirectory ?? workspace.root + RunLayout.defaultWorkingDirectory
    case .sandbox(let probe):
      var sandbox = try sandbox(run, layout, command, workspace, runsAs, probe, account)
      sandbox.shared = shared
      let launch = try sandbox.launch { [hostListings] in
        hostListings[$0] ?? HostFiles.list($0)
      }
      if isNew { try makeLinks(launch, in: workspace) }
      roots?.noteStart(of: run.id, RootPool.Kind(run.project, account.identity, runsAs), launch.skeleton)
      supervised.isSandboxed = true
      supervised.arguments = launch.arguments
      supervised.mounts = launch.mounts
    case .apptainer(let program, let image):
      supervised.arguments = try Apptainer(
        program: program, image: image, root: workspace.root, layout: layout,
        inputs: run.inputs, mounts: run.spec.directoryMounts ?? [], shared: shared,
        usesGPUs: run.spec.resources.gpus > 0
      ).arguments(command)
      supervised.environment = environment(
        ApptainerEnvironment.veiled(run.spec.environment + secrets, program: program), workspace, enclosing)
      supervised.workingDirectory = workspace.root
    }
    return supervised
  }

  private func makeLinks(_ launch: Sandbox.Launch, in workspace: RunWorkspace) throws(FederationError) {
    for link in launch.links {
      do throws(FederationError) { try HostFiles.makeLink(workspace.root + link.path, to: link.target) } catch {
        if error.isRetryable { throw error }
        throw FederationError(
          .invalidArgument,
          "the run cannot have a file or directory at \(link.path), where this cluster has a link to \(link.target)")
      }
    }
  }

  /// - Throws: `.permissionDenied` for a project that is mapped to nobody.
  private func account(of project: ProjectName) throws(FederationError) -> RunAccount {
    guard !accounts.isEmpty else { return account }
    guard let account = accounts[project] else {
      throw FederationError(.permissionDenied, "project \(project) has no Unix user on this cluster")
    }
    return account
  }

  private func enclosing(_ runsAs: String) throws(FederationError) -> Enclosing {
    if runsAs.hasPrefix(Apptainer.prefix) {
      guard let apptainer else {
        throw FederationError(.failedPrecondition, "this cluster's operator allows no Apptainer images")
      }
      return .apptainer(program: apptainer, image: String(runsAs.dropFirst(Apptainer.prefix.count)))
    }
    return probe.map { .sandbox($0) } ?? .none
  }

  private func sandbox(
    _ run: RunRequest, _ layout: RunLayout, _ command: [String], _ workspace: RunWorkspace, _ runsAs: String,
    _ probe: SandboxProbe, _ account: RunAccount
  ) throws(FederationError) -> Sandbox {
    let isGang = run.spec.federation.gangSize > 1
    if isGang,
      let path = layout.paths.first(where: {
        AbsolutePath.parent(of: $0) == "/" && !layout.directories.contains($0)
      })
    {
      throw FederationError(
        .invalidArgument, "the copies of a gang share directories, not /: put \(path) into one, like /workspace\(path)")
    }
    var base = Sandbox.Base.host(etc: account.preparedConfiguration)
    if runsAs != "host" {
      guard let directory = rootFileSystems[runsAs] else {
        throw FederationError(
          .failedPrecondition, "the cluster's operator names no directory for the root file system \(runsAs)")
      }
      base = .directory(directory)
    }
    var sandbox = Sandbox(
      bubblewrap: probe.bubblewrap, base: base, root: workspace.root, allowedHostPaths: allowedHostPaths,
      inputs: run.inputs.map { Sandbox.Binding(source: $0.hostPath, path: AbsolutePath.normalise($0.path) ?? $0.path) },
      writableDirectories: layout.directories, devices: run.spec.resources.gpus > 0 ? devices : [],
      sharesNetwork: sharesNetwork, stage: account.identity == nil ? nil : "/tmp",
      workingDirectory: layout.workingDirectory, command: command,
      disablesUserNamespaces: probe.disablesUserNamespaces, isCopied: isGang)
    sandbox.reachable = reachable
    let mounts = run.spec.directoryMounts ?? []
    // As in a pod, an empty directory is a mount of its own; a gang's directories are mounts already.
    let scratch = isGang ? [] : run.spec.scratchPaths.map { AbsolutePath.normalise($0) ?? $0 }
    sandbox.mounts =
      scratch.filter { path in !mounts.contains { $0.path == path } }
      .map { DirectoryMount(path: $0, directory: $0, isReadOnly: false) } + mounts
    return sandbox
  }

  /// Makes the run's private directories, or finds those that are there.
  package func prepare(_ run: RunRequest, in workspace: RunWorkspace) throws(FederationError) {
    guard !HostFiles.exists(workspace.directory + "/started") else { return }
    if let shortage = diskShortage {
      throw FederationError(.resourceExhausted, "nothing is started here: \(shortage)", retryAfter: .seconds(5))
    }
    let isOwnRoot = probe != nil || (try? root(of: run.spec))?.hasPrefix(Apptainer.prefix) == true
    if !isOwnRoot, let path = run.spec.scratchPaths.first {
      throw FederationError(
        .unplaceable,
        "the template mounts an empty directory at \(path), which only a sandbox can give a run of its own; this cluster "
          + "has none: use TMPDIR or the working directory, or another cluster")
    }
    if !isOwnRoot, run.spec.usesHelper {
      throw FederationError(
        .unplaceable,
        "several containers in one run, or a request in place of one, take a sandbox, and this cluster has none")
    }
    if !isOwnRoot, let path = run.spec.mountedPath {
      throw FederationError(
        .unplaceable,
        "the template mounts a volume at \(path), which only a sandbox can show a run; this cluster has none: use another"
      )
    }
    let layout = try RunLayout(run)
    let identity = try account(of: run.project).identity
    try HostFiles.makeDirectory(workspace.directory, mode: probe == nil && identity != nil ? 0o711 : 0o700)
    if let roots, !HostFiles.exists(workspace.root), let runsAs = try? root(of: run.spec) {
      _ = roots.take(RootPool.Kind(run.project, identity, runsAs), to: workspace.root)
    }
    // Where each project has a user of its own, no other one may look inside.
    try HostFiles.makeDirectory(workspace.root, mode: accounts.isEmpty ? 0o755 : 0o700)
    for directory in layout.directories { try HostFiles.makeDirectories(directory, below: workspace.root) }
  }

  /// What runs may ask for here beyond running a program.
  package var features: Set<RunFeature> {
    let showsVolumes = probe != nil || apptainer != nil && images.contains { $0.runsAs.hasPrefix(Apptainer.prefix) }
    var features: Set<RunFeature> = showsVolumes ? [.artifacts, .objects, .volumes] : [.artifacts, .objects]
    if showsVolumes, claims.directory != nil { features.insert(.claims) }
    if probe != nil, helper != nil { features.formUnion([.containers, .http, .probes]) }
    return features
  }

  /// A run of several containers sees its plan, and the program that starts them.
  ///
  /// - Throws: `.unplaceable` where they cannot share a root, or the program does not run in theirs.
  private func showingContainers(
    _ request: RunRequest, _ runsAs: String, in directory: String
  ) throws(FederationError) -> RunRequest {
    guard request.spec.usesHelper else { return request }
    guard request.spec.federation.gangSize <= 1 else {
      throw FederationError(.unplaceable, "the copies of a gang have one container each")
    }
    guard let helper, helper.runs(in: runsAs) else {
      throw FederationError(
        .unplaceable,
        "several containers in one run, and requests, take the agent's program inside the root file system \(runsAs), and it "
          + "does not run there: its operator installs the static build of the agent")
    }
    for container in request.spec.containers?.list ?? [] where try resolveImage(container.image) != runsAs {
      throw FederationError(
        .unplaceable,
        "the containers of one run share a root file system, and here \(container.image) runs as another than \(runsAs)"
      )
    }
    var request = request
    request.inputs += helper.inputs
    if request.spec.containers != nil {
      request.inputs.append(
        StagedInput(hostPath: directory + "/" + ContainerPlan.fileName, path: ContainerPlan.path))
    } else {
      request.inputs.append(
        StagedInput(hostPath: directory + "/" + RequestProgram.fileName, path: RequestProgram.path))
    }
    return request
  }

  /// What a run sees as its root. A request has no image: the agent's program makes it with the host's own tools.
  private func root(of spec: TaskSpec) throws(FederationError) -> String {
    spec.isRequest ? "host" : try resolveImage(spec.image)
  }

  /// The room in the directory of the runs, and what of it is kept free; nil when nobody can say.
  package var disk: DiskRoom? {
    guard let room = HostFiles.room(at: directory) else { return nil }
    let reserve = min(ProcessExecutorConfiguration.diskReserve.bytes, room.size / 20)
    return DiskRoom(free: ByteCount(room.free), reserve: ByteCount(reserve))
  }

  /// Why nothing new is started for want of space; nil while there is enough.
  package var diskShortage: String? {
    guard let disk, disk.isFull else { return nil }
    return "the agent's disk is full (\(disk.free) free in its state directory, "
      + "\(disk.reserve) needed); free some space there, and work goes on by itself"
  }

  private func resolveImage(_ image: String) throws(FederationError) -> String {
    guard let rule = images.first(where: { $0.matches(image) }) else {
      throw FederationError(.unplaceable, "this cluster has no rule for the image \(image)")
    }
    if probe == nil, rule.runsAs != "host", !rule.runsAs.hasPrefix(Apptainer.prefix) {
      throw FederationError(
        .unplaceable, "without a sandbox this cluster runs the host's own tools only, not \(rule.runsAs)")
    }
    return rule.runsAs
  }

  /// A small, fixed environment; then what the author and the secrets say. Nothing of the agent's own.
  private func environment(
    _ given: [EnvironmentVariable], _ workspace: RunWorkspace, _ enclosing: Enclosing
  ) -> [String] {
    var home = RunLayout.defaultWorkingDirectory
    if case .none = enclosing { home = workspace.root + home }
    var values = PlainEnvironment.values
    values["HOME"] = home
    for variable in given { values[variable.name] = variable.value }
    return values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
  }

  private static func milliseconds(_ duration: Duration?) -> UInt64 {
    // A limit of nothing is a limit: it must not turn into "none".
    duration.map { UInt64(max(1, $0.milliseconds)) } ?? 0
  }
}

extension RunRequest {
  /// The same run, with the files of its volumes where they will be when it starts.
  ///
  /// - Throws: `.unplaceable` for a gang, whose copies may be on several nodes; `.invalidArgument` for a part of a volume that is not there.
  fileprivate func showingFileVolumes(in directory: String) throws(FederationError) -> RunRequest {
    guard let volumes = spec.fileVolumes, !volumes.isEmpty else { return self }
    guard spec.federation.gangSize <= 1 else {
      throw FederationError(
        .unplaceable, "the copies of a gang have no volumes of secrets and config maps; use environment variables")
    }
    var request = self
    for (index, volume) in volumes.enumerated() {
      for mount in volume.mounts {
        var path = "\(directory)/\(index)"
        if let part = mount.subPath { path += "/" + part }
        request.inputs.append(StagedInput(hostPath: path, path: mount.path))
      }
    }
    return request
  }
}

extension TaskSpec {
  /// Whether the agent's own program runs inside the sandbox.
  fileprivate var usesHelper: Bool { containers != nil || isRequest }
  /// Whether the agent's own program runs in the place of its author's.
  fileprivate var isRequest: Bool { http != nil || transformations != nil }

  /// A path at which something is mounted; nil when nothing is.
  fileprivate var mountedPath: String? {
    fileVolumes?.first?.mounts.first?.path ?? directoryMounts?.first?.path ?? claims?.first?.mounts.first?.path
  }
}
