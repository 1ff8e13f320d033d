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

  /// Bytes of all versions of a project's data sets that are kept here, not at an origin.
  public func datasetStorage(of project: ProjectName) async throws -> Int64 {
    try await run(
      "SELECT coalesce(sum(bytes), 0)::int8 FROM dataset_versions WHERE project = $1 AND origin IS NULL",
      .text(project.text)
    )[0].int(0)
  }
}
