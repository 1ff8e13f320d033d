internal import CSupervisor
package import Execution
package import FederationModel
package import Supervisor

/// What a run's end means to the federation. Pure.
package enum RunOutcome {
  /// - Parameter logHead: the beginning of the log, when bubblewrap may have spoken instead of the program.
  package static func observation(id: RunID, end: RunEnd, runsAs: String?, isSandboxed: Bool, logHead: [UInt8]?)
    -> RunObservation
  {
    var result = RunObservation(
      id: id, phase: .succeeded, runsAs: runsAs, logBytes: Int64(clamping: end.logBytes),
      wallTime: .milliseconds(Int64(clamping: end.wallMs)))
    let code = exitCode(end.waitStatus)
    if end.reason != .lost, end.reason != .notStarted { result.exitCode = code }
    switch end.reason {
    case .exited: describeExit(&result, end, code: code, isSandboxed: isSandboxed, logHead: logHead)
    case .cancelled: (result.phase, result.message) = (.cancelled, "cancelled")
    case .fenced:
      (result.phase, result.message) = (.lost, "fenced: the agent had no contact for longer than the disconnect limit")
    case .walltime:
      (result.phase, result.message, result.cause) = (.failed, "the walltime has passed", .timeLimit)
    case .slice:
      (result.phase, result.message) = (.failed, "what was held for it has been used up")
      result.isUnpaid = true
    case .activeDeadline:
      // Kubernetes' words first: authors look for them.
      (result.phase, result.message) = (
        .failed, "Pod was active on the node longer than the specified deadline: activeDeadlineSeconds has passed"
      )
      result.cause = .timeLimit
    case .terminated: (result.phase, result.message) = (.failed, "ended by the batch system")
    case .lost: (result.phase, result.message, result.wallTime) = (.lost, "lost", nil)
    case .notStarted:
      (result.phase, result.message, result.wallTime) = (.error, "the program could not be started", nil)
    }
    if !end.message.isEmpty { result.message += (result.message.isEmpty ? "" : ": ") + end.message }
    return result
  }

  /// 128 + n when signal n ended it, as a shell says.
  package static func exitCode(_ status: Int32) -> Int32 {
    csupervisor_exited(status) != 0 ? csupervisor_exit_code(status) : 128 + csupervisor_signal(status)
  }

  private static func describeExit(
    _ result: inout RunObservation, _ end: RunEnd, code: Int32, isSandboxed: Bool, logHead: [UInt8]?
  ) {
    guard code != 0 else { return }
    if end.ranOutOfMemory {
      (result.phase, result.message) = (.failed, "OOMKilled: it needed more memory than its limit; exit code \(code)")
      result.cause = .outOfMemory
    } else if isSandboxed, code == 1, let program = missingProgram(logHead) {
      // The author's fault, as in a container: a shell's exit code for it, Argo's words.
      result.phase = .failed
      result.message = "exec: \"\(program)\": executable file not found in $PATH"
      result.exitCode = 127
    } else if isSandboxed, code == 1, let complaint = sandboxComplaint(logHead) {
      (result.phase, result.message, result.exitCode) = (.error, complaint, nil)
    } else if csupervisor_exited(end.waitStatus) == 0 || code > 128 && code <= 192 {
      (result.phase, result.message) = (.failed, "ended by signal \(code - 128), exit code \(code)")
    } else {
      (result.phase, result.message) = (.failed, "exit code \(code)")
    }
  }

  /// The program that bubblewrap did not find; nil where its complaint is another one.
  static func missingProgram(_ logHead: [UInt8]?) -> Substring? {
    let prefix = "the command cannot be executed: "
    let ending = ": No such file or directory"
    guard let complaint = sandboxComplaint(logHead), complaint.hasPrefix(prefix), complaint.hasSuffix(ending) else {
      return nil
    }
    return complaint.dropFirst(prefix.count).dropLast(ending.count)
  }

  /// bubblewrap ends with 1 and one line of its own when it cannot make the sandbox or find the program. A program that
  /// prints just that line and ends with 1 is taken for it, which harms nobody but itself.
  static func sandboxComplaint(_ logHead: [UInt8]?) -> String? {
    guard let logHead, logHead.count < 1024 else { return nil }
    let text = String(decoding: logHead, as: UTF8.self)
    guard text.hasPrefix("bwrap: "), text.hasSuffix("\n"), text.dropLast().allSatisfy({ $0 != "\n" }) else {
      return nil
    }
    let complaint = text.dropFirst(7).dropLast()
    guard complaint.hasPrefix("execvp ") else { return "the sandbox could not be made: \(complaint)" }
    let rest = complaint.dropFirst(7)
    return "the command cannot be executed: \(rest)"
  }
}
