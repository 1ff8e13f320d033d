internal import FederationModel
internal import FoundationEssentials
public import LocalProcess

#if canImport(Glibc)
  internal import Glibc
#endif

/// A real Slurm cluster of one's own on this machine: munge, controller and node daemons without systemd, on the loopback,
/// with a key, ports and state of its own, so that several live side by side.
///
/// It is started by root or by an ordinary user; of the latter all jobs are that user's. The value holds nothing but its
/// description: what runs is written down in the directory, each process by id and start time, so another process that is
/// given the same directory finds the cluster, and ends exactly it. Jobs that are queued survive `stop` and `start`.
///
/// ```swift
/// let cluster = try LocalSlurmCluster(.init(directory: "/tmp/hpc", name: "hpc"))
/// try await cluster.start()
/// let answer = try await cluster.command("sbatch", ["--wrap", "hostname"])
/// await cluster.stop()
/// ```
public struct LocalSlurmCluster: Sendable {
  public let configuration: Configuration
  let paths: Paths

  /// - Throws: `invalidArgument`, when no such cluster can be; `failedPrecondition`, when Slurm is not installed.
  public init(_ configuration: Configuration) throws {
    if let problem = configuration.problem {
      throw FederationError(.invalidArgument, "Not a local Slurm cluster: \(problem).")
    }
    if let missing = SlurmPrograms.missing { throw missing }
    if configuration.keepsAccounts, let missing = SlurmPrograms.missingAccounting { throw missing }
    self.configuration = configuration
    paths = Paths(directory: configuration.directory)
  }

  /// What Slurm's commands need to talk to this cluster and to no other.
  public var environment: [String: String] { ["SLURM_CONF": configurationFile] }
  public var configurationFile: String { paths.configuration }

  /// Starts what does not run already, and waits until the controller answers and every node is ready.
  ///
  /// - Throws: `unavailable` or `deadlineExceeded` with the end of the log of the daemon that did not come up. What did come
  ///   up then runs on: `stop` ends it.
  public func start(timeout: Duration = .seconds(30)) async throws {
    for attempt in 1...3 {
      try prepare()
      do {
        try await startMunge()
        if configuration.keepsAccounts { try await startAccounting() }
        try await startController()
        for index in 1...configuration.nodes { try startNode(index) }
        return try await awaitReady(timeout: timeout)
      } catch let error as FederationError {
        // Somebody was faster to take a port than the daemon that it was drawn for: others are drawn, if nothing runs yet.
        guard attempt < 3, error.publicMessage.contains("Address already in use") else { throw error }
        await stop()
        unlink(paths.configuration)
      }
    }
  }

  /// Ends the controller, which saves its state; the nodes; every step and process of its jobs; accounting; munge. Nothing else.
  public func stop() async { await Self.stop(directory: configuration.directory) }

  /// The same for whatever cluster has its files in `directory`; nothing when there is none.
  public static func stop(directory: String) async {
    let paths = Paths(directory: directory)
    let names = ((try? FileManager.default.contentsOfDirectory(atPath: paths.pid)) ?? [])
      .filter { $0.hasSuffix(".json") }.map { String($0.dropLast(5)) }
    let nodes = names.filter { !["slurmrestd", "slurmctld", "slurmdbd", "mariadbd", "munged"].contains($0) }
    await end(["slurmrestd"], paths)
    await end(["slurmctld"], paths)
    await end(nodes, paths)
    if !names.isEmpty { await JobProcesses.end(configuration: paths.configuration) }
    await end(["slurmdbd"], paths)
    await end(["mariadbd"], paths)
    await end(["munged"], paths)
  }

  /// Runs one of Slurm's commands against this cluster, and returns what it wrote.
  ///
  /// - Throws: `unavailable` with what it complained of; `deadlineExceeded`.
  @discardableResult
  public func command(
    _ name: String, _ arguments: [String] = [], input: String = "", timeout: Duration = .seconds(20)
  ) async throws -> String {
    let output = try await ChildProcess.output(
      [try SlurmPrograms.require(name)] + arguments, environment: ownEnvironment, input: input,
      scratch: paths.scratch, timeout: timeout)
    guard output.exitCode == 0 else {
      throw FederationError(
        .unavailable,
        "\(name) of cluster \(configuration.name) ended with \(output.exitCode): \(output.errors.prefix(2000))")
    }
    return output.text
  }

  /// Nothing of ours: a daemon started from within a job must not take its variables for its own.
  var ownEnvironment: [String: String] {
    environment.merging(["PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "HOME": "/tmp"]) {
      own, _ in own
    }
  }

  // MARK: Daemons

  /// In the order of their start.
  var daemonNames: [String] {
    ["munged"] + (configuration.keepsAccounts ? ["mariadbd", "slurmdbd"] : []) + ["slurmctld"] + configuration.nodeNames
  }

  /// What runs of it, by the daemon's name: `munged`, `slurmctld`, and the nodes'; with accounting `mariadbd`, `slurmdbd`.
  public var daemons: [String: ProcessIdentity] {
    var found: [String: ProcessIdentity] = [:]
    for name in daemonNames { found[name] = daemon(name) }
    return found
  }

  /// The steps and processes of its jobs.
  public var jobProcesses: [ProcessIdentity] { JobProcesses.find(configuration: paths.configuration) }

  /// nil when it does not run.
  func daemon(_ name: String) -> ProcessIdentity? {
    guard let identity = ProcessIdentity.load(from: paths.identity(name)) else { return nil }
    ChildProcess.reap(identity)
    return identity.isAlive ? identity : nil
  }

  /// The ends of all logs, to be told with a failure.
  public var logs: String {
    daemonNames.map { "\($0):\n\(tail($0))" }.joined(separator: "\n")
  }

  func tail(_ daemon: String) -> String {
    let log = paths.log(daemon)
    // What went wrong before the log was open is in the other file.
    let isEmpty = InputFile.read(log, limit: 1)?.isEmpty ?? true
    return ChildProcess.tail(isEmpty ? paths.errors(daemon) : log)
  }

  /// Once: what runs already is left alone. `more` is added to its environment.
  func launch(_ name: String, _ arguments: [String], more: [String: String] = [:]) throws {
    guard daemon(name) == nil else { return }
    for file in [paths.log(name), paths.errors(name)] { Self.bound(file) }
    let identity = try ChildProcess.spawn(
      arguments, environment: ownEnvironment.merging(more) { $1 }, log: paths.errors(name))
    try identity.save(to: paths.identity(name))
  }

  /// A log that has grown large begins anew; the last one is kept.
  private static func bound(_ file: String) {
    var status = stat()
    if stat(file, &status) == 0, status.st_size > 8 << 20 { rename(file, file + ".old") }
  }

  private static func end(_ names: [String], _ paths: Paths) async {
    for name in names {
      let file = paths.identity(name)
      guard let identity = ProcessIdentity.load(from: file) else { continue }
      await identity.end(grace: .seconds(10))
      ChildProcess.reap(identity)
      unlink(file)
    }
  }
}
