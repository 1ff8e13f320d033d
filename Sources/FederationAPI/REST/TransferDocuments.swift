/// One movement of bytes into a cache, or out of one into the repository.
public struct TransferDocument: Hashable, Sendable, Codable {
  /// 16 hexadecimal digits.
  public var id: String
  public var project: String
  /// What moves: `dataset:PROJECT/NAME@VERSION`, `sha256:...`, `source:...`.
  public var key: String
  /// Where it is outside the federation, of an object that a document names by its address.
  public var origin: String?
  public var cluster: String
  /// `run`, `speculation`, `prefetch`, `stage-out`.
  public var cause: String
  /// `waiting`, `running`, `done`, `failed`, `cancelled`.
  public var phase: String
  /// Where the bytes come from: `repository`, `origin`, a cluster's name; empty until it is known.
  public var source: String
  public var bytes: Int64
  public var movedBytes: Int64
  /// nil while nothing moves.
  public var bytesPerSecond: Int64?
  /// Until it is done at its present pace; nil while nothing moves.
  public var etaSeconds: Double?
  public var createdAt: WireTime
  public var startedAt: WireTime?
  public var finishedAt: WireTime?
  /// Why it stands still, or failed; empty otherwise.
  public var message: String
  public init(
    id: String, project: String, key: String, origin: String? = nil, cluster: String, cause: String, phase: String,
    source: String,
    bytes: Int64, movedBytes: Int64, bytesPerSecond: Int64?, etaSeconds: Double?, createdAt: WireTime,
    startedAt: WireTime?, finishedAt: WireTime?, message: String
  ) {
    self.id = id
    self.project = project
    self.key = key
    self.origin = origin
    self.cluster = cluster
    self.cause = cause
    self.phase = phase
    self.source = source
    self.bytes = bytes
    self.movedBytes = movedBytes
    self.bytesPerSecond = bytesPerSecond
    self.etaSeconds = etaSeconds
    self.createdAt = createdAt
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.message = message
  }
}

public struct TransferList: Hashable, Sendable, Codable {
  /// Newest first.
  public var items: [TransferDocument]
  public var next: String?
  public init(items: [TransferDocument], next: String? = nil) {
    self.items = items
    self.next = next
  }
}

/// The data of one message of the stream of transfers (`event: update`): those that are new or have changed since the message before.
public struct TransferUpdate: Hashable, Sendable, Codable {
  public var transfers: [TransferDocument]
  public init(transfers: [TransferDocument]) { self.transfers = transfers }
}

/// How well bytes move from a source to a cluster.
public struct LinkDocument: Hashable, Sendable, Codable {
  /// `repository`, `origin`, a cluster's name.
  public var source: String
  public var cluster: String
  /// Measured: a mean of past transfers in which recent ones count more. nil until something was moved.
  public var bytesPerSecond: Double?
  public var samples: Int
  public var measuredAt: WireTime?
  /// Bytes that are promised over this link and not there yet.
  public var backlogBytes: Int64
  /// Minor units for one GiB, by the prices of the cluster that it moves to; nil: that has none.
  public var egressGibibyte: Double?
  public var currency: String?
  public init(
    source: String, cluster: String, bytesPerSecond: Double?, samples: Int, measuredAt: WireTime?,
    backlogBytes: Int64, egressGibibyte: Double?, currency: String?
  ) {
    self.source = source
    self.cluster = cluster
    self.bytesPerSecond = bytesPerSecond
    self.samples = samples
    self.measuredAt = measuredAt
    self.backlogBytes = backlogBytes
    self.egressGibibyte = egressGibibyte
    self.currency = currency
  }
}

public struct LinkList: Hashable, Sendable, Codable {
  /// By cluster, then by source.
  public var items: [LinkDocument]
  public init(items: [LinkDocument]) { self.items = items }
}
