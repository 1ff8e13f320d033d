import ControlPlaneCore
import FederationAPI
import FederationModel
import SwiftProtobuf

// From the agents' messages to the core's words, and back. Whatever an agent sends is checked here and nowhere later.

extension String {
  /// A text of an agent's as it is kept: at most so many characters, and U+FFFD for NUL. An agent of ours sends none; NUL ends a
  /// text wherever a program meets it, and the database refuses it, so that another one's text must not come that far.
  func told(_ count: Int = .max) -> String {
    let text = count == .max ? self : String(prefix(count))
    guard text.utf8.contains(0) else { return text }
    return String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value == 0 ? "\u{fffd}" : $0 }))
  }
}

extension ByteCount {
  /// A size that an agent tells, within 0...2^60: sums of a few of these are no overflow.
  init(told bytes: Int64) { self.init(min(max(0, bytes), 1 << 60)) }
}

extension AgentHello {
  /// - Throws: `.invalidArgument` for what no agent of ours would send.
  init(
    _ hello: Fubini_Agent_V1_Hello, protocolVersion: UInt32, takesOrders: Bool = false, renewsSlices: Bool = false
  ) throws(FederationError) {
    guard (8...128).contains(hello.journalID.utf8.count), !hello.journalID.utf8.contains(0) else {
      throw FederationError(.invalidArgument, "the journal id is missing or too long")
    }
    var runs: [RunID: RunPhase] = [:]
    for report in hello.runs { runs[RunID(report.runID)] = try RunPhase(report.phase) }
    self.init(
      journal: hello.journalID, lastSequence: Int64(clamping: hello.lastSequence),
      highestSeen: CommitPosition(term: hello.highestSeen.term, sequence: hello.highestSeen.commitSeq), runs: runs,
      inventory: ClusterInventory(hello.inventory), protocolVersion: protocolVersion, takesOrders: takesOrders,
      renewsSlices: renewsSlices)
  }
}

extension RunPhase {
  init(_ phase: Fubini_Agent_V1_RunPhase) throws(FederationError) {
    guard let value = RunPhase(rawValue: Int16(clamping: phase.rawValue)) else {
      throw FederationError(
        .invalidArgument, "run phase \(phase.rawValue) is not known; the agent may be newer than this control plane")
    }
    self = value
  }
}

extension ClusterInventory {
  /// Bounds what is kept of an agent's claims; the rest is cut.
  init(_ inventory: Fubini_Agent_V1_Inventory) {
    self.init(
      capacity: Resources(
        cpuMillicores: min(max(0, inventory.cpuMillicores), 1 << 50), memory: ByteCount(told: inventory.memoryBytes),
        gpus: max(0, inventory.gpus)),
      slots: inventory.slots > 0 ? Int(inventory.slots) : nil,
      images: inventory.images.prefix(256).map {
        ImageRule(pattern: $0.pattern.told(256), runsAs: $0.runsAs.told(256))
      },
      gpuTypes: inventory.gpuTypes.prefix(64).map { $0.told(64) }, canFence: inventory.canFence,
      linkBytesPerSecond: inventory.linkBytesPerSecond > 0 ? inventory.linkBytesPerSecond : nil,
      queues: inventory.queues, startsGangs: inventory.startsGangs,
      partitions: inventory.partitions.prefix(256).map { Partition($0) },
      tenancy: inventory.hasTenancy ? Tenancy(inventory.tenancy) : nil,
      disk: inventory.diskReserveBytes > 0
        ? DiskRoom(
          free: ByteCount(told: inventory.diskFreeBytes), reserve: ByteCount(told: inventory.diskReserveBytes)) : nil,
      cache: inventory.hasCache ? CacheInventory(inventory.cache) : nil,
      closed: inventory.closed.isEmpty ? nil : inventory.closed.told(512),
      executor: inventory.executor.isEmpty ? nil : inventory.executor.told(32),
      notices: inventory.notices.prefix(16).map { $0.told(512) })
    // What this control plane does not know it does not ask for.
    if !inventory.features.isEmpty {
      features = Set(inventory.features.prefix(64).compactMap(RunFeature.init(rawValue:)))
    }
    if !inventory.runAddress.isEmpty { runAddress = inventory.runAddress.told(253) }
    if !inventory.labels.isEmpty {
      let told = inventory.labels.sorted { $0.key < $1.key }.prefix(16).map { ($0.key.told(253), $0.value.told(63)) }
      labels = Dictionary(told) { first, _ in first }
    }
    if !inventory.quotas.isEmpty {
      let told = inventory.quotas.prefix(256).map { (ProjectName($0.project.told(253)), ResourceQuota($0)) }
      quotas = Dictionary(told) { first, _ in first }
    }
    if !inventory.claims.isEmpty { claims = Set(inventory.claims.prefix(256).map { $0.told(253) }) }
    if inventory.hasServiceAccounts {
      serviceAccounts = Set(inventory.serviceAccounts.names.prefix(256).map { $0.told(253) })
    }
  }
}

