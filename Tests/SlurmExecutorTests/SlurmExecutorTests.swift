internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import Supervisor
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// The executor against a real Slurm.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SlurmExecutorTests {
  @Test(
    "Slurm runs no daemons, and has volumes of workflows only where its operator declares a place: it says neither otherwise"
  )
  func features() async throws {
    try await SlurmExecutorFixture.with { fixture in
      let inventory = await fixture.executor.inventory()
      let features = try #require(inventory.features)
      #expect(features.isDisjoint(with: [.daemons, .claims, .pods, .resources]), "\(features)")
      #expect(inventory.claims == nil && inventory.labels == MachineLabels.own)
    }
  }

  @Test("A run is a job: its phases, its log, its result and its exit code are told (I2)")
  func oneRun() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.submit(1, "echo out; echo err >&2; echo $TOKEN; cat /proc/self/environ >/dev/null; exit 3") {
        $0.spec.capturesResult = true
        $0.secrets = [EnvironmentVariable(name: "TOKEN", value: "s3cret")]
      }
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .failed && end.exitCode == 3 && end.message == "exit code 3" && end.runsAs == "host")
      // Two pipes: each in order, between them no order is promised.
      #expect(Set(fixture.log(of: 1).split(separator: "\n")) == ["out", "err", "s3cret"] && end.logBytes == 15)
      #expect(fixture.read(fixture.executor.workspace(for: RunID(1)).standardOutput) == "out\ns3cret\n")
      let phases = fixture.observations(of: 1).map(\.phase)
      // Never back. A step that was quicker than the answer of `sbatch` leaves nothing to be told of the wait before it.
      #expect(phases == phases.sorted { $0.rawValue < $1.rawValue }, "\(phases)")
      #expect(phases.allSatisfy { [.queued, .running, .failed].contains($0) }, "\(phases)")
      #expect(phases.count { $0.isTerminal } == 1, "\(phases)")
      // I9: the value is in the program's environment and in its own output, and in none of our files.
      let directory = fixture.executor.workspace(for: RunID(1)).directory
      for name in ["request", "secrets", "job", "spec"] {
        #expect(fixture.read("\(directory)/\(name)")?.contains("s3cret") != true)
      }
      try await fixture.executor.forget(RunID(1))
      #expect(access(directory, F_OK) != 0 && access(fixture.shared + "/jobs/" + RunID(1).hexadecimal, F_OK) != 0)
    }
  }

  @Test("Fifty runs of one shape are one job array, and each has its own end")
  func array() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.submit((1...50).map { SlurmExecutorFixture.request($0, "echo \($0); exit \($0 % 3)") })
      for id in 1...50 as ClosedRange<Int64> {
        let end = try await fixture.end(of: id)
        #expect(end.exitCode == Int32(id % 3) && end.phase == (id % 3 == 0 ? .succeeded : .failed))
        #expect(fixture.log(of: id) == "\(id)\n")
      }
      let names = Set(try await fixture.jobs().map { $0.split(separator: " ")[2] })
      #expect(names.count == 1 && names.first?.hasPrefix("fubini-") == true)
      try await fixture.executor.forget((1...50).map { RunID($0) })
      for directory in ["runs", "jobs"] {
        #expect(try await fixture.executor.records.isEmpty(directory), "\(directory) is left")
      }
    }
  }

  @Test("A run that waits is cancelled at once, never starts, and leaves no job (I1)")
  func cancelPending() async throws {
    try await SlurmExecutorFixture.with { fixture in
      for node in 1...2 { try await fixture.cluster.drain(node: node) }
      try await fixture.submit((1...3).map { SlurmExecutorFixture.request($0, "echo ran") })
      let reason = try await fixture.observation(of: 2, "reason") { $0.message.contains("Slurm: ") }
      #expect(reason.phase == .queued)
      try await fixture.executor.cancel(RunID(2), grace: .seconds(30))
      let end = try await fixture.end(of: 2, seconds: 5)
      #expect(end.phase == .cancelled && end.message == "cancelled before it started" && end.exitCode == nil)
      try await fixture.eventually("the array's task is gone") {
        try await !fixture.jobs().contains { $0.contains("_1 PENDING") }
      }
      for node in 1...2 { try await fixture.cluster.resume(node: node) }
      // The others of its array are not touched.
      for id in [1, 3] as [Int64] {
        let other = try await fixture.end(of: id)
        #expect(other.phase == .succeeded && fixture.log(of: id) == "ran\n", "\(other)")
      }
      #expect(fixture.observations(of: 2).last?.phase == .cancelled && fixture.log(of: 2) == "")
    }
  }

  @Test("A run that runs is asked to end, then killed after its grace")
  func cancelRunning() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.submit(1, "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.1; done")
      try await fixture.submit(2, "trap '' TERM; echo up; while :; do sleep 0.1; done")
      for id in [1, 2] as [Int64] { try await fixture.eventually("its log") { fixture.log(of: id) == "up\n" } }
      for id in [1, 2] as [Int64] { try await fixture.executor.cancel(RunID(id), grace: .seconds(2)) }
      let polite = try await fixture.end(of: 1)
      #expect(polite.phase == .cancelled && polite.exitCode == 9 && fixture.log(of: 1).hasSuffix("bye\n"))
      let stubborn = try await fixture.end(of: 2)
      #expect(stubborn.phase == .cancelled && stubborn.exitCode == 137)
    }
  }

  @Test("The step ends a run at its walltime, long before Slurm would")
  func walltime() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.submit(1, "sleep 100") { $0.walltime = .seconds(1) }
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .failed && end.message == "the walltime has passed" && end.cause == .timeLimit)
    }
  }

  @Test("A template and an operator's options reach the job")
  func template() async throws {
    try await SlurmExecutorFixture.with {
      _ in
    } configure: {
      $0.scriptTemplate = """
        #!/bin/sh
        echo {{project}} > {{project}}.seen
        export PATH=/opt/module/bin:$PATH LD_LIBRARY_PATH=/opt/module/lib AUTHOR=operator HIDDEN=1
        export FUBINI_EXPORT="PATH LD_LIBRARY_PATH AUTHOR"
        {{step}}
        exit $fubini_status
        """
      $0.extraOptions = ["--nice=7"]
    } _: { fixture in
      try await fixture.submit(
        1,
        """
        echo $LD_LIBRARY_PATH $AUTHOR $HIDDEN ${PATH%%:*}; trap 'exit 4' TERM; while :; do sleep 0.1; done
        """
      ) { $0.spec.environment = [EnvironmentVariable(name: "AUTHOR", value: "me")] }
      // What the script exports comes through, what it does not stays outside, and the author's own word is the last.
      try await fixture.eventually("its log") { fixture.log(of: 1) == "/opt/module/lib me /opt/module/bin\n" }
      #expect(fixture.read(fixture.shared + "/p.seen") == "p\n")
      let job = try await fixture.job(of: 1)
      #expect(try await fixture.cluster.command("scontrol", ["show", "job", job]).contains("Nice=7"))
      try await fixture.executor.cancel(RunID(1), grace: .seconds(20))
      #expect(try await fixture.end(of: 1).exitCode == 4)
    }
  }

  @Test("What Slurm refuses ends with its own words")
  func refused() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.submit(1, "true") { $0.spec.federation.slurm = SlurmHints(partition: "nope") }
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .error && end.message.contains("Invalid partition name specified"))
      try await fixture.submit(2, "true") { $0.walltime = .seconds(2_000_000) }
      let long = try await fixture.end(of: 2)
      #expect(long.phase == .error && long.message.contains("limit of the partition main"))
    }
  }

  @Test(
    "The next agent finds the runs of the one before, tells the ends that it missed, and starts nothing twice (I1, I2)")
  func restart() async throws {
    try await SlurmExecutorFixture.with { fixture in
      try await fixture.submit(1, SlurmExecutorFixture.wait("exit 5"))
      try await fixture.submit(
        (2...20).map { SlurmExecutorFixture.request($0, SlurmExecutorFixture.wait("echo once")) })
      for id in 1...20 as ClosedRange<Int64> { try await fixture.running(id) }
      await fixture.executor.close()
      try fixture.go(1)
      try await fixture.eventually("the end of run 1") { fixture.files.readEnd(1) != nil }
      try await fixture.start()
      let known = try await fixture.executor.reattach(known: (1...21).map { RunID($0) })
      #expect(known.map(\.phase) == [.failed] + Array(repeating: .running, count: 19) + [.bound])
      #expect(known[0].exitCode == 5)
      try await fixture.submit((2...20).map { SlurmExecutorFixture.request($0, "exit 99") })
      for id in 2...20 as ClosedRange<Int64> { try fixture.go(id) }
      for id in 2...20 as ClosedRange<Int64> {
        #expect(try await fixture.end(of: id).phase == .succeeded)
        #expect(fixture.log(of: id) == "once\n")
      }
      #expect(try await fixture.jobs().count == 20)
    }
  }
}

extension RunFiles {
  func isEmpty(_ name: String) async throws -> Bool { (name == "runs" ? allRuns().count : allSubmissions().count) == 0 }
}
