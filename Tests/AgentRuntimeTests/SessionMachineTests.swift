import FederationModel
import Testing

@testable import AgentRuntime

@Suite struct SessionMachineTests {
  private static let second: UInt64 = 1_000_000_000
  private func machine(_ journaled: UInt64 = 0) throws -> SessionMachine {
    SessionMachine(
      cycle: try AddressCycle([try ControlPlaneAddress("a:1"), try ControlPlaneAddress("b:2")]),
      journaledSequence: journaled)
  }
  private func established(_ journaled: UInt64 = 0) throws -> SessionMachine {
    var machine = try machine(journaled)
    for input in [
      SessionMachine.Input.started, .dialBegan, .streamOpened,
      .welcomeReceived(heartbeatInterval: .seconds(2), acknowledgedSequence: 0),
    ] { _ = machine.apply(input, atNanoseconds: Self.second) }
    return machine
  }

  @Test("it dials, greets, and is established by the welcome")
  func happyPath() throws {
    var machine = try machine(3)
    #expect(machine.apply(.started, atNanoseconds: 0) == [.dial(try ControlPlaneAddress("a:1"), after: .zero)])
    #expect(machine.apply(.dialBegan, atNanoseconds: 1).isEmpty)
    #expect(machine.apply(.streamOpened, atNanoseconds: 2) == [.sendHello])
    let actions = machine.apply(
      .welcomeReceived(heartbeatInterval: .seconds(2), acknowledgedSequence: 1), atNanoseconds: 3)
    #expect(actions.suffix(2) == [.sendHeartbeat, .sendEvents(after: 1, limit: 256)])
  }

