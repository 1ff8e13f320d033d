internal import Execution
internal import FederationModel
internal import KubernetesAPI
internal import Logging
internal import ProcessExecutor
internal import Supervisor

/// What becomes of runs: three watches for each namespace. A watch that breaks says nothing about any run.
extension KubernetesExecutor {
  func watches(of namespace: String) -> [Task<Void, Never>] {
    let mark = mark
    let selector = [("labelSelector", "\(ObjectName.markLabel)=\(mark)")]
    let jobs = Reflector(
      client: client, path: KubernetesPath.collection("batch/v1", "jobs", namespace: namespace), query: selector
    ) { JobFacts($0, mark: mark) }
    let pods = Reflector(
      client: client, path: KubernetesPath.collection("v1", "pods", namespace: namespace), query: selector
    ) { PodFacts($0, mark: mark) }
    // Events have no labels. What is no warning says nothing that the objects themselves do not say.
    let events = Reflector(
      client: client, path: KubernetesPath.collection("v1", "events", namespace: namespace),
      query: [("fieldSelector", "type=Warning")]
    ) { EventFacts($0, mark: mark) }
    return [
      Task { [weak self] in
        for await change in jobs.changes() {
          await self?.heard("\(namespace)/jobs", change) { $0.saw($1, in: namespace) }
        }
      },
      Task { [weak self] in
        for await change in pods.changes() {
          await self?.heard("\(namespace)/pods", change) { $0.saw($1, in: namespace) }
        }
      },
      Task { [weak self] in
        for await change in events.changes() { await self?.heard("\(namespace)/events", change) { $0.saw($1) } }
      },
    ]
  }

  func heard<Object: Sendable>(
    _ what: String, _ change: Reflector<Object>.Change,
    _ body: @Sendable (isolated KubernetesExecutor, Reflector<Object>.Change) -> Void
  ) {
    if case .silent(let why) = change {
      silent[what] = why
      return
    }
    silent[what] = nil
    body(self, change)
    if case .synchronized = change { synchronized.insert(what) }
  }

  // MARK: Jobs

  private func saw(_ change: Reflector<JobFacts>.Change, in namespace: String) {
    switch change {
    case .changed(let job): saw(job)
    case .deleted(let job): gone(job)
    case .synchronized(let jobs):
      for job in jobs { saw(job) }
      let names = Set(jobs.map(\.uid))
      for (id, run) in runs where run.namespace == namespace && !run.isJobGone {
        guard let job = run.job, !names.contains(job.uid) else { continue }
        // The list may have been asked for before this Job was made; then its watch has it.
        if run.isJobSeen { jobVanished(id) } else { Task { await lookFor(id) } }
      }
      for (id, left) in leaving where left.namespace == namespace && left.uid.map({ !names.contains($0) }) ?? false {
        leaving[id] = nil
      }
      considerAll(in: namespace, whose: "jobs")
    case .silent: break
    }
  }

  /// One of the two lists by which runs are judged is complete.
  private func considerAll(in namespace: String, whose list: String) {
    synchronized.insert("\(namespace)/\(list)")
    for (id, run) in runs where run.namespace == namespace && !run.isOver { consider(id) }
  }

  private func saw(_ job: JobFacts) {
    if leaving[job.run] != nil || forgotten.contains(job.run) { return }
    if runs[job.run] == nil { adopt(job.run, namespace: job.namespace) }
    runs[job.run]!.saw(job, isSeen: true)
    makeService(for: job.run)
    consider(job.run)
  }

  private func gone(_ job: JobFacts) {
    leaving[job.run] = nil
    guard let known = runs[job.run]?.job, known.uid == job.uid else { return }
    jobVanished(job.run)
  }

  private func jobVanished(_ id: RunID) {
    runs[id]?.isJobGone = true
    consider(id)
  }

  /// A Job that its creation has answered, and no list has had.
  private func lookFor(_ id: RunID) async {
    guard let run = runs[id], let job = run.job, !run.isJobSeen else { return }
    do throws(FederationError) {
      let found = try await client.get(
        KubernetesPath.object("batch/v1", "jobs", namespace: run.namespace, name: job.name))
      guard let facts = JobFacts(found, mark: mark), facts.uid == job.uid else { return jobVanished(id) }
      runs[id]?.saw(facts, isSeen: true)
    } catch {
      if error.code == .notFound { jobVanished(id) }
    }
  }

