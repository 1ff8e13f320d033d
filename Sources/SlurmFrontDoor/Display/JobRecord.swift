public import FederationModel

/// A job as `scontrol show job` tells it, and as JSON.
public enum JobRecord {
  public static func text(_ line: JobLine, _ moment: DisplayMoment) -> String {
    func time(_ value: Timestamp?) -> String { moment.text(value, orElse: "Unknown") }
    var id = "JobId=\(line.number)"
    if line.isArray {
      id += " ArrayJobId=\(line.job) ArrayTaskId=\(line.taskText)"
      if let limit = line.parallelism { id += " ArrayTaskThrottle=\(limit)" }
    }
    let limit = line.timeLimitSeconds.map { SlurmTime.long($0) } ?? "UNLIMITED"
    var lines = [
      "\(id) JobName=\(line.name)", "UserId=\(line.user) Account=\(line.account) QOS=\(line.qos)",
      "JobState=\(line.state.rawValue) Reason=\(line.reason) "
        + "Dependency=\(line.dependency.isEmpty ? "(null)" : line.dependency)",
      "Requeue=\(line.requeues ? 1 : 0) ExitCode=\(line.exit.code):\(line.exit.signal)",
      "RunTime=\(SlurmTime.long(line.elapsedSeconds(moment.now))) TimeLimit=\(limit)",
      "SubmitTime=\(time(line.submittedAt)) EligibleTime=\(time(line.eligibleAt ?? line.submittedAt))",
      "StartTime=\(time(line.startedAt)) EndTime=\(time(line.finishedAt))",
      "Partition=\(line.partition) AllocNode:Sid=\(line.host):0",
      "NodeList=\(line.cluster)",
      "NumNodes=\(line.nodes) NumCPUs=\(line.cpus) NumTasks=\(line.taskCount)",
      "TRES=\(line.resources)",
    ]
    if !line.constraint.isEmpty { lines.append("Features=\(line.constraint)") }
    if !line.comment.isEmpty { lines.append("Comment=\(line.comment)") }
    lines += [
      "Command=\(line.command.isEmpty ? "(null)" : line.command)", "WorkDir=\(line.directory)",
      "StdErr=\(line.error.isEmpty ? line.output : line.error)", "StdOut=\(line.output)",
      "Workflow=\(line.project)/\(line.workflow)",
    ]
    if !line.message.isEmpty { lines.append("Message=\(line.message)") }
    return lines.joined(separator: "\n   ") + "\n"
  }

  /// The members that clients of `squeue --json` read.
  public static func json(_ line: JobLine) -> JSONValue {
    func seconds(_ time: Timestamp?) -> JSONValue { .integer((time?.milliseconds ?? 0) / 1000) }
    return [
      "job_id": .integer(line.number), "array_job_id": .integer(line.isArray ? line.job : 0),
      "array_task_id": line.isArray && line.tasks.count == 1 ? .integer(Int64(line.tasks[0])) : .null,
      "array_task_string": .string(line.isArray && line.tasks.count > 1 ? TaskArray.text(of: line.tasks) : ""),
      "name": .string(line.name), "user_name": .string(line.user), "account": .string(line.account),
      "partition": .string(line.partition), "qos": .string(line.qos), "cluster": .string(line.cluster),
      "nodes": .string(line.cluster), "node_count": .integer(line.nodes), "cpus": .integer(line.cpus),
      "tasks": .integer(line.taskCount),
      "job_state": .string(line.state.rawValue), "state_reason": .string(line.reason),
      "state_description": .string(line.message), "submit_time": seconds(line.submittedAt),
      "eligible_time": seconds(line.eligibleAt ?? line.submittedAt), "start_time": seconds(line.startedAt),
      "end_time": seconds(line.finishedAt), "time_limit": line.timeLimitSeconds.map { .integer($0 / 60) } ?? .null,
      "memory_per_node": line.memoryMebibytes.map { .integer($0) } ?? .null,
      "exit_code": .integer(Int64(line.exitCode)),
      "current_working_directory": .string(line.directory), "command": .string(line.command),
      "standard_output": .string(line.output), "standard_error": .string(line.error.isEmpty ? line.output : line.error),
      "dependency": .string(line.dependency), "comment": .string(line.comment),
    ]
  }
}
