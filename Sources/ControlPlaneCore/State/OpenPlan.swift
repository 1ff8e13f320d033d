import FederationModel
import SchedulerCore

/// A plan that is taken slice by slice. Soft: what of it was not taken when the core is rebuilt is planned again.
struct OpenPlan: Sendable {
  struct Key: Hashable, Sendable {
    var table: Int
    var workflow: WorkflowID
  }

  let plan: PlacementPlan
  /// The first placement that was not looked at.
  var next = 0
  /// The explanations written so far: one for each table and workflow, so that each goes with its workflow.
  var explanations: [Key: Int64] = [:]

  init(_ plan: PlacementPlan) { self.plan = plan }
}
