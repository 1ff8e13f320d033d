internal import ArgumentParser
internal import FederationAPI
internal import FederationHarness
internal import FederationModel
internal import Foundation
internal import Synchronization

/// Data sets that are too heavy for every `make test`, from end to end: put by the command line, staged on one cluster, from there on a
/// second one, mounted in a run, fetched back. Fails when any byte differs, when anything moved twice, or when memory or turns go beyond
/// their bounds; prints what it took, against `cp -r` and `rclone copy` of the same tree.
struct CheckDataCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-data", abstract: "100,000 small files and one of 2 GiB from end to end, with bounds.")
  @OptionGroup var options: BenchOptions
  @Option(help: "Small files.") var files = 100_000
  @Option(help: "Bytes of each.") var bytes = 1024
  @Option(help: "MiB of the large file; 0: none.") var mebibytes = 2048

  func run() async throws {
    try await DataBench.with(options, clusters: ["one", "two"]) { bench in
      if files > 0 {
        let tree = bench.federation.path("small")
        try DataCommand(files: files, bytes: bytes).write(tree)
        try await DataCheck(bench: bench, name: "small", tree: tree, files: files).run()
      }
      if mebibytes > 0 {
        let tree = bench.federation.path("large")
        try await bench.write(tree, mebibytes: mebibytes, files: 1)
        try await DataCheck(bench: bench, name: "large", tree: tree, files: 1).run()
      }
    }
  }
}

/// One data set's way.
private struct DataCheck {
  /// What any process of the federation may hold beyond what it held idle, of its own (pages of files are the system's to take back).
  static let memoryMax: Int64 = 96 << 20
  /// CPU time of the leader's longest turn.
  static let turnMax = 0.05

  let bench: DataBench
  let name: String
  let tree: String
  let files: Int
  private var federation: Federation { bench.federation }

  init(bench: DataBench, name: String, tree: String, files: Int) {
    self.bench = bench
    self.name = name
    self.tree = tree
    self.files = files
  }

  func run() async throws {
    let before = try await Turns(federation)
    let watch = try MemoryWatch(federation)
    let digest = try await digest(of: tree)
    try await compare("cp -r", ["/bin/cp", "-r", tree, federation.path("copied")])
    try await compare("rclone copy", ["/usr/bin/rclone", "--config", "", "copy", tree, federation.path("copied")])
    say("put", try await bench.fubini("dataset", "put", name, tree, "--create"))
    // The second one takes what it has seen to be faster: the repository, or the first one's cache.
    for (cluster, sources) in [("one", ["repository"]), ("two", ["one", "repository"])] {
      say("staged on \(cluster)", try await bench.staged(name, on: cluster))
      try await checkTransfer(into: cluster, from: sources)
    }
    try await mounted(digest)
    let back = federation.path("back")
    say("get", try await bench.fubini("dataset", "get", name, back))
    try require(try await self.digest(of: back) == digest, "what was fetched back has other bytes")
    try FileManager.default.removeItem(atPath: back)
    say("put of the same again", try await bench.fubini("dataset", "put", name, tree))
    for (process, growth) in await watch.end() {
      say("most memory beyond idle, \(process)", "\(growth >> 20) MiB")
      try require(growth <= Self.memoryMax, "\(process) held \(growth >> 20) MiB more than idle")
    }
    let turns = try await Turns(federation).since(before)
    say("turns", turns.summary)
    try require(turns.longest <= Self.turnMax, "a turn took \(turns.longest) s of CPU")
    _ = try await bench.fubini("dataset", "rm", name, "-y")
    try FileManager.default.removeItem(atPath: tree)
  }

  private func say(_ what: String, _ seconds: Double) { say(what, "\(Report.format(seconds, 1)) s") }
  private func say(_ what: String, _ text: String) { Report.line("\(name): \(what)", text) }

  private func require(_ isTrue: Bool, _ words: String) throws {
    guard isTrue else { throw HarnessError("\(name): \(words)\n\(federation.logs())") }
  }

