public import Execution
public import FederationModel
public import Supervisor

/// What an operator decides about a `process` cluster.
public struct ProcessExecutorConfiguration: Sendable {
  public enum SandboxMode: String, Sendable, Codable { case bubblewrap, none }

  /// Which network runs see.
  ///
  /// A run must not reach a cloud's metadata service, which hands the machine's credentials to whoever asks, and bubblewrap
  /// cannot filter addresses. But people expect `curl` and `pip` to work. So `auto` looks: where no metadata service answers
  /// (laptops, HPC nodes, edge boxes), runs share the host's network; where one does, they get a loopback of their own, and
  /// the inventory's notice says so. `host` is for operators who have blocked the address for the runs' user by a firewall
  /// rule (`iptables -I OUTPUT -m owner --uid-owner 65534 -d 169.254.0.0/16 -j REJECT`).
  public enum Network: String, Sendable, Codable { case auto, none, host }

  /// Absolute; shared with the supervisor. At most 80 bytes, because a socket's path is short.
  public var stateDirectory: String
  /// Started with the arguments `supervisor --state-dir DIR --cgroup SETTING` when none runs.
  public var supervisorExecutable: String
  public var sandbox: SandboxMode
  public var network: Network
  /// First match wins. Without a rule for it a task's image cannot be honoured.
  public var images: [ImageRule]
  /// Root file systems by name: directories with an unpacked image.
  public var rootFileSystems: [String: String]
  /// Shown to every run, read-only.
  public var allowedHostPaths: [String]
  /// Whom runs become when the agent is root; without effect otherwise.
  public var identity: RunIdentity
  /// In place of `identity`, by project (`mapped` tenancy): then a project that is not in it has no runs here.
  public var identities: [ProjectName: RunIdentity]
  public var capacity: Resources
  public var slots: Int?
  public var logLimit: ByteCount
  /// Where the control groups of runs are made; `.none` enforces no limit of memory, CPU and processes.
  public var controlGroups: ControlGroupSetting
  /// Under which other clusters reach the ports of runs; nil: runs reach each other by loopback, and nobody else does.
  public var runAddress: String?
  /// What runs see of volume claims.
  public var claims: ClaimDirectories
  /// Processes and threads of one run at once, where that can be enforced: a fork bomb ends there.
  public var processLimit: Int

  /// Kept free in the state directory, at most a twentieth of its file system: with less nothing new is started, so that
  /// what runs, its end, and the agent's journal find room.
  public static let diskReserve = ByteCount.mebibytes(64)

  public init(
    stateDirectory: String, supervisorExecutable: String, sandbox: SandboxMode = .bubblewrap, network: Network = .auto,
    images: [ImageRule] = [ImageRule(pattern: "*", runsAs: "host")], rootFileSystems: [String: String] = [:],
    allowedHostPaths: [String] = [], identity: RunIdentity = .nobody, capacity: Resources = .zero, slots: Int? = nil,
    logLimit: ByteCount = .mebibytes(64), controlGroups: ControlGroupSetting = .none, processLimit: Int = 4096,
    identities: [ProjectName: RunIdentity] = [:], runAddress: String? = nil,
    claims: ClaimDirectories = ClaimDirectories()
  ) {
    self.claims = claims
    self.runAddress = runAddress
    self.stateDirectory = stateDirectory
    self.supervisorExecutable = supervisorExecutable
    self.sandbox = sandbox
    self.network = network
    self.images = images
    self.rootFileSystems = rootFileSystems
    self.allowedHostPaths = allowedHostPaths
    self.identity = identity
    self.capacity = capacity
    self.slots = slots
    self.logLimit = logLimit
    self.controlGroups = controlGroups
    self.processLimit = processLimit
    self.identities = identities
  }
}
