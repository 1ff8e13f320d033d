import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Testing
import WorkflowCore

@testable import ControlPlaneServer

@Suite struct ArgoShapeTests {
  private static let document = """
    {"apiVersion":"argoproj.io/v1alpha1","kind":"Workflow","metadata":{"name":"w","labels":{"team":"a"}},\
    "spec":{"entrypoint":"main","templates":[{"name":"main","container":{"image":"i","command":["true"]}}]}}
    """

  private static func row(_ status: WorkflowStatus = WorkflowStatus(phase: .running), document: String = document)
    -> WorkflowRow
  {
    WorkflowRow(
      id: WorkflowID(7), uid: "u-7", project: "p", name: "w", document: document, labels: ["team": "a"], status: status,
      createdAt: Timestamp(milliseconds: 0), createdBy: "someone")
  }

  private static func pod(_ phase: NodePhase) -> NodeRecord {
    NodeRecord(
      id: NodeID(0), name: "w", displayName: "w", type: .pod, role: .entrypoint, phase: phase, templateName: "main")
  }

  @Test("A pending node of a workflow tells why it waits (invariant I10)")
  func pendingReason() throws {
    let object = try ArgoObject.workflow(
      LoadedWorkflow(row: Self.row(), nodes: [Self.pod(.pending)]), pendingMessages: [0: "no cluster has a GPU"],
      resourceVersion: 12)
    #expect(object["status"]?["nodes"]?["w"]?["message"] == "no cluster has a GPU")
    #expect(object["status"]?["nodes"]?["w"]?["phase"] == "Pending")
    #expect(object["metadata"]?["resourceVersion"] == "12")
    #expect(object["metadata"]?["namespace"] == "p")
    #expect(object["metadata"]?["uid"] == "u-7")
    #expect(object["kind"] == "Workflow")
  }

