import FederationModel
import Testing
import WorkflowCore

/// A document of another kind around `spec` (indented by two).
func document(_ kind: String, _ name: String, _ spec: String) -> String {
  "apiVersion: argoproj.io/v1alpha1\nkind: \(kind)\nmetadata: {name: \(name)}\nspec:\n"
    + spec.split(separator: "\n", omittingEmptySubsequences: false).map { "  " + $0 }.joined(separator: "\n") + "\n"
}

func problems(ofKind text: String, strict: Bool = true) -> [DocumentProblem] {
  do throws(DocumentErrors) {
    _ = try ArgoDocument.decodeAll(text.utf8, strict: strict)
    return []
  } catch {
    return error.problems
  }
}

@Suite("Documents of every kind")
struct ArgoKindsTests {
  private static let say = """
    arguments: {parameters: [{name: word}]}
    templates:
    - name: say
      inputs: {parameters: [{name: word}]}
      container: {image: busybox, command: [echo], args: ["{{inputs.parameters.word}}", "{{workflow.parameters.other}}"]}
    """
  private static let cron = """
    schedules: ["0 3 * * *", "0 15 * * 1-5"]
    timezone: Europe/Berlin
    concurrencyPolicy: Replace
    startingDeadlineSeconds: 30
    successfulJobsHistoryLimit: 4
    failedJobsHistoryLimit: 2
    suspend: true
    when: "1 < 2"
    stopStrategy: {expression: "cronworkflow.failed >= 3"}
    workflowMetadata: {labels: {team: blue}, annotations: {note: nightly}}
    workflowSpec:
      entrypoint: main
      templates:
      - {name: main, container: {image: busybox, command: ["true", "{{workflow.labels.team}}"]}}
    """

  @Test("a workflow template arrives as values, may leave its entrypoint and values open, and comes back the same")
  func template() throws {
    for kind in [ArgoKind.workflowTemplate, .clusterWorkflowTemplate] {
      let text = document(kind.rawValue, "tools", Self.say)
      guard case .template(let template) = try ArgoDocument.decode(text.utf8) else { throw Wrong() }
      #expect(template.reference == TemplateReference(name: "tools", isClusterScope: kind == .clusterWorkflowTemplate))
      #expect(template.spec.templates.map(\.name) == ["say"])
      #expect(template.spec.entrypoint.isEmpty)
      let restored = try WorkflowTemplateDefinition(json: template.canonicalJSON)
      #expect(restored == template)
      #expect(restored.spec == template.spec)
      #expect(try restored.named("others").reference.name == "others")
    }
  }

  @Test("a cron workflow's fields arrive as values and come back the same")
  func cronWorkflow() throws {
    guard case .cronWorkflow(let cron) = try ArgoDocument.decode(document("CronWorkflow", "nightly", Self.cron).utf8)
    else { throw Wrong() }
    #expect(cron.spec.schedules == ["0 3 * * *", "0 15 * * 1-5"])
    #expect(cron.spec.timezone == "Europe/Berlin")
    #expect(cron.spec.concurrencyPolicy == .replace)
    #expect(cron.spec.startingDeadlineSeconds == 30)
    #expect(cron.spec.successfulJobsHistoryLimit == 4)
    #expect(cron.spec.failedJobsHistoryLimit == 2)
    #expect(cron.spec.isSuspended)
    #expect(cron.spec.when == "1 < 2")
    #expect(cron.spec.stopExpression == "cronworkflow.failed >= 3")
    #expect(cron.spec.workflow.templates.map(\.name) == ["main"])
    let restored = try CronWorkflowDefinition(json: cron.canonicalJSON)
    #expect(restored.spec == cron.spec)
    #expect(try restored.suspended(false).spec.isSuspended == false)
  }

  @Test("what a cron workflow leaves out has Argo's defaults")
  func cronDefaults() throws {
    let text = document(
      "CronWorkflow", "n",
      "schedule: '@daily'\nworkflowSpec: {entrypoint: m, templates: [{name: m, suspend: {}}]}")
    guard case .cronWorkflow(let cron) = try ArgoDocument.decode(text.utf8) else { throw Wrong() }
    var expected = CronWorkflowSpec()
    expected.schedules = ["@daily"]
    expected.workflow = cron.spec.workflow
    #expect(cron.spec == expected)
    #expect(expected.successfulJobsHistoryLimit == 3 && expected.failedJobsHistoryLimit == 1)
  }

