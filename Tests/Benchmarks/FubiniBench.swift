internal import ArgumentParser
internal import FederationHarness
internal import Foundation

/// Measures a federation of real processes. `scripts/bench-*.sh` build everything for release and run it.
@main
struct FubiniBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fubini-bench", abstract: "Measures control plane, agents and PostgreSQL, as real processes.",
    subcommands: [
      DispatchCommand.self, TurnsCommand.self, ProcessCommand.self, SlurmCommand.self, AgentCommand.self,
      DataCommand.self, StagingCommand.self, CheckDataCommand.self, FloodCommand.self, FloodLoadCommand.self,
      WorkflowsCommand.self,
    ])
}

/// What every benchmark needs to know.
struct BenchOptions: ParsableArguments {
  @Option(help: "Where fubini-controlplane and fubini-agent are (default: beside this program).") var binaries: String?
  @Option(help: "Every figure is the median of so many.") var repeats = 3
  var directory: String { binaries ?? Federation.defaultBinaries }
}

/// `name: value unit` on standard output, at once: a benchmark that is stopped has told what it knew.
enum Report {
  /// Past the standard library's buffer, which a pipe fills only at the end.
  static func say(_ text: String) { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }
  static func line(_ name: String, _ text: String) { say("\(name): \(text)") }

  static func figure(_ name: String, _ values: [Double], _ unit: String, digits: Int = 0) {
    let all = values.map { format($0, digits) }.joined(separator: ", ")
    let note = values.count > 1 ? " (median of \(all))" : ""
    say("\(name): \(format(Statistics.median(values), digits)) \(unit)\(note)")
  }

  static func format(_ value: Double, _ digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let rounded = (value * scale).rounded() / scale
    return digits == 0 ? "\(Int(rounded))" : "\(rounded)"
  }
}

enum Statistics {
  static func median(_ values: [Double]) -> Double { percentile(values, 50) }

  /// The nearest-rank percentile; 0 of nothing.
  static func percentile(_ values: [Double], _ percent: Double) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    let rank = Int((percent / 100 * Double(sorted.count)).rounded(.up))
    return sorted[min(max(rank, 1), sorted.count) - 1]
  }
}

extension Duration {
  var seconds: Double { self / .seconds(1) }
}
