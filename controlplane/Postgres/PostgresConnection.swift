import CPQ
import Dispatch
import Synchronization

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// One connection to Postgres, always in pipeline mode except during COPY.
///
/// A *unit* is some statements and a Sync: one implicit transaction, one commit. Several units may be on the wire; they are
/// answered in order, and one that fails does not touch the next. Everything that calls libpq happens on `queue`, driven by the
/// socket's readiness, so no thread ever waits.
public final class PostgresConnection: @unchecked Sendable {
  let configuration: PostgresConfiguration
  let queue: DispatchQueue
  let handle: OpaquePointer
  // Everything below is touched on `queue` alone.
  private var readSource: (any DispatchSourceRead)?
  private var writeSource: (any DispatchSourceWrite)?
  private var isWriteArmed = false
  var onWire: [UnitState] = []
  /// Units that wait for a cancellation or a COPY to be over.
  var held: [UnitState] = []
  var statements: StatementCache
  var isCancelling = false
  var copy: CopyState?
  /// When deadlines are looked at next.
  var tickAt = DispatchTime.distantFuture
  private var nextUnit: UInt64 = 0
  private var listener: AsyncStream<PostgresNotification>.Continuation?
  private var closeWaiters: [CheckedContinuation<Void, Never>] = []
  private let ending = Mutex<PostgresError?>(nil)
  /// The last notice of severity FATAL: what the server said before it closed an idle connection.
  private let notice = Mutex<PostgresError?>(nil)

  /// A unit and how far its answers have come.
  struct UnitState {
    enum Step {
      case prepare(StatementCache.Key, name: String)
      case query(name: String)
    }
    var number: UInt64
    var statements: [PostgresStatement]
    var deadline: DispatchTime
    var steps: [Step] = []
    var answered = 0
    var results: [PostgresResult] = []
    var error: PostgresError?
    var isCancelWanted = false
    var isTimedOut = false
    let unit: PostgresUnit
  }

  init(handle: OpaquePointer, configuration: PostgresConfiguration, queue: DispatchQueue) {
    self.handle = handle
    self.configuration = configuration
    self.queue = queue
    statements = StatementCache(limit: configuration.statementLimit)
  }

  deinit {
    // Sources hold the connection until they are cancelled, so both are gone here; libpq closes the socket.
    PQfinish(handle)
  }

  public var isClosed: Bool { ending.withLock { $0 != nil } }

  // MARK: Units

  /// Puts a unit on the wire and returns at once. Units are answered in the order of these calls.
  ///
  /// - Parameter timeout: nil takes the configuration's.
  @discardableResult
  public func send(_ statements: [PostgresStatement], timeout: Duration? = nil) -> PostgresUnit {
    let unit = PostgresUnit()
    let deadline = DispatchTime.now() + .nanoseconds(Self.nanoseconds(timeout ?? configuration.unitTimeout))
    queue.async { [self] in
      if let error = ending.withLock({ $0 }) { return unit.resolve(.failure(error)) }
      guard onWire.count + held.count < configuration.unitLimit else {
        return unit.resolve(.failure(PostgresError(.insufficientResources, "too many units wait on one connection")))
      }
      nextUnit += 1
      let number = nextUnit
      unit.onCancel { [weak self] in
        guard let self else { return }
        queue.async { self.cancel(number) }
      }
      let state = UnitState(number: number, statements: statements, deadline: deadline, unit: unit)
      if holdsBack {
        held.append(state)
      } else {
        transmit(state)
        flush()
      }
      scheduleTick()
    }
    return unit
  }

  /// Sends one unit and waits for its answer. See `PostgresUnit.answer()` for what is thrown.
  @discardableResult
  public func run(_ statements: [PostgresStatement], timeout: Duration? = nil) async throws -> [PostgresResult] {
    try await send(statements, timeout: timeout).answer()
  }

  /// One statement as a unit of its own.
  @discardableResult
  public func query(_ sql: String, _ values: PostgresValue...) async throws -> PostgresResult {
    try await run([PostgresStatement(sql, values)])[0]
  }

