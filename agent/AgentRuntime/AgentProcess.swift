internal import Execution
internal import FederationAPI
internal import FederationModel
internal import FederationPKI
internal import KubernetesExecutor
internal import Logging
internal import ProcessExecutor
internal import SlurmExecutor
internal import Supervisor
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// One running agent: everything that belongs to one state directory, from opening to orderly end.
///
/// `run()` ends when its task is cancelled. Runs stay alive in the supervisor; the next agent attaches to them again.
final class AgentProcess: Sendable {
  private let configuration: AgentConfiguration
  private let state: StateDirectory
  private let journal: Journal
  private let executor: any Executor
  /// Serves the files of pods; nil where there are none.
  private let podFiles: PodFileServer?
  private let data: DataPlane
  private let driver: RunDriver
  private let session: SessionRunner
  private let rotation: CertificateRotation
  private let logger: Logger
  private let cluster: ClusterName

  /// Opens everything, and changes nothing outside the state directory.
  ///
  /// - Parameter executor: in place of the configured one, for tests.
  /// - Throws: `.failedPrecondition` when the agent has not joined, or another one acts here.
  init(configuration: AgentConfiguration, executor given: (any Executor)? = nil, logger: Logger) async throws {
    let configuration = try configuration.validated()
    self.configuration = configuration
    self.logger = logger
    signal(SIGPIPE, SIG_IGN)
    state = try StateDirectory(path: configuration.stateDirectory)
    let store = try CertificateStore(stateDirectory: state.path)
    guard let identity = try store.load() else {
      throw FederationError(
        .failedPrecondition,
        "This agent has not joined: `FUBINI_JOIN_TOKEN=TOKEN fubini-agent join --control-plane HOST:PORT --state-dir \(state.path)`"
      )
    }
    cluster = identity.cluster
    let tenancy = try configuration.declaredTenancy()
    let addresses = try configuration.addresses
    let cycle = try AddressCycle(addresses)
    journal = try Journal(
      path: StateDirectory.journalPath(in: state.path),
      isOnNetworkFileSystem: StateDirectory.isNetworkFileSystem(state.path))
    let contents = try await journal.contents()
    let parts: ExecutorParts
    if let given {
      parts = ExecutorParts(executor: given, files: LocalRunFiles(executor: given))
    } else {
      parts = try await Self.executor(configuration, identity, logger)
    }
    (executor, podFiles) = (parts.executor, parts.podFiles)
    let files = parts.files
    let connection = ConnectionSlot()
    let meter = TransferMeter(configuration.transferLimit)
    let meters = LinkMeters(meter, links: configuration.linkLimits)
    let repository = RemoteArtifactRepository(connection: connection, meter: meters.repository)
    let data = try Self.dataPlane(
      configuration, identity.cluster, store: store, connection: connection, repository: repository, meters: meters,
      fluid: parts.fluid.map { FluidReplicas($0) }, logger: logger)
    self.data = data
    let driver = RunDriver(
      journal: journal, contents: contents, executor: executor, files: files, cache: data.cache,
      repository: repository, keepsUnstored: { connection.keepsUnstored }, grant: Self.grant(configuration),
      objects: RunObjects(
        asking: RemoteSecrets(connection: connection), images: { [executor] in await executor.inventory().images },
        names: NameListing(repository: repository, directory: data.cache.workDirectory)),
      delivery: OutputDelivery(asking: RemoteSecrets(connection: connection), mover: data.mover, meters: meters),
      tenancy: tenancy, logger: logger)
    self.driver = driver
    let logs = LogShipper(files: files) { run, offset, isComplete in
      await driver.tell(.logAcknowledged(run, offset: offset, isComplete: isComplete))
    }
    driver.use(logs)
    let credentials = try CertificateStore.credentials(identity)
    let rotation = CertificateRotation(
      store: store, identity: identity, addresses: addresses, credentials: credentials, logger: logger)
    self.rotation = rotation
    let clock = ClockNotice()
    let inventory: @Sendable () async -> ClusterInventory = { [executor] in
      var inventory = await executor.inventory()
      inventory.tenancy = tenancy
      if case .single(nil) = tenancy { inventory.notices.insert(Self.undeclaredTenancy, at: 0) }
      if let notice = clock.text { inventory.notices.append(notice) }
      if let problem = driver.problem { inventory.notices.append(problem) }
      if let problem = data.exportProblem { inventory.notices.append(problem) }
      inventory.notices += await data.notices
      inventory.linkBytesPerSecond = meter.bytesPerSecond
      inventory.cache = await data.inventory()
      return inventory
    }
    session = SessionRunner(
      cycle: cycle, journaledSequence: contents.lastSequence,
      ports: SessionRunner.Ports(
        journal: journal, driver: driver, executor: executor, connection: connection, logs: logs, inventory: inventory,
        data: data,
        claims: Self.keeper(configuration, identity, executor, logger),
        rotationRequested: { rotation.request() }),
      credentials: credentials, protocols: AgentProtocol.versions.lowerBound...configuration.protocolMax, logger: logger
    )
    clock.use { [session] in session.clockSkew }
    rotation.onRenewed { [session] in session.certificateRenewed() }
    driver.onEventsJournaled { [session] in session.eventsJournaled(through: $0) }
  }

