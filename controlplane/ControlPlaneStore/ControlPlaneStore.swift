public import ControlPlaneCore
public import Postgres
import Synchronization

/// The durable state in Postgres: the only place where SQL is written.
///
/// The leader's units go over one connection of their own (`send`), everything else over a pool.
public final class ControlPlaneStore: Sendable {
  let pool: PostgresPool
  let configuration: PostgresConfiguration
  private let writer = Mutex(Writer())

  private struct Writer {
    var connection: PostgresConnection?
    /// The unit that goes on the wire last: the next one follows it.
    var last: Task<Void, Never>?
  }

  public init(_ configuration: PostgresConfiguration, pool limits: PostgresPool.Limits = .init()) {
    var configuration = configuration
    configuration.sessionSetup = Self.sessionSetup
    self.configuration = configuration
    pool = PostgresPool(configuration, limits: limits)
  }

  /// Opens the write connection anew. What was on the old one's wire, or on its way there, fails as lost.
  public func reconnect() async throws {
    let fresh = try await PostgresConnection.connect(configuration)
    let old = writer.withLock { writer in
      defer { writer.connection = fresh }
      return writer.connection
    }
    await old?.close()
  }

  public func close() async {
    let connection = writer.withLock { writer in
      defer { writer.connection = nil }
      return writer.connection
    }
    await connection?.close()
    await pool.close()
  }

  /// Takes one unit and returns at once; units are put on the wire, and answered, in the order of these calls.
  ///
  /// The rows are encoded away from the caller, who is the leader in its turn, and beside those of the unit before.
  public func send(_ delta: DurableDelta, fence: Fence) -> PendingUnit {
    writer.withLock { writer in
      guard let connection = writer.connection else { return PendingUnit(unit: nil) }
      let previous = writer.last
      let unit = Task.detached(priority: .high) { () -> PendingUnit.Sent in
        let encoded = Result { try DeltaEncoder.statements(delta, fence) }
        await previous?.value
        return encoded.map { connection.send($0) }
      }
      writer.last = Task.detached(priority: .high) { _ = await unit.value }
      return PendingUnit(unit: unit)
    }
  }

  /// Sends one unit and waits. - Throws: `CommitError`.
  public func commit(_ delta: DurableDelta, fence: Fence) async throws {
    try await send(delta, fence: fence).answer()
  }

  /// - Parameter timeout: nil takes the configuration's.
  func run(_ sql: String, _ values: PostgresValue..., timeout: Duration? = nil) async throws -> PostgresResult {
    try await pool.withConnection { try await $0.run([PostgresStatement(sql, values)], timeout: timeout)[0] }
  }
}

/// What the leadership row must hold for a unit to commit, and what it leaves there as `commit_seq`.
public struct Fence: Hashable, Sendable {
  public var term: Int64
  public var previous: Int64
  public var next: Int64
  /// - Parameter next: nil for one more than `previous`.
  public init(term: Int64, previous: Int64, next: Int64? = nil) {
    self.term = term
    self.previous = previous
    self.next = next ?? previous + 1
  }
}

/// Why a unit did not, or perhaps did not, commit.
public enum CommitError: Error {
  /// It may have committed: ask for the position.
  case connectionLost(any Error)
  /// Another leader, or an earlier unit of ours that failed: it did not commit.
  case fenced
  /// The database refused its content: it did not commit.
  case rejected(any Error)

  /// The connection lives and the server cannot take the unit for now: disk full, out of memory, read-only, too busy. Connecting
  /// works at once then, so whoever sends the same unit again must wait first, longer each time.
  public var needsBackOff: Bool {
    guard case .connectionLost(let error) = self, let error = error as? PostgresError else { return false }
    return !error.isConnectionLoss
  }
}

/// A unit on the wire, or on its way there.
public struct PendingUnit: Sendable {
  typealias Sent = Result<PostgresUnit, any Error>
  /// nil: no write connection was open.
  let unit: Task<Sent, Never>?

  /// - Throws: `CommitError`.
  public func answer() async throws {
    guard let unit else {
      throw CommitError.connectionLost(PostgresError(.connectionLost, "no write connection is open"))
    }
    let sent: PostgresUnit
    do { sent = try await unit.value.get() } catch { throw CommitError.rejected(error) }
    do {
      _ = try await sent.answer()
    } catch let error as PostgresError {
      switch error.kind {
      case .raised("FB001"): throw CommitError.fenced
      // What the server's state forbids just now is not the fault of the content: the caller connects again and asks.
      case .readOnly, .insufficientResources, .serializationFailure, .deadlock, .lockNotAvailable, .timeout, .cancelled,
        .misuse:
        throw CommitError.connectionLost(error)
      default: throw error.isConnectionLoss ? CommitError.connectionLost(error) : CommitError.rejected(error)
      }
    }
  }
}
