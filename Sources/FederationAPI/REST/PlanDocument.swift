/// What is expected of a workflow that was not submitted. Seconds count from `at`; money is in minor units.
public struct PlanDocument: Hashable, Sendable, Codable {
  public var project: String
  /// When the federation was looked at.
  public var at: WireTime
  /// `Complete`; `Bad` (it would end Failed or Error); `Stuck` (some tasks would wait without end, and their tables say why); `Cut`
  /// (too large: this is its beginning).
  public var outcome: String
  /// Why it would end badly.
  public var message: String?
  public var makespanSeconds: QuantityDocument
  public var money: [PlannedMoneyDocument]
  /// Like tasks together, in the order in which they become ready: the first `groupsMax` of them.
  public var groups: [PlannedGroupDocument]
  /// All of them.
  public var groupCount: Int
  /// The first `tasksMax` of them.
  public var tasks: [PlannedTaskDocument]
  /// All of them.
  public var taskCount: Int
  /// The first `transfersMax` of them.
  public var transfers: [PlannedTransferDocument]
  /// Each waited for the one before it.
  public var criticalPath: [PlannedStepDocument]
  /// What would make it cheaper or faster, the best first: each was planned anew.
  public var improvements: [ImprovementDocument]
  /// What is not known, and what was taken for it.
  public var unknowns: [String]

  public static let tasksMax = 2000
  public static let groupsMax = 2000
  /// Groups that come with their candidate tables.
  public static let tablesMax = 200
  public static let transfersMax = 2000

  public init(
    project: String, at: WireTime, outcome: String, message: String? = nil, makespanSeconds: QuantityDocument,
    money: [PlannedMoneyDocument], groups: [PlannedGroupDocument], groupCount: Int, tasks: [PlannedTaskDocument],
    taskCount: Int,
    transfers: [PlannedTransferDocument], criticalPath: [PlannedStepDocument], improvements: [ImprovementDocument],
    unknowns: [String]
  ) {
    self.project = project
    self.at = at
    self.outcome = outcome
    self.message = message
    self.makespanSeconds = makespanSeconds
    self.money = money
    self.groups = groups
    self.groupCount = groupCount
    self.tasks = tasks
    self.taskCount = taskCount
    self.transfers = transfers
    self.criticalPath = criticalPath
    self.improvements = improvements
    self.unknowns = unknowns
  }
}

/// Something that is expected with an uncertainty.
public struct QuantityDocument: Hashable, Sendable, Codable {
  /// When everything takes what is expected of it.
  public var expected: Double
  /// nil: it could not be tried often enough.
  public var p50: Double?
  public var p90: Double?
  public init(expected: Double, p50: Double? = nil, p90: Double? = nil) {
    self.expected = expected
    self.p50 = p50
    self.p90 = p90
  }
}

public struct PlannedMoneyDocument: Hashable, Sendable, Codable {
  public var currency: String
  /// Bytes included.
  public var minorUnits: QuantityDocument
  public init(currency: String, minorUnits: QuantityDocument) {
    self.currency = currency
    self.minorUnits = minorUnits
  }
}

/// Like tasks of one step.
public struct PlannedGroupDocument: Hashable, Sendable, Codable {
  public var name: String
  public var template: String
  public var tasks: Int
  public var runtimeSeconds: QuantityDocument
  /// `history`, `walltime`, or `default`.
  public var runtimeFrom: String
  /// Ended runs that the runtime rests on.
  public var samples: Int
  /// Tasks by the cluster that they would go to.
  public var clusters: [String: Int]
  /// When the first of them starts and the last one ends; nil for what does not happen.
  public var startSeconds: Double?
  public var endSeconds: Double?
  public var bytesMoved: Int64
  /// Of the first of them; empty after the first `PlanDocument.tablesMax` groups.
  public var candidates: [CandidateDocument]
  public init(
    name: String, template: String, tasks: Int, runtimeSeconds: QuantityDocument, runtimeFrom: String, samples: Int,
    clusters: [String: Int], startSeconds: Double?, endSeconds: Double?, bytesMoved: Int64,
    candidates: [CandidateDocument]
  ) {
    self.name = name
    self.template = template
    self.tasks = tasks
    self.runtimeSeconds = runtimeSeconds
    self.runtimeFrom = runtimeFrom
    self.samples = samples
    self.clusters = clusters
    self.startSeconds = startSeconds
    self.endSeconds = endSeconds
    self.bytesMoved = bytesMoved
    self.candidates = candidates
  }
}

