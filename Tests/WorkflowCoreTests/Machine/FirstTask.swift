import FederationModel

@testable import WorkflowCore

/// What a workflow's first task is asked to run.
func firstTask(of document: String) throws -> TaskSpec {
  let definition = try WorkflowDefinition.decode(Array(document.utf8))
  var machine = try WorkflowMachine(
    program: try WorkflowProgram(definition),
    identity: WorkflowIdentity(name: "w", uid: "u", project: "p", createdAt: .epoch))
  guard case .launch(let node)? = machine.handle(.start, at: .epoch, limit: 10).first else {
    throw FederationError(.internal, "nothing is launched")
  }
  return try machine.taskSpec(for: node)
}
