/// The options of `sbatch` 22.05, and what becomes of each here.
public enum SbatchOptions {
  public static let table = OptionTable("sbatch", usageExitCode: 255, obeyed + withoutEffect + refused)

  private static let obeyed: [SlurmOption] = [
    SlurmOption("account", "A"), SlurmOption("array", "a"), SlurmOption("begin", "b"), SlurmOption("chdir", "D"),
    SlurmOption("cluster"), SlurmOption("clusters", "M"), SlurmOption("comment"), SlurmOption("constraint", "C"),
    SlurmOption("cpus-per-gpu"), SlurmOption("cpus-per-task", "c"), SlurmOption("dependency", "d"),
    SlurmOption("error", "e"), SlurmOption("exclude", "x"), SlurmOption("exclusive", nil, .optional),
    SlurmOption("export"), SlurmOption("gpus", "G"),
    SlurmOption("gpus-per-node"), SlurmOption("gpus-per-task"), SlurmOption("gres"), SlurmOption("help", "h", .none),
    SlurmOption("hold", "H", .none), SlurmOption("input", "i"), SlurmOption("job-name", "J"),
    SlurmOption("kill-on-invalid-dep"), SlurmOption("licenses", "L"), SlurmOption("mem"), SlurmOption("mem-per-cpu"),
    SlurmOption("mincpus"),
    SlurmOption("mem-per-gpu"), SlurmOption("nodelist", "w"), SlurmOption("nodes", "N"),
    SlurmOption("no-requeue", nil, .none), SlurmOption("ntasks", "n"), SlurmOption("ntasks-per-gpu"),
    SlurmOption("ntasks-per-node"), SlurmOption("open-mode"), SlurmOption("output", "o"),
    SlurmOption("parsable", nil, .none), SlurmOption("partition", "p"), SlurmOption("qos", "q"),
    SlurmOption("quiet", "Q", .none), SlurmOption("requeue", nil, .none), SlurmOption("reservation"),
    SlurmOption("signal"), SlurmOption("tasks-per-node"), SlurmOption("test-only", nil, .none),
    SlurmOption("time", "t"),
    SlurmOption("usage", nil, .none), SlurmOption("verbose", "v", .none), SlurmOption("version", "V", .none),
    SlurmOption("wait", "W", .none), SlurmOption("wrap"),
  ]

  private static let binding = "how tasks lie on the cores of a node is the cluster's to decide"
  private static let mail = "no mail is sent; `fubini budget webhook` and the event stream tell what happens"

  private static func idle(_ reason: String, _ names: (String, Character?, SlurmOption.Argument)...) -> [SlurmOption] {
    names.map { SlurmOption($0.0, $0.1, $0.2, .none(reason)) }
  }

  private static let withoutEffect: [SlurmOption] =
    idle(mail, ("mail-type", nil, .required), ("mail-user", nil, .required))
    + idle(
      binding, ("cores-per-socket", nil, .required), ("distribution", "m", .required),
      ("extra-node-info", "B", .required), ("gpu-bind", nil, .required), ("hint", nil, .required),
      ("mem-bind", nil, .required), ("ntasks-per-core", nil, .required), ("ntasks-per-socket", nil, .required),
      ("sockets-per-node", nil, .required), ("threads-per-core", nil, .required), ("contiguous", nil, .none),
      ("spread-job", nil, .none), ("switches", nil, .required), ("use-min-nodes", nil, .none),
      ("overcommit", "O", .none), ("oversubscribe", "s", .optional), ("gres-flags", nil, .required))
    + idle(
      "whose turn it is follows from the projects' shares and the priority class", ("nice", nil, .optional),
      ("priority", nil, .required))
    + idle(
      "use is accounted for by project and workflow", ("acctg-freq", nil, .required), ("wckey", nil, .required),
      ("profile", nil, .required))
    + idle(
      "the cluster's machines keep their own settings", ("cpu-freq", nil, .required), ("gpu-freq", nil, .required),
      ("power", nil, .required), ("core-spec", "S", .required), ("thread-spec", nil, .required))
    + idle("a cluster's nodes have the networks that they have", ("network", nil, .required))
    + idle("jobs run in the security context of their cluster", ("context", nil, .required))
    + idle("--constraint is obeyed; what is only preferred is not passed on", ("prefer", nil, .required))
    + idle(
      "limits of the submitting shell are not carried over", ("propagate", nil, .optional))
    + idle(
      "a job begins with all its nodes, and ends with any of them", ("no-kill", "k", .optional),
      ("wait-all-nodes", nil, .required))
    + idle("the jobs' limit is their --time", ("time-min", nil, .required), ("delay-boot", nil, .required))
    + idle("only #SBATCH lines are read", ("ignore-pbs", nil, .none))
    + idle("the environment that --export names goes along, not a login shell's", ("get-user-env", nil, .optional))
    + idle("nothing is shown of it", ("extra", nil, .required), ("mcs-label", nil, .required))

