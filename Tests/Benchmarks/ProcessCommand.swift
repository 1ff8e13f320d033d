internal import ArgumentParser
internal import FederationAPI
internal import FederationHarness
internal import Foundation
internal import Postgres

/// Real processes through the whole system, against bare bubblewrap on the same machine in the same run.
struct ProcessCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "process", abstract: "`true` through the process executor, against bare bwrap.")
  @OptionGroup var options: BenchOptions
  @Option(help: "Tasks.") var tasks = 1000
  @Option(help: "Runs at once, and bwraps at once.") var slots = 8

  func run() async throws {
    var federation = FederationOptions()
    federation.agents = [.init("process", slots: slots)]
    federation.hasOwnPostgres = true
    federation.agentLease = 15
    federation.leaderLease = 6
    federation.disconnectLimit = 60
    federation.fenceMargin = 10
    federation.logLevel = "warning"
    try await Federation.with(federation, binaries: options.directory) { federation in
      var ours: [Double] = [], bare: [Double] = []
      let bench = Dispatch(federation: federation, connection: try await .connect(federation.database))
      for round in 0..<options.repeats {
        let before = try Spent(federation)
        ours.append(try await bench.dispatch("p\(round)", workflows: 1, tasks: tasks))
        Report.line("  CPU of a task", try Spent(federation).since(before, per: tasks))
        bare.append(try await bareRate(federation))
        Report.say("  round \(round): \(Int(ours[round])) tasks/s, bare bwrap \(Int(bare[round]))/s")
      }
      await bench.connection.close()
      Report.figure("process", ours, "tasks/s")
      Report.figure("bare bwrap", bare, "processes/s")
      Report.figure("process / bare bwrap", zip(ours, bare).map { 100 * $0 / $1 }, "%")
    }
  }

  /// Namespaces like those of a run, and fewer mounts; `xargs` keeps as many alive as the agent has slots.
  private func bareRate(_ federation: Federation) async throws -> Double {
    let notices = try await federation.client().cluster("process").live?.notices ?? []
    let network = notices.contains { $0.contains("no network") } ? "--unshare-net" : ""
    let script = """
      seq \(tasks) | xargs -P \(slots) -I{} bwrap --unshare-user --unshare-pid --unshare-ipc --unshare-uts \
      --unshare-cgroup-try \(network) --die-with-parent --cap-drop ALL --new-session --tmpfs / --ro-bind /usr /usr \
      --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev -- true
      """
    let began = ContinuousClock.now
    let code = try await OwnedProcess.run(
      ["/bin/sh", "-c", script], log: federation.log("bare"), timeout: .seconds(300))
    guard code == 0 else { throw HarnessError("bwrap ended with \(code):\n\(LogTail.of(federation.log("bare")))") }
    return Double(tasks) / (ContinuousClock.now - began).seconds
  }
}

/// CPU time that each part of the system has used, its ended children included, in seconds.
private struct Spent {
  private var parts: [(name: String, seconds: Double)] = []

  init(_ federation: Federation) throws {
    add("control plane", [try federation.controlPlane()]) { $0.cpuSeconds() }
    add("agent", [try federation.agent("process")]) { $0.cpuSeconds() }
    let supervisor = federation.supervisor(of: "process").map { [$0] } ?? []
    add("supervisor", supervisor) { $0.cpuSeconds() }
    add("runs", supervisor) { $0.childrenCPUSeconds() }
    add("PostgreSQL", federation.databaseProcesses()) { $0.cpuSeconds() }
  }

  private mutating func add(_ name: String, _ processes: [OwnedProcess], _ time: (OwnedProcess) -> Double?) {
    parts.append((name, processes.compactMap(time).reduce(0, +)))
  }

  func since(_ earlier: Spent, per tasks: Int) -> String {
    zip(parts, earlier.parts).map { now, then in
      "\(now.name) \(Report.format(1000 * (now.seconds - then.seconds) / Double(tasks), 2)) ms"
    }.joined(separator: ", ")
  }
}
