internal import CSupervisor
internal import Glibc

/// The supervisor of a process cluster: all its runs, and the clients that command them over a socket.
final class Server: RunLoop {
  static let clientsMax = 64
  static let clientBacklogBytesMax = 16 << 20

  var ended: [UInt64: RunEnd] = [:]
  /// Runs of an earlier supervisor whose death is not proven yet.
  var unproven: Set<UInt64> = []
  var clients: [Int32: Client] = [:]
  var isLeaving = false
  private let listener: Int32

  init(
    stateDirectory: String, groups: ControlGroups, enclosure: Enclosure?, listener: Int32
  ) throws(SystemFailure) {
    self.listener = listener
    try super.init(stateDirectory: stateDirectory, groups: groups, enclosure: enclosure)
    try watch(listener)
  }

  func run() throws(SystemFailure) {
    recover()
    ResidentMemory.release()
    try loop()
    groups.close()
  }

  override var isFinished: Bool { isLeaving && live.isEmpty && clients.values.allSatisfy { $0.output.isEmpty } }
  override func currentLease() -> any LeaseView { Lease.read(in: stateDirectory) }
  override func announce(_ event: SupervisorReply, _ id: UInt64, _ body: [UInt8]) { tellSubscribers(event, body) }
  override func turnEnded() { flushClients() }

  /// Anything but a hang-up asks it to leave once nothing runs.
  override func received(signal: Int32) {
    if signal == SIGTERM || signal == SIGINT { isLeaving = true }
  }

  override func ready(_ file: Int32) {
    if file == listener {
      acceptClients()
    } else if let client = clients[file] {
      serve(client)
    }
  }

  override func checkOwnDeadlines(now: UInt64) -> UInt64 {
    for id in unproven { adopt(id) }
    return unproven.isEmpty ? .max : now + 50_000_000
  }

  override func ended(_ end: RunEnd, _ id: UInt64) {
    ended[id] = end
    tellSubscribers(.ended, Self.body(id, end))
  }

  /// Starts a run unless it was ever started. Says whether it was.
  func start(_ run: SupervisedRun) throws(Refusal) -> Bool {
    if live[run.id] != nil || ended[run.id] != nil || unproven.contains(run.id) { return true }
    guard !isLeaving else { throw Refusal(.leaving, "the supervisor is leaving") }
    let now = csupervisor_boottime_ns()
    if run.disconnectLimitMs > 0 {
      let expiry = currentLease().expiry(limitMs: run.disconnectLimitMs, now: now)
      guard now < expiry else { throw Refusal(.fenced, "the agent's lease is older than the run's disconnect limit") }
    }
    let directory = RunDirectory(stateDirectory: stateDirectory, id: run.id)
    let lock: Int32
    do throws(SystemFailure) { lock = try directory.claim() } catch {
      guard error.code == EEXIST else { throw Refusal(.storage, "\(error)") }
      adopt(run.id)
      return true
    }
    defer { close(lock) }
    if let failure = launch(run, in: directory, lock: lock, now: now, takesBack: true) {
      directory.abandonClaim()
      throw Refusal(.storage, failure.message)
    }
    return false
  }

  /// What is paid for outlives this process as little as the run does; on disk it is for people.
  func extend(_ id: UInt64, toMs milliseconds: UInt64) {
    guard let run = live[id], run.extend(toMs: milliseconds) else { return }
    var changed = run.run
    changed.sliceMs = milliseconds
    try? run.directory.writeSpec(changed)
  }

  private func acceptClients() {
    while true {
      let socket = csupervisor_accept(listener)
      guard socket >= 0 else { return }
      let uid = csupervisor_peer_uid(socket)
      guard uid == 0 || uid == Int64(getuid()), clients.count < Self.clientsMax, (try? watch(socket)) != nil else {
        close(socket)
        continue
      }
      clients[socket] = Client(socket: socket)
    }
  }
}