  /// Several statements that cannot be prepared or take parameters (`CREATE ...; CREATE ...`), in one unit.
  public func script(_ statements: [String], timeout: Duration? = nil) async throws {
    try await run(statements.map { PostgresStatement($0, isPrepared: false) }, timeout: timeout)
  }

  /// Reads inside one REPEATABLE READ, READ ONLY transaction: all statements see the same moment.
  ///
  /// The connection must not be shared with other callers meanwhile.
  public func snapshot(_ statements: [PostgresStatement], timeout: Duration? = nil) async throws -> [PostgresResult] {
    let begin = PostgresStatement("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", isPrepared: false)
    do {
      let results = try await run(
        [begin] + statements + [PostgresStatement("COMMIT", isPrepared: false)], timeout: timeout)
      return Array(results.dropFirst().dropLast())
    } catch {
      // The explicit transaction outlives the failed unit; without this the next user would inherit it.
      let rollback = send([PostgresStatement("ROLLBACK", isPrepared: false)])
      if (try? await rollback.answer()) == nil {
        fail(PostgresError(.connectionLost, "a transaction could not be rolled back"))
      }
      throw error
    }
  }

  /// Whether new units must wait, so that a cancellation cannot hit the wrong one.
  var holdsBack: Bool { isCancelling || copy != nil || onWire.contains { $0.isCancelWanted || $0.isTimedOut } }

  private func transmit(_ unit: UnitState) {
    var unit = unit
    var preparedHere: [StatementCache.Key: String] = [:]
    for statement in unit.statements {
      guard transmit(statement, &unit, &preparedHere) else {
        unit.unit.resolve(.failure(PostgresError.lost(lastMessage)))
        return end(PostgresError.lost(lastMessage))
      }
    }
    // libpq copied the parameters into its own buffer.
    unit.statements = []
    guard PQpipelineSync(handle) == 1 else {
      unit.unit.resolve(.failure(PostgresError.lost(lastMessage)))
      return end(PostgresError.lost(lastMessage))
    }
    onWire.append(unit)
  }

  private func transmit(
    _ statement: PostgresStatement, _ unit: inout UnitState, _ preparedHere: inout [StatementCache.Key: String]
  ) -> Bool {
    let parameters = statement.parameters
    guard statement.isPrepared else {
      unit.steps.append(.query(name: ""))
      return withPointers(parameters) { values, lengths, formats in
        PQsendQueryParams(
          handle, statement.sql, Int32(parameters.count), parameters.types, values, lengths, formats, 1) == 1
      }
    }
    let key = StatementCache.Key(sql: statement.sql, types: parameters.types)
    var name = preparedHere[key] ?? statements[key]
    if name == nil {
      if statements.isFull {
        var once = statement
        once.isPrepared = false
        return transmit(once, &unit, &preparedHere)
      }
      let fresh = statements.nextName()
      guard PQsendPrepare(handle, fresh, statement.sql, Int32(parameters.count), parameters.types) == 1 else {
        return false
      }
      unit.steps.append(.prepare(key, name: fresh))
      preparedHere[key] = fresh
      name = fresh
    }
    guard let name else { return false }
    unit.steps.append(.query(name: name))
    return withPointers(parameters) { values, lengths, formats in
      PQsendQueryPrepared(handle, name, Int32(parameters.count), values, lengths, formats, 1) == 1
    }
  }

  private func withPointers(
    _ parameters: PostgresParameters,
    _ body: ([UnsafePointer<CChar>?], [Int32], [Int32]) -> Bool
  ) -> Bool {
    let formats = [Int32](repeating: 1, count: parameters.count)
    // An empty buffer has no address, but an empty value must not look like null.
    let buffer = parameters.bytes.isEmpty ? [0] : parameters.bytes
    return buffer.withUnsafeBytes { bytes in
      let base = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
      return body(parameters.starts.map { $0 < 0 ? nil : base?.advanced(by: $0) }, parameters.lengths, formats)
    }
  }

  // MARK: Readiness

