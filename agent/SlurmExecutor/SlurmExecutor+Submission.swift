public import Execution
internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Supervisor

/// Handing runs to Slurm. A crash between any two steps is taken up by `reattach` and by the next submission: what has an attempt
/// on disk without an answer is looked for by name before it is tried again, and the step's claim makes a job too many harmless.
extension SlurmExecutor {
  private static var submissionTimeout: Duration { .seconds(60) }

  public func submit(_ requests: [RunRequest]) async throws {
    for request in requests { await queueing[request.id]?.value }
    var fresh: [RunRequest] = []
    var suspects: [RunRequest] = []
    for request in requests {
      // Without an attempt it was not even noted down: that failed, and is tried again.
      if let run = runs[request.id], !run.isUncertain, run.attempt != nil || run.isOver {
        // A repeated submission starts nothing; an end is told again.
        if run.isOver { observers.yield(run.told) } else if run.awaitsInputs { try release(request) }
      } else if runs[request.id] != nil || records.attempt(request.id) != nil {
        suspects.append(request)
      } else {
        fresh.append(request)
      }
    }
    if !suspects.isEmpty { fresh += try await takeUp(suspects) }
    for request in suspects where runs[request.id].map({ $0.awaitsInputs && !$0.isOver }) ?? false {
      try release(request)
    }
    let room = max(0, configuration.maxJobs - runs.values.count { !$0.isOver })
    let groups = try grouped(Array(fresh.prefix(room)))
    // The commands themselves are few at a time.
    let submissions = groups.map { shape, ids in Task { await submit(ids, shape: shape) } }
    var failure: FederationError?
    for submission in submissions { failure = await submission.value ?? failure }
    if let failure { throw failure }
    guard fresh.count <= room else {
      throw FederationError(
        .resourceExhausted,
        "this cluster takes \(configuration.maxJobs) jobs of the federation at once (slurm.maxJobs)",
        retryAfter: .seconds(5))
    }
  }

  /// Finds out what became of earlier submissions, with one question for all.
  ///
  /// - Returns: those of which there is no trace in Slurm and no claim, so that they must be submitted (again).
  /// - Throws: `.unavailable` when Slurm does not answer.
  private func takeUp(_ suspects: [RunRequest]) async throws -> [RunRequest] {
    for request in suspects {
      if runs[request.id] == nil { adopt(request.id) }
      if runs[request.id]?.isOver == false { runs[request.id]!.isUncertain = true }
    }
    try await poll()
    return suspects.filter { request in
      consider(request.id, looksAtFiles: true)
      guard let run = runs[request.id] else { return true }
      if run.isOver || run.claimed || !run.isUncertain { return false }
      runs[request.id] = nil
      return true
    }
  }

  /// Makes the requests of runs and sorts them by shape, in order. Runs that can never start end here, in `.error`.
  private func grouped(_ requests: [RunRequest]) throws -> [(JobShape, [RunID])] {
    var order: [JobShape] = []
    var groups: [JobShape: [RunID]] = [:]
    for request in requests {
      do throws(FederationError) {
        let shape = try writeRequest(request)
        if groups[shape] == nil { order.append(shape) }
        groups[shape, default: []].append(request.id)
      } catch {
        // A full disk is no fault of the run's.
        if error.isRetryable { throw error }
        refuse(request.id, error.publicMessage)
      }
    }
    var result: [(JobShape, [RunID])] = []
    for shape in order {
      var rest = groups[shape]![...]
      while !rest.isEmpty {
        result.append((shape, Array(rest.prefix(arraySizeMax))))
        rest = rest.dropFirst(arraySizeMax)
      }
    }
    return result
  }

  /// - Parameter inputWait: how long its job may wait for its inputs before it starts it.
  func shape(
    of request: RunRequest, inputWait: Duration = .zero
  ) throws(FederationError) -> (shape: JobShape, walltime: Duration) {
    let limits = try TimeLimits(
      walltime: request.walltime, grace: request.spec.terminationGrace, partition: partition(of: request),
      fallback: configuration.defaultWalltime, inputWait: inputWait)
    var shape = try JobShape(request, limits: limits, configuration: configuration)
    if shape.partition == nil { shape.partition = try JobShape.value(stepAside(request), "partition") }
    return (shape, limits.walltime)
  }

  func writeRequest(_ request: RunRequest, inputWait: Duration = .zero) throws(FederationError) -> JobShape {
    let (shape, walltime) = try shape(of: request, inputWait: inputWait)
    var limited = request
    limited.walltime = walltime
    let workspace = workspace(for: request.id)
    if shape.isBatch { limited = BatchSteps.opening(limited) }
    var supervised = try preparation.supervisedRun(limited, in: workspace, includesSecrets: false)
    let runsAs = records.runsAs(request.id)
    var secrets = request.secrets.map { (name: $0.name, value: $0.value) }
    if let program = preparation.apptainer, runsAs?.hasPrefix(ApptainerEnvironment.imagePrefix) == true {
      secrets = secrets.compactMap { secret in
        ApptainerEnvironment.veiled(secret.name, program: program).map { ($0, secret.value) }
      }
    }
    if shape.gangSize > 1 {
      let names = secrets.map(\.name)
      if supervised.isSandboxed {
        secrets = secrets.compactMap { secret in AuthorEnvironment.veiled(secret.name).map { ($0, secret.value) } }
      }
      if shape.isBatch {
        try BatchSteps.spread(&supervised, in: workspace, program: gangProgram, secrets: names)
      } else {
        try Gang.spread(
          &supervised, shape: shape, program: gangProgram, note: workspace.directory + "/first-failure",
          secrets: names)
      }
    }
    do throws(SystemFailure) {
      try files.writeRequest(supervised)
      if supervised.sliceMs > 0 { try files.raiseSlice(toMs: supervised.sliceMs, of: supervised.id) }
      if !request.secrets.isEmpty || !request.privateFiles.isEmpty {
        try files.writeSecrets(
          secrets.map { "\($0.name)=\($0.value)" },
          request.privateFiles.map { PrivateFile(path: $0.path, mode: $0.mode, bytes: $0.bytes) }, of: supervised.id)
      }
    } catch {
      throw HostFiles.failure("write the request of a run", error.code)
    }
    if runs[request.id] == nil {
      runs[request.id] = TrackedRun(id: request.id, request: supervised, runsAs: runsAs, now: clock.now)
    } else {
      runs[request.id]!.learned(request: supervised, runsAs: runsAs)
    }
    return shape
  }

