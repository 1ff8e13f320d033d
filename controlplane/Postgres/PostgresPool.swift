/// A bounded set of connections that callers borrow one at a time.
///
/// A broken connection is replaced when somebody needs it, with exponential back-off and jitter while the database is away.
public actor PostgresPool {
  public struct Limits: Sendable {
    public var connections: Int
    /// Callers that wait at most; more are refused at once.
    public var waiters: Int
    public var waitTimeout: Duration
    public var backOffMinimum: Duration
    public var backOffMaximum: Duration

    public init(
      connections: Int = 4, waiters: Int = 1024, waitTimeout: Duration = .seconds(10),
      backOffMinimum: Duration = .milliseconds(50), backOffMaximum: Duration = .seconds(5)
    ) {
      self.connections = connections
      self.waiters = waiters
      self.waitTimeout = waitTimeout
      self.backOffMinimum = backOffMinimum
      self.backOffMaximum = backOffMaximum
    }
  }

  private struct Waiter {
    var number: UInt64
    var continuation: CheckedContinuation<PostgresConnection, any Error>
    var timer: Task<Void, Never>?
  }

  private let configuration: PostgresConfiguration
  private let limits: Limits
  private let random: @Sendable () -> Double
  private var idle: [PostgresConnection] = []
  private var lent = 0
  private var opening = 0
  private var waiters: [Waiter] = []
  private var nextWaiter: UInt64 = 0
  private var failures = 0
  private var lastFailure: (any Error)?
  private var isClosed = false
  private var drained: CheckedContinuation<Void, Never>?
  private var openers: [UInt64: Task<Void, Never>] = [:]

  /// - Parameter random: uniform in 0..<1; spreads reconnections of many processes.
  public init(
    _ configuration: PostgresConfiguration, limits: Limits = Limits(),
    random: @escaping @Sendable () -> Double = { Double.random(in: 0..<1) }
  ) {
    self.configuration = configuration
    self.limits = limits
    self.random = random
  }

  /// Lends a connection to `body`, which must not keep it.
  ///
  /// - Throws: `PostgresError`: `.insufficientResources` when too many wait, `.timeout` when none came free in time, and what `body` throws.
  public func withConnection<Value: Sendable>(_ body: @Sendable (PostgresConnection) async throws -> Value) async throws
    -> Value
  {
    let connection = try await borrow()
    do {
      let value = try await body(connection)
      giveBack(connection)
      return value
    } catch {
      giveBack(connection)
      throw error
    }
  }

  /// Refuses new callers, waits for those that hold a connection, closes all.
  public func close() async {
    isClosed = true
    for waiter in waiters { fail(waiter, PostgresError(.misuse, "the connection pool was closed")) }
    waiters = []
    for opener in openers.values { opener.cancel() }
    if lent > 0 { await withCheckedContinuation { drained = $0 } }
    for connection in idle { await connection.close() }
    idle = []
  }

  private func borrow() async throws -> PostgresConnection {
    guard !isClosed else { throw PostgresError(.misuse, "the connection pool was closed") }
    while let connection = idle.popLast() {
      if connection.isClosed { continue }
      lent += 1
      return connection
    }
    guard waiters.count < limits.waiters else {
      throw PostgresError(.insufficientResources, "too many requests wait for the database")
    }
    nextWaiter += 1
    let number = nextWaiter
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let timeout = limits.waitTimeout
        let timer = Task { [weak self] in
          try? await Task.sleep(for: timeout)
          if !Task.isCancelled { await self?.expire(number) }
        }
        waiters.append(Waiter(number: number, continuation: continuation, timer: timer))
        open()
      }
    } onCancel: {
      Task {
        await self.withdraw(number, PostgresError(.cancelled, "the wait for a database connection was cancelled"))
      }
    }
  }

  private func giveBack(_ connection: PostgresConnection) {
    lent -= 1
    if !connection.isClosed { hand(connection) } else if !waiters.isEmpty { open() }
    if lent == 0, let drained {
      self.drained = nil
      drained.resume()
    }
  }

  private func hand(_ connection: PostgresConnection) {
    guard !waiters.isEmpty else { return idle.append(connection) }
    let waiter = waiters.removeFirst()
    waiter.timer?.cancel()
    lent += 1
    waiter.continuation.resume(returning: connection)
  }

  private func open() {
    guard !isClosed, lent + idle.count + opening < limits.connections, opening < waiters.count else { return }
    opening += 1
    nextWaiter += 1
    let number = nextWaiter
    let delay = backOff
    openers[number] = Task { [configuration] in
      do {
        if delay > .zero { try await Task.sleep(for: delay) }
        opened(try await PostgresConnection.connect(configuration), number)
      } catch {
        couldNotOpen(error, number)
      }
    }
  }

  /// Full jitter above the half: 2^n times the minimum, capped.
  private var backOff: Duration {
    guard failures > 0 else { return .zero }
    let ceiling = min(limits.backOffMaximum, limits.backOffMinimum * (1 << min(failures - 1, 16)))
    return ceiling * (0.5 + random() / 2)
  }

  private func opened(_ connection: PostgresConnection, _ number: UInt64) {
    openers[number] = nil
    opening -= 1
    failures = 0
    lastFailure = nil
    if isClosed {
      connection.fail(PostgresError(.misuse, "the connection pool was closed"))
    } else {
      hand(connection)
      open()
    }
  }

  private func couldNotOpen(_ error: any Error, _ number: UInt64) {
    openers[number] = nil
    opening -= 1
    failures += 1
    lastFailure = error
    if (error as? PostgresError)?.kind == .authenticationFailed {
      // Waiting does not mend a wrong password.
      for waiter in waiters { fail(waiter, error) }
      waiters = []
    }
    open()
  }

  private func expire(_ number: UInt64) {
    let reason = lastFailure.map { ": \($0)" } ?? ""
    withdraw(
      number, PostgresError(.timeout(isConnectionLoss: false), "no database connection came free in time\(reason)"))
  }

  private func withdraw(_ number: UInt64, _ error: PostgresError) {
    guard let index = waiters.firstIndex(where: { $0.number == number }) else { return }
    fail(waiters.remove(at: index), error)
  }

  private func fail(_ waiter: Waiter, _ error: any Error) {
    waiter.timer?.cancel()
    waiter.continuation.resume(throwing: error)
  }
}