  func arm() {
    // libpq calls this from within calls that are made on `queue`, and the handle ends with this object.
    PQsetNoticeReceiver(
      handle,
      { context, result in
        guard let context, let result else { return }
        Unmanaged<PostgresConnection>.fromOpaque(context).takeUnretainedValue().noticed(PostgresError(result: result))
      }, Unmanaged.passUnretained(self).toOpaque())
    let socket = PQsocket(handle)
    let read = DispatchSource.makeReadSource(fileDescriptor: socket, queue: queue)
    // The handlers hold the connection: it lives until its sources are cancelled.
    read.setEventHandler { [self] in readable() }
    let write = DispatchSource.makeWriteSource(fileDescriptor: socket, queue: queue)
    write.setEventHandler { [self] in flush() }
    readSource = read
    writeSource = write
    read.resume()
  }

  func flush() {
    let left = PQflush(handle)
    // A write that found the peer gone may close the socket and still report success; nothing would wake us any more.
    if left < 0 || PQstatus(handle) == CONNECTION_BAD { return end(endingError()) }
    if left == 1, !isWriteArmed {
      isWriteArmed = true
      writeSource?.resume()
    } else if left == 0, isWriteArmed {
      isWriteArmed = false
      writeSource?.suspend()
    }
    if left == 0 { copyDrained() }
  }

  private func readable() {
    // Dispatch tells of a hang-up once: data that arrives together with the end of the stream must not hide the end. So this
    // reads until the socket has nothing more.
    while readSource != nil {
      let isAlive = PQconsumeInput(handle) == 1
      drainNotifications()
      if copy != nil { copyReadable() } else { drainResults() }
      if !isAlive || PQstatus(handle) == CONNECTION_BAD { return end(endingError()) }
      // Reading may have made room for writing.
      if isWriteArmed { flush() }
      guard readSource != nil, hasInput else { return }
    }
  }

  private var hasInput: Bool {
    var socket = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
    return poll(&socket, 1, 0) > 0
  }

  private func drainResults() {
    var emptyAnswers = 0
    while !onWire.isEmpty, PQisBusy(handle) == 0, PQstatus(handle) == CONNECTION_OK {
      guard let result = PQgetResult(handle) else {
        // Null ends a statement's answers; two in a row mean that nothing more has come.
        emptyAnswers += 1
        if emptyAnswers > 1 { return }
        onWire[0].answered += 1
        continue
      }
      emptyAnswers = 0
      take(result)
    }
  }

  private func take(_ raw: OpaquePointer) {
    switch PQresultStatus(raw) {
    case PGRES_PIPELINE_SYNC:
      PQclear(raw)
      let unit = onWire.removeFirst()
      finish(unit)
    case PGRES_FATAL_ERROR:
      let error = PostgresError(result: raw)
      PQclear(raw)
      if error.sqlstate == "26000", case .query(let name)? = currentStep { statements.forget(name: name) }
      if onWire[0].error == nil { onWire[0].error = error }
    case PGRES_PIPELINE_ABORTED:
      PQclear(raw)
    case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
      PQclear(raw)
      end(PostgresError(.misuse, "COPY must be started with copyIn"))
    default:
      if case .prepare(let key, let name)? = currentStep {
        statements.prepared(key, as: name)
        PQclear(raw)
      } else {
        onWire[0].results.append(PostgresResult(owning: raw))
      }
    }
  }

  private var currentStep: UnitState.Step? {
    let unit = onWire[0]
    return unit.steps.indices.contains(unit.answered) ? unit.steps[unit.answered] : nil
  }

  private func finish(_ unit: UnitState) {
    if var error = unit.error {
      if unit.isTimedOut, error.kind == .cancelled {
        error = PostgresError(
          .timeout(isConnectionLoss: false), "the database did not answer in time", sqlstate: error.sqlstate)
      }
      unit.unit.resolve(.failure(error))
    } else {
      unit.unit.resolve(.success(unit.results))
    }
    if onWire.count == 1, onWire[0].isCancelWanted { requestCancel() }
    releaseHeld()
  }

