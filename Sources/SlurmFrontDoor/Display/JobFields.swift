public import FederationModel

/// When and where lines are read.
public struct DisplayMoment: Hashable, Sendable {
  public var now: Timestamp
  /// Seconds east of UTC.
  public var offset: Int64
  public init(now: Timestamp, offset: Int64) {
    self.now = now
    self.offset = offset
  }
  func text(_ time: Timestamp?, orElse none: String) -> String { SlurmTime.moment(time, offset: offset) ?? none }
}

/// One thing that can be told of a job.
enum JobField: Hashable, Sendable {
  case account, arrayJob, arrayTask, command, comment, cpus, dependency, endTime, execHost, features, id, licences
  case name, nodeList, nodeListReason, nodes, memory, number, partition, priority, qos, reason, reservation
  case startTime, state, compactState, submitTime, timeLeft, timeLimit, timeUsed, user, userID, directory, gres, output
  case error, exitCode, cluster, empty, zero, tasks, requiredNodes, oversubscribe, elapsed, sacctState, eligibleTime
  case nothing, noTime, cpuSeconds, cpuTime, notSaid, any, anySockets
  case resources, limitLong, allocatedCPUs, allocatedNodes, rawID, derivedExit, elapsedRaw, limitRaw, message, workflow,
    minimum

  func value(_ line: JobLine, _ moment: DisplayMoment) -> String {
    switch self {
    case .account: line.account
    case .arrayJob: "\(line.job)"
    case .arrayTask: line.isArray ? line.taskText : "N/A"
    case .command: line.command.isEmpty ? "(null)" : line.command
    case .comment: line.comment.isEmpty ? "(null)" : line.comment
    case .cpus, .minimum: "\(line.cpus)"
    case .dependency: line.dependency.isEmpty ? "(null)" : line.dependency
    case .endTime: endTime(line, moment)
    case .execHost: line.cluster.isEmpty ? "n/a" : line.cluster
    case .features: line.constraint.isEmpty ? "(null)" : line.constraint
    case .id: line.id
    case .licences: line.licences.isEmpty ? "(null)" : line.licences
    case .name: line.name
    case .nodeList: line.cluster
    case .nodeListReason: nodesOrReason(line)
    case .nodes: "\(line.nodes)"
    case .memory: line.memoryMebibytes.map { MemorySize.text(mebibytes: $0) } ?? "0"
    case .number: "\(line.number)"
    case .rawID: "\(line.number)" + (line.step.map { ".\($0)" } ?? "")
    case .partition: line.partition
    case .priority: line.state == .pending && line.reason == PendingReason.held ? "0" : "1"
    case .qos: line.qos
    case .reason: line.reason
    case .reservation: line.reservation.isEmpty ? "(null)" : line.reservation
    case .startTime: moment.text(line.startedAt, orElse: "N/A")
    case .state: line.state.rawValue
    case .compactState: line.state.compact
    case .submitTime: moment.text(line.submittedAt, orElse: "N/A")
    case .timeLeft: timeLeft(line, moment)
    case .timeLimit: line.timeLimitSeconds.map { SlurmTime.short($0) } ?? "UNLIMITED"
    case .timeUsed: SlurmTime.short(line.elapsedSeconds(moment.now))
    case .user: line.user
    case .directory: line.directory
    case .gres: line.gpus > 0 ? "gres:gpu:\(line.gpus)" : "N/A"
    case .output: line.output
    case .error: line.error.isEmpty ? line.output : line.error
    case .exitCode, .derivedExit: "\(line.exit.code):\(line.exit.signal)"
    case .cluster: line.cluster.isEmpty ? "N/A" : line.cluster
    case .empty: "(null)"
    case .zero, .userID: "0"
    case .tasks: "\(line.taskCount)"
    case .requiredNodes: ""
    case .oversubscribe: "OK"
    case .elapsed: SlurmTime.long(line.elapsedSeconds(moment.now))
    case .sacctState: line.state == .cancelled ? "CANCELLED" : line.state.rawValue
    case .eligibleTime: moment.text(line.eligibleAt ?? line.submittedAt, orElse: "Unknown")
    case .limitLong: line.timeLimitSeconds.map { SlurmTime.long($0) } ?? (line.step == nil ? "UNLIMITED" : "")
    case .allocatedCPUs: line.startedAt == nil ? "0" : "\(line.cpus)"
    case .allocatedNodes: line.startedAt == nil ? "0" : "\(line.nodes)"
    case .resources: line.resources
    case .elapsedRaw: "\(line.elapsedSeconds(moment.now))"
    case .limitRaw: line.timeLimitSeconds.map { "\($0 / 60)" } ?? ""
    case .message: line.message
    case .workflow: line.workflow
    case .nothing: ""
    case .notSaid: "N/A"
    case .any: "*"
    case .anySockets: "*:*:*"
    case .noTime: "00:00:00"
    case .cpuSeconds: "\(line.elapsedSeconds(moment.now) * line.cpus)"
    case .cpuTime: SlurmTime.long(line.elapsedSeconds(moment.now) * line.cpus)
    }
  }

  private func endTime(_ line: JobLine, _ moment: DisplayMoment) -> String {
    if let end = line.finishedAt { return moment.text(end, orElse: "") }
    guard let start = line.startedAt, let limit = line.timeLimitSeconds else { return "N/A" }
    return moment.text(start + .seconds(limit), orElse: "N/A")
  }

  private func timeLeft(_ line: JobLine, _ moment: DisplayMoment) -> String {
    guard let limit = line.timeLimitSeconds else { return "UNLIMITED" }
    return SlurmTime.short(max(0, limit - line.elapsedSeconds(moment.now)))
  }

  private func nodesOrReason(_ line: JobLine) -> String {
    switch line.state {
    case .pending: "(\(line.reason))"
    case .running, .completing, .suspended, .completed, .configuring: line.cluster
    default: line.reason == "None" ? line.cluster : "(\(line.reason))"
    }
  }
}
