import ControlPlaneCore
import ControlPlaneStore
import DequeModule
import FederationModel
import Logging

extension Leader {
  // MARK: Answers

  func watch(_ commit: PendingUnit, _ sequence: Int64) {
    let attempt = attempt
    Task {
      do {
        try await commit.answer()
        answered(sequence, attempt, nil)
      } catch let failure as CommitError {
        answered(sequence, attempt, failure)
      } catch {
        answered(sequence, attempt, .connectionLost(error))
      }
    }
  }

  /// A unit was answered. Effects go out in the order of the units, each after its own commit.
  private func answered(_ sequence: Int64, _ attempt: Int, _ failure: CommitError?) {
    // After a failure was dealt with, late answers to what was sent before it mean nothing any more: the same sequences are on the
    // wire again.
    guard attempt == self.attempt, let index = inFlight.firstIndex(where: { $0.fence.next == sequence }) else { return }
    if let failure {
      // The first failure is the cause; the units behind it fail because of the fence.
      if index == 0, self.failure == nil {
        self.failure = failure
        queue.poke()
      }
    } else {
      inFlight[index].isCommitted = true
      releaseCommitted()
    }
    answerWaiter?.resume()
    answerWaiter = nil
  }

  func releaseCommitted() {
    while let unit = inFlight.first, unit.isCommitted {
      inFlight.removeFirst()
      resendDelay = Self.firstResendDelay
      let position = CommitPosition(term: term, sequence: unit.fence.next)
      core.position = position
      board.committed(position)
      metrics.committed(seconds: (ContinuousClock.now - unit.sentAt).seconds, rows: unit.delta.rowCount)
      release(unit.effects)
    }
  }

  func waitForAnswer() async {
    await withCheckedContinuation { answerWaiter = $0 }
  }

  // MARK: Effects

  func release(_ effects: [Effect]) {
    for effect in effects {
      switch effect {
      case .reply(let request, let result):
        waiters.removeValue(forKey: request)?.resume(with: result.mapError { $0 as any Error })
      case .send(let cluster, let session, let command):
        guard let current = sessions[cluster], current.id == session else { continue }
        current.outbox.send(command, position: board.position)
      case .close(let cluster, let session, let error):
        guard let current = sessions[cluster], current.id == session else { continue }
        current.outbox.close(error)
        disconnect(cluster, session)
      case .load(let reference, let command, let request, let principal, let idempotency):
        load(reference, for: command, request, principal, idempotency)
      case .look(let project, let key): lookAt(key, of: project)
      }
    }
  }

  private func load(
    _ reference: WorkflowReference, for command: Command, _ request: RequestID, _ principal: Principal,
    _ idempotency: IdempotencyKey?
  ) {
    Task {
      do {
        let workflow = try await Self.read(reference, for: command, from: store)
        queue.push(
          own: .loaded(workflow, command, request: request, principal: principal, idempotency: idempotency))
      } catch {
        waiters.removeValue(forKey: request)?.resume(
          throwing: FederationError(
            .unavailable, "the workflow could not be read from the database; try again", cause: error,
            retryAfter: .seconds(1)))
      }
    }
  }

  /// Asks the repository what a document names. A leader that ends meanwhile asks again: nothing of this is durable.
  private func lookAt(_ key: String, of project: ProjectName) {
    Task { [look, queue] in
      var answer: Result<RepositoryObject?, FederationError> = .success(nil)
      for attempt in 0..<6 {
        do {
          answer = .success(
            try await look(project, key).map { RepositoryObject(size: ByteCount($0.size), sha256: $0.sha256) })
          break
        } catch {
          let failure = error as? FederationError ?? FederationError(.unavailable, "the repository does not answer")
          answer = .failure(failure)
          guard failure.isRetryable else { break }
          try? await Task.sleep(for: .milliseconds(500) * (1 << attempt) * Double.random(in: 0.5...1))
        }
      }
      queue.push(own: .looked(project, key: key, answer))
    }
  }

  /// Away from the actor: a large workflow takes long to read and to rebuild.
  @concurrent
  private static func read(
    _ reference: WorkflowReference, for command: Command, from store: ControlPlaneStore
  ) async throws -> RestoredWorkflow? {
    var workflow = try await store.workflow(reference)
    if workflow == nil { workflow = try await store.workflow(uid: reference.name) }
    guard let workflow, workflow.row.project == reference.project else { return nil }
    return RestoredWorkflow(workflow, arguments: command.newArguments)
  }

  // MARK: Failures

  /// - Throws: `End.deposed` when this term is over.
  func recover(from failure: CommitError) async throws {
    switch failure {
    case .fenced:
      logger.warning("a unit was fenced off: another leader has taken over", metadata: ["term": "\(term)"])
      throw End.deposed
    case .connectionLost(let error):
      logger.warning(
        "the database connection broke with units in flight",
        metadata: ["units": "\(inFlight.count)", "error": "\(error)"])
      if failure.needsBackOff {
        // Trying again at once would only fail again: the disk is full, the server is read-only.
        try? await Task.sleep(for: resendDelay)
        resendDelay = min(resendDelay * 2, .seconds(5))
      }
      try await resend()
    case .rejected(let error):
      logger.error("the database refused a unit; rebuilding from the database", metadata: ["error": "\(error)"])
      try await rebuild()
    }
  }

