import ArgumentParser

@main
struct Simulator: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulator",
    abstract: "Runs workflows in virtual time under the federation's scheduler, or lends that scheduler to others.",
    subcommands: [RunCommand.self, DecideCommand.self])
}
