import ArgumentParser
import FederationModel
import Foundation
import SimulatorCore

struct DecideCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decide",
    abstract: "The scheduler behind a line protocol: events on standard input, decisions on standard output.",
    discussion: "See docs/reference/simulator.md.")

  @Option(help: "The platform file (JSON).")
  var platform: String
  @Option(help: "Seconds on the clock of `now` by which all should have ended.")
  var deadline: Double?
  @Option(help: "What a unit of money is worth in seconds.")
  var moneyWeight = 0.0

  func validate() throws {
    guard moneyWeight >= 0, moneyWeight.isFinite, (deadline ?? 0) >= 0, deadline?.isFinite != false else {
      throw ValidationError("--deadline and --money-weight are not negative")
    }
  }

  func run() throws {
    var session = DecisionSession(
      try Platform(RunCommand.json(platform)), RunCommand.options(deadline: deadline, moneyWeight: moneyWeight))
    while let line = readLine() {
      let answers = session.answer(line) { try JSONDecoder().decode(JSONValue.self, from: Data($0.utf8)) }
      guard !answers.isEmpty else { continue }
      try FileHandle.standardOutput.write(contentsOf: Data((answers.joined(separator: "\n") + "\n").utf8))
    }
  }
}
