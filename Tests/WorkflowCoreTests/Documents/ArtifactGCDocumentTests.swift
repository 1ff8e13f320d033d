import FederationModel
import Testing

@testable import WorkflowCore

@Suite("artifactGC in documents")
struct ArtifactGCDocumentTests {
  private func document(_ workflow: String, _ artifact: String) -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: w}
    spec:
      entrypoint: main
      artifactGC: \(workflow)
      templates:
      - name: main
        outputs: {artifacts: [{name: o, path: /o, artifactGC: \(artifact)}]}
        container: {image: any, command: ["true"]}
    """
  }

  @Test(
    "The artifact's own strategy counts, else the workflow's; an empty one is none",
    arguments: [
      ("{strategy: OnWorkflowDeletion}", "{}", ArtifactGCStrategy.onWorkflowDeletion, false),
      ("{strategy: OnWorkflowDeletion}", "{strategy: Never}", .never, false),
      ("{strategy: Never}", "{strategy: OnWorkflowCompletion}", .onWorkflowCompletion, true),
      ("{strategy: OnWorkflowCompletion}", "{strategy: ''}", .onWorkflowCompletion, true),
      ("{}", "{}", nil, false),
      (
        "{strategy: OnWorkflowCompletion, forceFinalizerRemoval: true, serviceAccountName: gc, podMetadata: {labels: {a: b}}}",
        "{serviceAccountName: gc}", .onWorkflowCompletion, true
      ),
    ] as [(String, String, ArtifactGCStrategy?, Bool)])
  func strategies(_ workflow: String, _ artifact: String, _ expected: ArtifactGCStrategy?, _ collects: Bool) throws {
    let definition = try WorkflowDefinition.decode(Array(document(workflow, artifact).utf8))
    #expect(definition.collection(of: "o", in: definition.spec.templates[0]) == expected)
    #expect(definition.collectsOnCompletion == collects)
    let restored = try WorkflowDefinition(json: definition.canonicalJSON)
    #expect(restored.collection(of: "o", in: restored.spec.templates[0]) == expected)
  }

  @Test(
    "What cannot be obeyed is refused by name",
    arguments: [
      ("{strategy: Sometimes}", "{}", "OnWorkflowCompletion, OnWorkflowDeletion, Never"),
      ("{}", "{strategy: OnPodDeletion}", "OnWorkflowCompletion, OnWorkflowDeletion, Never"),
      ("{podSpecPatch: '{}'}", "{}", "no pod collects artifacts here"), ("{}", "{podSpecPatch: '{}'}", "unknown field"),
      ("{strategies: Never}", "{}", "unknown field"),
    ])
  func refusals(_ workflow: String, _ artifact: String, _ words: String) throws {
    let error = #expect(throws: DocumentErrors.self) {
      try WorkflowDefinition.decode(Array(document(workflow, artifact).utf8))
    }
    #expect(
      error?.problems.count == 1 && error?.problems[0].message.contains(words) == true, "\(String(describing: error))")
    #expect(error?.problems.first?.path.contains("artifactGC") == true)
  }
}
