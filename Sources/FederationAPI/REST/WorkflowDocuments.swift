public import FederationModel

/// The body of a native submission with content type `SubmitRequest.contentType`. With any other content type the body is the document itself.
public struct SubmitRequest: Hashable, Sendable, Codable {
  public static let contentType = "application/vnd.fubini.submission+json"

  /// YAML or JSON text of one Argo `Workflow`; empty where `from` is given.
  public var document: String
  /// Instead of a document: `template/NAME`, `cluster-template/NAME` or `cron/NAME`.
  public var from: String?
  /// Values for `spec.arguments.parameters`.
  public var parameters: [String: String]?
  /// Replaces `spec.entrypoint`.
  public var entrypoint: String?
  /// Replaces `metadata.name`.
  public var name: String?
  /// Replaces `metadata.generateName`.
  public var generateName: String?
  /// Added to `metadata.labels`; of one key the value here holds.
  public var labels: [String: String]?
  public init(
    document: String, parameters: [String: String]? = nil, entrypoint: String? = nil, name: String? = nil,
    generateName: String? = nil, labels: [String: String]? = nil, from: String? = nil
  ) {
    self.document = document
    self.from = from
    self.parameters = parameters
    self.entrypoint = entrypoint
    self.name = name
    self.generateName = generateName
    self.labels = labels
  }
}

/// The answer to a submission.
public struct SubmitResponse: Hashable, Sendable, Codable {
  public var project: String
  public var name: String
  /// Empty for a dry run.
  public var uid: String
  /// Nothing was stored: the document is only known to be valid.
  public var dryRun: Bool
  /// Of a dry run: the document as it would be stored.
  public var document: JSONValue?
  public init(project: String, name: String, uid: String, dryRun: Bool = false, document: JSONValue? = nil) {
    self.project = project
    self.name = name
    self.uid = uid
    self.dryRun = dryRun
    self.document = document
  }
}

/// One line of a list of workflows.
public struct WorkflowSummary: Hashable, Sendable, Codable {
  public var project: String
  public var name: String
  public var uid: String
  /// Pending, Running, Succeeded, Failed or Error.
  public var phase: NodePhase
  public var message: String
  public var labels: [String: String]
  public var isSuspended: Bool
  public var createdAt: WireTime
  public var createdBy: String
  public var startedAt: WireTime?
  public var finishedAt: WireTime?
  /// Tasks (nodes with a run behind them) that exist so far, by phase; phases without a task are left out.
  public var tasks: [String: Int]
  /// Where nothing of it runs: what it waits for. Of lists and of the workflow itself; nil otherwise, and where the leader
  /// could not be asked.
  public var waiting: WaitingDocument?

  public init(
    project: String, name: String, uid: String, phase: NodePhase, message: String, labels: [String: String],
    isSuspended: Bool,
    createdAt: WireTime, createdBy: String, startedAt: WireTime?, finishedAt: WireTime?, tasks: [String: Int],
    waiting: WaitingDocument? = nil
  ) {
    self.project = project
    self.name = name
    self.uid = uid
    self.phase = phase
    self.message = message
    self.labels = labels
    self.isSuspended = isSuspended
    self.createdAt = createdAt
    self.createdBy = createdBy
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.tasks = tasks
    self.waiting = waiting
  }
}

/// The first of a workflow's nodes that wait, while nothing of it runs.
public struct WaitingDocument: Hashable, Sendable, Codable {
  /// Its display name.
  public var node: String
  /// For people.
  public var reason: String
  /// Whether no joined cluster will ever take it as they all are.
  public var unplaceable: Bool
  public init(node: String, reason: String, unplaceable: Bool) {
    self.node = node
    self.reason = reason
    self.unplaceable = unplaceable
  }
}

public struct WorkflowList: Hashable, Sendable, Codable {
  /// Newest first.
  public var items: [WorkflowSummary]
  /// Pass as `continue` for the next page; nil on the last one.
  public var next: String?
  public init(items: [WorkflowSummary], next: String? = nil) {
    self.items = items
    self.next = next
  }
}

/// One workflow with its nodes.
public struct WorkflowDetail: Hashable, Sendable, Codable {
  public var summary: WorkflowSummary
  /// The document as it was accepted.
  public var document: JSONValue
  /// In creation order; nodes that a retry replaced are left out. At most `nodeLimit`.
  public var nodes: [NodeDocument]
  /// More nodes exist: read them page by page at `.../nodes`.
  public var nodesTruncated: Bool
  public var outputs: OutputsDocument
  /// What its runs have cost so far, one amount for each currency.
  public var cost: [MoneyDocument]
  public var bytesMoved: Int64
  /// The last commit that this answer shows.
  public var commitSequence: Int64

  public static let nodeLimit = 25_000

  public init(
    summary: WorkflowSummary, document: JSONValue, nodes: [NodeDocument], nodesTruncated: Bool,
    outputs: OutputsDocument,
    cost: [MoneyDocument], bytesMoved: Int64, commitSequence: Int64
  ) {
    self.summary = summary
    self.document = document
    self.nodes = nodes
    self.nodesTruncated = nodesTruncated
    self.outputs = outputs
    self.cost = cost
    self.bytesMoved = bytesMoved
    self.commitSequence = commitSequence
  }
}

/// The body of suspend, resume, stop, terminate and retry. Every field is optional, and so is the body.
public struct WorkflowActionRequest: Hashable, Sendable, Codable {
  /// Of `stop`: why.
  public var message: String?
  /// Of `resume`, `stop` and `retry`: `displayName=a,phase!=Succeeded`, as Argo's `--node-field-selector`.
  public var nodeFieldSelector: String?
  /// Of `resume`: outputs that are supplied to the suspended nodes. Of `retry`: other values for the workflow's arguments.
  public var parameters: [String: String]?
  /// Of `retry`.
  public var restartSuccessful: Bool?
  public init(
    message: String? = nil, nodeFieldSelector: String? = nil, parameters: [String: String]? = nil,
    restartSuccessful: Bool? = nil
  ) {
    self.message = message
    self.nodeFieldSelector = nodeFieldSelector
    self.parameters = parameters
    self.restartSuccessful = restartSuccessful
  }
}

/// The body of `set`: what nodes that wait for a person are given. At least one of phase, message and parameters.
public struct SetNodesRequest: Hashable, Sendable, Codable {
  /// Which, as Argo's `--node-field-selector`.
  public var nodeFieldSelector: String
  /// Succeeded, Failed or Error; nil: they wait on.
  public var phase: String?
  public var message: String?
  /// Their outputs.
  public var parameters: [String: String]?
  public init(
    nodeFieldSelector: String, phase: String? = nil, message: String? = nil, parameters: [String: String]? = nil
  ) {
    self.nodeFieldSelector = nodeFieldSelector
    self.phase = phase
    self.message = message
    self.parameters = parameters
  }
}

/// The body of `resubmit`; it may be left out.
public struct ResubmitRequest: Hashable, Sendable, Codable {
  /// Of a workflow that failed: what succeeded in it is not done again.
  public var memoized: Bool?
  /// Other values for the workflow's arguments.
  public var parameters: [String: String]?
  public init(memoized: Bool? = nil, parameters: [String: String]? = nil) {
    self.memoized = memoized
    self.parameters = parameters
  }
}
