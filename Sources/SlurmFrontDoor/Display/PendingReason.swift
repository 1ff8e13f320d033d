/// Why a job waits, as `squeue` has it in its last column: Slurm's words where it has one, and ours.
public enum PendingReason {
  public static let held = "JobHeldUser"
  public static let dependency = "Dependency"
  public static let dependencyNever = "DependencyNeverSatisfied"
  public static let beginTime = "BeginTime"
  public static let arrayLimit = "JobArrayTaskLimit"
  public static let priority = "Priority"
  public static let resources = "Resources"
  public static let budget = "Budget"
  public static let agentOffline = "AgentOffline"
  public static let staging = "Staging"
  public static let quota = "AssocGrpCPULimit"
  public static let unplaceable = "PartitionConfig"

  /// Of a run that is on a cluster already.
  ///
  /// - Parameter phase: `Bound`, `Dispatched`, `Staging` or `Queued`.
  public static func placed(phase: String, isAgentAway: Bool) -> String {
    if isAgentAway { return agentOffline }
    return switch phase {
    case "Staging": staging
    case "Queued": resources
    default: "Prolog"
    }
  }

  /// Of a task that no cluster has taken yet, by the codes with which clusters reject it.
  ///
  /// - Parameters:
  ///   - codes: of all clusters; nil for one that would take it.
  ///   - isUnplaceable: whether none ever will.
  public static func waiting(codes: [String?], isUnplaceable: Bool) -> String {
    let said = codes.compactMap { $0 }
    if codes.isEmpty { return agentOffline }
    // One cluster that would take it, and has not yet: others are before it.
    if said.count < codes.count { return priority }
    if said.contains("OverBudget") { return budget }
    if said.contains("OverQuota") { return quota }
    if said.contains(where: { ["Full", "KeptForGang", "HeldForBetter"].contains($0) }) { return resources }
    if said.contains(where: { ["KeptForHigherClass", "HeldForRealtime"].contains($0) }) { return priority }
    // Cordoned and drained ones are closed as well; the message says which it is.
    if said.contains("Closed") { return agentOffline }
    return isUnplaceable ? unplaceable : resources
  }
}
