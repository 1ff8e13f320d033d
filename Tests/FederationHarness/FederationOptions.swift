/// What a federation of real processes is made of.
public struct FederationOptions: Sendable {
  public struct Agent: Sendable {
    public var name: String
    /// `process`, `slurm` or `null`.
    public var executor = "process"
    public var slots = 4
    public var labels: [String: String] = [:]
    /// `core-hour` in minor units of CNY; nil: no price.
    public var coreHour: Double?
    /// The highest agent protocol version to offer; nil: all that this build knows.
    public var protocolMax: Int?
    /// Top-level keys of its configuration with their YAML, in place of what the harness writes.
    public var keys: [String: String] = [:]
    /// Whom the agent runs as, when the tests run as root; nil: whoever runs them.
    public var user: String?
    public init(
      _ name: String, executor: String = "process", slots: Int = 4, labels: [String: String] = [:],
      coreHour: Double? = nil, protocolMax: Int? = nil
    ) {
      self.name = name
      self.executor = executor
      self.slots = slots
      self.labels = labels
      self.coreHour = coreHour
      self.protocolMax = protocolMax
    }
  }

  /// 1 leader and the others standing by.
  public var controlPlanes = 1
  public var agents: [Agent] = [Agent("one")]
  /// Seconds. Short, so that a test sees them run out.
  public var leaderLease = 2.0
  public var agentLease = 4.0
  public var disconnectLimit = 5.0
  public var fenceMargin = 2.0
  /// A server that this federation alone uses, and may kill; otherwise a database on the process's common one.
  public var hasOwnPostgres = false
  /// Of that server: `name=value`.
  public var postgresSettings: [String] = []
  public var logLevel = "info"
  /// URL of an `S3Service`; artifacts and logs are then in its bucket, else in directories.
  public var s3Endpoint: String?
  /// The agent protocol versions that the control planes speak; nil: all that this build knows.
  public var protocols: ClosedRange<Int>?
  /// What else stands below `federation:` in the control planes' configuration, as a flow mapping's members.
  public var federationKeys = ""
  /// The address that the agent port is bound to, and dialled at.
  public var gatewayHost = "127.0.0.1"
  /// Whether the start waits until every agent is connected.
  public var awaitsAgents = true

  public init() {}
}
