internal import FederationAPI
internal import FederationModel
public import Supervisor

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// What an operator decides about an agent: one YAML file, and `FUBINI_*` variables over it.
public struct AgentConfiguration: Sendable, Equatable {
  public enum ExecutorKind: String, Sendable, CaseIterable { case process, slurm, kubernetes, null }
  public enum Sandbox: String, Sendable, CaseIterable { case bubblewrap, none }
  public enum Network: String, Sendable, CaseIterable { case auto, none, host }
  public enum LogLevel: String, Sendable, CaseIterable { case trace, debug, info, notice, warning, error, critical }

  public struct Image: Sendable, Equatable {
    public var pattern: String
    public var runsAs: String
    /// `command`: for templates that give none; nil: they have to.
    public var command: [String]?
  }

  /// `controlPlane`: `host:port` of every replica.
  public var controlPlane: [String] = []
  /// `stateDirectory`: absolute; the agent's own.
  public var stateDirectory = ""
  /// `executor`.
  public var executor = ExecutorKind.process
  /// `slots`: programs at once; nil: as many as there are cores (`resources.cpu`).
  public var slots: Int?
  /// `resources.cpu`: thousandths of a core; nil: what the machine has.
  public var cpuMillicores: Int64?
  /// `resources.memory`: bytes; nil: what the machine has.
  public var memoryBytes: Int64?
  /// `resources.gpus`.
  public var gpus: Int64 = 0
  /// `images`: first match wins.
  public var images: [Image] = [Image(pattern: "*", runsAs: "host")]
  /// `rootFileSystems`: name to directory.
  public var rootFileSystems: [String: String] = [:]
  /// `allowedHostPaths`: shown to every run, read-only.
  public var allowedHostPaths: [String] = []
  public var sandbox = Sandbox.bubblewrap
  /// `cgroups`: where the control groups of runs are made.
  public var controlGroups = ControlGroupSetting.auto
  /// `processLimit`: processes and threads of one run at once.
  public var processLimit = 4096
  public var network = Network.auto
  /// `claims.directory`: where workflows have volumes of their own, seen by all machines that run them; nil: they have none.
  public var claimDirectory: String?
  /// `claims.named`: directories by the names of the volume claims that they are.
  public var namedClaims: [String: String] = [:]
  /// `runAddress`: under which other clusters reach the ports of this one's runs; nil: its runs alone do, by loopback.
  public var runAddress: String?
  /// `transferLimit`: bytes a second of what the agent fetches and uploads, together, by the time of day; and of what other clusters
  /// fetch from its export, once more.
  public var transferLimit = BandwidthTimetable(bytesPerSecond: nil)
  /// `linkLimits`: of single links within that, by what they come from: `repository` (both ways), `origin`, `archive`, or another
  /// cluster's name.
  public var linkLimits: [String: BandwidthTimetable] = [:]
  /// `cache`, `artifactCacheSize`.
  public var cache = CacheConfiguration()
  /// `export`; nil: other clusters cannot read the cache.
  public var export: CacheConfiguration.Export?
  public var logLevel = LogLevel.info
  /// `tenancy`, `project`, `projects`: whose work it takes.
  public var tenancy = TenancyConfiguration()
  /// `slurm`: of `executor: slurm` alone.
  public var slurm = SlurmConfiguration()
  /// `kubernetes`: of `executor: kubernetes` alone.
  public var kubernetes = KubernetesConfiguration()
  /// `proxy`, and the variables of the environment that name one.
  public var proxy = ProxySettings()
  /// `protocolMax`: the highest version of the agent protocol to offer, for an upgrade that is to be watched.
  public var protocolMax = AgentProtocol.versions.upperBound

  public init() {}

  /// What stands in for a value that must be there.
  ///
  /// - Throws: `.invalidArgument` naming the key.
  func validated() throws -> Self {
    guard stateDirectory.hasPrefix("/"), !stateDirectory.contains("/../"), stateDirectory.utf8.count <= 80 else {
      throw FederationError(
        .invalidArgument, "stateDirectory must be an absolute path of at most 80 bytes, not \"\(stateDirectory)\"")
    }
    if executor == .slurm, slurm.sharedDirectory.isEmpty {
      throw FederationError(
        .invalidArgument,
        "slurm.sharedDirectory must name a directory that every node of the cluster sees under the same path")
    }
    if executor == .kubernetes {
      try kubernetes.validate()
      if kubernetes.fluid != nil, !cache.isWriter {
        throw FederationError(
          .invalidArgument, "kubernetes.fluid belongs to an agent that writes its cache, and cache.writer is false")
      }
      if images != Self().images, let rule = images.first(where: { $0.runsAs == "host" }) {
        throw FederationError(
          .invalidArgument,
          "images: {pattern: \(rule.pattern), runsAs: host} is for machines; on Kubernetes runsAs is * (the image itself) or another image"
        )
      }
      guard claimDirectory == nil, namedClaims.isEmpty else {
        throw FederationError(
          .invalidArgument, "on a Kubernetes cluster volume claims are named by kubernetes.claims, not by claims")
      }
    }
    guard cache.isWriter || cache.name != nil && cache.directory != nil else {
      throw FederationError(
        .invalidArgument,
        "cache.writer: false is for clusters that share a cache: give cache.name and cache.directory, those of the agent that writes it"
      )
    }
    if executor == .slurm, !tenancy.projects.isEmpty, claimDirectory != nil || !namedClaims.isEmpty {
      throw FederationError(
        .invalidArgument, "claims are not supported on a Slurm cluster whose projects have users of their own")
    }
    _ = try declaredTenancy()
    _ = try addresses
    return self
  }

  /// Every node of a Slurm cluster sees what is in the shared directory.
  var cacheDirectory: String {
    cache.directory ?? (executor == .slurm ? slurm.sharedDirectory + "/cache" : stateDirectory + "/artifacts")
  }

  /// What the agent tells the control plane and holds itself to.
  ///
  /// - Throws: see `TenancyConfiguration.tenancy(isRoot:isSandboxed:)`.
  func declaredTenancy() throws(FederationError) -> Tenancy {
    switch executor {
    case .null: return .shared
    case .process: return try tenancy.tenancy(isRoot: geteuid() == 0, isSandboxed: sandbox != .none)
    case .slurm:
      // `auto` may turn out to be none.
      return try tenancy.tenancy(
        isRoot: geteuid() == 0, isSandboxed: slurm.sandbox == .bubblewrap, hasSudo: true)
    case .kubernetes: return try tenancy.ofNamespaces()
    }
  }

  var addresses: [ControlPlaneAddress] {
    get throws(FederationError) {
      try controlPlane.map { text throws(FederationError) in
        var address = try ControlPlaneAddress(text)
        address.proxy = try proxy.proxy(for: address)
        return address
      }
    }
  }
}
