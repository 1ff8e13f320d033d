internal import FederationAPI
internal import FederationModel

/// A failure as the command line shows it: what happened, what to do next, and with which code the process ends.
struct CommandFailure: Error, Equatable, CustomStringConvertible {
  /// What scripts may rely on.
  enum ExitCode: Int32, Sendable {
    case error = 1
    case usage = 2
    case unplaceable = 3
    case budgetDenied = 4
    case unreachable = 5
    case workflowFailed = 6
  }

  var code: ExitCode
  var message: String

  init(_ code: ExitCode, _ message: String) {
    self.code = code
    self.message = message
  }

  var description: String { message }

  /// The server's refusal; `file` names the document in front of each problem, as compilers do.
  init(_ document: ErrorDocument, file: String? = nil) {
    code = ExitCode(rawValue: document.reason.exitCode) ?? .error
    var lines: [String] = []
    for problem in document.problems ?? [] {
      var line = file ?? "document"
      if let number = problem.line { line += ":\(number):\(problem.column ?? 1)" }
      line += ": \(problem.path.isEmpty ? "" : problem.path + ": ")\(problem.message)"
      if let suggestion = problem.suggestion { line += " (did you mean \"\(suggestion)\"?)" }
      lines.append(line)
    }
    if let omitted = document.omittedProblems, omitted > 0 { lines.append("and \(omitted) more") }
    if lines.isEmpty || document.reason != .invalidArgument { lines.append(document.message) }
    switch document.reason {
    case .unauthenticated:
      lines.append("Set FUBINI_TOKEN, or choose a context with `fubini context use NAME`.")
    case .internal, .unavailable:
      if let request = document.requestID { lines.append("Request \(request) in the control plane's log says more.") }
    default: break
    }
    message = lines.map { Terminal.printable($0) }.joined(separator: "\n")
  }
}
