import ArgumentParser
import FederationModel
import Foundation
import SchedulerCore
import SimulatorCore

/// Every policy on every workload, platform, data scale and runtime error.
struct CoSchedulingBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "coscheduling", abstract: "Compares the co-scheduler with other policies in virtual time.")

  @Option(help: "Directory with WfFormat instances; without it only generated ones run.")
  var instances: String?
  @Option(help: "First seed.")
  var seed: UInt64 = 1
  @Flag(help: "Print each case.")
  var cases = false
  @Option(help: "How much the place of outputs counts.")
  var lookahead = 0.5
  @Flag(inversion: .prefixedNo, help: "Warm clusters over idle links.")
  var prefetch = true

  /// Ratios of ours to another policy over all cases of one data scale.
  struct Ratios {
    var makespan: [Double] = []
    var money: [Double] = []
    var bytes: [Double] = []
    var worst = (ratio: 0.0, name: "")
  }

  func run() throws {
    for scale in [1.0, 10.0] {
      var ratios: [PolicyName: Ratios] = [:]
      for workload in try workloads(scale) {
        for platform in BenchmarkPlatform.all {
          for error in [0.0, 0.3] { try compare(workload, platform, scale, error, &ratios) }
        }
      }
      for name in PolicyName.allCases where name != .ours {
        let all = ratios[name]!
        print(
          "x\(Int(scale)) against \(name.rawValue): \(all.makespan.count) cases, makespan \(Self.mean(all.makespan))"
            + ", money \(Self.mean(all.money)), bytes \(Self.mean(all.bytes)); worst makespan "
            + "\(Self.round(all.worst.ratio)) (\(all.worst.name))")
      }
    }
  }

  private func compare(
    _ workload: Workload, _ platform: Platform, _ scale: Double, _ error: Double,
    _ ratios: inout [PolicyName: Ratios]
  ) throws {
    let real = workload.withRuntimeError(error, seed: seed)
    let options = CoSchedulingOptions(isPrefetching: prefetch, lookahead: lookahead)
    let ours = try Simulation.run(.ours, platform, [real], seed: seed, options: options)
    var line = "x\(Int(scale)) \(platform.name) \(workload.name) error \(error): ours \(Self.round(ours.makespan))"
    for name in PolicyName.allCases where name != .ours {
      let other = try Simulation.run(name, platform, [real], seed: seed)
      let ratio = ours.makespan / other.makespan
      line += ", \(name.rawValue) \(Self.round(ratio))"
      ratios[name, default: Ratios()].makespan.append(ratio)
      if ours.money > 0, other.money > 0 { ratios[name]!.money.append(ours.money / other.money) }
      if ours.bytesMoved > 0, other.bytesMoved > 0 { ratios[name]!.bytes.append(ours.bytesMoved / other.bytesMoved) }
      if ratio > ratios[name]!.worst.ratio {
        ratios[name]!.worst = (ratio, "\(platform.name) \(workload.name) error \(error)")
      }
    }
    if cases { print(line) }
  }

  private func workloads(_ scale: Double) throws -> [Workload] {
    var list: [Workload] = []
    if let instances {
      let files = try FileManager.default.contentsOfDirectory(atPath: instances).filter { $0.hasSuffix(".json") }
      for file in files.sorted() {
        let bytes = try Data(contentsOf: URL(filePath: instances).appending(path: file))
        list.append(
          try Workload(
            wfFormat: JSONDecoder().decode(JSONValue.self, from: bytes), name: String(file.dropLast(5)),
            dataScale: scale))
      }
    }
    for kind in GeneratedWorkload.allCases {
      for (index, size) in [6, 20, 60].enumerated() {
        list.append(kind.workload(size: size, dataScale: scale, seed: seed + UInt64(index)))
      }
    }
    return list
  }

  private static func mean(_ ratios: [Double]) -> String {
    guard !ratios.isEmpty else { return "-" }
    return round(exp(ratios.reduce(0) { $0 + log($1) } / Double(ratios.count)))
  }

  private static func round(_ value: Double) -> String { String(format: "%.3f", value) }
}
