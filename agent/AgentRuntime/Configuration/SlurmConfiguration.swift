public import FederationModel

/// What an operator decides about a Slurm cluster: the block `slurm` of the agent's configuration.
public struct SlurmConfiguration: Sendable, Equatable {
  public enum Accounting: String, Sendable, CaseIterable { case auto, off }
  public enum Sandbox: String, Sendable, CaseIterable { case auto, bubblewrap, none }

  /// `sharedDirectory`: absolute; every node sees it under this name.
  public var sharedDirectory = ""
  /// `agentBinary`: the agent as the nodes can execute it; nil: this program's own file.
  public var agentBinary: String?
  /// `slurmConf`: Slurm's configuration file; nil leaves it to Slurm.
  public var slurmConf: String?
  /// `commands`: sbatch, squeue, scancel, sinfo, scontrol, sacct, srun to a path.
  public var commands: [String: String] = [:]
  public var partition: String?
  public var account: String?
  public var qos: String?
  /// `accounts`: project to account.
  public var accounts: [String: String] = [:]
  /// `defaults`: what tasks of a kind get where their authors say nothing.
  public var defaults: [SlurmDefault] = []
  /// `partitions`: what counts as capacity; empty: all.
  public var partitions: [String] = []
  /// `apptainer`: the program on the nodes.
  public var apptainer = "apptainer"
  /// `script`: the batch script around `{{step}}`.
  public var script: String?
  /// `options`: added to every `sbatch`.
  public var options: [String] = []
  /// `pollInterval`.
  public var pollInterval = Duration.seconds(5)
  /// `defaultWalltime`: where neither the author nor the partition says one.
  public var defaultWalltime = Duration.seconds(86_400)
  /// `maxJobs`: of this agent in Slurm at once.
  public var maxJobs = 2000
  /// `arraySize`: runs in one job array.
  public var arraySize = 1000
  /// `shareJobs`: whether tasks of a job array go on with short runs that still wait.
  public var shareJobs = true
  /// `canFence`: false where the shared file system gives no close-to-open consistency.
  public var canFence = true
  /// `inputWait`: how long a job that was queued before its run's inputs were here holds its nodes for them; zero: jobs are
  /// submitted when everything is here.
  public var inputWait = Duration.seconds(30)
  /// `restd`: the unix socket of a slurmrestd that is asked for jobs instead of `squeue`; nil: none.
  public var restd: String?
  /// `accounting`: auto asks `sacct` about jobs that the controller has forgotten, where Slurm keeps accounts.
  public var accounting = Accounting.auto
  public var sandbox = Sandbox.auto

  public init() {}

  /// One rule of `defaults`.
  public struct SlurmDefault: Sendable, Equatable {
    /// `when.class`, `when.labels`, `when.project`, `when.gpus`: all that are given must hold.
    public var priorityClass: PriorityClass?
    public var labels: [String: String] = [:]
    public var project: String?
    public var gpus: Bool?
    /// `partition`, `account`, `qos`, `constraint`, `gpuType`, `gres`, by their names.
    public var values: [String: String] = [:]

    public init() {}

    static let conditionNames = ["class", "labels", "project", "gpus"]
    static let valueNames = ["partition", "account", "qos", "constraint", "gpuType", "gres"]
  }

  static let commandNames = ["sbatch", "squeue", "scancel", "sinfo", "scontrol", "sacct", "srun"]
}
