internal import FederationModel
internal import FoundationEssentials

/// One durable change of the agent's journal. All changes of one turn are written in one transaction.
enum JournalChange: Sendable, Equatable {
  /// A run was assigned. What is known of its progress stays as it is when it was assigned before.
  case assigned(RunID, assignment: Data)
  /// More is held for it: milliseconds since its start. Never less than before.
  case extended(RunID, milliseconds: Int64)
  /// Its end is wanted.
  case cancelRequested(RunID)
  /// It was handed to the executor at least once: from now on only the executor knows what became of it.
  case submitted(RunID)
  case event(sequence: UInt64, RunID, payload: Data)
  /// The run's end is journaled; the bytes of its log at that end.
  case ended(RunID, RunPhase, logBytes: Int64)
  case forgotten(RunID)
  case acknowledged(throughSequence: UInt64)
  case positionSeen(term: Int64, commitSequence: Int64)
  case logAcknowledged(RunID, offset: Int64, isComplete: Bool)
}

/// What the journal holds of one run.
struct JournaledRun: Sendable, Equatable {
  var id: RunID
  var assignment: Data
  /// Milliseconds since its start that are held for it, where more is than its assignment says.
  var sliceMilliseconds: Int64?
  var isCancelRequested: Bool
  var isSubmitted: Bool
  /// Terminal; nil while its end is not journaled.
  var endPhase: RunPhase?
  var logBytes: Int64
  var logAcknowledged: Int64
  var isLogComplete: Bool
}

/// All that a restarted agent begins with.
struct JournalContents: Sendable, Equatable {
  var journalID: String
  var term: Int64
  var commitSequence: Int64
  /// Of the last event ever written, acknowledged or not; 0 for none.
  var lastSequence: UInt64
  var acknowledgedSequence: UInt64
  var runs: [JournaledRun]
}
