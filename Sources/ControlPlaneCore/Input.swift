public import FederationModel
public import SchedulerCore
public import WorkflowCore

/// What the core reacts to. Everything that a reaction depends on is in here: the core reads no clock and draws nothing.
public enum Input: Sendable {
  /// A user's or an operator's request; answered by exactly one `Effect.reply` with the same `request`.
  case command(Command, request: RequestID, principal: Principal, idempotency: IdempotencyKey?)
  /// The answer to `Effect.load`: the command again, with the workflow as the database holds it (nil: there is none).
  case loaded(RestoredWorkflow?, Command, request: RequestID, principal: Principal, idempotency: IdempotencyKey?)
  /// An agent's session began with this hello. Replaces an earlier session of the same cluster.
  case agentConnected(ClusterName, SessionID, AgentHello)
  case agentDisconnected(ClusterName, SessionID)
  /// In order of sequence. Events whose sequence is already durable are dropped.
  case agentEvents(ClusterName, SessionID, [AgentEvent])
  case inventoryChanged(ClusterName, SessionID, ClusterInventory)
  /// A part of what a cluster's cache holds.
  case cacheReported(ClusterName, SessionID, CacheReport)
  /// What changed in a cluster's cache, in order.
  case dataEvents(ClusterName, SessionID, [DataEvent])
  /// The answer to `Effect.look`; nil: there is no such object.
  case looked(ProjectName, key: String, Result<RepositoryObject?, FederationError>)
  /// A finished placement pass; every placement is revalidated.
  case plan(PlacementPlan)
  /// Time passes. `silence[c]`: how long, by the leader's monotonic clock, since the leader last answered a heartbeat of `c`
  /// (since its own term began, for a cluster that it has not heard yet).
  case tick(silence: [ClusterName: Duration])
  /// What earlier inputs left undone goes on for one slice (`ControlPlaneCore.isUnfinished`). Nothing is lost without it: what is
  /// undone follows from the durable state, and a rebuilt core asks for it again.
  case proceed
}

/// Names a waiting caller of the leader; drawn by the runtime, never persisted.
public struct RequestID: NumberValue {
  public let number: Int64
  public init(_ number: Int64) { self.number = number }
}

/// One agent session; drawn by the gateway, greater than every earlier one of this leader, never persisted.
public struct SessionID: NumberValue {
  public let number: Int64
  public init(_ number: Int64) { self.number = number }
}

/// Who asks.
public struct Principal: Hashable, Sendable, Codable {
  public var user: String
  /// From where, for the audit log; empty when nobody knows.
  public var address: String
  public init(user: String, address: String = "") {
    self.user = user
    self.address = address
  }
}

/// Makes a repeated write answer as the first one did.
public struct IdempotencyKey: Hashable, Sendable {
  /// Chosen by the client, at most 128 bytes.
  public var key: String
  /// SHA-256 of the request, lower-case hexadecimal.
  public var requestHash: String
  public init(key: String, requestHash: String) {
    self.key = key
    self.requestHash = requestHash
  }
}

/// What users and operators can ask for.
public enum Command: Sendable {
  case submit(Submission)
  /// The submission begins where this workflow, which failed, has come to; it has that one's templates.
  case resubmit(WorkflowReference, Submission)
  case workflow(WorkflowReference, WorkflowCommand)
  case createCluster(ClusterSpec)
  /// Periods of prices and spot capacity stay as they are.
  case updateCluster(ClusterSpec)
  /// What runs that are placed from now on pay; those that are placed already keep their quote.
  case setPrices(ClusterName, PricePeriod)
  /// What of a cluster is spot capacity, and what it costs.
  case spot(ClusterName, SpotCommand)
  /// nil reopens it.
  case cordon(ClusterName, reason: String?)
  /// Cordoned, and its agent lets what runs end. False reopens it.
  case drain(ClusterName, Bool, reason: String)
  /// The agent's certificates so far are void and its session is closed.
  case revokeAgent(ClusterName)
  /// The cluster is gone for good. Its runs are replaced only when `confirmStopped` says that they cannot run any more.
  case forgetCluster(ClusterName, confirmStopped: Bool)
  /// Ends the adoption that follows a restored database: the agent's set is made equal to ours again. nil: every cluster.
  case recover(ClusterName?)
  /// Why a pending or running node is where it is. Changes nothing.
  case explain(WorkflowReference, node: String)
  case dataset(DatasetReference, DatasetCommand)
  case project(ProjectName, ProjectCommand)
  case organisation(OrganisationName, OrganisationCommand)
  /// Ends a transfer that no bound run waits for.
  case cancelTransfer(TransferID)
  /// An output of the project that is nowhere but in caches is copied into the repository now.
  case storeArtifact(repositoryKey: String, ProjectName)
  /// Inputs are looked at before anything of the project reads them, for a plan.
  case lookAhead([UnseenInput], ProjectName)
}

