internal import Execution
internal import FederationModel
internal import Supervisor

/// Starting runs, at most as many at a time as there are slots.
extension ProcessExecutor {
  /// Hands runs to the supervisor. Those that can never start end here, in `.error`.
  ///
  /// - Returns: what the supervisor refused at present, and why.
  /// - Throws: `.unavailable`, `.resourceExhausted`: then any part of them may have been started.
  func start(_ runs: [RunRequest]) async throws -> (refused: [RunRequest], reason: String) {
    let connection = try await connected()
    var sent: [RunRequest] = []
    var commands: [(SupervisorCommand, [UInt8])] = []
    for run in runs {
      do throws(FederationError) {
        commands.append((.start, try startCommand(run)))
        sent.append(run)
      } catch {
        // A full disk is no fault of the run's.
        if error.isRetryable { throw error }
        queue.released(run.id)
        observers.yield(RunObservation(id: run.id, phase: .error, message: error.publicMessage))
      }
    }
    let answers = try await connection.send(commands)
    var refused: [RunRequest] = []
    var reason = ""
    var repeated: Set<RunID> = []
    for (run, answer) in zip(sent, answers) {
      guard let last = answer.last, last.reply == .accepted else {
        refused.append(run)
        reason = String(decoding: answer.last?.body.dropFirst(5) ?? [], as: UTF8.self)
        continue
      }
      queue.accepted([run.id])
      if last.body.first == 1 { repeated.insert(run.id) }
    }
    if !repeated.isEmpty { try await tellEnds(of: repeated) }
    return (refused, reason)
  }

  private func startCommand(_ run: RunRequest) throws(FederationError) -> [UInt8] {
    var writer = WireWriter()
    try preparation.supervisedRun(run, in: workspace(for: run.id)).encode(into: &writer)
    guard writer.bytes.count < SupervisorProtocol.frameBytesMax - 16 else {
      throw FederationError(.invalidArgument, "the command line and environment are larger than 4 MiB")
    }
    return writer.bytes
  }

  /// A run that had ended before it was submitted again makes no event of its own.
  private func tellEnds(of ids: Set<RunID>) async throws {
    for observation in try await reattach(known: []) where ids.contains(observation.id) {
      if observation.phase.isTerminal { observers.yield(observation) }
    }
  }

  /// Starts what waits for the slot that has become free.
  func slotFreed(by id: RunID) async {
    queue.released(id)
    await startWaiting()
  }

  func startWaiting() async {
    guard !isClosed else { return }
    let ready = queue.takeReady()
    guard !ready.isEmpty else { return }
    let again: [RunRequest]
    do { again = try await start(ready).refused } catch {
      let reason = (error as? FederationError)?.publicMessage ?? "\(error)"
      for run in ready { observers.yield(RunObservation(id: run.id, phase: .queued, message: reason)) }
      Task { [weak self] in await self?.settle(ready, returning: true) }
      return
    }
    guard !again.isEmpty else { return }
    // A lease that has run out, a full disk: both pass.
    queue.returned(again)
    Task { [weak self] in
      try? await Task.sleep(for: Self.retryPause)
      await self?.startWaiting()
    }
  }

  /// After a start that failed half-way: the runs hold their slots until the supervisor has said which of them live.
  func settle(_ runs: [RunRequest], returning: Bool) async {
    while !isClosed {
      // What failed just now fails again at once: a full disk is asked about twice a second, not without pause.
      if returning { try? await Task.sleep(for: Self.retryPause) }
      if let all = try? await reattach(known: []) {
        queue.abandoned(runs.lazy.map(\.id))
        let live = Set(all.lazy.filter { !$0.phase.isTerminal }.map(\.id))
        queue.resynchronised(live: live)
        if returning { queue.returned(runs.filter { !live.contains($0.id) }) }
        return await startWaiting()
      }
      try? await Task.sleep(for: Self.retryPause)
    }
  }

  private static var retryPause: Duration { .milliseconds(500) }
}
