internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import Supervisor
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// Runs that get their place in a real Slurm's queue while their inputs are on their way: one node with one core.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SlurmAheadTests {
  private static func with(
    inputWait: Duration = .seconds(60), cores: Int = 1, _ body: (SlurmExecutorFixture) async throws -> Void
  ) async throws {
    try await SlurmExecutorFixture.with(
      cluster: {
        $0.nodes = 1
        $0.cpusPerNode = cores
      }, configure: { $0.inputWait = inputWait }, body)
  }

  /// Inputs that are expected in a moment: the job may go at once.
  private static func ahead(_ id: Int64, _ script: String) -> AwaitedRun {
    AwaitedRun(request: SlurmExecutorFixture.request(id, script), inputsIn: .zero)
  }

  private static func jobs(of fixture: SlurmExecutorFixture, _ states: String = "") async throws -> [Substring] {
    try await fixture.jobs().filter { states.isEmpty || $0.contains(states) }
  }

  @Test("I4, I5: a job waits in the queue while its inputs come; once they are here and the core is free, it starts")
  func overlap() async throws {
    try await Self.with { fixture in
      try await fixture.submit(1, SlurmExecutorFixture.wait("echo first"))
      try await fixture.running(1)
      let run = Self.ahead(2, "echo second")
      #expect(await fixture.executor.queueAhead([run]) == [RunID(2)])
      // Offered again, and to a process that has not forgotten it, it gets no second job.
      #expect(await fixture.executor.queueAhead([run]) == [RunID(2)])
      _ = try await fixture.observation(of: 2, "place in the queue") { $0.phase == .queued }
      #expect(
        fixture.read(fixture.files.path(2) + "/request") == nil, "its request is not written before its inputs are here"
      )
      try await fixture.executor.submit([run.request])
      #expect(fixture.files.readClaim(2) == nil)
      try fixture.go(1)
      #expect(try await fixture.end(of: 2).phase == .succeeded)
      #expect(fixture.log(of: 2) == "second\n")
      #expect(try await fixture.jobs().count == 2)
    }
  }

  @Test(
    "I4: a job that starts before its inputs are here starts nothing, and goes on in its place when they come in time")
  func inTime() async throws {
    try await Self.with { fixture in
      let run = Self.ahead(3, "echo third")
      _ = await fixture.executor.queueAhead([run])
      _ = try await fixture.observation(of: 3, "wait for its inputs") {
        $0.message.contains("waits for the run's inputs")
      }
      #expect(fixture.files.readClaim(3) == nil)
      try await fixture.executor.submit([run.request])
      #expect(try await fixture.end(of: 3).phase == .succeeded)
      #expect(try await fixture.jobs().count == 1)
    }
  }

  @Test(
    "I4, I5: a job whose inputs do not come in time gives its nodes back, once; then the run is submitted and runs once"
  )
  func putBack() async throws {
    try await Self.with(inputWait: .seconds(2)) { fixture in
      let run = Self.ahead(4, "echo fourth")
      _ = await fixture.executor.queueAhead([run])
      let told = try await fixture.observation(of: 4, "way back") { $0.phase == .bound && !$0.message.isEmpty }
      #expect(told.message.contains("gave its place back"))
      #expect(fixture.files.readClaim(4) == nil && fixture.log(of: 4).isEmpty)
      #expect(
        await fixture.executor.inventory().notices.contains {
          $0.hasPrefix("jobs that began before their inputs") && $0.hasSuffix(": 1")
        })
      // It is not tried again before everything is here, whatever the estimate says.
      #expect(await fixture.executor.queueAhead([run]) == [RunID(4)])
      #expect(try await fixture.jobs().count == 1)
      try await fixture.executor.submit([run.request])
      #expect(try await fixture.end(of: 4).phase == .succeeded)
      #expect(fixture.log(of: 4) == "fourth\n")
      // Slurm sees the second job's end a moment after its run's.
      try await fixture.eventually("two jobs have ended, each in its way") {
        try await fixture.jobs().map { $0.split(separator: " ")[1] }.sorted() == ["COMPLETED", "FAILED"]
      }
    }
  }

  @Test(
    "I1, I4: an agent that dies between the place in the queue and the inputs finds the run as never started, and starts it once",
    arguments: [true, false])
  func restart(isKnown: Bool) async throws {
    try await Self.with { fixture in
      try await fixture.submit(1, SlurmExecutorFixture.wait("echo first"))
      try await fixture.running(1)
      let run = Self.ahead(5, "echo fifth")
      _ = await fixture.executor.queueAhead([run])
      let found = try await fixture.restart(known: isKnown ? [1, 5] : [1])
      let phase = found.first { $0.id == RunID(5) }?.phase
      // One that the journal has as submitted must be submitted again; of another it is told that it carries our mark.
      #expect(phase == (isKnown ? .bound : .queued))
      #expect(fixture.files.readClaim(5) == nil)
      try await fixture.executor.submit([run.request])
      try fixture.go(1)
      #expect(try await fixture.end(of: 5).phase == .succeeded)
      #expect(fixture.log(of: 5) == "fifth\n")
      #expect(try await fixture.jobs().count == 2)
    }
  }

  @Test("I1: a run that is cancelled while it waits for both leaves the queue, and its program never starts")
  func cancelled() async throws {
    try await Self.with { fixture in
      try await fixture.submit(1, SlurmExecutorFixture.wait("echo first"))
      try await fixture.running(1)
      let runs = [Self.ahead(6, "echo sixth"), Self.ahead(7, "echo seventh")]
      _ = await fixture.executor.queueAhead(runs)
      try await fixture.executor.cancel(RunID(6), grace: .zero)
      #expect(try await fixture.end(of: 6).phase == .cancelled)
      try await fixture.executor.forget([RunID(7)])
      try await fixture.eventually("both have left the queue") {
        try await Self.jobs(of: fixture, "PENDING").isEmpty
      }
      try fixture.go(1)
      #expect(try await fixture.end(of: 1).phase == .succeeded)
      #expect(fixture.files.readClaim(6) == .executor)
      #expect(fixture.log(of: 6).isEmpty)
    }
  }

  @Test("I4: of an array each task waits for its own run's inputs, and takes no other run whose inputs are not here")
  func array() async throws {
    try await Self.with(inputWait: .seconds(3), cores: 2) { fixture in
      let runs = (11...16 as ClosedRange<Int64>).map { Self.ahead($0, "echo \($0)") }
      try await fixture.submit(1, SlurmExecutorFixture.wait("echo first")) { $0.spec.resources.cpuMillicores = 2000 }
      try await fixture.running(1)
      _ = await fixture.executor.queueAhead(runs)
      // Every second one has its inputs before any of them can start.
      let (early, late) = (runs.filter { $0.request.id.number % 2 == 1 }, runs.filter { $0.request.id.number % 2 == 0 })
      try await fixture.executor.submit(early.map(\.request))
      try fixture.go(1)
      for run in early { #expect(try await fixture.end(of: run.request.id.number).phase == .succeeded) }
      for run in late {
        _ = try await fixture.observation(of: run.request.id.number, "way back") {
          $0.phase == .bound && !$0.message.isEmpty
        }
        #expect(fixture.files.readClaim(UInt64(run.request.id.number)) == nil)
      }
      try await fixture.executor.submit(late.map(\.request))
      for run in late {
        #expect(try await fixture.end(of: run.request.id.number).phase == .succeeded)
        #expect(fixture.log(of: run.request.id.number) == "\(run.request.id.number)\n")
      }
      try await fixture.executor.forget(runs.map(\.request.id) + [RunID(1)])
      try await fixture.eventually("the submissions' files are gone") {
        fixture.list(fixture.shared + "/jobs").isEmpty
      }
    }
  }

  @Test(
    "A run is queued ahead when its inputs take no longer than a job waits there; otherwise later, or with inputWait 0 never"
  )
  func lead() async throws {
    try await Self.with(inputWait: .seconds(5)) { fixture in
      var run = Self.ahead(8, "echo eighth")
      run.inputsIn = .seconds(3600)
      let settled = await fixture.executor.queueAhead([run])
      #expect(settled.isEmpty)
      let jobs = try await fixture.jobs()
      #expect(jobs.isEmpty)
    }
    try await Self.with(inputWait: .zero) { fixture in
      let settled = await fixture.executor.queueAhead([Self.ahead(9, "echo ninth")])
      #expect(settled == [RunID(9)])
      let jobs = try await fixture.jobs()
      #expect(jobs.isEmpty)
    }
  }
}
