extension LocalSlurmCluster {
  /// Where the files of a cluster are.
  struct Paths: Sendable, Equatable {
    var directory: String

    /// Its name is what marks a process as this cluster's: every daemon, step and job has it in its environment.
    var configuration: String { directory + "/slurm.conf" }
    var gres: String { directory + "/gres.conf" }
    var cgroup: String { directory + "/cgroup.conf" }
    /// slurmdbd looks for it beside `configuration`.
    var accounting: String { directory + "/slurmdbd.conf" }
    var database: String { directory + "/database" }
    var databaseSocket: String { database + "/socket" }
    var rest: String { directory + "/rest" }
    var restSocket: String { rest + "/socket" }
    var mungeKey: String { directory + "/munge.key" }
    var mungeSocket: String { directory + "/munge.socket" }
    var state: String { directory + "/state" }
    var remembered: String { directory + "/state.remembered" }
    var spool: String { directory + "/spool" }
    var devices: String { directory + "/devices" }
    var pid: String { directory + "/pid" }
    var logs: String { directory + "/log" }
    var scratch: String { directory + "/scratch" }
    /// One line for each job that ended: the durable record of a cluster without accounting.
    var completions: String { logs + "/completions" }

    func identity(_ daemon: String) -> String { "\(pid)/\(daemon).json" }
    func log(_ daemon: String) -> String { "\(logs)/\(daemon).log" }
    /// What a daemon says before its log is open.
    func errors(_ daemon: String) -> String { "\(logs)/\(daemon).err" }
  }
}
