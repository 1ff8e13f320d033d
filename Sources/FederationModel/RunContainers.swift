/// The programs of a run that has several. Its spec's own command is then empty.
///
/// All see one root file system and one network, and each its own environment. The run ends with its main container, or, where there are
/// members, when none is left that can start.
public struct RunContainers: Hashable, Sendable, Codable {
  public enum Role: String, Hashable, Sendable, Codable {
    /// Runs to its end before anything else starts.
    case initial
    case main
    /// Ended with the main one.
    case sidecar
    /// Of a container set.
    case member
  }
  public struct Container: Hashable, Sendable, Codable {
    public var name: String
    public var role: Role
    public var image: String
    public var command: [String]
    public var arguments: [String]
    public var environment: [EnvironmentVariable]
    /// nil: none.
    public var environmentSources: [EnvironmentSource]?
    /// nil: where the run begins.
    public var workingDirectory: String?
    /// Names of the members that must have ended well before it starts.
    public var dependencies: [String]
    /// How its health is looked after; nil: not at all.
    public var probes: RunProbes?

    public init(
      name: String, role: Role, image: String, command: [String], arguments: [String] = [],
      environment: [EnvironmentVariable] = [], environmentSources: [EnvironmentSource]? = nil,
      workingDirectory: String? = nil, dependencies: [String] = [], probes: RunProbes? = nil
    ) {
      self.probes = probes
      self.name = name
      self.role = role
      self.image = image
      self.command = command
      self.arguments = arguments
      self.environment = environment
      self.environmentSources = environmentSources
      self.workingDirectory = workingDirectory
      self.dependencies = dependencies
    }
  }
  /// In the order in which the init containers run.
  public var list: [Container]
  /// How often a member that fails is started again, and the time before that.
  public var retries: Int32
  public var retryPause: Duration
  /// Others go on as soon as it is ready, and it runs until they have ended. nil: false.
  public var isDaemon: Bool?

  public init(list: [Container], retries: Int32 = 0, retryPause: Duration = .zero, isDaemon: Bool? = nil) {
    self.isDaemon = isDaemon
    self.list = list
    self.retries = retries
    self.retryPause = retryPause
  }

  /// By whose output the run is known: the container of this name, or none.
  public static let resultName = "main"
}
