import FederationModel
import SchedulerCore

extension PlacementPlanner {
  /// The candidate table of a requirement by itself.
  ///
  /// - Parameter waiting: tasks that wait with the same requirement, this one among them.
  func explain(
    _ requirement: Requirement, expectedRuntime: Duration, waiting: Int = 1, on clusters: [ClusterView]
  ) -> CandidateTable {
    explain(
      PendingGroup(requirement: requirement, tasks: [], waiting: waiting, expectedRuntime: expectedRuntime),
      in: SchedulingSnapshot(clusters: clusters, groups: []))
  }
}
