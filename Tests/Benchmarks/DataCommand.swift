internal import ArgumentParser
internal import FederationAPI
internal import FederationHarness
internal import FederationModel
internal import Foundation
internal import TestSupport

/// Data sets of many small files: what a put takes, and what staging them on a cluster takes, against `cp -r` of the same tree.
struct DataCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "data", abstract: "Put and staging of a data set of many small files, against cp -r.")
  @OptionGroup var options: BenchOptions
  @Option(help: "Files of the data set.") var files = 100_000
  @Option(help: "Bytes of each.") var bytes = 1024

  func run() async throws {
    try await DataBench.with(options) { bench in
      var (copied, put, staged, again): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
      for round in 0..<options.repeats {
        // Files of its own for each round: what the repository has already is not sent.
        let (name, tree) = ("small-\(round)", bench.federation.path("small-\(round)"))
        try write(tree)
        copied.append(try await bench.seconds(["/bin/cp", "-r", tree, tree + "-copy"]))
        put.append(try await bench.fubini("dataset", "put", name, tree, "--create"))
        staged.append(try await bench.staged(name))
        again.append(try await bench.fubini("dataset", "put", name, tree))
        for path in [tree, tree + "-copy"] { try FileManager.default.removeItem(atPath: path) }
      }
      for (name, values) in [
        ("cp -r", copied), ("put", put), ("staging on a cluster", staged), ("put of the same again", again),
      ] {
        Report.figure("\(name), \(files) files of \(bytes) bytes", values, "s", digits: 1)
        Report.line(name, "\(Int(Double(files) / Statistics.median(values))) files/s")
      }
    }
  }

  init() {}
  init(files: Int, bytes: Int) {
    self.files = files
    self.bytes = bytes
  }

  /// Random bytes, 1,000 files a directory.
  func write(_ tree: String) throws {
    guard let random = FileHandle(forReadingAtPath: "/dev/urandom") else { throw HarnessError("no /dev/urandom") }
    for start in stride(from: 0, to: files, by: 1000) {
      let directory = "\(tree)/d\(start / 1000)"
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      let count = min(1000, files - start)
      let all = try random.read(upToCount: count * bytes) ?? Data()
      for number in 0..<count {
        let file = Data(all[number * bytes..<(number + 1) * bytes])
        try file.write(to: URL(fileURLWithPath: "\(directory)/f\(number)"))
      }
    }
  }
}

/// One large file from an S3 origin on the loopback, staged by an agent, against `rclone copy` of the same in the same run.
struct StagingCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "staging", abstract: "Staging from an S3 origin by an agent, against rclone copy.")
  @OptionGroup var options: BenchOptions
  @Option(help: "MiB of the data set.") var mebibytes = 1024
  @Option(help: "Files of the data set.") var files = 1
  @Option(help: "A rclone with `serve s3` (1.65 or newer); the agent uses the one of PATH.") var s3: String

  func run() async throws {
    try await DataBench.with(options) { bench in
      let federation = bench.federation
      let store = federation.path("s3")
      try await bench.write(store + "/bench/in", mebibytes: mebibytes, files: files)
      let port = try FreePort.next()
      let keys = ("AKIABENCH", "not-so-secret")
      let server = try OwnedProcess.spawn(
        [
          s3, "serve", "s3", store, "--config", "", "--addr", "127.0.0.1:\(port)", "--auth-key", "\(keys.0),\(keys.1)",
          "--vfs-cache-mode", "off",
        ], log: federation.log("s3"))
      for (field, value) in [("accessKeyId", keys.0), ("secretAccessKey", keys.1)] {
        try Data(value.utf8).write(to: URL(fileURLWithPath: federation.path(field)))
      }
      _ = try await bench.fubini(
        "secret", "set", "bench", "--file", "accessKeyId=\(federation.path("accessKeyId"))", "--file",
        "secretAccessKey=\(federation.path("secretAccessKey"))")
      let endpoint = "http://127.0.0.1:\(port)"
      try await compare(bench, endpoint, keys)
      await server.end()
    }
  }

  private func compare(_ bench: DataBench, _ endpoint: String, _ keys: (String, String)) async throws {
    let remote =
      ":s3,provider=Other,access_key_id=\(keys.0),secret_access_key=\(keys.1),region=us-east-1,force_path_style=true,"
      + "endpoint='\(endpoint)':bench/in"
    var (staged, copied, synced): ([Double], [Double], [Double]) = ([], [], [])
    for round in 0..<options.repeats {
      let name = "large-\(round)"
      _ = try await bench.fubini(
        "dataset", "create", name, "--origin", "s3://bench/in?endpoint=\(endpoint)&region=us-east-1", "--secret",
        "bench")
      _ = try await bench.fubini("dataset", "put", name, "--from-origin", "--wait")
      let target = bench.federation.path("copy-\(round)")
      copied.append(
        try await bench.seconds([
          "/usr/bin/env", "-u", "AWS_CA_BUNDLE", "rclone", "--config", "", "copy", "--transfers", "8", remote, target,
        ]))
      synced.append(copied.last! + (try await bench.seconds(["/usr/bin/sync", "-f", target])))
      try FileManager.default.removeItem(atPath: target)
      staged.append(try await bench.staged(name))
      _ = try await bench.fubini("dataset", "rm", name, "-y")
    }
    let size = Double(mebibytes)
    Report.figure("rclone copy of \(mebibytes) MiB from S3", copied.map { size / $0 }, "MiB/s")
    Report.figure(
      "staging \(mebibytes) MiB from S3 by an agent, verified and synced", staged.map { size / $0 }, "MiB/s")
    Report.figure("the same, and then sync -f", synced.map { size / $0 }, "MiB/s")
    Report.line(
      "staging / rclone copy and sync", "\(Int(100 * Statistics.median(synced) / Statistics.median(staged))) %")
    Report.line(
      "staging / rclone copy", "\(Int(100 * Statistics.median(copied) / Statistics.median(staged))) %")
  }
}

