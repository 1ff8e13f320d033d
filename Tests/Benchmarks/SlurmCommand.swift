internal import ArgumentParser
internal import FederationAPI
internal import FederationHarness
internal import Foundation
internal import Glibc
internal import LocalSlurm
internal import Postgres

/// A workflow through a real Slurm agent against plain `sbatch` on the same cluster in the same run; and what it costs to watch
/// thousands of jobs.
struct SlurmCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "slurm",
    abstract: "`true` as jobs of a real Slurm cluster, against plain sbatch; the cost of watching.")
  @OptionGroup var options: BenchOptions
  @Option(help: "Tasks of the workflow, and plain jobs.") var tasks = 500
  @Option(help: "Jobs that are watched; 0 leaves it out.") var watched = 2000
  @Option(help: "How long to watch, seconds.") var seconds = 60
  @Option(help: "Cores that each of the two nodes claims to have.") var cores = 32
  @Option(help: "How runs are enclosed: auto, bubblewrap or none.") var sandbox = "auto"
  @Flag(help: "Leave the throughput out.") var skipThroughput = false

  func run() async throws {
    if let missing = SlurmPrograms.missing { throw missing }
    let directory = "/tmp/fbs-\(getpid())"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let cluster = try LocalSlurmCluster(
      .init(directory: directory + "/slurm", name: "bench", nodes: 2, cpusPerNode: cores, memoryMiBPerNode: 64_000))
    do {
      try await cluster.start(timeout: .seconds(60))
      try await measure(SlurmBench(cluster: cluster, directory: directory, tasks: tasks))
    } catch {
      await cluster.stop()
      throw error
    }
    await cluster.stop()
  }

  private func measure(_ bench: SlurmBench) async throws {
    var federation = FederationOptions()
    var agent = FederationOptions.Agent("slurm", executor: "slurm")
    agent.keys["slurm"] =
      "{sharedDirectory: \(bench.directory)/shared, slurmConf: \(bench.cluster.configurationFile), maxJobs: 10000, sandbox: \(sandbox)}"
    federation.agents = [agent]
    federation.hasOwnPostgres = true
    federation.agentLease = 15
    federation.leaderLease = 6
    federation.disconnectLimit = 60
    federation.fenceMargin = 10
    federation.logLevel = "warning"
    try await Federation.with(federation, binaries: options.directory) { federation in
      if !skipThroughput { try await throughput(bench, federation) }
      if watched > 0 { try await watch(bench, federation) }
    }
  }

  /// Alternating, so that both meet the same machine; the first is warm for both.
  private func throughput(_ bench: SlurmBench, _ federation: Federation) async throws {
    let dispatch = Dispatch(federation: federation, connection: try await .connect(federation.database))
    _ = try await dispatch.dispatch("warm", workflows: 1, tasks: 10)
    try await bench.idle()
    var ours: [Double] = [], plain: [Double] = []
    for round in 0..<options.repeats {
      plain.append(try await bench.plain())
      ours.append(try await dispatch.dispatch("s\(round)", workflows: 1, tasks: tasks))
      Report.say(
        "  round \(round): \(Report.format(ours[round], 1)) tasks/s, plain \(Report.format(plain[round], 1))/s")
      try await bench.idle()
    }
    await dispatch.connection.close()
    Report.figure("workflow through the agent", ours, "tasks/s", digits: 1)
    Report.figure("plain sbatch", plain, "jobs/s", digits: 1)
    Report.figure("agent / plain sbatch", zip(ours, plain).map { 100 * $0 / $1 }, "%")
  }

  /// Jobs that run and wait, none of which ends; what the agent and its `squeue`s take meanwhile.
  private func watch(_ bench: SlurmBench, _ federation: Federation) async throws {
    let client = try federation.client()
    let name = "w-\(getpid())"
    _ = try await client.submit(Documents.fan(name, watched, command: ["sleep", "100000"]))
    try await poll("\(watched) jobs are in Slurm", timeout: .seconds(300), every: .milliseconds(500)) {
      try await bench.count("PENDING,RUNNING") == watched
    }
    // What follows a submission (the first word of each job) is over after a few polls.
    try await Task.sleep(for: .seconds(20))
    let process = try federation.agent("slurm")
    let questions = try await bench.questions()
    let before = try Self.spent(process)
    let began = ContinuousClock.now
    try await Task.sleep(for: .seconds(seconds))
    let after = try Self.spent(process)
    let took = (ContinuousClock.now - began).seconds
    let asked = try await bench.questions() - questions
    let running = try await bench.count("RUNNING")
    Report.line(
      "watching \(watched) jobs",
      "\(running) running; the controller was asked \(asked) times for jobs in \(Int(took)) s")
    let (own, children) = (after.own - before.own, after.children - before.children)
    Report.line(
      "watching \(watched) jobs",
      "CPU \(Report.format(100 * (own + children) / took, 2)) % of a core: agent "
        + "\(Report.format(100 * own / took, 2)), Slurm's commands that it runs \(Report.format(100 * children / took, 2))"
    )
    if let memory = process.memory() {
      Report.line(
        "watching \(watched) jobs", "RSS of the agent \(Report.format(Double(memory.resident) / 1_048_576, 1)) MiB")
    }
    try await bench.cluster.command("scancel", ["--state=PENDING", "--user=\(geteuid())"], timeout: .seconds(60))
    try await bench.cluster.command("scancel", ["--user=\(geteuid())"], timeout: .seconds(60))
  }

  private static func spent(_ process: OwnedProcess) throws -> (own: Double, children: Double) {
    guard let own = process.cpuSeconds(), let children = process.childrenCPUSeconds() else {
      throw HarnessError("the agent ended")
    }
    return (own, children)
  }
}

