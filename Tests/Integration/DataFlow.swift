import FederationAPI
import FederationHarness
import FederationModel
import Foundation

/// What tests of the data plane ask and arrange: data sets, transfers, where replicas are, and how long things took.
struct DataFlow: Sendable {
  static let mebibyte: Int64 = 1 << 20

  let federation: Federation
  let client: RESTClient

  init(_ federation: Federation) throws {
    self.federation = federation
    client = try federation.client()
  }

  // MARK: Arranging

  /// Joins agents one by one, starts them, and waits until all are connected.
  func join(_ agents: [FederationOptions.Agent]) async throws {
    for agent in agents {
      try await federation.join(agent)
      try federation.startAgent(agent.name)
    }
    for agent in agents { try await federation.connected(agent.name) }
  }

  /// Runs `fubini`, and returns what it said.
  ///
  /// - Throws: `HarnessError` when it ended with another code than 0.
  @discardableResult
  func fubini(_ arguments: String..., timeout: Duration = .seconds(60)) async throws -> String {
    let (code, output) = try await federation.fubini(arguments, timeout: timeout)
    guard code == 0 else {
      throw HarnessError("fubini \(arguments.joined(separator: " ")) ended with \(code): \(output)")
    }
    return output
  }

  /// Writes a tree of `files` files of random bytes, `bytes` in all, and returns its path below the federation's directory.
  func makeTree(_ name: String, bytes: Int64, files: Int = 1, in directory: String? = nil) async throws -> String {
    let path = (directory ?? federation.directory) + "/" + name
    let script =
      "mkdir -p \"$0\" && for n in $(seq \(files)); do head -c \(bytes / Int64(files)) /dev/urandom >\"$0/f$n\"; done"
    let code = try await OwnedProcess.run(["/bin/sh", "-c", script, path], log: federation.log("make-\(name)"))
    guard code == 0 else {
      throw HarnessError("\(path) cannot be made:\n\(LogTail.of(federation.log("make-\(name)")))")
    }
    return path
  }

  /// Makes a data set of random bytes and uploads it.
  func put(_ name: String, bytes: Int64, files: Int = 1) async throws {
    let path = try await makeTree("put-\(name)", bytes: bytes, files: files)
    try await fubini("dataset", "put", name, path, "--create")
  }

  /// A data set of what is at an origin now; waits until its files are listed.
  func list(_ name: String, origin: String, _ more: String..., via cluster: String? = nil) async throws {
    let created = try await federation.fubini(["dataset", "create", name, "--origin", origin] + more)
    guard created.code == 0 else { throw HarnessError("dataset create \(name): \(created.output)") }
    let listed = try await federation.fubini(
      ["dataset", "put", name, "--from-origin", "--wait"] + (cluster.map { ["--via", $0] } ?? []))
    guard listed.code == 0 else { throw HarnessError("dataset put \(name) --from-origin: \(listed.output)") }
  }

  func prefetch(_ name: String, to cluster: String) async throws {
    try await fubini("prefetch", name, "--cluster", cluster, "--wait", timeout: .seconds(120))
  }

  /// One line for all files of a tree, as `sha256sum` of a workflow's own prints it: see `digestCommand`.
  func digest(_ path: String) async throws -> String {
    let log = federation.log("digest-\(UInt32.random(in: 0 ... .max))")
    let code = try await OwnedProcess.run(["/bin/sh", "-c", Self.digestCommand("\"$0\""), path], log: log)
    guard code == 0 else { throw HarnessError("no digest of \(path)") }
    return try String(contentsOfFile: log, encoding: .utf8)
  }

  static func digestCommand(_ path: String) -> String {
    "cd \(path) && find . -type f -print0 | sort -z | xargs -0 cat | sha256sum"
  }

  /// A workflow of one task that reads a data set and prints the digest of it.
  ///
  /// - Parameters:
  ///   - more: further lines of `federation`, as a flow mapping's members.
  ///   - template: names the history of runtimes.
  static func reader(
    of dataset: String, name: String, federation more: String = "", selector: [String: String] = [:],
    template: String = "read", command: String? = nil
  ) -> String {
    task(
      command ?? digestCommand("/data/in"), name: name,
      federation: "datasets: [{name: \(dataset), mountPath: /data/in}]" + (more.isEmpty ? "" : ", \(more)"),
      selector: selector, template: template)
  }

  /// A workflow of one task that runs a command.
  static func task(
    _ command: String, name: String, federation more: String = "", selector: [String: String] = [:], template: String
  ) -> String {
    let labels = selector.map { "\($0.key): \($0.value)" }.sorted().joined(separator: ", ")
    return """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: \(template)
        templates:
        - name: \(template)
          federation: {\(more)}
          nodeSelector: {\(labels)}
          container: {image: debian:12, command: [sh, -c], args: ['\(command)']}
      """
  }

