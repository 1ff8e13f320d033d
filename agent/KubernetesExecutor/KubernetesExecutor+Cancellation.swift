internal import DequeModule
public import Execution
public import FederationModel
internal import KubernetesAPI
internal import Logging
internal import ProcessExecutor

/// Ending runs, and forgetting them.
extension KubernetesExecutor {
  /// Of a pod whose cancellation leaves no time: not 0, which would take the object away before anything has ended.
  private static var shortestGraceSeconds: Int64 { 1 }
  /// For an API server that does not answer.
  static var retryPause: Duration { .seconds(5) }
  private static var turnPatience: Duration { .seconds(300) }
  private static var attachPatience: Duration { .seconds(15) }

  /// Kubernetes knows one way to ask a program to end, which is SIGTERM: the agent's program in the pod then asks which signal is meant.
  public func cancel(_ id: RunID, grace: Duration, signal: PreemptionHook.Signal?) async throws {
    guard let run = runs[id], !run.isOver else { return }
    runs[id]!.isCancelRequested = true
    runs[id]!.cancelGrace = min(run.cancelGrace ?? grace, grace)
    if let signal {
      let text = "\(signal.number) \(max(0, grace.milliseconds))"
      try HostFiles.replace(workspace(for: id).farewell, with: text.utf8, mode: 0o600)
    }
    await deleteLiving(id)
    consider(id)
  }

  /// The Job first, so that it makes no other pod; our finalizer keeps it until its end is recorded. Then its pods, with their time.
  ///
  /// It is done again as long as something lives, because what the API server is asked for may get lost.
  func deleteLiving(_ id: RunID) async {
    guard let run = runs[id], !run.isOver else { return }
    runs[id]!.deletionDue = clock.now + Self.retryPause
    if let job = run.job, !job.isDeleting, !run.isJobGone {
      runs[id]!.hasDeletedJob = true
      var options = Self.precondition(job.uid)
      if case .object(var fields) = options {
        fields["propagationPolicy"] = "Background"
        options = .object(fields)
      }
      do throws(FederationError) {
        let path = KubernetesPath.object("batch/v1", "jobs", namespace: job.namespace, name: job.name)
        let left = try await client.delete(path, options: options)
        if let facts = JobFacts(left, mark: mark), facts.uid == job.uid { runs[id]?.saw(facts, isSeen: run.isJobSeen) }
      } catch {
        guard error.code == .notFound else { return noteRefusal("delete jobs", error) }
      }
    }
    let seconds = graceSeconds(run)
    for pod in run.livePods {
      // Told once with this grace, it needs no second word unless the grace is shorter now.
      var options = Self.precondition(pod.uid)
      if case .object(var fields) = options {
        fields["gracePeriodSeconds"] = .integer(seconds)
        options = .object(fields)
      }
      if pod.isDeleting, !mustShorten(id, seconds) { continue }
      do throws(FederationError) {
        _ = try await client.delete(
          KubernetesPath.object("v1", "pods", namespace: pod.namespace, name: pod.name), options: options)
        toldGrace[id] = seconds
      } catch {
        guard error.code == .notFound || error.code == .failedPrecondition else {
          return noteRefusal("delete pods", error)
        }
      }
    }
    consider(id)
  }

  private func mustShorten(_ id: RunID, _ seconds: Int64) -> Bool { toldGrace[id].map { seconds < $0 } ?? true }

  /// With time for outputs where the program has all of its own.
  private func graceSeconds(_ run: TrackedRun) -> Int64 {
    guard let grace = run.cancelGrace else { return PodTemplate.graceSeconds(run.grace) }
    if grace >= run.grace { return PodTemplate.graceSeconds(grace) }
    return max(Self.shortestGraceSeconds, (grace.milliseconds + 999) / 1000)
  }

  func noteRefusal(_ what: String, _ error: FederationError) {
    if error.code == .permissionDenied {
      refusals[what] = error.publicMessage
    } else {
      logger.warning("\(what) failed; it is tried again", metadata: ["error": "\(error.publicMessage)"])
    }
  }

  // MARK: After a restart

  /// Complete lists of all namespaces are the only proof that something is not there.
  public func reattach(known: [RunID]) async throws -> [RunObservation] {
    let needed = configuration.allNamespaces.flatMap { ["\($0)/jobs", "\($0)/pods"] }
    let began = clock.now
    while !needed.allSatisfy(synchronized.contains) {
      guard clock.now - began < Self.attachPatience else {
        let missing = needed.first { !synchronized.contains($0) } ?? ""
        throw FederationError(
          .unavailable, "the API server has not listed \(missing)\(silent[missing].map { ": \($0)" } ?? "")",
          retryAfter: .seconds(2))
      }
      try await Task.sleep(for: .milliseconds(20))
    }
    for id in runs.keys.sorted() { consider(id) }
    var found = runs.mapValues(\.told)
    for (id, told) in found where told.phase == .bound {
      found[id]!.phase = .queued
      found[id]!.message = "in Kubernetes, which has not said more yet"
    }
    for id in known where found[id] == nil {
      // Without a Job it was never started: the finalizer would have kept it.
      found[id] = RunObservation(id: id, phase: .bound)
    }
    return found.values.sorted { $0.id < $1.id }
  }

