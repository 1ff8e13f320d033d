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
    case .completing: "CG"
    case .configuring: "CF"
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
  ///   - message: as the node says it.
  ///   - isCancelled: whether somebody asked for its end.
  public static func ended(succeeded: Bool, isError: Bool, message: String, isCancelled: Bool) -> JobState {
    if succeeded { return .completed }
    if isCancelled { return .cancelled }
    if message.hasPrefix("the walltime has passed") || message.contains("activeDeadlineSeconds has passed") {
      return .timeout
    }
    if message.contains("OOMKilled") { return .outOfMemory }
    if message.hasPrefix("lost") || message.hasPrefix("fenced") { return .nodeFail }
    return .failed
  }
}
