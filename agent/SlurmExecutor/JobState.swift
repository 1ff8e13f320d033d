/// A job's state in Slurm, as far as it matters here.
///
/// - Source: squeue(1), "JOB STATE CODES", 22.05 to 25.05.
enum JobState: Hashable, Sendable {
  /// Waits, also again after a requeue.
  case pending
  /// Holds its nodes: configuring, running, suspended, completing and whatever a later Slurm adds.
  case live(String)
  case ended(End)

  enum End: Hashable, Sendable {
    case completed, failed, timeout, outOfMemory, nodeFailure, bootFailure, preempted, deadline, revoked
    /// `uid` where Slurm says who did it (accounting does, `squeue` does not).
    case cancelled(uid: UInt32?)

    var word: String {
      switch self {
      case .completed: "COMPLETED"
      case .failed: "FAILED"
      case .timeout: "TIMEOUT"
      case .outOfMemory: "OUT_OF_MEMORY"
      case .nodeFailure: "NODE_FAIL"
      case .bootFailure: "BOOT_FAIL"
      case .preempted: "PREEMPTED"
      case .deadline: "DEADLINE"
      case .revoked: "REVOKED"
      case .cancelled: "CANCELLED"
      }
    }
  }

  init(_ text: String) {
    switch text {
    case "PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD": self = .pending
    case "COMPLETED": self = .ended(.completed)
    case "FAILED": self = .ended(.failed)
    case "TIMEOUT": self = .ended(.timeout)
    case "OUT_OF_MEMORY": self = .ended(.outOfMemory)
    case "NODE_FAIL": self = .ended(.nodeFailure)
    case "BOOT_FAIL": self = .ended(.bootFailure)
    case "PREEMPTED": self = .ended(.preempted)
    case "DEADLINE": self = .ended(.deadline)
    case "REVOKED": self = .ended(.revoked)
    default:
      // "CANCELLED by 1000"; a state that is not known is not taken for an end.
      if text.hasPrefix("CANCELLED") {
        self = .ended(.cancelled(uid: text.split(separator: " ").last.flatMap { UInt32($0) }))
      } else {
        self = .live(text)
      }
    }
  }

  /// Of several jobs with one run's mark the one that says most: what lives, then what waits, then what has ended.
  var precedence: Int {
    switch self {
    case .live: 2
    case .pending: 1
    case .ended: 0
    }
  }
}
