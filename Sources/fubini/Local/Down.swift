internal import ArgumentParser
internal import FoundationEssentials
internal import LocalProcess
internal import LocalSlurm

#if canImport(Glibc)
  internal import Glibc
#endif

struct Down: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "End what `fubini up` started on a data directory; the data stay.")
  @Option(help: "The directory given to `fubini up`.") var dataDir: String

  func run() async throws {
    let setup = LocalSetup(directory: try LocalSetup.resolve(dataDir))
    guard FileManager.default.fileExists(atPath: setup.path("controlplane.yaml")) else {
      throw CommandFailure(.usage, "\(setup.directory) is no data directory of `fubini up`.")
    }
    if let up = ProcessIdentity.load(from: setup.pidFile("up")) { await up.end(grace: .seconds(90)) }
    unlink(setup.pidFile("up"))
    // After a crash of `up` its children are still there; after an orderly end this finds nothing.
    await Self.sweep(setup, keepingPostgres: false)
    unlink(setup.path("client.env"))
    Terminal.line("Down. The data stay in \(setup.directory).")
  }

  /// Ends agents (and their supervisors), then the control plane, then PostgreSQL: each by its id and start time.
  static func sweep(_ setup: LocalSetup, keepingPostgres: Bool) async {
    let files = ((try? FileManager.default.contentsOfDirectory(atPath: setup.path("pid"))) ?? []).sorted()
    for file in files where file.hasPrefix("agent-") && file.hasSuffix(".json") { await end(setup.path("pid/" + file)) }
    if !keepingPostgres {
      for supervisor in supervisors(setup) { await supervisor.end(grace: .seconds(20)) }
    }
    if !keepingPostgres { await LocalSlurmCluster.stop(directory: setup.slurmDirectory) }
    await end(setup.pidFile("controlplane"))
    if !keepingPostgres { await setup.postgres.stop() }
  }

  /// The supervisors that this set-up's agents started: they outlive an agent, but not the set-up. Known by the state
  /// directory in their arguments, which lies below ours.
  private static func supervisors(_ setup: LocalSetup) -> [ProcessIdentity] {
    ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { entry in
      guard let pid = Int32(entry), let identity = ProcessIdentity(pid: pid),
        let data = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline")
      else { return nil }
      let words = data.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
      guard words.count >= 4, words[0].hasSuffix("fubini-agent"), words[1] == "supervisor",
        let flag = words.firstIndex(of: "--state-dir"), flag + 1 < words.count,
        words[flag + 1].hasPrefix(setup.path("agents/")), identity.isAlive
      else { return nil }
      return identity
    }
  }

  private static func end(_ file: String) async {
    guard let identity = ProcessIdentity.load(from: file) else { return }
    async let reaping: Void = reap(identity)
    await identity.end(grace: .seconds(20))
    await reaping
    unlink(file)
  }

  private static func reap(_ identity: ProcessIdentity) async {
    while ProcessIdentity.startTicks(pid: identity.pid) == identity.startTicks {
      try? await Task.sleep(for: .milliseconds(20))
    }
    ChildProcess.reap(identity)
  }
}
