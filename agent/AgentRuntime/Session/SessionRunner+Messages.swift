internal import Execution
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import SwiftProtobuf

/// Between the wire and the two state machines.
extension SessionRunner {
  struct Composed: Sendable {
    var message: Wire.AgentMessage
    /// The last sequence in a batch of events.
    var lastSequence: UInt64?
  }

  /// nil when there is nothing to say after all (the events have been acknowledged meanwhile).
  func compose(_ outgoing: Outgoing) async throws -> Composed? {
    switch outgoing {
    case .hello:
      let hello = await hello()
      return Composed(message: .with { $0.hello = hello })
    case .heartbeat:
      let saysTime = uses(.clock)
      return Composed(
        message: .with {
          $0.heartbeat = .with {
            $0.sentBoottimeNs = Int64(SystemClock.boottimeNanoseconds)
            $0.wallMs = saysTime ? SystemClock.now.milliseconds : 0
          }
        })
    case .inventory(let inventory):
      return Composed(message: .with { $0.inventory = .init(inventory) })
    case .report(let report): return Composed(message: .with { $0.cache = report })
    case .claims(let report): return Composed(message: .with { $0.claims = report })
    case .data(let events): return Composed(message: .with { $0.data = .with { $0.events = events } })
    case .events(let after, let limit):
      let events = try await ports.journal.events(after: after, limit: limit).map {
        try Wire.RunEvent(serializedBytes: $0)
      }
      guard let last = events.last else { return nil }
      return Composed(message: .with { $0.events = .with { $0.events = events } }, lastSequence: last.sequence)
    }
  }

  private func hello() async -> Wire.Hello {
    let inventory = await ports.inventory()
    let canExtend = await ports.executor.canExtend()
    told(inventory)
    let snapshot = ports.driver.snapshot()
    return .with {
      $0.protocolMin = protocols.lowerBound
      $0.protocolMax = protocols.upperBound
      if protocols.upperBound >= AgentProtocol.capabilitiesVersion {
        $0.capabilities = AgentProtocol.Capability.allCases.filter { $0 != .slices || canExtend }.map(\.rawValue)
      }
      $0.agentVersion = Self.version
      $0.journalID = ports.journal.id
      $0.highestSeen = .with {
        $0.term = snapshot.term
        $0.commitSeq = snapshot.commitSequence
      }
      $0.runs = snapshot.reports.map { report in
        .with {
          $0.runID = report.id.number
          $0.phase = .init(report.phase)
        }
      }
      $0.inventory = .init(inventory)
      $0.lastSequence = snapshot.lastSequence
    }
  }

  /// Runs first, then the session: what a message wants is queued before its arrival is acted upon.
  func received(_ message: Wire.ControlMessage, _ gateway: any Wire.Client) async throws {
    switch message.message {
    case .welcome(let welcome):
      guard protocols.contains(welcome.protocol) else {
        return feed(
          .refused(
            code: ErrorCode.failedPrecondition.rawValue,
            message: "it speaks protocol \(welcome.protocol), this agent \(protocols.lowerBound) to "
              + "\(protocols.upperBound); upgrade the older of the two",
            leaderAddress: ""))
      }
      agreed(
        on: welcome.protocol >= AgentProtocol.capabilitiesVersion
          ? Set(welcome.capabilities.compactMap(AgentProtocol.Capability.init)) : [])
      await ports.driver.tell(.welcomed(welcome))
      ports.connection.set(.init(client: gateway, resumesUploads: uses(.resumableUploads), keepsUnstored: uses(.data)))
      // Before anything else is told of data: what happens from now on is news on top of it.
      await reportCache()
      feed(
        .welcomeReceived(
          heartbeatInterval: .milliseconds(welcome.heartbeatIntervalMs), acknowledgedSequence: welcome.ackedSequence))
    case .heartbeat(let reply):
      await ports.driver.tell(.positionSeen(term: reply.position.term, commitSequence: reply.position.commitSeq))
      if uses(.clock), reply.wallMs > 0 {
        noteClock(
          theirs: Timestamp(milliseconds: reply.wallMs), sentNanoseconds: UInt64(max(0, reply.sentBoottimeNs)))
      }
      feed(.heartbeatAnswered(sentNanoseconds: UInt64(max(0, reply.sentBoottimeNs))))
    case .ack(let ack):
      await ports.driver.tell(.eventsAcknowledged(sequence: ack.sequence))
      feed(.acknowledged(sequence: ack.sequence))
    case .assign(let assign):
      await ports.driver.tell(.assigned(assign.assignments))
      await ports.driver.tell(
        .positionSeen(term: assign.position.term, commitSequence: assign.position.commitSeq))
      feed(.messageReceived)
    case .cancel(let cancel):
      await ports.driver.tell(
        .cancelRequested(cancel.runIds.map { RunID($0) }, isPreemption: cancel.preempts))
      feed(.messageReceived)
    case .forget(let forget):
      await ports.driver.tell(.forgetRequested(forget.runIds.map { RunID($0) }))
      feed(.messageReceived)
    case .drain(let drain):
      await ports.driver.tell(.drainChanged(drain.draining))
      feed(.messageReceived)
    case .rotate:
      ports.rotationRequested()
      feed(.messageReceived)
    case .data(let orders):
      if uses(.data) { await ports.data.orders.apply(orders) }
      feed(.messageReceived)
    case .claims(let orders):
      await removeClaims(orders)
      feed(.messageReceived)
    case .refused(let refused):
      feed(.refused(code: refused.code, message: refused.message, leaderAddress: refused.leaderAddress))
    case .extend(let extend):
      let slices = extend.slices.map { (RunID($0.runID), Duration.milliseconds(max(0, $0.sliceMs))) }
      await ports.driver.tell(.extended(Dictionary(slices, uniquingKeysWith: { max($0, $1) })))
      await ports.driver.tell(
        .positionSeen(term: extend.position.term, commitSequence: extend.position.commitSeq))
      feed(.messageReceived)
    case nil:
      // A later control plane's message: within the agreed protocol it may be left out.
      feed(.messageReceived)
    }
  }
}
