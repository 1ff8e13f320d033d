import ControlPlaneCore
import FederationModel
import Postgres
import WorkflowCore

extension RowDecoder {
  static let semaphores =
    "SELECT \(DeltaEncoder.semaphoreColumns.map(\.name).joined(separator: ", ")) FROM semaphore_limits "
    + "ORDER BY project, kind, name, key"

  static func semaphore(_ row: PostgresRow) throws -> SemaphoreRow {
    SemaphoreRow(
      project: ProjectName(try row.text(0)),
      lock: LockName(
        kind: try word(try row.text(1), LockKind.self), name: try row.text(2), key: try row.text(3)),
      limit: Int(try row.int(4)))
  }

  static let memos =
    "SELECT \(DeltaEncoder.memoColumns.map(\.name).joined(separator: ", ")) FROM memos ORDER BY project, cache, key"

  static func memo(_ row: PostgresRow) throws -> MemoRow {
    MemoRow(
      name: MemoName(project: ProjectName(try row.text(0)), cache: try row.text(1), key: try row.text(2)),
      outputs: try RowJSON.decode(TaskOutputs.self, try row.text(3)), node: try row.text(4),
      workflow: try row.text(5), createdAt: try time(row, 6), hitAt: try time(row, 7))
  }
}