/// What can be asked of a cluster's spot capacity.
public enum SpotCommand: Hashable, Sendable, Codable {
  /// So much of the cluster, in per cent; what does not fit any more leaves after its notice.
  ///
  /// - Parameters:
  ///   - notice: nil: as before.
  ///   - reason: shown to those who leave and wait.
  case offer(percent: Int, notice: Duration?, reason: String?)
  /// There is none any more, and its prices are forgotten.
  case withdraw
  /// As `Command.setPrices`; who bids less leaves.
  case setPrices(PricePeriod)
}

/// What can be asked of an organisation.
public enum OrganisationCommand: Hashable, Sendable, Codable {
  case create(description: String, weight: Double = 1)
  case describe(String)
  /// Its part of what is shared, compared with the other organisations'.
  case setWeight(Double)
  /// What the budgets of its projects may have together; nil: they are not bounded.
  case setGrant(OrganisationGrant?)
}

/// What can be asked of a project.
public enum ProjectCommand: Hashable, Sendable, Codable {
  case create(description: String, weight: Double = 1, organisation: OrganisationName = .federation)
  case describe(String)
  /// Its part of what is shared, compared with the other projects'.
  case setWeight(Double)
  /// Takes nothing new any more, or again.
  case archive(Bool)
  /// What it may use at once, and where; all of it anew.
  case setLimits(ProjectLimits)
  case setBudget(BudgetChange)
  /// Moves what is neither spent nor reserved in this period to the budget of another project of the same organisation.
  case transferBudget(Amount, to: ProjectName)
  /// Bounds what one member may use of the budget in each period; nil: no longer.
  case limitMember(String, Amount?)
  /// How many may hold the semaphores of a config map, by key: these semaphores and no others. The database has them already, written
  /// with the config map itself.
  ///
  /// - Parameter change: of two that are told in another order than they were made, the greater one holds.
  case setSemaphores(configMap: String, limits: [String: Int], change: Int64)
  /// Outputs that a client puts into a cache of memoized templates, by key.
  case keepMemos(configMap: String, [String: TaskOutputs])
  /// How many may hold a semaphore of the database; nil: there is none any more.
  case setSemaphore(key: String, limit: Int?)
}

/// What can be asked of a data set.
public enum DatasetCommand: Hashable, Sendable, Codable {
  case create(DatasetSpec)
  case update(DatasetSpec)
  /// With its versions and replicas; refused while a workflow that is not over mounts it.
  case remove
  case addVersion(VersionContent)
  /// Refused while a workflow that is not over mounts it.
  case removeVersion(Int32)
  /// Keeps its replica on a cluster whatever else needs the room, or no longer. nil: the newest version.
  case pin(version: Int32?, cluster: ClusterName, Bool)
  /// Brings it to a cluster before anybody asks for it. nil: the newest version.
  case prefetch(version: Int32?, cluster: ClusterName)
  /// Brings its files into the repository, from where users fetch. nil: the newest version.
  case store(version: Int32?)
}

/// What a new version of a data set is made of.
public enum VersionContent: Hashable, Sendable, Codable {
  /// The manifest and all packs that it names are in the repository.
  case uploaded(manifest: StoredArtifact, files: Int64, size: ByteCount)
  /// What is at the data set's origin now, below it at `path` (empty: all of it); an agent lists it.
  ///
  /// - Parameter via: the cluster whose agent lists; nil: any that may hold it.
  case origin(path: String, via: ClusterName?)
}

