import FederationModel
import Testing
import WorkflowCore

@Suite("The block onPreempt")
struct PreemptionHookTests {
  private func document(_ hook: String, common: String = "") -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: w}
    spec:
      entrypoint: main
      \(common.isEmpty ? "" : "federation: {onPreempt: \(common)}")
      templates:
      - name: main
        \(hook.isEmpty ? "" : "federation: {onPreempt: \(hook)}")
        outputs: {artifacts: [{name: state, path: /data/state}]}
        container: {image: any, command: ["true"]}
    """
  }

  private func hook(_ text: String) throws -> PreemptionHook? {
    let definition = try WorkflowDefinition.decode(Array(text.utf8))
    return definition.federationHints(for: definition.spec.templates[0]).onPreempt
  }

  @Test("A hook is read, a template's over the workflow's, with Slurm's and Kubernetes' defaults")
  func reads() throws {
    #expect(
      try hook(document("{signal: SIGUSR1, grace: 90s, checkpoint: state}"))
        == PreemptionHook(signal: .user1, grace: .seconds(90), checkpoint: "state"))
    #expect(try hook(document("{}")) == PreemptionHook(signal: .terminate, grace: .seconds(30)))
    #expect(try hook(document("", common: "{checkpoint: state}"))?.checkpoint == "state")
    #expect(try hook(document("{grace: 1s}", common: "{checkpoint: state}"))?.checkpoint == nil)
    #expect(try hook(document("")) == nil)
  }

  @Test(
    "What cannot be honoured is refused, with its place",
    arguments: [
      ("{signal: SIGKILL}", "signal"), ("{signal: USR1}", "signal"), ("{grace: 2h}", "at most ten minutes"),
      ("{checkpoint: stat}", "there is none called \"stat\""), ("{command: [save]}", "command"),
    ])
  func refuses(hook text: String, reason: String) throws {
    let error = #expect(throws: DocumentErrors.self) { try hook(document(text)) }
    #expect("\(try #require(error))".contains(reason), "\(error!)")
  }
}
