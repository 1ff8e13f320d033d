internal import ArgumentParser
internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

struct InstallCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "install", abstract: "Joins if needed, and makes the agent start now and after every reboot.",
    discussion: """
      Running it twice changes nothing. --dry-run prints all that it would do. --print-sudoers prints what root has to allow \
      for an agent of a Slurm cluster that maps projects to Unix users.
      """)
  @OptionGroup var location: LocationOptions
  @OptionGroup var tokenOptions: TokenOptions
  @Option(name: .long, help: "host:port of the control plane, several separated by commas.") var controlPlane: String?
  @Flag(name: .long, help: "Print what would be done.") var dryRun = false
  @Flag(name: .long, help: "A service of this user instead of the system's.") var user = false
  @Flag(name: .long, help: "Print the sudo rule for `projects` of a Slurm cluster, and do nothing else.")
  var printSudoers = false

  func run() async throws {
    var configuration = try location.load()
    if let controlPlane { configuration.controlPlane = controlPlane.split(separator: ",").map(String.init) }
    configuration = try configuration.validated()
    if printSudoers {
      let rule = try SudoRule.rule(
        for: configuration, agent: try UnixUser.own(), agentBinary: AgentProcess.executablePath)
      return CommandOutput.say(rule.text)
    }
    let plan = try InstallPlanning.plan(configuration, location, user: user)
    let hasJoined = access(configuration.stateDirectory + "/identity/agent.pem", F_OK) == 0
    if dryRun {
      if !hasJoined {
        // What the real run would refuse.
        _ = try AddressCycle(try configuration.addresses)
        CommandOutput.say(
          "join \(configuration.controlPlane.joined(separator: ",")) with the token, into \(configuration.stateDirectory)"
        )
        let own = StateDirectory.configurationPath(in: configuration.stateDirectory)
        if location.config == nil, access(own, F_OK) != 0 {
          CommandOutput.say(
            InstallPlan.describe(
              .write(path: own, text: try Joining.ownConfiguration(configuration, hidesSecrets: true))))
        }
      }
      for step in plan.installation { CommandOutput.say(InstallPlan.describe(step)) }
      return
    }
    if !hasJoined {
      guard let text = try tokenOptions.text() else {
        throw FederationError(
          .invalidArgument,
          "This agent has not joined: set FUBINI_JOIN_TOKEN (or give --token-file) and --control-plane")
      }
      let cluster = try await Joining.join(configuration, token: text, configurationFile: location.config)
      CommandOutput.say("joined as cluster \(cluster)")
    }
    var runner = StepRunner(stateDirectory: configuration.stateDirectory)
    for step in plan.installation { try runner.perform(step) }
    CommandOutput.say("installed; see `fubini-agent status --state-dir \(configuration.stateDirectory)`")
  }
}

struct UninstallCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "uninstall", abstract: "Undoes `install`: the service goes, the state directory and running work stay."
  )
  @OptionGroup var location: LocationOptions
  @Flag(name: .long, help: "Print what would be done.") var dryRun = false
  @Flag(name: .long, help: "The service is this user's.") var user = false

  func run() async throws {
    let configuration = try location.load().validated()
    let plan = try InstallPlanning.plan(configuration, location, user: user)
    var runner = StepRunner(stateDirectory: configuration.stateDirectory)
    for step in plan.removal {
      if dryRun { CommandOutput.say(InstallPlan.describe(step)) } else { try runner.perform(step) }
    }
    if !dryRun {
      CommandOutput.say("uninstalled; \(configuration.stateDirectory) is kept, remove it when its runs have ended")
    }
  }
}

/// Which kind of service this machine offers.
enum InstallPlanning {
  /// - Throws: `.invalidArgument` for a path that cannot stand in a unit file, or a file that names no control plane.
  static func plan(_ configuration: AgentConfiguration, _ location: LocationOptions, user: Bool) throws -> InstallPlan {
    var file: String?
    if let given = location.config {
      var resolved = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
      guard realpath(given, &resolved) != nil else { throw POSIXFile.failure("Cannot open \(given)") }
      let path = String(decoding: resolved.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      // The service has this file alone, not the options and variables of this moment.
      guard !(try LocationOptions.read(path, environment: [:])).controlPlane.isEmpty else {
        throw FederationError(
          .invalidArgument,
          "\(path) names no control plane, and the service reads nothing else: add `controlPlane: [\"HOST:PORT\"]`")
      }
      file = path
    }
    let hasSystemd = access("/run/systemd/system", F_OK) == 0
    let environment = ProcessInfo.processInfo.environment
    let hasUserManager = hasSystemd && environment["XDG_RUNTIME_DIR"].map { access($0 + "/systemd", F_OK) == 0 } == true
    let service: InstallPlan.Service =
      if geteuid() == 0, hasSystemd, !user { .system } else if hasUserManager { .user } else { .background }
    let plan = InstallPlan(
      service: service, executable: AgentProcess.executablePath, stateDirectory: configuration.stateDirectory,
      configurationFile: file, home: environment["HOME"] ?? "/root")
    try plan.validate()
    return plan
  }
}
