internal import ArgumentParser
internal import FederationAPI
internal import FederationHarness
internal import Foundation
internal import Postgres

/// What a flood of one project costs another: its submissions one after the other, with and without the flood in turns. The flood is a
/// process of its own, on a core of its own where that is asked for.
struct FloodCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flood", abstract: "Submissions of one project beside a flood of another.",
    discussion: "`taskset -c 0 fubini-bench flood --load-core 1` keeps the flood off everybody else's core.")
  @OptionGroup var options: BenchOptions
  @Option(help: "Connections of the flood.") var connections = 16
  @Option(help: "Submissions that are measured in each phase.") var count = 200
  @Option(help: "The core that the flood runs on; every core when left out.") var loadCore: Int?

  func run() async throws {
    var federation = FederationOptions()
    federation.agents = []
    federation.hasOwnPostgres = true
    federation.leaderLease = 6
    federation.logLevel = "warning"
    try await Federation.with(federation, binaries: options.directory) { try await measure($0) }
  }

  private func measure(_ federation: Federation) async throws {
    let client = try federation.client()
    let _: AcceptedDocument = try await client.post("/v1/projects", ["name": "flood"])
    _ = try await submissions(client, "warm", 50)
    var quiet: [[Double]] = [], flooded: [[Double]] = [], rates: [Double] = []
    for round in 0..<options.repeats {
      quiet.append(try await submissions(client, "q\(round)", count))
      let load = try start(client)
      try await Task.sleep(for: .seconds(1))
      let (before, began) = (try await taken(federation), ContinuousClock.now)
      flooded.append(try await submissions(client, "f\(round)", count))
      rates.append(Double(try await taken(federation) - before) / (ContinuousClock.now - began).seconds)
      load.terminate()
      load.waitUntilExit()
      try await Task.sleep(for: .seconds(1))
    }
    for percent in [50.0, 99] {
      let calm = quiet.map { Statistics.percentile($0, percent) }
      let under = flooded.map { Statistics.percentile($0, percent) }
      Report.figure("submission alone, p\(Int(percent))", calm, "ms", digits: 1)
      Report.figure("submission beside the flood, p\(Int(percent))", under, "ms", digits: 1)
      Report.figure("their ratio, p\(Int(percent))", zip(under, calm).map { $0 / $1 }, "", digits: 2)
    }
    Report.figure("submissions of the flood that were taken", rates, "a second")
  }

  private func taken(_ federation: Federation) async throws -> Int64 {
    try await federation.query("SELECT count(*) FROM workflows WHERE project = 'flood'")[0].int(0)
  }

  /// Milliseconds of each.
  private func submissions(_ client: RESTClient, _ name: String, _ count: Int) async throws -> [Double] {
    var times: [Double] = []
    for index in 0..<count {
      let began = ContinuousClock.now
      _ = try await client.submit(Documents.gate("\(name)-\(index)"))
      times.append((ContinuousClock.now - began).seconds * 1000)
    }
    return times
  }

  private func start(_ client: RESTClient) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    let pinned = loadCore.map { ["taskset", "-c", "\($0)"] } ?? []
    process.arguments =
      pinned + [CommandLine.arguments[0], "flood-load", client.url, "--connections", "\(connections)"]
    process.environment = ProcessInfo.processInfo.environment.merging(["FUBINI_TOKEN": client.token ?? ""]) { $1 }
    try process.run()
    return process
  }
}

/// Submits to project `flood` until it is ended, as fast as it is answered; keeps to the Retry-After that it is told.
struct FloodLoadCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flood-load", abstract: "The load of `flood`.", shouldDisplay: false)
  @Argument var url: String
  @Option var connections = 16

  func run() async throws {
    let http = RESTClient.makeHTTPClient()
    var client = RESTClient(url: url, token: ProcessInfo.processInfo.environment["FUBINI_TOKEN"], http: http)
    client.project = "flood"
    let flooding = client
    await withTaskGroup(of: Void.self) { group in
      for worker in 0..<connections {
        group.addTask {
          var number = 0
          while true {
            number += 1
            let name = "f-\(getpid())-\(worker)-\(number)"
            let answer = try? await flooding.send(
              "POST", "/v1/projects/flood/workflows", body: Data(Documents.gate(name).utf8),
              contentType: "application/yaml")
            guard answer?.status == 429 else { continue }
            try? await Task.sleep(for: .seconds(answer?.headers["retry-after"].flatMap { Int($0) } ?? 1))
          }
        }
      }
    }
  }
}