  /// Takes up what an earlier process of this agent submitted, or what its journal has lost.
  func adopt(_ id: RunID, namespace: String) {
    let path = workspace(for: id).directory + "/runs-as"
    let runsAs = HostFiles.read(path, limit: 4096).map { String(decoding: $0, as: UTF8.self) }
    runs[id] = TrackedRun(id: id, namespace: namespace, runsAs: runsAs, grace: .seconds(30), now: clock.now)
    runs[id]!.told.logBytes = Self.logSize(workspace(for: id).log)
  }

  // MARK: Pods and events

  private func saw(_ change: Reflector<PodFacts>.Change, in namespace: String) {
    switch change {
    case .changed(let pod): saw(pod)
    case .deleted(let pod): missed(pod)
    case .synchronized(let pods):
      let uids = Set(pods.map(\.uid))
      for pod in pods { saw(pod) }
      for run in runs.values where run.namespace == namespace {
        for pod in run.pods.values where !pod.isGone && !uids.contains(pod.uid) { missed(pod) }
      }
      considerAll(in: namespace, whose: "pods")
    case .silent: break
    }
  }

  /// A pod is said to be gone. Where that would end a run it is asked for by its name first: only its own absence proves it.
  private func missed(_ pod: PodFacts) {
    guard let run = runs[pod.run], !run.isOver else { return isGone(pod) }
    Task { await lookFor(pod) }
  }

  private func isGone(_ pod: PodFacts) {
    var pod = pod
    pod.isGone = true
    saw(pod)
  }

  private func lookFor(_ pod: PodFacts) async {
    while let run = runs[pod.run], !run.isOver {
      do throws(FederationError) {
        var found: PodFacts?
        _ = try await client.list(
          KubernetesPath.collection("v1", "pods", namespace: pod.namespace),
          query: [("fieldSelector", "metadata.name=\(pod.name)")]
        ) { object in
          if let facts = PodFacts(object, mark: mark), facts.uid == pod.uid { found = facts }
        }
        return found.map(saw) ?? isGone(pod)
      } catch {
        logger.debug("a pod cannot be looked for", metadata: ["pod": "\(pod.name)", "error": "\(error)"])
      }
      guard (try? await Task.sleep(for: Self.retryPause)) != nil else { return }
    }
  }

  /// The watch of Jobs may be ahead of that of pods: a Job that is over, and of which no pod is known, is not judged before its pods
  /// were asked for.
  private func lookForPods(of id: RunID) {
    guard runs[id]?.isLookedFor == false else { return }
    runs[id]!.isLookedFor = true
    Task {
      while (try? await Task.sleep(for: .seconds(1))) != nil, let run = runs[id], run.lacksPods {
        do throws(FederationError) {
          var found: [PodFacts] = []
          let name = ObjectName(mark: mark, run: id).text
          _ = try await client.list(
            KubernetesPath.collection("v1", "pods", namespace: run.namespace),
            query: [("labelSelector", "job-name=\(name)")]
          ) { object in
            if let facts = PodFacts(object, mark: mark), facts.run == id { found.append(facts) }
          }
          runs[id]?.isPodless = found.isEmpty
          for pod in found { saw(pod) }
          break
        } catch {
          logger.debug(
            "a Job's pods cannot be looked for", metadata: ["run": "\(id.hexadecimal)", "error": "\(error)"])
        }
      }
      runs[id]?.isLookedFor = false
      consider(id)
    }
  }

  private func saw(_ pod: PodFacts) {
    if leaving[pod.run] != nil || forgotten.contains(pod.run) {
      // Whoever deleted its Job has left it behind.
      if !pod.isGone, !pod.isDeleting, pod.owner == nil { Task { try? await removePod(pod) } }
      return
    }
    if runs[pod.run] == nil {
      guard !pod.isGone else { return }
      adopt(pod.run, namespace: pod.namespace)
    }
    runs[pod.run]!.saw(pod)
    consider(pod.run)
  }

  private func saw(_ change: Reflector<EventFacts>.Change) {
    switch change {
    case .changed(let event): saw(event)
    case .synchronized(let events): for event in events { saw(event) }
    case .deleted, .silent: break
    }
  }

  private func saw(_ event: EventFacts) {
    guard let run = runs[event.run], !run.isOver else { return }
    runs[event.run]!.saw(event)
    consider(event.run)
  }

  // MARK: Verdicts

