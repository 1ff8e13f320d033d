internal import ArgumentParser
internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#endif

@main
struct Fubini: AsyncParsableCommand {
  static let version = ProductVersion.current

  static let configuration = CommandConfiguration(
    commandName: "fubini", abstract: "Run workflows over many clusters, bringing data to compute or compute to data.",
    discussion:
      "Exit codes: 0 ok, 1 error, 2 usage, 3 unplaceable, 4 budget denied, 5 timeout or unreachable, 6 the workflow failed.",
    version: "fubini \(ProductVersion.current)",
    subcommands: [
      Up.self, Down.self, Doctor.self, ContextCommand.self, Submit.self, Plan.self, List.self, Get.self, Watch.self,
      Logs.self,
      Stop.self, Terminate.self, Suspend.self, Resume.self, SetNodes.self, Retry.self, Resubmit.self, Delete.self,
      Explain.self, Copy.self,
      TemplateCommand.self, ClusterTemplateCommand.self, CronCommand.self, ConfigMapCommand.self,
      DatasetCommand.self, Prefetch.self, TransferCommand.self, LinkCommand.self, SecretCommand.self,
      ProjectCommand.self, OrganisationCommand.self, UserCommand.self, TokenCommand.self, BudgetCommand.self,
      Usage.self, Cost.self,
      FairShareCommand.self,
      LedgerCommand.self,
      Sbatch.self, Squeue.self, Scancel.self, Sinfo.self, Sacct.self, Srun.self, Scontrol.self, Sacctmgr.self,
      Sshare.self, InstallSlurmShims.self,
      JobCommand.self, MachineTypeCommand.self,
      ClusterCommand.self, PriceCommand.self, Recover.self, AuditCommand.self, Version.self, Completion.self,
    ])

  static func main() async {
    signal(SIGPIPE, SIG_IGN)
    // Slurm's commands have their own way with options, by their own names and as ours.
    if let slurm = SlurmProgram.called(CommandLine.arguments) {
      Glibc.exit(await slurm.program.run(slurm.arguments))
    }
    do {
      var command = try parseAsRoot()
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch let failure as CommandFailure {
      Terminal.note(failure.message)
      Glibc.exit(failure.code.rawValue)
    } catch let error as FederationError {
      Terminal.note(error.publicMessage)
      Glibc.exit(error.code.exitCode)
    } catch let code as ExitCode {
      Glibc.exit(code.rawValue)
    } catch {
      let code = exitCode(for: error)
      let text = fullMessage(for: error)
      if code.isSuccess { Terminal.line(text) } else { Terminal.note(text) }
      // ArgumentParser's EX_USAGE is 64; ours is 2, as in the shell's own commands.
      Glibc.exit(code == .validationFailure ? 2 : code.rawValue)
    }
  }
}

/// Which project a command is about; nil: as the environment or the context says.
protocol ProjectNaming { var project: String? { get } }

/// Where `-p` is a parameter.
struct LongProjectOption: ParsableArguments, ProjectNaming {
  @Option(help: "The project; else FUBINI_PROJECT, else the context's.") var project: String?
}

struct ProjectOption: ParsableArguments, ProjectNaming {
  @Option(name: [.customShort("p"), .long], help: "The project; else FUBINI_PROJECT, else the context's.")
  var project: String?
}

/// What every command that talks to a control plane begins with.
func withClient<Result>(project: String? = nil, _ body: (APIClient) async throws -> Result) async throws -> Result {
  let environment = ProcessInfo.processInfo.environment
  var connection = try Connection.resolve(
    environment: environment, contexts: ContextFile.load(path: ContextFile.path(environment: environment)))
  if let project { connection.project = project }
  return try await APIClient.with(connection, body)
}
