public import Execution
public import FederationModel
internal import Glibc
internal import KubernetesAPI
internal import ProcessExecutor

/// Handing runs over: first the Secret, then the Job. Names make it safe to do again: what is there already is ours, or somebody else's.
extension KubernetesExecutor {
  public func submit(_ requests: [RunRequest]) async throws {
    var failure: FederationError?
    await withTaskGroup(of: FederationError?.self) { group in
      for request in requests {
        if let run = runs[request.id], run.isOver || run.job != nil {
          // A repeated submission starts nothing; an end is told again.
          if run.isOver { observers.yield(run.told) }
          continue
        }
        group.addTask { [self] in
          do { try await writes.run { try await submit(request) } } catch {
            return error as? FederationError ?? FederationError(.internal, "\(error)")
          }
          return nil
        }
      }
      for await result in group { failure = failure ?? result }
    }
    if let failure { throw failure }
  }

  private func submit(_ request: RunRequest) async throws(FederationError) {
    if let closed { throw FederationError(.unavailable, closed, retryAfter: .seconds(5)) }
    guard runs.values.count(where: { !$0.isOver }) < configuration.jobsMax else {
      throw FederationError(
        .resourceExhausted,
        "this cluster takes \(configuration.jobsMax) Jobs of the federation at once (kubernetes.maxJobs)",
        retryAfter: .seconds(5))
    }
    let manifest: JobManifest
    do throws(FederationError) {
      manifest = try self.manifest(request, owner: try await owner(of: request))
    } catch {
      if Self.mayPass(error) { throw Self.passing(error) }
      return refuse(request.id, error.publicMessage)
    }
    if runs[request.id] == nil {
      runs[request.id] = TrackedRun(
        id: request.id, namespace: manifest.namespace, runsAs: manifest.runsAs, grace: request.spec.terminationGrace,
        now: clock.now)
    }
    do throws(FederationError) {
      if let problem = try await createClaims(manifest) { return refuse(request.id, problem) }
      guard try await createSecret(manifest, of: request.id) else { return }
      let made = try await client.create(
        KubernetesPath.collection("batch/v1", "jobs", namespace: manifest.namespace), manifest.job)
      if let job = JobFacts(made, mark: mark) { accept(job, request.id) }
    } catch {
      if error.code == .alreadyExists { return try await takeUp(manifest, request.id) }
      // Whether there is a Job then nobody knows: its watch would tell, and so does the next try.
      if Self.mayPass(error) || runs[request.id]?.job != nil {
        if runs[request.id]?.job == nil, runs[request.id]?.isOver == false { runs[request.id] = nil }
        throw Self.passing(error)
      }
      await removeSecret(of: request.id, manifest)
      refuse(request.id, error.publicMessage)
    }
  }

  private func manifest(
    _ request: RunRequest, owner: ResourceOwner?
  ) throws(FederationError) -> JobManifest {
    let workspace = workspace(for: request.id)
    let access: PodAccess
    do { access = try files.access(for: request.id) } catch {
      throw error as? FederationError
        ?? FederationError(.unavailable, "the agent's server of pods' files is not there", cause: error)
    }
    if let script = request.spec.script {
      try HostFiles.write("\(workspace.directory)/\(JobManifest.scriptFile)", script.utf8, mode: 0o755)
    }
    let manifest = try JobManifest(
      request, configuration,
      .init(
        mark: mark, workspace: workspace, access: access, minor: version?.minor ?? configuration.minimumMinor,
        owner: owner,
        exists: { path in
          var status = stat()
          return lstat(path, &status) == 0
        }))
    do { try files.share(manifest.shared, of: request.id, in: workspace) } catch {
      throw error as? FederationError ?? FederationError(.internal, "a run's files cannot be shared", cause: error)
    }
    try HostFiles.write(workspace.directory + "/runs-as", manifest.runsAs.utf8, mode: 0o600)
    if let slice = request.slice { try raiseSlice(of: request.id, to: slice) }
    // What is there in the cluster is to be looked for under this namespace, also by a later process.
    try HostFiles.write(workspace.directory + "/namespace", manifest.namespace.utf8, mode: 0o600)
    return manifest
  }

  // MARK: Slices

  public func canExtend() async -> Bool { true }

  /// Its pods ask for it, from where its files are. A run whose files are gone has been forgotten.
  public func extend(_ slices: [RunID: Duration]) async throws {
    for (id, slice) in slices where HostFiles.exists(workspace(for: id).directory) { try raiseSlice(of: id, to: slice) }
  }

  /// An end only moves later.
  private func raiseSlice(of id: RunID, to slice: Duration) throws(FederationError) {
    let path = workspace(for: id).slice
    let held = HostFiles.read(path, limit: 32).flatMap { Int64(String(decoding: $0, as: UTF8.self)) } ?? 0
    guard slice.milliseconds > held else { return }
    try HostFiles.replace(path, with: String(slice.milliseconds).utf8, mode: 0o600)
  }

  /// - Returns: false when the run has ended, because the Secret's name is taken.
  private func createSecret(_ manifest: JobManifest, of id: RunID) async throws(FederationError) -> Bool {
    let collection = KubernetesPath.collection("v1", "secrets", namespace: manifest.namespace)
    do throws(FederationError) {
      let made = try await client.create(collection, manifest.secret)
      runs[id]?.secretUID = made["metadata"]?["uid"]?.stringValue
      return true
    } catch {
      guard error.code == .alreadyExists else { throw error }
    }
    let path = KubernetesPath.object("v1", "secrets", namespace: manifest.namespace, name: manifest.name.text)
    let found = try await client.get(path)
    guard let metadata = found["metadata"], ObjectName(metadata: metadata, mark: mark) == manifest.name else {
      refuse(id, "there is a Secret \(manifest.name.text) in namespace \(manifest.namespace) that is somebody else's")
      return false
    }
    // Of an earlier try. If that one made the Job, too, the next step finds it, and this Secret serves it.
    runs[id]?.secretUID = metadata["uid"]?.stringValue
    guard try await existing(manifest) == nil else { return true }
    _ = try await client.delete(path, options: Self.precondition(metadata["uid"]?.stringValue))
    let made = try await client.create(collection, manifest.secret)
    runs[id]?.secretUID = made["metadata"]?["uid"]?.stringValue
    return true
  }

