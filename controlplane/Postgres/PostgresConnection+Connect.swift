import CPQ
import Dispatch

extension PostgresConnection {
  /// Connects without blocking a thread of the caller's.
  ///
  /// - Throws: `PostgresError`: `.timeout`, `.authenticationFailed`, `.connectionLost` (no server), `.adminShutdown` (it is starting).
  public static func connect(_ configuration: PostgresConfiguration) async throws -> PostgresConnection {
    let attempt = ConnectAttempt(configuration)
    let connection = try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { attempt.start($0) }
    } onCancel: {
      attempt.abort(PostgresError(.cancelled, "connecting to the database was cancelled"))
    }
    guard let setup = configuration.sessionSetup else { return connection }
    do {
      try await connection.run(
        [PostgresStatement(setup, isPrepared: false)], timeout: configuration.connectTimeout)
    } catch {
      await connection.close()
      throw error
    }
    return connection
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
      // A refused connection has no result to ask for its code, so the message must hold it; words depend on the locale.
      PQsetErrorVerbosity(handle, PQERRORS_VERBOSE)
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
    PQsetErrorVerbosity(handle, PQERRORS_DEFAULT)
    let connection = PostgresConnection(handle: handle, configuration: configuration, queue: queue)
    self.handle = nil
    connection.arm()
    continuation?.resume(returning: connection)
    continuation = nil
  }

  private func failWithMessage() {
    guard let handle else { return }
    let report = ServerReport(String(cString: PQerrorMessage(handle)))
    var kind = PostgresError.kind(of: report.sqlstate, constraint: "", column: "")
    // The server asked for a password and there was none: libpq says so itself, without a code of the server's.
    if report.sqlstate.isEmpty, PQconnectionNeedsPassword(handle) == 1 { kind = .authenticationFailed }
    fail(PostgresError(kind, report.message, sqlstate: report.sqlstate))
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

/// What libpq says about a failed connection, in verbose form: `... FATAL:  28P01: password ...` and lines that say where in the
/// server's source it happened.
///
/// - Source: PostgreSQL 15, libpq, `PQsetErrorVerbosity`.
struct ServerReport {
  /// Empty when the server never spoke.
  var sqlstate = ""
  var message = ""

  init(_ text: String) {
    // The severity and "LOCATION" are translated; the code between two colons is not, nor is the indentation of the place.
    var lines: [Substring] = []
    for line in text.split(whereSeparator: \.isNewline) {
      guard let code = Self.code(in: line) else {
        if sqlstate.isEmpty || !line.contains(".c:") { lines.append(line) }
        continue
      }
      if sqlstate.isEmpty { sqlstate = String(line[code]) }
      lines.append(line[..<code.lowerBound] + line[line.index(code.upperBound, offsetBy: 2)...])
    }
    message = lines.joined(separator: "\n")
  }

  /// Five characters between a colon with two blanks and a colon with one.
  private static func code(in line: Substring) -> Range<Substring.Index>? {
    for colon in line.indices where line[colon...].hasPrefix(":  ") {
      let start = line.index(colon, offsetBy: 3)
      guard let end = line.index(start, offsetBy: 5, limitedBy: line.endIndex), line[end...].hasPrefix(": ") else {
        continue
      }
      if line[start..<end].allSatisfy({ $0.isASCII && ($0.isNumber || $0.isUppercase) }) { return start..<end }
    }
    return nil
  }
}
