import ArgumentParser
import FederationAPI
import Testing

@testable import fubini

@Suite struct ObjectCommandTests {
  @Test(
    "A text is submitted as one workflow unless it says that it is more, or something else",
    arguments: [
      ("kind: Workflow\nspec: {}", true), ("apiVersion: x\nkind: \"Workflow\" # mine\n", true),
      ("{\"kind\":\"Workflow\"}", true), ("no document at all", true),
      ("spec:\n  kind: inner\nkind: Workflow", true), ("kind: Workflow\n---\nkind: Workflow", false),
      ("kind: WorkflowTemplate", false), ("kind: ConfigMap\ndata: {}\n---\nkind: Workflow", false),
    ])
  func kinds(text: String, isOne: Bool) {
    #expect(WorkflowFile.isOneWorkflow(text) == isOne)
  }

  @Test("What is submitted is said once: as a file in either way, or by its name in what is stored")
  func sources() throws {
    #expect(try Submit.parse(["a.yaml"]).fileArgument == "a.yaml")
    #expect(try Submit.parse(["-f", "a.yaml"]).fileOption == "a.yaml")
    let stored = try Submit.parse(["--from", "template/build", "-p", "x=1"])
    let request = try stored.request("")
    #expect(String(decoding: request.body ?? [], as: UTF8.self).contains(#""from":"template\/build""#))
    for wrong in [[], ["a.yaml", "-f", "b.yaml"], ["a.yaml", "--from", "cron/c"]] {
      #expect(throws: (any Error).self, "\(wrong)") { try Submit.parse(wrong) }
    }
  }

  @Test("What was applied is told line by line, with its kind, place and outcome")
  func applied() {
    let list = AppliedList(items: [
      AppliedDocument(kind: "WorkflowTemplate", project: "p", name: "t", uid: "u", outcome: .changed),
      AppliedDocument(kind: "ClusterWorkflowTemplate", project: nil, name: "c", uid: "v", outcome: .created),
    ])
    #expect(AppliedText.of(list) == "WorkflowTemplate p/t: changed\nClusterWorkflowTemplate c: created\n")
  }
}