  /// One `sbatch`: a job for one run, a job array for more.
  ///
  /// - Returns: why they are not in Slurm, if that may change.
  /// - Parameter isAhead: their inputs are not here yet; see `queueAhead`.
  func submit(_ ids: [RunID], shape: JobShape, isAhead: Bool = false) async -> FederationError? {
    let name = JobName(mark: mark, subject: ids.count == 1 ? .run(ids[0]) : .array(.random(in: 1...(.max))))
    let share = stride(of: ids, shape)
    let script = BatchScript(
      shape: shape, name: name,
      subject: ids.count == 1 ? .run(ids[0]) : .array(map: records.map(name), count: ids.count, share: share),
      directory: records.directory(name), configuration: configuration, isAhead: isAhead)
    do {
      try records.noteAttempt(name, runs: ids, isShared: share != nil, isAhead: isAhead)
      if ids.count > 1 { arrays[name] = ids }
      for (index, id) in ids.enumerated() {
        runs[id]?.attempt = .init(
          name: name, index: ids.count > 1 ? index : nil, isShared: share != nil, isAhead: isAhead)
        runs[id]?.awaitsInputs = isAhead
        runs[id]?.isUncertain = true
      }
      let askedAt = clock.now
      let output = try await commands.run(
        configuration.programs.sbatch, script.arguments, input: script.text, timeout: Self.submissionTimeout)
      if output.status == 0, let jobID = Self.jobID(output.standardOutput) {
        try? records.noteAnswer(name, jobID: jobID)
        accepted(ids, jobID: jobID)
        return nil
      }
      let failure = SlurmFailure(output)
      if case .unavailable = failure { health.failed(failure.words, askedAt: askedAt, now: clock.now) }
      if case .refused(let words) = failure {
        for id in ids { refuse(id, "Slurm refused the job: \(words)") }
        return nil
      }
      return failure.error
    } catch let error as FederationError {
      guard error.isRetryable else {
        for id in ids { refuse(id, error.publicMessage) }
        return nil
      }
      return error
    } catch {
      return FederationError(.unavailable, "the submission was interrupted", cause: error, retryAfter: .seconds(1))
    }
  }

  /// See `Sharing`; nil where each run is to have a job for itself.
  private func stride(of ids: [RunID], _ shape: JobShape) -> Int? {
    // What an operator's script prepares is for one run, a gang has its nodes for itself, and a job that Slurm may start again has
    // one run to begin again.
    guard configuration.sharesJobs, configuration.scriptTemplate == nil, shape.gangSize == 1, !shape.requeues else {
      return nil
    }
    let partition = partitions.first { partition in shape.partition.map { $0 == partition.name } ?? partition.isDefault
    }
    guard let partition else { return nil }
    let batch = Set(ids)
    let taken = runs.values.count { !$0.isOver && $0.attempt != nil && !batch.contains($0.id) }
    return Sharing.stride(count: ids.count, slots: Int(clamping: partition.cpus / shape.cpus), taken: taken)
  }

  /// `19`, or `19;cluster`.
  static func jobID(_ output: String) -> UInt64? {
    UInt64(output.prefix { $0.isNumber })
  }

  private func accepted(_ ids: [RunID], jobID: UInt64) {
    let now = clock.now
    for id in ids where runs[id] != nil {
      runs[id]!.attempt?.jobID = jobID
      runs[id]!.isUncertain = false
      // An answer of `squeue` that was asked for before says nothing about the job.
      runs[id]!.factsSince = max(now, runs[id]!.factsSince)
      if runs[id]!.told.phase == .bound {
        tell(id, .queued, "handed to Slurm as job \(runs[id]!.target ?? "\(jobID)")")
      }
      // A step that was quicker than the answer has left its mark meanwhile, and a cancellation may have come.
      consider(id, looksAtFiles: true)
    }
    isPollWanted = true
  }

  /// Ends a run that can never start, for good: the claim is made, so that no job that may be there can start it either.
  func refuse(_ id: RunID, _ message: String) {
    _ = files.takeSecrets(UInt64(id))
    if runs[id] == nil { runs[id] = TrackedRun(id: id, request: nil, runsAs: nil, now: clock.now) }
    guard (try? files.forbid(UInt64(id))) == true else { return consider(id, looksAtFiles: true) }
    runs[id]!.saw(claim: .executor, at: clock.now)
    finish(id, RunObservation(id: id, phase: .error, message: message))
  }

  static var wallClockSeconds: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec)
  }
}

extension UInt64 {
  init(_ id: RunID) { self.init(bitPattern: id.number) }
}

extension TrackedRun {
  /// Whether its step has started.
  var claimed: Bool { claim == .step }
}
