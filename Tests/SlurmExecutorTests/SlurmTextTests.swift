internal import Execution
internal import FederationModel
internal import Testing

@testable internal import SlurmExecutor

/// What Slurm prints. The texts are of a real 22.05.
@Suite struct SlurmTextTests {
  static let squeue = """
    Job=3|Array=3|Index=N/A|State=FAILED|Reason=NonZeroExitCode|Submit=1795239967|Start=1795239967|Partition=batch|Nodes=n1|Cpus=1|Name=ex3
    Job=4|Array=4|Index=N/A|State=FAILED|Reason=BadConstraints|Submit=1795239967|Start=1795239967|Partition=batch|Nodes=|Cpus=64|Name=we|ird=State=RUNNING
    Job=8|Array=8|Index=3|State=PENDING|Reason=JobArrayTaskLimit|Submit=1795239967|Start=N/A|Partition=batch|Nodes=|Cpus=1|Name=arr
    Job=16|Array=8|Index=0|State=RUNNING|Reason=None|Submit=1795239967|Start=1795239968|Partition=batch|Nodes=n1|Cpus=1|Name=arr
    """

  @Test("Lines of squeue are read by their labels")
  func jobs() {
    let (jobs, unreadable) = SlurmJob.parse(Self.squeue)
    #expect(unreadable == 0)
    #expect(jobs.map(\.target) == ["3", "4", "8_3", "8_0"])
    #expect(jobs.map(\.state) == [.ended(.failed), .ended(.failed), .pending, .live("RUNNING")])
    #expect(jobs[1].name == "we|ird=State=RUNNING")
    #expect(jobs[2].startsAt == nil && jobs[3].startsAt == 1_795_239_968 && jobs[3].submittedAt == 1_795_239_967)
    #expect(jobs[0].cpus == 1 && jobs[1].cpus == 64 && jobs[0].partition == "batch")
  }

  @Test("Other orders and more labels are read too; what is no such line is counted, never guessed")
  func versions() {
    let (jobs, unreadable) = SlurmJob.parse(
      """
      State=RUNNING|Later=x|Job=7|Name=a
      Job=7|Name=a
      slurm_load_jobs error
      Job=x|State=RUNNING|Name=a
      |Name=
      """)
    #expect(jobs.map(\.id) == [7])
    #expect(jobs[0].arrayID == 7 && jobs[0].index == nil)
    #expect(unreadable == 4)
  }

  /// Self-made lines of the shapes that versions and jobs bring: order, missing and empty fields, values with signs in them.
  @Test(
    "A job's limit, its time and its place are read by their labels, in any order, and are nothing where Slurm says nothing",
    arguments: [
      ("Job=7|State=RUNNING|Limit=1:00|Elapsed=0:31|Cpus=4|Name=a", 60, 31, true),
      ("Elapsed=0:31|Limit=1:00|Later=|Cpus=4|State=RUNNING|Job=7|Name=a", 60, 31, true),
      ("Job=7|State=RUNNING|Limit=1-00:00:00|Elapsed=23:58:31|Name=a", 86_400, 86_311, true),
      ("Job=7|State=RUNNING|Limit=1-00:00:00|Elapsed=23:57:00|Name=a", 86_400, 86_220, false),
      ("Job=7|State=RUNNING|Limit=UNLIMITED|Elapsed=99-00:00:00|Name=a", nil, 8_553_600, false),
      ("Job=7|State=PENDING|Limit=|Elapsed=0:00|Name=a", nil, 0, false),
      ("Job=7|State=PENDING|Limit=INVALID|Elapsed=INVALID|Name=a", nil, nil, false),
    ] as [(Substring, Int64?, Int64?, Bool)])
  func times(_ line: Substring, _ limit: Int64?, _ elapsed: Int64?, _ isAtLimit: Bool) throws {
    let job = try #require(SlurmJob(line: line))
    #expect(job.timeLimit == limit.map { .seconds($0) } && job.elapsed == elapsed.map { .seconds($0) })
    #expect(job.isAtTimeLimit == isAtLimit && job.id == 7 && job.name == "a")
  }

