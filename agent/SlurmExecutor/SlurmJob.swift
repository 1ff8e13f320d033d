internal import FederationModel

/// One line of `squeue`: what Slurm knows of one job, or of one task of a job array.
struct SlurmJob: Hashable, Sendable {
  /// `%A`. Pending tasks of an array share the array's.
  var id: UInt64
  /// `%F`; the job's own id outside of arrays.
  var arrayID: UInt64
  /// `%K`; nil outside of arrays.
  var index: Int?
  var state: JobState
  /// `%r`, Slurm's word.
  var reason: String
  var partition: String
  var nodeList: String
  var cpus: Int64
  /// Seconds since 1970 by the controller's clock.
  var submittedAt: Int64?
  /// When it started, or is expected to.
  var startsAt: Int64?
  /// Slurm's limit, and how long it has run; nil: none, or not told.
  var timeLimit: Duration?
  var elapsed: Duration?
  var name: String

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
  /// Unknown labels are skipped, so that a later format may have more.
  init?(line: Substring) {
    guard let marker = line.range(ofASCII: "|Name=") else { return nil }
    var fields: [Substring: Substring] = [:]
    for field in line[..<marker.lowerBound].split(separator: "|", omittingEmptySubsequences: true) {
      guard let equals = field.utf8.firstIndex(of: 0x3d) else { return nil }
      fields[field[..<equals]] = field[field.utf8.index(after: equals)...]
    }
    guard let id = fields["Job"].flatMap({ UInt64($0) }), let state = fields["State"].map({ JobState(String($0)) })
    else { return nil }
    self.id = id
    self.state = state
    arrayID = fields["Array"].flatMap { UInt64($0) } ?? id
    index = fields["Index"].flatMap { Int($0) }
    reason = fields["Reason"].map(String.init) ?? ""
    partition = fields["Partition"].map(String.init) ?? ""
    nodeList = fields["Nodes"].map(String.init) ?? ""
    cpus = fields["Cpus"].flatMap { Int64($0) } ?? 1
    submittedAt = fields["Submit"].flatMap { Int64($0) }
    startsAt = fields["Start"].flatMap { Int64($0) }
    timeLimit = fields["Limit"].flatMap { SlurmTime.duration($0) }
    elapsed = fields["Elapsed"].flatMap { SlurmTime.duration($0) }
    name = String(line[marker.upperBound...])
  }

  /// All lines that can be read, and how many could not.
  static func parse(_ output: String) -> (jobs: [SlurmJob], unreadable: Int) {
    var jobs: [SlurmJob] = []
    var unreadable = 0
    for line in output.split(separator: "\n") {
      if let job = SlurmJob(line: line) { jobs.append(job) } else { unreadable += 1 }
    }
    return (jobs, unreadable)
  }
}

extension Substring {
  /// The first place of an ASCII text, byte by byte: five times as fast as by characters.
  func range(ofASCII text: StaticString) -> Range<Substring.Index>? {
    text.withUTF8Buffer { wanted in
      let bytes = utf8
      var start = bytes.startIndex
      while let first = bytes[start...].firstIndex(of: wanted[0]) {
        if bytes[first...].prefix(wanted.count).elementsEqual(wanted) {
          return first..<bytes.index(first, offsetBy: wanted.count)
        }
        start = bytes.index(after: first)
      }
      return nil
    }
  }
}
