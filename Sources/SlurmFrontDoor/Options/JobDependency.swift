/// What of other jobs must have happened before a job starts: `--dependency`.
public struct JobDependency: Hashable, Sendable, Codable {
  public enum Kind: String, Hashable, Sendable, Codable {
    /// It has begun, or was cancelled.
    case after
    case afterany, afternotok, afterok
    /// Each task of an array waits for the task with its index. Tasks are known by their index here once the other array is over.
    case aftercorr
    /// Every earlier job of this name and user is over.
    case singleton
  }
  public struct Condition: Hashable, Sendable, Codable {
    public var kind: Kind
    /// 0 for `singleton`.
    public var job: Int64
    /// One task of an array; nil: all of them.
    public var task: Int32?
    /// Of `after`: how long after the start.
    public var delayMinutes: Int64?
    public init(_ kind: Kind, job: Int64 = 0, task: Int32? = nil, delayMinutes: Int64? = nil) {
      self.kind = kind
      self.job = job
      self.task = task
      self.delayMinutes = delayMinutes
    }

    public var text: String {
      guard kind != .singleton else { return kind.rawValue }
      return "\(kind.rawValue):\(job)" + (task.map { "_\($0)" } ?? "") + (delayMinutes.map { "+\($0)" } ?? "")
    }
  }
  public var conditions: [Condition]
  /// Whether one of them is enough (`?` between them).
  public var isAny: Bool

  public static let conditionsMax = 1000

  /// - Throws: what sbatch says.
  public init(_ text: String) throws(SlurmRefusal) {
    let hasAny = text.contains("?")
    guard !(hasAny && text.contains(",")) else { throw Self.invalid }
    isAny = hasAny
    conditions = []
    for part in text.split(separator: hasAny ? "?" : ",", omittingEmptySubsequences: false) {
      conditions += try Self.conditions(part)
    }
    guard !conditions.isEmpty, conditions.count <= Self.conditionsMax else { throw Self.invalid }
  }

  private static var invalid: SlurmRefusal {
    .error("Batch job submission failed: Job dependency problem")
  }

  private static func conditions(_ text: Substring) throws(SlurmRefusal) -> [Condition] {
    var parts = text.split(separator: ":", omittingEmptySubsequences: false)[...]
    let word = parts.popFirst().map { String($0).lowercased() } ?? ""
    if ["afterburstbuffer", "expand"].contains(word) {
      throw .error(
        "--dependency=\(word) is not supported here: use afterany, afterok, afternotok, aftercorr, after or singleton")
    }
    guard let kind = Kind(rawValue: word) else { throw invalid }
    if kind == .singleton {
      guard parts.isEmpty else { throw invalid }
      return [Condition(.singleton)]
    }
    guard !parts.isEmpty else { throw invalid }
    var conditions: [Condition] = []
    for part in parts {
      let delays = part.split(separator: "+", omittingEmptySubsequences: false)
      let halves = delays[0].split(separator: "_", omittingEmptySubsequences: false)
      guard delays.count <= 2, halves.count <= 2, let job = Int64(halves[0]), job > 0 else { throw invalid }
      var condition = Condition(kind, job: job)
      if halves.count == 2, halves[1] != "*" {
        guard let task = Int32(halves[1]), task >= 0 else { throw invalid }
        condition.task = task
      }
      if delays.count == 2 {
        guard kind == .after, let minutes = Int64(delays[1]), minutes >= 0 else { throw invalid }
        condition.delayMinutes = minutes
      }
      conditions.append(condition)
    }
    return conditions
  }

  /// What is known of the job, or the task of one, that a condition names.
  public enum Standing: Hashable, Sendable {
    /// It is not over. `startedSecondsAgo`: nil while it has not begun.
    case open(startedSecondsAgo: Int64?)
    case succeeded, failed
    /// There is no such job any more. Slurm forgets jobs soon after their end, and takes such a condition for met where any end would do.
    case unknown
  }
  public enum Verdict: Hashable, Sendable { case met, waiting, never }

  /// - Parameter standing: of each condition, in order; `singleton` is `.open` while an earlier job of the name is not over.
  public func verdict(_ standing: (Condition) -> Standing) -> Verdict {
    let verdicts = conditions.map { Self.verdict($0, standing($0)) }
    if isAny {
      return verdicts.contains(.met) ? .met : verdicts.contains(.waiting) ? .waiting : .never
    }
    return verdicts.contains(.never) ? .never : verdicts.contains(.waiting) ? .waiting : .met
  }

  private static func verdict(_ condition: Condition, _ standing: Standing) -> Verdict {
    switch (condition.kind, standing) {
    case (.after, .open(let started)):
      started.map { $0 >= (condition.delayMinutes ?? 0) * 60 } == true ? .met : .waiting
    case (.after, _), (.afterany, .succeeded), (.afterany, .failed), (.afterany, .unknown), (.afterok, .succeeded),
      (.afternotok, .failed), (.aftercorr, .succeeded), (.aftercorr, .failed):
      .met
    case (.afterok, .failed), (.afterok, .unknown), (.afternotok, .succeeded), (.afternotok, .unknown),
      (.aftercorr, .unknown):
      .never
    case (.singleton, .open), (.afterany, .open), (.afterok, .open), (.afternotok, .open), (.aftercorr, .open):
      .waiting
    case (.singleton, _): .met
    }
  }

  /// As `squeue` shows it.
  public var text: String { conditions.map(\.text).joined(separator: isAny ? "?" : ",") }
}