  func releaseHeld() {
    guard !held.isEmpty, !holdsBack else { return }
    let waiting = held
    held = []
    for unit in waiting {
      if unit.isCancelWanted {
        unit.unit.resolve(.failure(PostgresError(.cancelled, "cancelled before it was sent")))
      } else {
        transmit(unit)
      }
    }
    flush()
  }

  // MARK: Notifications

  /// What arrives on the channels that this connection LISTENs to. One stream at a time: a new one ends the former.
  ///
  /// - Parameter limit: notifications kept while nobody reads; the oldest are dropped, because the newest says most.
  public func notifications(limit: Int = 64) -> AsyncStream<PostgresNotification> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: PostgresNotification.self, bufferingPolicy: .bufferingNewest(limit))
    queue.async { [self] in
      listener?.finish()
      if isClosed { continuation.finish() } else { listener = continuation }
    }
    return stream
  }

  private func drainNotifications() {
    while let raw = PQnotifies(handle) {
      listener?.yield(
        PostgresNotification(
          channel: String(cString: raw.pointee.relname), payload: String(cString: raw.pointee.extra),
          processID: raw.pointee.be_pid))
      PQfreemem(raw)
    }
  }

  // MARK: The end

  /// Closes at once; what is on the wire fails as lost. Returns when the socket is no longer watched.
  public func close() async {
    await withCheckedContinuation { continuation in
      queue.async { [self] in
        if readSource == nil { return continuation.resume() }
        closeWaiters.append(continuation)
        end(PostgresError(.connectionLost, "the connection was closed"))
      }
    }
  }

  func fail(_ error: PostgresError) { queue.async { self.end(error) } }

  func end(_ error: PostgresError) {
    guard let read = readSource, let write = writeSource else { return }
    ending.withLock { $0 = error }
    readSource = nil
    writeSource = nil
    let sources = DispatchGroup()
    for _ in 0..<2 { sources.enter() }
    read.setCancelHandler { sources.leave() }
    write.setCancelHandler { sources.leave() }
    // A suspended source must not be released.
    if !isWriteArmed { write.resume() }
    read.cancel()
    write.cancel()
    let units = onWire + held
    onWire = []
    held = []
    for unit in units {
      // An error that the server named before the cut stands: that unit has not committed.
      unit.unit.resolve(.failure(unit.error ?? error))
    }
    copyEnded(error)
    listener?.finish()
    listener = nil
    sources.notify(queue: queue) { [self] in
      for waiter in closeWaiters { waiter.resume() }
      closeWaiters = []
    }
  }

  private func noticed(_ error: PostgresError) {
    // Warnings and the like have classes 00 to 02; those do not end anything.
    if error.sqlstate >= "03" { notice.withLock { $0 = error } }
  }

  private func endingError() -> PostgresError {
    // A server that ends an idle connection says so in a notice; libpq's own message only names the closed socket.
    notice.withLock { $0 } ?? .lost(lastMessage)
  }

  var lastMessage: String {
    var text = String(cString: PQerrorMessage(handle))
    while let last = text.last, last.isNewline { text.removeLast() }
    return text
  }

  static func nanoseconds(_ duration: Duration) -> Int {
    let (seconds, attoseconds) = duration.components
    return seconds > 9_000_000_000 ? .max : Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000)
  }
}

/// A message of NOTIFY.
public struct PostgresNotification: Hashable, Sendable {
  public var channel: String
  public var payload: String
  public var processID: Int32
}

extension PostgresError {
  init(result: OpaquePointer) {
    func field(_ code: Character) -> String {
      guard let ascii = code.asciiValue, let text = PQresultErrorField(result, Int32(ascii)) else { return "" }
      return String(cString: text)
    }
    // - Source: postgres_ext.h, PG_DIAG_*.
    let sqlstate = field("C")
    let constraint = field("n")
    self.init(
      Self.kind(of: sqlstate, constraint: constraint, column: field("c")), field("M"), sqlstate: sqlstate,
      detail: field("D"),
      constraint: constraint)
    if message.isEmpty { message = "the database gave no reason" }
  }
}
