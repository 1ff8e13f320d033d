internal import Execution
internal import FederationAPI
internal import FederationModel
internal import SwiftProtobuf

/// Short names for the generated messages.
enum Wire {
  typealias AgentMessage = Fubini_Agent_V1_AgentMessage
  typealias ArchiveFormat = Fubini_Agent_V1_ArchiveFormat
  typealias CacheReport = Fubini_Agent_V1_CacheReport
  typealias DataEvent = Fubini_Agent_V1_DataEvent
  typealias DataOrders = Fubini_Agent_V1_DataOrders
  typealias IndexOrder = Fubini_Agent_V1_IndexOrder
  typealias Indexed = Fubini_Agent_V1_Indexed
  typealias StoreOrder = Fubini_Agent_V1_StoreOrder
  typealias ArchiveOrder = Fubini_Agent_V1_ArchiveOrder
  typealias Assignment = Fubini_Agent_V1_Assignment
  typealias ClaimOrders = Fubini_Agent_V1_ClaimOrders
  typealias ClaimReport = Fubini_Agent_V1_ClaimReport
  typealias Client = Fubini_Agent_V1_AgentGateway.ClientProtocol
  typealias ControlMessage = Fubini_Agent_V1_ControlMessage
  typealias Hello = Fubini_Agent_V1_Hello
  typealias Inventory = Fubini_Agent_V1_Inventory
  typealias LogAck = Fubini_Agent_V1_LogAck
  typealias LogChunk = Fubini_Agent_V1_LogChunk
  typealias Outcome = Fubini_Agent_V1_Outcome
  typealias RunEvent = Fubini_Agent_V1_RunEvent
  typealias StoredArtifact = Fubini_Agent_V1_StoredArtifact
  typealias TaskSpec = Fubini_Agent_V1_TaskSpec
  typealias Welcome = Fubini_Agent_V1_Welcome
}

extension Fubini_Agent_V1_RunPhase {
  init(_ phase: RunPhase) { self = Self(rawValue: Int(phase.rawValue)) ?? .error }
  /// nil for a number that this version does not know.
  var model: RunPhase? { RunPhase(rawValue: Int16(truncatingIfNeeded: rawValue)) }
}

extension Fubini_Agent_V1_ArchiveFormat {
  init(_ format: FederationModel.ArchiveFormat) {
    switch format {
    case .none: self = .none
    case .tar: self = .tar
    case .zip: self = .zip
    }
  }

  /// - Throws: `.invalidArgument` for a format that this version does not know.
  var model: FederationModel.ArchiveFormat {
    get throws {
      switch self {
      case .none: .none
      case .tar: .tar
      case .zip: .zip
      case .UNRECOGNIZED(let number):
        throw FederationError(.invalidArgument, "Archive format \(number) is unknown to this agent: upgrade it")
      }
    }
  }
}

extension Fubini_Agent_V1_StoredArtifact {
  init(_ artifact: FederationModel.StoredArtifact) {
    self.init()
    key = artifact.key
    size = artifact.size.bytes
    sha256 = artifact.sha256
    archive = .init(artifact.archive)
    producedOn = artifact.producedOn?.text ?? ""
    unstored = artifact.isUnstored == true
    sources = (artifact.sources ?? []).map(Fubini_Agent_V1_DataSource.init)
  }

  var model: FederationModel.StoredArtifact {
    get throws {
      guard size >= 0, sha256.utf8.count == 64,
        sha256.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
      else { throw FederationError(.invalidArgument, "Artifact \(key) has no valid size and SHA-256") }
      return FederationModel.StoredArtifact(
        key: key, size: ByteCount(size), sha256: sha256, archive: try archive.model,
        producedOn: producedOn.isEmpty ? nil : ClusterName(producedOn), isUnstored: unstored ? true : nil,
        sources: sources.isEmpty ? nil : sources.compactMap(\.model))
    }
  }
}

