internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess

#if canImport(Glibc)
  internal import Glibc
#endif

/// What goes wrong on real clusters, done to this one. Each returns when it has happened; none touches another cluster.
extension LocalSlurmCluster {
  // MARK: The controller

  /// `kill -9`: what it has not yet written is gone, jobs that it acknowledged included; steps run on.
  public func killController() async throws { try await kill("slurmctld") }

  /// Starts it from its state directory as it is, and waits until it answers.
  public func restartController(timeout: Duration = .seconds(20)) async throws {
    try await startController()
    try await wait(for: "slurmctld", timeout: timeout) {
      (try? await command("scontrol", ["ping"], timeout: .seconds(5)))?.contains(" is UP") ?? false
    }
  }

  /// Keeps a copy of the controller's state as it is on disk now, to go back to.
  ///
  /// - Throws: `failedPrecondition` while the controller runs, because it may be writing.
  public func rememberState() throws {
    try requireNoController()
    try? FileManager.default.removeItem(atPath: paths.remembered)
    try FileManager.default.copyItem(atPath: paths.state, toPath: paths.remembered)
  }

  /// Puts the remembered state back: the controller forgets all that it acknowledged since, and gives the ids out again.
  /// That is what a crash does too, for what it acknowledged in the last seconds; here it is certain.
  ///
  /// - Throws: `failedPrecondition` while the controller runs, or when nothing was remembered.
  public func loseState() throws {
    try requireNoController()
    guard FileManager.default.fileExists(atPath: paths.remembered) else {
      throw FederationError(.failedPrecondition, "No state of \(configuration.name) was remembered.")
    }
    try FileManager.default.removeItem(atPath: paths.state)
    try FileManager.default.copyItem(atPath: paths.remembered, toPath: paths.state)
  }

  private func requireNoController() throws {
    guard daemon("slurmctld") == nil else {
      throw FederationError(.failedPrecondition, "The controller of \(configuration.name) runs: kill it first.")
    }
  }

  /// SIGSTOP: it is there, takes connections, and never answers.
  public func freezeController() throws { try require("slurmctld").signal(SIGSTOP) }
  public func thawController() throws { try require("slurmctld").signal(SIGCONT) }

  // MARK: Nodes and munge

  /// `kill -9` of a node's daemon. Its steps run on; the controller notices after the configured timeout.
  ///
  /// `index` counts from 1.
  public func killNode(_ index: Int) async throws { try await kill(nodeName(index)) }

  /// As a machine that loses power: the node's daemon and every step and job process on it, at once.
  public func losePower(node index: Int) async throws {
    let name = try nodeName(index)
    try await kill(name)
    await JobProcesses.end(configuration: paths.configuration, node: name)
  }

  /// Starts a node's daemon again; the controller takes it back by itself.
  public func restartNode(_ index: Int) throws {
    _ = try nodeName(index)
    try startNode(index)
  }

  /// Where a node keeps the scripts of its jobs: one that is full starts none.
  public func spoolDirectory(ofNode index: Int) -> String { "\(paths.spool)/\(configuration.nodeNames[index - 1])" }

  /// Without it no command and no daemon can prove who it is: everything fails at once.
  public func killMunge() async throws { try await kill("munged") }
  public func restartMunge() async throws { try await startMunge() }

  // MARK: What an administrator does

  /// No new job starts there; those that run go on.
  public func drain(node index: Int, reason: String = "maintenance") async throws {
    try await command("scontrol", ["update", "NodeName=\(nodeName(index))", "State=DRAIN", "Reason=\(reason)"])
  }

  public func resume(node index: Int) async throws {
    try await command("scontrol", ["update", "NodeName=\(nodeName(index))", "State=RESUME"])
  }

  /// Declared dead: its jobs fail with NODE_FAIL at once, unless they may be queued again.
  public func declareDown(node index: Int, reason: String = "broken") async throws {
    try await command("scontrol", ["update", "NodeName=\(nodeName(index))", "State=DOWN", "Reason=\(reason)"])
  }

  /// Ends a job without telling its owner.
  public func cancel(job id: String) async throws { try await command("scancel", [id]) }
  /// Ends a job and queues it again, under the same id.
  public func requeue(job id: String) async throws { try await command("scontrol", ["requeue", id]) }
  public func hold(job id: String) async throws { try await command("scontrol", ["hold", id]) }
  public func release(job id: String) async throws { try await command("scontrol", ["release", id]) }

  // MARK: Means

  private func nodeName(_ index: Int) throws -> String {
    guard (1...configuration.nodes).contains(index) else {
      throw FederationError(.invalidArgument, "\(configuration.name) has nodes 1 to \(configuration.nodes).")
    }
    return configuration.nodeNames[index - 1]
  }

  private func require(_ name: String) throws -> ProcessIdentity {
    guard let identity = daemon(name) else {
      throw FederationError(.failedPrecondition, "\(name) of \(configuration.name) does not run.")
    }
    return identity
  }

  func kill(_ name: String) async throws {
    let identity = try require(name)
    await identity.end(SIGKILL, grace: .seconds(5))
    ChildProcess.reap(identity)
  }
}