  @Test("a scheduled workflow has the schedule's labels, its own time, and a spec of its own")
  func scheduledWorkflow() throws {
    guard case .cronWorkflow(let cron) = try ArgoDocument.decode(document("CronWorkflow", "nightly", Self.cron).utf8)
    else { throw Wrong() }
    let workflow = try cron.workflow(name: "nightly-1", scheduledAt: Timestamp(milliseconds: 1_700_000_000_000))
    #expect(workflow.metadata.name == "nightly-1")
    #expect(workflow.metadata.labels == ["team": "blue", "workflows.argoproj.io/cron-workflow": "nightly"])
    #expect(
      workflow.metadata.annotations == [
        "note": "nightly", "workflows.argoproj.io/scheduled-time": "2023-11-14T22:13:20Z",
      ])
    #expect(workflow.spec.entrypoint == "main" && workflow.isResolved)
    let byHand = try cron.workflow(name: nil, scheduledAt: .epoch)
    #expect(byHand.metadata.generateName == "nightly-" && byHand.metadata.name == nil)
  }

  @Test("a text may hold documents of several kinds, and problems of all of them are told with their lines")
  func severalDocuments() throws {
    let good =
      document("WorkflowTemplate", "tools", Self.say) + "---\n" + document("CronWorkflow", "nightly", Self.cron)
      + "---\n" + workflow("- {name: main, container: {image: i, command: [c]}}")
    #expect(try ArgoDocument.decodeAll(good.utf8).map(\.kind) == [.workflowTemplate, .cronWorkflow, .workflow])
    let bad = "kind: Pod\n---\n" + document("CronWorkflow", "n", "workflowSpec: {entrypoint: m}")
    let found = problems(ofKind: bad)
    #expect(found.first?.line == 1)
    #expect(found.first?.message.contains("not Pod") == true)
    #expect(found.contains { $0.line ?? 0 >= 7 && $0.message.contains("at least one schedule") })
    #expect(found.contains { $0.path == "spec.workflowSpec.entrypoint" })
  }

  @Test(
    "what makes no sense in a cron workflow or a template is refused at its place",
    arguments: [
      ("CronWorkflow", "schedules: [a]\ntimezones: x\nworkflowSpec: {}", "spec.timezones"),
      ("CronWorkflow", "schedules: [a]\nconcurrencyPolicy: Never\nworkflowSpec: {}", "spec.concurrencyPolicy"),
      ("CronWorkflow", "schedules: [a]\nstartingDeadlineSeconds: -1\nworkflowSpec: {}", "spec.startingDeadlineSeconds"),
      ("CronWorkflow", "schedules: [a]", "spec"),
      (
        "CronWorkflow",
        "schedules: [a]\nworkflowSpec: {entrypoint: m, arguments: {parameters: [{name: p}]}, templates: [{name: m, suspend: {}}]}",
        "spec.workflowSpec.arguments.parameters[0]"
      ),
      ("CronWorkflow", "schedules: [a]\nwhen: '1 +'\nworkflowSpec: {}", "spec.when"),
      ("WorkflowTemplate", "entrypoint: nobody\ntemplates: [{name: m, suspend: {}}]", "spec.entrypoint"),
      ("WorkflowTemplate", "workflowTemplateRef: {name: other}", "spec.workflowTemplateRef"),
      ("ClusterWorkflowTemplate", "templates: [{name: m, suspend: {}, nonsense: 1}]", "spec.templates[0].nonsense"),
    ])
  func refusals(_ kind: String, _ spec: String, _ path: String) {
    #expect(problems(ofKind: document(kind, "n", spec)).contains { $0.path == path })
  }

  @Test("a workflow's own status is not the author's to write")
  func status() throws {
    let text = workflow("- {name: main, container: {image: i, command: [c]}}") + "\nstatus: {storedTemplates: {}}\n"
    let definition = try decode(text)
    #expect(!definition.canonicalJSON.contains("storedTemplates"))
  }

  private struct Wrong: Error {}
}
