public import Execution
public import FederationModel

/// What an operator decides about a `slurm` cluster.
public struct SlurmExecutorConfiguration: Sendable, Codable {
  public enum SandboxMode: String, Sendable, Codable, CaseIterable {
    /// bubblewrap where the login node can make a sandbox, the host otherwise. The login node stands for the nodes.
    case auto
    case bubblewrap, none
  }

  /// Slurm's programs; a bare name is looked up in the agent's `PATH`.
  public struct Programs: Hashable, Sendable, Codable {
    public var sbatch = "sbatch"
    public var squeue = "squeue"
    public var scancel = "scancel"
    public var sinfo = "sinfo"
    public var scontrol = "scontrol"
    public var sacct = "sacct"
    /// On the nodes; nil: beside `sbatch`.
    public var srun: String?
    public init() {}
  }

  /// Absolute; every node sees it under this name, and it belongs to the agent's user alone.
  public var sharedDirectory: String
  /// Where the agent's lease is, when another user than this executor's writes it; nil: in `sharedDirectory`.
  public var leaseFile: String?
  /// The program that Slurm starts for each run with `batch-step`: executable on every node.
  public var agentBinary: String
  /// Marks this agent's jobs together with `cluster` (I7).
  public var federationID: String
  public var cluster: String
  /// `SLURM_CONF`; nil: Slurm's own default.
  public var slurmConfiguration: String?
  public var programs: Programs
  /// Where runs go that name none; nil: Slurm's default.
  public var partition: String?
  public var account: String?
  public var qos: String?
  /// In place of `account`, by project.
  public var accounts: [String: String]
  /// What tasks of a kind get where their authors say nothing, before `partition`, `accounts`, `account` and `qos`; of each value the
  /// first rule that matches and has it counts. At most 256.
  public var defaults: [SiteDefault]
  /// Partitions that count as capacity; empty: all that are up.
  public var partitions: [String]
  /// What runs see of volume claims; the directories are those of the nodes, too.
  public var claims = ClaimDirectories()
  /// First match wins. `apptainer:FILE` runs in that image.
  public var images: [ImageRule]
  public var rootFileSystems: [String: String]
  public var allowedHostPaths: [String]
  /// The `apptainer` program on the nodes.
  public var apptainer: String
  /// The batch script around the step; see `BatchScript.template`. nil: nothing around it.
  public var scriptTemplate: String?
  /// Added to every `sbatch`, each an argument of its own.
  public var extraOptions: [String]
  /// Between two questions to the controller.
  public var pollInterval: Duration
  /// Of a run for which neither its author nor its partition says one.
  public var defaultWalltime: Duration
  /// Jobs of this agent in Slurm at once.
  public var maxJobs: Int
  /// Runs in one job array.
  public var arraySize: Int
  /// Whether tasks of a job array go on with others' runs that still wait; see `Sharing`.
  public var sharesJobs: Bool
  public var canFence: Bool
  /// How long a job that was queued before its run's inputs were here holds its nodes for them; zero: jobs are submitted only when
  /// everything is here. Whole seconds.
  public var inputWait: Duration
  /// The unix socket of a slurmrestd that is asked for jobs instead of `squeue`; nil: none.
  public var restSocket: String?
  /// Whether accounting is asked about jobs that the controller has forgotten, where Slurm keeps accounts.
  public var usesAccounting: Bool
  public var sandbox: SandboxMode
  public var logLimit: ByteCount

