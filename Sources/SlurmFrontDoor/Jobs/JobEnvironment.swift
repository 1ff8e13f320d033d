/// The variables that a job's script finds, as Slurm has them.
///
/// - Source: sbatch(1), "OUTPUT ENVIRONMENT VARIABLES".
public enum JobEnvironment {
  /// Of the submission alone; ids, tasks of arrays and the node are added where the job runs (`JobWrapper`).
  ///
  /// - Parameters:
  ///   - name: of the job.
  ///   - host: from which it was submitted.
  ///   - cluster: of `-M`, or the federation's name.
  public static func variables(
    _ request: BatchRequest, name: String, directory: String, host: String, user: String, project: String
  ) -> [(name: String, value: String)] {
    var values: [(String, String)] = [
      ("SLURM_JOB_NAME", name), ("SLURM_SUBMIT_DIR", directory), ("SLURM_SUBMIT_HOST", host), ("SLURM_JOB_USER", user),
      ("SLURM_JOB_ACCOUNT", request.account ?? project), ("SLURM_JOB_PARTITION", request.partition ?? "default"),
      ("SLURM_JOB_QOS", request.qos ?? "normal"), ("SLURM_JOB_NUM_NODES", "\(request.nodeCount)"),
      ("SLURM_NNODES", "\(request.nodeCount)"),
      ("SLURM_JOB_CPUS_PER_NODE", repeated(request.cpusOnNode, request.nodeCount)),
      ("SLURM_CPUS_ON_NODE", "\(request.cpusOnNode)"),
      ("SLURM_TASKS_PER_NODE", tasksPerNode(request)), ("SLURM_NODEID", "0"), ("SLURM_PROCID", "0"),
      ("SLURM_LOCALID", "0"), ("SLURM_GTIDS", "0"), ("SLURM_TOPOLOGY_ADDR_PATTERN", "node"),
      ("ENVIRONMENT", "BATCH"),
    ]
    if request.tasks != nil || request.tasksPerNode != nil {
      values += [("SLURM_NTASKS", "\(request.taskCount)"), ("SLURM_NPROCS", "\(request.taskCount)")]
    }
    if let count = request.tasksPerNode { values.append(("SLURM_NTASKS_PER_NODE", "\(count)")) }
    if request.cpusPerTask > 1 { values.append(("SLURM_CPUS_PER_TASK", "\(request.cpusPerTask)")) }
    if let memory = request.memoryPerNode, memory > 0 { values.append(("SLURM_MEM_PER_NODE", "\(memory)")) }
    if let memory = request.memoryPerCPU, memory > 0 { values.append(("SLURM_MEM_PER_CPU", "\(memory)")) }
    if let memory = request.memoryPerGPU, memory > 0 { values.append(("SLURM_MEM_PER_GPU", "\(memory)")) }
    if request.gpuCount > 0 {
      values += [("SLURM_GPUS", "\(request.gpuCount)"), ("SLURM_GPUS_ON_NODE", "\(request.gpusOnNode)")]
    }
    if let array = request.array, let first = array.indices.first, let last = array.indices.last {
      values += [
        ("SLURM_ARRAY_TASK_COUNT", "\(array.indices.count)"), ("SLURM_ARRAY_TASK_MIN", "\(first)"),
        ("SLURM_ARRAY_TASK_MAX", "\(last)"), ("SLURM_ARRAY_TASK_STEP", "\(array.step)"),
      ]
    }
    if let dependency = request.dependency { values.append(("SLURM_JOB_DEPENDENCY", dependency.text)) }
    if case .list(let names, let given, _) = request.export {
      values.append(("SLURM_EXPORT_ENV", (names + given.keys.sorted()).joined(separator: ",")))
    }
    return values.map { (name: $0.0, value: $0.1) }
  }

  /// `4(x3)`, as Slurm writes the same number for several nodes in a row.
  private static func repeated(_ number: Int64, _ count: Int64) -> String {
    count > 1 ? "\(number)(x\(count))" : "\(number)"
  }

  /// `4,3(x2)`: ten tasks on three nodes.
  public static func tasksPerNode(_ request: BatchRequest) -> String {
    let (least, more) = request.taskCount.quotientAndRemainder(dividingBy: request.nodeCount)
    return [(least + 1, more), (least, request.nodeCount - more)].filter { $0.1 > 0 }.map(repeated)
      .joined(separator: ",")
  }

  /// The part of the submitting environment that goes along.
  ///
  /// What belongs to the submitting machine or session is left behind, and so is what looks like a secret and was not asked for by name:
  /// the environment lies beside the job's files.
  public static func exported(_ environment: [String: String], _ export: BatchRequest.Export) -> [String: String] {
    switch export {
    case .none: return [:]
    case .all: return environment.filter { travels($0.key) }
    case .list(let names, let values, let isAll):
      var chosen = isAll ? environment.filter { travels($0.key) } : [:]
      for name in names { chosen[name] = environment[name] }
      return chosen.merging(values) { $1 }
    }
  }

  private static let own: Set<String> = [
    "HOME", "PWD", "OLDPWD", "SHLVL", "_", "TMPDIR", "TEMP", "TMP", "DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY",
    "KRB5CCNAME",
    "MAIL", "HOSTNAME", "HOST", "TERM", "TTY", "LS_COLORS", "COLUMNS", "LINES", "WINDOWID", "DBUS_SESSION_BUS_ADDRESS",
  ]
  private static let ownPrefixes = [
    "FUBINI_", "SLURM_", "SLURMD_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SRUN_", "SSH_", "XDG_",
    "GPG_",
    "BASH_FUNC_", "LESS", "TMUX", "STY", "VTE_",
  ]
  private static let secretWords = [
    "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE_KEY", "API_KEY", "APIKEY",
  ]

  private static func travels(_ name: String) -> Bool {
    guard BatchRequest.isVariable(name), !own.contains(name) else { return false }
    guard !ownPrefixes.contains(where: { name.hasPrefix($0) }) else { return false }
    let upper = name.uppercased()
    return !secretWords.contains { upper.contains($0) } && !upper.hasSuffix("_KEY") && !upper.hasSuffix("_PASS")
  }

  /// Lines for a shell to read.
  public static func shell(_ variables: [String: String]) -> String {
    variables.filter { BatchRequest.isVariable($0.key) }.sorted { $0.key < $1.key }.map { name, value in
      "export \(name)='\(value.replacing("'", with: "'\\''"))'\n"
    }.joined()
  }
}
