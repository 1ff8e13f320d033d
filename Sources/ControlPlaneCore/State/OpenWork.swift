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

/// The assignments of a welcome that follow it slice by slice. Soft: a session that ends before begins anew with a welcome.
struct OpenWelcome: Sendable {
  var cluster: ClusterName
  var session: SessionID
  var runs: ArraySlice<RunID>
}

/// A cluster whose runs are given up slice by slice. Soft: the operator is answered when the last one is; should the leader end
/// before, the rest of the cluster is as it was, and the command is given again.
struct OpenForget: Sendable {
  var cluster: ClusterName
  var request: RequestID
  var principal: Principal
  var idempotency: IdempotencyKey?
}
