internal import Execution
internal import FederationModel
internal import Supervisor

/// The supervisor beside the agent: found or started, greeted, listened to.
extension ProcessExecutor {
  /// The open connection; starts the supervisor when there is none.
  func connected() async throws -> SupervisorConnection {
    if isClosed { throw SupervisorConnection.gone }
    if let connection, connection.isOpen { return connection }
    isDismissed = false
    let deadline = ContinuousClock.now + .seconds(30)
    var pause = Duration.milliseconds(2)
    var nextStart = ContinuousClock.now
    while true {
      do {
        if let connection = try await connect() { return connection }
      } catch let failure as SystemFailure {
        guard ContinuousClock.now < deadline else {
          throw FederationError(
            .unavailable, "the supervisor does not start; see \(configuration.stateDirectory)/supervisor.log",
            cause: failure,
            retryAfter: .seconds(5))
        }
        // More than once, because the one before may have held its lock still.
        if ContinuousClock.now >= nextStart {
          try startSupervisor()
          nextStart = .now + .milliseconds(500)
        }
      }
      try await Task.sleep(for: pause)
      pause = min(pause * 2, .milliseconds(100))
      if isClosed { throw SupervisorConnection.gone }
      // Another call may have connected meanwhile.
      if let connection, connection.isOpen { return connection }
    }
  }

  /// nil when the supervisor went away before it had answered.
  private func connect() async throws -> SupervisorConnection? {
    generation += 1
    let current = generation
    let new = try SupervisorConnection.open(stateDirectory: configuration.stateDirectory) { [weak self] event in
      self?.received(event, generation: current)
    }
    connection = new
    do {
      try await greet(new)
      return new
    } catch let failure as FederationError where failure.code == .unavailable {
      return nil
    } catch {
      new.close()
      throw error
    }
  }

  private func greet(_ connection: SupervisorConnection) async throws {
    var range = WireWriter()
    range.put(SupervisorProtocol.version)
    range.put(SupervisorProtocol.version)
    let answers = try await connection.send([(.hello, range.bytes), (.subscribe, []), (.status, [])])
    guard answers[0].last?.reply == .hello else {
      throw FederationError(
        .failedPrecondition,
        "the supervisor that runs here speaks another protocol version; drain the cluster and restart it")
    }
    var status = WireReader((answers[2].last?.body ?? [])[...])
    _ = try (status.number(UInt32.self), status.number(UInt32.self))
    supervisorNotices = try status.texts()
    supervisorIsEnclosed = try !status.isAtEnd && status.flag()
    supervisorKnowsSlices = try !status.isAtEnd && status.flag()
  }

  private func startSupervisor() throws {
    try Supervisor.launch(
      executable: configuration.supervisorExecutable, stateDirectory: configuration.stateDirectory,
      controlGroups: configuration.controlGroups)
  }

  private nonisolated func received(_ event: SupervisorConnection.Event, generation: Int) {
    if case .closed = event {
      Task { await self.supervisorVanished(generation) }
    } else if let observation = observation(event) {
      observers.yield(observation)
      if configuration.slots != nil, observation.phase.isTerminal {
        Task { await self.slotFreed(by: observation.id) }
      }
    }
  }

  /// A new supervisor is started at once, because it alone can prove what became of the runs; then everything is told again.
  private func supervisorVanished(_ generation: Int) async {
    guard generation == self.generation else { return }
    connection = nil
    while !isClosed, !isDismissed {
      if let all = try? await reattach(known: []) {
        for observation in all { observers.yield(observation) }
        return
      }
      try? await Task.sleep(for: .seconds(1))
    }
  }

  nonisolated func observation(_ event: SupervisorConnection.Event) -> RunObservation? {
    switch event {
    case .started(let id, let logBytes), .logGrew(let id, let logBytes):
      let id = RunID(Int64(bitPattern: id))
      return RunObservation(id: id, phase: .running, runsAs: runsAs(id), logBytes: Int64(clamping: logBytes))
    case .ended(let id, let end):
      let id = RunID(Int64(bitPattern: id))
      let mayBeSandbox = end.reason == .exited && RunOutcome.exitCode(end.waitStatus) == 1 && end.logBytes < 1024
      let head = mayBeSandbox ? HostFiles.read(workspace(for: id).log, limit: 1024) : nil
      return RunOutcome.observation(
        id: id, end: end, runsAs: runsAs(id), isSandboxed: probe != nil, logHead: head)
    case .closed: return nil
    }
  }

  private nonisolated func runsAs(_ id: RunID) -> String? {
    HostFiles.read(workspace(for: id).directory + "/runs-as", limit: 256).map { String(decoding: $0, as: UTF8.self) }
  }
}
