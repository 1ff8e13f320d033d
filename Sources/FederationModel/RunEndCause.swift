/// Why a run did not end by itself, for programs: what people read is its message.
///
/// Runs that ended by themselves, or because somebody asked for it, have none: their phase and exit code say it all.
public enum RunEndCause: String, Hashable, Sendable, Codable, CaseIterable {
  /// Its own limit of time, or its cluster's.
  case timeLimit
  /// A moment until which it had to be over.
  case deadline
  case outOfMemory
  /// Its node failed, or could not be started.
  case nodeFailure
  /// It made room for another one.
  case preempted
}
