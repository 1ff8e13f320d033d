internal import ControlPlaneCore
public import FederationModel
import Postgres

extension ControlPlaneStore {
  /// What a project's runs that are not over have now, by cluster.
  public func resourceUse(of project: ProjectName) async throws -> [ClusterName: ResourceUse] {
    let rows = try await run(
      """
      SELECT cluster, sum(cpu_millicores)::int8, sum(gpus)::int8, sum(memory_bytes)::int8, count(*)
      FROM workflows JOIN runs ON workflow_id = workflows.id
      WHERE project = $1 AND (workflows.phase IN ('Pending', 'Running') OR deletion_requested) AND runs.phase < 5
      GROUP BY cluster ORDER BY cluster
      """, .text(project.text))
    return Dictionary(
      uniqueKeysWithValues: try rows.rows.map { row in
        var use = ResourceUse()
        (use.cpuMillicores, use.gpus) = (try row.int(1), try row.int(2))
        (use.memoryBytes, use.runs) = (try row.int(3), try row.int(4))
        return (ClusterName(try row.text(0)), use)
      })
  }

  /// Bytes that a project keeps here: all versions of its data sets but those at an origin, and the outputs of its runs that are in the
  /// repository.
  public func storage(of project: ProjectName) async throws -> (datasets: Int64, outputs: Int64) {
    let row = try await run(
      """
      SELECT (SELECT coalesce(sum(bytes), 0)::int8 FROM dataset_versions WHERE project = $1 AND origin IS NULL),
        (SELECT coalesce(sum(size_bytes), 0)::int8 FROM artifacts
          WHERE project = $1 AND NOT is_unstored AND deleted_ms IS NULL)
      """, .text(project.text))[0]
    return (try row.int(0), try row.int(1))
  }

  /// What a project may keep here; nil: there is no limit.
  public func storageLimit(of project: ProjectName) async throws -> Int64? {
    try await projects().first { $0.name == project }?.limits.storageBytes
  }
}
