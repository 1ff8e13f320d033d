internal import Execution
internal import FederationModel
internal import Logging

/// Hands runs over to the executor, in order, in batches, beside the loop of the `RunDriver`.
///
/// One run's trouble is its own: a run that can never start ends with the reason, and one that cannot start now is offered again
/// later, with a back-off of its own, while the others go on. The executor makes a repeated submission harmless (I1).
struct Submission: Sendable {
  static let batchMax = 1024
  static let fillsAtOnce = 16

  struct Offer: Sendable {
    var ids: [RunID]
    /// How often it was tried before.
    var attempt = 0
  }

  let executor: any Executor
  /// nil for a run that has been erased meanwhile.
  let request: @Sendable (RunID) -> RunRequest?
  /// Bounded by the runs that were offered.
  let tell: @Sendable (RunTableInput) -> Void
  let logger: Logger
  /// Asked right before each try: what was cancelled or replaced while it waited must not begin any more (I1).
  var isWanted: @Sendable (RunID) -> Bool = { _ in true }
  /// Gives a run the values of the secrets and config maps that its template names.
  var fill: @Sendable (RunRequest) async throws -> RunRequest = { $0 }

  /// Until the task is cancelled. What then waits is submitted by the next agent: the journal knows of it.
  func run(_ offers: Mailbox<Offer>) async {
    await withDiscardingTaskGroup { group in
      while let taken = await offers.receive(limit: 64) {
        for offer in Self.merged(taken) {
          var rest = offer.ids[...]
          while !rest.isEmpty {
            let again = await submit(Array(rest.prefix(Self.batchMax)), attempt: offer.attempt)
            rest = rest.dropFirst(Self.batchMax)
            for id in again {
              group.addTask {
                guard (try? await Task.sleep(for: RunDriver.pause(offer.attempt + 1))) != nil else { return }
                offers.sendAtOnce(Offer(ids: [id], attempt: offer.attempt + 1))
              }
            }
          }
        }
      }
      group.cancelAll()
    }
  }

  /// What came while the last batch was handed over goes as one: executors do more with many at once.
  private static func merged(_ offers: [Offer]) -> [Offer] {
    var found: [Offer] = []
    for offer in offers {
      if found.last?.attempt == offer.attempt {
        found[found.count - 1].ids += offer.ids
      } else {
        found.append(offer)
      }
    }
    return found
  }

  /// - Returns: the runs to offer again.
  private func submit(_ ids: [RunID], attempt: Int) async -> [RunID] {
    var ready: [RunRequest] = []
    var again: [RunID] = []
    for id in ids {
      guard let request = request(id) else { continue }
      guard isWanted(id) else {
        tell(.submissionFailed(id, message: "its end was wanted before it began"))
        continue
      }
      do {
        // With inputs it was prepared when they were staged.
        if !request.isStaged { _ = try await executor.prepare(request) }
        ready.append(request)
      } catch { if refused(id, error) { again.append(id) } }
    }
    for (id, error) in await fillAll(&ready) where refused(id, error) { again.append(id) }
    guard !ready.isEmpty else { return again }
    do {
      try await executor.submit(ready)
      tell(.submissionAccepted(ready.map(\.id)))
    } catch let error where Self.failure(error).isRetryable || ready.count == 1 {
      let later = ready.map(\.id).filter { refused($0, error) }
      if attempt == 0, !later.isEmpty {
        logger.warning(
          "runs could not be handed over; trying again",
          metadata: ["count": "\(later.count)", "error": "\(Self.failure(error).publicMessage)"])
      }
      again += later
    } catch {
      // One of them spoils the batch for all: each alone.
      for request in ready { again += await submit([request.id], attempt: attempt) }
    }
    return again
  }

  /// Values are asked for a few at a time: each is a way to the control plane and back.
  ///
  /// - Returns: the runs that cannot be had now or ever, which are taken out.
  private func fillAll(_ runs: inout [RunRequest]) async -> [(RunID, any Error)] {
    let needy = runs.filter(RunObjects.hasWork)
    guard !needy.isEmpty else { return [] }
    let limiter = Limiter(limit: Self.fillsAtOnce)
    var filled: [RunID: RunRequest] = [:]
    var failures: [(RunID, any Error)] = []
    await withTaskGroup(of: (RunID, Result<RunRequest, any Error>).self) { group in
      for request in needy {
        group.addTask {
          do { return (request.id, .success(try await limiter.run { try await fill(request) })) } catch {
            return (request.id, .failure(error))
          }
        }
      }
      for await (id, result) in group {
        switch result {
        case .success(let request): filled[id] = request
        case .failure(let error): failures.append((id, error))
        }
      }
    }
    let failed = Set(failures.map(\.0))
    runs = runs.compactMap { failed.contains($0.id) ? nil : filled[$0.id] ?? $0 }
    return failures
  }

  /// Tells the table; whether the run is to be offered again.
  private func refused(_ id: RunID, _ error: any Error) -> Bool {
    if Task.isCancelled { return false }
    let failure = Self.failure(error)
    guard failure.isRetryable else {
      tell(.submissionFailed(id, message: failure.publicMessage))
      return false
    }
    tell(.submissionPaused([id], reason: failure.publicMessage))
    return true
  }

  private static func failure(_ error: any Error) -> FederationError {
    error as? FederationError ?? FederationError(.internal, "\(error)")
  }
}
