internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import Supervisor
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

@Suite struct SharingTests {
  @Test(
    "tasks share what would wait, and nothing else",
    arguments: [
      // count, slots, taken, stride
      (500, 64, 0, 64 as Int?), (500, 64, 900, 64), (65, 64, 0, 64), (64, 64, 0, nil), (10, 64, 0, nil),
      // A part of the places is taken: what fits into the others is not shared.
      (10, 64, 54, nil), (10, 64, 55, 9), (10, 64, 64, 2), (10, 64, 1000, 2), (3, 64, 64, 1), (1, 64, 64, nil),
      (10, 0, 0, nil),
    ])
  func stride(count: Int, slots: Int, taken: Int, expected: Int?) {
    #expect(Sharing.stride(count: count, slots: slots, taken: taken) == expected)
  }

  @Test("the task that runs something is read from its claim")
  func place() {
    #expect(ArrayTask(place: "n1 job 1230_5") == ArrayTask(arrayID: 1230, index: 5))
    for place in ["n1 job 1230", "n_1", "", "n1 job x_5", "n1 job 1230_"] { #expect(ArrayTask(place: place) == nil) }
  }
}

/// Tasks of a real Slurm's job arrays that go on with each other's runs: two nodes with two cores each.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SlurmSharingTests {
  private static func with(
    configure: @escaping @Sendable (inout SlurmExecutorConfiguration) -> Void = { _ in },
    _ body: (SlurmExecutorFixture) async throws -> Void
  ) async throws {
    try await SlurmExecutorFixture.with(cluster: { $0.cpusPerNode = 2 }, configure: configure, body)
  }

  /// The task that ran it: the index in its array.
  private func host(of id: Int64, _ fixture: SlurmExecutorFixture) throws -> Int {
    guard case .step(let place) = fixture.files.readClaim(UInt64(id)) else {
      throw FederationError(.notFound, "run \(id) was never claimed by a step")
    }
    return try #require(ArrayTask(place: place)?.index, "\(place)")
  }

  @Test(
    "Sixty short runs on four cores are far fewer jobs, each ends as itself, and none is left in the queue (I1, I2)")
  func short() async throws {
    try await Self.with { fixture in
      let ids = 1...60 as ClosedRange<Int64>
      try await fixture.submit(
        ids.map {
          SlurmExecutorFixture.request($0, "echo \($0) $SECRET") { run in
            run.secrets = [EnvironmentVariable(name: "SECRET", value: "s\(run.id.number)")]
          }
        })
      for id in ids {
        let end = try await fixture.end(of: id)
        #expect(end.phase == .succeeded && end.exitCode == 0, "\(end)")
        #expect(fixture.log(of: id) == "\(id) s\(id)\n")
      }
      let hosts = Set(try ids.map { try host(of: $0, fixture) })
      #expect(hosts.count <= 30, "\(hosts.count) jobs ran them")
      try await fixture.eventually("no task waits or runs") {
        try await !fixture.jobs().contains { line in
          ["PENDING", "RUNNING", "COMPLETING"].contains { line.contains($0) }
        }
      }
      try await fixture.executor.forget(ids.map { RunID($0) })
      for directory in ["runs", "jobs"] { #expect(try await fixture.executor.records.isEmpty(directory)) }
    }
  }

  @Test("Where jobs are not shared each run has one")
  func unshared() async throws {
    try await Self.with(configure: { $0.sharesJobs = false }) { fixture in
      try await fixture.submit((1...12).map { SlurmExecutorFixture.request($0, "echo ran") })
      for id in 1...12 as ClosedRange<Int64> {
        #expect(try await fixture.end(of: id).phase == .succeeded)
        #expect(try host(of: id, fixture) == Int(id) - 1)
      }
    }
  }

  @Test(
    "A run in another one's job is cancelled alone, found by the next agent, and lost alone with its job (I1, I2)")
  func others() async throws {
    try await Self.with { fixture in
      // The first four end at once, and their tasks go on with the next four, which stay; the last four wait.
      let loop = "trap 'exit 9' TERM; echo up; while [ ! -e go ]; do sleep 0.1; done"
      try await fixture.submit((1...12).map { SlurmExecutorFixture.request($0, $0 <= 4 ? "true" : loop) })
      for id in 5...8 as ClosedRange<Int64> {
        try await fixture.running(id)
        try await fixture.eventually("run \(id) is up") { fixture.log(of: id) == "up\n" }
        try #require(try host(of: id, fixture) == Int(id) - 5, "its own task was quicker")
      }
      try await fixture.eventually("the tasks of runs in others' jobs are gone") {
        try await !fixture.jobs().contains { line in (4...7).contains { line.contains("_\($0) PENDING") } }
      }
      try await fixture.executor.cancel(RunID(5), grace: .seconds(20))
      let cancelled = try await fixture.end(of: 5)
      #expect(cancelled.phase == .cancelled && cancelled.exitCode == 9, "\(cancelled)")
      let known = try await fixture.restart(known: Array(1...12))
      #expect(known[0...3].allSatisfy { $0.phase == .succeeded } && known[4].phase == .cancelled, "\(known)")
      #expect(known[5...7].allSatisfy { $0.phase == .running }, "\(known)")
      // Somebody ends the job that has taken run 6 up.
      guard case .step(let place) = fixture.files.readClaim(6) else { throw FederationError(.notFound, "claim") }
      try await fixture.cluster.cancel(job: try #require(ArrayTask(place: place)).target)
      let killed = try await fixture.end(of: 6)
      #expect(
        killed.phase == .cancelled && killed.message.hasPrefix("cancelled in Slurm, not by the federation"), "\(killed)"
      )
      for id in [7, 8] as [Int64] {
        #expect(fixture.observations(of: id).allSatisfy { !$0.phase.isTerminal })
        try fixture.go(id)
      }
      for id in 7...12 as ClosedRange<Int64> {
        if id > 8 {
          try await fixture.eventually("run \(id) is up") { fixture.log(of: id) == "up\n" }
          try fixture.go(id)
        }
        #expect(try await fixture.end(of: id).phase == .succeeded)
        #expect(fixture.log(of: id) == "up\n", "run \(id) started once")
      }
    }
  }
}