/// A validated workflow that wants to run.
public struct Submission: Sendable {
  /// Made ready by whoever submits, because that takes time in proportion to the document; or why it cannot be.
  public let program: Result<WorkflowProgram, FederationError>
  public let definition: WorkflowDefinition
  public var project: ProjectName
  /// Complete; a `generateName` has been given its suffix.
  public var name: String
  /// A random UUID, lower case.
  public var uid: String
  public init(definition: WorkflowDefinition, project: ProjectName, name: String, uid: String) {
    self.definition = definition
    do { program = .success(try WorkflowProgram(definition)) } catch {
      program = .failure(FederationError(.invalidArgument, "\(error)", cause: error))
    }
    self.project = project
    self.name = name
    self.uid = uid
  }
}

/// A stored workflow whose machine has been rebuilt, away from the core, because that takes time in proportion to its size.
public struct RestoredWorkflow: Sendable {
  public var row: WorkflowRow
  /// Or why it cannot be read back.
  public var machine: Result<WorkflowMachine, FederationError>

  /// - Parameter arguments: other values for its arguments than those that are stored.
  public init(_ loaded: LoadedWorkflow, arguments: [String: String] = [:]) {
    row = loaded.row
    var definition: WorkflowDefinition
    do {
      definition = try WorkflowDefinition(json: row.document)
      if !arguments.isEmpty {
        do { definition = try definition.withNewArguments(arguments) } catch {
          let problem = error.problems.first
          machine = .failure(
            FederationError(.invalidArgument, problem?.message ?? "the parameters are refused", cause: error))
          return
        }
        row.document = definition.canonicalJSON
      }
      let identity = WorkflowIdentity(name: row.name, uid: row.uid, project: row.project, createdAt: row.createdAt)
      machine = .success(
        try WorkflowMachine(definition: definition, identity: identity, status: row.status, nodes: loaded.nodes))
    } catch {
      let reason = (error as? FederationError)?.publicMessage ?? "\(error)"
      machine = .failure(
        FederationError(.internal, "workflow \(row.name) cannot be read back: \(reason)", cause: error))
    }
  }
}

/// A workflow as a user names it: `name` may be its name or its UID.
public struct WorkflowReference: Hashable, Sendable, Codable {
  public var project: ProjectName
  public var name: String
  public init(project: ProjectName, name: String) {
    self.project = project
    self.name = name
  }
}

public enum WorkflowCommand: Hashable, Sendable, Codable {
  case suspend
  case resume
  case resumeNodes(NodeSelector, parameters: [String: String])
  /// Outputs, a message or an end for suspend nodes that wait; see `WorkflowEvent.setNodes`.
  case set(NodeSelector, phase: NodePhase?, message: String, parameters: [String: String])
  /// Its time is up (`ttlStrategy`): the system's own.
  case expire
  /// These tasks alone end; see `WorkflowEvent.cancelTasks`.
  case cancelTasks([NodeID], reason: String)
  case stop(message: String)
  case terminate
  /// - Parameter parameters: other values for the workflow's arguments.
  case retry(restartSuccessful: Bool, NodeSelector?, parameters: [String: String] = [:])
  case delete
}

extension Command {
  /// Other values for the arguments of the workflow that it is about.
  public var newArguments: [String: String] {
    if case .workflow(_, .retry(_, _, let parameters)) = self { parameters } else { [:] }
  }
}

/// The answer to a command.
public enum Reply: Hashable, Sendable, Codable {
  case submitted(project: ProjectName, name: String, uid: String)
  case workflow(project: ProjectName, name: String, uid: String)
  case deleted
  case cluster(ClusterName)
  /// JSON: the candidate table as the API shows it.
  case explanation(String)
  /// A version, where the command named or made one.
  case dataset(DatasetReference, version: Int32?)
  /// What moves, or is about to.
  case transfer(TransferID)
  case project(ProjectName)
  case organisation(OrganisationName)
  /// There is nothing to move: it is where it was wanted.
  case alreadyThere
  /// What was asked about is being looked at, or has been.
  case looking
}

