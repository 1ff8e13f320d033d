import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import TestSupport
import Testing
import WorkflowCore

@Suite("Batch jobs in the database")
struct JobTests {
  static func row(_ name: String, count: Int64 = 1, key: String? = nil, held: Bool = false) -> JobRow {
    JobRow(
      taskCount: count, project: "science", name: name, submittedBy: "ann", submittedAt: Timestamp(milliseconds: 1000),
      uid: "uid-\(name)-\(key ?? "")", workflow: "\(name)-%-x", requestKey: key, requestHash: "h", document: "{}",
      details: "{}", dependency: "", killsOnInvalid: false, isHeld: held, beginAt: nil, reason: "")
  }

  private static func withProject(_ body: (ControlPlaneStore, StoreFixture) async throws -> Void) async throws {
    try await StoreFixture.use { fixture in
      _ = try await fixture.number(
        """
        WITH o AS (INSERT INTO organisations (name, created_ms) VALUES ('lab', 0) RETURNING 1),
        p AS (INSERT INTO projects (name, organisation, created_ms) VALUES ('science', 'lab', 0) RETURNING 1)
        SELECT count(*) FROM o, p
        """)
      try await body(fixture.store, fixture)
    }
  }

  @Test("numbers are given once, in blocks, in the order of submission; the same key gives the same job")
  func numbers() async throws {
    try await Self.withProject { store, _ in
      let one = try #require(try await store.create(Self.row("one")))
      let array = try #require(try await store.create(Self.row("array", count: 10, key: "k")))
      let again = try #require(try await store.create(Self.row("other", count: 3, key: "k")))
      let last = try #require(try await store.create(Self.row("last")))
      #expect([one, array, last].map(\.number) == [1, 2, 12] && again == array)
      #expect(array.workflow == "array-2-x")
      for (number, owner) in [(11, 2), (12, 12), (13, nil), (0, nil)] as [(Int64, Int64?)] {
        #expect(try await store.job(number)?.number == owner, "\(number)")
      }
      var filter = JobFilter()
      filter.numbers = [5, 12]
      #expect(try await store.jobs(filter, limit: 10).map(\.number) == [12, 2])
    }
  }

  @Test("tasks are left out of an array while it waits; what was said of one first holds")
  func leftOut() async throws {
    try await Self.withProject { store, _ in
      let job = try #require(try await store.create(Self.row("array", count: 4)))
      func leave(_ tasks: [Int32: String]) async throws -> Bool {
        try await store.leaveOut(tasks, of: job.number, by: "ann", at: Timestamp(milliseconds: 5))
      }
      #expect(job.leftOut.isEmpty)
      #expect(try await leave([1: JobRow.cancelledTask, 2: "b"]))
      #expect(try await leave([2: "c", 3: "d"]))
      #expect(try await store.job(job.number)?.leftOut == [1: JobRow.cancelledTask, 2: "b", 3: "d"])
      #expect(try await store.beginSubmission(of: job.number))
      #expect(try await !leave([0: "e"]))
    }
  }