  private func existing(_ manifest: JobManifest) async throws(FederationError) -> JSONValue? {
    do throws(FederationError) {
      return try await client.get(
        KubernetesPath.object("batch/v1", "jobs", namespace: manifest.namespace, name: manifest.name.text))
    } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }

  /// There is a Job of that name.
  private func takeUp(_ manifest: JobManifest, _ id: RunID) async throws(FederationError) {
    guard let found = try await existing(manifest) else {
      throw FederationError(.unavailable, "a Job of the run was there, and is not any more", retryAfter: .seconds(1))
    }
    guard let job = JobFacts(found, mark: mark), job.run == id else {
      await removeSecret(of: id, manifest)
      return refuse(
        id, "there is a Job \(manifest.name.text) in namespace \(manifest.namespace) that is somebody else's")
    }
    accept(job, id)
  }

  private func accept(_ job: JobFacts, _ id: RunID) {
    runs[id]?.saw(job, isSeen: false)
    makeService(for: id)
    consider(id)
  }

  // MARK: The Service of a gang

  /// It is its Job's, so that it can only be made when that is there; and so an agent that takes up a Job looks after it again.
  func makeService(for id: RunID) {
    guard let run = runs[id], !run.isOver, !run.hasService, let job = run.job, job.gangSize != nil, !job.isDeleting
    else { return }
    runs[id]!.hasService = true
    Task { await makeService(job) }
  }

  private func makeService(_ job: JobFacts) async {
    while let run = runs[job.run], !run.isOver, run.stop == nil {
      do throws(FederationError) {
        _ = try await client.create(
          KubernetesPath.collection("v1", "services", namespace: job.namespace),
          JobManifest.service(for: job, mark: mark))
        return
      } catch {
        if error.code == .alreadyExists {
          guard let isOurs = await hasService(job) else { continue }
          return isOurs
            ? () : stop(job.run, "there is a Service \(job.name) in namespace \(job.namespace) that is somebody else's")
        }
        if error.code == .permissionDenied { noteRefusal("create services", error) }
        guard error.isRetryable else {
          return stop(job.run, "the Service of its gang could not be made: \(error.publicMessage)")
        }
      }
      guard (try? await Task.sleep(for: Self.retryPause)) != nil else { return }
    }
  }

  /// Whether the Service of this name is that Job's; nil when nobody could say, or when it has gone.
  private func hasService(_ job: JobFacts) async -> Bool? {
    let path = KubernetesPath.object("v1", "services", namespace: job.namespace, name: job.name)
    guard let found = try? await client.get(path) else {
      try? await Task.sleep(for: Self.retryPause)
      return nil
    }
    return found["metadata"]?["ownerReferences"]?.arrayValue?.contains { $0["uid"]?.stringValue == job.uid } ?? false
  }

  /// It cannot go on: it ends in Error once nothing of it is left.
  private func stop(_ id: RunID, _ message: String) {
    guard let run = runs[id], !run.isOver, run.stop == nil else { return }
    runs[id]!.stop = PodVerdict.End(phase: .error, message: message)
    runs[id]!.deletionDue = clock.now
    Task { await deleteLiving(id) }
  }

  /// A run that can never start ends here.
  func refuse(_ id: RunID, _ message: String) {
    var run =
      runs[id] ?? TrackedRun(id: id, namespace: configuration.namespace, runsAs: nil, grace: .zero, now: clock.now)
    guard !run.isOver else { return }
    run.told = RunObservation(id: id, phase: .error, message: message)
    run.isJobGone = true
    runs[id] = run
    observers.yield(run.told)
  }

  /// Of a run that never begins, if this process made it.
  private func removeSecret(of id: RunID, _ manifest: JobManifest) async {
    guard let uid = runs[id]?.secretUID else { return }
    _ = try? await client.delete(
      KubernetesPath.object("v1", "secrets", namespace: manifest.namespace, name: manifest.name.text),
      options: Self.precondition(uid))
  }

  static func precondition(_ uid: String?) -> JSONValue {
    var options: [String: JSONValue] = ["apiVersion": "v1", "kind": "DeleteOptions"]
    if let uid { options["preconditions"] = ["uid": .string(uid)] }
    return .object(options)
  }

  /// What a quota or a missing right refuses may be accepted later; what is forbidden by a policy, or no Job at all, never.
  static func mayPass(_ error: FederationError) -> Bool {
    if error.isRetryable { return true }
    guard error.code == .permissionDenied || error.code == .unauthenticated else { return false }
    return error.code == .unauthenticated || error.publicMessage.contains("exceeded quota")
      || error.publicMessage.contains("cannot create resource") || error.publicMessage.contains("cannot get resource")
      || error.publicMessage.contains("because it is being terminated")
  }

  private static func passing(_ error: FederationError) -> FederationError {
    var error = error
    if !error.isRetryable {
      error = FederationError(.unavailable, error.publicMessage, cause: error, retryAfter: .seconds(5))
    }
    return error
  }
}
