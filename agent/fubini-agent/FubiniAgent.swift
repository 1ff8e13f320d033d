internal import AgentRuntime
internal import ProcessExecutor
internal import Supervisor

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's one binary. What supervises runs branches off before anything heavy is initialised: the supervisor outlives the
/// agent and must stay small, and a batch step starts for every run.
@main
enum FubiniAgent {
  static func main() async {
    ProcessStart.prepare()
    let arguments = CommandLine.arguments.dropFirst()
    switch arguments.first {
    case "supervisor": exit(Supervisor.main(Array(arguments.dropFirst())))
    case "keep": exit(Keeper.main(Array(arguments.dropFirst())))
    case "batch-step": exit(Supervisor.batchStep(Array(arguments.dropFirst())))
    case ContainerPlan.command: exit(ContainerInit.main())
    case ContainerProbe.command: exit(ContainerProbe.main(Array(arguments.dropFirst())))
    case PodPrograms.initCommand: exit(PodPrograms.initialise())
    case PodPrograms.stepCommand: exit(PodPrograms.step(Array(arguments.dropFirst())))
    case RequestProgram.command: exit(await RequestCommand.main())
    case ResourceCommand.name: exit(await ResourceCommand.main())
    default: break
    }
    exit(await AgentCommand.run(Array(arguments)))
  }
}
