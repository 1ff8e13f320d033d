/// What happens to a run that has to leave its room to a task of a higher class (`federation.onPreempt`).
///
/// The run is told by a signal, has `grace` to put down what it has reached, and is killed. What lies then at the path of the output
/// artifact `checkpoint` is kept, though the run did not end well, and lies at the same path when the task starts again.
public struct PreemptionHook: Hashable, Sendable, Codable {
  /// The signals that a program may ask for: those whose default ends it, so that one which does not listen leaves at once.
  public enum Signal: String, Hashable, Sendable, Codable, CaseIterable {
    case terminate = "SIGTERM"
    case interrupt = "SIGINT"
    case user1 = "SIGUSR1"
    case user2 = "SIGUSR2"

    /// As Linux numbers it.
    public var number: Int32 {
      switch self {
      case .interrupt: 2
      case .user1: 10
      case .user2: 12
      case .terminate: 15
      }
    }
  }

  public var signal: Signal
  /// From the signal to SIGKILL.
  public var grace: Duration
  /// The name of an output artifact of the template; nil: the task begins anew.
  public var checkpoint: String?

  public init(signal: Signal = .terminate, grace: Duration = .seconds(30), checkpoint: String? = nil) {
    self.signal = signal
    self.grace = grace
    self.checkpoint = checkpoint
  }

  /// The longest grace: room that is being made is no use to anybody.
  public static let graceMax = Duration.seconds(600)
  /// How often the task has been preempted, in the environment of its program; only when it has been, or has a hook.
  public static let restartCountVariable = "FUBINI_RESTART_COUNT"
}
