public import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FederationPKI
internal import FoundationEssentials
internal import Logging
internal import NIOCore

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's command line. Exit codes: 0 ok, 1 error, 2 usage, 5 unreachable.
public struct AgentCommand: AsyncParsableCommand {
  public static let configuration = CommandConfiguration(
    commandName: "fubini-agent", abstract: "Runs a federation's work on this cluster. Dials out only.",
    version: SessionRunner.version,
    subcommands: [
      JoinCommand.self, RunCommand.self, StatusCommand.self, DoctorCommand.self, InstallCommand.self,
      UninstallCommand.self, VersionCommand.self, BrokerCommand.self,
    ])

  public init() {}

  /// Without a subcommand nothing was asked for: whoever started that (a unit file, a script) must not take it for success.
  public mutating func run() async throws {
    CommandOutput.complain(Self.helpMessage())
    throw ExitCode(2)
  }

  /// Parses and runs, and returns the exit code.
  public static func run(_ arguments: [String]) async -> Int32 {
    // One connection to one control plane: more event loops would only cost memory.
    NIOSingletons.groupLoopCountSuggestion = 1
    NIOSingletons.blockingPoolThreadCountSuggestion = 1
    do {
      var command = try parseAsRoot(arguments)
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
      return 0
    } catch let error as FederationError {
      CommandOutput.complain(error.publicMessage)
      return error.code.exitCode
    } catch {
      let code = exitCode(for: error)
      let text = fullMessage(for: error)
      if code.isSuccess { CommandOutput.say(text) } else if !text.isEmpty { CommandOutput.complain(text) }
      return code == .validationFailure ? 2 : code.rawValue
    }
  }
}

enum CommandOutput {
  static func say(_ text: String) { write(1, text) }
  static func complain(_ text: String) { write(2, text) }

  private static func write(_ descriptor: Int32, _ text: String) {
    try? POSIXFile.write(descriptor, Array((text.hasSuffix("\n") ? text : text + "\n").utf8), "output")
  }
}

/// Where an agent's files are; shared by every command.
struct LocationOptions: ParsableArguments {
  @Option(name: .long, help: "The agent's own directory.") var stateDir: String?
  @Option(name: .long, help: "Configuration file (default: STATE-DIR/agent.yaml).") var config: String?

  static var defaultStateDirectory: String {
    let home = ProcessInfo.processInfo.environment["HOME"] ?? "/root"
    return geteuid() == 0 ? "/var/lib/fubini-agent" : home + "/.local/state/fubini-agent"
  }

  /// The file, then the environment, then these options.
  func load() throws -> AgentConfiguration {
    let environment = ProcessInfo.processInfo.environment
    let guess = stateDir ?? environment["FUBINI_STATE_DIR"] ?? Self.defaultStateDirectory
    let path = config ?? StateDirectory.configurationPath(in: guess)
    let isThere = config != nil || access(path, F_OK) == 0
    var configuration =
      isThere
      ? try Self.read(path, environment: environment)
      : try ConfigurationParser.parse(yaml: "", environment: environment)
    if let stateDir { configuration.stateDirectory = stateDir }
    if configuration.stateDirectory.isEmpty { configuration.stateDirectory = guess }
    return configuration
  }

  static func read(_ path: String, environment: [String: String]) throws -> AgentConfiguration {
    let file = try POSIXFile.open(path, O_RDONLY)
    defer { POSIXFile.close(file) }
    let bytes = try POSIXFile.readAll(file, limit: ConfigurationParser.sizeMax + 1)
    return try ConfigurationParser.parse(yaml: String(decoding: bytes, as: UTF8.self), environment: environment)
  }
}

/// Where a one-time token comes from. The environment and files are seen by their owner alone; arguments by everybody.
struct TokenOptions: ParsableArguments {
  @Option(name: .long, help: "A file with the one-time token, or - for standard input (or set FUBINI_JOIN_TOKEN).")
  var tokenFile: String?
  @Option(name: .long, help: "The token itself. Everybody on this machine can see it in the process list.")
  var token: String?

  /// nil when there is none.
  func text() throws -> String? {
    if let token { return token }
    return try tokenFile.map(Self.read) ?? ProcessInfo.processInfo.environment["FUBINI_JOIN_TOKEN"]
  }

  /// - Parameter name: a path, or `-` for standard input.
  /// - Throws: for a file that cannot be read or holds no token.
  static func read(_ name: String) throws -> String {
    let file = try POSIXFile.open(name == "-" ? "/dev/stdin" : name, O_RDONLY)
    defer { POSIXFile.close(file) }
    let text = String(decoding: try POSIXFile.readAll(file, limit: 4096), as: UTF8.self)
    guard let token = text.split(whereSeparator: \.isWhitespace).first else {
      throw FederationError(.invalidArgument, "\(name) holds no token")
    }
    return String(token)
  }
}

struct JoinCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "join", abstract: "Exchanges a one-time token for this cluster's certificate.")
  @OptionGroup var location: LocationOptions
  @OptionGroup var tokenOptions: TokenOptions
  @Option(name: .long, help: "host:port of the control plane, several separated by commas.") var controlPlane: String?
  @Flag(name: .long, help: "Do nothing when this agent has joined already.") var ifNeeded = false

  func run() async throws {
    var configuration = try location.load()
    if let controlPlane { configuration.controlPlane = controlPlane.split(separator: ",").map(String.init) }
    configuration = try configuration.validated()
    if ifNeeded, let cluster = try Joining.cluster(configuration) {
      return CommandOutput.say("joined as cluster \(cluster) before: nothing to do")
    }
    guard let text = try tokenOptions.text() else {
      throw FederationError(.invalidArgument, "Set FUBINI_JOIN_TOKEN, or give --token-file")
    }
    let cluster = try await Joining.join(configuration, token: text, configurationFile: location.config)
    CommandOutput.say(
      "joined as cluster \(cluster); next: fubini-agent run --state-dir \(configuration.stateDirectory)")
  }
}

