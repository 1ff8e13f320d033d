import ControlPlaneCore
import FederationModel

/// What a leader asks of its database. `ControlPlaneStore` implements it over Postgres.
protocol LeaderStore: Sendable {
  /// Puts one unit on the wire and returns at once; units of one store are answered in the order of these calls.
  func send(_ delta: DurableDelta, fence: CommitFence) -> any PendingCommit
  /// Opens the write connection anew after a failure.
  func reconnect() async throws
  func load() async throws -> DurableState
  func workflow(_ reference: WorkflowReference) async throws -> LoadedWorkflow?
  /// The term and sequence that the database holds now.
  func position() async throws -> CommitPosition
  /// False: the term is over.
  func renew(term: Int64) async throws -> Bool
  func release(term: Int64) async throws
  /// Whose run it is or was on that cluster; nil for any other.
  func owner(of run: RunID, on cluster: ClusterName) async throws -> RunAccess?
}

/// A unit on the wire.
protocol PendingCommit: Sendable {
  /// - Throws: `CommitFailure`.
  func answer() async throws
}

/// The fence of a unit: it commits only if the leadership row holds exactly (`term`, `previous`), and then leaves `next` there.
struct CommitFence: Hashable, Sendable {
  var term: Int64
  var previous: Int64
  var next: Int64
}

/// Why a unit did not, or perhaps did not, commit.
enum CommitFailure: Error {
  /// The connection broke: it may have committed. Ask for the position.
  case connectionLost(any Error)
  /// Another leader, or an earlier unit of ours that failed: it did not commit.
  case fenced
  /// The database refused its content: it did not commit.
  case rejected(any Error)
}
