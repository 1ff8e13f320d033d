import FederationModel
import WorkflowCore

/// More is not taken of a class that already has more waiting than will be served in its time: whoever asks is told when to come back.
extension ControlPlaneCore {
  /// Fewer waiting tasks than these are always taken: what is small is soon over, whatever the last minutes say.
  private static var backlogMin: Int { 1000 }
  private static var retryAfterMax: Duration { .seconds(3600) }

  /// - Throws: `.resourceExhausted` with when it is expected to be worth trying again.
  func admitClasses(of definition: WorkflowDefinition) throws {
    let classes = Set(
      definition.spec.templates.filter(\.isTask).map { definition.federationHints(for: $0).priorityClass })
    for priorityClass in classes.sorted() {
      guard let limit = configuration.backlogLimits[priorityClass],
        backlog.waiting(priorityClass) >= Self.backlogMin, let wait = backlog.expectedWait(priorityClass), wait > limit
      else { continue }
      throw FederationError(
        .resourceExhausted,
        "so many tasks of class \(priorityClass.rawValue) wait that the last of them waits for about \(Int64(wait.seconds)) s; "
          + "more of that class is taken when that is under \(Int64(limit.seconds)) s",
        retryAfter: min(max(wait - limit, .seconds(1)), Self.retryAfterMax))
    }
  }
}
