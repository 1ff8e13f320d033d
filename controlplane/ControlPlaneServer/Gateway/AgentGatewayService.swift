import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FederationPKI
import GRPCCore
import Logging
import SwiftProtobuf
import Synchronization

/// The agents' side of the control plane: checks what agents say, and hands it to the ports.
///
/// Authentication has happened in `AgentAuthenticator` before a method here is called. The parts: this file holds the session,
/// `+Enrolment` joining and renewing, `+Transfers` logs and artifacts.
struct AgentGatewayService: Fubini_Agent_V1_AgentGateway.SimpleServiceProtocol {
  let federationID: String
  let port: any AgentPort
  let store: ControlPlaneStore
  let authority: CertificateAuthority
  let logs: any LogStore
  let artifacts: any ArtifactStore
  let logger: Logger
  let now: @Sendable () -> Timestamp

  /// Agents of the current and of the previous protocol version are served. There has been one so far.
  static let protocolVersions: ClosedRange<UInt32> = 1...1
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
    }
    do {
      // Whichever ends first ends the other: an agent that leaves, or a session that is closed from this side.
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await read(request, agent.cluster, outbox, opened) }
        group.addTask { try await write(outbox, to: response) }
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
    let session = try await port.connect(
      cluster, try AgentHello(hello, protocolVersion: try Self.negotiate(hello)), version: version, outbox: outbox)
    opened.set(session)
    logger.info("an agent's session began", metadata: ["cluster": "\(cluster)", "version": "\(version)"])
    while let message = try await messages.next() { try await receive(message, cluster, session, outbox) }
  }

  private static func negotiate(_ hello: Fubini_Agent_V1_Hello) throws -> UInt32 {
    let common =
      max(
        hello.protocolMin, protocolVersions.lowerBound)...max(
        max(hello.protocolMin, protocolVersions.lowerBound), min(hello.protocolMax, protocolVersions.upperBound))
    guard hello.protocolMin <= protocolVersions.upperBound, hello.protocolMax >= protocolVersions.lowerBound else {
      throw FederationError(
        .failedPrecondition,
        "the agent speaks protocol \(hello.protocolMin) to \(hello.protocolMax), this control plane "
          + "\(protocolVersions.lowerBound) to \(protocolVersions.upperBound); upgrade the older of the two")
    }
    return common.upperBound
  }

  private func receive(
    _ message: Fubini_Agent_V1_AgentMessage, _ cluster: ClusterName, _ session: SessionID, _ outbox: SessionOutbox
  ) async throws {
    switch message.message {
    case .heartbeat(let heartbeat):
      // Unanswered when this process may not speak for the federation: the agent's lease then runs out, as it must.
      guard let position = port.heartbeat(cluster, session) else { return }
      outbox.send(
        .with {
          $0.heartbeat = .with {
            $0.sentBoottimeNs = heartbeat.sentBoottimeNs
            $0.position = position.message
          }
        })
    case .events(let batch):
      var events: [AgentEvent] = []
      events.reserveCapacity(batch.events.count)
      for event in batch.events { events.append(try AgentEvent(event, from: cluster)) }
      try await port.receive(cluster, session, events)
    case .inventory(let inventory):
      try await port.receive(cluster, session, ClusterInventory(inventory))
    case .hello:
      throw FederationError(.invalidArgument, "hello was said already")
    case nil:
      // A newer agent's message that this version does not know: its meaning must be optional, or the versions would not match.
      return
    }
  }

  // MARK: Writing

  /// Ends with the reason for which the session was closed, after everything before it was written.
  private func write(_ outbox: SessionOutbox, to response: RPCWriter<Fubini_Agent_V1_ControlMessage>) async throws {
    while true {
      let items = try await outbox.next(64)
      try await response.write(contentsOf: items.flatMap(messages))
    }
  }

  /// Assignments in one message: keeps a message well below the transport's bound.
  private static let assignmentsPerMessage = 256

  private func messages(_ item: SessionOutbox.Item) -> [Fubini_Agent_V1_ControlMessage] {
    switch item {
    case .message(let message): return [message]
    case .command(.welcome(let welcome), let position): return self.welcome(welcome, position)
    case .command(.assign(let runs), let position): return assignments(runs, position)
    case .command(.cancel(let runs, let reason), _):
      return [.with { $0.cancel = .with { ($0.runIds, $0.reason) = (runs.map(\.number), reason) } }]
    case .command(.forget(let runs), _): return [.with { $0.forget = .with { $0.runIds = runs.map(\.number) } }]
    case .command(.acknowledge(let sequence), _): return [.with { $0.ack = .with { $0.sequence = UInt64(sequence) } }]
    case .command(.drain(let isDraining), _): return [.with { $0.drain = .with { $0.draining = isDraining } }]
    }
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

  /// The desired set by name is always complete; the assignments themselves follow in messages of bounded size.
  private func welcome(_ welcome: AgentWelcome, _ position: CommitPosition) -> [Fubini_Agent_V1_ControlMessage] {
    let first: Fubini_Agent_V1_ControlMessage = .with {
      $0.welcome = .with {
        $0.protocol = welcome.protocolVersion
        $0.federationID = federationID
        $0.position = position.message
        $0.assignments = welcome.assignments.prefix(Self.assignmentsPerMessage).map(Fubini_Agent_V1_Assignment.init)
        $0.desiredRuns = welcome.assignments.map(\.run.number)
        $0.cancels = welcome.cancels.map(\.number)
        $0.draining = welcome.isDraining
        $0.adopting = welcome.isAdopting
        $0.ackedSequence = UInt64(welcome.ackedSequence)
        $0.heartbeatIntervalMs = heartbeatInterval.milliseconds
      }
    }
    return [first] + assignments(Array(welcome.assignments.dropFirst(Self.assignmentsPerMessage)), position)
  }

  func authenticated() throws -> AgentIdentity {
    do { return try AgentAuthenticator.agent } catch { throw RPCError(error) }
  }
}

/// The session that a stream's reader has opened, for whoever has to close it.
private final class OpenedSession: Sendable {
  private let session = Mutex<SessionID?>(nil)
  var id: SessionID? { session.withLock { $0 } }
  func set(_ id: SessionID) { session.withLock { $0 = id } }
}