/// A session's first words, checked and translated by the gateway.
public struct AgentHello: Hashable, Sendable {
  public var journal: String
  public var lastSequence: Int64
  public var highestSeen: CommitPosition
  public var runs: [RunID: RunPhase]
  public var inventory: ClusterInventory
  public var protocolVersion: UInt32
  /// Of the agent's program, as it says.
  public var agentVersion: String
  /// The session has the capability `data`.
  public var takesOrders: Bool
  /// The session has the capability `slices`.
  public var renewsSlices: Bool
  public init(
    journal: String, lastSequence: Int64, highestSeen: CommitPosition, runs: [RunID: RunPhase],
    inventory: ClusterInventory,
    protocolVersion: UInt32, agentVersion: String = "", takesOrders: Bool = false,
    renewsSlices: Bool = false
  ) {
    self.renewsSlices = renewsSlices
    self.takesOrders = takesOrders
    self.agentVersion = agentVersion
    self.journal = journal
    self.lastSequence = lastSequence
    self.highestSeen = highestSeen
    self.runs = runs
    self.inventory = inventory
    self.protocolVersion = protocolVersion
  }
}

/// How far the database had come.
public struct CommitPosition: Hashable, Comparable, Sendable, Codable {
  public var term: Int64
  public var sequence: Int64
  public init(term: Int64, sequence: Int64) {
    self.term = term
    self.sequence = sequence
  }
  /// `commit_seq` alone orders units: it never restarts, and a term only names who wrote.
  public static func < (a: Self, b: Self) -> Bool { a.sequence < b.sequence }
}

/// One transition of a run as its agent journaled it.
public struct AgentEvent: Hashable, Sendable {
  public var sequence: Int64
  public var run: RunID
  public var phase: RunPhase
  /// The agent's wall clock: shown, never compared with ours.
  public var at: Timestamp
  public var message: String
  /// With a terminal phase.
  public var outcome: TaskOutcome?
  public var runsAs: String
  public var usage: RunUsage
  /// With a terminal phase: it was ended because what is held for it was used up.
  public var isUnpaid: Bool
  /// With `running`: of a daemon that can be used now.
  public var isReady: Bool
  /// With `isReady`: where runs of the same cluster reach it, and no others; nil: where the inventory says.
  public var address: String?
  /// With a terminal phase, where it did not end by itself.
  public var cause: RunEndCause?
  public init(
    sequence: Int64, run: RunID, phase: RunPhase, at: Timestamp, message: String = "", outcome: TaskOutcome? = nil,
    runsAs: String = "", usage: RunUsage = RunUsage(), isUnpaid: Bool = false, isReady: Bool = false
  ) {
    self.isReady = isReady
    self.isUnpaid = isUnpaid
    self.sequence = sequence
    self.run = run
    self.phase = phase
    self.at = at
    self.message = message
    self.outcome = outcome
    self.runsAs = runsAs
    self.usage = usage
  }
}

/// What a run used, metered by its agent.
public struct RunUsage: Hashable, Sendable {
  public var bytesIn: ByteCount
  /// Of `bytesIn`, those that came from other clusters' exports; nil: the agent does not tell.
  public var bytesFrom: [ClusterName: ByteCount]?
  public var bytesOut: ByteCount
  public var wallMilliseconds: Int64
  public var stagingMilliseconds: Int64
  public init(
    bytesIn: ByteCount = .zero, bytesFrom: [ClusterName: ByteCount]? = nil, bytesOut: ByteCount = .zero,
    wallMilliseconds: Int64 = 0, stagingMilliseconds: Int64 = 0
  ) {
    self.bytesIn = bytesIn
    self.bytesFrom = bytesFrom
    self.bytesOut = bytesOut
    self.wallMilliseconds = wallMilliseconds
    self.stagingMilliseconds = stagingMilliseconds
  }
}