  private func compare(_ what: String, _ command: [String]) async throws {
    let copy = try await bench.seconds(command)
    let synced = copy + (try await bench.seconds(["/usr/bin/sync", "-f", federation.path("copied")]))
    say(what, "\(Report.format(copy, 1)) s, on the disk after \(Report.format(synced, 1)) s")
    try FileManager.default.removeItem(atPath: federation.path("copied"))
  }

  private static func digestCommand(_ path: String) -> String {
    "cd \(path) && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum && find . -type f | wc -l"
  }

  /// Of all names and bytes, and how many files there are: as the run says it.
  private func digest(of path: String) async throws -> String {
    let log = federation.log("digest-\(UInt32.random(in: 0 ... .max))")
    let code = try await OwnedProcess.run(
      ["/bin/sh", "-c", Self.digestCommand("\"$0\""), path], log: log, timeout: .seconds(600))
    guard code == 0 else { throw HarnessError("no digest of \(path):\n\(LogTail.of(log))") }
    return try String(contentsOfFile: log, encoding: .utf8)
  }

  /// I5: one transfer into each cache, of all bytes, from where it was to come.
  private func checkTransfer(into cluster: String, from sources: [String]) async throws {
    let list: TransferList = try await federation.client().get("/v1/projects/default/transfers?limit=500")
    let found = list.items.filter { $0.cluster == cluster && $0.key.contains("/\(name)@") }
    try require(found.map(\.phase) == ["done"] && sources.contains(found[0].source), "I5: \(found)")
    let bytes = found[0].movedBytes
    say("moved to \(cluster)", "\(bytes >> 20) MiB from \(found[0].source)")
    let state = federation.agentState(cluster) + "/artifacts/partial"
    let left = try FileManager.default.contentsOfDirectory(atPath: state)
    try require(left.isEmpty, "partial files are left: \(left)")
  }

  /// A run on the second cluster sees all files and their bytes.
  private func mounted(_ digest: String) async throws {
    let client = try federation.client()
    let began = ContinuousClock.now
    _ = try await client.submit(
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: reads-\(name)}
      spec:
        entrypoint: main
        templates:
        - name: main
          federation: {datasets: [{name: \(name), mountPath: /data/in}], clusters: {labels: {name: two}}}
          container: {image: debian:12, command: [sh, -c], args: ['\(Self.digestCommand("/data/in"))']}
      """)
    let detail = try await client.finished("reads-\(name)", timeout: .seconds(600))
    try require(detail.summary.phase == .succeeded, "the run ended otherwise: \(detail.nodes.map(\.message))")
    var said = ""
    try await poll("the run's output has come", timeout: .seconds(30)) {
      said = try await client.log("reads-\(name)", node: "reads-\(name)")
      return said.count >= digest.count
    }
    try require(said == digest, "the run saw other bytes: \(said)")
    try require(said.contains("\n\(files)\n"), "\(files) files were expected: \(said)")
    let moved = detail.nodes.compactMap(\.run?.bytesIn)
    try require(moved == [0], "the run moved \(moved) bytes of what was there")
    say("a run reads all of it", (ContinuousClock.now - began).seconds)
  }
}

/// How much memory of their own control plane and agents hold at most, beyond what they held when this began.
private final class MemoryWatch: Sendable {
  private let processes: [(name: String, process: OwnedProcess, idle: Int64)]
  private let most: Mutex<[String: Int64]>
  private let isOver = Atomic(false)

  init(_ federation: Federation) throws {
    var processes = [("control plane", try federation.controlPlane(0))]
    for agent in federation.options.agents {
      processes.append(("agent \(agent.name)", try federation.agent(agent.name)))
    }
    self.processes = processes.map { ($0.0, $0.1, $0.1.anonymousMemory() ?? 0) }
    most = Mutex([:])
    Thread.detachNewThread { [self] in
      while !isOver.load(ordering: .relaxed) {
        look()
        Thread.sleep(forTimeInterval: 0.02)
      }
    }
  }

  private func look() {
    for (name, process, idle) in processes {
      let grown = (process.anonymousMemory() ?? 0) - idle
      most.withLock { $0[name] = max($0[name] ?? 0, grown) }
    }
  }

  func end() async -> [(String, Int64)] {
    isOver.store(true, ordering: .relaxed)
    look()
    return most.withLock { $0.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
  }
}