extension Fubini_Agent_V1_TaskSpec {
  /// - Throws: `.invalidArgument` for what no run can be made of.
  var model: FederationModel.TaskSpec {
    get throws {
      var spec = FederationModel.TaskSpec(
        image: image, command: command, arguments: arguments, script: hasScript ? script : nil,
        environment: environment.map { FederationModel.EnvironmentVariable(name: $0.name, value: $0.value) },
        workingDirectory: hasWorkingDirectory ? workingDirectory : nil,
        resources: FederationModel.Resources(
          cpuMillicores: resources.cpuMillicores, memory: ByteCount(resources.memoryBytes), gpus: resources.gpus,
          gpuType: resources.gpuType.isEmpty ? nil : resources.gpuType),
        limits: hasLimits
          ? FederationModel.Resources(cpuMillicores: limits.cpuMillicores, memory: ByteCount(limits.memoryBytes)) : nil,
        scratchPaths: scratchPaths, inputs: try inputs.map { try $0.model },
        outputArtifacts: try outputArtifacts.map {
          FederationModel.OutputArtifact(
            name: $0.name, path: $0.path, archive: try $0.archive.model, optional: $0.optional,
            key: $0.key.isEmpty ? nil : $0.key, mayStayUnstored: $0.keepUnstored ? true : nil,
            target: $0.targetUri.isEmpty
              ? nil
              : DataOrigin(
                uri: $0.targetUri, secret: $0.targetSecret.isEmpty ? nil : $0.targetSecret,
                fields: $0.targetFields.isEmpty ? nil : $0.targetFields),
            compressionLevel: $0.compressionLevel == 0 ? nil : $0.compressionLevel)
        },
        outputParameters: outputParameters.map {
          FederationModel.OutputParameter(
            name: $0.name, path: $0.path, defaultValue: $0.hasDefaultValue ? $0.defaultValue : nil)
        },
        datasets: datasets.isEmpty ? nil : try datasets.map { try $0.model },
        capturesResult: capturesResult, activeDeadline: activeDeadlineMs > 0 ? .milliseconds(activeDeadlineMs) : nil,
        terminationGrace: .milliseconds(max(0, terminationGraceMs)),
        // Of the hints an agent needs what its executor acts on; the rest was the scheduler's.
        federation: FederationHints(
          priorityClass: PriorityClass(rawValue: priorityClass) ?? .interruptible,
          gangSize: Int(clamping: max(1, gangSize)), slurm: hasSlurm ? try slurm.model : nil,
          onPreempt: hasOnPreempt ? onPreempt.model : nil),
        labels: labels.isEmpty ? nil : labels)
      if hasHTTP { spec.http = http.model }
      if !transformations.isEmpty { spec.transformations = transformations }
      if !claims.isEmpty { spec.claims = try claims.map { try $0.model } }
      spec.pod = try Self.value(pod)
      spec.resource = try Self.value(resource)
      if hasContainers { spec.containers = try containers.model }
      if !environmentSources.isEmpty { spec.environmentSources = environmentSources.map(\.model) }
      if !fileVolumes.isEmpty { spec.fileVolumes = fileVolumes.map(\.model) }
      if !directoryMounts.isEmpty {
        spec.directoryMounts = directoryMounts.map {
          FederationModel.DirectoryMount(path: $0.path, directory: $0.directory, isReadOnly: $0.readOnly)
        }
      }
      return spec
    }
  }
}

extension Fubini_Agent_V1_PreemptionHook {
  /// A signal that this agent does not know becomes SIGTERM.
  var model: FederationModel.PreemptionHook {
    FederationModel.PreemptionHook(
      signal: FederationModel.PreemptionHook.Signal(rawValue: signal) ?? .terminate,
      grace: min(.milliseconds(max(0, graceMs)), FederationModel.PreemptionHook.graceMax),
      checkpoint: checkpoint.isEmpty ? nil : checkpoint)
  }
}

extension Fubini_Agent_V1_SlurmHints {
  /// - Throws: `.invalidArgument` for a text that is no value of an option.
  var model: FederationModel.SlurmHints {
    get throws {
      func option(_ text: String) throws -> String? {
        guard !text.isEmpty else { return nil }
        guard FederationModel.SlurmHints.isOptionText(text) else {
          throw FederationError(.invalidArgument, "Slurm cannot be given the option value \(text)")
        }
        return text
      }
      return FederationModel.SlurmHints(
        partition: try option(partition), account: try option(account), qos: try option(qos),
        constraint: try option(constraint), reservation: try option(reservation), licences: try option(licences),
        nodes: nodes > 0 ? Int(clamping: nodes) : nil,
        tasksPerNode: tasksPerNode > 0 ? Int(clamping: tasksPerNode) : nil,
        exclusive: exclusive, requeue: requeue, isBatch: batch ? true : nil)
    }
  }
}

extension Fubini_Agent_V1_InputArtifact {
  var model: FederationModel.InputArtifact {
    get throws {
      let part = subPath.isEmpty ? nil : subPath
      let place: FederationModel.InputArtifact.Source
      switch source {
      case .raw(let text): place = .raw(text)
      case .stored(let artifact):
        var stored = try artifact.model
        stored.subPath = part
        place = .stored(stored)
      case .foreign(let artifact):
        var foreign = ForeignArtifact(
          origin: DataOrigin(uri: artifact.origin.uri), archive: try artifact.archive.model,
          object: try artifact.object.model)
        foreign.subPath = part
        place = .foreign(foreign)
      case .absent, nil: place = .absent
      }
      return FederationModel.InputArtifact(
        name: name, path: path, source: place, mode: hasMode ? mode : nil, isModeRecursive: recurseMode ? true : nil)
    }
  }
}

