public import FederationModel

/// What a node is, in Argo's words.
///
/// - Source: Argo Workflows v3.7, `workflow_types.go`, `NodeType`.
public enum NodeType: String, Hashable, Sendable, Codable, CaseIterable {
  case pod = "Pod"
  case steps = "Steps"
  case stepGroup = "StepGroup"
  case dag = "DAG"
  case taskGroup = "TaskGroup"
  case retry = "Retry"
  /// Never ran: `when` was false, its dependencies ended otherwise, or its inputs could not be made.
  case skipped = "Skipped"
  case suspend = "Suspend"

  /// Whether a run on a cluster stands behind it.
  public var isTask: Bool { self == .pod }
}

/// Why a node exists: which part of its parent asked for it.
public enum NodeRole: UInt8, Hashable, Sendable, Codable {
  /// The entrypoint, or (with a name that ends in `.onExit`) the workflow's exit handler.
  case entrypoint
  /// A group of a steps template; `step` is its position.
  case group
  /// A step of a group or a task of a dag; `step` is its position, `item` that of the loop's item.
  case step
  /// An attempt of a Retry node; `step` is its number.
  case attempt
  /// The exit handler of its parent.
  case exitHandler
  /// A lifecycle hook of its parent (of the entrypoint's node: the workflow's); `step` is its position among the hooks.
  case hook
}

/// A name and its text.
public struct NodeParameter: Hashable, Sendable, Codable {
  public var name: String
  public var value: String
  public init(name: String, value: String) {
    self.name = name
    self.value = value
  }
}

/// An input artifact of a node, resolved.
public struct NodeArtifact: Hashable, Sendable, Codable {
  public var name: String
  public var source: InputArtifact.Source
  public init(name: String, source: InputArtifact.Source) {
    self.name = name
    self.source = source
  }
}

/// What a node was given: every tag replaced, every default filled in, in the template's order.
public struct NodeInputs: Hashable, Sendable, Codable {
  public var parameters: [NodeParameter]
  public var artifacts: [NodeArtifact]
  public init(parameters: [NodeParameter] = [], artifacts: [NodeArtifact] = []) {
    self.parameters = parameters
    self.artifacts = artifacts
  }
  public var isEmpty: Bool { parameters.isEmpty && artifacts.isEmpty }
  public func parameter(_ name: String) -> String? { parameters.first { $0.name == name }?.value }
  public func artifact(_ name: String) -> InputArtifact.Source? { artifacts.first { $0.name == name }?.source }
}

/// How far a StepGroup or TaskGroup is with making its members. A loop of many items is expanded in bounded slices, and this is
/// the cursor that survives between them; the members that exist say how far its `step` has come.
public struct NodeExpansion: Hashable, Sendable, Codable {
  /// Position of the step whose members are made; 0 in a TaskGroup.
  public var step: Int32
  /// The items of that step's loop as they were when it was begun, because tags may mean something else by the next slice: a JSON
  /// list, or `{"start":1,"end":9,"format":"..."}` for a sequence. nil before its first slice, and for a step without a loop.
  public var items: String?
  public init(step: Int32 = 0, items: String? = nil) {
    self.step = step
    self.items = items
  }
}

