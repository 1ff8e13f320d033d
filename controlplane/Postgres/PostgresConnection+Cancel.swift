import CPQ
import Dispatch

/// Cancellation and deadlines.
///
/// Postgres cancels whatever a backend does at the moment. So a request is sent only while its unit is alone on the wire, and
/// nothing new goes out until both the request and the unit are over: it cannot hit another unit.
extension PostgresConnection {
  func cancel(_ number: UInt64) {
    if let index = held.firstIndex(where: { $0.number == number }) {
      let unit = held.remove(at: index)
      return unit.unit.resolve(.failure(PostgresError(.cancelled, "cancelled before it was sent")))
    }
    guard let index = onWire.firstIndex(where: { $0.number == number }) else { return }
    onWire[index].isCancelWanted = true
    if onWire.count == 1 { requestCancel() }
  }

  func requestCancel() {
    guard !isCancelling, let token = PQgetCancel(handle) else { return }
    isCancelling = true
    let number = onWire[0].number
    let box = CancelToken(token)
    // PQcancel opens a connection of its own and waits for it.
    DispatchQueue.global().async { [weak self] in
      box.request()
      guard let self else { return }
      queue.async {
        self.isCancelling = false
        self.releaseHeld()
      }
    }
    queue.asyncAfter(deadline: .now() + .nanoseconds(Self.nanoseconds(configuration.cancelGrace))) { [weak self] in
      guard let self, onWire.first?.number == number else { return }
      end(
        PostgresError(
          .timeout(isConnectionLoss: true), "the database did not answer a cancellation; the connection was closed"))
    }
  }

  /// Looks at deadlines when the earliest one has come; no timer for each unit.
  func scheduleTick() {
    guard let earliest = (onWire + held).map(\.deadline).min(), earliest < tickAt else { return }
    tickAt = earliest
    queue.asyncAfter(deadline: earliest) { [weak self] in self?.tick() }
  }

  private func tick() {
    // A tick that an earlier one overtook looks in vain; that does no harm.
    tickAt = .distantFuture
    let now = DispatchTime.now()
    let late = held.filter { $0.deadline <= now }
    held.removeAll { $0.deadline <= now }
    for unit in late {
      unit.unit.resolve(
        .failure(PostgresError(.timeout(isConnectionLoss: false), "not sent in time: the connection was busy")))
    }
    for index in onWire.indices where onWire[index].deadline <= now {
      onWire[index].isTimedOut = true
      onWire[index].deadline = .distantFuture
      onWire[index].isCancelWanted = true
    }
    if let first = onWire.first, first.isTimedOut {
      if onWire.count == 1 {
        requestCancel()
      } else {
        // With units behind it a cancellation could hit one of those; the caller asks the database what has committed.
        return end(
          PostgresError(
            .timeout(isConnectionLoss: true), "the database did not answer in time; the connection was closed"))
      }
    }
    scheduleTick()
  }
}

private struct CancelToken: @unchecked Sendable {
  private let token: OpaquePointer
  init(_ token: OpaquePointer) { self.token = token }

  func request() {
    var reason = [CChar](repeating: 0, count: 256)
    // A request that fails is noticed by the grace period, which closes the connection.
    _ = PQcancel(token, &reason, Int32(reason.count))
    PQfreeCancel(token)
  }
}
