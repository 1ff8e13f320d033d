public import FederationModel

/// What is done about an input, only after the unit that holds its deltas has committed, and in order.
public enum Effect: Sendable {
  case reply(RequestID, Result<Reply, FederationError>)
  /// A message for the session, dropped when that session is not the cluster's current one: its successor gets a welcome.
  case send(ClusterName, SessionID, AgentCommand)
  /// Ends the session after what was sent before.
  case close(ClusterName, SessionID, FederationError)
  /// The command needs a finished workflow that is no longer in memory: load it and offer the command again.
  case load(WorkflowReference, Command, RequestID, Principal, IdempotencyKey?)
  /// A document names an object of a project's repository: how large is it, and what is its checksum?
  case look(ProjectName, key: String)
}

/// What the control plane tells an agent.
public enum AgentCommand: Sendable {
  case welcome(AgentWelcome)
  case assign([RunAssignment])
  /// - Parameter isPreemption: their tasks go on elsewhere: they get the hook of their templates.
  case cancel([RunID], reason: String, isPreemption: Bool = false)
  case forget([RunID])
  /// More is held for these: they may run so long since their start.
  case extend([RunID: Duration])
  case acknowledge(sequence: Int64)
  case drain(Bool)
  case data(DataOrders)
}

/// The complete desired set of a cluster, by name; `AgentCommand.assign` with what each run needs follows.
public struct AgentWelcome: Sendable {
  public var desired: [RunID]
  /// Those of them whose end is wanted.
  public var cancels: [RunID]
  /// Of those, the ones that leave for others.
  public var preempted: [RunID] = []
  public var isDraining: Bool
  public var isAdopting: Bool
  public var ackedSequence: Int64
  /// The one that hello and control plane agreed on.
  public var protocolVersion: UInt32
  public init(
    desired: [RunID], cancels: [RunID], isDraining: Bool, isAdopting: Bool, ackedSequence: Int64,
    protocolVersion: UInt32, preempted: [RunID] = []
  ) {
    self.preempted = preempted
    self.protocolVersion = protocolVersion
    self.desired = desired
    self.cancels = cancels
    self.isDraining = isDraining
    self.isAdopting = isAdopting
    self.ackedSequence = ackedSequence
  }
}

/// A run for an agent, with all that it needs.
public struct RunAssignment: Sendable {
  public var run: RunID
  public var epoch: Int32
  public var project: ProjectName
  public var workflowName: String
  public var workflowUID: String
  public var nodeName: String
  public var spec: TaskSpec
  /// nil: the run is left alone however long its agent is away.
  public var disconnectLimit: Duration?
  public var walltime: Duration?
  /// How much of its bound is held: the run is ended there unless it is told to go on. nil: all of it.
  public var slice: Duration?
  public init(
    run: RunID, epoch: Int32, project: ProjectName, workflowName: String, workflowUID: String, nodeName: String,
    spec: TaskSpec,
    disconnectLimit: Duration?, walltime: Duration?, slice: Duration? = nil
  ) {
    self.slice = slice
    self.run = run
    self.epoch = epoch
    self.project = project
    self.workflowName = workflowName
    self.workflowUID = workflowUID
    self.nodeName = nodeName
    self.spec = spec
    self.disconnectLimit = disconnectLimit
    self.walltime = walltime
  }
}
