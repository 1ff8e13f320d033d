internal import FederationModel

/// The script that Slurm starts for runs, and the options of `sbatch`. Pure; holds no secret and nothing of a user's (I9).
struct BatchScript: Sendable {
  enum Subject: Hashable, Sendable {
    case run(RunID)
    /// A file whose line *i* (from 0) is the run of task *i*, and the number of tasks.
    /// `share`: how far apart the runs are that a task takes besides its own; nil: it takes none.
    case array(map: String, count: Int, share: Int?)
  }
  var shape: JobShape
  var name: JobName
  var subject: Subject
  /// The directory of the submission: Slurm's own messages go there.
  var directory: String
  var configuration: SlurmExecutorConfiguration
  /// The runs' inputs are not here yet: the step waits for them, for a while.
  var isAhead = false

  /// In a template: where the step goes. Must be there once, on a line of its own.
  static let stepMark = "{{step}}"
  /// In a template: the project of the runs.
  static let projectMark = "{{project}}"

  /// A template is a shell script of the operator's around the step: it may load modules, make a scratch directory and remove it.
  /// `#SBATCH` lines in it work, but options that the agent itself sets win.
  ///
  /// - Throws: `.invalidArgument`.
  static func check(template: String) throws(FederationError) {
    let lines = template.split(separator: "\n", omittingEmptySubsequences: false)
    let steps = lines.count { $0.trimmed == stepMark }
    var rest = template.replacing(stepMark, with: "").replacing(projectMark, with: "")
    guard steps == 1, template.components(of: stepMark) == 1 else {
      throw FederationError(
        .invalidArgument, "slurm.script must have the line \(stepMark) exactly once: what is started stands there")
    }
    if let open = rest.firstRange(of: "{{") {
      rest = String(rest[open.lowerBound...].prefix(40))
      throw FederationError(
        .invalidArgument, "slurm.script has \"\(rest)\": only \(stepMark) and \(projectMark) are filled in")
    }
    guard template.hasPrefix("#!/"), template.utf8.count <= 64 << 10, !template.utf8.contains(0) else {
      throw FederationError(.invalidArgument, "slurm.script must begin with #!/ and have at most 64 KiB")
    }
  }

  var text: String {
    var words = [configuration.agentBinary, "batch-step", "--state-dir", configuration.sharedDirectory]
    switch subject {
    case .run(let id): words += ["--run", id.hexadecimal]
    case .array(let map, _, let share):
      words += ["--map", map]
      if let share { words += ["--share", "\(share)"] }
    }
    if let lease = configuration.leaseFile { words += ["--lease", lease] }
    if isAhead { words += ["--await", "\(configuration.inputWait.components.seconds)"] }
    let command = words.map(Self.quoted).joined(separator: " ")
    // The step takes the shell's place, so that Slurm's signals reach it; in a template the operator may want something after it.
    guard let template = configuration.scriptTemplate else { return "#!/bin/sh\nexec \(command)\n" }
    let lines = template.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      line.trimmed == Self.stepMark
        ? Self.relay(command) : String(line).replacing(Self.projectMark, with: Self.quoted(shape.project.text))
    }
    return lines.joined(separator: "\n") + (template.hasSuffix("\n") ? "" : "\n")
  }

  /// The step as a child of the operator's shell, with the signals that are meant for it passed on and its exit code kept in
  /// `$fubini_status`. A signal that comes before the step is there is kept for it; `wait` is repeated because a signal ends it.
  private static func relay(_ command: String) -> String {
    """
    fubini_step= fubini_signal=
    trap 'fubini_signal=USR1; [ -z "$fubini_step" ] || kill -USR1 $fubini_step 2>/dev/null' USR1
    trap 'fubini_signal=TERM; [ -z "$fubini_step" ] || kill -TERM $fubini_step 2>/dev/null' TERM INT
    \(command) &
    fubini_step=$!
    [ -z "$fubini_signal" ] || kill -$fubini_signal $fubini_step 2>/dev/null
    while :; do wait $fubini_step; fubini_status=$?; kill -0 $fubini_step 2>/dev/null || break; done
    trap - USR1 TERM INT
    """
  }

  /// Single quotes take everything but themselves.
  static func quoted(_ text: String) -> String { "'" + text.replacing("'", with: "'\\''") + "'" }

  /// Of `sbatch`, which reads the script from standard input.
  var arguments: [String] {
    var list = [
      "--parsable", "--job-name=\(name.text)", "--comment=\(comment)", "--chdir=\(configuration.sharedDirectory)",
      "--output=\(directory)/\(isArray ? "%a" : "job").log", "--open-mode=append", "--input=/dev/null",
      "--cpus-per-task=\(shape.cpus)",
      "--time=\(shape.timeLimitMinutes)", "--signal=B:TERM@\(TimeLimits.warningSeconds)",
      shape.requeues ? "--requeue" : "--no-requeue",
    ]
    if let nodes = shape.nodes { list.append("--nodes=\(nodes)") }
    if let tasks = shape.tasksPerNode { list.append("--ntasks-per-node=\(tasks)") }
    list += resources
    let named: [(String, String?)] = [
      ("partition", shape.partition), ("account", shape.account), ("qos", shape.qos), ("constraint", shape.constraint),
      ("reservation", shape.reservation), ("licenses", shape.licences),
    ]
    for (option, value) in named { if let value { list.append("--\(option)=\(value)") } }
    if shape.isExclusive { list.append("--exclusive") }
    if case .array(_, let count, _) = subject { list.append("--array=0-\(count - 1)") }
    return list + configuration.extraOptions
  }

  /// Of a gang by the copy, because Slurm may put any number of them on a node; else by the node.
  private var resources: [String] {
    var list: [String] = []
    let isGang = shape.gangSize > 1 && !shape.isBatch
    if isGang { list.append("--ntasks=\(shape.gangSize)") }
    if shape.memoryMebibytes > 0 {
      let perCore = (shape.memoryMebibytes + shape.cpus - 1) / shape.cpus
      list.append(isGang ? "--mem-per-cpu=\(perCore)M" : "--mem=\(shape.memoryMebibytes)M")
    }
    var gres = shape.gres.map { [$0] } ?? []
    if shape.gpus > 0 {
      let count = (shape.gpuType.map { "\($0):" } ?? "") + "\(shape.gpus)"
      if isGang { list.append("--gpus-per-task=\(count)") } else { gres.insert("gpu:\(count)", at: 0) }
    }
    if !gres.isEmpty { list.append("--gres=\(gres.joined(separator: ","))") }
    return list
  }

  private var isArray: Bool { if case .array = subject { true } else { false } }

  /// For people: federation, cluster and what it is.
  private var comment: String {
    let what =
      switch subject {
      case .run(let id): "run \(id.hexadecimal)"
      case .array(_, let count, _): "\(count) runs, see \(directory)/runs"
      }
    return "fubini federation \(configuration.federationID) cluster \(configuration.cluster) \(what)"
  }
}

extension StringProtocol {
  fileprivate var trimmed: SubSequence {
    var text = self[...]
    while let last = text.last, last == " " || last == "\t" || last == "\r" { text = text.dropLast() }
    while let first = text.first, first == " " || first == "\t" { text = text.dropFirst() }
    return text
  }

  /// How often `text` occurs.
  fileprivate func components(of text: String) -> Int { ranges(of: text).count }
}