  /// Lines of our own, each with what a version writes differently for the fields that are asked for.
  static let versionLines: [(String, Substring)] = [
    (
      "22.05",
      "Job=7|Array=7|Index=N/A|State=RUNNING|Reason=None|Submit=1795239967|Start=1795239968|Partition=main"
        + "|Nodes=n1|Cpus=4|Limit=1:00:00|Elapsed=0:31|Name=fubini-x"
    ),
    (
      "23.02, a federated id",
      "Job=7|Array=7|Index=N/A|State=RUNNING|Reason=None|Submit=1795239967|Start=1795239968"
        + "|Partition=main|Nodes=n1|Cpus=4|Limit=1:00:00|Elapsed=0:31|Cluster=a|Name=fubini-x"
    ),
    (
      "23.11, empty words",
      "Job=7|Array=7|Index=|State=RUNNING|Reason=|Submit=1795239967|Start=1795239968"
        + "|Partition=main|Nodes=n1|Cpus=4|Limit=1:00:00|Elapsed=0:31|Name=fubini-x"
    ),
    (
      "24.05, null for nothing",
      "Job=7|Array=7|Index=(null)|State=RUNNING|Reason=(null)|Submit=1795239967"
        + "|Start=1795239968|Partition=main|Nodes=n1|Cpus=4|Limit=1:00:00|Elapsed=0:31|Name=fubini-x"
    ),
    (
      "25.05, another order and more fields",
      "State=RUNNING|Job=7|Licenses=|Submit=1795239967|Start=1795239968"
        + "|Elapsed=0:31|Nodes=n1|Cpus=4|Limit=1:00:00|Partition=main|Segment=N/A|Name=fubini-x"
    ),
  ]

  @Test("A job reads the same in every version's lines", arguments: versionLines)
  func squeueVersions(_ version: String, _ line: Substring) throws {
    let job = try #require(SlurmJob(line: line), "\(version)")
    #expect(job.id == 7 && job.arrayID == 7 && job.index == nil && job.target == "7", "\(version)")
    #expect(job.state == .live("RUNNING") && job.submittedAt == 1_795_239_967 && job.startsAt == 1_795_239_968)
    #expect(job.partition == "main" && job.nodeList == "n1" && job.cpus == 4 && job.name == "fubini-x", "\(version)")
    #expect(job.timeLimit == .seconds(3600) && job.elapsed == .seconds(31), "\(version)")
  }

