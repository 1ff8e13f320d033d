public import ControlPlaneCore
public import FederationModel
import Postgres

extension ControlPlaneStore {
  /// Whose run it is, or was, on that cluster; nil for any other. What a cluster may read and write follows from this.
  public func access(of id: RunID, on cluster: ClusterName) async throws -> RunAccess? {
    let rows = try await run(
      """
      SELECT w.project, w.uid, n.name FROM runs r
      JOIN workflows w ON w.id = r.workflow_id
      JOIN nodes n ON n.workflow_id = r.workflow_id AND n.ordinal = r.ordinal
      WHERE r.run_id = $1 AND r.cluster = $2
      """, .int8(id.number), .text(cluster.text))
    return try rows.rows.first.map {
      RunAccess(project: ProjectName(try $0.text(0)), workflowUID: try $0.text(1), nodeName: try $0.text(2))
    }
  }
}