  private static func no(_ reason: String, _ names: (String, Character?, SlurmOption.Argument)...) -> [SlurmOption] {
    names.map { SlurmOption($0.0, $0.1, $0.2, .refused(reason)) }
  }

  private static let refused: [SlurmOption] =
    no(
      "nodes are not chosen by name across clusters; use --partition, --constraint or -M",
      ("nodefile", "F", .required), ("batch", nil, .required), ("cluster-constraint", nil, .required))
    + no("jobs run as the user that the cluster maps the project to", ("uid", nil, .required), ("gid", nil, .required))
    + no("images are named in workflows; see `fubini submit`", ("container", nil, .required))
    + no("burst buffers are not supported; use data sets", ("bb", nil, .required), ("bbf", nil, .required))
    + no("nodes are not booted for a job", ("reboot", nil, .none))
    + no("a deadline is set in workflows (activeDeadlineSeconds)", ("deadline", nil, .required))
    + no("variables are given with --export", ("export-file", nil, .required))
    + no(
      "GPUs are counted by --gpus, --gpus-per-node, --gpus-per-task or --gres", ("gpus-per-socket", nil, .required),
      ("ntasks-per-tres", nil, .required))
    + no("use --mem and local directories of the job", ("tmp", nil, .required))

  /// The options that variables of the environment stand for.
  ///
  /// - Source: sbatch(1), "INPUT ENVIRONMENT VARIABLES".
  public static let variables: [(variable: String, option: String)] = [
    ("SBATCH_ACCOUNT", "account"), ("SBATCH_ARRAY_INX", "array"), ("SBATCH_CLUSTERS", "clusters"),
    ("SLURM_CLUSTERS", "clusters"), ("SBATCH_CONSTRAINT", "constraint"), ("SBATCH_DISTRIBUTION", "distribution"),
    ("SBATCH_EXCLUSIVE", "exclusive"), ("SBATCH_EXPORT", "export"), ("SBATCH_GPUS", "gpus"),
    ("SBATCH_GPUS_PER_NODE", "gpus-per-node"), ("SBATCH_GPUS_PER_TASK", "gpus-per-task"), ("SBATCH_GRES", "gres"),
    ("SBATCH_JOB_NAME", "job-name"), ("SBATCH_MEM_PER_CPU", "mem-per-cpu"), ("SBATCH_MEM_PER_GPU", "mem-per-gpu"),
    ("SBATCH_MEM_PER_NODE", "mem"), ("SBATCH_NO_REQUEUE", "no-requeue"), ("SBATCH_OPEN_MODE", "open-mode"),
    ("SBATCH_OUTPUT", "output"), ("SBATCH_ERROR", "error"), ("SBATCH_INPUT", "input"),
    ("SBATCH_PARTITION", "partition"), ("SBATCH_QOS", "qos"), ("SBATCH_REQUEUE", "requeue"),
    ("SBATCH_RESERVATION", "reservation"), ("SBATCH_SIGNAL", "signal"), ("SBATCH_TIMELIMIT", "time"),
    ("SBATCH_WAIT", "wait"), ("SBATCH_WCKEY", "wckey"),
  ]

  /// What the environment asks for, in the table's order.
  public static func given(by environment: [String: String]) -> [GivenOption] {
    var found: [GivenOption] = []
    for (variable, name) in variables {
      guard let value = environment[variable], let option = table[name] else { continue }
      switch option.argument {
      case .none: found.append(GivenOption(name))
      case .optional: found.append(GivenOption(name, value.isEmpty ? nil : value))
      case .required: if !value.isEmpty { found.append(GivenOption(name, value)) }
      }
    }
    return found
  }
}