  public init(
    sharedDirectory: String, agentBinary: String, federationID: String, cluster: String,
    slurmConfiguration: String? = nil, programs: Programs = Programs(), partition: String? = nil,
    account: String? = nil, qos: String? = nil, accounts: [String: String] = [:], defaults: [SiteDefault] = [],
    partitions: [String] = [],
    images: [ImageRule] = [ImageRule(pattern: "*", runsAs: "host")], rootFileSystems: [String: String] = [:],
    allowedHostPaths: [String] = [], apptainer: String = "apptainer", scriptTemplate: String? = nil,
    extraOptions: [String] = [], pollInterval: Duration = .seconds(5), defaultWalltime: Duration = .seconds(24 * 3600),
    maxJobs: Int = 2000, arraySize: Int = 1000, sharesJobs: Bool = true, canFence: Bool = true,
    inputWait: Duration = .seconds(30),
    restSocket: String? = nil,
    usesAccounting: Bool = true,
    sandbox: SandboxMode = .auto,
    logLimit: ByteCount = .mebibytes(64)
  ) {
    self.sharedDirectory = sharedDirectory
    self.agentBinary = agentBinary
    self.federationID = federationID
    self.cluster = cluster
    self.slurmConfiguration = slurmConfiguration
    self.programs = programs
    self.partition = partition
    self.account = account
    self.qos = qos
    self.accounts = accounts
    self.defaults = defaults
    self.partitions = partitions
    self.images = images
    self.rootFileSystems = rootFileSystems
    self.allowedHostPaths = allowedHostPaths
    self.apptainer = apptainer
    self.scriptTemplate = scriptTemplate
    self.extraOptions = extraOptions
    self.pollInterval = pollInterval
    self.defaultWalltime = defaultWalltime
    self.maxJobs = maxJobs
    self.arraySize = arraySize
    self.sharesJobs = sharesJobs
    self.canFence = canFence
    self.inputWait = inputWait
    self.restSocket = restSocket
    self.usesAccounting = usesAccounting
    self.sandbox = sandbox
    self.logLimit = logLimit
  }

  /// What stands in for a value that must be there.
  ///
  /// - Throws: `.invalidArgument` naming the key.
  public func validated() throws(FederationError) -> Self {
    let paths = [("slurm.sharedDirectory", sharedDirectory), ("slurm.agentBinary", agentBinary)]
    for (key, path) in paths + (leaseFile.map { [("slurm.sharedDirectory", $0)] } ?? []) {
      guard path.hasPrefix("/"), path.utf8.count <= 512, !path.hasSuffix("/"), path.utf8.allSatisfy(Self.isPlain) else {
        throw FederationError(
          .invalidArgument,
          "\(key) must be an absolute path of letters, digits and . _ - + @ = / only, not \"\(path)\"")
      }
    }
    if let scriptTemplate { try BatchScript.check(template: scriptTemplate) }
    if let restSocket {
      // The longest path that the address of a unix socket holds.
      guard restSocket.hasPrefix("/"), restSocket.utf8.count <= 107, !restSocket.utf8.contains(0) else {
        throw FederationError(
          .invalidArgument, "slurm.restd must be the absolute path of a unix socket, at most 107 bytes")
      }
    }
    for rule in images
    where rule.runsAs != "host" && !rule.runsAs.hasPrefix("apptainer:/") && rootFileSystems[rule.runsAs] == nil {
      throw FederationError(
        .invalidArgument,
        "images: \(rule.pattern) runs as \(rule.runsAs), which is neither host, nor apptainer:/FILE, nor one of "
          + "rootFileSystems" + (rule.runsAs.hasPrefix("enroot") ? "; enroot is not supported" : ""))
    }
    guard defaults.count <= 256 else {
      throw FederationError(.invalidArgument, "slurm.defaults may have 256 rules at most")
    }
    for (index, rule) in defaults.enumerated() {
      try rule.validate("slurm.defaults[\(index)]", partitions: partitions)
    }
    for option in extraOptions {
      guard option.hasPrefix("-"), !option.utf8.contains(where: { $0 < 0x20 }) else {
        throw FederationError(
          .invalidArgument, "slurm.options must hold sbatch options like --mail-type=NONE, not \"\(option)\"")
      }
    }
    guard (1...1_000_000).contains(maxJobs) else {
      throw FederationError(.invalidArgument, "slurm.maxJobs must be a number from 1 to 1,000,000")
    }
    guard inputWait >= .zero, inputWait <= .seconds(600), inputWait.components.attoseconds == 0 else {
      throw FederationError(.invalidArgument, "slurm.inputWait must be whole seconds, at most 10 min; 0s turns it off")
    }
    guard pollInterval >= .milliseconds(500), pollInterval <= .seconds(600) else {
      throw FederationError(.invalidArgument, "slurm.pollInterval must be between 0.5 s and 10 min")
    }
    return self
  }

  /// Slurm expands `%` in file names, and a batch script is a shell's.
  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
    default: [0x2e, 0x5f, 0x2d, 0x2b, 0x40, 0x3d, 0x2f].contains(byte)
    }
  }
}
