// The supervisor as a program of its own, for tests. In production it is a mode of the agent's binary.
internal import Glibc
internal import Supervisor

let arguments = Array(CommandLine.arguments.dropFirst())
if arguments.first == "daemonise", let executable = realpath("/proc/self/exe", nil), arguments.count == 2 {
  // As another user's agent would start it: `daemonise DIR`.
  try Supervisor.daemonise(
    executable: String(cString: executable), arguments: ["supervisor", "--state-dir", arguments[1]],
    log: arguments[1] + "/supervisor.log")
  exit(0)
}
if arguments.first == ContainerPlan.command { exit(ContainerInit.main()) }
if arguments.first == ContainerProbe.command { exit(ContainerProbe.main(Array(arguments.dropFirst()))) }
if arguments.first == "batch-step" { exit(Supervisor.batchStep(Array(arguments.dropFirst()))) }
exit(Supervisor.main(Array(arguments.drop { $0 == "supervisor" })))
