public import FederationModel

/// The body of `POST /v1/clusters` and `PUT /v1/clusters/{cluster}`.
public struct ClusterRequest: Hashable, Sendable, Codable {
  /// Of a creation; taken from the path in an update.
  public var name: String?
  public var kind: ClusterKind
  public var labels: [String: String]?
  public var prices: PriceSheet?
  /// The one project that may use it; nil: every project.
  public var project: String?
  /// Of a creation: how long the join token is good for. 60 to 86,400; 3,600 when left out.
  public var tokenLifetimeSeconds: Int?
  public init(
    name: String? = nil, kind: ClusterKind, labels: [String: String]? = nil, prices: PriceSheet? = nil,
    project: String? = nil,
    tokenLifetimeSeconds: Int? = nil
  ) {
    self.name = name
    self.kind = kind
    self.labels = labels
    self.prices = prices
    self.project = project
    self.tokenLifetimeSeconds = tokenLifetimeSeconds
  }
}

public struct ClusterCreated: Hashable, Sendable, Codable {
  public var cluster: ClusterDocument
  public var join: JoinDocument
  public init(cluster: ClusterDocument, join: JoinDocument) {
    self.cluster = cluster
    self.join = join
  }
}

/// A one-time join token: shown once, kept nowhere.
public struct JoinDocument: Hashable, Sendable, Codable {
  public var cluster: String
  /// Secret. Holds the pin of the control plane's CA. Given to the command as `FUBINI_JOIN_TOKEN`, or by `--token-file`.
  public var token: String
  public var expiresAt: WireTime
  /// Where agents dial: `host:port`.
  public var server: String
  /// What to run on the cluster, word by word: `["fubini-agent", "join", ...]`. Does not hold the token, which must not be
  /// an argument: arguments can be seen by everybody on the machine.
  public var command: [String]
  public init(cluster: String, token: String, expiresAt: WireTime, server: String, command: [String]) {
    self.cluster = cluster
    self.token = token
    self.expiresAt = expiresAt
    self.server = server
    self.command = command
  }
}

/// A cluster: what was declared, and what is known of it now.
public struct ClusterDocument: Hashable, Sendable, Codable {
  public var name: String
  public var kind: ClusterKind
  public var labels: [String: String]
  public var prices: PriceSheet?
  public var project: String?
  public var createdAt: WireTime
  /// Ready, NotReady (connected, but `reason` keeps new work away), Offline, Cordoned, Draining, Revoked, Adopting, NeverJoined.
  public var state: String
  /// Why nothing new is placed there, for people; empty when it is open.
  public var reason: String
  public var cordonReason: String?
  public var isDraining: Bool
  public var isAdopting: Bool
  public var revokedAt: WireTime?
  /// What of it is spot capacity; nil: nothing.
  public var spot: SpotDocument?
  /// What only the leader knows; nil where it could not be asked.
  public var live: ClusterLiveDocument?
  public init(
    name: String, kind: ClusterKind, labels: [String: String], prices: PriceSheet?, project: String?,
    createdAt: WireTime,
    state: String, reason: String, cordonReason: String?, isDraining: Bool, isAdopting: Bool, revokedAt: WireTime?,
    live: ClusterLiveDocument?, spot: SpotDocument? = nil
  ) {
    self.spot = spot
    self.name = name
    self.kind = kind
    self.labels = labels
    self.prices = prices
    self.project = project
    self.createdAt = createdAt
    self.state = state
    self.reason = reason
    self.cordonReason = cordonReason
    self.isDraining = isDraining
    self.isAdopting = isAdopting
    self.revokedAt = revokedAt
    self.live = live
  }
}

/// What of a cluster is spot capacity; also the body of `PUT /v1/clusters/{cluster}/spot`.
public struct SpotDocument: Hashable, Sendable, Codable {
  /// Of the cluster's capacity and slots, 0 to 100. Made smaller: what does not fit any more leaves after its notice. 0: all of it is
  /// taken back for now.
  public var percent: Int
  /// What a run has at most from being told to leave until it is killed, 1 to 600; when it is set, nil: as before.
  public var noticeSeconds: Int64?
  /// Shown to those who leave, and to those who wait while all of it is taken back.
  public var reason: String?
  public init(percent: Int, noticeSeconds: Int64? = nil, reason: String? = nil) {
    self.percent = percent
    self.noticeSeconds = noticeSeconds
    self.reason = reason
  }
}

