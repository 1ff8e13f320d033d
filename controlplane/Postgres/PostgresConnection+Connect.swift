import CPQ
import Dispatch

extension PostgresConnection {
  /// Connects without blocking a thread of the caller's.
  ///
  /// - Throws: `PostgresError`: `.timeout`, `.authenticationFailed`, `.connectionLost` (no server), `.adminShutdown` (it is starting).
  public static func connect(_ configuration: PostgresConfiguration) async throws -> PostgresConnection {
    let attempt = ConnectAttempt(configuration)
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { attempt.start($0) }
    } onCancel: {
      attempt.abort(PostgresError(.cancelled, "connecting to the database was cancelled"))
    }
  }
}

/// Drives PQconnectPoll by the socket's readiness. Everything happens on `queue`.
private final class ConnectAttempt: @unchecked Sendable {
  private let configuration: PostgresConfiguration
  private let queue = DispatchQueue(label: "fubini.postgres")
  private var handle: OpaquePointer?
  private var continuation: CheckedContinuation<PostgresConnection, any Error>?
  private var aborted: PostgresError?

  init(_ configuration: PostgresConfiguration) { self.configuration = configuration }

  func start(_ continuation: CheckedContinuation<PostgresConnection, any Error>) {
    queue.asyncAfter(deadline: .now() + .nanoseconds(PostgresConnection.nanoseconds(configuration.connectTimeout))) {
      self.fail(PostgresError(.timeout(isConnectionLoss: true), "the database did not accept the connection in time"))
    }
    queue.async { [self] in
      self.continuation = continuation
      if let aborted { return fail(aborted) }
      guard let handle = PQconnectStart(configuration.connectionString) else {
        return fail(PostgresError(.insufficientResources, "out of memory"))
      }
      self.handle = handle
      // libpq prints notices to standard error unless told otherwise; a daemon's log is not theirs.
      PQsetNoticeReceiver(handle, { _, _ in }, nil)
      if PQstatus(handle) == CONNECTION_BAD { return failWithMessage() }
      wait(forWriting: true)
    }
  }

  func abort(_ error: PostgresError) {
    queue.async { [self] in
      aborted = error
      fail(error)
    }
  }

  /// One source for each wait, because libpq may change the socket between two polls.
  private func wait(forWriting: Bool) {
    guard let handle, continuation != nil else { return }
    let socket = PQsocket(handle)
    guard socket >= 0 else { return failWithMessage() }
    let source: any DispatchSourceProtocol =
      forWriting
      ? DispatchSource.makeWriteSource(fileDescriptor: socket, queue: queue)
      : DispatchSource.makeReadSource(fileDescriptor: socket, queue: queue)
    self.source = source
    source.setEventHandler { source.cancel() }
    source.setCancelHandler { [self] in
      self.source = nil
      if continuation == nil { finish() } else { poll() }
    }
    source.resume()
  }
  private var source: (any DispatchSourceProtocol)?

  private func poll() {
    guard let handle else { return }
    switch PQconnectPoll(handle) {
    case PGRES_POLLING_READING: wait(forWriting: false)
    case PGRES_POLLING_WRITING: wait(forWriting: true)
    case PGRES_POLLING_OK: succeed(handle)
    default: failWithMessage()
    }
  }

  private func succeed(_ handle: OpaquePointer) {
    guard PQsetnonblocking(handle, 1) == 0, PQenterPipelineMode(handle) == 1 else { return failWithMessage() }
    let connection = PostgresConnection(handle: handle, configuration: configuration, queue: queue)
    self.handle = nil
    connection.arm()
    continuation?.resume(returning: connection)
    continuation = nil
  }

  private func failWithMessage() {
    guard let handle else { return }
    var message = String(cString: PQerrorMessage(handle))
    while let last = message.last, last.isNewline { message.removeLast() }
    let kind: PostgresError.Kind =
      if message.contains("authentication failed") || message.contains("no password supplied") {
        .authenticationFailed
      } else if message.contains("starting up") || message.contains("shutting down") {
        .adminShutdown
      } else if message.contains("too many clients") || message.contains("remaining connection slots") {
        .insufficientResources
      } else {
        .connectionLost
      }
    fail(PostgresError(kind, message))
  }

  private func fail(_ error: PostgresError) {
    guard let continuation else { return }
    self.continuation = nil
    continuation.resume(throwing: error)
    // A source must not outlive its descriptor: with one waiting, its cancel handler closes.
    if let source { source.cancel() } else { finish() }
  }

  private func finish() {
    if let handle { PQfinish(handle) }
    handle = nil
  }
}