extension ResourceQuota {
  init(_ quota: Fubini_Agent_V1_ProjectQuota) {
    self.init(
      cpuMillicores: quota.hasCpuMillicores ? max(0, quota.cpuMillicores) : nil,
      gpus: quota.hasGpus ? max(0, quota.gpus) : nil,
      memoryBytes: quota.hasMemoryBytes ? max(0, quota.memoryBytes) : nil,
      runs: quota.hasRuns ? max(0, quota.runs) : nil)
  }
}

extension Tenancy {
  /// What is not understood takes nothing: a newer agent's word must not open a cluster to a stranger.
  init(_ tenancy: Fubini_Agent_V1_Tenancy) {
    let projects = tenancy.projects.prefix(Self.projectsMax).map { ProjectName($0.told(253)) }
    switch tenancy.kind {
    case .shared: self = .shared
    case .single: self = .single(projects.count == 1 ? projects[0] : nil)
    case .mapped: self = .mapped(Set(projects))
    case .UNRECOGNIZED: self = .mapped([])
    }
  }
}

extension Partition {
  init(_ partition: Fubini_Agent_V1_Partition) {
    let state: State =
      switch partition.state {
      case .up: .up
      case .drain: .drain
      case .inactive: .inactive
      // A word of a newer agent: it is not used before this control plane knows it.
      case .down, .UNRECOGNIZED: .down
      }
    func duration(_ ms: Int64) -> Duration? { ms > 0 ? .milliseconds(ms) : nil }
    self.init(
      name: partition.name.told(256), isDefault: partition.isDefault, state: state,
      timeLimit: duration(partition.timeLimitMs), defaultTime: duration(partition.defaultTimeMs),
      nodes: Int(clamping: max(0, partition.nodes)), usableNodes: Int(clamping: max(0, partition.usableNodes)),
      cpus: max(0, partition.cpus), freeCPUs: max(0, partition.freeCpus), cpusPerNode: max(0, partition.cpusPerNode),
      memoryPerNode: ByteCount(told: partition.memoryBytesPerNode),
      gpus: Dictionary(
        partition.gpus.sorted { $0.key < $1.key }.prefix(64).map { ($0.key.told(64), max(0, $0.value)) },
        uniquingKeysWith: { $0 + $1 }),
      gpusPerNode: max(0, partition.gpusPerNode),
      waits: partition.waits.prefix(16).map {
        PartitionWait(
          cpus: max(1, $0.cpus), median: .milliseconds(max(0, $0.medianMs)), upper: .milliseconds(max(0, $0.upperMs)),
          samples: Int(clamping: max(0, $0.samples)))
      }.sorted { $0.cpus < $1.cpus })
  }
}

extension Fubini_Agent_V1_SlurmHints {
  init(_ hints: SlurmHints) {
    self.init()
    partition = hints.partition ?? ""
    account = hints.account ?? ""
    qos = hints.qos ?? ""
    constraint = hints.constraint ?? ""
    reservation = hints.reservation ?? ""
    licences = hints.licences ?? ""
    nodes = Int64(hints.nodes ?? 0)
    tasksPerNode = Int64(hints.tasksPerNode ?? 0)
    exclusive = hints.exclusive
    requeue = hints.requeue
    batch = hints.isBatch ?? false
  }
}