  /// A time that is not in seconds (an old Slurm that knows no SLURM_TIME_FORMAT) is no time, and the job is one all the same.
  @Test("A line with fewer fields, or with values that are none, is a job with less")
  func less() throws {
    let job = try #require(
      SlurmJob(line: "Job=7|State=PENDING|Submit=2026-11-21T12:53:16|Start=N/A|Cpus=many|Name=fubini-x"))
    #expect(job.submittedAt == nil && job.startsAt == nil && job.cpus == 1 && job.timeLimit == nil)
  }

  @Test("No text makes the reader fail", arguments: 0..<300)
  func fuzz(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var bytes = Array(Self.squeue.utf8)
    for _ in 0..<Int.random(in: 1...40, using: &random) {
      let place = Int.random(in: 0..<bytes.count, using: &random)
      bytes[place] = UInt8.random(in: 0...255, using: &random)
    }
    let text = String(decoding: bytes, as: UTF8.self)
    let (jobs, unreadable) = SlurmJob.parse(text)
    #expect(jobs.count + unreadable == text.split(separator: "\n").count, "seed \(seed)")
    _ = PartitionState.parse(text)
    _ = SlurmTime.duration(text.prefix(20))
  }

  @Test(
    "States",
    arguments: [
      ("PENDING", .pending), ("REQUEUE_HOLD", .pending), ("RUNNING", .live("RUNNING")), ("NEW_WORD", .live("NEW_WORD")),
      ("CANCELLED", .ended(.cancelled(uid: nil))), ("CANCELLED by 1000", .ended(.cancelled(uid: 1000))),
      ("CANCELLED+", .ended(.cancelled(uid: nil))), ("NODE_FAIL", .ended(.nodeFailure)),
      ("OUT_OF_MEMORY", .ended(.outOfMemory)),
    ] as [(String, JobState)])
  func states(_ text: String, _ state: JobState) { #expect(JobState(text) == state) }

  @Test(
    "Every reason becomes a sentence with Slurm's own word in it (I10)",
    arguments: [
      "Resources", "Priority", "QOSMaxJobsPerUserLimit", "PartitionTimeLimit", "ReqNodeNotAvail",
      "ReqNodeNotAvail,_UnavailableNodes:n2", "AssocGrpCpuLimit", "DependencyNeverSatisfied", "JobHeldUser",
      "JobHeldAdmin", "BadConstraints", "SomethingNew",
    ])
  func reasons(_ word: String) {
    let sentence = PendingReason.sentence(word, partition: "batch")
    #expect(sentence.hasSuffix("(Slurm: \(word))") && sentence.utf8.count > word.utf8.count + 20)
  }

  @Test("A job that nobody has looked at says so", arguments: ["None", ""])
  func noReason(_ word: String) {
    #expect(
      PendingReason.sentence(word, partition: "batch")
        == "waits in the partition batch for Slurm's scheduler to look at it")
  }

  @Test(
    "What failed is told apart: not reachable, full, refused",
    arguments: [
      (
        "squeue: error: Unable to contact slurm controller (connect failure)\nslurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "unavailable"
      ),
      ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", "unavailable"),
      ("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", "unavailable"),
      (
        "sbatch: error: Munge encode failed: Failed to access \"/run/munge.socket\": No such file or directory",
        "unavailable"
      ),
      ("", "unavailable"),
      (
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "full"
      ),
      (
        "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition name specified",
        "refused"
      ),
      (
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        "refused"
      ),
      (
        "sbatch: error: CPU count per node can not be satisfied\nsbatch: error: Batch job submission failed: Requested node configuration is not available",
        "refused"
      ),
    ])
  func failures(_ text: String, _ kind: String) {
    let failure = SlurmFailure(.init(status: 1, standardOutput: "", standardError: text))
    switch failure {
    case .unavailable: #expect(kind == "unavailable")
    case .full: #expect(kind == "full")
    case .refused(let words):
      #expect(kind == "refused")
      #expect(!words.contains("sbatch: ") && !words.contains("\n"))
    }
    #expect(failure.error.isRetryable == (kind != "refused"))
  }

  @Test(
    "Durations",
    arguments: [
      ("30", 1800), ("30:00", 1800), ("2:00:00", 7200), ("1-00:00:00", 86_400), ("1-12", 129_600), ("0:10", 10),
      ("1-12:30", 131_400), ("infinite", nil), ("n/a", nil), ("UNLIMITED", nil), ("", nil), ("-1", nil),
      ("1:2:3:4", nil),
    ] as [(String, Int64?)])
  func durations(_ text: String, _ seconds: Int64?) {
    #expect(SlurmTime.duration(text) == seconds.map { .seconds($0) })
  }

  static let sinfo = """
    Partition=batch*|Avail=up|Limit=2:00:00|Default=30:00|State=mixed|Cpus=9/23/0/32|PerNode=32|Memory=20000|Count=1|Gres=gpu:a100:2(S:0-1)
    Partition=batch*|Avail=up|Limit=2:00:00|Default=30:00|State=idle|Cpus=0/64/0/64|PerNode=32|Memory=20000|Count=2|Gres=(null)
    Partition=batch*|Avail=up|Limit=2:00:00|Default=30:00|State=drained|Cpus=0/0/32/32|PerNode=32|Memory=20000|Count=1|Gres=(null)
    Partition=batch*|Avail=up|Limit=2:00:00|Default=30:00|State=idle*|Cpus=0/0/32/32|PerNode=32|Memory=20000|Count=1|Gres=(null)
    Partition=down|Avail=down|Limit=1-00:00:00|Default=n/a|State=idle|Cpus=0/32/0/32|PerNode=32|Memory=20000|Count=1|Gres=(null)
    Partition=long|Avail=up|Limit=infinite|Default=n/a|State=idle$|Cpus=0/32/0/32|PerNode=32|Memory=20000|Count=1|Gres=(null)
    """

  @Test("Partitions have limits, and the cores of nodes that can be used")
  func partitions() {
    let partitions = PartitionState.parse(Self.sinfo)
    #expect(partitions.map(\.name) == ["batch", "down", "long"])
    let batch = partitions[0]
    #expect(batch.isDefault && batch.availability == .up)
    #expect(batch.timeLimit == .seconds(7200) && batch.defaultTime == .seconds(1800))
    #expect(batch.nodes == 5 && batch.usableNodes == 3 && batch.cpus == 96 && batch.freeCpus == 87)
    #expect(batch.gpus == ["a100": 2] && batch.gpusPerNode == 2 && batch.memoryPerNode == .mebibytes(20_000))
    #expect(partitions[1].availability == .down && !partitions[1].isDefault)
    #expect(partitions[2].timeLimit == nil && partitions[2].usableNodes == 0)
    let capacity = PartitionState.capacity(Self.sinfo)
    #expect(capacity.cpuMillicores == 128_000 && capacity.gpus == 2)
  }

  @Test(
    "A run that Slurm's default partition could never start, and for which nobody names one, goes to the first that could"
  )
  func stepsAside() {
    let gpus = PartitionState(
      name: "gpus", nodes: 2, usableNodes: 2, cpus: 32, cpusPerNode: 16, memoryPerNode: .gibibytes(64),
      gpus: ["a100": 8], gpusPerNode: 4)
    var standard = PartitionState(
      name: "batch", isDefault: true, timeLimit: .seconds(3600), nodes: 9, usableNodes: 9, cpus: 72, cpusPerNode: 8,
      memoryPerNode: .gibibytes(16))
    var isStandardCounted = true
    func chosen(_ named: String? = nil, _ change: @escaping (inout RunRequest) -> Void) -> String? {
      PartitionState.stepAside(
        from: [standard, gpus],
        to: [standard, gpus].filter {
          $0.availability == .up && $0.usableNodes > 0 && ($0.name != "batch" || isStandardCounted)
        },
        for: BatchScriptTests.request(change), named: named,
        isCounted: { $0 != "batch" || isStandardCounted })
    }
    #expect(chosen { $0.spec.resources = Resources(cpuMillicores: 8000) } == nil)
    #expect(chosen { $0.spec.resources.gpus = 1 } == "gpus")
    #expect(chosen { $0.spec.resources = Resources(gpus: 4, gpuType: "a100") } == "gpus")
    #expect(chosen { $0.spec.resources = Resources(gpus: 1, gpuType: "h100") } == nil, "nobody has it: Slurm says so")
    #expect(chosen { $0.spec.resources.gpus = 5 } == nil)
    #expect(chosen { $0.spec.resources.memory = .gibibytes(17) } == "gpus")
    #expect(chosen { $0.spec.resources = Resources(cpuMillicores: 8001) } == "gpus")
    #expect(chosen { $0.walltime = .seconds(3601) } == "gpus")
    #expect(chosen("batch") { $0.spec.resources.gpus = 1 } == nil, "who names one means it")
    #expect(
      chosen {
        $0.spec.federation.gangSize = 10; $0.spec.resources = Resources(cpuMillicores: 8000)
      } == nil)
    standard.cpus = 16
    #expect(
      chosen {
        $0.spec.federation.gangSize = 4; $0.spec.resources = Resources(cpuMillicores: 8000)
      } == "gpus",
      "one copy would fit, the gang never does")
    standard.cpus = 72
    standard.availability = .down
    #expect(chosen { $0.spec.resources = Resources(cpuMillicores: 1000) } == "gpus", "nothing starts there now")
    standard.availability = .up
    isStandardCounted = false
    #expect(chosen { $0.spec.resources = Resources(cpuMillicores: 1000) } == "gpus", "the operator does not count it")
    isStandardCounted = true
    standard.usableNodes = 0
    #expect(chosen { $0.spec.resources.gpus = 1 } == nil, "its nodes may have anything when they are back")
    standard.isDefault = false
    #expect(chosen { $0.spec.resources.gpus = 1 } == "gpus", "there is no default at all")
  }

  @Test(
    "Generic resources",
    arguments: [
      ("gpu:a100:2(S:0-1),gpu:4,shard:8", ["a100": 2, "": 4]), ("(null)", [:]), ("", [:]), ("gpu:v100:x", [:]),
      ("gpu:tesla:2,gpu:kepler:2", ["tesla": 2, "kepler": 2]),
    ] as [(Substring, [String: Int64])])
  func devices(_ text: Substring, _ found: [String: Int64]) { #expect(NodeGroup.devices(text) == found) }

  @Test("A forecast is the moment at which a job would start")
  func forecast() {
    #expect(
      SlurmExecutor.forecastStart(
        "sbatch: Job 19 to start at 1795249869 using 1 processors on nodes n1 in partition batch") == 1_795_249_869)
    #expect(SlurmExecutor.forecastStart("allocation failure: Requested node configuration is not available") == nil)
  }

  @Test("A job's name tells whose it is, and of what (I7)")
  func names() {
    let mark = OwnershipMark.text(federationID: "fed", cluster: "hpc")
    #expect(mark.utf8.count == 8)
    for subject in [JobName.Subject.run(RunID(0x1_0000_0001)), .array(5), .array(.max)] {
      let name = JobName(mark: mark, subject: subject)
      #expect(JobName(name.text, mark: mark) == name)
      #expect(JobName(key: name.key, mark: mark) == name)
      #expect(JobName(name.text, mark: OwnershipMark.text(federationID: "fed", cluster: "other")) == nil)
      #expect(JobName(name.text, mark: OwnershipMark.text(federationID: "other", cluster: "hpc")) == nil)
      #expect(JobName("x" + name.text, mark: mark) == nil && JobName(name.text + "0", mark: mark) == nil)
    }
    for text in ["", "fubini-", "fubini-\(mark)-", "fubini-\(mark)-zz", "fubini-\(mark)-a1", "md-run"] {
      #expect(JobName(text, mark: mark) == nil)
    }
  }
}

extension SlurmJob {
  /// A line as text, as tests write it.
  init?(line: Substring) { self.init(line: Array(line.utf8)[...]) }
}