  /// Comes to a verdict, and acts on it.
  func consider(_ id: RunID) {
    guard let run = runs[id], !run.isOver, !run.isEnding else { return }
    // A Job without its pods, whose list is not here yet, would look like one that never had any.
    guard ["jobs", "pods"].allSatisfy({ synchronized.contains("\(run.namespace)/\($0)") }) else { return }
    // Its submission is not answered yet.
    guard run.job != nil || !run.pods.isEmpty || run.isJobGone else { return }
    if run.lacksPods {
      if !run.isPodless { lookForPods(of: id) }
      guard run.isPodless else { return }
    }
    if let end = run.stop {
      if run.isQuiet { finish(id, Self.actual(end, run, now: clock.now)) }
      return
    }
    switch PodVerdict(run.situation(now: clock.now)) {
    case .wait: break
    case .queued(let reason): tell(id, .queued, reason)
    case .running(let message):
      for pod in run.logPods where pod.isMainRunning { followLog(LogKey(run: id, rank: pod.rank), pod) }
      tell(id, .running, message)
    case .ended(let end): finish(id, end)
    case .stop(let end):
      runs[id]!.stop = end
      if run.isQuiet { return finish(id, end) }
      runs[id]!.deletionDue = clock.now
      Task { await deleteLiving(id) }
    }
  }

  /// What was to be stopped may have ended by itself meanwhile.
  private static func actual(_ end: PodVerdict.End, _ run: TrackedRun, now: ContinuousClock.Instant) -> PodVerdict.End {
    guard run.logPods.first?.isTerminal == true, case .ended(let own) = PodVerdict(run.situation(now: now)) else {
      return end
    }
    return own
  }

  /// Tells a phase when it, or what is said about it, is new. Never goes back.
  func tell(_ id: RunID, _ phase: RunPhase, _ message: String) {
    guard var run = runs[id], !run.isOver, phase.rawValue >= run.told.phase.rawValue else { return }
    guard phase != run.told.phase || message != run.told.message else { return }
    (run.told.phase, run.told.message) = (phase, message)
    if phase == .running { run.told.runsAs = run.runsAs }
    runs[id] = run
    observers.yield(run.told)
  }

  /// The end is told once its log is whole, and, of a gang, what its members have sent is together.
  private func finish(_ id: RunID, _ end: PodVerdict.End) {
    guard let run = runs[id], !run.isOver, !run.isEnding else { return }
    runs[id]!.isEnding = true
    Task {
      if !run.logPods.isEmpty { await completeLog(id) }
      conclude(id, run.job?.gangSize == nil ? end : await gathered(id, end))
    }
  }

  private func gathered(_ id: RunID, _ end: PodVerdict.End) async -> PodVerdict.End {
    do {
      try await files.gather(id)
      return end
    } catch {
      // Of a run without files here nothing was sent.
      if (error as? FederationError)?.code == .notFound { return end }
      let why = (error as? FederationError)?.publicMessage ?? "\(error)"
      guard end.phase == .succeeded else { return end }
      return PodVerdict.End(
        phase: .error, message: "what its members have sent could not be put together: \(why)", wallTime: end.wallTime)
    }
  }

  /// Where the agent looks for it on every cluster.
  private func noteMembers(of run: TrackedRun) {
    guard let codes = run.logPods.first?.memberCodes, !codes.isEmpty else { return }
    let root = workspace(for: run.id).root
    do throws(FederationError) {
      try HostFiles.makeDirectories("/.fubini", below: root)
      try HostFiles.write(
        root + ContainerPlan.endsPath, Array(codes.map { "\($0.name) \($0.code)\n" }.joined().utf8), mode: 0o644)
    } catch {
      logger.warning(
        "how the containers of a set ended could not be noted",
        metadata: ["run": "\(run.id.hexadecimal)", "error": "\(error.publicMessage)"])
    }
  }

  private func conclude(_ id: RunID, _ end: PodVerdict.End) {
    guard var run = runs[id], !run.isOver else { return }
    logsWaiting = logsWaiting.filter { $0.run != id }
    gangLogs[id] = nil
    noteMembers(of: run)
    run.told = RunObservation(
      id: id, phase: end.phase, exitCode: end.exitCode, message: end.message,
      runsAs: run.logPods.isEmpty ? nil : run.runsAs, logBytes: Self.logSize(workspace(for: id).log),
      wallTime: end.wallTime, isUnpaid: end.isUnpaid, cause: end.cause)
    runs[id] = run
    observers.yield(run.told)
    if run.isForgetDue { Task { try await forget([id]) } }
  }
}
