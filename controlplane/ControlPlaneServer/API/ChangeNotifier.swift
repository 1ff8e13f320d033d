import FederationModel
import Logging
import Postgres
import ServiceLifecycle
import Synchronization

/// Tells watchers that something has been committed, whichever process committed it: the leader's units, and changes of who may do
/// what, notify through Postgres, each on a channel of its own.
///
/// Level-triggered: a watcher is woken, reads what it watches, and waits for a later commit than the one it has seen.
final class ChangeNotifier: Service {
  private struct State {
    /// Grows with every notification.
    var version: Int64 = 0
    var waiters: [Int64: CheckedContinuation<Void, Never>] = [:]
    var lastWaiter: Int64 = 0
    var isClosed = false
    var isListening = false
    var watchers = 0
  }
  private let state = Mutex(State())
  private let configuration: PostgresConfiguration
  private let logger: Logger
  private let channel: String
  /// Streams that one process serves at once.
  static let watcherLimit = 1000

  /// - Parameter channel: of Postgres; a word, not a user's text.
  init(_ configuration: PostgresConfiguration, channel: String = "fubini", logger: Logger) {
    self.configuration = configuration
    self.channel = channel
    self.logger = logger
  }

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        do { try await self.listen() } catch {
          self.logger.debug("change notifications are interrupted", metadata: ["error": "\(error)"])
        }
        self.state.withLock { $0.isListening = false }
        // What was committed meanwhile was not told: everybody looks once.
        self.changed()
        try? await Task.sleep(for: .milliseconds(500))
      }
    }
    close()
  }

  private func listen() async throws {
    let connection = try await PostgresConnection.connect(configuration)
    do {
      let notifications = connection.notifications(limit: 16)
      _ = try await connection.query("LISTEN \(channel)")
      changed()
      state.withLock { $0.isListening = true }
      for await _ in notifications {
        changed()
        if Task.isCancelled { break }
      }
    } catch {
      await connection.close()
      throw error
    }
    await connection.close()
  }

  /// Wakes everybody who waits. Also for a change of this process's own, which is known here before it is heard.
  func changed() {
    let waiters = state.withLock { state in
      state.version += 1
      defer { state.waiters = [:] }
      return state.waiters.values.map { $0 }
    }
    for waiter in waiters { waiter.resume() }
  }

  private func close() {
    let waiters = state.withLock { state in
      state.isClosed = true
      defer { state.waiters = [:] }
      return state.waiters.values.map { $0 }
    }
    for waiter in waiters { waiter.resume() }
  }

  var version: Int64 { state.withLock { $0.version } }
  /// Whether a commit would be heard of now.
  var isListening: Bool { state.withLock { $0.isListening } }
  var isClosed: Bool { state.withLock { $0.isClosed } }

  /// Returns when something was committed after `version`, when `timeout` has passed, or when the process shuts down.
  func wait(after version: Int64, timeout: Duration) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.park(after: version) }
      group.addTask { try? await Task.sleep(for: timeout) }
      await group.next()
      group.cancelAll()
    }
  }

  private func park(after version: Int64) async {
    let id = state.withLock { state in
      state.lastWaiter += 1
      return state.lastWaiter
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if state.version > version || state.isClosed || Task.isCancelled { return true }
          state.waiters[id] = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
    }
  }

  /// Counts a stream in. - Throws: `.resourceExhausted` at the limit.
  func enter() throws {
    try state.withLock { state in
      guard state.watchers < Self.watcherLimit else {
        throw FederationError(.resourceExhausted, "too many streams are open; try again", retryAfter: .seconds(5))
      }
      state.watchers += 1
    }
  }

  var watcherCount: Int { state.withLock { $0.watchers } }

  func leave() { state.withLock { $0.watchers -= 1 } }
}