/// Joins, and leaves a configuration that `run` starts from.
enum Joining {
  /// As which cluster the agent has joined; nil when it has not.
  static func cluster(_ configuration: AgentConfiguration) throws -> String? {
    let state = configuration.stateDirectory
    guard try POSIXFile.status(state) != nil else { return nil }
    return try CertificateStore(stateDirectory: state).load()?.cluster.text
  }

  static func join(_ configuration: AgentConfiguration, token: String, configurationFile: String?) async throws
    -> String
  {
    let parsed = try JoinToken(text: token)
    try checkFile(
      configurationFile ?? StateDirectory.configurationPath(in: configuration.stateDirectory), configuration)
    let cycle = try AddressCycle(try configuration.addresses)
    let state = try StateDirectory(path: configuration.stateDirectory)
    let identity = try await Enrollment.join(
      token: parsed, addresses: cycle.addresses, store: try CertificateStore(stateDirectory: state.path))
    let own = StateDirectory.configurationPath(in: state.path)
    if configurationFile == nil, access(own, F_OK) != 0 {
      let text = try ownConfiguration(configuration)
      let file = try POSIXFile.open(own, O_WRONLY | O_CREAT | O_EXCL)
      defer { POSIXFile.close(file) }
      try POSIXFile.write(file, Array(text.utf8), own)
    }
    return identity.cluster.text
  }

  /// The token is good for one time: a file that `run` could not start from is told of before it is spent.
  private static func checkFile(_ path: String, _ configuration: AgentConfiguration) throws {
    guard access(path, F_OK) == 0,
      try LocationOptions.read(path, environment: ProcessInfo.processInfo.environment).controlPlane.isEmpty
    else { return }
    let addresses = try configuration.addresses.map { "\"\($0)\"" }.joined(separator: ", ")
    throw FederationError(
      .invalidArgument,
      """
      \(path) names no control plane, and `run` starts from it: add the line
        controlPlane: [\(addresses)]
      and join again. The token is still good.
      """)
  }

  /// The file that a first `join` leaves in the state directory.
  ///
  /// - Parameter hidesSecrets: leaves out the password of a proxy, for what is shown and not written.
  static func ownConfiguration(_ configuration: AgentConfiguration, hidesSecrets: Bool = false) throws -> String {
    let addresses = try configuration.addresses.map { "\"\($0)\"" }.joined(separator: ", ")
    // A service has not the environment of the one who joins: what led to the control plane now must be written down.
    let used = try configuration.addresses.lazy.compactMap(\.proxy).first
    let proxy = used.map { used in
      hidesSecrets ? "\(used)" : configuration.proxy.configured ?? configuration.proxy.inherited ?? "\(used)"
    }
    return "controlPlane: [\(addresses)]\nstateDirectory: \"\(configuration.stateDirectory)\"\n"
      + (proxy.map { "proxy: \"\($0)\"\n" } ?? "")
  }
}

struct RunCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Acts for this cluster until SIGTERM. Runs outlive it.")
  @OptionGroup var location: LocationOptions

  func run() async throws {
    let configuration = try location.load()
    var logger = Logger(label: "fubini-agent", factory: { StreamLogHandler.standardError(label: $0) })
    logger.logLevel = Logger.Level(rawValue: configuration.logLevel.rawValue) ?? .info
    let agent = try await Self.start(configuration, logger)
    let work = Task { try await agent.run() }
    let signals = TerminationSignals { work.cancel() }
    defer { signals.stop() }
    do { try await work.value } catch is CancellationError {}
  }

  /// One agent acts per cluster: while another login node's does, this one waits, and takes over when that one has ended.
  private static func start(_ configuration: AgentConfiguration, _ logger: Logger) async throws -> AgentProcess {
    var told: String?
    while true {
      do { return try await AgentProcess(configuration: configuration, logger: logger) } catch let error
        as FederationError
      {
        guard let held = error.cause as? StateDirectory.Held, held.isElsewhere else { throw error }
        if told != held.holder {
          logger.notice(
            "another login node's agent acts for this cluster; waiting to take over",
            metadata: ["holder": "\(held.holder)"])
          told = held.holder
        }
        try await Task.sleep(for: .seconds(5) * Double.random(in: 0.8...1.2))
      }
    }
  }
}

struct StatusCommand: AsyncParsableCommand {
  enum Format: String, ExpressibleByArgument, CaseIterable { case table, json }
  static let configuration = CommandConfiguration(commandName: "status", abstract: "Asks the running agent.")
  @OptionGroup var location: LocationOptions
  @Option(name: .shortAndLong, help: "table or json.") var output = Format.table

  func run() async throws {
    let directory = try location.load().stateDirectory
    let report = try StatusSocket.ask(StateDirectory.socketPath(in: directory))
    switch output {
    case .table: CommandOutput.say(report.text(now: SystemClock.now))
    case .json:
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      CommandOutput.say(String(decoding: try encoder.encode(report), as: UTF8.self))
    }
  }
}

struct VersionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "version", abstract: "Prints the version.")
  func run() async throws {
    CommandOutput.say(
      "fubini-agent \(SessionRunner.version), protocol "
        + "\(AgentProtocol.versions.lowerBound)-\(AgentProtocol.versions.upperBound)")
  }
}
