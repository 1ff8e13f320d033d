internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import Supervisor
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// Slices on a real Slurm: the job has its whole bound, and its batch step ends the program where what is held for it ends.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SlurmSliceTests {
  @Test(
    "I3: a run outlives its first slice when it is extended; one that is not is ended there while its agent is gone")
  func slices() async throws {
    try await SlurmExecutorFixture.with {
      $0.nodes = 1
    } _: { fixture in
      try await fixture.submit([
        SlurmExecutorFixture.request(1, SlurmExecutorFixture.wait("echo went on")) { $0.slice = .seconds(6) },
        SlurmExecutorFixture.request(2, "echo up; sleep 600") { $0.slice = .seconds(6) },
      ])
      for id in [1, 2] as [Int64] { try await fixture.running(id) }
      #expect(await fixture.executor.canExtend())
      try await fixture.executor.extend([RunID(1): .seconds(300), RunID(9): .seconds(300)])
      // Slurm's own limit lies behind the whole bound: only operators may raise it.
      let limits = try await fixture.cluster.command("squeue", ["--noheader", "--format=%l"])
      #expect(limits.split(separator: "\n").allSatisfy { $0.contains("13:00") || $0.contains("12:") }, "\(limits)")
      await fixture.executor.close()
      try await fixture.eventually("the second has ended without an agent", seconds: 60) {
        fixture.files.readEnd(2) != nil
      }
      #expect(fixture.files.readEnd(2)?.reason == .slice && fixture.files.readEnd(1) == nil)
      try await fixture.start()
      let found = try await fixture.executor.reattach(known: [RunID(1), RunID(2)])
      #expect(found.first { $0.id == RunID(1) }?.phase == .running, "\(found)")
      // Said again, and a shorter one: nothing changes.
      try await fixture.executor.extend([RunID(1): .seconds(300)])
      try await fixture.executor.extend([RunID(1): .seconds(2)])
      try fixture.go(1)
      let first = try await fixture.end(of: 1)
      #expect(first.phase == .succeeded && !first.isUnpaid && first.wallTime! > .seconds(6), "\(first)")
      let second = try #require(found.first { $0.id == RunID(2) })
      #expect(second.phase == .failed && second.isUnpaid && second.message.contains("used up"), "\(second)")
      #expect(second.wallTime! >= .seconds(6) && second.wallTime! < .seconds(60), "\(second)")
    }
  }
}