  public func discardRoot(of run: RunID) async {
    let root = workspace(for: run).root
    await Task.detached(priority: .utility) { HostFiles.remove(root) }.value
  }

  /// Its files go at once; its objects as soon as the API server answers. A run that is not known to be over keeps both until it is.
  public func forget(_ ids: [RunID]) async throws {
    var going: [RunID] = []
    for id in ids {
      if let run = runs[id], !run.isOver {
        runs[id]!.isForgetDue = true
        continue
      }
      let directory = workspace(for: id).directory
      let namespace =
        runs[id]?.namespace
        ?? HostFiles.read(directory + "/namespace", limit: 300).map { String(decoding: $0, as: UTF8.self) }
      for key in logs.keys where key.run == id { logs.removeValue(forKey: key)?.task.cancel() }
      gangLogs[id] = nil
      // Without a namespace nothing was ever asked for.
      if let namespace, HostFiles.exists(directory + "/namespace") || runs[id]?.job != nil {
        leaving[id] = Leaving(
          namespace: namespace, uid: runs[id]?.job?.uid, secretUID: runs[id]?.secretUID,
          orphans: runs[id]?.pods.values.filter { !$0.isGone && $0.owner == nil } ?? [],
          // It waits for its turn below; what is tried again, the clock finds.
          due: clock.now + Self.turnPatience)
        going.append(id)
      }
      runs[id] = nil
      toldGrace[id] = nil
      remember(id)
      trash.take(directory)
    }
    await withTaskGroup(of: Void.self) { group in
      for id in going { group.addTask { [self] in await writes.run { await remove(id) } } }
    }
  }

  private func remember(_ id: RunID) {
    guard forgotten.insert(id).inserted else { return }
    forgottenInOrder.append(id)
    if forgottenInOrder.count > Self.forgottenMax, let oldest = forgottenInOrder.popFirst() { forgotten.remove(oldest) }
  }

  /// Takes the finalizer away and deletes Job and Secret: ours alone, by their UID (I7).
  func remove(_ id: RunID) async {
    guard var left = leaving[id] else { return }
    left.due = clock.now + Self.turnPatience
    leaving[id] = left
    let name = ObjectName(mark: mark, run: id).text
    do throws(FederationError) {
      let job = KubernetesPath.object("batch/v1", "jobs", namespace: left.namespace, name: name)
      let secret = KubernetesPath.object("v1", "secrets", namespace: left.namespace, name: name)
      if left.uid == nil { left.uid = try await uid(ofOurs: job) }
      if let uid = left.uid { try await removeJob(name, uid, in: left.namespace) }
      if left.secretUID == nil { left.secretUID = try await uid(ofOurs: secret) }
      if let uid = left.secretUID {
        try await ignoringAbsence {
          () async throws(FederationError) in
          _ = try await client.delete(secret, options: Self.precondition(uid))
        }
      }
      for pod in left.orphans { try await removePod(pod) }
      leaving[id] = nil
    } catch {
      left.failures += 1
      left.due = clock.now + min(Self.retryPause * (1 << min(left.failures, 4)), .seconds(60))
      leaving[id] = left
      noteRefusal("clean-up of finished runs", error)
    }
  }

  /// Of a run that is forgotten.
  func removePod(_ pod: PodFacts) async throws(FederationError) {
    try await ignoringAbsence {
      () async throws(FederationError) in
      _ = try await client.delete(
        KubernetesPath.object("v1", "pods", namespace: pod.namespace, name: pod.name),
        options: Self.precondition(pod.uid))
    }
  }

  private func removeJob(_ name: String, _ uid: String, in namespace: String) async throws(FederationError) {
    let path = KubernetesPath.object("batch/v1", "jobs", namespace: namespace, name: name)
    try await ignoringAbsence {
      () async throws(FederationError) in
      // A UID in a patch is a precondition: of a namesake nothing is taken away.
      _ = try await client.patch(
        path, ["metadata": ["uid": .string(uid), "finalizers": .null]], type: .merge)
    }
    var options = Self.precondition(uid)
    if case .object(var fields) = options {
      fields["propagationPolicy"] = "Background"
      options = .object(fields)
    }
    try await ignoringAbsence { () async throws(FederationError) in _ = try await client.delete(path, options: options)
    }
  }

  /// nil: there is none, or it is somebody else's.
  private func uid(ofOurs path: String) async throws(FederationError) -> String? {
    do throws(FederationError) {
      guard let metadata = try await client.get(path)["metadata"], ObjectName(metadata: metadata, mark: mark) != nil
      else { return nil }
      return metadata["uid"]?.stringValue
    } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }

  /// What is gone, or is another one by now, is not ours to delete.
  private func ignoringAbsence(_ body: () async throws(FederationError) -> Void) async throws(FederationError) {
    do throws(FederationError) { try await body() } catch {
      guard error.code == .notFound || error.code == .failedPrecondition || error.code == .alreadyExists else {
        throw error
      }
    }
  }
}
