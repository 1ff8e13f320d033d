public import FederationModel
public import SchedulerCore

/// One imagined course of a workflow, in seconds from the moment of its `ForecastBasis`.
struct ForecastTrace: Sendable {
  enum Ending: Hashable, Sendable {
    case complete
    /// The workflow would end Failed or Error, with this message.
    case bad(String)
    /// Tasks wait, and nothing that happens lets them start.
    case stuck
    /// It is larger than what is looked at.
    case cut
  }

  var ending = Ending.cut
  /// When the workflow's last node ended; as far as it was looked at when it is cut.
  var end = 0.0
  /// Of the workflow alone.
  var tasks: [ForecastTask] = []
  /// Each group of like tasks once, in the order in which they became ready.
  var groups: [ForecastGroup] = []
  var transfers: [ForecastTransfer] = []
  /// What is not known, in words, each once.
  var unknowns: [String] = []
  /// What tasks read that nobody has looked at; some of it more than once.
  var unseen: [UnseenInput] = []
  /// Cluster evaluations and events that it took.
  var work = 0

  mutating func note(_ unknown: String) {
    if unknowns.count < 50, !unknowns.contains(unknown) { unknowns.append(unknown) }
  }

  /// Minor units by currency, egress included.
  var money: [String: Double] {
    tasks.reduce(into: [:]) { sums, task in
      if let price = task.price, let currency = task.currency { sums[currency, default: 0] += price }
    }
  }
}

/// One task in an imagined course. Times are seconds from the beginning of the forecast; infinite for what does not happen.
public struct ForecastTask: Hashable, Sendable {
  /// As `fubini get` will name its node.
  public var name: String
  /// Index into `Forecast.groups`.
  public var group: Int
  /// nil while it has no place.
  public var cluster: ClusterName?
  public var readyAt: Double
  /// When a pass chose its cluster.
  public var placedAt = Double.infinity
  /// When its inputs are there.
  public var stagedAt = Double.infinity
  public var startAt = Double.infinity
  public var endAt = Double.infinity
  /// Bytes that are moved for it.
  public var moved = ByteCount.zero
  /// Minor units of `currency`, bytes included; nil where its cluster has no price.
  public var price: Double?
  public var currency: String?
  /// The task whose end made it ready; nil: it is ready from the beginning. Index into `Forecast.tasks`.
  public var parent: Int?
  /// The task whose end gave it its slot; nil when it did not wait for one of this workflow's.
  public var freedBy: Int?
}

/// Tasks of one template with like requirements: one row of a plan.
public struct ForecastGroup: Hashable, Sendable {
  /// Of the step or dag task, without a loop's item.
  public var name: String
  public var template: String
  public var count = 0
  /// Seconds at speed 1, and where they are from.
  public var runtime: RuntimeEstimate
  public var runtimeFrom: RuntimeSource
  /// Seconds of work behind each.
  public var tail: Double
  public var deadline: Double?
  public var requirement: Requirement
  /// Of the first of them that was placed; of one that found no place when none was.
  public var table = CandidateTable(candidates: [])

  public enum RuntimeSource: String, Hashable, Sendable, CaseIterable {
    case history, walltime
    case assumed = "default"
  }
}

/// A movement of bytes in an imagined course.
public struct ForecastTransfer: Hashable, Sendable {
  /// nil: small files, of one task each, together.
  public var data: DataKey?
  /// nil: from outside the clusters, or the repository.
  public var from: ClusterName?
  public var to: ClusterName
  public var size: ByteCount
  /// Seconds from the beginning of the forecast.
  public var beginsAt: Double
  public var endsAt: Double
  /// Brought ahead over an idle link, for tasks that had no place yet.
  public var isSpeculative: Bool
}
