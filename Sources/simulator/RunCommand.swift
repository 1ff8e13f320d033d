import ArgumentParser
import FederationModel
import Foundation
import SchedulerCore
import SimulatorCore

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Runs workflows on a platform in virtual time and prints what came of it as JSON.")

  @Option(help: "The platform file (JSON).")
  var platform: String
  @Option(
    help: "What decides: \(PolicyName.allCases.map(\.rawValue).joined(separator: ", ")).",
    transform: { text in
      guard let name = PolicyName(rawValue: text) else { throw ValidationError("\(text) is no policy") }
      return name
    })
  var policy = PolicyName.ours
  @Option(
    help: "A workflow made from the seed, as KIND:SIZE; kinds: chains, fork-join, montage, layered. May be repeated.")
  var generate: [String] = []
  @Option(help: "What the sizes of all data are multiplied by.")
  var dataScale = 1.0
  @Option(help: "Standard deviation of real runtimes around the expected ones, relative.")
  var runtimeError = 0.0
  @Option(help: "Seconds between the submissions of one workflow and the next; their mean with --arrivals poisson.")
  var interval = 0.0
  @Option(help: "How workflows arrive: regular or poisson (exponential gaps, from the seed).")
  var arrivals = Arrivals.regular
  @Option(help: "How often each workflow is submitted; each time with runtimes of its own.")
  var times = 1
  @Option(help: "Seconds from the start until which all should have ended; only `ours` and `planned` heed it.")
  var deadline: Double?
  @Option(help: "What a unit of money is worth in seconds; only the policy `ours` heeds it.")
  var moneyWeight = 0.0
  @Option(help: "Of generated workflows, runtime errors, queue waits and the policy `random`.")
  var seed: UInt64 = 1
  @Option(help: "Write a Gantt chart (SVG) to this file.")
  var gantt: String?
  @Argument(help: "WfCommons instances (WfFormat 1.3 to 1.6).")
  var instances: [String] = []

  func validate() throws {
    guard !instances.isEmpty || !generate.isEmpty else {
      throw ValidationError("name at least one instance, or --generate one")
    }
    guard (1...1000).contains(times) else { throw ValidationError("--times is 1 to 1000") }
    guard dataScale > 0, dataScale <= 1e6, (0...3).contains(runtimeError), interval >= 0, moneyWeight >= 0 else {
      throw ValidationError(
        "--data-scale is above 0, --runtime-error 0 to 3, --interval and --money-weight are not negative")
    }
  }

  func run() throws {
    let site = try Platform(Self.json(platform))
    var workloads = try instances.map { path in
      try Workload(
        wfFormat: Self.json(path), name: URL(filePath: path).deletingPathExtension().lastPathComponent,
        dataScale: dataScale)
    }
    workloads += try generate.map(generated)
    workloads = arrange((0..<times).flatMap { _ in workloads })
    let report = try Simulation.run(
      policy, site, workloads, seed: seed, options: Self.options(deadline: deadline, moneyWeight: moneyWeight))
    print(report.json().description)
    if let gantt { try Data(GanttChart(report).svg.utf8).write(to: URL(filePath: gantt)) }
  }

  static func options(deadline: Double?, moneyWeight: Double) -> CoSchedulingOptions {
    var options = CoSchedulingOptions(deadline: deadline)
    options.weights.omega = deadline == nil ? 0 : 1000
    options.weights.lambda = Float(moneyWeight)
    return options
  }

  /// Gives each workflow its real runtimes and its moment of submission.
  private func arrange(_ workloads: [Workload]) -> [Workload] {
    var random = SplitMix64(seed: seed, stream: .max)
    var at = 0.0
    return workloads.enumerated().map { index, workload in
      var real = workload.withRuntimeError(runtimeError, seed: seed &+ UInt64(index))
      real.submittedAt = at
      at += arrivals == .regular ? interval : random.exponential(mean: interval)
      return real
    }
  }

  private func generated(_ text: String) throws -> Workload {
    let parts = text.split(separator: ":").map(String.init)
    guard parts.count == 2, let kind = GeneratedWorkload(rawValue: parts[0]), let size = Int(parts[1]),
      (1...10_000).contains(size)
    else { throw ValidationError("--generate takes KIND:SIZE with a size of 1 to 10000, not \(text)") }
    return kind.workload(size: size, dataScale: dataScale, seed: seed)
  }

  /// Reads a file of at most 1 GiB.
  static func json(_ path: String) throws -> JSONValue {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ValidationError("\(path) cannot be read; name a file that is there")
    }
    guard data.count <= 1 << 30 else { throw ValidationError("\(path) has more than 1 GiB") }
    do {
      return try JSONDecoder().decode(JSONValue.self, from: data)
    } catch { throw ValidationError("\(path) is no JSON") }
  }
}

/// How workflows arrive.
enum Arrivals: String, CaseIterable, ExpressibleByArgument {
  case regular
  case poisson
}