  // MARK: Asking

  /// What `fubini plan` expects of a document.
  func plan(_ document: String) async throws -> PlanDocument {
    let file = federation.path("planned-\(UInt32.random(in: 0 ... .max)).yaml")
    try document.write(toFile: file, atomically: true, encoding: .utf8)
    return try JSONDecoder().decode(PlanDocument.self, from: Data(try await fubini("plan", file, "-o", "json").utf8))
  }

  /// Waits until a workflow has succeeded.
  ///
  /// - Throws: `HarnessError` with its nodes' messages when it ended otherwise.
  func succeeded(_ name: String, timeout: Duration = .seconds(60)) async throws -> WorkflowDetail {
    let detail = try await client.finished(name, timeout: timeout)
    guard detail.summary.phase == .succeeded else {
      let nodes = detail.nodes.map { "\($0.displayName) \($0.phase.rawValue): \($0.message)" }
      throw HarnessError("\(name) ended \(detail.summary.phase.rawValue): \(nodes)")
    }
    return detail
  }

  /// The only task's run of a workflow.
  func run(of detail: WorkflowDetail, _ node: String? = nil) throws -> RunDocument {
    let found = detail.nodes.first { node == nil ? $0.run != nil : $0.displayName == node }
    guard let run = found?.run else { throw HarnessError("\(node ?? detail.summary.name) has no run") }
    return run
  }

  /// Newest first.
  func transfers() async throws -> [TransferDocument] {
    try await client.get("/v1/projects/default/transfers?limit=500", as: TransferList.self).items
  }

  /// Transfers of a data set's version, or of everything, into a cluster's cache; those into the repository are not counted.
  func inward(_ dataset: String? = nil, to cluster: String? = nil) async throws -> [TransferDocument] {
    try await transfers().filter { transfer in
      transfer.cause != "stage-out" && (cluster == nil || transfer.cluster == cluster)
        && (dataset == nil || transfer.key.hasPrefix("dataset:default/\(dataset!)@"))
    }
  }

  /// As `inward`, once every transfer that is done names its source: a run's own phase may come before its agent tells how its
  /// input came.
  func inwardWithSources(_ dataset: String? = nil, to cluster: String? = nil) async throws -> [TransferDocument] {
    var seen: [TransferDocument] = []
    try await poll("every transfer that is done names its source; seen: \(seen)", timeout: .seconds(30)) {
      seen = try await inward(dataset, to: cluster)
      return seen.allSatisfy { $0.phase != "done" || !$0.source.isEmpty }
    }
    return seen
  }

  func usage(_ dataset: String) async throws -> DatasetUsage {
    try await client.get("/v1/projects/default/datasets/\(dataset)/usage")
  }

  func caches(of dataset: String) async throws -> Set<String> { Set(try await usage(dataset).replicas.map(\.cache)) }

  func explanation(_ workflow: String, node: String? = nil) async throws -> ExplanationDocument {
    try await client.get("/v1/projects/default/workflows/\(workflow)/explain?node=\(node ?? workflow)")
  }

  /// Waits until a transfer of a data set to a cluster has moved a part of its bytes.
  func moved(_ dataset: String, to cluster: String, atLeast bytes: Int64) async throws {
    var seen: Int64 = 0
    try await poll("\(bytes) bytes of \(dataset) are on \(cluster); seen: \(seen)", timeout: .seconds(30)) {
      seen = try await inward(dataset, to: cluster).first?.movedBytes ?? 0
      return seen >= bytes
    }
  }

  func cacheDirectory(_ agent: String) -> String { federation.agentState(agent) + "/artifacts" }

  /// Names of what is left of transfers that were cut.
  func leftovers(_ agent: String) -> [String] {
    ["partial", "work"].flatMap { name in
      ((try? FileManager.default.contentsOfDirectory(atPath: cacheDirectory(agent) + "/" + name)) ?? [])
        .map { "\(name)/\($0)" }
    }
  }

  // MARK: Times

  /// Seconds from a run's binding to its start, and to the end of its staging.
  static func times(_ run: RunDocument) throws -> (start: Double, staging: Double) {
    guard let started = run.startedAt else { throw HarnessError("run \(run.id) never started") }
    return (started.seconds - run.boundAt.seconds, run.stagingSeconds)
  }
}

extension WireTime {
  /// Since 1970.
  var seconds: Double { Double(timestamp.milliseconds) / 1000 }
}

/// Whether a prediction is within a part of what happened. A fifth of a second is always forgiven: what a poll, a commit and a message
/// take is no part of any prediction.
func isClose(_ predicted: Double, _ happened: Double, within part: Double = 0.25) -> Bool {
  abs(predicted - happened) <= max(part * happened, 0.2)
}