  func run() async throws {
    // Tasks that are ending may hold this value a little longer than `run` lasts.
    defer { state.release() }
    let socket = try StatusSocket(path: StateDirectory.socketPath(in: state.path)) { [self] in await report() }
    defer { socket.close() }
    logger.info("agent started", metadata: ["cluster": "\(cluster)", "version": "\(SessionRunner.version)"])
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { [self] in try await driver.run() }
      group.addTask { [self] in await session.run() }
      group.addTask { [self] in
        await data.run()
        try Task.checkCancellation()
      }
      group.addTask { [self] in await rotation.run() }
      group.addTask { await Self.staySmall() }
      if let podFiles { group.addTask { try await podFiles.run() } }
      defer { group.cancelAll() }
      try await group.next()
    }
    journal.close()
    logger.info("agent ended; its runs go on")
  }

  /// Gives back what starting and working have left in memory, for as long as the agent lives. A look costs one small read
  /// every half minute; giving back, a millisecond and some page faults.
  private static func staySmall() async {
    var pause = Duration.seconds(5)
    while (try? await Task.sleep(for: pause, tolerance: .seconds(1))) != nil {
      if let bytes = ResidentMemory.fileBytes(), bytes > ResidentMemory.fileBytesMax { ResidentMemory.release() }
      pause = .seconds(30)
    }
  }

  func report() async -> StatusReport {
    let overview = driver.overview()
    let machine = session.machine
    let state =
      switch machine.state {
      case .idle: "none, waiting to dial"
      case .dialling: "dialling"
      case .greeting: "waiting for the welcome"
      case .established(let established): "established with \(established.address)"
      case .stopped: "stopped"
      }
    return StatusReport(
      version: SessionRunner.version, cluster: cluster.text, session: state, problem: machine.lastProblem,
      isDraining: overview.isDraining, isAdopting: overview.isAdopting,
      certificateExpiresAtMilliseconds: rotation.notAfter.milliseconds, runCount: overview.runCount,
      runs: overview.runs.map { .init(run: $0.id.hexadecimal, phase: $0.phase.name, note: $0.note) },
      queueDepth: driver.queueDepth, lastSequence: overview.lastSequence,
      acknowledgedSequence: overview.acknowledgedSequence, cache: await data.status(),
      clockSkewMilliseconds: session.clockSkew?.milliseconds,
      notices: await executor.inventory().notices + [driver.problem, data.exportProblem].compactMap { $0 })
  }

  /// Runs of a Slurm cluster with users of their own reach data sets by their paths.
  private static func grant(
    _ configuration: AgentConfiguration
  ) -> @Sendable (String, ProjectName) async throws -> Void {
    guard configuration.executor == .slurm, !configuration.tenancy.projects.isEmpty else { return { _, _ in } }
    let grant = DatasetGrant(users: configuration.tenancy.projects.mapValues(\.user))
    return { try await grant($0, to: $1) }
  }

  private static func dataPlane(
    _ configuration: AgentConfiguration, _ cluster: ClusterName, store: CertificateStore, connection: ConnectionSlot,
    repository: RemoteArtifactRepository, meters: LinkMeters, fluid: FluidReplicas?, logger: Logger
  ) throws -> DataPlane {
    let settings = configuration.cache
    let events = DataEventOutbox()
    let mover = try RcloneMover(
      program: settings.rclone, directory: configuration.stateDirectory + "/rclone", logger: logger)
    let secrets = RemoteSecrets(connection: connection)
    // Read anew each time: it is renewed.
    let identity: @Sendable () throws -> CertificateStore.Identity = {
      guard let identity = try store.load() else {
        throw FederationError(.failedPrecondition, "this agent has not joined")
      }
      return identity
    }
    let sources = SourceAccess(
      cluster: cluster, secrets: secrets, mover: mover, allowedOrigins: settings.origins,
      exports: ExportAccess(secrets: secrets) { try CertificateStore.bundle(identity()) })
    let isMapped = configuration.executor == .slurm && !configuration.tenancy.projects.isEmpty
    let layout = CacheLayout(
      directory: configuration.cacheDirectory,
      isPassable: isMapped || configuration.sandbox == .none && geteuid() == 0, isGranted: isMapped)
    let fetcher = ReplicaFetcher(repository: repository, sources: sources, meters: meters)
    let cache = try DataCache(
      layout: layout, capacity: settings.capacityBytes,
      reader: settings.isWriter ? nil : cluster,
      workDirectory: settings.isWriter ? nil : configuration.stateDirectory + "/work",
      fetching: fluid.map { KeptFetching(fluid: $0, others: fetcher) } ?? fetcher, keeper: fluid, events: events)
    return DataPlane(
      name: settings.name ?? cluster.text, cache: cache,
      orders: ReplicaOrders(
        cache: cache, repository: repository, indexer: OriginIndexer(sources: sources, repository: repository),
        versions: VersionMover(cache: cache, repository: repository, sources: sources, meters: meters),
        events: events, logger: logger),
      events: events, mover: mover,
      scrub: CacheScrub(
        cache: cache, interval: settings.scrubInterval, bytesPerSecond: settings.scrubBytesPerSecond, logger: logger),
      export: try configuration.export.map { export in
        try CacheExport(
          configuration: export, program: settings.rclone, directory: configuration.stateDirectory + "/export",
          layout: cache.layout, cluster: cluster, secrets: secrets,
          certificate: {
            let identity = try identity()
            return .init(chain: identity.certificatePEM, key: identity.key.pem)
          }, limit: configuration.transferLimit, logger: logger)
      }, fluid: fluid)
  }

  private struct ExecutorParts {
    var executor: any Executor
    var files: any RunFileAccess
    var podFiles: PodFileServer?
    /// Of a Kubernetes cluster that declares it.
    var fluid: FluidDatasets?
  }

  /// What may pass (a supervisor that does not answer yet, a full disk) is waited for; an agent that ended and was started
  /// again and again would help nobody.
  private static func executor(
    _ configuration: AgentConfiguration, _ identity: CertificateStore.Identity, _ logger: Logger
  ) async throws -> ExecutorParts {
    var attempt = 0
    while true {
      do {
        if configuration.executor == .slurm, case .mapped = try configuration.declaredTenancy() {
          let mapped = try await mappedExecutor(configuration, identity, logger)
          return ExecutorParts(executor: mapped, files: mapped)
        }
        if configuration.executor == .kubernetes {
          let parts = try await kubernetes(
            configuration, federationID: identity.federationID, cluster: identity.cluster.text, logger)
          return ExecutorParts(
            executor: parts.executor, files: LocalRunFiles(executor: parts.executor), podFiles: parts.files,
            fluid: parts.fluid)
        }
        let executor = try await makeExecutor(configuration, identity)
        let hasUsers = (executor as? ProcessExecutor)?.runsAsOthers ?? false
        return ExecutorParts(executor: executor, files: LocalRunFiles(executor: executor, mayLink: hasUsers))
      } catch let error as FederationError where error.isRetryable {
        attempt += 1
        logger.error("the executor cannot be started; trying again", metadata: ["error": "\(error.publicMessage)"])
        try await Task.sleep(for: RunDriver.pause(attempt))
      }
    }
  }

  private static func makeExecutor(
    _ configuration: AgentConfiguration, _ identity: CertificateStore.Identity
  ) async throws -> any Executor {
    let capacity = Resources(
      cpuMillicores: configuration.cpuMillicores ?? Int64(sysconf(Int32(_SC_NPROCESSORS_ONLN))) * 1000,
      memory: ByteCount(
        configuration.memoryBytes ?? Int64(sysconf(Int32(_SC_PHYS_PAGES))) * Int64(sysconf(Int32(_SC_PAGESIZE)))),
      gpus: configuration.gpus)
    switch configuration.executor {
    case .null:
      return NullExecutor(
        capacity: capacity, slots: configuration.slots, directory: configuration.stateDirectory + "/null")
    case .slurm:
      var slurm = slurmConfiguration(configuration, identity)
      slurm.claims = claims(configuration, identity)
      return try await SlurmExecutor(configuration: slurm)
    case .kubernetes:
      throw FederationError(.internal, "a Kubernetes cluster's executor is made with its server of files")
    case .process:
      return try await ProcessExecutor(
        configuration: ProcessExecutorConfiguration(
          stateDirectory: configuration.stateDirectory, supervisorExecutable: Self.executablePath,
          sandbox: configuration.sandbox == .none ? .none : .bubblewrap,
          network: .init(rawValue: configuration.network.rawValue) ?? .auto,
          images: configuration.images.map { ImageRule(pattern: $0.pattern, runsAs: $0.runsAs, command: $0.command) },
          rootFileSystems: configuration.rootFileSystems, allowedHostPaths: configuration.allowedHostPaths,
          // One program per core, unless the operator says otherwise: runs that wait cost nothing, overload costs all of them.
          capacity: capacity, slots: configuration.slots ?? Int(max(1, capacity.cpuMillicores / 1000)),
          controlGroups: configuration.controlGroups, processLimit: configuration.processLimit,
          identities: try identities(configuration), runAddress: configuration.runAddress,
          claims: claims(configuration, identity)))
    }
  }

  static func claims(
    _ configuration: AgentConfiguration, _ identity: CertificateStore.Identity
  ) -> ClaimDirectories {
    ClaimDirectories(
      directory: configuration.claimDirectory, named: configuration.namedClaims,
      mark: "\(identity.federationID) \(identity.cluster)")
  }

  private static let undeclaredTenancy =
    "no run is taken: this agent serves one project and no `project` is set in its configuration"

  /// The Unix users of a mapped tenancy.
  private static func identities(_ configuration: AgentConfiguration) throws -> [ProjectName: RunIdentity] {
    try configuration.tenancy.projects.mapValues { account in
      let numbers = try UnixUser.numbers(of: account.user)
      return RunIdentity(user: numbers.user, group: numbers.group)
    }
  }

  private static func mappedExecutor(
    _ configuration: AgentConfiguration, _ identity: CertificateStore.Identity, _ logger: Logger
  ) async throws -> MappedExecutor {
    let projects = configuration.tenancy.projects
    var slurm = slurmConfiguration(configuration, identity)
    for (project, account) in projects { if let name = account.account { slurm.accounts[project.text] = name } }
    return try await MappedExecutor(
      .init(
        slurm: slurm, stateDirectory: configuration.stateDirectory, sharedDirectory: slurm.sharedDirectory,
        users: projects.mapValues(\.user), agentBinary: executablePath,
        outputBytesMax: configuration.cache.capacityBytes),
      logger: logger)
  }

  private static func slurmConfiguration(
    _ configuration: AgentConfiguration, _ identity: CertificateStore.Identity
  ) -> SlurmExecutorConfiguration {
    slurmConfiguration(configuration, federationID: identity.federationID, cluster: identity.cluster.text)
  }

  /// - Parameters:
  ///   - federationID: marks the jobs (I7), together with `cluster`; empty where none is submitted.
  static func slurmConfiguration(
    _ configuration: AgentConfiguration, federationID: String, cluster: String
  ) -> SlurmExecutorConfiguration {
    let slurm = configuration.slurm
    var programs = SlurmExecutorConfiguration.Programs()
    for (name, program) in [
      ("sbatch", \SlurmExecutorConfiguration.Programs.sbatch), ("squeue", \.squeue), ("scancel", \.scancel),
      ("sinfo", \.sinfo), ("scontrol", \.scontrol), ("sacct", \.sacct),
    ] {
      if let path = slurm.commands[name] { programs[keyPath: program] = path }
    }
    programs.srun = slurm.commands["srun"]
    return SlurmExecutorConfiguration(
      sharedDirectory: slurm.sharedDirectory, agentBinary: slurm.agentBinary ?? executablePath,
      federationID: federationID, cluster: cluster, slurmConfiguration: slurm.slurmConf,
      programs: programs, partition: slurm.partition, account: slurm.account, qos: slurm.qos,
      accounts: slurm.accounts, defaults: slurm.defaults.map(SiteDefault.init), partitions: slurm.partitions,
      images: configuration.images.map { ImageRule(pattern: $0.pattern, runsAs: $0.runsAs, command: $0.command) },
      rootFileSystems: configuration.rootFileSystems, allowedHostPaths: configuration.allowedHostPaths,
      apptainer: slurm.apptainer, scriptTemplate: slurm.script, extraOptions: slurm.options,
      pollInterval: slurm.pollInterval, defaultWalltime: slurm.defaultWalltime, maxJobs: slurm.maxJobs,
      arraySize: slurm.arraySize, sharesJobs: slurm.shareJobs, canFence: slurm.canFence,
      inputWait: slurm.inputWait, restSocket: slurm.restd,
      usesAccounting: slurm.accounting == .auto,
      sandbox: .init(rawValue: slurm.sandbox.rawValue) ?? .auto)
  }

  /// Warns of a clock that is off. The text is the same for as long as it is, so that it is told once.
  private final class ClockNotice: Sendable {
    private let skew = Mutex<(@Sendable () -> Duration?)?>(nil)
    func use(_ source: @escaping @Sendable () -> Duration?) { skew.withLock { $0 = source } }

    var text: String? {
      guard let skew = skew.withLock({ $0 })?(), skew > .seconds(5) || skew < .seconds(-5) else { return nil }
      return
        "this machine's clock is more than 5 s \(skew < .zero ? "behind" : "ahead of") the control plane's: run NTP"
    }
  }

  /// This program's own file, also after it was started by a relative name.
  static var executablePath: String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let length = buffer.withUnsafeMutableBytes {
      readlink("/proc/self/exe", $0.bindMemory(to: CChar.self).baseAddress!, 4095)
    }
    return length > 0 ? String(decoding: buffer[..<length], as: UTF8.self) : CommandLine.arguments[0]
  }
}

extension SiteDefault {
  init(_ rule: SlurmConfiguration.SlurmDefault) {
    self.init(
      condition: Condition(
        priorityClass: rule.priorityClass, labels: rule.labels, project: rule.project, gpus: rule.gpus),
      partition: rule.values["partition"], account: rule.values["account"], qos: rule.values["qos"],
      constraint: rule.values["constraint"], gpuType: rule.values["gpuType"], gres: rule.values["gres"])
  }
}
