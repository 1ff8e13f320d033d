/// Why a node is where it is, or why it waits: one line for each cluster (invariant I10).
public struct ExplanationDocument: Hashable, Sendable, Codable {
  /// The sentence that sums it up; nil when the core gave none.
  public var message: String?
  /// When the decision was made; nil for a node that still waits.
  public var decidedAt: WireTime?
  public var candidates: [CandidateDocument]
  /// What was decided about it until now, the first first; nil from a control plane that is too old to tell.
  public var history: [DecisionDocument]?
  /// The node that is explained, where the question named none; its display name.
  public var node: String?
  /// Of a node that waits: whether every cluster rejects it, and none only for now.
  public var unplaceable: Bool?
  /// Of a node that waits: what its place in the order is made of.
  public var priority: PriorityDocument?
  public init(
    message: String? = nil, decidedAt: WireTime? = nil, candidates: [CandidateDocument],
    history: [DecisionDocument]? = nil, node: String? = nil, unplaceable: Bool? = nil,
    priority: PriorityDocument? = nil
  ) {
    self.priority = priority
    self.message = message
    self.decidedAt = decidedAt
    self.candidates = candidates
    self.history = history
    self.node = node
    self.unplaceable = unplaceable
  }
}

/// One decision about a task, or what made one necessary.
public struct DecisionDocument: Hashable, Sendable, Codable {
  public var at: WireTime
  /// `Placed`, `Ended`, or the reason of an event (`Moved`, `RunLost`).
  public var kind: String
  public var cluster: String?
  /// The run's id; nil of an event.
  public var run: String?
  /// The attempt's number, from 1.
  public var attempt: Int32?
  /// Why, or how it ended.
  public var message: String
  /// Of a placement: the table that it was decided by; nil when it is not kept any more.
  public var candidates: [CandidateDocument]?
  public init(
    at: WireTime, kind: String, cluster: String? = nil, run: String? = nil, attempt: Int32? = nil, message: String = "",
    candidates: [CandidateDocument]? = nil
  ) {
    self.at = at
    self.kind = kind
    self.cluster = cluster
    self.run = run
    self.attempt = attempt
    self.message = message
    self.candidates = candidates
  }
}

/// One cluster of the candidate table.
public struct CandidateDocument: Hashable, Sendable, Codable {
  public var cluster: String
  public var chosen: Bool
  /// A word that programs may compare (`KindNotAllowed`, `Full`); nil when the cluster could take the task.
  public var rejected: String?
  /// Whether the cluster may take it later as both are now; nil when it could take it now.
  public var temporary: Bool?
  /// The sentence behind `rejected`; of the chosen cluster, why a policy chose it.
  public var reason: String?
  public var bytesToMove: Int64?
  /// Bytes of its inputs that are on their way there already.
  public var bytesInFlight: Int64?
  /// Where the largest of the missing inputs would come from: a cluster, or `outside`.
  public var source: String?
  /// Bytes that clusters would send, by cluster; nil while no cluster charges for that.
  public var sources: [String: Int64]?
  public var stageSeconds: Double?
  public var waitSeconds: Double?
  public var runSeconds: Double?
  /// max(stage, wait) + run.
  public var finishSeconds: Double?
  /// Of the work behind the task: the longest chain of those that need its outputs.
  public var tailSeconds: Double?
  /// Minor units of `currency`, not rounded; nil where the cluster has no price.
  public var priceMinorUnits: Double?
  /// The part of the price that clusters charge for the bytes that they send.
  public var egressMinorUnits: Double?
  public var currency: String?
  /// The least wins.
  public var score: Double?
  /// Whether it is the cluster's spot capacity that was looked at, at the spot price; nil: it is not.
  public var spot: Bool?
  public init(
    cluster: String, chosen: Bool, rejected: String? = nil, temporary: Bool? = nil, reason: String? = nil,
    bytesToMove: Int64? = nil,
    bytesInFlight: Int64? = nil, source: String? = nil, sources: [String: Int64]? = nil,
    stageSeconds: Double? = nil, waitSeconds: Double? = nil, runSeconds: Double? = nil, finishSeconds: Double? = nil,
    tailSeconds: Double? = nil, priceMinorUnits: Double? = nil, egressMinorUnits: Double? = nil,
    currency: String? = nil, score: Double? = nil, spot: Bool? = nil
  ) {
    self.spot = spot
    self.cluster = cluster
    self.chosen = chosen
    self.rejected = rejected
    self.temporary = temporary
    self.reason = reason
    self.bytesToMove = bytesToMove
    self.bytesInFlight = bytesInFlight
    self.source = source
    self.sources = sources
    self.stageSeconds = stageSeconds
    self.waitSeconds = waitSeconds
    self.runSeconds = runSeconds
    self.finishSeconds = finishSeconds
    self.tailSeconds = tailSeconds
    self.priceMinorUnits = priceMinorUnits
    self.egressMinorUnits = egressMinorUnits
    self.currency = currency
    self.score = score
  }
}

extension ExplanationDocument {
  /// Nothing will take it as things are, and a cluster would if the project had more money.
  public var wantsMoney: Bool { unplaceable == true && candidates.contains { $0.rejected == "OverBudget" } }
}

extension PlanDocument {
  /// Some of it would never have a place, and would have one if the project had more money.
  public var wantsMoney: Bool {
    outcome == "Stuck"
      && groups.contains { group in
        // What waits for others' money to come back, or for a slot, waits; it is not denied.
        group.findsNoPlace && group.candidates.allSatisfy { $0.temporary != true }
          && group.candidates.contains { $0.rejected == "OverBudget" }
      }
  }
}

extension PlannedGroupDocument {
  /// Its table is that of tasks which would wait when nothing happens any more.
  public var findsNoPlace: Bool { !candidates.isEmpty && !candidates.contains(where: \.chosen) }
}
