public import Execution
public import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Supervisor

/// Places in Slurm's queue for runs whose inputs are still on their way, so that a run waits for the longer of the two (I5).
///
/// Such a job is an ordinary one, neither held nor given a begin time: only then does Slurm count its age and plan for it. Its step
/// starts nothing before `submit` has said that the inputs are here; a job that starts too early waits `inputWait` for that and then
/// gives its nodes back. That happens to a run once at most: afterwards it is submitted when everything is here.
extension SlurmExecutor {
  public func queueAhead(_ awaited: [AwaitedRun]) async -> [RunID] {
    guard configuration.inputWait > .zero else { return awaited.map(\.request.id) }
    var settled: [RunID] = []
    var fresh: [RunRequest] = []
    for one in awaited {
      let id = one.request.id
      if runs[id] != nil || queueing[id] != nil || records.attempt(id) != nil || records.wasPutBack(id) {
        settled.append(id)
      } else if one.inputsIn <= configuration.inputWait + expectedWait(one.request) {
        fresh.append(one.request)
      }
    }
    let room = max(0, configuration.maxJobs - runs.values.count { !$0.isOver })
    fresh = Array(fresh.prefix(room))
    guard !fresh.isEmpty, closed == nil, preparation.diskShortage == nil else { return settled }
    let task = Task { await enqueue(fresh) }
    for request in fresh { queueing[request.id] = task }
    await task.value
    for request in fresh { queueing[request.id] = nil }
    return settled + fresh.map(\.id)
  }

  /// What a job of this run waits for at least, three times out of four; zero where nothing is known.
  private func expectedWait(_ request: RunRequest) -> Duration {
    guard let name = partition(of: request)?.name else { return .zero }
    let cpus =
      max(1, (request.spec.resources.cpuMillicores + 999) / 1000) * Int64(max(1, request.spec.federation.gangSize))
    return history.shortWait(in: name, cpus: cpus) ?? .zero
  }

  /// A run that cannot be enqueued now or ever is told so by `submit`.
  private func enqueue(_ requests: [RunRequest]) async {
    var order: [JobShape] = []
    var groups: [JobShape: [RunID]] = [:]
    for request in requests {
      do {
        let shape = try shape(of: request, inputWait: configuration.inputWait).shape
        try preparation.prepare(request, in: workspace(for: request.id))
        try files.tellInputs(areHere: false, of: UInt64(request.id))
        runs[request.id] = TrackedRun(id: request.id, request: nil, runsAs: nil, now: clock.now)
        if groups[shape] == nil { order.append(shape) }
        groups[shape, default: []].append(request.id)
      } catch { continue }
    }
    for shape in order {
      var rest = groups[shape]![...]
      while !rest.isEmpty {
        _ = await submit(Array(rest.prefix(arraySizeMax)), shape: shape, isAhead: true)
        rest = rest.dropFirst(arraySizeMax)
      }
    }
  }

  /// The inputs of a run that has its place in the queue are here: its job may start it.
  ///
  /// - Throws: `.resourceExhausted` when the shared directory cannot be written.
  func release(_ request: RunRequest) throws(FederationError) {
    let id = request.id
    do throws(FederationError) { _ = try writeRequest(request, inputWait: configuration.inputWait) } catch {
      if error.isRetryable { throw error }
      return refuse(id, error.publicMessage)
    }
    do throws(SystemFailure) { try files.tellInputs(areHere: true, of: UInt64(id)) } catch {
      throw HostFiles.failure("say that the inputs of a run are here", error.code)
    }
    runs[id]?.awaitsInputs = false
    consider(id, looksAtFiles: true)
    // What was told of its place in the queue was not the run's own word yet.
    if let run = runs[id], !run.isOver, run.told.phase == .queued { observers.yield(run.told) }
  }

  /// Its job started before its inputs were here and gave its nodes back, having started nothing. Should its inputs have come in that
  /// very moment, it is submitted again, else when they come.
  func putBack(_ id: RunID) {
    guard let attempt = runs[id]?.attempt else { return }
    records.putBack(id)
    runs[id] = nil
    releaseSubmission(attempt.name, without: id)
    putBackCount += 1
    observers.yield(
      RunObservation(
        id: id, phase: .bound,
        message:
          "its job in Slurm began before its inputs were here, waited \(configuration.inputWait.components.seconds) s and gave its place back"
      ))
  }
}
