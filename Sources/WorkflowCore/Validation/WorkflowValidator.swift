/// Checks what a document's parts say about each other.
struct WorkflowValidator {
  let workflow: DocumentReader.Workflow
  let root: DocumentNode
  private(set) var problems: [DocumentProblem] = []
  private(set) var omittedCount = 0

  init(workflow: DocumentReader.Workflow, root: DocumentNode) {
    self.workflow = workflow
    self.root = root
  }

  mutating func validate() {
  }
}
