import ControlPlaneCore
import FederationModel
import Postgres
import WorkflowCore

/// Rows as they come back, in the column order of `DeltaEncoder`.
enum RowDecoder {
  static let workflows = DeltaEncoder.workflowColumns.map { $0.name == "labels" ? "labels::text" : $0.name }
    .joined(separator: ", ")
  static let nodes = DeltaEncoder.nodeColumns.map(\.name).joined(separator: ", ")
  /// Earlier releases wrote hundredths of a currency's unit.
  static let charge = "coalesce(charge_micros, charge * 10000)"
  static let runs = DeltaEncoder.runColumns.map { $0.name == "charge_micros" ? charge : $0.name }.joined(
    separator: ", ")

  static let heads = "id, uid, project, name, labels::text, status, created_ms, created_by"

  static func moment(_ row: PostgresRow, _ column: Int) throws -> Timestamp? {
    try row.optionalInt(column).map { Timestamp(milliseconds: $0) }
  }

  static func time(_ row: PostgresRow, _ column: Int) throws -> Timestamp {
    Timestamp(milliseconds: try row.int(column))
  }

  static func int32(_ row: PostgresRow, _ column: Int) throws -> Int32? {
    try row.optionalInt(column).map { Int32(clamping: $0) }
  }

  static func word<Word: RawRepresentable>(_ value: Word.RawValue, _ type: Word.Type) throws -> Word {
    guard let word = Word(rawValue: value) else {
      throw PostgresError(.decoding, "an unknown \(type) is stored: \(value)")
    }
    return word
  }

  static func workflow(_ row: PostgresRow) throws -> WorkflowRow {
    WorkflowRow(
      id: WorkflowID(try row.int(0)), uid: try row.text(1), project: ProjectName(try row.text(2)),
      name: try row.text(3),
      document: try row.text(4), labels: try RowJSON.decode([String: String].self, try row.text(5)),
      status: try RowJSON.decode(WorkflowStatus.self, try row.text(7)), createdAt: try time(row, 8),
      createdBy: try row.text(9), generation: Int32(clamping: try row.int(10)), deletionRequested: try row.bool(11),
      datasetVersions: try row.optionalText(12).map { try RowJSON.decode([String: Int32].self, $0) })
  }

  static func head(_ row: PostgresRow) throws -> WorkflowHead {
    WorkflowHead(
      id: WorkflowID(try row.int(0)), uid: try row.text(1), project: ProjectName(try row.text(2)),
      name: try row.text(3), labels: try RowJSON.decode([String: String].self, try row.text(4)),
      status: try RowJSON.decode(WorkflowStatus.self, try row.text(5)), createdAt: try time(row, 6),
      createdBy: try row.text(7))
  }

  static func node(_ row: PostgresRow) throws -> NodeRow {
    let upstream = try row.optionalInts(18) ?? []
    var record = NodeRecord(
      id: NodeID(Int32(clamping: try row.int(1))), name: try row.text(2), displayName: try row.text(3),
      type: try word(try row.text(4), NodeType.self), role: try word(UInt8(clamping: try row.int(5)), NodeRole.self),
      phase: try word(try row.text(6), NodePhase.self), templateName: try row.text(9),
      parent: try int32(row, 13).map { NodeID($0) }, boundary: try int32(row, 14).map { NodeID($0) },
      step: Int32(clamping: try row.int(15)), item: Int32(clamping: try row.int(16)),
      upstream: upstream.compactMap { $0.map { NodeID(Int32(clamping: $0)) } },
      inputs: try row.optionalText(19).map { try RowJSON.decode(NodeInputs.self, $0) } ?? NodeInputs())
    record.hasBegun = try row.bool(7)
    record.isSuperseded = try row.bool(8)
    record.message = try row.text(10)
    record.startedAt = try moment(row, 11)
    record.finishedAt = try moment(row, 12)
    record.itemJSON = try row.optionalText(17)
    record.outputs = try row.optionalText(20).map { try RowJSON.decode(TaskOutputs.self, $0) } ?? TaskOutputs()
    record.exitCode = try int32(row, 21)
    record.hostCluster = try row.optionalText(22).map { ClusterName($0) }
    record.runsAs = try row.optionalText(23)
    record.cancelReason = try row.optionalText(24)
    record.wakeAt = try moment(row, 25)
    record.isEndPending = try row.bool(26)
    record.expansion = try row.optionalText(27).map { try RowJSON.decode(NodeExpansion.self, $0) }
    record.restarts = Int32(clamping: try row.int(28))
    record.checkpoints = try row.optionalText(29).map { try RowJSON.decode([String: StoredArtifact].self, $0) } ?? [:]
    record.gate = try row.optionalText(30).map { try RowJSON.decode(NodeGate.self, $0) }
    record.isHeldWhole = try row.bool(31)
    record.daemon = try row.optionalText(32).map { try RowJSON.decode(NodeDaemon.self, $0) }
    return NodeRow(workflow: WorkflowID(try row.int(0)), record: record)
  }

