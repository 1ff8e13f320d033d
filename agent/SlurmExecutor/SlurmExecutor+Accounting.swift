internal import Execution
internal import FederationModel

/// Accounting tells of jobs that the controller has forgotten: how they ended, with which exit code, and who cancelled them.
/// It explains; the files of a run stay the truth about it.
extension SlurmExecutor {
  /// Runs in one question; the others are next.
  private static var accountedMax: Int { 200 }
  private static var accountingTimeout: Duration { .seconds(30) }
  /// Between two fruitless questions about one run. slurmdbd learns of an end a little later than the controller.
  private static var accountingPauseMax: Duration { .seconds(60) }

  /// What `scontrol show config` says.
  static func keepsAccounts(_ configuration: String) -> Bool {
    configuration.split(separator: "\n").contains {
      $0.hasPrefix("AccountingStorageType") && $0.split(separator: " ").last?.hasSuffix("slurmdbd") == true
    }
  }

  /// Asks once about all runs that only accounting can explain; without such runs it asks nothing.
  func consultAccounting() async {
    let now = clock.now
    guard hasAccounting, now >= accountingDue else { return }
    let ids = runs.values.filter { $0.wantsAccount && now >= $0.accountDue }.sorted { $0.accountDue < $1.accountDue }
      .prefix(Self.accountedMax).map(\.id)
    let targets = ids.compactMap { runs[$0]?.target }
    guard !targets.isEmpty else { return }
    do {
      let records = try await accounts(of: targets)
      accountingBackoff.succeeded(in: clock.now - now)
      accountingProblem = nil
      for id in ids { apply(records[id] ?? [], to: id) }
    } catch {
      accountingBackoff.failed()
      accountingProblem = (error as? FederationError)?.publicMessage ?? "\(error)"
    }
    accountingDue = clock.now + accountingBackoff.pause(jitter: accountingBackoff.failures > 0 ? jitter : 1)
  }

  /// Ids are told to find the records soon; the names in them say whose they are (I7).
  private func accounts(of targets: [String]) async throws -> [RunID: [AccountingRecord]] {
    let arguments = [
      "--parsable2", "--allocations", "--duplicates", "--allusers", "--jobs=\(targets.joined(separator: ","))",
      "--format=\(AccountingRecord.fields.joined(separator: ","))",
    ]
    let output = try await commands.run(
      configuration.programs.sacct, arguments, timeout: Self.accountingTimeout)
    guard output.status == 0 else { throw SlurmFailure(output).error }
    var found: [RunID: [AccountingRecord]] = [:]
    let hosted = Dictionary(
      grouping: runs.values.filter { $0.host != nil && $0.wantsAccount }, by: { $0.host! })
    for record in AccountingRecord.parse(output.standardOutput).records {
      guard let name = JobName(record.job.name, mark: mark), let id = run(of: record.job, name) else { continue }
      let task = ArrayTask(record.job)
      if runs[id]?.host == nil { found[id, default: []].append(record) }
      for run in task.flatMap({ hosted[$0] }) ?? [] { found[run.id, default: []].append(record) }
    }
    return found
  }

  private func apply(_ records: [AccountingRecord], to id: RunID) {
    guard let run = runs[id], run.wantsAccount else { return }
    let now = clock.now
    guard let record = AccountingRecord.last(records, submittedAt: run.job?.submittedAt) else {
      let pause = min(Self.accountingPauseMax, configuration.pollInterval * (1 << min(run.fruitlessQuestions, 8)))
      runs[id]!.isNotInAccounts(askAgainAt: now + pause)
      return
    }
    // A script of the operator's may end with a code of its own, and a step that several runs shared with another one's.
    let isStep = configuration.scriptTemplate == nil && run.attempt?.isShared != true
    runs[id]!.accounted(record.job, exit: isStep ? record.exit : nil, now: now)
    consider(id, looksAtFiles: true)
  }
}