/// One node of a workflow: all that is durable about it, and enough to rebuild the machine from.
public struct NodeRecord: Hashable, Sendable {
  public var id: NodeID
  /// In full, by Argo's rules: `wf[0].step(0:a)`.
  public var name: String
  public var displayName: String
  public var type: NodeType
  public var role: NodeRole
  public var phase: NodePhase
  /// Whether it was let go: a task launched, a template entered. Until then it waits for a slot or for a resume.
  public var hasBegun: Bool
  /// Replaced by a later node of the same name when the workflow was retried; hidden from status and scopes.
  public var isSuperseded: Bool
  public var templateName: String
  /// Why it is as it is; while a cancellation is under way, its reason.
  public var message: String
  public var startedAt: Timestamp?
  public var finishedAt: Timestamp?
  /// Who created it; nil for the root and the workflow's exit handler. Always an earlier node.
  public var parent: NodeID?
  /// Argo's `boundaryID`: the steps or dag node whose template mentions it.
  public var boundary: NodeID?
  /// Position within its parent (see `NodeRole`); -1 where there is none.
  public var step: Int32
  /// Position of the loop's item; -1 outside loops.
  public var item: Int32
  /// The loop's item as JSON; kept only where the step's exit handler refers to it.
  public var itemJSON: String?
  /// The nodes that Argo draws an edge from, fixed at creation: `children` turned round.
  public var upstream: [NodeID]
  /// Argo's `children`. Not encoded: rebuilt from the `upstream` of later nodes, so that a node with many children is not
  /// written again for each of them.
  public var children: [NodeID]
  public var inputs: NodeInputs
  public var outputs: TaskOutputs
  public var exitCode: Int32?
  /// Set by `.taskStarted`.
  public var hostCluster: ClusterName?
  /// What really ran; set by `.taskStarted`.
  public var runsAs: String?
  /// Why its end was asked for; nil while nobody did. It ends Failed with this reason.
  public var cancelReason: String?
  /// It has ended, and whoever waits for it has not taken note yet: that is left to the next slice.
  public var isEndPending: Bool
  /// Of a group that has begun and has not made all of its members; nil for everything else.
  public var expansion: NodeExpansion?
  /// When time alone changes it: a task's deadline, the end of a suspend's duration, a Retry node's next attempt.
  public var wakeAt: Timestamp?
  /// How often it had to leave its cluster: to a task of a higher class, or because its budget was exhausted.
  public var restarts: Int32 = 0
  /// What its last run had reached when it left, by the output artifact's name: the next run begins with it.
  public var checkpoints: [String: StoredArtifact] = [:]
  /// A run of it was ended for want of money: the next one begins only when all that it may cost is held.
  public var isHeldWhole = false
  /// What it had to pass before it began; nil for most.
  public var gate: NodeGate?
  /// Of a daemon whose run has begun; nil for everything else.
  public var daemon: NodeDaemon?

  public init(
    id: NodeID, name: String, displayName: String, type: NodeType, role: NodeRole, phase: NodePhase,
    templateName: String = "", parent: NodeID? = nil, boundary: NodeID? = nil, step: Int32 = -1, item: Int32 = -1,
    upstream: [NodeID] = [], inputs: NodeInputs = NodeInputs()
  ) {
    self.id = id
    self.name = name
    self.displayName = displayName
    self.type = type
    self.role = role
    self.phase = phase
    self.hasBegun = false
    self.isSuperseded = false
    self.isEndPending = false
    self.templateName = templateName
    self.message = ""
    self.parent = parent
    self.boundary = boundary
    self.step = step
    self.item = item
    self.upstream = upstream
    self.children = []
    self.inputs = inputs
    self.outputs = TaskOutputs()
  }
}

