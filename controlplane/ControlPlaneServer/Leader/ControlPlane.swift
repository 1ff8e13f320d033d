public import ControlPlaneCore
import ControlPlaneStore
public import FederationModel
import Foundation
import Logging
import Synchronization
public import WorkflowCore

/// Who wants to lead.
public struct LeadershipCandidate: Sendable, Hashable {
  /// Names this process among the replicas.
  public var holder: String
  /// Base URL of its API, for standbys.
  public var url: String
  /// `host:port` of its agent port, for agents that dialled a standby.
  public var agentAddress: String
  public var lease: Duration
  public init(holder: String, url: String, agentAddress: String, lease: Duration) {
    self.holder = holder
    self.url = url
    self.agentAddress = agentAddress
    self.lease = lease
  }

  /// Both addresses as the leadership row holds them; neither may contain a space.
  var address: String { "\(url) \(agentAddress)" }
}

/// Who leads, as the database says.
struct LeadershipHolder: Sendable, Hashable {
  var url: String
  var agentAddress: String
  var commitSequence: Int64

  /// nil: nobody's lease is valid.
  init?(_ record: LeadershipRecord) {
    guard record.holder != nil, record.leaseLeft > .zero, let address = record.address else { return nil }
    let parts = address.split(separator: " ", omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    url = String(parts[0])
    agentAddress = String(parts[1])
    commitSequence = record.commitSequence
  }
}

/// One control-plane process: it leads when it can, and stands by when it cannot.
///
/// Standby -> leading when the lease can be taken; leading -> standby when a unit is fenced off or the loop fails. Everything that
/// callers see goes through the current role, so that the API and the gateway need not know which it is.
public final class ControlPlane: Sendable {
  private enum Role {
    case standby(LeadershipHolder?)
    case leading(Leader, LeaseBoard)
  }

  private let role = Mutex(Role.standby(nil))
  private let store: ControlPlaneStore
  private let candidate: LeadershipCandidate
  private let configuration: CoreConfiguration
  private let metrics: any LeaderMetrics
  private let logger: Logger
  private let random: @Sendable () -> UInt32
  private let retention: RetentionPolicy
  private let look: ObjectLook

  init(
    store: ControlPlaneStore, candidate: LeadershipCandidate, configuration: CoreConfiguration,
    metrics: any LeaderMetrics, logger: Logger, retention: RetentionPolicy = RetentionPolicy(),
    look: @escaping ObjectLook = { _, _ in throw FederationError(.unavailable, "there is no repository here") },
    random: @escaping @Sendable () -> UInt32 = { UInt32.random(in: .min ... .max) }
  ) {
    self.store = store
    self.candidate = candidate
    self.configuration = configuration
    self.metrics = metrics
    self.logger = logger
    self.random = random
    self.retention = retention
    self.look = look
  }

  /// Leads and stands by in turn until the task is cancelled.
  public func run() async {
    while !Task.isCancelled {
      do {
        if try await !lead() {
          let holder = LeadershipHolder(try await store.readLeadership())
          role.withLock { $0 = .standby(holder) }
          try await Task.sleep(for: candidate.lease / 4)
        }
      } catch is CancellationError {
        break
      } catch {
        role.withLock { $0 = .standby(nil) }
        logger.warning("the database cannot be reached; waiting for it", metadata: ["error": "\(error)"])
        try? await Task.sleep(for: .milliseconds(500))
      }
    }
  }

  /// One term, from the grant to its end. False when another process leads.
  private func lead() async throws -> Bool {
    // A leader that was there before goes on: migrations only expand. The next one is of the later release.
    if try await store.hasNewerSchema() {
      logger.warning("the database's schema is newer than this program: it stands by and does not lead; upgrade it")
      return false
    }
    let incarnation = random() & 0x7fff_ffff
    // The lease counts from before the request, so that it can only run out early here, never late.
    let asked = ContinuousClock.now
    guard
      let position = try await store.tryAcquire(
        holder: candidate.holder, address: candidate.address, incarnation: incarnation, leaseDuration: candidate.lease)
    else { return false }
    logger.info("leading", metadata: ["term": "\(position.term)", "commit": "\(position.sequence)"])
    let board = LeaseBoard(
      lease: candidate.lease, silenceLimit: configuration.disconnectLimit, acquiredAt: asked, position: position)
    try await store.reconnect()
    let state = try await store.loadDurable()
    let leader = Leader(
      term: position.term, state: state, history: await history(), position: position, incarnation: incarnation,
      configuration: configuration,
      store: store, board: board, metrics: metrics, logger: logger, look: look,
      wallClock: { Timestamp.wallClock })
    role.withLock { $0 = .leading(leader, board) }
    let end = await withTaskGroup(of: Leader.End?.self) { group in
      group.addTask { await leader.run() }
      group.addTask { await self.keepLease(position.term, leader, board) }
      group.addTask { await Self.keepTime(leader, board) }
      group.addTask { await self.keepTidy() }
      var end: Leader.End?
      await withTaskCancellationHandler {
        for await result in group where result != nil {
          end = result
          group.cancelAll()
        }
      } onCancel: {
        leader.shutDown()
      }
      return end
    }
    role.withLock { $0 = .standby(nil) }
    logger.info("no longer leading", metadata: ["term": "\(position.term)", "reason": "\(end ?? .shutdown)"])
    // In a task of its own: this one may have been cancelled, and a lease that is not given back keeps everybody waiting.
    if end == .shutdown { await Task { try? await store.release(term: position.term) }.value }
    return true
  }