  @Test("submissions at once get numbers of their own")
  func concurrent() async throws {
    try await Self.withProject { store, _ in
      let numbers = try await withThrowingTaskGroup(of: Int64?.self) { group in
        for index in 0..<40 {
          group.addTask { try await store.create(Self.row("job\(index)", count: Int64(1 + index % 3)))?.number }
        }
        var found: [Int64] = []
        for try await number in group { found.append(try #require(number)) }
        return found
      }
      #expect(Set(numbers).count == 40)
      let counts = try await store.jobs(JobFilter(), limit: 100).reversed()
      var next: Int64 = 1
      for job in counts {
        #expect(job.number == next)
        next += job.taskCount
      }
    }
  }

  @Test("beyond 2^31 - 1, and in a project that is not there, no job is made")
  func exhausted() async throws {
    try await Self.withProject { store, fixture in
      var stranger = Self.row("stranger")
      stranger.project = "nobody"
      #expect(try await store.create(stranger) == nil)
      _ = try await fixture.number(
        "WITH u AS (UPDATE job_numbers SET next = 2147483646 RETURNING 1) SELECT count(*) FROM u")
      #expect(try await store.create(Self.row("three", count: 3)) == nil)
      #expect(try await store.create(Self.row("two", count: 2))?.number == 2_147_483_646)
      #expect(try await store.create(Self.row("one")) == nil)
    }
  }

  @Test("a job is taken for submission once, and not while it is held; what was taken is not cancelled behind its back")
  func states() async throws {
    try await Self.withProject { store, _ in
      let now = Timestamp(milliseconds: 2000)
      let job = try #require(try await store.create(Self.row("job", held: true)))
      #expect(try await !store.beginSubmission(of: job.number))
      #expect(try await store.hold(job.number, false, by: "ann", at: now))
      #expect(try await store.beginSubmission(of: job.number))
      #expect(try await !store.beginSubmission(of: job.number))
      #expect(
        try await !store.end(
          job.number, as: .cancelled, from: .waiting, reason: "", message: "", by: "ann", at: now))
      #expect(try await !store.hold(job.number, true, by: "ann", at: now))
      #expect(try await store.waitingJobs(limit: 10).map(\.state) == [.submitting])
      try await store.noteSubmitted(job.number)
      #expect(try await store.waitingJobs(limit: 10).isEmpty)
      let other = try #require(try await store.create(Self.row("job", key: "2")))
      // The first one's workflow is not there any more.
      #expect(try await !store.hasEarlierOpenJob(than: other))
      let third = try #require(try await store.create(Self.row("job", key: "3")))
      #expect(try await store.hasEarlierOpenJob(than: third))
    }
  }

  @Test("jobs that were over for long enough are forgotten with their archives; waiting, new and running ones stay")
  func expired() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      _ = try await fixture.number(
        """
        WITH o AS (INSERT INTO organisations (name, created_ms) VALUES ('lab', 0) RETURNING 1),
        p AS (INSERT INTO projects (name, organisation, created_ms) VALUES ('science', 'lab', 0) RETURNING 1)
        SELECT count(*) FROM o, p
        """)
      let store = fixture.store
      let day = Duration.seconds(86_400)
      var delta = DurableDelta(now: Sample.now)
      // Of workflow 2 the root ended a day ago, of 3 just now; 1 still runs.
      for (id, phase) in [(1, .running), (2, .failed), (3, .failed)] as [(Int64, NodePhase)] {
        delta.workflows.append(Sample.workflow(id, phase: phase))
        var root = Sample.node(id, 0, phase: phase)
        root.record.finishedAt = id == 1 ? nil : id == 2 ? Sample.now + (.zero - day) : Sample.now
        delta.nodes.append(root)
      }
      try await fixture.commit(delta)
      func job(_ name: String, uid: String?) async throws -> Int64 {
        var row = Self.row(name)
        row.submission = "slurm/\(name)/submission.tar"
        if let uid { row.uid = uid }
        let number = try #require(try await store.create(row)).number
        if uid != nil {
          #expect(try await store.beginSubmission(of: number))
          try await store.noteSubmitted(number)
        }
        return number
      }
      let kept = [
        try await job("runs", uid: "uid-1"), try await job("new", uid: "uid-3"), try await job("waits", uid: nil),
      ]
      _ = try await job("old", uid: "uid-2")
      _ = try await job("gone", uid: "uid-of-a-workflow-that-was-deleted")
      let cancelled = try await job("cancelled", uid: nil)
      #expect(
        try await store.end(
          cancelled, as: .cancelled, from: .waiting, reason: "", message: "", by: "ann", at: Sample.now + (.zero - day))
      )
      var policy = RetentionPolicy(jobs: nil)
      #expect(try await store.expire(policy, at: Sample.now) == 0)
      policy.jobs = .seconds(3600)
      #expect(try await store.expire(policy, at: Sample.now, batch: 2) == 2)
      #expect(try await store.expire(policy, at: Sample.now, batch: 2) == 1)
      #expect(try await store.expire(policy, at: Sample.now, batch: 2) == 0)
      #expect(try await store.jobs(JobFilter(), limit: 10).map(\.number).reversed() == kept)
      let garbage = try await store.artifactGarbage(since: Sample.now + day, limit: 10).map(\.key)
      #expect(
        Set(garbage) == ["slurm/old/submission.tar", "slurm/gone/submission.tar", "slurm/cancelled/submission.tar"])
    }
  }

  @Test("machine types are a table that says who changed it, in the audit log, too")
  func machineTypes() async throws {
    try await StoreFixture.use { fixture in
      let store = fixture.store
      var type = MachineTypeRow(
        name: "c4_m15_1 * NVIDIA T4", cpus: 4, memoryMebibytes: 15 << 10, gpus: 1, gpuType: "t4", partition: nil,
        changedAt: Sample.now, changedBy: "op")
      try await store.put(type)
      (type.partition, type.gpuType, type.changedBy) = ("east", nil, "other")
      try await store.put(type)
      #expect(try await store.machineTypes() == [type])
      #expect(try await store.removeMachineType(type.name, by: "op", at: Sample.now))
      #expect(try await !store.removeMachineType(type.name, by: "op", at: Sample.now))
      #expect(try await store.machineTypes().isEmpty)
      let audit = try await store.audit().filter { $0.row.object == type.name }
      #expect(audit.map(\.row.action) == ["machine-type.remove", "machine-type.set", "machine-type.set"])
      #expect(audit.map(\.row.actor) == ["op", "other", "op"])
    }
  }
}