extension NodeRecord: Codable {
  private enum CodingKeys: String, CodingKey {
    case id, name, displayName, type, role, phase, hasBegun, isSuperseded, templateName, message, startedAt, finishedAt
    case parent, boundary, step, item, itemJSON, upstream, inputs, outputs, exitCode, hostCluster, runsAs, cancelReason
    case isEndPending, expansion, wakeAt, restarts, checkpoints, isHeldWhole, gate, daemon
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      id: try container.decode(NodeID.self, forKey: .id), name: try container.decode(String.self, forKey: .name),
      displayName: try container.decode(String.self, forKey: .displayName),
      type: try container.decode(NodeType.self, forKey: .type),
      role: try container.decode(NodeRole.self, forKey: .role),
      phase: try container.decode(NodePhase.self, forKey: .phase),
      templateName: try container.decode(String.self, forKey: .templateName),
      parent: try container.decodeIfPresent(NodeID.self, forKey: .parent),
      boundary: try container.decodeIfPresent(NodeID.self, forKey: .boundary),
      step: try container.decode(Int32.self, forKey: .step), item: try container.decode(Int32.self, forKey: .item),
      upstream: try container.decode([NodeID].self, forKey: .upstream),
      inputs: try container.decode(NodeInputs.self, forKey: .inputs))
    hasBegun = try container.decode(Bool.self, forKey: .hasBegun)
    isSuperseded = try container.decode(Bool.self, forKey: .isSuperseded)
    message = try container.decode(String.self, forKey: .message)
    startedAt = try container.decodeIfPresent(Timestamp.self, forKey: .startedAt)
    finishedAt = try container.decodeIfPresent(Timestamp.self, forKey: .finishedAt)
    itemJSON = try container.decodeIfPresent(String.self, forKey: .itemJSON)
    outputs = try container.decode(TaskOutputs.self, forKey: .outputs)
    exitCode = try container.decodeIfPresent(Int32.self, forKey: .exitCode)
    hostCluster = try container.decodeIfPresent(ClusterName.self, forKey: .hostCluster)
    runsAs = try container.decodeIfPresent(String.self, forKey: .runsAs)
    cancelReason = try container.decodeIfPresent(String.self, forKey: .cancelReason)
    isEndPending = try container.decodeIfPresent(Bool.self, forKey: .isEndPending) ?? false
    expansion = try container.decodeIfPresent(NodeExpansion.self, forKey: .expansion)
    wakeAt = try container.decodeIfPresent(Timestamp.self, forKey: .wakeAt)
    restarts = try container.decodeIfPresent(Int32.self, forKey: .restarts) ?? 0
    checkpoints = try container.decodeIfPresent([String: StoredArtifact].self, forKey: .checkpoints) ?? [:]
    isHeldWhole = try container.decodeIfPresent(Bool.self, forKey: .isHeldWhole) ?? false
    gate = try container.decodeIfPresent(NodeGate.self, forKey: .gate)
    daemon = try container.decodeIfPresent(NodeDaemon.self, forKey: .daemon)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(id, forKey: .id)
    try container.encode(name, forKey: .name)
    try container.encode(displayName, forKey: .displayName)
    try container.encode(type, forKey: .type)
    try container.encode(role, forKey: .role)
    try container.encode(phase, forKey: .phase)
    try container.encode(hasBegun, forKey: .hasBegun)
    try container.encode(isSuperseded, forKey: .isSuperseded)
    try container.encode(templateName, forKey: .templateName)
    try container.encode(message, forKey: .message)
    try container.encodeIfPresent(startedAt, forKey: .startedAt)
    try container.encodeIfPresent(finishedAt, forKey: .finishedAt)
    try container.encodeIfPresent(parent, forKey: .parent)
    try container.encodeIfPresent(boundary, forKey: .boundary)
    try container.encode(step, forKey: .step)
    try container.encode(item, forKey: .item)
    try container.encodeIfPresent(itemJSON, forKey: .itemJSON)
    try container.encode(upstream, forKey: .upstream)
    try container.encode(inputs, forKey: .inputs)
    try container.encode(outputs, forKey: .outputs)
    try container.encodeIfPresent(exitCode, forKey: .exitCode)
    try container.encodeIfPresent(hostCluster, forKey: .hostCluster)
    try container.encodeIfPresent(runsAs, forKey: .runsAs)
    try container.encodeIfPresent(cancelReason, forKey: .cancelReason)
    if isEndPending { try container.encode(true, forKey: .isEndPending) }
    try container.encodeIfPresent(expansion, forKey: .expansion)
    try container.encodeIfPresent(wakeAt, forKey: .wakeAt)
    if restarts > 0 { try container.encode(restarts, forKey: .restarts) }
    if !checkpoints.isEmpty { try container.encode(checkpoints, forKey: .checkpoints) }
    if isHeldWhole { try container.encode(true, forKey: .isHeldWhole) }
    try container.encodeIfPresent(gate, forKey: .gate)
    try container.encodeIfPresent(daemon, forKey: .daemon)
  }
}

/// What a daemon is to those that go on beside it.
public struct NodeDaemon: Hashable, Sendable, Codable {
  /// Where they reach it: Argo's `podIP`.
  public var address: String
  /// It has been ready, and nothing waits for it any more; also when it has ended since.
  public var isReady: Bool
  /// The address is of its cluster's own network, like a pod's: no other cluster reaches it. nil: false.
  public var isOfCluster: Bool?
  public init(address: String, isReady: Bool = false, isOfCluster: Bool? = nil) {
    self.address = address
    self.isReady = isReady
    self.isOfCluster = isOfCluster
  }
}

extension NodeRecord {
  /// Whether nothing waits for it although it may still run.
  public var isDaemoned: Bool { daemon?.isReady == true }
}

extension FederationError {
  /// A name that several nodes of a workflow answer to.
  ///
  /// - Parameter nodes: the full names of some of them.
  public static func ambiguous(_ name: String, _ nodes: [String]) -> FederationError {
    let shown = nodes.prefix(5).joined(separator: ", ") + (nodes.count > 5 ? ", ..." : "")
    return FederationError(
      .invalidArgument, "several nodes are called \(name.prefix(200)): \(shown); give one of these names")
  }
}
