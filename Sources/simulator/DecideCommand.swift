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

  func run() throws {
    var session = DecisionSession(try Platform(RunCommand.json(platform)))
    while let line = readLine() {
      let answers = session.answer(line) { try JSONDecoder().decode(JSONValue.self, from: Data($0.utf8)) }
      guard !answers.isEmpty else { continue }
      try FileHandle.standardOutput.write(contentsOf: Data((answers.joined(separator: "\n") + "\n").utf8))
    }
  }
}
