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
  /// What is asked of a container from time to time: a program beside it, which answers by its exit code.
  public struct Probe: Hashable, Sendable {
    public enum Kind: UInt8, Sendable {
      /// The others wait for it; the container is ended when it fails.
      case startup = 0
      /// Says when a daemon is ready.
      case readiness = 1
      /// The container is ended when it fails.
      case liveness = 2
    }
    public var kind: Kind
    public var arguments: [String]
    public var initialDelayMs: UInt64
    public var periodMs: UInt64
    public var timeoutMs: UInt64
    public var successThreshold: UInt32
    public var failureThreshold: UInt32
    /// From SIGTERM to SIGKILL.
    public var graceMs: UInt64

    public init(
      kind: Kind, arguments: [String], initialDelayMs: UInt64 = 0, periodMs: UInt64 = 10_000,
      timeoutMs: UInt64 = 1000, successThreshold: UInt32 = 1, failureThreshold: UInt32 = 3, graceMs: UInt64 = 30_000
    ) {
      self.kind = kind
      self.arguments = arguments
      self.initialDelayMs = initialDelayMs
      self.periodMs = periodMs
      self.timeoutMs = timeoutMs
      self.successThreshold = successThreshold
      self.failureThreshold = failureThreshold
      self.graceMs = graceMs
    }
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
    public var probes: [Probe]

    public init(
      name: String, role: Role, arguments: [String], environment: [String] = [], workingDirectory: String? = nil,
      dependencies: [String] = [], isResult: Bool = false, probes: [Probe] = []
    ) {
      self.probes = probes
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
  /// `readyPath` is made as soon as all containers are ready.
  public var isDaemon: Bool

  public init(
    containers: [Container], graceMs: UInt64 = 30_000, retries: UInt32 = 0, retryPauseMs: UInt64 = 0,
    isDaemon: Bool = false
  ) {
    self.isDaemon = isDaemon
    self.containers = containers
    self.graceMs = graceMs
    self.retries = retries
    self.retryPauseMs = retryPauseMs
  }

  /// Where a run finds its plan and the agent's program.
  public static let path = "/.fubini/containers"
  public static let program = "/.fubini/agent"
  /// Below the run's root: a file that is there once a daemon is ready.
  public static let readyPath = "/.fubini/ready"
  /// Below the run's root: a line `NAME CODE` for each container that has ended, in that order; of several for one the last counts.
  public static let endsPath = "/.fubini/ends"
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
      writer.put(UInt32(container.probes.count))
      for probe in container.probes {
        writer.put(probe.kind.rawValue)
        writer.put(probe.arguments)
        for number in [probe.initialDelayMs, probe.periodMs, probe.timeoutMs, probe.graceMs] { writer.put(number) }
        writer.put(probe.successThreshold)
        writer.put(probe.failureThreshold)
      }
    }
    writer.put(isDaemon)
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
      let isResult = try reader.flag()
      containers.append(
        Container(
          name: name, role: role, arguments: arguments, environment: environment,
          workingDirectory: directory.isEmpty ? nil : directory, dependencies: dependencies,
          isResult: isResult, probes: try Self.probes(&reader)))
    }
    isDaemon = try reader.flag()
  }

  private static func probes(_ reader: inout WireReader) throws(WireReader.Malformed) -> [Probe] {
    let count = Int(try reader.number(UInt32.self))
    guard count <= 3 else { throw WireReader.Malformed() }
    var probes: [Probe] = []
    for _ in 0..<count {
      guard let kind = Probe.Kind(rawValue: try reader.number()) else { throw WireReader.Malformed() }
      var probe = Probe(kind: kind, arguments: try reader.texts())
      probe.initialDelayMs = try reader.number()
      probe.periodMs = try reader.number()
      probe.timeoutMs = try reader.number()
      probe.graceMs = try reader.number()
      probe.successThreshold = try reader.number()
      probe.failureThreshold = try reader.number()
      probes.append(probe)
    }
    return probes
  }
}
