internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import Supervisor
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// A real Slurm with slurmdbd and MariaDB.
@Suite(.serialized, .enabled(if: SlurmFixture.hasAccounting, "slurmdbd or MariaDB is not installed"))
struct SlurmAccountingTests {
  /// One node that keeps accounts and forgets ended jobs at once.
  private static func forgetful(_ configuration: inout LocalSlurmCluster.Configuration) {
    configuration.nodes = 1
    configuration.keepsAccounts = true
    configuration.jobMemorySeconds = 2
    configuration.killWaitSeconds = 1
  }

  /// As if the record of its end had been lost with the disk that it was on.
  private func loseEnd(of id: Int64, _ fixture: SlurmExecutorFixture) async throws {
    let files = fixture.files
    try await fixture.eventually("the end of run \(id)") { files.readEnd(UInt64(id)) != nil }
    unlink(fixture.executor.workspace(for: RunID(id)).directory + "/exit")
    #expect(files.readEnd(UInt64(id)) == nil)
  }

  @Test(
    "A job that its controller has forgotten and whose record is lost gets its truth from accounting (I1, I2, I10)")
  func forgotten() async throws {
    try await SlurmExecutorFixture.with(cluster: Self.forgetful) { fixture in
      let scripts: [Int64: String] = [1: "exit 7", 2: "exit 0", 3: "sleep 600", 4: "exit 5", 5: "exit 0"]
      for id in [1, 2, 3] as [Int64] { try await fixture.submit(id, SlurmExecutorFixture.wait(scripts[id]!)) }
      // Tasks of an array have a record each.
      try await fixture.submit(
        [4, 5].map { id in
          SlurmExecutorFixture.request(id, SlurmExecutorFixture.wait(scripts[id]!)) {
            $0.spec.resources.cpuMillicores = 2000
          }
        })
      for id in 1...5 as ClosedRange<Int64> { try await fixture.running(id) }
      try await fixture.cluster.drain(node: 1)
      try await fixture.submit(6, "echo ran")
      let waiting = try await fixture.job(of: 6)
      let cancelled = try await fixture.job(of: 3)
      await fixture.executor.close()
      for id in [1, 2, 4, 5] as [Int64] { try fixture.go(id) }
      for job in [waiting, cancelled] { try await fixture.cluster.cancel(job: job) }
      for id in 1...5 as ClosedRange<Int64> { try await loseEnd(of: id, fixture) }
      try await fixture.eventually("the controller forgets") { try await fixture.jobs().isEmpty }
      try await fixture.start()
      _ = try await fixture.executor.reattach(known: (1...6).map { RunID($0) })
      let failed = try await fixture.end(of: 1)
      #expect(failed.phase == .failed && failed.exitCode == 7, "\(failed)")
      #expect(failed.message == "exit code 7, as Slurm's accounting says: its own record is missing")
      let succeeded = try await fixture.end(of: 2)
      #expect(succeeded.phase == .succeeded && succeeded.exitCode == 0, "\(succeeded)")
      let running = try await fixture.end(of: 3)
      #expect(running.phase == .cancelled, "\(running)")
      #expect(running.message == "cancelled in Slurm, not by the federation, by user id \(geteuid())")
      #expect(try await fixture.end(of: 4).exitCode == 5)
      #expect(try await fixture.end(of: 5).phase == .succeeded)
      let never = try await fixture.end(of: 6)
      #expect(never.phase == .cancelled && fixture.log(of: 6) == "", "\(never)")
      #expect(never.message == "cancelled in Slurm before it started, by user id \(geteuid())")
    }
  }

  @Test("Accounting that is down is told, holds up nothing, and explains what is left when it is back (I10)")
  func silent() async throws {
    let directory = try ScratchDirectory()
    let (calls, silent) = (directory.path + "/calls", directory.path + "/silent")
    try directory.write("silent", "")
    try directory.write(
      "sacct",
      "#!/bin/sh\necho >> \(calls)\n[ ! -e \(silent) ] || { echo 'sacct: error: slurm_persist_conn_open: Connection refused'"
        + " >&2; exit 1; }\nexec sacct \"$@\"\n", mode: 0o755)
    let program = directory.path + "/sacct"
    try await SlurmExecutorFixture.with(cluster: Self.forgetful, configure: { $0.programs.sacct = program }) {
      fixture in
      try await fixture.submit(1, SlurmExecutorFixture.wait("exit 7"))
      try await fixture.running(1)
      #expect(access(calls, F_OK) != 0, "accounting was asked about a job that the controller knows")
      await fixture.executor.close()
      try fixture.go(1)
      try await loseEnd(of: 1, fixture)
      try await fixture.eventually("the controller forgets") { try await fixture.jobs().isEmpty }
      try await fixture.start()
      _ = try await fixture.executor.reattach(known: [RunID(1)])
      try await fixture.eventually("the notice") {
        await fixture.executor.inventory().notices.contains { $0.contains("accounting does not answer") }
      }
      try await fixture.submit(2, "exit 3")
      #expect(try await fixture.end(of: 2).exitCode == 3)
      #expect(fixture.observations(of: 1).allSatisfy { !$0.phase.isTerminal })
      unlink(silent)
      #expect(try await fixture.end(of: 1).exitCode == 7)
      #expect(await !fixture.executor.inventory().notices.contains { $0.contains("accounting does not answer") })
    }
  }

  @Test("A run that a quality of service preempts is lost, says so, and is dead (I1, I2, I10)")
  func preemptedByQOS() async throws {
    try await SlurmExecutorFixture.with {
      Self.forgetful(&$0)
      $0.jobMemorySeconds = 60
      $0.cpusPerNode = 2
      $0.qos = [.init("urgent", preemptsNormal: true)]
    } _: { fixture in
      try await fixture.submit(1, SlurmEndingTests.alive) { $0.spec.resources.cpuMillicores = 2000 }
      try await fixture.eventually("its log") { fixture.log(of: 1) == "up\n" }
      // Of the other quality, through the executor: it is what ends the first.
      try await fixture.submit(2, "echo ran") {
        $0.spec.resources.cpuMillicores = 2000
        $0.spec.federation.slurm = SlurmHints(qos: "urgent")
      }
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .lost && end.message.contains("preempted in Slurm"), "\(end)")
      #expect(try await fixture.end(of: 2).phase == .succeeded && fixture.log(of: 2) == "ran\n")
      // A shell may say that it was terminated; it started once.
      #expect(fixture.log(of: 1).split(separator: "\n").count { $0 == "up" } == 1)
    }
  }
}