extension AgentEvent {
  /// - Parameter cluster: whose agent sends it: what it stores is marked as made there, whatever it says.
  init(_ event: Fubini_Agent_V1_RunEvent, from cluster: ClusterName) throws(FederationError) {
    let phase = try RunPhase(event.phase)
    let message = event.message.told(4096)
    var outcome: TaskOutcome?
    if phase.isTerminal {
      outcome = TaskOutcome(
        phase: phase, exitCode: event.outcome.hasExitCode ? event.outcome.exitCode : nil, message: message,
        outputs: TaskOutputs(event.outcome, from: cluster))
    }
    self.init(
      sequence: Int64(clamping: event.sequence), run: RunID(event.runID), phase: phase,
      at: Timestamp(milliseconds: event.atMs),
      message: message, outcome: outcome, runsAs: event.runsAs.told(256),
      usage: RunUsage(event.outcome), isUnpaid: phase.isTerminal && event.outcome.unpaid,
      isReady: phase == .running && event.ready)
    // A word of a later release than ours is nothing that we could tell.
    if isReady, !event.address.isEmpty { address = event.address.told(253) }
    if phase.isTerminal { cause = RunEndCause(rawValue: event.outcome.cause) }
  }
}

extension RunUsage {
  /// Clusters from which a run has its bytes, at most: as many as it may have inputs from.
  private static let sourcesMax = 4096

  init(_ outcome: Fubini_Agent_V1_Outcome) {
    self.init(
      bytesIn: ByteCount(told: outcome.bytesIn), bytesOut: ByteCount(told: outcome.bytesOut),
      wallMilliseconds: max(0, outcome.wallMs), stagingMilliseconds: max(0, outcome.stagingMs))
    guard !outcome.bytesFrom.isEmpty else { return }
    bytesFrom = [:]
    // The empty name stands for what came from no cluster.
    for (name, bytes) in outcome.bytesFrom.sorted(by: { $0.key < $1.key }).prefix(Self.sourcesMax) where !name.isEmpty {
      bytesFrom![ClusterName(name.told(256))] = ByteCount(told: bytes)
    }
  }
}

extension TaskOutputs {
  init(_ outcome: Fubini_Agent_V1_Outcome, from cluster: ClusterName) {
    self.init(
      result: outcome.hasResult ? outcome.result.told() : nil,
      parameters: Dictionary(
        outcome.parameters.map { ($0.key.told(), $0.value.told()) }, uniquingKeysWith: { first, _ in first }),
      artifacts: Dictionary(
        outcome.artifacts.map { name, artifact in
          (name.told(), StoredArtifact(artifact, from: cluster))
        }, uniquingKeysWith: { first, _ in first }))
    if !outcome.exitCodes.isEmpty {
      exitCodes = Dictionary(
        outcome.exitCodes.prefix(256).map { ($0.key.told(253), $0.value) }, uniquingKeysWith: { first, _ in first })
    }
  }
}

extension ArchiveFormat {
  init(_ format: Fubini_Agent_V1_ArchiveFormat) {
    switch format {
    case .tar: self = .tar
    case .zip: self = .zip
    case .none, .UNRECOGNIZED: self = .none
    }
  }

  var message: Fubini_Agent_V1_ArchiveFormat {
    switch self {
    case .none: .none
    case .tar: .tar
    case .zip: .zip
    }
  }
}

extension CommitPosition {
  var message: Fubini_Agent_V1_CommitPosition { .with { ($0.term, $0.commitSeq) = (term, sequence) } }
}

extension Fubini_Agent_V1_Assignment {
  init(_ assignment: RunAssignment) {
    self.init()
    runID = assignment.run.number
    epoch = assignment.epoch
    project = assignment.project.text
    workflowName = assignment.workflowName
    workflowUid = assignment.workflowUID
    nodeName = assignment.nodeName
    spec = Fubini_Agent_V1_TaskSpec(assignment.spec)
    disconnectLimitMs = assignment.disconnectLimit?.milliseconds ?? 0
    walltimeMs = assignment.walltime?.milliseconds ?? 0
    sliceMs = assignment.slice?.milliseconds ?? 0
  }
}

