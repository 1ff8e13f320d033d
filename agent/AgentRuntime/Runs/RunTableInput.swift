internal import Execution
internal import FederationAPI
internal import FederationModel

/// What happened to runs, in the past tense.
enum RunTableInput: Sendable {
  /// A session began; the message holds the complete desired set.
  case welcomed(Wire.Welcome)
  case assigned([Wire.Assignment])
  /// More is held for these: how long since their starts they may run.
  case extended([RunID: Duration])
  /// - Parameter isPreemption: they leave for others: the hooks of their specs say how.
  case cancelRequested([RunID], isPreemption: Bool = false)
  /// The control plane holds these runs' ends durably.
  case forgetRequested([RunID])
  case drainChanged(Bool)
  case sessionLost
  case positionSeen(term: Int64, commitSequence: Int64)
  case eventsAcknowledged(sequence: UInt64)
  /// All inputs are in the run's workspace, verified.
  case staged(RunID, bytesIn: Int64, fromClusters: [ClusterName: Int64] = [:], milliseconds: Int64)
  /// Inputs wait for something outside the run (disk, link): shown, and tried again.
  case stagingPaused(RunID, reason: String)
  case stagingFailed(RunID, RunPhase, message: String)
  /// The executor has the batch.
  case submissionAccepted([RunID])
  /// The executor cannot take these at present; each is offered again.
  case submissionPaused([RunID], reason: String)
  /// The executor will never take this run.
  case submissionFailed(RunID, message: String)
  case observed([RunObservation])
  /// A daemon can be used; its own address, where it has one.
  case ready(RunID, address: String?)
  case collected(RunID, CollectedOutputs)
  case logAcknowledged(RunID, offset: Int64, isComplete: Bool)
  /// A heartbeat that was sent then has been answered. It is told in order with what the session said before: the lease beside the
  /// runs must not become fresh before the table knows what is still desired, or a run that was replaced meanwhile would start (I1).
  case leaseGranted(sentNanoseconds: UInt64)
}

extension RunTableInput {
  /// When the heartbeat of a granted lease was sent.
  var lease: UInt64? {
    if case .leaseGranted(let sent) = self { sent } else { nil }
  }
}

/// What was read out of a run that has ended.
struct CollectedOutputs: Sendable, Equatable {
  var phase: RunPhase
  var message: String
  var outputs: TaskOutputs
  var bytesOut: Int64
}

/// What is to be done, after the turn's changes are durable.
enum RunTableAction: Sendable, Equatable {
  case stage(RunID)
  case stopStaging(RunID)
  /// In order. Answered by `submissionAccepted` or `submissionFailed`, after as many attempts as it takes.
  case submit([RunID])
  /// Said again until the executor has it, or the run is over.
  case extend([RunID: Duration])
  /// - Parameter signal: nil: SIGTERM.
  case cancel(RunID, grace: Duration, signal: PreemptionHook.Signal? = nil)
  case collect(RunID, RunObservation)
  /// Log bytes up to here can be read; `isFinal`: no more will come.
  case shipLog(RunID, length: Int64, isFinal: Bool)
  case stopShippingLog(RunID)
  /// Delete what a run left but its log.
  case discardFiles(RunID)
  /// Tell the operator.
  case warn(String)
  /// Delete every trace of these runs.
  case erase([RunID])
  /// The journal holds events up to here that the session has not been given.
  case eventsJournaled(through: UInt64)
}
