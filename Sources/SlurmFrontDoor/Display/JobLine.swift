public import FederationModel

/// A job, or a task of an array, or all tasks of an array that wait together, as one line of `squeue` and `sacct`.
public struct JobLine: Hashable, Sendable, Codable {
  /// Of the whole submission.
  public var job: Int64
  /// Of this one alone; that of the submission for what is no array.
  public var number: Int64
  /// Of an array: those that the line tells of, ascending. One unless they wait together.
  public var tasks: [Int32] = []
  public var isArray = false
  public var parallelism: Int?
  public var name = ""
  public var user = ""
  public var account = ""
  public var partition = ""
  public var qos = "normal"
  /// Where it is or was; empty while it is nowhere.
  public var cluster = ""
  public var state = JobState.pending
  /// A code without blanks.
  public var reason = "None"
  /// For people: what lies behind the reason.
  public var message = ""
  public var submittedAt: Timestamp
  public var eligibleAt: Timestamp?
  public var startedAt: Timestamp?
  public var finishedAt: Timestamp?
  /// nil: none.
  public var timeLimitSeconds: Int64?
  public var nodes: Int64 = 1
  /// Of all nodes.
  public var cpus: Int64 = 1
  public var taskCount: Int64 = 1
  /// Of each node.
  public var memoryMebibytes: Int64?
  public var gpus: Int64 = 0
  public var exitCode: Int32 = 0
  public var directory = ""
  public var command = ""
  public var output = ""
  public var error = ""
  public var dependency = ""
  public var comment = ""
  public var constraint = ""
  public var licences = ""
  public var reservation = ""
  public var host = ""
  public var workflow = ""
  public var project = ""
  public var requeues = true

  /// `batch` of the line that tells of the script itself; nil of the job.
  public var step: String?

  public init(job: Int64, number: Int64, submittedAt: Timestamp) {
    self.job = job
    self.number = number
    self.submittedAt = submittedAt
  }

  /// `123`, `123_4`, `123_[5-9%2]`.
  public var id: String { step.map { "\(allocation).\($0)" } ?? allocation }

  /// The script of a job that has started, as `sacct` tells it without `-X`.
  public var steps: [JobLine] {
    guard startedAt != nil, step == nil else { return [] }
    var line = self
    line.step = "batch"
    (line.name, line.user, line.partition, line.qos, line.timeLimitSeconds) = ("batch", "", "", "", nil)
    return [line]
  }

  /// `cpu=4,mem=1000M,node=2`: of all nodes.
  var resources: String {
    let memory = memoryMebibytes.map { ",mem=\(MemorySize.text(mebibytes: $0 * nodes))" } ?? ""
    return "cpu=\(cpus)\(memory),node=\(nodes)" + (gpus > 0 ? ",gres/gpu=\(gpus)" : "")
  }

  /// `5`, and of those that wait `5-9%2`.
  var taskText: String {
    let isWaiting = state == .pending && startedAt == nil
    return TaskArray.text(of: tasks) + (isWaiting ? parallelism.map { "%\($0)" } ?? "" : "")
  }

  private var allocation: String {
    guard isArray else { return "\(job)" }
    if tasks.count == 1, state != .pending || startedAt != nil { return "\(job)_\(tasks[0])" }
    return "\(job)_[\(taskText)]"
  }

  /// The signal that ended it, where its exit code is a shell's word for one.
  public var exit: (code: Int32, signal: Int32) {
    exitCode > 128 && exitCode <= 192 ? (0, exitCode - 128) : (exitCode, 0)
  }

  public func elapsedSeconds(_ now: Timestamp) -> Int64 {
    guard let startedAt else { return 0 }
    return max(0, ((finishedAt ?? now) - startedAt).milliseconds / 1000)
  }

  /// The lines of tasks that wait for the same thing become one, as in `squeue` without `-r`.
  public static func joined(_ lines: [JobLine]) -> [JobLine] {
    var result: [JobLine] = []
    var places: [String: Int] = [:]
    for line in lines {
      guard line.isArray, line.state == .pending, line.startedAt == nil else {
        result.append(line)
        continue
      }
      let key = "\(line.job) \(line.reason)"
      if let place = places[key] {
        result[place].tasks += line.tasks
      } else {
        places[key] = result.count
        result.append(line)
      }
    }
    return result
  }

  /// Whether a selector as in `-j 123_4` names it.
  public func matches(job: Int64, task: Int32?) -> Bool {
    if let task { return self.job == job && tasks.contains(task) }
    return self.job == job || number == job
  }
}

/// `123`, `123_4`, `123_[1-3]`, `123.batch`, as commands are given jobs.
public struct JobSelector: Hashable, Sendable {
  public var job: Int64
  /// nil: all of it.
  public var tasks: [Int32]?
  /// `batch`, `0`; nil: the job and its steps. Only `sacct` tells steps apart.
  public var step: String?

  public init?(_ text: String) {
    let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    let whole = parts[0]
    step = parts.count == 2 ? String(parts[1]) : nil
    let halves = whole.split(separator: "_", maxSplits: 1, omittingEmptySubsequences: false)
    guard let job = Int64(halves[0]), job > 0, job <= Int64(Int32.max) else { return nil }
    self.job = job
    guard halves.count == 2, halves[1] != "*" else { return }
    guard let array = TaskArray(String(halves[1])) else { return nil }
    tasks = array.indices
  }

  /// Whether it names this line, of a job or of a step.
  public func namesExactly(_ line: JobLine) -> Bool { names(line) && (step == nil || step == line.step) }

  public func names(_ line: JobLine) -> Bool {
    guard let tasks else { return line.job == job || line.number == job }
    return line.job == job && tasks.contains { line.tasks.contains($0) }
  }

  /// Several, separated by commas; a comma inside brackets belongs to its list of tasks.
  public static func list(_ text: String, _ complaint: (String) -> SlurmRefusal) throws(SlurmRefusal) -> [JobSelector] {
    var (parts, part, depth) = ([String](), "", 0)
    for character in text {
      if character == "," && depth == 0 {
        parts.append(part)
        part = ""
        continue
      }
      if character == "[" { depth += 1 } else if character == "]" { depth -= 1 }
      part.append(character)
    }
    var selectors: [JobSelector] = []
    for word in parts + [part] where !word.isEmpty {
      guard let selector = JobSelector(word) else { throw complaint(word) }
      selectors.append(selector)
    }
    return selectors
  }
}