  /// Renews the lease three times in its length. A leader whose lease ran out unrenewed closes its sessions: its agents must not take
  /// it for alive while another may be leading. It goes on as leader if the database still says so.
  private func keepLease(_ term: Int64, _ leader: Leader, _ board: LeaseBoard) async -> Leader.End? {
    var wasValid = true
    while !Task.isCancelled {
      let sent = ContinuousClock.now
      do {
        guard try await store.renew(term: term, leaseDuration: candidate.lease) else {
          await leader.depose()
          return nil
        }
        board.renewed(sentAt: sent)
      } catch {
        logger.warning("the lease could not be renewed", metadata: ["error": "\(error)"])
      }
      if wasValid, !board.isValid {
        logger.warning("the lease has run out; closing all sessions")
        await leader.closeSessions(
          FederationError(.unavailable, "the control plane has lost its lease", retryAfter: .seconds(1)))
      }
      wasValid = board.isValid
      try? await Task.sleep(for: candidate.lease / 3)
    }
    return nil
  }

  /// Deletes the history that is not to be kept, in small batches, beside the units and not in them.
  private func keepTidy() async -> Leader.End? {
    var pause = Duration.seconds(60)
    while !Task.isCancelled {
      try? await Task.sleep(for: pause)
      guard !Task.isCancelled else { break }
      do {
        let deleted = try await store.expire(retention, at: Timestamp.wallClock)
        pause = deleted > 0 ? .milliseconds(200) : .seconds(600)
      } catch {
        logger.warning("old history could not be deleted; it is tried again", metadata: ["error": "\(error)"])
        pause = .seconds(60)
      }
    }
    return nil
  }

  /// Offers a tick every half second, and at the moments that workflows wait for.
  private static func keepTime(_ leader: Leader, _ board: LeaseBoard) async -> Leader.End? {
    while !Task.isCancelled {
      await leader.offerTick()
      var pause = Duration.milliseconds(500)
      if let wake = await leader.untilNextWake() { pause = min(pause, max(wake, .milliseconds(5))) }
      try? await Task.sleep(for: pause)
    }
    return nil
  }
}

extension ControlPlane {
  /// What the newest runs teach. Leading does not wait for long, and does not fail, for what is only an estimate.
  private func history() async -> TemplateHistory {
    do { return TemplateHistory(try await store.endedRuns()) } catch {
      logger.warning(
        "runtimes are learnt anew: the runs of the past could not be read", metadata: ["error": "\(error)"])
      return TemplateHistory()
    }
  }
}

extension Timestamp {
  /// The system's wall clock. Only shells read it; the cores are given the moment.
  static var wallClock: Timestamp {
    Timestamp(milliseconds: Int64((Date().timeIntervalSince1970 * 1000).rounded(.down)))
  }
}

// MARK: Ports

extension ControlPlane: CommandPort {
  private var leader: Leader? {
    role.withLock { if case .leading(let leader, _) = $0 { leader } else { nil } }
  }

  public func perform(_ command: Command, as principal: Principal, idempotency: IdempotencyKey?) async throws -> Reply {
    guard let leader else { throw FederationError.notLeading }
    return try await leader.perform(command, principal, idempotency)
  }

  public var leadership: LeadershipView {
    get async {
      role.withLock {
        switch $0 {
        case .leading(_, let board):
          LeadershipView(isLeader: true, leaderURL: candidate.url, commitSequence: board.position.sequence)
        case .standby(let holder):
          LeadershipView(
            isLeader: false, leaderURL: holder?.url,
            commitSequence: holder?.commitSequence ?? 0)
        }
      }
    }
  }

  public func clusterStatuses() async -> [ClusterName: ClusterStatus] { await leader?.statuses() ?? [:] }

  public func reasons(in workflow: WorkflowReference, of nodes: [NodeID]) async -> [NodeID: String] {
    await leader?.reasons(in: workflow, of: nodes) ?? [:]
  }

  public func standstill(of workflows: [WorkflowReference]) async -> [WorkflowReference: Standstill] {
    var found: [WorkflowReference: Standstill] = [:]
    // Each looks at every cluster: one at a time, so that the leader's turns come in between.
    for workflow in workflows { found[workflow] = await leader?.standstill(of: workflow) }
    return found
  }

