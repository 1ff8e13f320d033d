internal import AgentRuntime
internal import Supervisor

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's one binary. The supervisor branches off before anything heavy is initialised: it outlives the agent and must
/// stay small.
@main
enum FubiniAgent {
  static func main() async {
    let arguments = CommandLine.arguments.dropFirst()
    if arguments.first == "supervisor" { exit(Supervisor.main(Array(arguments.dropFirst()))) }
    exit(await AgentCommand.run(Array(arguments)))
  }
}
