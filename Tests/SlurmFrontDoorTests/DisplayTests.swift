import FederationModel
import SlurmFrontDoor
import Testing

@Suite("What squeue, sacct and scontrol show")
struct DisplayTests {
  static let moment = DisplayMoment(now: Timestamp(milliseconds: 1_795_350_000_000), offset: 0)

  static func line(_ job: Int64 = 123, _ change: (inout JobLine) -> Void = { _ in }) -> JobLine {
    var line = JobLine(job: job, number: job, submittedAt: Timestamp(milliseconds: 1_795_349_900_000))
    (line.name, line.user, line.partition, line.account) = ("train-the-model", "ann", "gpu", "science")
    line.timeLimitSeconds = 3600
    change(&line)
    return line
  }

  @Test("the default format is squeue's, cut and justified as there")
  func standard() {
    #expect(
      QueueFormat.standard.heading
        == "             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)")
    let pending = Self.line { $0.reason = "Staging" }
    #expect(
      QueueFormat.standard.line(pending, Self.moment)
        == "               123       gpu train-th      ann PD       0:00      1 (Staging)")
    let running = Self.line {
      ($0.state, $0.cluster, $0.startedAt) = (.running, "edge-1", Timestamp(milliseconds: 1_795_349_935_000))
    }
    #expect(
      QueueFormat.standard.line(running, Self.moment)
        == "               123       gpu train-th      ann  R       1:05      1 edge-1")
  }

  @Test("own formats: left and right, literal text, names with widths")
  func formats() throws {
    let line = Self.line()
    #expect(try QueueFormat("<%i>%5t|%T").line(line, Self.moment) == "<123>PD   |PENDING")
    #expect(try QueueFormat("%i,%V").line(line, Self.moment) == "123,2026-11-22T12:18:20")
    #expect(try QueueFormat(fields: "jobid:8,state:.10,name:5").line(line, Self.moment) == "123        PENDINGtrain")
    #expect(try QueueFormat(fields: "JobID").heading == "JOBID               ")
    #expect(throws: SlurmRefusal.self) { try QueueFormat("%@") }
    #expect(throws: SlurmRefusal.self) { try QueueFormat(fields: "nosuch") }
  }

  @Test("tasks of an array that wait for the same thing are one line")
  func arrays() {
    let tasks = (1...5).map { index in
      Self.line {
        ($0.isArray, $0.tasks, $0.number, $0.reason) = (true, [Int32(index)], 122 + Int64(index), "Resources")
        $0.parallelism = 2
        if index == 1 { ($0.state, $0.startedAt) = (.running, .epoch) }
        if index == 5 { $0.reason = "JobArrayTaskLimit" }
      }
    }
    let joined = JobLine.joined(tasks)
    #expect(joined.map(\.id) == ["123_1", "123_[2-4%2]", "123_[5%2]"])
  }

  @Test("selectors name jobs, tasks, lists of tasks, and numbers of tasks")
  func selectors() throws {
    let task = Self.line { ($0.isArray, $0.tasks, $0.number) = (true, [4], 126) }
    for text in ["123", "123_4", "126", "123_[1-5]", "123.batch", "123_4.0"] {
      #expect(JobSelector(text)?.names(task) == true, "\(text)")
    }
    for text in ["124", "123_5", "126_4"] { #expect(JobSelector(text)?.names(task) == false, "\(text)") }
    for text in ["", "x", "0", "-1", "123_", "99999999999"] { #expect(JobSelector(text) == nil, "\(text)") }
    let list = try JobSelector.list("1,2_[3,4],5") { .error($0) }
    #expect(list.map(\.job) == [1, 2, 5] && list[1].tasks == [3, 4])
  }

  @Test("sacct: columns with a line below the heading, and fields with bars")
  func accounting() throws {
    let done = Self.line {
      ($0.state, $0.exitCode, $0.cluster) = (.failed, 3, "edge-1")
      ($0.startedAt, $0.finishedAt) = (.epoch, Timestamp(milliseconds: 65_000))
    }
    #expect(
      AccountingFormat.standard.heading(.columns)
        == "       JobID    JobName  Partition    Account  AllocCPUS      State ExitCode \n"
        + "------------ ---------- ---------- ---------- ---------- ---------- -------- \n")
    #expect(
      AccountingFormat.standard.line(done, .columns, Self.moment)
        == "         123 train-the+        gpu    science          1     FAILED      3:0 \n")
    // As AiiDA asks: what nobody measures is empty.
    var wide = done
    (wide.nodes, wide.cpus, wide.memoryMebibytes) = (2, 8, 500)
    #expect(
      try AccountingFormat("AllocTRES,AveCPUFreq,MaxRSSTask,QOSRAW,NNodes").line(wide, .parsable2("|"), Self.moment)
        == "cpu=8,mem=1000M,node=2||||2\n")
    let format = try AccountingFormat("JobIdRaw,State,elapsed,ExitCode")
    #expect(format.line(done, .parsable2("|"), Self.moment) == "123|FAILED|00:01:05|3:0\n")
    #expect(format.line(done, .parsable("|"), Self.moment) == "123|FAILED|00:01:05|3:0|\n")
    let killed = Self.line { ($0.state, $0.exitCode) = (.cancelled, 137) }
    #expect(try AccountingFormat("exitcode").line(killed, .parsable2("|"), Self.moment) == "0:9\n")
    #expect(try AccountingFormat("jobname%-20").line(done, .columns, Self.moment) == "train-the-model      \n")
  }

  @Test("states by both spellings; an unknown one names those that there are")
  func states() throws {
    #expect(try JobState.list("pd,RUNNING") == [.pending, .running])
    #expect(try JobState.list("all") == nil)
    #expect(throws: SlurmRefusal.self) { try JobState.list("XX") }
  }

  @Test("how a run ended is told by its code, whatever its message says; an end that was asked for is CANCELLED")
  func ends() {
    func ended(_ cause: RunEndCause?, cancelled: Bool = false) -> JobState {
      .ended(succeeded: false, cause: cause, isCancelled: cancelled)
    }
    #expect(ended(nil) == .failed && ended(nil, cancelled: true) == .cancelled)
    #expect(ended(.timeLimit, cancelled: true) == .cancelled)
    #expect(
      RunEndCause.allCases.map { ended($0).rawValue } == [
        "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED",
      ])
    #expect(JobState.ended(succeeded: true, cause: nil, isCancelled: true) == .completed)
    #expect(ended(.timeLimit).endReason == "TimeLimit" && ended(nil).endReason == "NonZeroExitCode")
  }

  @Test("I10: whatever keeps a task waiting has one word of Slurm's or ours")
  func reasons() {
    func waiting(_ codes: [String?], _ never: Bool = false) -> String {
      PendingReason.waiting(codes: codes, isUnplaceable: never)
    }
    #expect(waiting([]) == "AgentOffline" && waiting(["Closed", "KindNotAllowed"]) == "AgentOffline")
    #expect(waiting(["OverBudget", "Full"]) == "Budget" && waiting(["Full", "Closed"]) == "Resources")
    #expect(waiting([nil, "Full"]) == "Priority" && waiting(["KeptForHigherClass"]) == "Priority")
    #expect(waiting(["NoSuchPartition"], true) == "PartitionConfig" && waiting(["OverQuota"]) == "AssocGrpCPULimit")
    #expect(PendingReason.placed(phase: "Staging", isAgentAway: false) == "Staging")
    #expect(PendingReason.placed(phase: "Queued", isAgentAway: true) == "AgentOffline")
  }
}