  /// Finds out which units have committed, and puts the others on the wire again, unchanged.
  private func resend() async throws {
    isDatabaseAway = true
    // Whether what they asked for has committed is not known now. They ask again with the same key, and get the one answer.
    tellWaiters(
      FederationError(
        .unavailable,
        "the control plane's database cannot be reached; repeat the request with the same Idempotency-Key",
        retryAfter: .seconds(2)))
    let position = try await positionAfterReconnect()
    isDatabaseAway = false
    for index in inFlight.indices where inFlight[index].fence.next <= position.sequence {
      inFlight[index].isCommitted = true
    }
    releaseCommitted()
    failure = nil
    attempt += 1
    for unit in inFlight { watch(store.send(unit.delta, fence: unit.fence), unit.fence.next) }
  }

  /// Tries until the database answers. The lease decides meanwhile whether this process may still speak to agents.
  private func positionAfterReconnect() async throws -> CommitPosition {
    var delay = Duration.milliseconds(50)
    while true {
      if queue.isClosed { throw End.shutdown }
      do {
        try await store.reconnect()
        let position = try await store.position()
        guard position.term == term else { throw End.deposed }
        return position
      } catch let end as End {
        throw end
      } catch {
        logger.warning("the database cannot be reached", metadata: ["retryIn": "\(delay)", "error": "\(error)"])
        try? await Task.sleep(for: delay)
        delay = min(delay * 2, .seconds(2))
      }
    }
  }

  /// Throws the core away, rebuilds it, and applies the commands in question one by one: the one that the database refuses alone is
  /// answered with that. Agents are made to connect anew: they offer again what was not acknowledged.
  private func rebuild() async throws {
    var commands: [Input] = []
    for unit in inFlight {
      commands += unit.inputs.filter {
        switch $0 {
        case .command, .loaded: true
        default: false
        }
      }
    }
    try await reload()
    for command in commands {
      core.apply(command, at: core.now)
      let (delta, effects) = core.takeOutput()
      guard !delta.isEmpty else {
        release(effects)
        continue
      }
      do {
        try await commitAlone(delta, effects)
      } catch CommitError.rejected(let error) {
        logger.error("a request was refused by the database and dropped", metadata: ["error": "\(error)"])
        refuse(command, error)
        try await reload()
      }
    }
  }

  private func commitAlone(_ delta: DurableDelta, _ effects: [Effect]) async throws {
    let next = max(sequence + 1, (delta.minimumSequence ?? 0) + 1)
    let fence = Fence(term: term, previous: sequence, next: next)
    while true {
      do {
        try await store.send(delta, fence: fence).answer()
        break
      } catch let failure as CommitError where failure.isConnectionLost {
        if failure.needsBackOff { try? await Task.sleep(for: .seconds(1)) }
        if try await positionAfterReconnect().sequence >= next { break }
      } catch CommitError.fenced {
        throw End.deposed
      }
    }
    sequence = next
    core.position = CommitPosition(term: term, sequence: next)
    board.committed(core.position)
    release(effects)
  }

  private func reload() async throws {
    inFlight = []
    failure = nil
    attempt += 1
    closeSessions(
      FederationError(
        .unavailable, "the control plane rebuilds its state; connect again", retryAfter: .milliseconds(200)))
    let position = try await positionAfterReconnect()
    let state = try await store.loadDurable()
    sequence = position.sequence
    // Run ids go on where they were: the counter of the old core is not forgotten.
    core = ControlPlaneCore(
      state: state, position: position, incarnation: incarnation, configuration: configuration,
      runCounter: core.runCounter, history: core.history)
  }

  private func refuse(_ input: Input, _ error: any Error) {
    switch input {
    case .command(_, let request, _, _), .loaded(_, _, let request, _, _):
      waiters.removeValue(forKey: request)?.resume(
        throwing: FederationError(.internal, "the database refused this request; it was not carried out", cause: error))
    default: break
    }
  }
}

/// How long a turn of the leader was, in seconds.
struct TurnCost: Sendable {
  /// By the clock.
  var seconds: Double
  /// CPU time: in all, then of its parts.
  var cpu: Double
  var applying: Double
  var taking: Double
  var snapshot: Double
}

/// What the leader reports about itself; implemented by the metrics registry.
protocol LeaderMetrics: Sendable {
  func turn(inputs: Int, _ cost: TurnCost, queueDepth: Int, _ census: Census)
  func committed(seconds: Double, rows: Int)
}

extension CommitError {
  fileprivate var isConnectionLost: Bool {
    if case .connectionLost = self { true } else { false }
  }
}