/// The cluster, and what is done there without an agent.
struct SlurmBench {
  let cluster: LocalSlurmCluster
  let directory: String
  let tasks: Int

  /// Jobs a second, from the first `sbatch` until Slurm has finished the last. Each is submitted by a command of its own, four
  /// commands at a time, which is faster than one after the other.
  func plain() async throws -> Double {
    let script = "seq \(tasks) | xargs -P 4 -I{} sbatch --quiet --output=/dev/null --chdir=/tmp --wrap true >/dev/null"
    let began = ContinuousClock.now
    let code = try await OwnedProcess.run(
      ["/bin/sh", "-c", script], environment: cluster.environment, log: directory + "/plain.log", timeout: .seconds(300)
    )
    guard code == 0 else { throw HarnessError("sbatch ended with \(code):\n\(LogTail.of(directory + "/plain.log"))") }
    try await idle()
    return Double(tasks) / (ContinuousClock.now - began).seconds
  }

  /// Waits until no job waits, runs or is being cleaned up.
  func idle() async throws {
    try await poll("Slurm has finished every job", timeout: .seconds(300), every: .milliseconds(50)) {
      try await count("PENDING,CONFIGURING,RUNNING,COMPLETING") == 0
    }
  }

  /// Jobs in one of these states, each task of an array for itself.
  func count(_ states: String) async throws -> Int {
    try await cluster.command("squeue", ["--noheader", "--array", "--states=\(states)", "--format=%A"])
      .utf8.count { $0 == 0x0a }
  }

  /// How often anybody has asked the controller for all jobs.
  ///
  /// - Source: sdiag(1): lines `REQUEST_JOB_USER_INFO ( 2021) count:12 ave_time:...`. `squeue --user` sends that one, or for
  ///   root, whose number it takes for none, the other.
  func questions() async throws -> Int {
    let text = try await cluster.command("sdiag")
    // Calls by kind come first, then the same by user.
    let kinds = text.split(separator: "\n").prefix { !$0.contains("by user") }
    return kinds.reduce(0) { sum, line in
      let words = line.split(whereSeparator: \.isWhitespace)
      guard ["REQUEST_JOB_USER_INFO", "REQUEST_JOB_INFO"].contains(words.first),
        let count = words.first(where: { $0.hasPrefix("count:") }).flatMap({ Int($0.dropFirst(6)) })
      else { return sum }
      return sum + count
    }
  }
}
