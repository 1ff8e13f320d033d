import ControlPlaneCore
import FederationModel
import Postgres

/// Data sets, replicas and transfers, in the column order of `DeltaEncoder`.
extension RowDecoder {
  private static func select(_ columns: [(String, String)], _ table: String) -> String {
    "SELECT \(columns.map(\.0).joined(separator: ", ")) FROM \(table)"
  }
  static let datasets = select(DeltaEncoder.datasetColumns, "datasets")
  static let versions = select(DeltaEncoder.versionColumns, "dataset_versions")
  static let replicas = select(DeltaEncoder.replicaColumns, "replicas")
  static let transfers = select(DeltaEncoder.transferColumns, "transfers")

  static func dataset(_ row: PostgresRow) throws -> DatasetRow {
    DatasetRow(
      spec: try RowJSON.decode(DatasetSpec.self, try row.text(2)), createdAt: try time(row, 3),
      createdBy: try row.text(4), lastVersion: Int32(clamping: try row.int(5)), removedAt: try moment(row, 6))
  }

  static func version(_ row: PostgresRow) throws -> DatasetVersionRow {
    DatasetVersionRow(
      dataset: DatasetReference(project: ProjectName(try row.text(1)), name: try row.text(2)),
      number: Int32(clamping: try row.int(3)), phase: try word(try row.text(4), VersionPhase.self),
      files: try row.int(5), size: ByteCount(try row.int(6)),
      manifest: try row.optionalText(7).map { try RowJSON.decode(StoredArtifact.self, $0) },
      origin: try row.optionalText(8).map { try RowJSON.decode(DataOrigin.self, $0) },
      indexedVia: try row.optionalText(9).map { ClusterName($0) }, message: try row.text(10),
      createdAt: try time(row, 11), createdBy: try row.text(12), usedAt: try moment(row, 13),
      archive: try row.optionalText(14).map { try RowJSON.decode(DataOrigin.self, $0) },
      stored: try row.optionalText(15).map { try RowJSON.decode(StoredArtifact.self, $0) })
  }

  static func replica(_ row: PostgresRow) throws -> ReplicaRow {
    ReplicaRow(
      key: DataKey(try row.text(0)), cache: try row.text(1), size: ByteCount(try row.int(2)),
      readyAt: try time(row, 3), isPinned: try row.bool(4))
  }

  static func transfer(_ row: PostgresRow) throws -> TransferRow {
    TransferRow(
      id: TransferID(try row.int(0)), key: DataKey(try row.text(1)), project: ProjectName(try row.text(2)),
      cluster: ClusterName(try row.text(3)), cause: try word(try row.text(4), TransferCause.self),
      phase: try word(try row.text(5), TransferPhase.self), source: try row.text(6), size: ByteCount(try row.int(7)),
      moved: ByteCount(try row.int(8)), createdAt: try time(row, 9), startedAt: try moment(row, 10),
      finishedAt: try moment(row, 11), message: try row.text(12))
  }
}
