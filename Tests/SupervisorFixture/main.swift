// The supervisor as a program of its own, for tests. In production it is a mode of the agent's binary.
internal import Glibc
internal import Supervisor

exit(Supervisor.main(Array(CommandLine.arguments.dropFirst().drop { $0 == "supervisor" })))