  @Test("I1: a lease is renewed with the heartbeat's sending time, never with the answer's")
  func leaseBySendTime() throws {
    var machine = try established()
    let answered = machine.apply(.heartbeatAnswered(sentNanoseconds: 5), atNanoseconds: 9 * Self.second)
    #expect(answered == [.renewLease(sentNanoseconds: 5)])
    // A moment that has not been yet cannot have been ours.
    #expect(
      machine.apply(.heartbeatAnswered(sentNanoseconds: 99 * Self.second), atNanoseconds: 9 * Self.second).isEmpty)
  }

  @Test("events are read one batch at a time and within the window")
  func window() throws {
    var machine = try established(20_000)
    #expect(machine.apply(.eventsJournaled(through: 20_001), atNanoseconds: 1).isEmpty)
    #expect(machine.apply(.eventsSent(through: 256), atNanoseconds: 1) == [.sendEvents(after: 256, limit: 256)])
    #expect(machine.apply(.eventsSent(through: 8192), atNanoseconds: 1).isEmpty)
    #expect(machine.apply(.acknowledged(sequence: 1), atNanoseconds: 1) == [.sendEvents(after: 8192, limit: 256)])
  }

  @Test("what happens while an answer is awaited goes in one message, unless it fills one")
  func gathering() throws {
    var machine = try established()
    #expect(machine.apply(.eventsJournaled(through: 1), atNanoseconds: 1) == [.sendEvents(after: 0, limit: 256)])
    #expect(machine.apply(.eventsSent(through: 1), atNanoseconds: 1).isEmpty)
    #expect(machine.apply(.eventsJournaled(through: 2), atNanoseconds: 1).isEmpty)
    #expect(machine.apply(.eventsJournaled(through: 256), atNanoseconds: 1).isEmpty)
    #expect(machine.apply(.eventsJournaled(through: 257), atNanoseconds: 1) == [.sendEvents(after: 1, limit: 256)])
    #expect(machine.apply(.eventsSent(through: 257), atNanoseconds: 1).isEmpty)
    #expect(machine.apply(.eventsJournaled(through: 258), atNanoseconds: 1).isEmpty)
    #expect(machine.apply(.acknowledged(sequence: 257), atNanoseconds: 1) == [.sendEvents(after: 257, limit: 256)])
  }

  @Test("a silent connection is hung up in less than 20 s", arguments: [14, 16])
  func silence(seconds: UInt64) throws {
    var machine = try established()
    let actions = machine.apply(.heartbeatDue, atNanoseconds: (1 + seconds) * Self.second)
    let hungUp = actions.contains { if case .hangUp = $0 { true } else { false } }
    #expect(hungUp == (seconds > 15))
  }

  @Test("after a lost session it tells so, tries the next address, and waits longer from round to round")
  func backoff() throws {
    var machine = try established()
    let first = machine.apply(.streamEnded(reason: "cut", jitter: 0), atNanoseconds: 2)
    #expect(first.first == .tellSessionLost)
    #expect(first.last == .dial(try ControlPlaneAddress("b:2"), after: .zero))
    var longest = Duration.zero
    for attempt in 0..<40 {
      _ = machine.apply(.dialBegan, atNanoseconds: 3)
      guard case .dial(_, let delay) = machine.apply(.streamEnded(reason: "cut", jitter: 0.5), atNanoseconds: 4).last
      else {
        Issue.record("attempt \(attempt) was not followed by another")
        return
      }
      longest = max(longest, delay)
    }
    #expect(longest > .seconds(15))
    #expect(longest <= .seconds(30))
  }

  @Test("a leader's address is followed at once when the operator configured it, and never otherwise")
  func leaderHint() throws {
    var machine = try established()
    _ = machine.apply(.refused(code: "unavailable", message: "standby", leaderAddress: "b:2"), atNanoseconds: 2)
    let known = machine.apply(.streamEnded(reason: "x", jitter: 0), atNanoseconds: 3)
    #expect(known.last == .dial(try ControlPlaneAddress("b:2"), after: .zero))
    var other = try established()
    let refused = other.apply(
      .refused(code: "unavailable", message: "standby", leaderAddress: "evil:9"), atNanoseconds: 2)
    #expect(refused.last == .hangUp(reason: "refused: standby"))
    #expect(
      other.apply(.streamEnded(reason: "x", jitter: 0), atNanoseconds: 3).last
        == .dial(try ControlPlaneAddress("b:2"), after: .zero))
  }

  @Test("a revoked agent says so once and dials rarely")
  func revoked() throws {
    var machine = try established()
    let actions = machine.apply(
      .refused(code: "permissionDenied", message: "revoked", leaderAddress: ""), atNanoseconds: 2)
    #expect(actions.contains { if case .log(.error, let text) = $0 { text.contains("revoked") } else { false } })
    guard case .dial(_, let delay) = machine.apply(.streamEnded(reason: "x", jitter: 0), atNanoseconds: 3).last else {
      Issue.record("no dial followed")
      return
    }
    #expect(delay == .seconds(300))
    #expect(machine.lastProblem?.contains("revoked") == true)
  }

  @Test("illegal inputs change nothing, in every state")
  func illegal() throws {
    let inputs: [SessionMachine.Input] = [
      .heartbeatAnswered(sentNanoseconds: 1), .acknowledged(sequence: 9), .eventsSent(through: 4), .messageReceived,
      .welcomeReceived(heartbeatInterval: .seconds(1), acknowledgedSequence: 0), .streamOpened,
      .streamEnded(reason: "", jitter: 0), .heartbeatDue,
    ]
    for input in inputs {
      var machine = try machine()
      _ = machine.apply(.started, atNanoseconds: 0)
      #expect(machine.apply(input, atNanoseconds: 1).isEmpty, "\(input)")
      #expect(machine.state == .idle)
    }
    var stopped = try established()
    #expect(stopped.apply(.stopRequested, atNanoseconds: 1) == [.hangUp(reason: "the agent stops")])
    for input in inputs + [.started, .dialBegan] { #expect(stopped.apply(input, atNanoseconds: 2).isEmpty) }
  }
}
