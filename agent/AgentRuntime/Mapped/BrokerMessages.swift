internal import Execution
internal import FederationModel
internal import FoundationEssentials
internal import SlurmExecutor

/// What an agent asks of a broker: of one Unix user's own agent for files and jobs (docs/adr/0013-mapped-slurm.md).
enum BrokerRequest: Sendable, Codable {
  /// Always the first. Answered once the user's executor has begun.
  case begin(SlurmExecutorConfiguration)
  case prepare(RunRequest)
  /// With a descriptor: the input.
  case place(PlacedInput, RunID)
  /// Secrets are never part of an encoded request, so they go beside it, by position.
  case submit([RunRequest], secrets: [[EnvironmentVariable]], files: [[RunFile]])
  /// Answered with the runs that need not be offered again.
  case queueAhead([AwaitedRun])
  case cancel(RunID, graceMilliseconds: Int64, signal: PreemptionHook.Signal? = nil)
  case extend([RunID: Duration])
  case reattach([RunID])
  case forget([RunID])
  case inventory
  /// These four are answered with a descriptor, or with none where nothing is.
  case openLog(RunID)
  case openResult(RunID)
  case openOutput(String, RunID)
  case pack(String, ArchiveFormat, level: Int32?, RunID)
  case discardRoot(RunID)
}

enum BrokerReply: Sendable, Codable {
  case done
  case observations([RunObservation])
  case runs([RunID])
  case inventory(ClusterInventory)
  case failed(BrokerFailure)
}

/// A `FederationError` as it travels.
struct BrokerFailure: Sendable, Codable {
  static let messageBytesMax = 2000

  var code: ErrorCode
  var message: String
  var retryAfterMilliseconds: Int64?

  init(_ error: any Error) {
    let failure = error as? FederationError ?? FederationError(.internal, "\(error)")
    code = failure.code
    message = String(failure.publicMessage.prefix(Self.messageBytesMax))
    retryAfterMilliseconds = failure.retryAfter?.milliseconds
  }

  /// - Parameter user: whose broker said it: what it says is not the agent's word.
  func error(of user: String) -> FederationError {
    FederationError(
      code, String(message.prefix(Self.messageBytesMax)), internalContext: "the broker of \(user)",
      retryAfter: retryAfterMilliseconds.map { .milliseconds(min(max($0, 0), 600_000)) })
  }
}

/// What one frame holds.
enum BrokerMessage: Sendable, Codable {
  case request(UInt64, BrokerRequest)
  case reply(UInt64, BrokerReply)
  /// Of the executor, unasked.
  case observation(RunObservation)

  func encoded() throws -> [UInt8] { Array(try JSONEncoder().encode(self)) }

  static func decoded(_ bytes: [UInt8]) throws -> BrokerMessage {
    try JSONDecoder().decode(BrokerMessage.self, from: Data(bytes))
  }
}
