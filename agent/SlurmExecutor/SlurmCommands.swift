internal import Execution
internal import FederationModel
internal import Glibc
internal import Subprocess
internal import SystemPackage

/// Runs Slurm's programs: arguments as an array, input on stdin, bounded output, a time limit, and few at a time.
struct SlurmCommands: Sendable {
  struct Output: Sendable, Hashable {
    var status: Int32
    var standardOutput: String
    var standardError: String
  }
  /// Beyond it an answer is no use: twenty thousand jobs are listed in less.
  static let outputBytesMax = 16 << 20
  static let concurrencyMax = 4

  private let environment: [String: String]
  private let limiter = Limiter(limit: SlurmCommands.concurrencyMax)

  /// - Parameter configuration: `SLURM_CONF`; nil leaves it to Slurm.
  init(configuration: String?) {
    // Nothing else of ours: sbatch hands its environment on to the job, and Slurm's own variables would change its answers.
    var values = ["LANG": "C", "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"]
    for name in ["PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF", "SLURM_CONF_SERVER", "TMPDIR"] {
      if let value = getenv(name) { values[name] = String(cString: value) }
    }
    if let configuration { values["SLURM_CONF"] = configuration }
    environment = values
  }

  /// - Throws: `.unavailable` when the program did not end in time, or said too much; `.failedPrecondition` when there is no
  ///   such program.
  func run(_ program: String, _ arguments: [String], input: String = "", timeout: Duration) async throws -> Output {
    try await limiter.run {
      try await withThrowingTaskGroup(of: Output?.self) { group in
        group.addTask { try await spawn(program, arguments, input) }
        group.addTask {
          try await Task.sleep(for: timeout)
          return nil
        }
        defer { group.cancelAll() }
        do {
          if let output = try await group.next() ?? nil { return output }
        } catch let error as SubprocessError {
          throw Self.failure(error, program)
        }
        throw FederationError(
          .unavailable, "Slurm does not answer: \(program) took longer than \(timeout)", retryAfter: .seconds(5))
      }
    }
  }

  /// Cancelling the task kills the program.
  @concurrent
  private func spawn(_ program: String, _ arguments: [String], _ input: String) async throws -> Output? {
    let values = environment.map { (Environment.Key(stringLiteral: $0.key), $0.value) }
    let executable: Executable = program.contains("/") ? .path(FilePath(program)) : .name(program)
    let result = try await Subprocess.run(
      executable, arguments: Arguments(arguments),
      environment: .custom(Dictionary(uniqueKeysWithValues: values)), input: .string(input),
      output: .bytes(limit: Self.outputBytesMax), error: .bytes(limit: 64 << 10))
    let status: Int32 =
      switch result.terminationStatus {
      case .exited(let code): code
      case .signaled(let signal): 128 + signal
      }
    return Output(
      status: status, standardOutput: String(decoding: result.standardOutput, as: UTF8.self),
      standardError: String(decoding: result.standardError, as: UTF8.self))
  }

  private static func failure(_ error: SubprocessError, _ program: String) -> FederationError {
    if error.code == .executableNotFound {
      return FederationError(
        .failedPrecondition,
        "the program \(program) is not there: is this a login node of the cluster, and is slurm.commands right?",
        cause: error)
    }
    return FederationError(
      .unavailable, "the program \(program) could not be run: \(error)", cause: error, retryAfter: .seconds(5))
  }
}

/// What a failed command of Slurm's means for the one who gave it.
enum SlurmFailure: Hashable, Sendable {
  /// The controller cannot be reached, is too busy, or lets nobody in at present: ask again later.
  case unavailable(String)
  /// A limit of jobs at once: passes when others end.
  case full(String)
  /// What was asked for can never be.
  case refused(String)

  /// - Source: the messages of slurm_errno.c, 22.05 to 25.05, as sbatch, squeue and scancel print them.
  init(_ output: SlurmCommands.Output) {
    let words = Self.words(output.standardError)
    let text = words.lowercased()
    if Self.unavailable.contains(where: { text.contains($0) }) || words.isEmpty {
      self = .unavailable(words.isEmpty ? "it ended with status \(output.status) and said nothing" : words)
    } else if Self.full.contains(where: { text.contains($0) }) {
      self = .full(words)
    } else {
      self = .refused(words)
    }
  }

  var words: String {
    switch self {
    case .unavailable(let words), .full(let words), .refused(let words): words
    }
  }

  var error: FederationError {
    switch self {
    case .unavailable(let words):
      FederationError(.unavailable, "Slurm cannot be reached: \(words)", retryAfter: .seconds(5))
    case .full(let words):
      FederationError(.resourceExhausted, "Slurm takes no more jobs at present: \(words)", retryAfter: .seconds(30))
    case .refused(let words): FederationError(.failedPrecondition, "Slurm refused: \(words)")
    }
  }

  /// Slurm's own words without the programs' prefixes, on one line, at most 400 characters.
  static func words(_ text: String) -> String {
    let lines = text.split(separator: "\n").map { line -> String in
      var line = String(line)
      for prefix in [
        "sbatch: ", "squeue: ", "scancel: ", "sinfo: ", "scontrol: ", "slurm_load_jobs ", "error: ", "fatal: ",
      ]
      where line.hasPrefix(prefix) { line.removeFirst(prefix.count) }
      return line
    }
    return String(lines.filter { !$0.isEmpty }.joined(separator: "; ").prefix(400))
  }

  private static let unavailable = [
    "unable to contact slurm controller", "communication connection failure", "connection refused",
    "socket timed out", "timed out", "zero bytes were transmitted", "unexpected message", "munge", "authentication",
    "protocol authentication error", "could not establish a configuration source", "failed to fetch config",
    "slurm backup controller in standby", "controller is in standby", "slurmctld is not running", "no route to host",
    "connection reset", "temporarily unable to accept", "resource temporarily unavailable", "try again",
    "slurm temporarily", "i/o error", "unable to open file", "incompatible", "slurm_receive_msg", "slurm_send",
  ]
  private static let full = [
    "job submit limit", "submit job limit", "maxsubmit", "maximum number of jobs", "job violates accounting/qos policy",
    "max job count", "too many jobs", "number of jobs exceeds", "rate limit",
  ]
}