/// A control plane and one agent, or more, whose caches are empty.
struct DataBench: Sendable {
  static let cluster = "one"
  let federation: Federation

  /// - Parameter clusters: where there are several, each has a label `name`, and shows its cache to the others.
  static func with(
    _ options: BenchOptions, clusters: [String] = [cluster], _ body: @Sendable (DataBench) async throws -> Void
  ) async throws {
    var federation = FederationOptions()
    federation.agents = try clusters.map { name in
      guard clusters.count > 1 else { return .init(name) }
      var agent = FederationOptions.Agent(name, labels: ["name": name])
      let port = try FreePort.next()
      agent.keys = ["export": "{listen: \"127.0.0.1:\(port)\", url: \"https://127.0.0.1:\(port)\"}"]
      return agent
    }
    federation.agentLease = 15
    federation.leaderLease = 6
    federation.logLevel = "warning"
    try await Federation.with(federation, binaries: options.directory) { try await body(DataBench(federation: $0)) }
  }

  /// Runs a program, and returns how long it took.
  func seconds(_ command: [String]) async throws -> Double {
    let log = federation.log("bench")
    let began = ContinuousClock.now
    let code = try await OwnedProcess.run(command, log: log, timeout: .seconds(600))
    let took = (ContinuousClock.now - began).seconds
    guard code == 0 else { throw HarnessError("\(command[0]) ended with \(code):\n\(LogTail.of(log))") }
    return took
  }

  /// The same of the command line.
  func fubini(_ arguments: String...) async throws -> Double {
    let began = ContinuousClock.now
    let (code, output) = try await federation.fubini(arguments, timeout: .seconds(600))
    let took = (ContinuousClock.now - began).seconds
    guard code == 0 else { throw HarnessError("fubini \(arguments.joined(separator: " ")): \(output)") }
    return took
  }

  /// Seconds from the order to the moment at which the control plane knows that all of a data set is there.
  func staged(_ name: String, on cluster: String = Self.cluster) async throws -> Double {
    _ = try await fubini("prefetch", name, "--cluster", cluster, "--wait")
    let list: TransferList = try await federation.client().get("/v1/projects/default/transfers?limit=1")
    guard let transfer = list.items.first, transfer.key.contains("/\(name)@"), let end = transfer.finishedAt else {
      throw HarnessError("no transfer of \(name) was the last one")
    }
    return Double(end.timestamp.milliseconds - transfer.createdAt.timestamp.milliseconds) / 1000
  }

  func write(_ directory: String, mebibytes: Int, files: Int) async throws {
    let script =
      "mkdir -p \"$0\" && for n in $(seq \(files)); do head -c \((mebibytes << 20) / files) /dev/urandom >\"$0/f$n\"; done"
    _ = try await seconds(["/bin/sh", "-c", script, directory])
  }
}
