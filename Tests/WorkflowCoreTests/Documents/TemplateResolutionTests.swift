import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Templates of other documents")
struct TemplateResolutionTests {
  private static func template(_ name: String, _ spec: String, cluster: Bool = false) throws
    -> WorkflowTemplateDefinition
  {
    let text = document(cluster ? "ClusterWorkflowTemplate" : "WorkflowTemplate", name, spec)
    guard case .template(let template) = try ArgoDocument.decode(text.utf8) else { throw Wrong() }
    return template
  }

  private struct Wrong: Error {}

  private static func catalogue() throws -> LoadedTemplates {
    LoadedTemplates([
      try template(
        "tools",
        """
        arguments: {parameters: [{name: word, value: tools' own}]}
        entrypoint: twice
        templates:
        - name: twice
          inputs: {parameters: [{name: word, default: hello}]}
          steps:
          - - {name: one, template: say, arguments: {parameters: [{name: word, value: "{{inputs.parameters.word}}"}]}}
          - - {name: two, templateRef: {name: shared, template: shout, clusterScope: true}}
        - name: say
          inputs: {parameters: [{name: word}]}
          container: {image: tools, command: [echo], args: ["{{inputs.parameters.word}}"]}
        - {name: unused, container: {image: never, command: [x]}}
        """),
      try template(
        "shared",
        """
        templates:
        - {name: shout, steps: [[{name: loud, template: say}]]}
        - {name: say, container: {image: shared, command: [echo], args: ["{{workflow.parameters.word}}"]}}
        """, cluster: true),
    ])
  }

  private static let calls = workflow(
    """
    - name: main
      dag:
        tasks:
        - {name: first, templateRef: {name: tools, template: twice}, arguments: {parameters: [{name: word, value: hi}]}}
        - {name: own, template: say, depends: first}
    - {name: say, container: {image: own, command: [echo]}}
    """, spec: "arguments: {parameters: [{name: word, value: mine}]}")

