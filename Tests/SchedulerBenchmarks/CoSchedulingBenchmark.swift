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
  @Option(help: "What sizes of data are multiplied by; may be repeated.")
  var scale: [Double] = [1, 10]
  @Option(help: "How wide generated workflows are; may be repeated.")
  var size: [Int] = [6, 20, 60]
  @Flag(help: "Print each case.")
  var cases = false
  @Option(help: "How much the place of outputs counts.")
  var lookahead = CoSchedulingOptions().lookahead
  @Option(help: "How much the seconds count that a replica saves others.")
  var nu = 0.0
  @Option(help: "Of the spread of a queue's waits, the part that is added to their mean.")
  var risk = CoSchedulingOptions().risk
  @Option(help: "How much a second counts for which a link is taken.")
  var kappa: Float = 0.1
  @Option(help: "How many seeds, each with generated workflows, runtimes and waits of its own.")
  var seeds: UInt64 = 1
  @Option(help: "Compare with these policies only.", transform: Self.policy)
  var against: [PolicyName] = []
  @Flag(inversion: .prefixedNo, help: "Warm clusters over idle links.")
  var prefetch = true

  @Flag(inversion: .prefixedNo, help: "Also plan by rollouts.")
  var planned = true
  @Flag(inversion: .prefixedNo, help: "Also compare what a plan costs at an equal deadline; needs plans.")
  var money = true
  @Option(help: "On this platform only; may be repeated.")
  var platform: [String] = []
  @Option(help: "Decisions in virtual time that one choice of a plan may cost.")
  var decisions = RolloutPolicy.Effort().decisions
  @Option(help: "Courses that plans are compared on.")
  var courses = RolloutPolicy.Effort().courses
  @Option(help: "Courses that a search for better plans looks at.")
  var searchCourses = RolloutPolicy.Effort().searchCourses
  @Option(help: "How often a plan is looked at again because something took longer or shorter than promised.")
  var revisions = RolloutPolicy.Effort().revisions

  private var effort: RolloutPolicy.Effort {
    RolloutPolicy.Effort(courses: courses, searchCourses: searchCourses, decisions: decisions, revisions: revisions)
  }

  private var own: [PolicyName] { planned ? [.ours, .planned] : [.ours] }
  @Sendable private static func policy(_ text: String) throws -> PolicyName {
    guard let name = PolicyName(rawValue: text) else {
      throw ValidationError(
        "\(text) is no policy; there are \(PolicyName.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return name
  }

  private var others: [PolicyName] {
    against.isEmpty ? PolicyName.allCases.filter { $0 != .ours && $0 != .planned } : against
  }

  func run() throws {
    for scale in scale {
      var ratios: [[PolicyName: Ratios]] = own.map { _ in [:] }
      var money = MoneyAtDeadline()
      for seed in seed..<seed + seeds {
        for workload in try workloads(scale, seed) {
          for platform in BenchmarkPlatform.all where self.platform.isEmpty || self.platform.contains(platform.name) {
            for error in [0.0, 0.3] {
              let real = workload.withRuntimeError(error, seed: seed)
              let title = "x\(Int(scale)) \(platform.name) \(workload.name) error \(error) seed \(seed)"
              try compare(real, platform, seed, title, &ratios)
              if planned, self.money, platform.hasPrices { try compareMoney(real, platform, seed, title, &money) }
            }
          }
        }
      }
      for (index, policy) in own.enumerated() {
        for name in others {
          print("x\(Int(scale)) \(policy.rawValue) against \(name.rawValue): \(ratios[index][name]!.summary)")
        }
      }
      if planned, self.money { print("x\(Int(scale)) \(money.summary)") }
    }
  }

  private func compare(
    _ workload: Workload, _ platform: Platform, _ seed: UInt64, _ title: String, _ ratios: inout [[PolicyName: Ratios]]
  ) throws {
    let options = CoSchedulingOptions(
      weights: ScoringWeights(kappa: kappa), isPrefetching: prefetch, lookahead: lookahead, nu: nu, risk: risk)
    var reports: [PolicyName: SimulationReport] = [:]
    for name in own + others {
      reports[name] = try Simulation.run(name, platform, [workload], seed: seed, options: options, effort: effort)
    }
    for (index, policy) in own.enumerated() {
      var line = "\(title): \(policy.rawValue) \(Ratios.round(reports[policy]!.makespan)) s"
      for name in others {
        ratios[index][name, default: Ratios()].add(reports[policy]!, reports[name]!, title)
        line += ", \(name.rawValue) \(Ratios.round(reports[policy]!.makespan / reports[name]!.makespan))"
      }
      if cases { print(line) }
    }
  }

  /// What ours pays when it has as long as the data-blind policy took.
  private func compareMoney(
    _ workload: Workload, _ platform: Platform, _ seed: UInt64, _ title: String, _ money: inout MoneyAtDeadline
  ) throws {
    let blind = try Simulation.run(.dataBlind, platform, [workload], seed: seed)
    let options = CoSchedulingOptions(deadline: blind.makespan)
    let ours = try Simulation.run(.planned, platform, [workload], seed: seed, options: options, effort: effort)
    if cases {
      print(
        "\(title): planned with data-blind's makespan as deadline \(Ratios.round(ours.makespan / blind.makespan)) of it, money "
          + "\(Ratios.round(ours.money / blind.money))")
    }
    money.cases += 1
    money.ours += ours.money
    money.blind += blind.money
    if ours.money > blind.money * 1.000001 + 1e-9 { money.dearer += 1 }
    if ours.makespan > blind.makespan * 1.000001 { money.late += 1 }
  }

  private func workloads(_ scale: Double, _ seed: UInt64) throws -> [Workload] {
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
      for (index, size) in size.enumerated() {
        list.append(kind.workload(size: size, dataScale: scale, seed: seed + UInt64(index)))
      }
    }
    return list
  }
}

