import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Postgres
import TestSupport
import WorkflowCore

/// A store over a database of its own, with the schema applied and the first term held.
struct StoreFixture {
  let configuration: PostgresConfiguration
  let store: ControlPlaneStore
  var position: CommitPosition

  /// Runs `body` with a fresh store, and closes it whatever happens.
  static func use(_ server: PostgresServer? = nil, _ body: (inout StoreFixture) async throws -> Void) async throws {
    let configuration = try await (server ?? PostgresServer.shared()).createDatabase()
    let store = ControlPlaneStore(configuration, pool: .init(connections: 4))
    do {
      try await store.migrate()
      try await store.reconnect()
      guard
        let position = try await store.tryAcquire(
          holder: "one", address: "host:1", incarnation: 7, leaseDuration: .seconds(600))
      else { throw PostgresError(.misuse, "a fresh database has a leader already") }
      var fixture = StoreFixture(configuration: configuration, store: store, position: position)
      try await body(&fixture)
    } catch {
      await store.close()
      throw error
    }
    await store.close()
  }

  var fence: Fence { Fence(term: position.term, previous: position.sequence) }

  /// Commits, and goes on from there.
  mutating func commit(_ delta: DurableDelta) async throws {
    let next = max(position.sequence + 1, (delta.minimumSequence ?? 0) + 1)
    try await store.commit(delta, fence: Fence(term: position.term, previous: position.sequence, next: next))
    position.sequence = next
  }

  /// Puts a unit on the wire without waiting, and goes on as if it had committed.
  mutating func send(_ delta: DurableDelta) -> PendingUnit {
    let unit = store.send(delta, fence: fence)
    position.sequence += 1
    return unit
  }

  /// One value of one row, read beside the store.
  func number(_ sql: String) async throws -> Int64 {
    let connection = try await PostgresConnection.connect(configuration)
    do {
      let value = try await connection.query(sql)[0].int(0)
      await connection.close()
      return value
    } catch {
      await connection.close()
      throw error
    }
  }

  func script(_ statements: String...) async throws {
    let connection = try await PostgresConnection.connect(configuration)
    do {
      try await connection.script(statements)
      await connection.close()
    } catch {
      await connection.close()
      throw error
    }
  }
}

/// Rows with something in every field, or with as little as the types allow.
enum Sample {
  static let now = Timestamp(milliseconds: 1_700_000_000_123)
  static let artifact = StoredArtifact(
    key: "wf/n/out.tgz", size: ByteCount(17), sha256: String(repeating: "ab", count: 32), archive: .tar,
    producedOn: "edge-1")
  static let unstored = StoredArtifact(
    key: "wf/n/large.tgz", size: .mebibytes(5), sha256: String(repeating: "cd", count: 32), archive: .tar,
    producedOn: "edge-1", isUnstored: true)
  static let elsewhere = {
    var artifact = StoredArtifact(
      key: "k", size: .zero, sha256: "", archive: .none,
      origin: DataOrigin(uri: "s3://b/k?region=r", secret: "lab", fields: ["accessKeyId": "id"]))
    artifact.subPath = "deep/f"
    return artifact
  }()
  static let outputs = TaskOutputs(
    result: "a\u{0}b \u{1F9EA}", parameters: ["p": "1"], artifacts: ["out": artifact, "far": elsewhere])

  static func workflow(_ id: Int64, phase: NodePhase = .running) -> WorkflowRow {
    WorkflowRow(
      id: WorkflowID(id), uid: "uid-\(id)", project: "p", name: "wf-\(id)", document: "{\"spec\":{}}",
      labels: ["team": "a", "quote\"": "\\"],
      status: WorkflowStatus(phase: phase, message: "m", startedAt: now, outputs: outputs), createdAt: now,
      createdBy: "user", generation: 3)
  }

