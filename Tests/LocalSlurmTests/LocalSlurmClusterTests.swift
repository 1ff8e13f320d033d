import FederationModel
import Foundation
import Glibc
import LocalProcess
import LocalSlurm
import TestSupport
import Testing

extension LocalSlurmCluster {
  /// Submits a script, and returns the job's id.
  func submit(_ script: String, _ options: [String] = []) async throws -> String {
    let answer = try await command(
      "sbatch", ["--parsable", "--output=/dev/null", "--chdir=/tmp"] + options, input: "#!/bin/sh\n\(script)\n")
    return answer.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// Slurm's word for the job's state; empty when it knows no such job, or does not answer.
  func state(of job: String) async -> String {
    let answer = try? await command("squeue", ["--noheader", "--states=all", "--format=%i %T"])
    let line = answer?.split(separator: "\n").first { $0.hasPrefix(job + " ") }
    return line.map { String($0.dropFirst(job.count + 1)) } ?? ""
  }

  func wait(for job: String, _ states: String..., timeout: Duration = .seconds(180)) async throws {
    var last = ""
    do {
      try await waitUntil("job \(job) is \(states)", timeout: timeout) {
        last = await state(of: job)
        return states.contains(last)
      }
    } catch let error as WaitTimeout { throw SlurmFixtureError(description: "\(error), but is \(last)") }
  }
}

/// Real clusters, started and broken.
@Suite(.serialized, .timeLimit(.minutes(5)), .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct LocalSlurmClusterTests {
  private func text(_ file: String) -> String { (try? String(contentsOfFile: file, encoding: .utf8)) ?? "" }

  @Test("two clusters side by side run a job each, and stop without a trace")
  func sideBySide() async throws {
    let started = ContinuousClock.now
    let (processes, directory) = try await SlurmFixture.with("alpha", "beta") { fixture in
      // Alone on this machine it is 1.2 s for each; the bound leaves room for load.
      #expect(ContinuousClock.now - started < .seconds(40))
      var processes: [ProcessIdentity] = []
      for cluster in fixture.clusters {
        let file = "\(fixture.shared)/\(cluster.configuration.name)"
        let job = try await cluster.submit("echo $SLURM_CLUSTER_NAME $SLURM_CPUS_ON_NODE > \(file)", ["-n", "3"])
        #expect(job == "1")
        try await cluster.wait(for: job, "COMPLETED")
        #expect(text(file) == "\(cluster.configuration.name) 3\n")
        // One that still runs at the end, with a daemon of its own.
        let endless = try await cluster.submit("setsid -f sleep 300; sleep 300", ["--export=NONE"])
        try await cluster.wait(for: endless, "RUNNING")
        try await waitUntil("its processes run") { cluster.jobProcesses.count >= 4 }
        processes += Array(cluster.daemons.values) + cluster.jobProcesses
      }
      #expect(Set(processes).count == processes.count && processes.count >= 16)
      return (processes, fixture.directory)
    }
    #expect(processes.filter(\.isAlive).isEmpty)
    try await waitUntil("the directory is removed") { !FileManager.default.fileExists(atPath: directory) }
  }

  @Test("a controller that was killed and lost its last changes forgets jobs, and gives their ids to others")
  func forgetfulController() async throws {
    try await SlurmFixture.with("alpha") { fixture in
      let cluster = fixture.clusters[0]
      try await cluster.wait(for: try await cluster.submit("true"), "COMPLETED")
      try await cluster.killController()
      try cluster.rememberState()
      try await cluster.restartController()
      let mark = fixture.shared + "/mark"
      let forgotten = try await cluster.submit("trap 'echo TERM > \(mark)' TERM; echo > \(mark).run; sleep 300 & wait")
      try await waitUntil("it runs") { FileManager.default.fileExists(atPath: mark + ".run") }
      try await cluster.killController()
      #expect(!cluster.jobProcesses.isEmpty)
      try cluster.loseState()
      try await cluster.restartController()
      #expect(await cluster.state(of: forgotten) == "")
      let other = try await cluster.submit("sleep 300", ["--job-name=other"])
      #expect(other == forgotten)
      try await cluster.wait(for: other, "RUNNING")
      // The forgotten one is killed when its node tells of it, and never asked to end.
      try await waitUntil("the forgotten one is killed") { cluster.jobProcesses.count { $0.isAlive } <= 3 }
      #expect(!FileManager.default.fileExists(atPath: mark))
    }
  }

  @Test("a controller that was killed and kept its state goes on, and its jobs with it")
  func restartedController() async throws {
    try await SlurmFixture.with("alpha") { fixture in
      let cluster = fixture.clusters[0]
      let file = fixture.shared + "/go"
      let job = try await cluster.submit("while [ ! -e \(file) ]; do sleep 0.1; done; exit 3")
      try await cluster.wait(for: job, "RUNNING")
      // An orderly end writes everything down; so the state is whole, and the crash of the next one loses nothing.
      #expect(cluster.daemons["slurmctld"]?.signal(SIGTERM) == true)
      try await waitUntil("the controller ends") { cluster.daemons["slurmctld"] == nil }
      try await cluster.restartController()
      try await cluster.killController()
      try await cluster.restartController()
      #expect(await cluster.state(of: job) == "RUNNING")
      try Data().write(to: URL(filePath: file))
      try await cluster.wait(for: job, "FAILED")
    }
  }

  @Test("the jobs of a node that lost its power fail with NODE_FAIL, and the node comes back")
  func lostNode() async throws {
    try await SlurmFixture.with("alpha", configure: { $0.nodeTimeoutSeconds = 4 }) { fixture in
      let cluster = fixture.clusters[0]
      let lost = try await cluster.submit("sleep 300", ["--no-requeue", "--nodelist=alpha-2"])
      let other = try await cluster.submit("sleep 300", ["--nodelist=alpha-1"])
      for job in [lost, other] { try await cluster.wait(for: job, "RUNNING") }
      try await cluster.losePower(node: 2)
      try await cluster.wait(for: lost, "NODE_FAIL")
      #expect(await cluster.state(of: other) == "RUNNING")
      try cluster.restartNode(2)
      try await cluster.wait(for: try await cluster.submit("true", ["--nodelist=alpha-2"]), "COMPLETED")
    }
  }

  @Test("what an administrator does shows in the jobs' states")
  func administrator() async throws {
    try await SlurmFixture.with("alpha") { fixture in
      let cluster = fixture.clusters[0]
      let cancelled = try await cluster.submit("sleep 300")
      let requeued = try await cluster.submit("echo >> \(fixture.shared)/starts; sleep 300")
      for job in [cancelled, requeued] { try await cluster.wait(for: job, "RUNNING") }
      try await cluster.cancel(job: cancelled)
      try await cluster.wait(for: cancelled, "CANCELLED")
      try await cluster.requeue(job: requeued)
      try await cluster.wait(for: requeued, "PENDING")
      try await cluster.drain(node: 1)
      let waiting = try await cluster.submit("true", ["--nodelist=alpha-1"])
      #expect(await cluster.state(of: waiting) == "PENDING")
      try await cluster.resume(node: 1)
      try await cluster.wait(for: waiting, "COMPLETED")
      let broken = try await cluster.submit("sleep 300", ["--no-requeue", "--nodelist=alpha-2"])
      try await cluster.wait(for: broken, "RUNNING")
      try await cluster.declareDown(node: 2)
      try await cluster.wait(for: broken, "NODE_FAIL")
    }
  }

  @Test("without munge no command is answered; with it again all is as before")
  func noMunge() async throws {
    try await SlurmFixture.with("alpha") { fixture in
      let cluster = fixture.clusters[0]
      try await cluster.killMunge()
      // Slurm's commands try for longer than anybody wants to wait.
      await #expect(throws: FederationError.self) { try await cluster.command("sinfo", timeout: .seconds(2)) }
      try await cluster.restartMunge()
      try await cluster.wait(for: try await cluster.submit("true"), "COMPLETED")
    }
  }

  @Test("partitions, limits, preemption and posed GPUs are as configured")
  func shapes() async throws {
    let configure = { (configuration: inout LocalSlurmCluster.Configuration) in
      configuration.gpusPerNode = 2
      configuration.partitions = [
        LocalSlurmCluster.Partition("idle", preemption: .cancel),
        LocalSlurmCluster.Partition("express", nodes: 1...1, maxTimeMinutes: 5, priorityTier: 10),
      ]
    }
    try await SlurmFixture.with("alpha", configure: configure) { fixture in
      let cluster = fixture.clusters[0]
      await #expect(throws: FederationError.self) {
        try await cluster.submit("true", ["--gres=gpu:a100:9"])
      }
      let gpus = try await cluster.submit(
        "echo $SLURM_GPUS_ON_NODE > \(fixture.shared)/gpus", ["--gres=gpu:a100:2", "--partition=express"])
      try await cluster.wait(for: gpus, "COMPLETED")
      #expect(text(fixture.shared + "/gpus") == "2\n")
      let victim = try await cluster.submit("sleep 300", ["--nodelist=alpha-1", "--exclusive", "--no-requeue"])
      try await cluster.wait(for: victim, "RUNNING")
      let urgent = try await cluster.submit("true", ["--partition=express"])
      try await cluster.wait(for: urgent, "COMPLETED")
      #expect(await cluster.state(of: victim) == "PREEMPTED")
    }
  }

  @Test("queued jobs survive a stop, and a second start finds what runs")
  func stopAndStart() async throws {
    try await SlurmFixture.with("alpha") { fixture in
      let cluster = fixture.clusters[0]
      let daemons = cluster.daemons
      try await cluster.start()
      #expect(cluster.daemons == daemons)
      let held = try await cluster.submit("true", ["--hold"])
      await cluster.stop()
      #expect(cluster.daemons.isEmpty)
      try await cluster.start(timeout: .seconds(60))
      try await cluster.release(job: held)
      try await cluster.wait(for: held, "COMPLETED")
    }
  }

  @Test("what cannot be a cluster is refused before anything is made")
  func refusals() {
    var bad: [LocalSlurmCluster.Configuration] = []
    for change: (inout LocalSlurmCluster.Configuration) -> Void in [
      { $0.name = "a b" }, { $0.directory = "relative" }, { $0.directory = "/tmp/a b" }, { $0.nodes = 0 },
      { $0.directory = "/tmp/" + String(repeating: "x", count: 60) }, { $0.partitions = [] },
      { $0.partitions[0].nodes = 1...2 }, { $0.gpuType = "a\nb" }, { $0.cpusPerNode = 5000 },
    ] {
      var configuration = LocalSlurmCluster.Configuration(directory: "/tmp/never-made", name: "alpha")
      change(&configuration)
      bad.append(configuration)
    }
    for configuration in bad {
      #expect(throws: FederationError.self, "\(configuration)") { try LocalSlurmCluster(configuration) }
    }
    #expect(!FileManager.default.fileExists(atPath: "/tmp/never-made"))
  }
}
