internal import Execution
internal import FederationAPI
internal import FederationModel
internal import FederationPKI
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import Logging
internal import SwiftProtobuf
internal import Synchronization

/// The shell around `SessionMachine`: dials, writes, reads, and keeps time.
final class SessionRunner: Sendable {
  static let version = ProductVersion.current

  struct Ports: Sendable {
    var journal: Journal
    var driver: RunDriver
    var executor: any Executor
    var connection: ConnectionSlot
    var logs: LogShipper
    var inventory: @Sendable () async -> ClusterInventory
    var data: DataPlane
    /// nil: no workflow has volumes here.
    var claims: (any WorkflowKeeping)?
    /// The control plane asked for a new certificate.
    var rotationRequested: @Sendable () -> Void
  }

  enum Outgoing: Sendable {
    case hello
    case events(after: UInt64, limit: Int)
    case heartbeat
    case inventory(ClusterInventory)
    case report(Wire.CacheReport)
    case data([Wire.DataEvent])
    case claims(Wire.ClaimReport)
  }

  private struct Shared {
    var machine: SessionMachine
    var hangUp: (@Sendable () -> Void)?
    var outgoing: Mailbox<Outgoing>?
    var hangUpReason: String?
    /// Told when there is a new certificate; nil without a connection.
    var renewed: AsyncStream<Void>.Continuation?
    /// What this session uses, as its welcome said.
    var capabilities: Set<AgentProtocol.Capability> = []
    var clockSkew: Duration?
    /// What the control plane was told last, by a hello or since.
    var toldInventory: ClusterInventory?
  }

  let ports: Ports
  /// The protocol versions that this agent offers.
  let protocols: ClosedRange<UInt32>
  private let credentials: AgentCredentials
  let logger: Logger
  private let shared: Mutex<Shared>
  private let dials = Mailbox<(ControlPlaneAddress, Duration)>(capacity: 4)

  init(
    cycle: AddressCycle, journaledSequence: UInt64, ports: Ports, credentials: AgentCredentials,
    protocols: ClosedRange<UInt32> = AgentProtocol.versions, logger: Logger
  ) {
    self.ports = ports
    self.protocols = protocols
    self.credentials = credentials
    self.logger = logger
    shared = Mutex(Shared(machine: SessionMachine(cycle: cycle, journaledSequence: journaledSequence)))
  }

  var machine: SessionMachine { shared.withLock { $0.machine } }

  /// Our wall clock minus the control plane's, as the last answered heartbeat showed; nil until a control plane has said.
  var clockSkew: Duration? { shared.withLock { $0.clockSkew } }

  /// The session goes on over its old connection; new calls need one that was made with the new certificate.
  func certificateRenewed() { shared.withLock { _ = $0.renewed?.yield() } }

  func uses(_ capability: AgentProtocol.Capability) -> Bool {
    shared.withLock { $0.capabilities.contains(capability) }
  }

  func agreed(on capabilities: Set<AgentProtocol.Capability>) { shared.withLock { $0.capabilities = capabilities } }

  /// Half of the way there and back is taken for the way back.
  func noteClock(theirs: Timestamp, sentNanoseconds: UInt64) {
    let now = SystemClock.boottimeNanoseconds
    let wayBack = Duration.nanoseconds(Int64(now > sentNanoseconds ? (now - sentNanoseconds) / 2 : 0))
    let skew = SystemClock.now - (theirs + wayBack)
    shared.withLock { $0.clockSkew = skew }
  }

  func eventsJournaled(through sequence: UInt64) { feed(.eventsJournaled(through: sequence)) }

