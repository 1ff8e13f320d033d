public import FederationModel
import Postgres

/// What a name of a job file's `machine_type` stands for.
public struct MachineTypeRow: Hashable, Sendable {
  public var name: String
  public var cpus: Int64
  public var memoryMebibytes: Int64
  public var gpus: Int64
  public var gpuType: String?
  /// nil: any cluster.
  public var partition: String?
  public var changedAt: Timestamp
  public var changedBy: String
  public init(
    name: String, cpus: Int64, memoryMebibytes: Int64, gpus: Int64, gpuType: String?, partition: String?,
    changedAt: Timestamp, changedBy: String
  ) {
    self.name = name
    self.cpus = cpus
    self.memoryMebibytes = memoryMebibytes
    self.gpus = gpus
    self.gpuType = gpuType
    self.partition = partition
    self.changedAt = changedAt
    self.changedBy = changedBy
  }
}

/// The core does not know them: a submission says what its type stood for then.
extension ControlPlaneStore {
  /// By name.
  public func machineTypes() async throws -> [MachineTypeRow] {
    try await run(
      """
      SELECT name, cpus, memory_mib, gpus, gpu_type, partition, changed_ms, changed_by FROM machine_types ORDER BY name
      """
    ).rows.map { row in
      MachineTypeRow(
        name: try row.text(0), cpus: try row.int(1), memoryMebibytes: try row.int(2), gpus: try row.int(3),
        gpuType: try row.optionalText(4), partition: try row.optionalText(5), changedAt: try RowDecoder.time(row, 6),
        changedBy: try row.text(7))
    }
  }

  /// Adds a type or replaces it, and notes that in the audit log, in one statement.
  public func put(_ type: MachineTypeRow, from address: String = "") async throws {
    _ = try await run(
      """
      WITH put AS (
        INSERT INTO machine_types (name, cpus, memory_mib, gpus, gpu_type, partition, changed_ms, changed_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (name) DO UPDATE SET cpus = excluded.cpus, memory_mib = excluded.memory_mib, gpus = excluded.gpus,
          gpu_type = excluded.gpu_type, partition = excluded.partition, changed_ms = excluded.changed_ms,
          changed_by = excluded.changed_by
        RETURNING 1)
      INSERT INTO audit (at_ms, actor, action, object, detail, address)
      SELECT $7, $8, 'machine-type.set', $1, $9, $10 FROM put
      """, .text(type.name), .int8(type.cpus), .int8(type.memoryMebibytes), .int8(type.gpus), .text(type.gpuType),
      .text(type.partition), .int8(type.changedAt.milliseconds), .text(type.changedBy),
      .text("\(type.cpus) CPUs, \(type.memoryMebibytes) MiB, \(type.gpus) GPUs"), .text(address))
  }

  /// - Returns: false when there is none.
  public func removeMachineType(
    _ name: String, by user: String, from address: String = "", at now: Timestamp
  ) async throws -> Bool {
    try await run(
      """
      WITH gone AS (DELETE FROM machine_types WHERE name = $1 RETURNING 1)
      INSERT INTO audit (at_ms, actor, action, object, detail, address)
      SELECT $2, $3, 'machine-type.remove', $1, '', $4 FROM gone
      """, .text(name), .int8(now.milliseconds), .text(user), .text(address)
    ).affectedRows == 1
  }
}
