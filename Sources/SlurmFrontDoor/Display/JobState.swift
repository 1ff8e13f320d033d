public import FederationModel

/// What becomes of a job, in Slurm's words.
public enum JobState: String, Hashable, Sendable, Codable, CaseIterable {
  case pending = "PENDING"
  case running = "RUNNING"
  case suspended = "SUSPENDED"
  case completed = "COMPLETED"
  case cancelled = "CANCELLED"
  case failed = "FAILED"
  case timeout = "TIMEOUT"
  case nodeFail = "NODE_FAIL"
  case preempted = "PREEMPTED"
  case outOfMemory = "OUT_OF_MEMORY"
  case deadline = "DEADLINE"
  case completing = "COMPLETING"
  case configuring = "CONFIGURING"

  public var compact: String {
    switch self {
    case .pending: "PD"
    case .running: "R"
    case .suspended: "S"
    case .completed: "CD"
    case .cancelled: "CA"
    case .failed: "F"
    case .timeout: "TO"
    case .nodeFail: "NF"
    case .preempted: "PR"
    case .outOfMemory: "OOM"
    case .deadline: "DL"
    case .completing: "CG"
    case .configuring: "CF"
    }
  }

  /// What Slurm gives as the reason of a job in this state, where it gives one.
  public var endReason: String? {
    switch self {
    case .failed: "NonZeroExitCode"
    case .timeout: "TimeLimit"
    case .outOfMemory: "OutOfMemory"
    case .nodeFail: "NodeDown"
    case .deadline: "DeadLine"
    default: nil
    }
  }

  /// Whether it is not over.
  public var isOpen: Bool { [.pending, .running, .suspended, .completing, .configuring].contains(self) }

  /// By either spelling, in any case.
  public init?(_ text: String) {
    let upper = text.uppercased()
    guard let state = Self.allCases.first(where: { $0.rawValue == upper || $0.compact == upper }) else { return nil }
    self = state
  }

  /// `-t`/`--states`: a list, or `all`, which is nil.
  public static func list(_ text: String) throws(SlurmRefusal) -> Set<JobState>? {
    if text.lowercased() == "all" { return nil }
    var states: Set<JobState> = []
    for word in text.split(separator: ",") {
      guard let state = JobState(String(word)) else {
        let known = allCases.map(\.rawValue).joined(separator: ",")
        throw SlurmRefusal(
          lines: ["error: Invalid job state specified: \(word)", "error: Valid job states include: \(known)"],
          exitCode: 1)
      }
      states.insert(state)
    }
    return states
  }

  /// Of a task that has ended.
  ///
  /// - Parameters:
  ///   - cause: why it did not end by itself.
  ///   - isCancelled: whether somebody asked for its end.
  public static func ended(succeeded: Bool, cause: RunEndCause?, isCancelled: Bool) -> JobState {
    if succeeded { return .completed }
    if isCancelled { return .cancelled }
    return switch cause {
    case .timeLimit?: .timeout
    case .deadline?: .deadline
    case .outOfMemory?: .outOfMemory
    case .nodeFailure?: .nodeFail
    case .preempted?: .preempted
    case nil: .failed
    }
  }
}
