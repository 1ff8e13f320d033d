import FederationModel
import Synchronization
import Testing

@testable import ControlPlaneServer

/// Work that goes on until it is told to end, and how much of it is under way.
private final class Flights: Sendable {
  private struct State {
    var underWay = 0
    var order: [String] = []
    var gates: [CheckedContinuation<Void, Never>] = []
  }
  private let state = Mutex(State())
  var underWay: Int { state.withLock(\.underWay) }
  var order: [String] { state.withLock(\.order) }

  func fly(_ name: String) async {
    await withCheckedContinuation { continuation in
      state.withLock {
        $0.underWay += 1
        $0.order.append(name)
        $0.gates.append(continuation)
      }
    }
  }

  func land() {
    let gate = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard !state.gates.isEmpty else { return nil }
      state.underWay -= 1
      return state.gates.removeFirst()
    }
    gate?.resume()
  }
}

@Suite("How many submissions of one submitter are under way", .timeLimit(.minutes(1)))
struct FlightLimitTests {
  private func limit(alone: Int = 4, beside: Int = 1, waitingMax: Int = 3, memory: Duration = .seconds(60))
    -> FlightLimit
  {
    var limits = FlightLimit.Limits(cores: 2)
    (limits.alone, limits.beside, limits.waitingMax, limits.memory) = (alone, beside, waitingMax, memory)
    return FlightLimit(limits)
  }

  private func start(_ limit: FlightLimit, _ flights: Flights, _ submitter: String, _ name: String) -> Task<
    Void, any Error
  > {
    Task { try await limit.run(for: submitter) { await flights.fly(name) } }
  }

  @Test(
    "Who is alone may have many; beside another each has few, the rest waits in order, and another never waits for it")
  func beside() async throws {
    let (limit, flights) = (limit(), Flights())
    var tasks: [Task<Void, any Error>] = []
    for index in 0..<6 {
      tasks.append(start(limit, flights, "flood", "f\(index)"))
      let expected = min(index + 1, 4)
      try await poll { flights.underWay == expected }
      // Those that wait come in this order.
      try await Task.sleep(for: .milliseconds(20))
    }
    tasks.append(start(limit, flights, "other", "o"))
    try await poll { flights.order.contains("o") }
    // Four are under way still: none of those that wait comes before only one is left.
    for left in [4, 3, 2] {
      flights.land()
      try await poll { flights.underWay == left }
    }
    #expect(flights.order == ["f0", "f1", "f2", "f3", "o"])
    flights.land()
    try await poll { flights.order == ["f0", "f1", "f2", "f3", "o", "f4"] }
    for _ in 0..<4 {
      flights.land()
      try await Task.sleep(for: .milliseconds(5))
    }
    for task in tasks { try await task.value }
    #expect(flights.order.last == "f5" && flights.underWay == 0)
  }

  @Test("Another is forgotten after a while")
  func forgets() async throws {
    let (limit, flights) = (limit(memory: .milliseconds(30)), Flights())
    let other = start(limit, flights, "other", "o")
    try await poll { flights.underWay == 1 }
    flights.land()
    try await other.value
    try await Task.sleep(for: .milliseconds(40))
    let tasks = (0..<3).map { start(limit, flights, "one", "\($0)") }
    try await poll { flights.underWay == 3 }
    for _ in tasks { flights.land() }
    for task in tasks { try await task.value }
  }

  @Test("What is too much is refused before anything of it is read, with a time that follows the pace of the last ones")
  func refuses() async throws {
    let (limit, flights) = (limit(alone: 1), Flights())
    var tasks: [Task<Void, any Error>] = []
    for index in 0..<2 {
      tasks.append(start(limit, flights, "one", "\(index)"))
      try await Task.sleep(for: .milliseconds(20))
    }
    // Two ends, a second apart, with always somebody behind: the pace is known.
    flights.land()
    try await poll { flights.order.count == 2 }
    tasks.append(start(limit, flights, "one", "2"))
    try await Task.sleep(for: .milliseconds(1000))
    flights.land()
    try await poll { flights.order.count == 3 }
    for index in 3..<6 { tasks.append(start(limit, flights, "one", "\(index)")) }
    try await Task.sleep(for: .milliseconds(50))
    var refusal: FederationError?
    do { _ = try await limit.run(for: "one") { Issue.record("it was done") } } catch let error as FederationError {
      refusal = error
    }
    #expect(refusal?.code == .resourceExhausted)
    let wait = try #require(refusal?.retryAfter) / .seconds(1)
    #expect((2.5...6).contains(wait), "three wait, a second each: \(wait)")
    // What failed gives its place back as well.
    for _ in 0..<4 {
      flights.land()
      try await Task.sleep(for: .milliseconds(20))
    }
    for task in tasks { try await task.value }
    await #expect(throws: FederationError.self) {
      let _: Void = try await limit.run(for: "one") { throw FederationError(.invalidArgument, "no") }
    }
    try await limit.run(for: "one") {}
  }

  private func poll(_ condition: () -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(10)
    while !condition() {
      guard ContinuousClock.now < end else { throw FederationError(.deadlineExceeded, "nothing came") }
      try await Task.sleep(for: .milliseconds(2))
    }
  }
}
