internal import ArgumentParser
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
        ours.append(try await bench.dispatch("p\(round)", workflows: 1, tasks: tasks))
        bare.append(try await bareRate(federation))
        Report.say("  round \(round): \(Int(ours[round])) tasks/s, bare bwrap \(Int(bare[round]))/s")
      }
      await bench.connection.close()
      Report.figure("process", ours, "tasks/s")
      Report.figure("bare bwrap", bare, "processes/s")
      Report.figure("process / bare bwrap", zip(ours, bare).map { 100 * $0 / $1 }, "%")
    }
  }

  /// Namespaces and mounts like those of a run; `xargs` keeps as many alive as the agent has slots.
  private func bareRate(_ federation: Federation) async throws -> Double {
    let script = """
      seq \(tasks) | xargs -P \(slots) -I{} bwrap --unshare-user --unshare-pid --unshare-ipc --unshare-uts \
      --unshare-cgroup-try --die-with-parent --cap-drop ALL --new-session --tmpfs / --ro-bind /usr /usr \
      --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev -- true
      """
    let began = ContinuousClock.now
    let code = try await OwnedProcess.run(
      ["/bin/sh", "-c", script], log: federation.log("bare"), timeout: .seconds(300))
    guard code == 0 else { throw HarnessError("bwrap ended with \(code):\n\(LogTail.of(federation.log("bare")))") }
    return Double(tasks) / (ContinuousClock.now - began).seconds
  }
}
