/// The programs of one run, as `ContainerInit` starts them: a file in the run's memory, because it holds their environments.
public struct ContainerPlan: Hashable, Sendable {
  public enum Role: UInt8, Sendable {
    /// Runs to its end before anything else starts.
    case initial = 0
    /// The run ends with it.
    case main = 1
    /// Ended with the main one.
    case sidecar = 2
    /// Of a container set: starts when those that it depends on have ended well.
    case member = 3
  }
  public struct Container: Hashable, Sendable {
    public var name: String
    public var role: Role
    public var arguments: [String]
    /// `NAME=value`, over what all containers have.
    public var environment: [String]
    /// nil: where the run begins.
    public var workingDirectory: String?
    public var dependencies: [String]
    /// What the run's result is taken from: its output stays as it is, others' lines begin with their names.
    public var isResult: Bool

    public init(
      name: String, role: Role, arguments: [String], environment: [String] = [], workingDirectory: String? = nil,
      dependencies: [String] = [], isResult: Bool = false
    ) {
      self.name = name
      self.role = role
      self.arguments = arguments
      self.environment = environment
      self.workingDirectory = workingDirectory
      self.dependencies = dependencies
      self.isResult = isResult
    }
  }
  public var containers: [Container]
  /// From SIGTERM to SIGKILL.
  public var graceMs: UInt64
  /// Of each member of a container set that fails.
  public var retries: UInt32
  public var retryPauseMs: UInt64

  public init(containers: [Container], graceMs: UInt64 = 30_000, retries: UInt32 = 0, retryPauseMs: UInt64 = 0) {
    self.containers = containers
    self.graceMs = graceMs
    self.retries = retries
    self.retryPauseMs = retryPauseMs
  }

  /// Where a run finds its plan and the agent's program.
  public static let path = "/.fubini/containers"
  public static let program = "/.fubini/agent"
  /// The argument that makes the agent's program a `ContainerInit`.
  public static let command = "containers"
  /// The plan among the run's private files.
  public static let fileName = "containers"

  public var bytes: [UInt8] {
    var writer = WireWriter()
    writer.put(graceMs)
    writer.put(retries)
    writer.put(retryPauseMs)
    writer.put(UInt32(containers.count))
    for container in containers {
      writer.put(container.name)
      writer.put(container.role.rawValue)
      writer.put(container.arguments)
      writer.put(container.environment)
      writer.put(container.workingDirectory ?? "")
      writer.put(container.dependencies)
      writer.put(container.isResult)
    }
    return writer.bytes
  }

  public init(bytes: [UInt8]) throws(WireReader.Malformed) {
    var reader = WireReader(bytes[...])
    graceMs = try reader.number()
    retries = try reader.number()
    retryPauseMs = try reader.number()
    let count = Int(try reader.number(UInt32.self))
    guard count <= 256 else { throw WireReader.Malformed() }
    containers = []
    for _ in 0..<count {
      let name = try reader.text()
      guard let role = Role(rawValue: try reader.number()) else { throw WireReader.Malformed() }
      let (arguments, environment) = (try reader.texts(), try reader.texts())
      let directory = try reader.text()
      let dependencies = try reader.texts()
      containers.append(
        Container(
          name: name, role: role, arguments: arguments, environment: environment,
          workingDirectory: directory.isEmpty ? nil : directory, dependencies: dependencies,
          isResult: try reader.flag()))
    }
  }
}