  static func run(_ row: PostgresRow) throws -> RunRow {
    var run = RunRow(
      id: RunID(try row.int(0)),
      task: TaskID(workflow: WorkflowID(try row.int(1)), node: NodeID(Int32(clamping: try row.int(2)))),
      epoch: Int32(clamping: try row.int(3)), cluster: ClusterName(try row.text(4)),
      phase: try word(Int16(clamping: try row.int(5)), RunPhase.self), boundAt: try time(row, 6),
      dispatchedAt: try moment(row, 7), startedAt: try moment(row, 8), finishedAt: try moment(row, 9),
      exitCode: try int32(row, 10), message: try row.text(11), cancelReason: try row.optionalText(12),
      isUnaccounted: try row.bool(13), explanation: try row.int(14),
      quote: try row.optionalText(15).map { try RowJSON.decode(PriceSheet.self, $0) },
      egress: try row.optionalText(27).map { try RowJSON.decode([EgressQuote].self, $0) } ?? [],
      priorityClass: try row.optionalText(28).map { try word($0, PriorityClass.self) },
      resources: Resources(
        cpuMillicores: try row.int(16), memory: ByteCount(try row.int(17)), gpus: try row.int(18),
        gpuType: try row.optionalText(19)),
      program: try row.int(31), inputBytes: try row.optionalInt(26).map { ByteCount($0) },
      charge: try row.optionalInt(20).map { Amount(micros: $0) },
      bytesIn: ByteCount(try row.int(21)), bytesOut: ByteCount(try row.int(22)),
      stagingMilliseconds: try row.int(23), wallMilliseconds: try row.int(24), runsAs: try row.text(25))
    run.preemptedFor = try row.optionalInt(29).flatMap { workflow in
      try int32(row, 30).map { TaskID(workflow: WorkflowID(workflow), node: NodeID($0)) }
    }
    run.spot = try row.optionalText(32).map { try RowJSON.decode(SpotTerms.self, $0) }
    run.cause = try row.optionalText(33).map { try word($0, RunEndCause.self) }
    return run
  }

  static let events = "SELECT seq, at_ms, workflow_id, ordinal, cluster, reason, message FROM events"

  static func event(_ row: PostgresRow) throws -> NumberedEvent {
    NumberedEvent(
      sequence: try row.int(0),
      row: EventRow(
        at: try time(row, 1), workflow: try row.optionalInt(2).map { WorkflowID($0) },
        node: try int32(row, 3).map { NodeID($0) }, cluster: try row.optionalText(4).map { ClusterName($0) },
        reason: try row.text(5), message: try row.text(6)))
  }

  static let agents = """
    SELECT a.cluster, a.version, a.journal, a.joined_ms, a.seen_ms, i.document
    FROM agents a LEFT JOIN inventory i ON i.cluster = a.cluster ORDER BY a.cluster
    """

  static func agent(_ row: PostgresRow) throws -> AgentRow {
    AgentRow(
      cluster: ClusterName(try row.text(0)), version: try row.text(1), journal: try row.text(2),
      joinedAt: try time(row, 3), seenAt: try time(row, 4),
      inventory: try row.optionalText(5).map { try RowJSON.decode(ClusterInventory.self, $0) } ?? ClusterInventory())
  }

  static let artifacts = """
    SELECT workflow_id, ordinal, name, workflow_uid, project, key, size_bytes, sha256, archive, cluster, created_ms,
      is_unstored, is_remade, store_ms, collection
    FROM artifacts
    """

  static func artifact(_ row: PostgresRow) throws -> ArtifactRow {
    let stored = StoredArtifact(
      key: try row.text(5), size: ByteCount(try row.int(6)), sha256: try row.text(7),
      archive: try word(try row.text(8), ArchiveFormat.self),
      producedOn: try row.optionalText(9).map { ClusterName($0) }, isUnstored: try row.bool(11) ? true : nil)
    return ArtifactRow(
      task: TaskID(workflow: WorkflowID(try row.int(0)), node: NodeID(Int32(clamping: try row.int(1)))),
      name: try row.text(2), workflowUID: try row.text(3), project: ProjectName(try row.text(4)), stored: stored,
      createdAt: try time(row, 10), isRemade: try row.bool(12), storeBy: try moment(row, 13),
      collection: try row.optionalText(14).map { try word($0, ArtifactGCStrategy.self) })
  }

  static let clusters = """
    SELECT name, kind, labels, project, created_ms, cordon_reason, is_draining, revoked_ms, journal, acked_sequence,
      is_adopting, currency, core_hour, gibibyte_hour, gpu_hour, egress_gibibyte, class_factors,
      price_periods, storage_gibibyte_hour, spot, partitions
    FROM clusters LEFT JOIN price_sheets ON cluster = name ORDER BY name
    """

  static func cluster(_ row: PostgresRow) throws -> ClusterRow {
    var prices = try row.optionalText(11).map {
      PriceSheet(
        currency: $0, coreHour: try row.double(12), gibibyteHour: try row.double(13), gpuHour: try row.double(14),
        egressGibibyte: try row.double(15), storageGibibyteHour: try row.optionalDouble(18),
        classFactors: try row.optionalText(16).map { try RowJSON.decode([String: Double].self, $0) })
    }
    prices?.partitions = try row.optionalText(20).map { try RowJSON.decode([String: HourlyPrices].self, $0) }
    let spec = ClusterSpec(
      name: ClusterName(try row.text(0)), kind: try word(try row.text(1), ClusterKind.self),
      labels: try RowJSON.decode([String: String].self, try row.text(2)), prices: prices,
      pricePeriods: try row.optionalText(17).map { try RowJSON.decode([PricePeriod].self, $0) },
      spot: try row.optionalText(19).map { try RowJSON.decode(SpotOffer.self, $0) },
      project: try row.optionalText(3).map { ProjectName($0) })
    return ClusterRow(
      spec: spec, createdAt: try time(row, 4), cordonReason: try row.optionalText(5), isDraining: try row.bool(6),
      revokedAt: try moment(row, 7), journal: try row.optionalText(8), ackedSequence: try row.int(9),
      isAdopting: try row.bool(10))
  }
}
