public import ControlPlaneCore
public import FederationModel
public import WorkflowCore

/// What the REST API asks of the control plane. The leader implements it over its core; a standby by asking the leader.
public protocol CommandPort: Sendable {
  /// Waits until the command's unit is durable.
  ///
  /// - Throws: `FederationError`: `.resourceExhausted` with `retryAfter` when the queue is full, `.unavailable` with
  ///   `retryAfter` when nobody leads or the database is away, otherwise the core's answer.
  func perform(_ command: Command, as principal: Principal, idempotency: IdempotencyKey?) async throws -> Reply
  /// Whether this process leads now, and where the leader's API is (nil: not known).
  var leadership: LeadershipView { get async }
  /// What the leader knows of clusters and has nowhere written down. Empty on a standby.
  func clusterStatuses() async -> [ClusterName: ClusterStatus]
  /// Why those of `nodes` that are pending or placed are where they are (invariant I10); a few hundred at a time, because it is
  /// one turn of the leader. Empty on a standby.
  func reasons(in workflow: WorkflowReference, of nodes: [NodeID]) async -> [NodeID: String]
  /// What a plan of a workflow begins with: one turn of the leader that changes nothing.
  ///
  /// - Throws: `.unavailable` when this process does not lead, and what a submission would be refused with for its data sets.
  func forecastBasis(
    of definition: WorkflowDefinition, in project: ProjectName, reading inputs: [UnseenInput]
  ) async throws -> ForecastBasis
  /// Which of these inputs somebody has looked at. Empty on a standby.
  func seen(_ inputs: [UnseenInput], of project: ProjectName) async -> [UnseenInput: SeenInput]
  /// What each of these workflows waits for, where nothing of it runs (invariant I10): a turn of the leader for each.
  /// Empty on a standby.
  func standstill(of workflows: [WorkflowReference]) async -> [WorkflowReference: Standstill]
  /// How far transfers of a project are that are not over. Empty on a standby.
  func transferProgress(of project: ProjectName) async -> [TransferID: TransferProgress]
  /// What is known of links, by cluster and source. Empty on a standby.
  func links() async -> [LinkStatus]
  /// Whose turn it is.
  ///
  /// - Throws: `.unavailable` when this process does not lead.
  func fairShare() async throws -> FairShareStatus
}

/// A port that knows nothing soft: a standby's.
extension CommandPort {
  public func standstill(of workflows: [WorkflowReference]) async -> [WorkflowReference: Standstill] { [:] }
  public func transferProgress(of project: ProjectName) async -> [TransferID: TransferProgress] { [:] }
  public func links() async -> [LinkStatus] { [] }
  public func fairShare() async throws -> FairShareStatus { throw FederationError.notLeading }
  public func forecastBasis(
    of definition: WorkflowDefinition, in project: ProjectName, reading inputs: [UnseenInput]
  ) async throws -> ForecastBasis {
    throw FederationError.notLeading
  }
  public func seen(_ inputs: [UnseenInput], of project: ProjectName) async -> [UnseenInput: SeenInput] { [:] }
}

public struct LeadershipView: Sendable, Hashable {
  public var isLeader: Bool
  /// The base URL that the leader announced.
  public var leaderURL: String?
  /// The last commit of the database that this process knows of.
  public var commitSequence: Int64
  public init(isLeader: Bool, leaderURL: String?, commitSequence: Int64) {
    self.isLeader = isLeader
    self.leaderURL = leaderURL
    self.commitSequence = commitSequence
  }
}

/// The soft side of a cluster.
public struct ClusterStatus: Sendable, Hashable {
  public var isConnected: Bool
  public var inventory: ClusterInventory
  public var activeRuns: Int
  /// Bytes per second, measured; nil until something was moved.
  public var measuredBandwidth: Double?
  /// Why nothing new is placed there; empty when it is open.
  public var closedBecause: String
  public var agentVersion: String
  public init(
    isConnected: Bool, inventory: ClusterInventory, activeRuns: Int, measuredBandwidth: Double?, closedBecause: String,
    agentVersion: String
  ) {
    self.isConnected = isConnected
    self.inventory = inventory
    self.activeRuns = activeRuns
    self.measuredBandwidth = measuredBandwidth
    self.closedBecause = closedBecause
    self.agentVersion = agentVersion
  }
}

/// Size and checksum of an object of a project's repository; nil: there is none.
public typealias ObjectLook = @Sendable (ProjectName, _ key: String) async throws -> ArtifactStat?

/// What the gateway asks of the leader, for one authenticated agent session.
public protocol AgentPort: Sendable {
  /// Takes the session's hello. Messages for the agent, the welcome first, go to `outbox` in order; `closed` ends the session.
  ///
  /// - Throws: `FederationError` `.unavailable` (this process does not lead; the message says who does) or `.resourceExhausted`.
  func connect(_ cluster: ClusterName, _ hello: AgentHello, version: String, outbox: any AgentOutbox) async throws
    -> SessionID
  func disconnect(_ cluster: ClusterName, _ session: SessionID) async
  /// Waits while the agents' lane is full: back-pressure reaches the agent's stream.
  func receive(_ cluster: ClusterName, _ session: SessionID, _ events: [AgentEvent]) async throws
  func receive(_ cluster: ClusterName, _ session: SessionID, _ inventory: ClusterInventory) async throws
  func receive(_ cluster: ClusterName, _ session: SessionID, _ report: CacheReport) async throws
  func receive(_ cluster: ClusterName, _ session: SessionID, _ events: [DataEvent]) async throws
  /// Notes that the agent lives, and says whether it may be answered: only while this leader's own lease holds. Never queued.
  /// Returns the position to answer with; nil: do not answer.
  func heartbeat(_ cluster: ClusterName, _ session: SessionID) -> CommitPosition?
  /// Whether `run` is one that `cluster` has been given and that is not over: only then may it move artifacts and logs for it.
  /// Returns what the transfer may touch; nil when the run is not this cluster's. Served from memory, also shortly after the end.
  func access(of run: RunID, on cluster: ClusterName) async -> RunAccess?
  /// Whether an order of the cluster, or a data set that a run there mounts, lets it read or write an object of the repository.
  func mayUse(object key: String, of project: ProjectName, _ use: ObjectUse, on cluster: ClusterName) async -> Bool
  /// The cluster whose cache alone has an output that belongs under a key of the repository; nil when there is none.
  func unstoredHolder(of key: String, in project: ProjectName) async -> ClusterName?
  /// A secret that opens the origin of a key or its archive, when the cluster has to fetch, list or copy it now; nil for any other.
  func secretAccess(of key: DataKey, named name: String, on cluster: ClusterName) async -> SecretAccess?
  /// The project whose secret or config map a run of the cluster may read, because its template names it; nil for any other.
  func mayRead(_ object: ProjectObject, by run: RunID, on cluster: ClusterName) async -> ProjectName?
  /// Whether the cluster fetches something that `neighbour` has.
  func mayReadExport(of neighbour: ClusterName, on cluster: ClusterName) async -> Bool
}

/// The way back to one agent session. Never blocks: a session that cannot keep up is closed by its own bound, and resumes with a welcome.
public protocol AgentOutbox: Sendable {
  func send(_ command: AgentCommand, position: CommitPosition)
  func close(_ error: FederationError)
}