  public func transferProgress(of project: ProjectName) async -> [TransferID: TransferProgress] {
    await leader?.transferProgress(of: project) ?? [:]
  }

  public func links() async -> [LinkStatus] { await leader?.links() ?? [] }

  public func fairShare() async throws -> FairShareStatus {
    guard let leader else { throw FederationError.notLeading }
    return await leader.fairShare()
  }

  public func forecastBasis(
    of definition: WorkflowDefinition, in project: ProjectName, reading inputs: [UnseenInput]
  ) async throws -> ForecastBasis {
    guard let leader else { throw FederationError.notLeading }
    return try await leader.forecastBasis(of: definition, in: project, reading: inputs)
  }

  public func seen(_ inputs: [UnseenInput], of project: ProjectName) async -> [UnseenInput: SeenInput] {
    await leader?.seen(inputs, of: project) ?? [:]
  }
}

extension ControlPlane: AgentPort {
  private static var eventsPerInput: Int { 64 }
  private static var replicasPerInput: Int { 256 }

  public func connect(
    _ cluster: ClusterName, _ hello: AgentHello, version: String, outbox: any AgentOutbox
  ) async throws -> SessionID {
    guard let leader else {
      let address = role.withLock {
        if case .standby(let holder?) = $0 { holder.agentAddress } else { "" }
      }
      throw FederationError(
        .unavailable, "this control plane does not lead" + (address.isEmpty ? "" : "; the leader is at \(address)"),
        retryAfter: .seconds(1))
    }
    return try await leader.connect(cluster, hello, version: version, outbox: outbox)
  }

  public func disconnect(_ cluster: ClusterName, _ session: SessionID) async {
    await leader?.disconnect(cluster, session)
  }

  public func receive(_ cluster: ClusterName, _ session: SessionID, _ events: [AgentEvent]) async throws {
    guard let leader else { throw FederationError.notLeading }
    // An agent that was away for long tells much at once; each input of the core is short.
    var rest = events[...]
    repeat {
      try await leader.queue.offer(event: .agentEvents(cluster, session, Array(rest.prefix(Self.eventsPerInput))))
      rest = rest.dropFirst(Self.eventsPerInput)
    } while !rest.isEmpty
  }

  public func receive(_ cluster: ClusterName, _ session: SessionID, _ inventory: ClusterInventory) async throws {
    guard let leader else { throw FederationError.notLeading }
    try await leader.queue.offer(event: .inventoryChanged(cluster, session, inventory))
  }

  public func receive(_ cluster: ClusterName, _ session: SessionID, _ report: CacheReport) async throws {
    guard let leader else { throw FederationError.notLeading }
    var rest = report.replicas[...]
    var isFirst = report.isFirst
    repeat {
      let part = Array(rest.prefix(Self.replicasPerInput))
      rest = rest.dropFirst(Self.replicasPerInput)
      try await leader.queue.offer(
        event: .cacheReported(
          cluster, session, CacheReport(replicas: part, isFirst: isFirst, isLast: report.isLast && rest.isEmpty)))
      isFirst = false
    } while !rest.isEmpty
  }

  public func receive(_ cluster: ClusterName, _ session: SessionID, _ events: [DataEvent]) async throws {
    guard let leader else { throw FederationError.notLeading }
    var rest = events[...]
    while !rest.isEmpty {
      try await leader.queue.offer(event: .dataEvents(cluster, session, Array(rest.prefix(Self.eventsPerInput))))
      rest = rest.dropFirst(Self.eventsPerInput)
    }
  }

  public func heartbeat(_ cluster: ClusterName, _ session: SessionID) -> CommitPosition? {
    role.withLock { if case .leading(_, let board) = $0 { board.heartbeat(cluster, session) } else { nil } }
  }

  public func access(of run: RunID, on cluster: ClusterName) async -> RunAccess? {
    if let access = await leader?.access(of: run, on: cluster) { return access }
    // Its end is durable, and its last logs may still be on their way.
    return try? await store.access(of: run, on: cluster)
  }

  public func mayUse(
    object key: String, of project: ProjectName, _ use: ObjectUse, on cluster: ClusterName
  ) async -> Bool {
    await leader?.mayUse(object: key, of: project, use, on: cluster) ?? false
  }

  public func unstoredHolder(of key: String, in project: ProjectName) async -> ClusterName? {
    await leader?.unstoredHolder(of: key, in: project)
  }

  public func secretAccess(
    of key: DataKey, named name: String, on cluster: ClusterName
  ) async -> SecretAccess? {
    await leader?.secretAccess(of: key, named: name, on: cluster)
  }

  public func mayRead(_ object: ProjectObject, by run: RunID, on cluster: ClusterName) async -> ProjectName? {
    await leader?.mayRead(object, by: run, on: cluster)
  }

  public func mayReadExport(of neighbour: ClusterName, on cluster: ClusterName) async -> Bool {
    await leader?.mayReadExport(of: neighbour, on: cluster) ?? false
  }
}
