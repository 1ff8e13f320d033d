public import FederationModel

/// A node of a workflow and, for a task, the run behind it.
public struct NodeDocument: Hashable, Sendable, Codable {
  /// Its place in creation order; 0 is the root.
  public var id: Int32
  public var name: String
  public var displayName: String
  /// Argo's word: Pod, Steps, StepGroup, DAG, TaskGroup, Retry, Skipped, Suspend.
  public var type: String
  public var templateName: String
  public var phase: NodePhase
  /// Never empty while it is pending (invariant I10).
  public var message: String
  /// Whose part it is in the tree that people are shown; nil for the root and the exit handler.
  public var parent: Int32?
  public var boundary: Int32?
  /// Argo's edges.
  public var children: [Int32]
  public var startedAt: WireTime?
  public var finishedAt: WireTime?
  public var exitCode: Int32?
  public var inputs: [ParameterDocument]
  public var outputs: OutputsDocument
  /// The latest run; nil for a node without one.
  public var run: RunDocument?
  /// How often it had to leave its cluster to a task of a higher class; nil: never.
  public var restarts: Int32?

  public init(
    id: Int32, name: String, displayName: String, type: String, templateName: String, phase: NodePhase, message: String,
    parent: Int32?, boundary: Int32?, children: [Int32], startedAt: WireTime?, finishedAt: WireTime?, exitCode: Int32?,
    inputs: [ParameterDocument], outputs: OutputsDocument, run: RunDocument?,
    restarts: Int32? = nil
  ) {
    self.restarts = restarts
    self.id = id
    self.name = name
    self.displayName = displayName
    self.type = type
    self.templateName = templateName
    self.phase = phase
    self.message = message
    self.parent = parent
    self.boundary = boundary
    self.children = children
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.exitCode = exitCode
    self.inputs = inputs
    self.outputs = outputs
    self.run = run
  }
}

public struct NodeList: Hashable, Sendable, Codable {
  /// In creation order.
  public var items: [NodeDocument]
  /// Pass as `continue` for the next page; nil on the last one.
  public var next: String?
  public init(items: [NodeDocument], next: String? = nil) {
    self.items = items
    self.next = next
  }
}

public struct ParameterDocument: Hashable, Sendable, Codable {
  public var name: String
  public var value: String
  public init(name: String, value: String) {
    self.name = name
    self.value = value
  }
}

/// What a node or a workflow handed on.
public struct OutputsDocument: Hashable, Sendable, Codable {
  public var result: String?
  /// By name.
  public var parameters: [ParameterDocument]
  /// By name.
  public var artifacts: [ArtifactDocument]
  public init(result: String? = nil, parameters: [ParameterDocument] = [], artifacts: [ArtifactDocument] = []) {
    self.result = result
    self.parameters = parameters
    self.artifacts = artifacts
  }
}

/// An artifact in the repository.
public struct ArtifactDocument: Hashable, Sendable, Codable {
  /// Empty for an upload, which has a key alone.
  public var name: String
  public var key: String
  /// Of the stored bytes.
  public var size: Int64
  public var sha256: String
  /// `none`, `tar` or `zip`: how the stored bytes are packed.
  public var archive: ArchiveFormat
  public var producedOn: String?
  public init(name: String, key: String, size: Int64, sha256: String, archive: ArchiveFormat, producedOn: String? = nil)
  {
    self.name = name
    self.key = key
    self.size = size
    self.sha256 = sha256
    self.archive = archive
    self.producedOn = producedOn
  }
}

/// One attempt at a task, on one cluster.
public struct RunDocument: Hashable, Sendable, Codable {
  /// 16 hexadecimal digits.
  public var id: String
  /// The attempt's number, from 1.
  public var epoch: Int32
  public var cluster: String
  /// Bound, Dispatched, Staging, Queued, Running, Succeeded, Failed, Error, Cancelled, Lost, Preempted.
  public var phase: String
  public var message: String
  public var boundAt: WireTime
  public var dispatchedAt: WireTime?
  public var startedAt: WireTime?
  public var finishedAt: WireTime?
  public var exitCode: Int32?
  /// What really ran: `host`, a root file system, an image digest.
  public var runsAs: String
  public var bytesIn: Int64
  public var bytesOut: Int64
  public var stagingSeconds: Double
  public var wallSeconds: Double
  /// Settled when the run ended; nil before, and where the cluster has no price.
  public var charge: MoneyDocument?
  /// On spot capacity; nil: it is not.
  public var spot: Bool?
  /// Of an end that was not its own; nil: it was, or nobody told.
  public var cause: RunEndCause?
  public init(
    id: String, epoch: Int32, cluster: String, phase: String, message: String, boundAt: WireTime,
    dispatchedAt: WireTime?,
    startedAt: WireTime?, finishedAt: WireTime?, exitCode: Int32?, runsAs: String, bytesIn: Int64, bytesOut: Int64,
    stagingSeconds: Double, wallSeconds: Double, charge: MoneyDocument?, spot: Bool? = nil,
    cause: RunEndCause? = nil
  ) {
    self.cause = cause
    self.spot = spot
    self.id = id
    self.epoch = epoch
    self.cluster = cluster
    self.phase = phase
    self.message = message
    self.boundAt = boundAt
    self.dispatchedAt = dispatchedAt
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.exitCode = exitCode
    self.runsAs = runsAs
    self.bytesIn = bytesIn
    self.bytesOut = bytesOut
    self.stagingSeconds = stagingSeconds
    self.wallSeconds = wallSeconds
    self.charge = charge
  }
}

/// An amount of money.
public struct MoneyDocument: Hashable, Sendable, Codable {
  /// Millionths of the currency's unit: what is counted.
  public var micros: Int64
  /// Cents, fen: the same, rounded up.
  public var minorUnits: Int64
  /// ISO 4217, upper case.
  public var currency: String
  public init(_ amount: Amount, _ currency: String) {
    micros = amount.micros
    minorUnits = amount.micros / 10_000 + (amount.micros % 10_000 > 0 ? 1 : 0)
    self.currency = currency
  }
  public var amount: Amount { Amount(micros: micros) }
  /// `12.50 CNY`, `0.000125 CNY`.
  public var text: String { "\(amount) \(currency)" }
}
