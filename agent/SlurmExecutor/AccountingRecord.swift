internal import FederationModel

/// What accounting keeps of one job, or of one task of a job array: a line of `sacct --parsable2`.
struct AccountingRecord: Hashable, Sendable {
  var job: SlurmJob
  /// How the batch script ended; nil where accounting does not say.
  var exit: JobExit?

  /// Read by their names in the first line, so that order and further columns do not matter. Every version from 22.05 to 25.05
  /// has these.
  static let fields = [
    "JobIDRaw", "JobID", "State", "ExitCode", "Submit", "Start", "Partition", "NodeList", "AllocCPUS", "JobName",
  ]

  /// `sacct` with its header; lines that are not as long as the header (a foreign job's name may hold the separator), or lack
  /// the id, the state or the name, are counted and left out.
  static func parse(_ output: String) -> (records: [AccountingRecord], unreadable: Int) {
    let lines = output.split(separator: "\n")
    guard let header = lines.first else { return ([], 0) }
    let names = header.split(separator: "|", omittingEmptySubsequences: false)
    let columns = Dictionary(names.enumerated().map { ($0.element, $0.offset) }) { first, _ in first }
    var records: [AccountingRecord] = []
    var unreadable = 0
    for line in lines.dropFirst() {
      let values = line.split(separator: "|", omittingEmptySubsequences: false)
      if values.count == names.count, let record = AccountingRecord({ columns[$0].map { values[$0] } }) {
        records.append(record)
      } else {
        unreadable += 1
      }
    }
    return (records, unreadable)
  }

  private init?(_ field: (Substring) -> Substring?) {
    guard let id = field("JobIDRaw").flatMap({ UInt64($0) }), let name = field("JobName"), let state = field("State"),
      !state.isEmpty
    else { return nil }
    // `8_3`; `8_[3-5]` for tasks that wait together and have no record of their own yet.
    let display = (field("JobID") ?? "").split(separator: "_", omittingEmptySubsequences: false)
    let nodes = field("NodeList") ?? ""
    job = SlurmJob(
      id: id, arrayID: display.first.flatMap { UInt64($0) } ?? id,
      index: display.count == 2 ? Int(display[1]) : nil, state: JobState(String(state)), reason: "",
      partition: field("Partition").map(String.init) ?? "", nodeList: nodes == "None assigned" ? "" : String(nodes),
      cpus: field("AllocCPUS").flatMap { Int64($0) } ?? 1, submittedAt: field("Submit").flatMap { Int64($0) },
      startsAt: field("Start").flatMap { Int64($0) }, name: String(name))
    exit = field("ExitCode").flatMap { JobExit($0) }
  }

  /// Of the records of one run the last submission's; nil when there is none, when it has not ended there, or when it was
  /// submitted before the job that is known to be the run's: ids are used again.
  static func last(_ records: [AccountingRecord], submittedAt: Int64?) -> AccountingRecord? {
    let last = records.max { a, b in
      (a.job.submittedAt ?? .min, a.job.id) < (b.job.submittedAt ?? .min, b.job.id)
    }
    guard let last, case .ended = last.job.state else { return nil }
    if let submittedAt, let told = last.job.submittedAt, told < submittedAt { return nil }
    return last
  }
}

/// How a batch script ended, in Slurm's words `code:signal`.
struct JobExit: Hashable, Sendable {
  var code: Int32
  /// 0: none.
  var signal: Int32

  init(code: Int32, signal: Int32 = 0) {
    self.code = code
    self.signal = signal
  }

  /// nil for what is no `code:signal`.
  init?(_ text: Substring) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map { Int32($0) }
    guard parts.count == 2, let code = parts[0], let signal = parts[1], (0...255).contains(code),
      (0...127).contains(signal)
    else { return nil }
    self.init(code: code, signal: signal)
  }
}
