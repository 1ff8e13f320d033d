internal import FederationModel
internal import Testing

@testable internal import SlurmExecutor

/// What `sacct` prints, in lines of our own that follow its documented fields.
@Suite struct AccountingTests {
  static let header = "JobIDRaw|JobID|State|ExitCode|Submit|Start|Partition|NodeList|AllocCPUS|JobName"

  @Test("Records are read by the names in the first line, in any order, with columns more or fewer")
  func names() throws {
    let (records, unreadable) = AccountingRecord.parse(
      """
      \(Self.header)
      7|7|FAILED|7:0|1795265596|1795265597|main|n1|4|fubini-x
      11|8_3|CANCELLED by 1000|0:15|1795265596|Unknown|main|None assigned|0|fubini-a
      9|9|COMPLETED|0:0|1|1|main|n1|1|a|foreign|name
      x|x|COMPLETED|0:0|1|1|main|n1|1|a
      """)
    #expect(unreadable == 2 && records.count == 2)
    #expect(records[0].job.state == .ended(.failed) && records[0].exit == JobExit(code: 7))
    #expect(records[0].job.submittedAt == 1_795_265_596 && records[0].job.cpus == 4 && records[0].job.target == "7")
    #expect(records[1].job.state == .ended(.cancelled(uid: 1000)) && records[1].exit == JobExit(code: 0, signal: 15))
    #expect(records[1].job.target == "8_3" && records[1].job.startsAt == nil)
    #expect(records[0].job.nodeList == "n1" && records[1].job.nodeList.isEmpty)
    let other = AccountingRecord.parse("State|Later|JobName|JobIDRaw\nTIMEOUT||fubini-x|7\n").records
    #expect(other.map(\.job.state) == [.ended(.timeout)] && other[0].exit == nil && other[0].job.submittedAt == nil)
    #expect(AccountingRecord.parse("").records.isEmpty && AccountingRecord.parse(Self.header).records.isEmpty)
    #expect(AccountingRecord.parse("JobID|State\n7|FAILED\n") == ([], 1))
  }

  /// Every end of a job in accounting, as versions write it.
  @Test(
    "Each state becomes the same end as in squeue",
    arguments: [
      ("COMPLETED", .completed), ("FAILED", .failed), ("TIMEOUT", .timeout), ("OUT_OF_MEMORY", .outOfMemory),
      ("NODE_FAIL", .nodeFailure), ("BOOT_FAIL", .bootFailure), ("PREEMPTED", .preempted), ("DEADLINE", .deadline),
      ("REVOKED", .revoked), ("CANCELLED by 0", .cancelled(uid: 0)), ("CANCELLED", .cancelled(uid: nil)),
    ] as [(String, JobState.End)])
  func states(_ text: String, _ end: JobState.End) {
    let records = AccountingRecord.parse("\(Self.header)\n7|7|\(text)|0:0|5|5|main|n1|1|fubini-x\n").records
    #expect(AccountingRecord.last(records, submittedAt: nil)?.job.state == .ended(end))
  }

  @Test("The last submission counts; one that lives, or is older than the run's job, says nothing (I1)")
  func last() {
    func last(_ lines: [String], _ submittedAt: Int64?) -> JobState? {
      let text = ([Self.header] + lines).joined(separator: "\n")
      return AccountingRecord.last(AccountingRecord.parse(text).records, submittedAt: submittedAt)?.job.state
    }
    let first = "7|7|NODE_FAIL|0:0|100|101|main|n1|1|fubini-x"
    let second = "7|7|COMPLETED|0:0|200|201|main|n1|1|fubini-x"
    let waiting = "7|7|PENDING|0:0|300|Unknown|main||1|fubini-x"
    #expect(last([first], nil) == .ended(.nodeFailure) && last([first], 100) == .ended(.nodeFailure))
    #expect(last([second, first], 100) == .ended(.completed))
    #expect(last([first, second, waiting], 100) == nil && last([], nil) == nil)
    #expect(last([first], 101) == nil)
  }

  @Test(
    "Exit codes", arguments: [("7:0", 7, 0), ("0:9", 0, 9), ("0:0", 0, 0)] as [(Substring, Int32, Int32)])
  func exits(_ text: Substring, _ code: Int32, _ signal: Int32) {
    #expect(JobExit(text) == JobExit(code: code, signal: signal))
  }

  @Test("What is no exit code is none", arguments: ["", "7", "7:", ":0", "a:b", "-1:0", "300:0", "0:0:0"])
  func noExits(_ text: Substring) { #expect(JobExit(text) == nil) }

  @Test("Slurm says whether it keeps accounts")
  func keeps() {
    #expect(SlurmExecutor.keepsAccounts("A = b\nAccountingStorageType   = accounting_storage/slurmdbd\n"))
    #expect(SlurmExecutor.keepsAccounts("AccountingStorageType   = slurmdbd"))
    #expect(!SlurmExecutor.keepsAccounts("AccountingStorageType   = accounting_storage/none\nX = slurmdbd\n"))
    #expect(!SlurmExecutor.keepsAccounts(""))
  }

  @Test("No text makes the reader fail", arguments: 0..<200)
  func fuzz(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var bytes = Array("\(Self.header)\n7|7|FAILED|7:0|100|101|main|n1|4|x\n8|8_3|COMPLETED|0:0|1|1|m|n|1|y".utf8)
    for _ in 0..<Int.random(in: 1...20, using: &random) {
      bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
    }
    let text = String(decoding: bytes, as: UTF8.self)
    let (records, unreadable) = AccountingRecord.parse(text)
    #expect(records.count + unreadable <= text.split(separator: "\n").count, "seed \(seed)")
  }

  @Test(
    "A run that the controller forgot takes accounting's word, keeps it, and drops it when its job lives again (I2)")
  func tracked() throws {
    let start = ContinuousClock.now
    func at(_ seconds: Int64) -> ContinuousClock.Instant { start + .seconds(seconds) }
    var run = TrackedRun(id: RunID(7), request: nil, runsAs: nil, now: start)
    run.attempt = .init(name: JobName(mark: "0a1b2c3d", subject: .run(RunID(7))), jobID: 7)
    run.saw(claim: .step, at: start)
    #expect(!run.wantsAccount)
    run.answered(nil, askedAt: at(1), now: at(1))
    #expect(run.wantsAccount)
    let record = try #require(
      AccountingRecord.parse("\(Self.header)\n7|7|FAILED|7:0|5|5|main|n1|1|fubini-x\n").records.first)
    run.accounted(record.job, exit: record.exit, now: at(2))
    #expect(!run.wantsAccount)
    for second in 3...20 as ClosedRange<Int64> { run.answered(nil, askedAt: at(second), now: at(second)) }
    #expect(Verdict(run.facts(now: at(16))) == .running(""))
    #expect(Verdict(run.facts(now: at(17))) == .exited(7))
    let alive = try #require(SlurmJob(line: "Job=7|State=RUNNING|Name=fubini-x"))
    run.answered(alive, askedAt: at(21), now: at(21))
    #expect(Verdict(run.facts(now: at(100))) == .running(""))
    run.answered(nil, askedAt: at(101), now: at(101))
    #expect(run.facts(now: at(200)).exit == nil && run.wantsAccount)
  }
}