/// Whose work a cluster's agent takes.
public struct TenancyDocument: Hashable, Sendable, Codable {
  /// `shared`: every project's; `single`: one project's; `mapped`: of those that have a user of their own there.
  public var kind: String
  /// Of `single` and `mapped`, sorted; empty when a `single` agent names none and takes nothing.
  public var projects: [String]
  public init(_ tenancy: Tenancy) {
    switch tenancy {
    case .shared: (kind, projects) = ("shared", [])
    case .single(let project): (kind, projects) = ("single", project.map { [$0.text] } ?? [])
    case .mapped(let mapped): (kind, projects) = ("mapped", mapped.map(\.text).sorted())
    }
  }
}

public struct ClusterLiveDocument: Hashable, Sendable, Codable {
  public var isConnected: Bool
  public var agentVersion: String
  public var activeRuns: Int
  public var cpuMillicores: Int64
  public var memoryBytes: Int64
  public var gpus: Int64
  public var gpuTypes: [String]
  public var slots: Int?
  /// Bytes per second, measured; nil until something was moved.
  public var measuredBandwidth: Double?
  /// What the agent warns of ("memory limits are not enforced here").
  public var notices: [String]
  /// The version of the agent protocol that its session speaks; nil without a session.
  public var agentProtocol: UInt32?
  /// The agent's wall clock minus the control plane's, in milliseconds; nil until an agent has said that can.
  public var clockSkewMilliseconds: Int64?
  /// nil: its agent is too old to say.
  public var tenancy: TenancyDocument?
  /// Partitions of a Slurm cluster that its agent may use, or node pools of a Kubernetes cluster (`nodes`: what is in none), sorted; nil:
  /// it has none.
  public var partitions: [String]?
  public init(
    isConnected: Bool, agentVersion: String, activeRuns: Int, cpuMillicores: Int64, memoryBytes: Int64, gpus: Int64,
    gpuTypes: [String], slots: Int?, measuredBandwidth: Double?, notices: [String], agentProtocol: UInt32? = nil,
    clockSkewMilliseconds: Int64? = nil, tenancy: TenancyDocument? = nil, partitions: [String]? = nil
  ) {
    self.isConnected = isConnected
    self.agentVersion = agentVersion
    self.activeRuns = activeRuns
    self.cpuMillicores = cpuMillicores
    self.memoryBytes = memoryBytes
    self.gpus = gpus
    self.gpuTypes = gpuTypes
    self.slots = slots
    self.measuredBandwidth = measuredBandwidth
    self.notices = notices
    self.agentProtocol = agentProtocol
    self.clockSkewMilliseconds = clockSkewMilliseconds
    self.tenancy = tenancy
    self.partitions = partitions
  }
}

public struct ClusterList: Hashable, Sendable, Codable {
  /// By name.
  public var items: [ClusterDocument]
  public init(items: [ClusterDocument]) { self.items = items }
}

/// The body of cordon, drain and forget. Optional but for `forget` with `confirmStopped`.
public struct ClusterActionRequest: Hashable, Sendable, Codable {
  /// Of `cordon` and `drain`: why, shown to those who wait.
  public var reason: String?
  /// Of `forget`: the operator vouches that none of the cluster's runs can run any more, so they may be replaced.
  public var confirmStopped: Bool?
  /// Of `join-token`: 60 to 86,400.
  public var tokenLifetimeSeconds: Int?
  public init(reason: String? = nil, confirmStopped: Bool? = nil, tokenLifetimeSeconds: Int? = nil) {
    self.reason = reason
    self.confirmStopped = confirmStopped
    self.tokenLifetimeSeconds = tokenLifetimeSeconds
  }
}