  @Test("Suspension and shutdown stand in the spec, where Argo's clients look")
  func specFields() throws {
    var status = WorkflowStatus(phase: .running)
    status.isSuspended = true
    status.shutdown = .stop
    let object = try ArgoObject.workflow(LoadedWorkflow(row: Self.row(status), nodes: []), resourceVersion: 1)
    #expect(object["spec"]?["suspend"] == true)
    #expect(object["spec"]?["shutdown"] == "Stop")
    #expect(object["spec"]?["entrypoint"] == "main")
    // One that was submitted suspended, before it begins and after it was resumed.
    let document = Self.document.replacing("\"spec\":{", with: "\"spec\":{\"suspend\":true,")
    for (phase, expected) in [(NodePhase.pending, JSONValue.bool(true)), (.running, nil)] as [(NodePhase, JSONValue?)] {
      let row = Self.row(WorkflowStatus(phase: phase), document: document)
      #expect(
        try ArgoObject.workflow(LoadedWorkflow(row: row, nodes: []), resourceVersion: 1)["spec"]?["suspend"] == expected
      )
    }
  }

  @Test("A list's entries have progress but no nodes, and one broken document does not spoil the list")
  func listItems() {
    let item = ArgoObject.listItem(Self.row(), tasks: ["Succeeded": 2, "Running": 1], resourceVersion: 3)
    #expect(item["status"]?["nodes"] == nil)
    #expect(item["status"]?["progress"] == "2/3")
    let broken = ArgoObject.listItem(Self.row(document: "{"), tasks: [:], resourceVersion: 3)
    #expect(broken["metadata"]?["name"] == "w")
    #expect(broken["status"]?["message"] == "the stored document cannot be read back")
    let list = ArgoObject.list([item, broken], next: "7", resourceVersion: 3)
    #expect(list["kind"] == "WorkflowList")
    #expect(list["metadata"]?["continue"] == "7")
    #expect(list["items"]?.arrayValue?.count == 2)
  }

  @Test(
    "Selectors over Argo's labels become conditions on the phase",
    arguments: [
      ("workflows.argoproj.io/phase=Running", "Running"),
      ("workflows.argoproj.io/phase in (Running, Pending)", "Pending Running"),
      ("workflows.argoproj.io/phase notin (Succeeded),team==a", "Error Failed Pending Running"),
      ("workflows.argoproj.io/completed=true", "Error Failed Succeeded"),
      ("workflows.argoproj.io/completed!=true", "Pending Running"),
      ("!workflows.argoproj.io/completed", "Pending Running"),
      ("workflows.argoproj.io/completed=false,workflows.argoproj.io/phase!=Pending", "Running"),
      ("workflows.argoproj.io/completed,workflows.argoproj.io/phase=Running", ""),
    ])
  func selectors(text: String, phases: String) throws {
    let selector = try ArgoSelector(labels: text)
    #expect(selector.phases.map { $0.map(\.rawValue).sorted().joined(separator: " ") } == phases)
    #expect(selector.isContradictory == phases.isEmpty)
    #expect(selector.matches(WorkflowHead(Self.row())) == phases.contains("Running"))
  }

  @Test(
    "A selector that cannot be obeyed is refused instead of ignored",
    arguments: ["=a", "(a)=b", "a b", "a in (b", "a in b"])
  func refusedSelectors(text: String) {
    #expect(throws: FederationError.self) { try ArgoSelector(labels: text) }
    for fields in ["spec.entrypoint=x", "metadata.namespace!=a", "spec.startedAt>soon", "metadata.name"] {
      #expect(throws: FederationError.self, "\(fields)") { try ArgoSelector(fields: fields) }
    }
  }

  @Test("Contradicting labels match nothing, and a name is taken from the field selector")
  func names() throws {
    #expect(try !ArgoSelector(labels: "team=a,team=b").matches(WorkflowHead(Self.row())))
    #expect(try ArgoSelector(labels: "workflows.argoproj.io/completed=maybe").isContradictory)
    for text in ["team!=b", "team in (a,b)", "team", "!other", "team notin (c)"] {
      #expect(try ArgoSelector(labels: text).matches(WorkflowHead(Self.row())), "\(text)")
    }
    for text in ["team!=a", "team in (b,c)", "other", "!team", "team notin (a)"] {
      #expect(try !ArgoSelector(labels: text).matches(WorkflowHead(Self.row())), "\(text)")
    }
    let selector = try ArgoSelector(fields: "metadata.name=w")
    #expect(selector.name == "w")
    #expect(selector.matches(WorkflowHead(Self.row())))
    for (fields, holds) in [
      ("metadata.name=v", false), ("metadata.name!=w", false), ("metadata.name!=v", true),
      ("status.phase=Running", true),
      ("status.phase!=Running", false), ("status.phase=Running,status.phase=Failed", false),
      ("spec.startedAt>1970-01-01T00:00:01Z", false), ("spec.startedAt<1970-01-01T00:00:01Z", true),
    ] { #expect(try ArgoSelector(fields: fields).matches(WorkflowHead(Self.row())) == holds, "\(fields)") }
  }

  @Test(
    "fields keeps or drops parts of the answer, through arrays",
    arguments: [
      ("items.metadata.name", #"{"items":[{"metadata":{"name":"a"}}]}"#),
      ("-items.metadata,kind", #"{"items":[{"spec":{"x":1}}]}"#),
      ("kind,items.spec", #"{"items":[{"spec":{"x":1}}],"kind":"L"}"#), ("absent", "{}"),
      ("", #"{"items":[{"metadata":{"name":"a","uid":"b"},"spec":{"x":1}}],"kind":"L"}"#),
    ])
  func fields(text: String, expected: String) throws {
    let value: JSONValue = ["kind": "L", "items": [["metadata": ["name": "a", "uid": "b"], "spec": ["x": 1]]]]
    #expect(try ArgoFields(text).apply(value).description == expected)
  }

  @Test("In a stream, fields begin at the result")
  func streamFields() throws {
    let object: JSONValue = ["metadata": ["name": "a", "uid": "b"], "spec": ["x": 1]]
    let kept = try ArgoFields("result.object.metadata.name,result.type").apply(object, at: ["result", "object"])
    #expect(kept.description == #"{"metadata":{"name":"a"}}"#)
    let dropped = try ArgoFields("-result.object.spec").apply(object, at: ["result", "object"])
    #expect(dropped.description == #"{"metadata":{"name":"a","uid":"b"}}"#)
  }

  @Test("A pod has the labels of its workflow's pods, its template's own over them, and what Argo's controller adds")
  func podLabels() {
    let document = """
      {"spec":{"podMetadata":{"labels":{"a":"1","b":"1"}},"templateDefaults":{"metadata":{"labels":{"b":"2","c":"2"}}},\
      "templates":[{"name":"main","metadata":{"labels":{"c":"3"}}}]}}
      """
    let labels = PodLabels(Self.row(document: document)).labels(of: Self.pod(.running))
    #expect(
      labels == [
        "a": "1", "b": "2", "c": "3", "workflows.argoproj.io/workflow": "w", "workflows.argoproj.io/completed": "false",
      ])
    #expect(
      PodLabels(Self.row(document: "{")).labels(of: Self.pod(.succeeded))["workflows.argoproj.io/completed"] == "true")
  }

  @Test("A pod is found by Argo's id, by either of Argo's pod names, and by what people call it")
  func podNames() {
    var node = Self.pod(.running)
    node.name = "w.step"
    node.displayName = "step"
    let hash = ArgoNames.nodeID(workflow: "w", node: "w.step").dropFirst(2)
    for name in ["w-\(hash)", "w-main-\(hash)", "w.step", "step"] { #expect(node.isPod(name, of: "w"), "\(name)") }
    for name in ["w", "main", "w-other-\(hash)", ""] { #expect(!node.isPod(name, of: "w"), "\(name)") }
  }
}
