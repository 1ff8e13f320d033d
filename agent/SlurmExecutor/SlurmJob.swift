internal import FederationModel

/// One line of `squeue`: what Slurm knows of one job, or of one task of a job array.
struct SlurmJob: Hashable, Sendable {
  /// `%A`. Pending tasks of an array share the array's.
  var id: UInt64 = 0
  /// `%F`; the job's own id outside of arrays.
  var arrayID: UInt64 = 0
  /// `%K`; nil outside of arrays.
  var index: Int?
  var state = JobState.pending
  /// `%r`, Slurm's word.
  var reason = ""
  var partition = ""
  var nodeList = ""
  var cpus: Int64 = 1
  /// Seconds since 1970 by the controller's clock.
  var submittedAt: Int64?
  /// When it started, or is expected to.
  var startsAt: Int64?
  /// Slurm's limit, and how long it has run; nil: none, or not told.
  var timeLimit: Duration?
  var elapsed: Duration?
  var name = ""

  /// Whether Slurm has, or is about to have, its time limit for a reason to end it. It warns as early as a minute before what
  /// `--signal` says.
  ///
  /// - Source: sbatch(1), `--signal`.
  var isAtTimeLimit: Bool {
    guard let timeLimit, let elapsed else { return false }
    return elapsed + .seconds(Int64(TimeLimits.warningSeconds) + 60) >= timeLimit
  }

  /// How the task is called in `scancel`'s arguments.
  var target: String { index.map { "\(arrayID)_\($0)" } ?? "\(id)" }
}

extension SlurmJob {
  /// Labelled, so that nothing depends on a position; the name last, because anything may be in the name of a foreign job.
  static let format =
    "Job=%A|Array=%F|Index=%K|State=%T|Reason=%r|Submit=%V|Start=%S|Partition=%P|Nodes=%N|Cpus=%C|Limit=%l|Elapsed=%M|Name=%j"

  /// Reads one line; nil when it is no line of that format, or lacks the id, the state or the name.
  ///
  /// Unknown labels are skipped, so that a later format may have more. Bytes, because thousands of lines come every few seconds.
  init?(line: ArraySlice<UInt8>) {
    self.init()
    var rest = line
    var hasID = false, hasState = false
    while !rest.starts(with: Self.nameLabel) {
      guard let end = rest.firstIndex(of: UInt8(ascii: "|")) else { return nil }
      let field = rest[..<end]
      rest = rest[(end + 1)...]
      if field.isEmpty { continue }
      guard let equals = field.firstIndex(of: UInt8(ascii: "=")) else { return nil }
      let value = String(decoding: field[(equals + 1)...], as: UTF8.self)
      switch String(decoding: field[..<equals], as: UTF8.self) {
      case "Job":
        guard let number = UInt64(value) else { return nil }
        (id, hasID) = (number, true)
      case "Array": arrayID = UInt64(value) ?? 0
      case "Index": index = Int(value)
      case "State": (state, hasState) = (JobState(value), true)
      case "Reason": reason = value
      case "Submit": submittedAt = Int64(value)
      case "Start": startsAt = Int64(value)
      case "Partition": partition = value
      case "Nodes": nodeList = value
      case "Cpus": cpus = Int64(value) ?? 1
      case "Limit": timeLimit = SlurmTime.duration(value)
      case "Elapsed": elapsed = SlurmTime.duration(value)
      default: break
      }
    }
    guard hasID, hasState else { return nil }
    if arrayID == 0 { arrayID = id }
    name = String(decoding: rest.dropFirst(Self.nameLabel.count), as: UTF8.self)
  }

  private static let nameLabel = Array("Name=".utf8)

  /// All lines that can be read, and how many could not.
  static func parse(_ output: String) -> (jobs: [SlurmJob], unreadable: Int) {
    var jobs: [SlurmJob] = []
    var unreadable = 0
    for line in Array(output.utf8).split(separator: UInt8(ascii: "\n")) {
      if let job = SlurmJob(line: line) { jobs.append(job) } else { unreadable += 1 }
    }
    return (jobs, unreadable)
  }
}