  static func node(_ workflow: Int64, _ ordinal: Int32, phase: NodePhase = .running) -> NodeRow {
    var record = NodeRecord(
      id: NodeID(ordinal), name: "wf[0].s(\(ordinal):a)", displayName: "s", type: .pod, role: .step, phase: phase,
      templateName: "t", parent: ordinal > 0 ? NodeID(0) : nil, boundary: NodeID(0), step: 2, item: 4,
      upstream: ordinal > 1 ? [NodeID(0), NodeID(1)] : [],
      inputs: NodeInputs(
        parameters: [NodeParameter(name: "x", value: "y")],
        artifacts: [
          NodeArtifact(name: "i", source: .stored(artifact)), NodeArtifact(name: "r", source: .raw("bytes\n")),
          NodeArtifact(name: "none", source: .absent),
        ]))
    record.hasBegun = true
    record.isSuperseded = true
    record.message = "why"
    record.startedAt = now
    record.finishedAt = now + .seconds(1)
    record.itemJSON = "{\"a\":1}"
    record.outputs = outputs
    record.exitCode = 137
    record.hostCluster = "edge-1"
    record.runsAs = "host"
    record.cancelReason = "asked"
    record.wakeAt = now + .seconds(60)
    record.isEndPending = true
    record.expansion = NodeExpansion(step: 3, items: "[1,\"a\"]")
    record.restarts = 3
    record.checkpoints = ["state": artifact]
    record.isHeldWhole = true
    record.daemon = NodeDaemon(address: "10.0.0.7", isReady: true, isOfCluster: true)
    return NodeRow(workflow: WorkflowID(workflow), record: record)
  }

  static func artifactRow(_ workflow: Int64, _ ordinal: Int32, _ name: String) -> ArtifactRow {
    ArtifactRow(
      task: TaskID(workflow: WorkflowID(workflow), node: NodeID(ordinal)), name: name, workflowUID: "uid-\(workflow)",
      project: "p", stored: artifact, createdAt: now)
  }

  static func agent(_ name: ClusterName) -> AgentRow {
    AgentRow(
      cluster: name, version: "1.2.3", journal: "j-\(name)", joinedAt: now, seenAt: now + .seconds(4),
      inventory: ClusterInventory(
        capacity: Resources(cpuMillicores: 4000, memory: ByteCount(1 << 33), gpus: 1, gpuType: "a100"), slots: 8,
        images: [ImageRule(pattern: "*", runsAs: "host")], gpuTypes: ["a100"], canFence: true, notices: ["n"]))
  }

  static func bareNode(_ workflow: Int64, _ ordinal: Int32) -> NodeRow {
    NodeRow(
      workflow: WorkflowID(workflow),
      record: NodeRecord(
        id: NodeID(ordinal), name: "wf", displayName: "wf", type: .dag, role: .entrypoint, phase: .pending))
  }

  static func run(_ id: Int64, _ workflow: Int64, _ ordinal: Int32, epoch: Int32 = 1, phase: RunPhase = .running)
    -> RunRow
  {
    var row = RunRow(
      id: RunID(id), task: TaskID(workflow: WorkflowID(workflow), node: NodeID(ordinal)), epoch: epoch,
      cluster: "edge-1", phase: phase, boundAt: now, dispatchedAt: now + .seconds(1), startedAt: now + .seconds(2),
      finishedAt: now + .seconds(3), exitCode: -1, message: "m", cancelReason: "c", isUnaccounted: true,
      explanation: 9,
      quote: PriceSheet(currency: "CNY", coreHour: 0.1, gibibyteHour: 2, gpuHour: 3, egressGibibyte: 4),
      egress: [EgressQuote(source: "a", gibibyte: 0.1, planned: ByteCount(1 << 40), moved: ByteCount(3))],
      priorityClass: .offline,
      resources: Resources(cpuMillicores: 1500, memory: ByteCount(1 << 40), gpus: 2, gpuType: "a100"),
      program: -7, inputBytes: ByteCount(9), charge: Amount(micros: 12),
      bytesIn: ByteCount(5), bytesOut: ByteCount(6), stagingMilliseconds: 7, wallMilliseconds: 8, runsAs: "sha256:1")
    row.preemptedFor = TaskID(workflow: WorkflowID(workflow), node: NodeID(7))
    row.cause = .outOfMemory
    row.quote?.partition = "a100"
    row.spot = SpotTerms(
      bid: phase == .running ? Money("3 CNY") : nil, bound: .milliseconds(1500), notice: .seconds(9),
      isEvicted: phase != .running)
    return row
  }

  static func bareRun(_ id: Int64, _ workflow: Int64, _ ordinal: Int32, epoch: Int32 = 1) -> RunRow {
    RunRow(
      id: RunID(id), task: TaskID(workflow: WorkflowID(workflow), node: NodeID(ordinal)), epoch: epoch,
      cluster: "edge-1", boundAt: now)
  }

  static func cluster(_ name: ClusterName, prices: PriceSheet? = nil) -> ClusterRow {
    ClusterRow(
      spec: ClusterSpec(name: name, kind: .slurm, labels: ["region": "cn"], prices: prices, project: "p"),
      createdAt: now, cordonReason: "why", isDraining: true, revokedAt: now, journal: "j", ackedSequence: 44,
      isAdopting: true)
  }
}