  @Test("exactly the templates that are needed are in the resolved definition, each once")
  func bundle() throws {
    let definition = try decode(Self.calls)
    #expect(!definition.isResolved)
    #expect(definition.references.map(\.reference) == [TemplateReference(name: "tools")])
    #expect(definition.references[0].template == "twice")
    #expect(definition.references[0].path == "spec.templates[0].dag.tasks[0].templateRef")
    #expect(definition.references[0].line == 11)
    let resolved = try definition.resolved(with: Self.catalogue())
    #expect(resolved.isResolved)
    #expect(
      resolved.spec.templates.map(\.name) == [
        "main", "say", "cluster/shared/say", "cluster/shared/shout", "namespaced/tools/say", "namespaced/tools/twice",
      ])
    #expect(!resolved.canonicalJSON.contains("never"))
  }

  @Test("what was resolved is all that is needed: it is read back the same, without any catalogue")
  func selfContained() throws {
    let resolved = try decode(Self.calls).resolved(with: Self.catalogue())
    let restored = try WorkflowDefinition(json: resolved.canonicalJSON)
    #expect(restored == resolved)
    #expect(restored.spec == resolved.spec)
    #expect(restored.isResolved)
    #expect(throws: DocumentErrors.self) { try restored.withArguments(["word": "late"]) }
  }

  @Test("names in a template belong to its own document, and workflow.parameters to the running workflow")
  func names() throws {
    let resolved = try decode(Self.calls).resolved(with: Self.catalogue())
    var driver = try MachineDriver(
      machine: WorkflowMachine(definition: resolved, identity: MachineDriver.identity("wf")))
    var seen: [String] = []
    driver.send(.start)
    while let node = driver.open.first {
      let spec = try driver.machine.taskSpec(for: node)
      seen.append(spec.image + " " + spec.arguments.joined())
      driver.end(node, .good())
    }
    #expect(seen == ["tools hi", "shared mine", "own "])
    #expect(driver.machine.status.phase == .succeeded)
  }

  @Test("the status says as Argo's which template a node runs, where it is mentioned, and what was stored")
  func status() throws {
    let resolved = try decode(Self.calls).resolved(with: Self.catalogue())
    var driver = try MachineDriver(
      machine: WorkflowMachine(definition: resolved, identity: MachineDriver.identity("wf")))
    driver.run()
    let object = ArgoStatus.render(driver.machine)
    func node(_ name: String) -> JSONValue? {
      object["status"]?["nodes"]?[ArgoNames.nodeID(workflow: "wf", node: name)]
    }
    #expect(node("wf.first")?["templateScope"]?.stringValue == "local/wf")
    #expect(node("wf.first")?["templateRef"] == ["name": "tools", "template": "twice"])
    #expect(node("wf.first")?["templateName"] == nil)
    #expect(node("wf.first[0].one")?["templateScope"]?.stringValue == "namespaced/tools")
    #expect(node("wf.first[0].one")?["templateName"]?.stringValue == "say")
    #expect(
      node("wf.first[1].two")?["templateRef"] == ["name": "shared", "template": "shout", "clusterScope": true])
    #expect(node("wf.first[1].two[0].loud")?["templateScope"]?.stringValue == "cluster/shared")
    #expect(node("wf.own")?["templateName"]?.stringValue == "say")
    let stored = object["status"]?["storedTemplates"]
    #expect(stored?["namespaced/tools/say"]?["container"]?["image"]?.stringValue == "tools")
    #expect(object["spec"]?["templates"] == (try JSONText.parse(resolved.canonicalJSON))["spec"]?["templates"])
  }

  @Test("a later change of a template leaves what was resolved as it was")
  func laterChange() throws {
    let definition = try decode(Self.calls)
    let before = try definition.resolved(with: Self.catalogue())
    var changed = try Self.catalogue()
    changed.note(
      TemplateReference(name: "tools"),
      try Self.template(
        "tools",
        "templates: [{name: twice, inputs: {parameters: [{name: word}]}, container: {image: new, command: [c]}}]"))
    #expect(try WorkflowDefinition(json: before.canonicalJSON).spec == before.spec)
    #expect(try definition.resolved(with: changed).spec != before.spec)
  }

  @Test("what is missing is told at the mention, also behind another document")
  func missing() throws {
    let definition = try decode(Self.calls)
    #expect(
      resolutionProblems(definition, LoadedTemplates()) == [
        DocumentProblem(
          path: "spec.templates[0].dag.tasks[0].templateRef", line: 11, column: 36,
          message: "there is no WorkflowTemplate tools")
      ])
    var partial = try Self.catalogue()
    partial.note(TemplateReference(name: "shared", isClusterScope: true), nil)
    let behind = try #require(resolutionProblems(definition, partial).first)
    #expect(behind.line == 11)
    #expect(behind.path == "WorkflowTemplate tools: templates.twice.steps[1][0].templateRef")
    #expect(behind.message == "there is no ClusterWorkflowTemplate shared")
    let wrong = try decode(Self.calls.replacing("template: twice", with: "template: twic"))
    let found = try #require(resolutionProblems(wrong, try Self.catalogue()).first)
    #expect(found.message == "WorkflowTemplate tools has no template \"twic\"")
    #expect(found.suggestion == "twice")
  }

  @Test("arguments are checked against the other document's template, and its tags against the workflow")
  func fit() throws {
    let forgot = try decode(
      workflow("- {name: main, steps: [[{name: a, templateRef: {name: tools, template: say}}]]}"))
    let first = try #require(resolutionProblems(forgot, try Self.catalogue()).first)
    #expect(first.path == "spec.templates[0].steps[0][0]" && first.line != nil)
    #expect(first.message.contains("needs the parameter \"word\""))
    let without = try decode(
      workflow("- {name: main, steps: [[{name: a, templateRef: {name: shared, template: shout, clusterScope: true}}]]}")
    )
    let second = try #require(resolutionProblems(without, try Self.catalogue()).first)
    #expect(second.path == "ClusterWorkflowTemplate shared: templates.say.container.args[0]")
    #expect(second.message.contains("workflow.parameters.word"))
  }

  @Test("the documents to look up are asked for step by step, each once, until nothing is missing")
  func lookUps() throws {
    let definition = try decode(Self.calls)
    let all = try Self.catalogue()
    var loaded = LoadedTemplates()
    var asked: [[TemplateReference]] = []
    while case let missing = loaded.missing(for: definition.references), !missing.isEmpty {
      asked.append(missing)
      for reference in missing { loaded.note(reference, all.template(reference)) }
    }
    #expect(
      asked == [[TemplateReference(name: "tools")], [TemplateReference(name: "shared", isClusterScope: true)]])
    #expect(try definition.resolved(with: loaded) == definition.resolved(with: all))
    var none = LoadedTemplates()
    none.note(TemplateReference(name: "tools"), nil)
    #expect(none.missing(for: definition.references).isEmpty)
  }

  @Test("documents that call each other are resolved; what is too much is refused by its bound")
  func bounds() throws {
    let ring = LoadedTemplates([
      try Self.template(
        "a", "templates: [{name: t, steps: [[{name: s, when: 'false', templateRef: {name: b, template: t}}]]}]"),
      try Self.template(
        "b", "templates: [{name: t, steps: [[{name: s, when: 'false', templateRef: {name: a, template: t}}]]}]"),
    ])
    let definition = try decode(
      workflow("- {name: main, steps: [[{name: a, templateRef: {name: a, template: t}}]]}"))
    #expect(
      try definition.resolved(with: ring).spec.templates.map(\.name) == ["main", "namespaced/a/t", "namespaced/b/t"])
    for (limits, word) in [
      (ResolutionLimits(documents: 1, templates: 9, bytes: 999, depth: 9), "1 documents"),
      (ResolutionLimits(documents: 9, templates: 1, bytes: 999, depth: 9), "more than 1 templates"),
      (ResolutionLimits(documents: 9, templates: 9, bytes: 99, depth: 9), "99 bytes"),
      (ResolutionLimits(documents: 9, templates: 9, bytes: 999, depth: 1), "1 deep"),
    ] {
      #expect(resolutionProblems(definition, ring, limits).first?.message.contains(word) == true, "\(word)")
    }
  }

  @Test("a template that is stored may be checked against those that it mentions")
  func templatesOfTemplates() throws {
    let all = try Self.catalogue()
    try all.template(TemplateReference(name: "tools"))?.check(with: all)
    #expect(throws: DocumentErrors.self) {
      try all.template(TemplateReference(name: "tools"))?.check(with: LoadedTemplates())
    }
  }

  // MARK: workflowTemplateRef

  @Test("a workflow takes a template whole: its entrypoint and arguments, with the workflow's own before them")
  func whole() throws {
    let definition = try decode(
      "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {workflowTemplateRef: {name: tools}}"
    )
    #expect(
      definition.references == [
        TemplateMention(
          reference: TemplateReference(name: "tools"), template: nil, path: "spec.workflowTemplateRef", line: 4,
          column: 29)
      ])
    let plain = try definition.resolved(with: Self.catalogue())
    #expect(plain.spec.entrypoint == "twice")
    #expect(plain.spec.arguments.parameters.map(\.value) == ["tools' own"])
    #expect(plain.template(named: "say") != nil, "its templates are the workflow's own")
    let other = try definition.withEntrypoint("say").withArguments(["word": "given"]).withLabels(["a": "b"])
      .resolved(with: Self.catalogue())
    #expect(other.spec.entrypoint == "say")
    #expect(other.spec.arguments.parameters.map(\.value) == ["given"])
    #expect(other.metadata.labels == ["a": "b"])
    #expect(try WorkflowDefinition(json: other.canonicalJSON).spec == other.spec)
    let object = ArgoStatus.render(try WorkflowMachine(definition: other, identity: MachineDriver.identity("w")))
    #expect(object["spec"]?["templates"] == nil, "the author's spec is shown as it was written")
    #expect(object["status"]?["storedWorkflowTemplateSpec"]?["entrypoint"]?.stringValue == "say")
  }

  @Test("maps are merged, lists by their keys, a value replaces the whole parameter, hooks are taken whole")
  func merge() throws {
    let base = try Self.template(
      "base",
      """
      entrypoint: main
      parallelism: 3
      suspend: true
      onExit: bye
      nodeSelector: {zone: a, disk: ssd}
      workflowMetadata: {labels: {from: base, keep: base}}
      volumes: [{name: work, emptyDir: {}}]
      arguments:
        parameters:
        - {name: a, value: base, enum: [base, other]}
        - {name: b, value: base}
        artifacts: [{name: f, raw: {data: base}}]
      templates:
      - {name: main, inputs: {artifacts: [{name: f, path: /f}]}, container: {image: i, command: [c]}}
      - {name: bye, container: {image: i, command: [c]}}
      """)
    let definition = try decode(
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: w}
      spec:
        workflowTemplateRef: {name: base}
        parallelism: 5
        nodeSelector: {zone: b}
        workflowMetadata: {labels: {from: mine}}
        volumes: [{name: more, emptyDir: {}}]
        arguments:
          parameters: [{name: a, value: free}, {name: c, value: new}]
          artifacts: [{name: f, s3: {key: k}}]
      """)
    let spec = try definition.resolved(with: LoadedTemplates([base])).spec
    #expect(spec.entrypoint == "main" && spec.parallelism == 5 && !spec.suspend && spec.onExit?.template == "bye")
    #expect(spec.nodeSelector == ["zone": "b", "disk": "ssd"])
    #expect(spec.volumes.map(\.name) == ["work", "more"])
    #expect(
      spec.arguments.parameters == [
        WorkflowParameter(name: "a", value: "free"), WorkflowParameter(name: "b", value: "base"),
        WorkflowParameter(name: "c", value: "new"),
      ])
    #expect(spec.arguments.artifacts.map(\.key) == ["k"] && spec.arguments.artifacts.map(\.raw) == [nil])
    let labels = try definition.resolved(with: LoadedTemplates([base])).metadata.labels
    #expect(labels == ["from": "mine", "keep": "base"])
  }

  @Test("what does not fit the template that is taken whole is told with whose it is")
  func wholeProblems() throws {
    let head = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec:\n"
    #expect(
      problems(of: head + "  workflowTemplateRef: {name: t}\n  templates: [{name: x, suspend: {}}]").map(\.path)
        == ["spec.templates"])
    let definition = try decode(head + "  workflowTemplateRef: {name: tools}\n  entrypoint: nobody")
    let found = resolutionProblems(definition, try Self.catalogue())
    #expect(found.map(\.path) == ["spec.entrypoint"] && found.first?.line == 6)
  }

  @Test("a workflow is made of a template as submit --from makes it, and a schedule's workflow takes one, too")
  func fromTemplate() throws {
    let all = try Self.catalogue()
    let made = try #require(try all.template(TemplateReference(name: "tools"))?.workflow())
    #expect(made.metadata.generateName == "tools-")
    #expect(made.metadata.labels == ["workflows.argoproj.io/workflow-template": "tools"])
    #expect(try made.withArguments(["word": "x"]).resolved(with: all).spec.entrypoint == "twice")
    let cron = document(
      "CronWorkflow", "c", "schedules: ['* * * * *']\nworkflowSpec: {workflowTemplateRef: {name: tools}}")
    guard case .cronWorkflow(let schedule) = try ArgoDocument.decode(cron.utf8) else { throw Wrong() }
    #expect(schedule.references.map(\.path) == ["spec.workflowSpec.workflowTemplateRef"])
    try schedule.check(with: all)
    #expect(throws: DocumentErrors.self) { try schedule.check(with: LoadedTemplates()) }
    let run = try schedule.workflow(name: "c-1", scheduledAt: .epoch).resolved(with: all)
    #expect(run.spec.entrypoint == "twice")
  }

  @Test("templateDefaults and onExit reach into other documents, hooks may name their templates")
  func defaultsAndHooks() throws {
    let definition = try decode(
      workflow(
        """
        - name: main
          steps:
          - - name: a
              templateRef: {name: tools, template: say}
              arguments: {parameters: [{name: word, value: x}]}
              hooks: {exit: {templateRef: {name: tools, template: unused}}}
        """, spec: "templateDefaults: {activeDeadlineSeconds: 77}"))
    let resolved = try definition.resolved(with: Self.catalogue())
    #expect(resolved.template(named: "namespaced/tools/say")?.activeDeadlineSeconds == "77")
    #expect(resolved.template(named: "namespaced/tools/unused") != nil)
  }

  @Test("a definition whose references nobody resolved cannot run, and says why")
  func unresolved() throws {
    let definition = try decode(Self.calls)
    #expect(throws: DocumentErrors.self) { try WorkflowProgram(definition) }
  }
}

private func resolutionProblems(
  _ definition: WorkflowDefinition, _ catalogue: LoadedTemplates, _ limits: ResolutionLimits = .standard
) -> [DocumentProblem] {
  do throws(DocumentErrors) {
    _ = try definition.resolved(with: catalogue, limits: limits)
    return []
  } catch {
    return error.problems
  }
}