  /// Runs until the task is cancelled.
  func run() async {
    feed(.started)
    await withTaskCancellationHandler {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { [self] in await keepTime() }
        group.addTask { [self] in await tellOfData() }
        group.addTask { [self] in await tellOfClaims() }
        while let dial = await dials.receive(limit: 1)?.first {
          try? await Task.sleep(for: dial.1)
          if Task.isCancelled { break }
          await session(with: dial.0)
        }
        group.cancelAll()
      }
    } onCancel: {
      feed(.stopRequested)
      dials.close()
    }
  }

  private func keepTime() async {
    while !Task.isCancelled {
      let interval: Duration =
        if case .established(let established) = machine.state { established.heartbeatInterval } else { .seconds(1) }
      guard (try? await Task.sleep(for: interval)) != nil else { return }
      feed(.heartbeatDue)
      guard case .established = machine.state else { continue }
      // With each beat: a disk that fills up must be known before much more is sent here.
      let inventory = await ports.inventory()
      if told(inventory) { shared.withLock { $0.outgoing }?.sendAtOnce(.inventory(inventory)) }
    }
  }

  /// What changes in the cache, a few times a second at most.
  private func tellOfData() async {
    while (try? await Task.sleep(for: .milliseconds(250))) != nil {
      guard case .established = machine.state, uses(.data), let outgoing = shared.withLock({ $0.outgoing }) else {
        continue
      }
      let events = ports.data.events.take()
      // Waits where the connection is slower than what happens: the rest is told later, and only its latest word.
      if !events.isEmpty { await outgoing.send(.data(events)) }
    }
  }

  /// Whose volumes there are, again and again: the answer says which of them are not wanted any more.
  private func tellOfClaims() async {
    guard let claims = ports.claims else { return }
    while (try? await Task.sleep(for: Self.claimPeriod)) != nil {
      guard case .established = machine.state, let outgoing = shared.withLock({ $0.outgoing }),
        let kept = ports.driver.workflowsInUse,
        let report = await claims.told(keeping: kept)
      else { continue }
      outgoing.sendAtOnce(.claims(report))
    }
  }

  private static let claimPeriod = Duration.seconds(10)

  func removeClaims(_ orders: Wire.ClaimOrders) async {
    guard let claims = ports.claims, let kept = ports.driver.workflowsInUse else { return }
    await claims.drop(Set(orders.remove), keeping: kept)
  }

  /// A session began: the whole cache is told, because what was said in earlier ones may be lost.
  func reportCache() async {
    guard uses(.data) else { return }
    for part in await ports.data.report() { shared.withLock { $0.outgoing }?.sendAtOnce(.report(part)) }
  }

  /// Notes what is told now; false when it was told already.
  @discardableResult
  func told(_ inventory: ClusterInventory) -> Bool {
    shared.withLock { shared in
      defer { shared.toldInventory = inventory }
      return shared.toldInventory != inventory
    }
  }

  func feed(_ input: SessionMachine.Input) {
    let actions = shared.withLock { $0.machine.apply(input, atNanoseconds: SystemClock.boottimeNanoseconds) }
    for action in actions { perform(action) }
  }

  private func perform(_ action: SessionMachine.Action) {
    switch action {
    case .dial(let address, let delay): dials.sendAtOnce((address, delay))
    case .sendHello: shared.withLock { $0.outgoing }?.sendAtOnce(.hello)
    case .sendEvents(let after, let limit):
      shared.withLock { $0.outgoing }?.sendAtOnce(.events(after: after, limit: limit))
    case .sendHeartbeat: shared.withLock { $0.outgoing }?.sendAtOnce(.heartbeat)
    case .renewLease(let sent): ports.driver.tellAtOnce(.leaseGranted(sentNanoseconds: sent))
    case .hangUp(let reason):
      let hangUp = shared.withLock { shared in
        shared.hangUpReason = reason
        return shared.hangUp
      }
      hangUp?()
    case .tellSessionLost: Task { [ports] in await ports.driver.tell(.sessionLost) }
    case .log(let level, let text):
      switch level {
      case .info: logger.info("\(text)")
      case .warning: logger.warning("\(text)")
      case .error: logger.error("\(text)")
      }
    }
  }

  /// One connection from dial to end.
  private func session(with address: ControlPlaneAddress) async {
    let outgoing = Mailbox<Outgoing>(capacity: 1024)
    let task = Task { [self] in
      do {
        try await converse(with: address, outgoing)
        return "the control plane ended the session"
      } catch {
        let refusal = credentials.lastRefusal.map { " (\($0.publicMessage))" } ?? ""
        return "\((GatewayErrors.translate(error) as? FederationError)?.publicMessage ?? "\(error)")\(refusal)"
      }
    }
    shared.withLock { shared in
      shared.outgoing = outgoing
      shared.capabilities = []
      shared.hangUpReason = nil
      shared.hangUp = { task.cancel() }
    }
    feed(.dialBegan)
    let ended = await withTaskCancellationHandler {
      await task.value
    } onCancel: {
      task.cancel()
    }
    ports.connection.set(nil)
    outgoing.close()
    let reason = shared.withLock { shared in
      shared.outgoing = nil
      shared.hangUp = nil
      return shared.hangUpReason ?? ended
    }
    feed(.streamEnded(reason: reason, jitter: .random(in: 0..<1)))
  }

  private func converse(with address: ControlPlaneAddress, _ outgoing: Mailbox<Outgoing>) async throws {
    let transport = try ControlPlaneTransport.make(to: address, credentials: credentials, now: { SystemClock.now })
    try await withGRPCClient(transport: transport) { [self] client in
      let gateway = Fubini_Agent_V1_AgentGateway.Client(wrapping: client)
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { [self] in
          // A refused connection is told at once: the next address may be the one that answers.
          var options = CallOptions.defaults
          options.waitForReady = false
          try await gateway.session(options: options) { [self] writer in
            feed(.streamOpened)
            while let messages = await outgoing.receive(limit: 64) {
              for message in messages {
                let composed = try await compose(message)
                if let composed { try await writer.write(composed.message) }
                if case .events(let after, _) = message { feed(.eventsSent(through: composed?.lastSequence ?? after)) }
              }
            }
          } onResponse: { [self] response in
            for try await message in response.messages { try await received(message, gateway) }
          }
        }
        group.addTask { [self] in try await shipLogs() }
        group.addTask { [self] in await renewConnections(to: address) }
        // The session's end is the connection's end; log shipping alone never ends it.
        defer { group.cancelAll() }
        _ = try await group.next()
      }
    }
  }

  /// A connection keeps the certificate that it was made with, and each new call is judged by it: after a renewal, calls go
  /// over a new connection, and the one before ends when its own calls have ended. Never returns before it is cancelled.
  private func renewConnections(to address: ControlPlaneAddress) async {
    let (renewals, renewed) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    shared.withLock { $0.renewed = renewed }
    await withTaskGroup(of: Void.self) { group in
      var previous: AsyncStream<Never>.Continuation?
      for await _ in renewals {
        let (replaced, replace) = AsyncStream.makeStream(of: Never.self)
        group.addTask { [self] in
          do {
            let transport = try ControlPlaneTransport.make(to: address, credentials: credentials) { SystemClock.now }
            try await withGRPCClient(transport: transport) { [self] client in
              ports.connection.set(
                .init(
                  client: Fubini_Agent_V1_AgentGateway.Client(wrapping: client),
                  resumesUploads: uses(.resumableUploads), keepsUnstored: uses(.data)))
              for await _ in replaced {}
            }
          } catch {
            logger.warning("a second connection failed", metadata: ["error": "\(GatewayErrors.translate(error))"])
          }
        }
        previous?.finish()
        previous = replace
      }
      group.cancelAll()
    }
  }

  private func shipLogs() async throws {
    var attempt = 0
    while !Task.isCancelled {
      if case .established = machine.state, let gateway = try? ports.connection.current().client {
        do { try await ports.logs.serve(gateway) } catch { attempt = min(attempt + 1, 6) }
      }
      try await Task.sleep(for: .milliseconds(200) * (1 << attempt))
    }
  }
}