/// One task of a plan. Times that do not come are left out.
public struct PlannedTaskDocument: Hashable, Sendable, Codable {
  public var name: String
  /// Index into `PlanDocument.groups`.
  public var group: Int
  public var cluster: String?
  public var readySeconds: Double
  public var placedSeconds: Double?
  public var stagedSeconds: Double?
  public var startSeconds: Double?
  public var endSeconds: Double?
  public var bytesMoved: Int64
  public var priceMinorUnits: Double?
  public var currency: String?
  public init(
    name: String, group: Int, cluster: String?, readySeconds: Double, placedSeconds: Double?, stagedSeconds: Double?,
    startSeconds: Double?, endSeconds: Double?, bytesMoved: Int64, priceMinorUnits: Double?, currency: String?
  ) {
    self.name = name
    self.group = group
    self.cluster = cluster
    self.readySeconds = readySeconds
    self.placedSeconds = placedSeconds
    self.stagedSeconds = stagedSeconds
    self.startSeconds = startSeconds
    self.endSeconds = endSeconds
    self.bytesMoved = bytesMoved
    self.priceMinorUnits = priceMinorUnits
    self.currency = currency
  }
}

/// A movement of bytes that would happen.
public struct PlannedTransferDocument: Hashable, Sendable, Codable {
  /// nil: small files of one task, together.
  public var key: String?
  /// A cluster, or `outside`: the repository or the data set's origin.
  public var source: String
  public var cluster: String
  public var bytes: Int64
  public var startSeconds: Double
  /// Seconds that it takes.
  public var seconds: Double
  /// Brought ahead over an idle link.
  public var speculative: Bool
  public init(
    key: String?, source: String, cluster: String, bytes: Int64, startSeconds: Double, seconds: Double,
    speculative: Bool
  ) {
    self.key = key
    self.source = source
    self.cluster = cluster
    self.bytes = bytes
    self.startSeconds = startSeconds
    self.seconds = seconds
    self.speculative = speculative
  }
}

/// A task on the critical path, and where its time goes.
public struct PlannedStepDocument: Hashable, Sendable, Codable {
  public var name: String
  public var cluster: String?
  /// From ready to placed, and in queues.
  public var waitSeconds: Double
  public var stageSeconds: Double
  public var runSeconds: Double
  public var endSeconds: Double?
  public init(
    name: String, cluster: String?, waitSeconds: Double, stageSeconds: Double, runSeconds: Double, endSeconds: Double?
  ) {
    self.name = name
    self.cluster = cluster
    self.waitSeconds = waitSeconds
    self.stageSeconds = stageSeconds
    self.runSeconds = runSeconds
    self.endSeconds = endSeconds
  }
}

/// What one change would bring.
public struct ImprovementDocument: Hashable, Sendable, Codable {
  /// The whole sentence: `2.1x faster (...) if ...`.
  public var message: String
  /// Completes "if ...".
  public var condition: String
  public var cluster: String
  public var makespanSeconds: Double
  /// Minor units by currency.
  public var money: [String: Double]
  public init(message: String, condition: String, cluster: String, makespanSeconds: Double, money: [String: Double]) {
    self.message = message
    self.condition = condition
    self.cluster = cluster
    self.makespanSeconds = makespanSeconds
    self.money = money
  }
}
