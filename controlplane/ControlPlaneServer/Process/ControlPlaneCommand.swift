public import ArgumentParser
import FederationModel
import FoundationEssentials

#if canImport(Glibc)
  import Glibc
#endif

/// The commands of `fubini-controlplane`.
public struct ControlPlaneCommand: AsyncParsableCommand {
  public static let configuration = CommandConfiguration(
    commandName: "fubini-controlplane", abstract: "The control plane of a Fubini federation.",
    version: ProductVersion.current,
    subcommands: [Run.self, Initialise.self, Migrate.self, Authority.self, Secrets.self, Doctor.self])

  public init() {}

  /// Runs a command line to its end and exits with 0, 1 (error) or 2 (usage).
  public static func run() async {
    do {
      var command = try parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch {
      let code = exitCode(for: error)
      let text = fullMessage(for: error)
      if !text.isEmpty {
        let line = text + "\n"
        _ = line.withCString { write(code.isSuccess ? STDOUT_FILENO : STDERR_FILENO, $0, strlen($0)) }
      }
      // ArgumentParser's EX_USAGE is 64; ours is 2, as of the other programs.
      Glibc.exit(code == .validationFailure ? 2 : code.rawValue)
    }
  }

  struct Options: ParsableArguments {
    @Option(help: "The configuration file (YAML).")
    var config: String

    func load() throws -> ServerConfiguration {
      guard let data = FileManager.default.contents(atPath: config) else {
        throw FederationError(.invalidArgument, "\(config) cannot be read")
      }
      guard data.count <= 1 << 20 else { throw FederationError(.invalidArgument, "\(config) is larger than 1 MiB") }
      return try ServerConfiguration(yaml: String(decoding: data, as: UTF8.self))
    }
  }

  struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Serves the API and the agents; leads, or stands by.")
    @OptionGroup var options: Options
    func run() async throws { try await reporting { try await ControlPlaneProcess(try options.load()).run() } }
  }

  struct Initialise: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "init",
      abstract: "Prepares database, CA and a first administrator. Running it again changes nothing.")
    @OptionGroup var options: Options
    @Option(help: "Where to write the administrator's token (mode 0600) unless the file exists.")
    var adminTokenFile: String
    func run() async throws {
      try await reporting {
        try await ControlPlaneProcess(try options.load()).initialise(adminTokenFile: adminTokenFile)
      }
    }
  }

  struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Brings the database's schema up to this version.")
    @OptionGroup var options: Options
    func run() async throws {
      try await reporting {
        for name in try await ControlPlaneProcess(try options.load()).migrate() { print("applied \(name)") }
      }
    }
  }
}

/// Prints a federation error's public message instead of its structure.
func reporting(_ body: () async throws -> Void) async throws {
  do { try await body() } catch let error as FederationError {
    let line = "fubini-controlplane: \(error.publicMessage)\n"
    _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
    throw ExitCode(error.code.exitCode)
  }
}
