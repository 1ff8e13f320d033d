internal import ArgumentParser
internal import FederationHarness
internal import Foundation
internal import Glibc
internal import Postgres

/// How long the leader's turns are while workflows fan out: a long turn is what every other answer waits for.
struct TurnsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "turns", abstract: "Lengths of the leader's turns under large fan-outs, with the null executor.")
  @OptionGroup var options: BenchOptions
  @Option(help: "Items of a loop, and successors of one task.") var items = 10_000
  @Option(help: "Tasks of the dag.") var dag = 20_000

  func run() async throws {
    var federation = FederationOptions()
    federation.agents = (0..<3).map { .init("null-\($0)", executor: "null", slots: 4000) }
    federation.hasOwnPostgres = true
    federation.agentLease = 15
    federation.leaderLease = 6
    federation.disconnectLimit = 60
    federation.fenceMargin = 10
    federation.logLevel = "warning"
    try await Federation.with(federation, binaries: options.directory) { federation in
      let bench = Dispatch(federation: federation, connection: try await .connect(federation.database))
      let cases = [
        ("one loop of \(items) items", { (name: String) in Documents.fan(name, items) }),
        ("a dag of \(dag) tasks", { name in Documents.dag(name, dag, width: 100) }),
        ("a dag of \(dag) roots", { name in Documents.dag(name, dag, width: dag) }),
        ("a task with \(items) successors", { name in Documents.star(name, items) }),
        ("a reducer of \(items) results", { name in Documents.mapReduce(name, items) }),
        ("20 workflows of one task", { name in Documents.single(name) }),
      ]
      for (index, (title, document)) in cases.enumerated() {
        try await measure(bench, title, "t\(index)-\(getpid())", document, copies: index == cases.count - 1 ? 20 : 1)
      }
      try await stopped(bench)
      await bench.connection.close()
    }
  }

  private func measure(
    _ bench: Dispatch, _ title: String, _ name: String, _ document: (String) -> String, copies: Int
  ) async throws {
    let before = try await Turns(bench.federation)
    let began = ContinuousClock.now
    let client = try bench.federation.client()
    for copy in 0..<copies { _ = try await client.submit(document("\(name)-\(copy)"), timeout: .seconds(120)) }
    try await bench.awaitAll(name, copies, timeout: .seconds(600))
    let took = ContinuousClock.now - began
    let turns = try await Turns(bench.federation).since(before)
    Report.line(title, "\(Report.format(took.seconds, 2)) s, \(turns.summary)")
  }

  /// A stop of everything that waits is one input, too.
  private func stopped(_ bench: Dispatch) async throws {
    let name = "stop-\(getpid())"
    let client = try bench.federation.client()
    let document = Documents.fan(name, items).replacing(
      "  entrypoint: main\n", with: "  entrypoint: main\n  nodeSelector: {nobody: has-this}\n", maxReplacements: 1)
    _ = try await client.submit(document, timeout: .seconds(120))
    try await poll("all tasks wait", timeout: .seconds(120)) {
      try await bench.connection.query(
        "SELECT count(*) FROM nodes JOIN workflows w ON w.id = workflow_id WHERE w.name = $1", .text(name))[0].int(0)
        >= items
    }
    let before = try await Turns(bench.federation)
    _ = try await client.action(name, "terminate")
    try await poll("the workflow has ended", timeout: .seconds(120)) {
      try await bench.connection.query("SELECT phase FROM workflows WHERE name = $1", .text(name))[0].text(0)
        == "Failed"
    }
    Report.line("\(items) waiting tasks terminated", try await Turns(bench.federation).since(before).summary)
  }
}

/// `fubini_turn_seconds` and `fubini_turn_cpu_seconds` as the control plane reports them.
struct Turns {
  private struct Distribution {
    /// Cumulative counts by upper bound in seconds.
    var buckets: [(bound: Double, count: Double)] = []
    var sum = 0.0

    /// The bucket bound at or below which so many per cent are, in milliseconds.
    func bound(_ percent: Double) -> Double {
      let wanted = (buckets.last?.count ?? 0) * percent / 100
      return (buckets.first { $0.count >= wanted }?.bound ?? 0) * 1000
    }

    var summary: String {
      let all = buckets.last?.count ?? 0
      let short = buckets.last { $0.bound <= 0.005 }?.count ?? 0
      return "\(Report.format(sum * 1000, 0)) ms in all, p99 <= \(bound(99)) ms, max <= \(bound(100)) ms, "
        + "\(Int(all - short)) of \(Int(all)) above 5 ms"
    }
  }
  private var wall = Distribution()
  private var cpu = Distribution()
  private(set) var longest = 0.0

  init(_ federation: Federation) async throws {
    let text = try await federation.client().send("GET", "/metrics").text
    for line in text.split(separator: "\n") {
      guard let space = line.lastIndex(of: " "), let value = Double(line[line.index(after: space)...]) else { continue }
      Self.read(line, "fubini_turn_seconds", value, into: &wall)
      Self.read(line, "fubini_turn_cpu_seconds", value, into: &cpu)
      if line.hasPrefix("fubini_turn_cpu_seconds_longest") { longest = value }
    }
    guard !wall.buckets.isEmpty, !cpu.buckets.isEmpty else {
      throw HarnessError("no fubini_turn_seconds at /metrics: \(text.prefix(300))")
    }
  }

  private static func read(_ line: Substring, _ name: String, _ value: Double, into distribution: inout Distribution) {
    let prefix = "\(name)_bucket{le=\""
    if line.hasPrefix(prefix), let end = line.firstIndex(of: "}") {
      let bound = line[line.startIndex..<end].dropFirst(prefix.count).filter { $0 != "\"" }
      distribution.buckets.append((Double(bound) ?? .infinity, value))
    } else if line.hasPrefix("\(name)_sum") {
      distribution.sum = value
    }
  }

  func since(_ earlier: Turns) -> Turns {
    var difference = self
    for index in wall.buckets.indices { difference.wall.buckets[index].count -= earlier.wall.buckets[index].count }
    for index in cpu.buckets.indices { difference.cpu.buckets[index].count -= earlier.cpu.buckets[index].count }
    difference.wall.sum -= earlier.wall.sum
    difference.cpu.sum -= earlier.cpu.sum
    return difference
  }

  var summary: String {
    "CPU \(cpu.summary); by the clock \(wall.summary); the process's dearest \(Report.format(longest * 1000, 1)) ms of CPU"
  }
}
