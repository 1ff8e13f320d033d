public import ControlPlaneCore
public import FederationModel
import Postgres

/// What a list shows of a data set beside its own row.
public struct DatasetSummary: Hashable, Sendable {
  public var row: DatasetRow
  public var versions: Int
  /// The newest that can be read; nil: there is none.
  public var latest: DatasetVersionRow?
  public init(row: DatasetRow, versions: Int, latest: DatasetVersionRow?) {
    self.row = row
    self.versions = versions
    self.latest = latest
  }
}

/// Data sets, replicas and transfers, for the API.
extension ControlPlaneStore {
  /// By name.
  ///
  /// - Parameters:
  ///   - after: the name that the page before ended with.
  ///   - name: that one alone.
  public func datasets(
    of project: ProjectName, named name: String? = nil, after: String = "", limit: Int = 500
  ) async throws -> [DatasetSummary] {
    let rows = try await run(
      "\(RowDecoder.datasets) WHERE project = $1 AND removed_ms IS NULL AND name NOT LIKE '.%' AND name > $2 AND ($3::text IS NULL OR name = $3) ORDER BY name LIMIT $4",
      .text(project.text), .text(after), .text(name), .int8(Int64(limit))
    ).rows.map(RowDecoder.dataset)
    guard !rows.isEmpty else { return [] }
    let names = PostgresValue.texts(rows.map(\.spec.name))
    var counts: [String: Int] = [:]
    for row in try await run(
      "SELECT name, count(*) FROM dataset_versions WHERE project = $1 AND name = ANY ($2) GROUP BY name",
      .text(project.text), names
    ).rows { counts[try row.text(0)] = Int(try row.int(1)) }
    var latest: [String: DatasetVersionRow] = [:]
    for row in try await run(
      """
      \(RowDecoder.versions) WHERE (project, name, version) IN (
        SELECT project, name, max(version) FROM dataset_versions
        WHERE project = $1 AND name = ANY ($2) AND phase = 'ready' GROUP BY project, name)
      """, .text(project.text), names
    ).rows.map(RowDecoder.version) { latest[row.dataset.name] = row }
    return rows.map {
      DatasetSummary(row: $0, versions: counts[$0.spec.name] ?? 0, latest: latest[$0.spec.name])
    }
  }

  /// Newest first.
  public func datasetVersions(of dataset: DatasetReference) async throws -> [DatasetVersionRow] {
    try await run(
      "\(RowDecoder.versions) WHERE project = $1 AND name = $2 ORDER BY version DESC", .text(dataset.project.text),
      .text(dataset.name)
    ).rows.map(RowDecoder.version)
  }

  /// - Parameter number: nil: the newest that can be read.
  public func datasetVersion(_ number: Int32?, of dataset: DatasetReference) async throws -> DatasetVersionRow? {
    try await run(
      """
      \(RowDecoder.versions) WHERE project = $1 AND name = $2 AND CASE WHEN $3::int4 IS NULL THEN phase = 'ready'
        ELSE version = $3 END ORDER BY version DESC LIMIT 1
      """, .text(dataset.project.text), .text(dataset.name), .int4(number)
    ).rows.first.map(RowDecoder.version)
  }

  /// Where versions come from that are not uploads.
  public func origins(of keys: [DataKey]) async throws -> [DataKey: DataOrigin] {
    guard !keys.isEmpty else { return [:] }
    var origins: [DataKey: DataOrigin] = [:]
    for row in try await run("\(RowDecoder.versions) WHERE key = ANY ($1)", .texts(keys.map(\.text))).rows.map(
      RowDecoder.version)
    {
      origins[row.key] = row.origin
    }
    return origins
  }

  public func replicas(of keys: [DataKey]) async throws -> [ReplicaRow] {
    guard !keys.isEmpty else { return [] }
    return try await run(
      "\(RowDecoder.replicas) WHERE key = ANY ($1) ORDER BY key, cache", .texts(keys.map(\.text))
    ).rows.map(RowDecoder.replica)
  }

  /// Newest first.
  ///
  /// - Parameters:
  ///   - isOpen: only what is not over.
  ///   - before: what the page before ended with.
  public func transfers(
    of project: ProjectName, isOpen: Bool = false, before: (createdAt: Timestamp, id: TransferID)? = nil,
    limit: Int = 100
  ) async throws -> [TransferRow] {
    // Ids are not in the order of time: their upper bits are drawn anew by each leader.
    try await run(
      """
      \(RowDecoder.transfers) WHERE project = $1 AND (NOT $2 OR finished_ms IS NULL)
        AND ($3::int8 IS NULL OR (created_ms, id) < ($3, $4)) ORDER BY created_ms DESC, id DESC LIMIT $5
      """, .text(project.text), .bool(isOpen), .int8(before?.createdAt.milliseconds), .int8(before?.id.number),
      .int8(Int64(limit))
    ).rows.map(RowDecoder.transfer)
  }

  /// Of one project: a transfer of another is not there.
  public func transfers(_ ids: [TransferID], of project: ProjectName) async throws -> [TransferRow] {
    guard !ids.isEmpty else { return [] }
    return try await run(
      "\(RowDecoder.transfers) WHERE project = $1 AND id = ANY ($2)", .text(project.text), .int8s(ids.map(\.number))
    ).rows.map(RowDecoder.transfer)
  }
}
