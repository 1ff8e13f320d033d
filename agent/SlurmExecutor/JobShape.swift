internal import Execution
internal import FederationModel

/// What a run asks of Slurm. Runs of one shape may share a job array. Pure.
struct JobShape: Hashable, Sendable {
  var project: ProjectName
  /// For each task.
  var cpus: Int64 = 1
  /// For each copy of the program; 0 leaves it to the partition.
  var memoryMebibytes: Int64 = 0
  /// For each copy of the program.
  var gpus: Int64 = 0
  var gpuType: String?
  /// Beside GPUs, for each node: a site's default.
  var gres: String?
  /// Copies of the program in all; more than one is started by `srun`, unless it is a batch script.
  var gangSize = 1
  /// The program is started once, on the first node: each copy is what it has of one.
  var isBatch = false
  /// nil leaves it to Slurm.
  var nodes: Int?
  /// nil leaves it to Slurm.
  var tasksPerNode: Int?
  /// Slurm's limit, which lies behind the step's own.
  var timeLimitMinutes: Int64
  var partition: String?
  var account: String?
  var qos: String?
  var constraint: String?
  var reservation: String?
  var licences: String?
  var isExclusive = false
  var requeues = false

  /// - Throws: `.invalidArgument` for a value that cannot be one of Slurm's.
  init(_ run: RunRequest, limits: TimeLimits, configuration: SlurmExecutorConfiguration) throws(FederationError) {
    let resources = run.spec.resources
    project = run.project
    cpus = max(1, (resources.cpuMillicores + 999) / 1000)
    memoryMebibytes = max(0, (resources.memory.bytes + (1 << 20) - 1) >> 20)
    gpus = max(0, resources.gpus)
    let traits = SiteDefault.RunTraits(run)
    func site(_ value: KeyPath<SiteDefault, String?>) -> String? { configuration.siteDefault(value, for: traits) }
    gpuType = gpus > 0 ? try Self.value(resources.gpuType ?? site(\.gpuType), "GPU type") : nil
    gres = try Self.value(site(\.gres), "list of generic resources")
    timeLimitMinutes = limits.slurmMinutes
    let hints = run.spec.federation.slurm
    partition = try Self.value(configuration.partition(of: run), "partition")
    account = try Self.value(
      hints?.account ?? site(\.account) ?? configuration.accounts[run.project.text] ?? configuration.account, "account")
    qos = try Self.value(hints?.qos ?? site(\.qos) ?? configuration.qos, "QOS")
    constraint = try Self.value(hints?.constraint ?? site(\.constraint), "constraint")
    reservation = try Self.value(hints?.reservation, "reservation")
    licences = try Self.value(hints?.licences, "list of licences")
    isExclusive = hints?.exclusive ?? false
    requeues = hints?.requeue ?? false
    gangSize = max(1, run.spec.federation.gangSize)
    isBatch = gangSize > 1 && hints?.isBatch == true
    nodes = isBatch ? gangSize : hints?.nodes ?? (gangSize == 1 ? 1 : nil)
    tasksPerNode = isBatch ? 1 : hints?.tasksPerNode ?? (gangSize == 1 ? 1 : nil)
  }

  /// - Source: the characters that occur in names, features, licences and expressions of them in sbatch(1).
  static func value(_ text: String?, _ what: String) throws(FederationError) -> String? {
    guard let text, !text.isEmpty else { return nil }
    let others = Array("_.:,&|*()[]!@=+-/".utf8)
    let isPlain = text.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
      default: others.contains(byte)
      }
    }
    guard isPlain, text.utf8.count <= 256, text.utf8.first != 0x2d else {
      throw FederationError(.invalidArgument, "\"\(text)\" cannot be a \(what) of a Slurm cluster")
    }
    return text
  }
}

extension SiteDefault.RunTraits {
  init(_ run: RunRequest) {
    self.init(
      priorityClass: run.spec.federation.priorityClass, labels: run.spec.labels ?? [:], project: run.project.text,
      hasGPUs: run.spec.resources.gpus > 0)
  }
}

extension SlurmExecutorConfiguration {
  /// Where a run goes; nil: to Slurm's default.
  func partition(of run: RunRequest) -> String? {
    run.spec.federation.slurm?.partition ?? siteDefault(\.partition, for: .init(run)) ?? partition
  }
}

/// The two limits of a run's wall time: the step's, which ends the program properly, and Slurm's, which lies behind it. Pure.
struct TimeLimits: Hashable, Sendable {
  /// Of the program, from its start.
  var walltime: Duration
  var slurmMinutes: Int64

  /// Between the moment at which the step has killed the program and Slurm's limit: starting, writing the end, and Slurm's
  /// habit of warning up to a minute early.
  static let margin = Duration.seconds(120)
  /// How long before its limit Slurm sends SIGTERM.
  static let warningSeconds = 30
  /// Slurm's largest limit that is not "infinite": a year.
  private static let longest = Duration.seconds(365 * 86_400)

  /// - Parameters:
  ///   - walltime: what the author says.
  ///   - grace: from SIGTERM to SIGKILL.
  ///   - partition: where it goes, if that is known.
  ///   - inputWait: how long the job may wait for the run's inputs before it starts the program.
  /// - Throws: `.unplaceable` when the partition never lets it run so long.
  init(
    walltime wanted: Duration?, grace: Duration, partition: PartitionState?, fallback: Duration,
    inputWait: Duration = .zero
  ) throws(FederationError) {
    let tail = min(max(grace, .zero), .seconds(3600)) + Self.margin + inputWait
    let partitionLimit = partition?.timeLimit
    if let wanted {
      if let partitionLimit, wanted > partitionLimit {
        throw FederationError(
          .unplaceable,
          "the walltime of \(Self.text(wanted)) is beyond the limit of the partition \(partition!.name), "
            + "\(Self.text(partitionLimit)): ask for less, or for another partition")
      }
      let limit = min(min(wanted, Self.longest) + tail, partitionLimit ?? Self.longest)
      slurmMinutes = Self.minutes(limit, isCapped: partitionLimit == limit)
      walltime = max(.seconds(1), min(wanted, .seconds(slurmMinutes * 60) - tail))
    } else {
      let limit = min(partition?.defaultTime ?? partitionLimit ?? fallback, Self.longest)
      slurmMinutes = Self.minutes(limit, isCapped: true)
      walltime = max(.seconds(slurmMinutes * 60) - tail, .seconds(max(1, slurmMinutes * 30)))
    }
  }

  /// Slurm counts in minutes: what may not be longer is rounded down.
  private static func minutes(_ limit: Duration, isCapped: Bool) -> Int64 {
    let seconds = limit.components.seconds
    return max(1, isCapped ? seconds / 60 : (seconds + 59) / 60)
  }

  private static func text(_ duration: Duration) -> String {
    let seconds = duration.components.seconds
    return seconds % 3600 == 0 ? "\(seconds / 3600) h" : seconds % 60 == 0 ? "\(seconds / 60) min" : "\(seconds) s"
  }
}
