import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FederationPKI
import GRPCCore
import Logging
import SwiftProtobuf
import Synchronization
import WorkflowCore

/// The agents' side of the control plane: checks what agents say, and hands it to the ports.
///
/// Authentication has happened in `AgentAuthenticator` before a method here is called. The parts: this file holds the session,
/// `+Enrolment` joining and renewing, `+Transfers` logs and artifacts.
struct AgentGatewayService: Fubini_Agent_V1_AgentGateway.SimpleServiceProtocol {
  let federationID: String
  let port: any AgentPort
  let store: ControlPlaneStore
  let denials: DenialLog
  let authority: LiveAuthority
  let logs: any LogStore
  let artifacts: any ArtifactStore
  let secrets: SecretVault
  let logger: Logger
  let now: @Sendable () -> Timestamp
  let sessions: SessionRegistry

  /// Several fit into the shortest lease that hangs on them.
  let heartbeatInterval: Duration
  static func heartbeatInterval(for core: CoreConfiguration) -> Duration {
    min(.seconds(3), core.agentLease / 4, core.disconnectLimit / 4)
  }

  func session(
    request: RPCAsyncSequence<Fubini_Agent_V1_AgentMessage, any Error>,
    response: RPCWriter<Fubini_Agent_V1_ControlMessage>,
    context: ServerContext
  ) async throws {
    let agent = try authenticated()
    let outbox = SessionOutbox()
    let opened = OpenedSession()
    defer {
      if let session = opened.id { Task { await port.disconnect(agent.cluster, session) } }
      if let number = opened.number { sessions.close(number) }
    }
    do {
      // Whichever ends first ends the other: an agent that leaves, or a session that is closed from this side.
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await read(request, agent.cluster, outbox, opened) }
        group.addTask { try await write(outbox, opened, to: response) }
        defer { group.cancelAll() }
        try await group.next()
      }
    } catch let error as FederationError {
      guard error.code != .cancelled else { return }
      try? await response.write(
        .with { $0.refused = .with { ($0.code, $0.message) = (error.code.rawValue, error.publicMessage) } })
      throw RPCError(error)
    }
  }

  /// The agent's side of a session: hello, then whatever it says, to its end.
  private func read(
    _ request: RPCAsyncSequence<Fubini_Agent_V1_AgentMessage, any Error>, _ cluster: ClusterName,
    _ outbox: SessionOutbox,
    _ opened: OpenedSession
  ) async throws {
    var messages = request.makeAsyncIterator()
    guard case .hello(let hello)? = try await messages.next()?.message else {
      throw FederationError(.invalidArgument, "a session begins with hello")
    }
    let version = String(hello.agentVersion.prefix(64))
    let agreement = try await agree(hello, cluster)
    // Before the welcome can leave: it says what was agreed upon.
    let number = try sessions.open(cluster, agreement, outbox, journal: hello.journalID, at: .now)
    opened.set(number: number, agreement)
    let session = try await port.connect(
      cluster,
      try AgentHello(
        hello, protocolVersion: agreement.version, takesOrders: agreement.capabilities.contains(.data),
        renewsSlices: agreement.capabilities.contains(.slices)),
      version: version, outbox: outbox)
    opened.set(session)
    logger.info(
      "an agent's session began",
      metadata: ["cluster": "\(cluster)", "version": "\(version)", "protocol": "\(agreement.version)"])
    while let message = try await messages.next() { try await receive(message, cluster, session, outbox, opened) }
  }

  /// - Throws: `.failedPrecondition` when there is no common version. It is audited: an upgrade that was forgotten must be found.
  private func agree(_ hello: Fubini_Agent_V1_Hello, _ cluster: ClusterName) async throws -> AgentProtocol.Agreement {
    let ours = sessions.protocols
    if let agreement = AgentProtocol.Agreement(
      offered: (hello.protocolMin, hello.protocolMax), names: hello.capabilities, supported: ours)
    {
      return agreement
    }
    let reason =
      "the agent speaks protocol \(hello.protocolMin) to \(hello.protocolMax), this control plane "
      + "\(ours.lowerBound) to \(ours.upperBound); upgrade the older of the two"
    try? await store.appendAudit(
      AuditRow(
        at: now(), actor: "agent:\(cluster)", action: "agent.refused", object: cluster.text,
        detail: "\(reason); its version is \(hello.agentVersion.prefix(64))"))
    throw FederationError(.failedPrecondition, reason)
  }

  /// Says which workflows' volumes are not wanted any more: those of workflows that are over, unless they failed and are to be retried
  /// with what they have left, and of those that are not there. What goes with a workflow's deletion is not wanted then alone.
  private func answer(
    _ report: Fubini_Agent_V1_ClaimReport, _ cluster: ClusterName, _ session: SessionID, _ outbox: SessionOutbox
  ) async {
    // Only who may speak for the federation knows that a workflow is over.
    guard port.heartbeat(cluster, session) != nil else { return }
    var remove: [String] = []
    for owner in report.owners.prefix(1000) {
      do {
        let phase = try await store.workflowHead(uid: owner.workflowUid)?.status.phase
        let isOver =
          phase.map { !owner.goesWithDeletion && ($0 == .succeeded || $0.isTerminal && owner.goesWithFailure) } ?? true
        if isOver { remove.append(owner.workflowUid) }
      } catch {
        // It is told again.
        return
      }
    }
    if !remove.isEmpty { outbox.send(.with { $0.claims.remove = remove }) }
  }

  private func receive(
    _ message: Fubini_Agent_V1_AgentMessage, _ cluster: ClusterName, _ session: SessionID, _ outbox: SessionOutbox,
    _ opened: OpenedSession
  ) async throws {
    switch message.message {
    case .heartbeat(let heartbeat):
      if let number = opened.number { sessions.heard(number, at: .now) }
      // Unanswered when this process may not speak for the federation: the agent's lease then runs out, as it must.
      guard let position = port.heartbeat(cluster, session) else { return }
      let clock = opened.agreement?.capabilities.contains(.clock) == true ? now() : nil
      if let clock, let number = opened.number, heartbeat.wallMs > 0 {
        sessions.noteClock(number, skew: Timestamp(milliseconds: heartbeat.wallMs) - clock)
      }
      outbox.send(
        .with {
          $0.heartbeat = .with {
            $0.sentBoottimeNs = heartbeat.sentBoottimeNs
            $0.position = position.message
            $0.wallMs = clock?.milliseconds ?? 0
          }
        })
    case .events(let batch):
      var events: [AgentEvent] = []
      events.reserveCapacity(batch.events.count)
      for event in batch.events { events.append(try AgentEvent(event, from: cluster)) }
      try await port.receive(cluster, session, events)
    case .inventory(let inventory):
      try await port.receive(cluster, session, ClusterInventory(inventory))
    case .cache(let report):
      try await port.receive(cluster, session, CacheReport(report))
    case .data(let batch):
      try await port.receive(
        cluster, session, batch.events.prefix(DataEvent.eventsMax).compactMap { DataEvent($0, from: cluster) })
    case .claims(let report): await answer(report, cluster, session, outbox)
    case .hello:
      throw FederationError(.invalidArgument, "hello was said already")
    case nil:
      // A newer agent's message that this version does not know: its meaning must be optional, or the versions would not match.
      return
    }
  }

  // MARK: Writing

  /// Ends with the reason for which the session was closed, after everything before it was written.
  private func write(
    _ outbox: SessionOutbox, _ opened: OpenedSession, to response: RPCWriter<Fubini_Agent_V1_ControlMessage>
  ) async throws {
    while true {
      let items = try await outbox.next(64)
      let capabilities = opened.agreement?.capabilities ?? []
      try await response.write(contentsOf: items.flatMap { messages($0, capabilities) })
    }
  }

  /// Assignments in one message: keeps a message well below the transport's bound.
  private static let assignmentsPerMessage = 256

  private func messages(
    _ item: SessionOutbox.Item, _ capabilities: Set<AgentProtocol.Capability>
  ) -> [Fubini_Agent_V1_ControlMessage] {
    switch item {
    case .message(let message): return [message]
    case .command(.welcome(let welcome), let position): return [self.welcome(welcome, position, capabilities)]
    case .command(.assign(let runs), let position): return assignments(runs, position)
    case .command(.cancel(let runs, let reason, let isPreemption), _):
      return [
        .with {
          $0.cancel = .with { ($0.runIds, $0.reason, $0.preempts) = (runs.map(\.number), reason, isPreemption) }
        }
      ]
    case .command(.forget(let runs), _): return [.with { $0.forget = .with { $0.runIds = runs.map(\.number) } }]
    case .command(.extend(let slices), let position): return extensions(slices, position)
    case .command(.acknowledge(let sequence), _): return [.with { $0.ack = .with { $0.sequence = UInt64(sequence) } }]
    case .command(.data(let orders), _): return [.with { $0.data = Fubini_Agent_V1_DataOrders(orders) }]
    case .command(.drain(let isDraining), _): return [.with { $0.drain = .with { $0.draining = isDraining } }]
    }
  }

  private func extensions(_ slices: [RunID: Duration], _ position: CommitPosition) -> [Fubini_Agent_V1_ControlMessage] {
    [
      .with {
        $0.extend = .with {
          $0.slices = slices.sorted { $0.key < $1.key }.map { run, slice in
            .with { ($0.runID, $0.sliceMs) = (run.number, slice.milliseconds) }
          }
          $0.position = position.message
        }
      }
    ]
  }

  private func assignments(_ runs: [RunAssignment], _ position: CommitPosition) -> [Fubini_Agent_V1_ControlMessage] {
    stride(from: 0, to: runs.count, by: Self.assignmentsPerMessage).map { start in
      .with {
        $0.assign = .with {
          $0.assignments = runs[start..<min(start + Self.assignmentsPerMessage, runs.count)].map(
            Fubini_Agent_V1_Assignment.init)
          $0.position = position.message
        }
      }
    }
  }

  /// The desired set by name; the assignments themselves follow in messages of bounded size.
  private func welcome(
    _ welcome: AgentWelcome, _ position: CommitPosition, _ capabilities: Set<AgentProtocol.Capability>
  ) -> Fubini_Agent_V1_ControlMessage {
    .with {
      $0.welcome = .with {
        $0.protocol = welcome.protocolVersion
        $0.federationID = federationID
        $0.preempted = welcome.preempted.map(\.number)
        $0.position = position.message
        $0.desiredRuns = welcome.desired.map(\.number)
        $0.cancels = welcome.cancels.map(\.number)
        $0.draining = welcome.isDraining
        $0.adopting = welcome.isAdopting
        $0.ackedSequence = UInt64(welcome.ackedSequence)
        $0.heartbeatIntervalMs = heartbeatInterval.milliseconds
        $0.capabilities = capabilities.map(\.rawValue).sorted()
      }
    }
  }

  func authenticated() throws -> AgentIdentity {
    do { return try AgentAuthenticator.agent } catch { throw RPCError(error) }
  }
}

/// The session that a stream's reader has opened, for whoever writes to it or has to close it.
private final class OpenedSession: Sendable {
  private struct State {
    var id: SessionID?
    var number: Int?
    var agreement: AgentProtocol.Agreement?
  }
  private let state = Mutex(State())
  var id: SessionID? { state.withLock { $0.id } }
  /// In the registry.
  var number: Int? { state.withLock { $0.number } }
  var agreement: AgentProtocol.Agreement? { state.withLock { $0.agreement } }
  func set(_ id: SessionID) { state.withLock { $0.id = id } }
  func set(number: Int, _ agreement: AgentProtocol.Agreement) {
    state.withLock { ($0.number, $0.agreement) = (number, agreement) }
  }
}
