internal import FederationAPI
internal import FederationModel
internal import SlurmFrontDoor

extension JobLine {
  /// One line for each task of a job.
  static func of(_ job: FederationAPI.JobDocument) -> [JobLine] {
    job.tasks.enumerated().map { ordinal, task in line(job, task, Int64(ordinal)) }
  }

  private static func line(_ job: FederationAPI.JobDocument, _ task: JobTaskDocument, _ ordinal: Int64) -> JobLine {
    let details = job.details
    var line = JobLine(job: job.number, number: job.number + ordinal, submittedAt: job.submittedAt.timestamp)
    if let index = task.task { (line.isArray, line.tasks) = (true, [index]) }
    line.parallelism = details.parallelism
    line.name = job.name
    (line.user, line.host) = (details.user, details.host)
    line.account = details.account.isEmpty ? job.project : details.account
    (line.partition, line.qos) = (details.partition, details.qos)
    line.cluster = task.cluster ?? ""
    line.state = state(task)
    line.reason = line.state == .pending ? (task.reason.isEmpty ? PendingReason.priority : task.reason) : "None"
    line.reason = line.state.endReason ?? line.reason
    line.message = task.phase.isTerminal && task.phase == .succeeded ? "" : task.message
    line.eligibleAt = job.beginAt?.timestamp
    (line.startedAt, line.finishedAt) = (task.startedAt?.timestamp, task.finishedAt?.timestamp)
    line.timeLimitSeconds = details.timeLimitSeconds
    line.nodes = details.nodes ?? 1
    (line.cpus, line.taskCount, line.gpus) = (details.cpus, details.tasks, details.gpus)
    line.memoryMebibytes = details.memoryMebibytes
    // What ended without an exit code of its own ended badly all the same.
    line.exitCode = task.exitCode ?? (line.state.isOpen || line.state == .completed || line.state == .cancelled ? 0 : 1)
    line.directory = details.directory
    line.command = details.command
    line.output = file(details.output, line)
    line.error = details.error.map { file($0, line) } ?? ""
    (line.comment, line.constraint) = (details.comment, details.constraint)
    line.dependency = dependency(job, line)
    (line.licences, line.reservation) = (details.licences, details.reservation)
    (line.workflow, line.project, line.requeues) = (job.workflow, job.project, details.requeues)
    return line
  }

  /// What is left of it, each condition with its state, as Slurm shows it; empty once it is met.
  private static func dependency(_ job: FederationAPI.JobDocument, _ line: JobLine) -> String {
    let waiting = [
      PendingReason.dependency, PendingReason.dependencyNever, PendingReason.held, PendingReason.beginTime,
    ]
    guard !job.dependency.isEmpty, line.state == .pending, waiting.contains(line.reason) else { return "" }
    let mark = line.reason == PendingReason.dependencyNever ? "(failed)" : "(unfulfilled)"
    return job.dependency.replacing(",", with: mark + ",").replacing("?", with: mark + "?") + mark
  }

  private static func state(_ task: JobTaskDocument) -> JobState {
    switch task.phase {
    case .pending: .pending
    case .running: .running
    case .succeeded: .completed
    default:
      .ended(succeeded: task.phase.isFulfilledWell, cause: task.cause, isCancelled: task.isCancelled)
    }
  }

  /// The file that a pattern names for this job, absolute.
  static func file(_ pattern: String, _ line: JobLine) -> String {
    let values = FileNamePattern.Values(
      job: line.number, arrayJob: line.job, arrayTask: line.isArray ? line.tasks.first : nil, name: line.name,
      user: line.user, node: line.cluster.isEmpty ? "node" : line.cluster)
    return SlurmHost.absolute(FileNamePattern(pattern).name(values), in: line.directory)
  }
}

/// Jobs as the control plane tells them.
struct JobReading: Sendable {
  var client: APIClient

  func jobs(_ query: [(String, String)], limit: Int = .max) async throws -> [FederationAPI.JobDocument] {
    try await client.pages(limit: limit) { page in
      let list: JobList = try await client.get(["v1", "jobs"], query + page)
      return (list.items, list.next)
    }.items
  }

  func jobs(numbered numbers: [Int64]) async throws -> [FederationAPI.JobDocument] {
    var found: [FederationAPI.JobDocument] = []
    var rest = Set(numbers).sorted()[...]
    while !rest.isEmpty {
      let portion = rest.prefix(500)
      rest = rest.dropFirst(500)
      found += try await jobs([("ids", portion.map { "\($0)" }.joined(separator: ","))])
    }
    return found
  }
}
