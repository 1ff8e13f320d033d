public import FederationModel

/// Why a task was placed where it was, or what keeps it waiting: one line for each cluster (invariant I10).
public struct CandidateTable: Hashable, Sendable {
  public var candidates: [Candidate]
  public init(candidates: [Candidate]) { self.candidates = candidates }

  public var chosen: ClusterName? { candidates.first { $0.isChosen }?.cluster }

  /// Whether no cluster will ever take it as all of them are: each rejects it, and none only for now. False without clusters.
  public var isUnplaceable: Bool {
    !candidates.isEmpty && candidates.allSatisfy { $0.rejection.map { !$0.isTemporary } ?? false }
  }

  /// As the API shows it.
  public var json: JSONValue {
    .object(["candidates": .array(candidates.map(\.json)), "unplaceable": .bool(isUnplaceable)])
  }
}

/// One cluster in a candidate table.
public struct Candidate: Hashable, Sendable {
  public var cluster: ClusterName
  /// Why it cannot take the task; nil when it can.
  public var rejection: Rejection?
  /// The terms of the score; nil when a filter rejected the cluster.
  public var estimate: Estimate?
  public var isChosen: Bool
  /// Why it was chosen, where a policy decided that and not the score alone.
  public var note: String?
  /// Whether it is the cluster's spot capacity that was looked at.
  public var isSpot = false
  public init(
    cluster: ClusterName, rejection: Rejection? = nil, estimate: Estimate? = nil, isChosen: Bool = false,
    note: String? = nil
  ) {
    self.cluster = cluster
    self.rejection = rejection
    self.estimate = estimate
    self.isChosen = isChosen
    self.note = note
  }

  var json: JSONValue {
    var members: [String: JSONValue] = ["cluster": .string(cluster.text), "chosen": .bool(isChosen)]
    if isSpot { members["spot"] = true }
    if let rejection {
      members["rejected"] = .string(rejection.code)
      members["reason"] = .string(rejection.message)
      members["temporary"] = .bool(rejection.isTemporary)
    } else if let note {
      members["reason"] = .string(note)
    }
    if let estimate {
      members["bytesToMove"] = .integer(estimate.missing.bytes)
      if estimate.inFlight.bytes > 0 { members["bytesInFlight"] = .integer(estimate.inFlight.bytes) }
      if let source = estimate.source { members["source"] = .string(source) }
      if !estimate.sources.isEmpty {
        members["sources"] = .object(
          Dictionary(
            uniqueKeysWithValues: estimate.sources.map {
              ($0.text, .integer($1.bytes))
            }))
      }
      if estimate.tailSeconds > 0 { members["tailSeconds"] = .number(estimate.tailSeconds) }
      if let egress = estimate.egressMinorUnits, egress > 0 { members["egressMinorUnits"] = .number(egress) }
      members["stageSeconds"] = .number(estimate.stageSeconds)
      members["waitSeconds"] = .number(estimate.waitSeconds)
      members["runSeconds"] = .number(estimate.runSeconds)
      members["finishSeconds"] = .number(estimate.finishSeconds)
      members["score"] = .number(estimate.score)
      if let price = estimate.priceMinorUnits, let currency = estimate.currency {
        members["priceMinorUnits"] = .number(price)
        members["currency"] = .string(currency)
      }
    }
    return .object(members)
  }
}

/// Why a cluster cannot take a task.
public struct Rejection: Hashable, Sendable {
  /// Nothing but room keeps the task from there.
  public static let full = "Full"
  /// What is free is kept for a task that preempted others for it.
  public static let kept = "KeptForHigherClass"
  /// What is free is held for realtime work to come.
  public static let headroom = "HeldForRealtime"
  /// What is free is kept for a gang.
  static let keptForGang = "KeptForGang"
  /// It could start there now, and ends sooner where a slot is expected to become free.
  public static let heldForBetter = "HeldForBetter"
  /// Spot capacity costs more than the task bids.
  public static let spotPrice = "SpotPrice"
  /// The project's budget does not hold what a run may cost.
  public static let overBudget = "OverBudget"
  /// The project uses as much at once as it may.
  static let overQuota = "OverQuota"

  /// A CamelCase word that programs may compare: `KindNotAllowed`, `Full`.
  public var code: String
  /// A sentence for people.
  public var message: String
  /// Whether the cluster may take it later as both are now (it is full, or closed for a while).
  public var isTemporary: Bool
  /// Whether it ends when others give back their room.
  var isForRoom: Bool { [Self.full, Self.kept, Self.headroom, Self.keptForGang].contains(code) }
  public init(_ code: String, _ message: String, isTemporary: Bool = false) {
    self.code = code
    self.message = message
    self.isTemporary = isTemporary
  }
}

/// The terms of DESIGN section 8's score, as far as they are known.
public struct Estimate: Hashable, Sendable {
  /// `source` for what comes from outside the clusters.
  static let outside = "outside"

  /// Bytes to be moved in.
  public var missing: ByteCount
  /// Bytes that are on their way already, for this task or others.
  public var inFlight: ByteCount
  /// Where the largest of the missing inputs would come from: a cluster, or `outside`; nil when nothing is missing.
  public var source: String?
  /// Bytes that clusters would send, by cluster; empty while no cluster charges for egress.
  public var sources: [ClusterName: ByteCount]
  public var stageSeconds: Double
  public var waitSeconds: Double
  public var runSeconds: Double
  /// max(stage, wait) + run: staging overlaps queueing.
  public var finishSeconds: Double
  /// Of the work behind the task, wherever it runs.
  public var tailSeconds: Double
  /// Of the whole run at the expected runtime, egress included, not rounded; nil when the cluster has no price.
  public var priceMinorUnits: Double?
  /// Of the bytes that other clusters send alone, at their prices.
  public var egressMinorUnits: Double?
  public var currency: String?
  /// J: the least wins.
  public var score: Double
}
