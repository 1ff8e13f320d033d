/// The text of Slurm's own configuration files for one cluster: a pure function of what is asked for and of this machine.
struct ConfigurationFiles {
  var configuration: LocalSlurmCluster.Configuration
  var paths: LocalSlurmCluster.Paths
  /// One for the controller, then one for each node, then one for accounting if there is any.
  var ports: [Int]
  /// This machine's name up to the first dot, which Slurm compares with its own.
  var host: String
  /// The user who owns the daemons. Only root's can start jobs as other users.
  var user: String

  /// `defer` and the intervals: a job is looked at once a second instead of at each submission, so that a burst of
  /// submissions is answered at once. `config_overrides`: a node is as large as written here, whatever the machine has.
  /// `NoInAddrAny`: nothing listens beyond the loopback. Whatever is not written is Slurm's default, which differs less
  /// between its versions than its names for "none" do.
  ///
  /// - Source: slurm.conf(5) of 22.05.
  var slurmConf: String {
    let global = [
      "ClusterName=\(configuration.name)",
      "SlurmctldHost=\(host)(127.0.0.1)",
      "SlurmctldPort=\(ports[0])",
      "SlurmUser=\(user)",
      "SlurmdUser=\(user)",
      "AuthType=auth/munge",
      "AuthInfo=socket=\(paths.mungeSocket),cred_expire=\(configuration.requeueDelaySeconds)",
      "CredType=cred/munge",
      "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
      "StateSaveLocation=\(paths.state)",
      "SlurmdSpoolDir=\(paths.spool)/%n",
      "SlurmctldPidFile=\(paths.pid)/slurmctld.pid",
      "SlurmdPidFile=\(paths.pid)/%n.pid",
      "SlurmctldLogFile=\(paths.log("slurmctld"))",
      "SlurmdLogFile=\(paths.logs)/%n.log",
      "SlurmctldDebug=info",
      "SlurmdDebug=info",
      "ProctrackType=proctrack/linuxproc",
      "MpiDefault=none",
      "JobCompType=jobcomp/filetxt",
      "JobCompLoc=\(paths.completions)",
      "SelectType=select/cons_tres",
      "SelectTypeParameters=CR_CPU_Memory",
      "DefMemPerCPU=\(max(1, configuration.memoryMiBPerNode / configuration.cpusPerNode))",
      "SchedulerType=sched/backfill",
      "SchedulerParameters=defer,batch_sched_delay=1,sched_min_interval=100000,sched_interval=1,bf_interval=1,"
        + "default_queue_depth=1000",
      "SlurmdParameters=config_overrides",
      "ReturnToService=2",
      "MaxJobCount=20000",
      "MaxArraySize=10001",
      "MinJobAge=\(configuration.jobMemorySeconds)",
      "KillWait=\(configuration.killWaitSeconds)",
      "SlurmdTimeout=\(configuration.nodeTimeoutSeconds)",
      "InactiveLimit=0",
    ]
    let licences = configuration.licences.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }
    let licensed = licences.isEmpty ? [] : ["Licenses=" + licences.joined(separator: ",")]
    return (global + licensed + memory + preemption + nodes + partitions + accounting).joined(separator: "\n") + "\n"
  }

  /// - Source: slurm.conf(5), `JobAcctGatherParams`.
  private var memory: [String] {
    guard configuration.killsOverMemory else { return [] }
    return [
      "JobAcctGatherType=jobacct_gather/linux", "JobAcctGatherFrequency=task=1", "JobAcctGatherParams=OverMemoryKill",
    ]
  }

  /// `AccountingStoragePass` is how commands are told of munge's socket when they talk to slurmdbd. At the end, so that ports
  /// stand in the file as in `ports`.
  private var accounting: [String] {
    guard configuration.keepsAccounts else { return ["AccountingStorageType=accounting_storage/none"] }
    return [
      "AccountingStorageType=accounting_storage/slurmdbd", "AccountingStorageHost=127.0.0.1",
      "AccountingStoragePort=\(ports[configuration.nodes + 1])", "AccountingStoragePass=\(paths.mungeSocket)",
    ] + (configuration.qos.isEmpty ? [] : ["AccountingStorageEnforce=qos"])
  }

  /// nil without accounting.
  ///
  /// - Source: slurmdbd.conf(5) of 22.05.
  var slurmdbdConf: String? {
    guard configuration.keepsAccounts else { return nil }
    return [
      "AuthType=auth/munge", "AuthInfo=socket=\(paths.mungeSocket)", "DbdHost=localhost", "DbdAddr=127.0.0.1",
      "DbdPort=\(ports[configuration.nodes + 1])", "SlurmUser=\(user)", "StorageType=accounting_storage/mysql",
      "StorageHost=localhost", "StorageUser=root", "StorageLoc=slurm", "CommitDelay=1", "DebugLevel=info",
      "LogFile=\(paths.log("slurmdbd"))", "PidFile=\(paths.pid)/slurmdbd.pid",
    ].joined(separator: "\n") + "\n"
  }

  private var preemption: [String] {
    if configuration.qos.contains(where: \.preemptsNormal) {
      return ["PreemptType=preempt/qos", "PreemptMode=CANCEL"]
    }
    guard let mode = configuration.partitions.lazy.compactMap(\.preemption).first else { return [] }
    return ["PreemptType=preempt/partition_prio", "PreemptMode=\(mode.rawValue)"]
  }

  private var nodes: [String] {
    let gpus = configuration.gpusPerNode
    let gres = gpus > 0 ? " Gres=gpu:\(configuration.gpuType):\(gpus)" : ""
    let types = gpus > 0 ? ["GresTypes=gpu"] : []
    return types
      + zip(configuration.nodeNames, ports.dropFirst()).map { name, port in
        "NodeName=\(name) NodeHostname=\(host) NodeAddr=127.0.0.1 Port=\(port) CPUs=\(configuration.cpusPerNode) "
          + "RealMemory=\(configuration.memoryMiBPerNode)\(gres) State=UNKNOWN"
      }
  }

  private var partitions: [String] {
    configuration.partitions.enumerated().map { index, partition in
      let nodes = partition.nodes.map { range in range.map { configuration.nodeNames[$0 - 1] }.joined(separator: ",") }
      var words = ["PartitionName=\(partition.name)", "Nodes=\(nodes ?? "ALL")", "State=UP"]
      words.append("Default=\(index == 0 ? "YES" : "NO")")
      words.append("MaxTime=\(partition.maxTimeMinutes.map(String.init) ?? "INFINITE")")
      if let minutes = partition.defaultTimeMinutes { words.append("DefaultTime=\(minutes)") }
      if let count = partition.maxNodesPerJob { words.append("MaxNodes=\(count)") }
      words.append("PriorityTier=\(partition.priorityTier)")
      if configuration.partitions.contains(where: { $0.preemption != nil }) {
        words.append("PreemptMode=\(partition.preemption?.rawValue ?? "OFF")")
      }
      return words.joined(separator: " ")
    }
  }

  /// nil where there are no GPUs.
  var gresConf: String? {
    guard configuration.gpusPerNode > 0 else { return nil }
    let files = "\(paths.devices)/nvidia[0-\(configuration.gpusPerNode - 1)]"
    return "Name=gpu Type=\(configuration.gpuType) File=\(files)\n"
  }

  /// Slurm reads it even where nothing is confined.
  var cgroupConf: String { "CgroupPlugin=cgroup/v1\n" }
}