/// Ratios of one policy to another over all cases of one data scale. A ratio to zero is none: money and bytes are compared
/// where both have some, and as sums.
private struct Ratios {
  private var makespan: [Double] = []
  private var money: [Double] = []
  private var bytes: [Double] = []
  private var worst = (makespan: (0.0, ""), money: (0.0, ""), bytes: (0.0, ""))
  private var moneySums = (0.0, 0.0)
  private var byteSums = (0.0, 0.0)

  mutating func add(_ own: SimulationReport, _ other: SimulationReport, _ title: String) {
    Self.add(own.makespan, other.makespan, title, &makespan, &worst.makespan)
    Self.add(own.money, other.money, title, &money, &worst.money)
    Self.add(own.bytesMoved, other.bytesMoved, title, &bytes, &worst.bytes)
    moneySums = (moneySums.0 + own.money, moneySums.1 + other.money)
    byteSums = (byteSums.0 + own.bytesMoved, byteSums.1 + other.bytesMoved)
  }

  private static func add(
    _ own: Double, _ other: Double, _ title: String, _ ratios: inout [Double], _ worst: inout (Double, String)
  ) {
    guard own > 0, other > 0 else { return }
    ratios.append(own / other)
    if own / other > worst.0 { worst = (own / other, title) }
  }

  var summary: String {
    "makespan \(Self.mean(makespan)) over \(makespan.count) cases, worst \(Self.round(worst.makespan.0)) (\(worst.makespan.1)); "
      + "money \(Self.mean(money)) over \(money.count), worst \(Self.round(worst.money.0)), in all "
      + "\(Self.round(moneySums.0 / moneySums.1)); bytes \(Self.mean(bytes)) over \(bytes.count), worst "
      + "\(Self.round(worst.bytes.0)), in all \(Self.round(byteSums.0 / byteSums.1))"
  }

  private static func mean(_ ratios: [Double]) -> String {
    guard !ratios.isEmpty else { return "-" }
    return round(exp(ratios.reduce(0) { $0 + log($1) } / Double(ratios.count)))
  }

  static func round(_ value: Double) -> String { String(format: "%.3f", value) }
}

/// Money at an equal deadline, over all cases of one data scale.
private struct MoneyAtDeadline {
  var cases = 0
  var ours = 0.0
  var blind = 0.0
  var dearer = 0
  var late = 0

  var summary: String {
    "planned with data-blind's makespan as deadline: \(cases) cases, money in all \(Ratios.round(ours / blind)), dearer in "
      + "\(dearer), late in \(late)"
  }
}

extension Platform {
  /// Whether anything costs money there.
  fileprivate var hasPrices: Bool { sites.contains { $0.compute.pricePerSecond > 0 || $0.compute.egressPerByte > 0 } }
}