extension Fubini_Agent_V1_Assignment {
  /// - Throws: `.invalidArgument`.
  func request() throws -> RunRequest {
    RunRequest(
      id: RunID(runID), epoch: epoch, project: ProjectName(project), spec: try spec.model,
      disconnectLimit: disconnectLimitMs > 0 ? .milliseconds(disconnectLimitMs) : nil,
      walltime: walltimeMs > 0 ? .milliseconds(walltimeMs) : nil, slice: sliceMs > 0 ? .milliseconds(sliceMs) : nil)
  }
}

extension Fubini_Agent_V1_Inventory {
  init(_ inventory: ClusterInventory) {
    self.init()
    cpuMillicores = inventory.capacity.cpuMillicores
    memoryBytes = inventory.capacity.memory.bytes
    gpus = inventory.capacity.gpus
    slots = Int64(inventory.slots ?? 0)
    images = inventory.images.map { rule in
      .with {
        $0.pattern = rule.pattern
        $0.runsAs = rule.runsAs
      }
    }
    gpuTypes = inventory.gpuTypes
    canFence = inventory.canFence
    linkBytesPerSecond = inventory.linkBytesPerSecond ?? 0
    notices = inventory.notices
    queues = inventory.queues
    closed = inventory.closed ?? ""
    executor = inventory.executor ?? ""
    startsGangs = inventory.startsGangs
    features = (inventory.features ?? []).map(\.rawValue).sorted()
    runAddress = inventory.runAddress ?? ""
    labels = inventory.labels ?? [:]
    claims = (inventory.claims ?? []).sorted()
    quotas = (inventory.quotas ?? [:]).sorted { $0.key < $1.key }.prefix(256).map { project, quota in
      .with {
        $0.project = project.text
        if let amount = quota.cpuMillicores { $0.cpuMillicores = amount }
        if let amount = quota.memoryBytes { $0.memoryBytes = amount }
        if let amount = quota.gpus { $0.gpus = amount }
        if let amount = quota.runs { $0.runs = amount }
      }
    }
    if let accounts = inventory.serviceAccounts { serviceAccounts = .with { $0.names = accounts.sorted() } }
    partitions = inventory.partitions.prefix(256).map(Fubini_Agent_V1_Partition.init)
    if let disk = inventory.disk { (diskFreeBytes, diskReserveBytes) = (disk.free.bytes, disk.reserve.bytes) }
    if let declared = inventory.tenancy { tenancy = .init(declared) }
    if let known = inventory.cache {
      cache = .with {
        $0.name = known.name
        $0.capacityBytes = known.capacity.bytes
        $0.usedBytes = known.used.bytes
        $0.writer = known.isWriter
        $0.exportURL = known.exportURL ?? ""
      }
    }
  }
}

extension Fubini_Agent_V1_Tenancy {
  init(_ tenancy: Tenancy) {
    self.init()
    switch tenancy {
    case .shared: kind = .shared
    case .single(let project): (kind, projects) = (.single, project.map { [$0.text] } ?? [])
    case .mapped(let mapped): (kind, projects) = (.mapped, mapped.map(\.text).sorted())
    }
  }
}

extension Fubini_Agent_V1_Partition {
  init(_ partition: Partition) {
    self.init()
    name = partition.name
    isDefault = partition.isDefault
    state =
      switch partition.state {
      case .up: .up
      case .down: .down
      case .drain: .drain
      case .inactive: .inactive
      }
    timeLimitMs = partition.timeLimit?.milliseconds ?? 0
    defaultTimeMs = partition.defaultTime?.milliseconds ?? 0
    (nodes, usableNodes) = (Int64(partition.nodes), Int64(partition.usableNodes))
    (cpus, freeCpus, cpusPerNode) = (partition.cpus, partition.freeCPUs, partition.cpusPerNode)
    memoryBytesPerNode = partition.memoryPerNode.bytes
    (gpus, gpusPerNode) = (partition.gpus, partition.gpusPerNode)
    waits = partition.waits.map { wait in
      .with {
        $0.cpus = wait.cpus
        $0.medianMs = wait.median.milliseconds
        $0.upperMs = wait.upper.milliseconds
        $0.samples = Int64(wait.samples)
      }
    }
  }
}