extension Fubini_Agent_V1_TaskSpec {
  init(_ spec: TaskSpec) {
    self.init()
    image = spec.image
    command = spec.command
    arguments = spec.arguments
    if let source = spec.script { script = source }
    environment = spec.environment.map { variable in .with { ($0.name, $0.value) = (variable.name, variable.value) } }
    if let directory = spec.workingDirectory { workingDirectory = directory }
    resources = .with {
      $0.cpuMillicores = spec.resources.cpuMillicores
      $0.memoryBytes = spec.resources.memory.bytes
      $0.gpus = spec.resources.gpus
      $0.gpuType = spec.resources.gpuType ?? ""
    }
    if let most = spec.limits {
      limits = .with { ($0.cpuMillicores, $0.memoryBytes) = (most.cpuMillicores, most.memory.bytes) }
    }
    scratchPaths = spec.scratchPaths
    inputs = spec.inputs.map(Fubini_Agent_V1_InputArtifact.init)
    outputArtifacts = spec.outputArtifacts.map { output in
      .with {
        $0.name = output.name
        $0.path = output.path
        $0.archive = output.archive.message
        $0.optional = output.optional
        $0.key = output.key ?? ""
        $0.keepUnstored = output.mayStayUnstored == true
        $0.targetUri = output.target?.uri ?? ""
        $0.targetSecret = output.target?.secret ?? ""
        $0.targetFields = output.target?.fields ?? [:]
        $0.compressionLevel = output.compressionLevel ?? 0
      }
    }
    outputParameters = spec.outputParameters.map { output in
      .with {
        $0.name = output.name
        $0.path = output.path
        if let value = output.defaultValue { $0.defaultValue = value }
      }
    }
    capturesResult = spec.capturesResult
    activeDeadlineMs = spec.activeDeadline?.milliseconds ?? 0
    terminationGraceMs = spec.terminationGrace.milliseconds
    gangSize = Int64(spec.federation.gangSize)
    if let hints = spec.federation.slurm { slurm = Fubini_Agent_V1_SlurmHints(hints) }
    if let hook = spec.federation.onPreempt {
      onPreempt = .with {
        $0.signal = hook.signal.rawValue
        $0.graceMs = hook.grace.milliseconds
        $0.checkpoint = hook.checkpoint ?? ""
      }
    }
    labels = spec.labels ?? [:]
    priorityClass = spec.federation.priorityClass.rawValue
    datasets = (spec.datasets ?? []).map { mounted in
      .with { ($0.object, $0.mountPath) = (Fubini_Agent_V1_DataObject(mounted.object), mounted.mountPath) }
    }
    if let request = spec.http { http = Fubini_Agent_V1_RunHTTP(request) }
    transformations = spec.transformations ?? []
    if let several = spec.containers { containers = Fubini_Agent_V1_RunContainers(several) }
    claims = (spec.claims ?? []).map(Fubini_Agent_V1_ClaimVolume.init)
    if let settings = spec.pod { pod = Self.json(settings) }
    if let object = spec.resource { resource = Self.json(object) }
    environmentSources = (spec.environmentSources ?? []).map(Fubini_Agent_V1_EnvironmentSource.init)
    fileVolumes = (spec.fileVolumes ?? []).map(Fubini_Agent_V1_FileVolume.init)
    directoryMounts = (spec.directoryMounts ?? []).map { mount in
      .with { ($0.path, $0.directory, $0.readOnly) = (mount.path, mount.directory, mount.isReadOnly) }
    }
  }
}

extension Fubini_Agent_V1_InputArtifact {
  init(_ artifact: InputArtifact) {
    self.init()
    name = artifact.name
    path = artifact.path
    switch artifact.source {
    case .raw(let text): raw = text
    case .absent: absent = true
    case .stored(let artifact): stored = Fubini_Agent_V1_StoredArtifact(artifact)
    case .foreign(let artifact):
      // What is placed has been looked at.
      if let object = artifact.object { foreign.object = Fubini_Agent_V1_DataObject(object) }
      foreign.archive = artifact.archive.message
      foreign.origin = artifact.origin.message
    }
    if let bits = artifact.mode { mode = bits }
    recurseMode = artifact.isModeRecursive == true
    subPath = artifact.subPath ?? ""
  }
}
