import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Nodes that are chosen, set, and run again")
struct RestartTests {
  private static let steps = """
      entrypoint: main
      arguments: {parameters: [{name: n, value: "1", enum: ["1", "2"]}]}
      templates:
      - name: main
        steps:
        - - {name: a, template: t, arguments: {parameters: [{name: v, value: "{{workflow.parameters.n}}"}]}}
        - - {name: b, template: t, arguments: {parameters: [{name: v, value: "{{workflow.parameters.n}}"}]}}
        - - {name: c, template: t, arguments: {parameters: [{name: v, value: "x"}]}}
      - {name: t, inputs: {parameters: [{name: v}]}, container: {image: i, command: [c]}}
    """

  private static func ended(_ spec: String, failing: String? = nil) throws -> MachineDriver {
    var driver = try MachineDriver(spec: spec)
    driver.run { $0.displayName == failing ? .bad() : .good(result: "of \($0.displayName)") }
    driver.launched = []
    return driver
  }

  // MARK: Selectors

  @Test(
    "A selector takes Argo's fields with =, == and !=, and all conditions must hold",
    arguments: [
      ("displayName=b", ["b"]), ("displayName!=b,templateName=t", ["a"]), ("name==wf[1].b", ["b"]),
      ("phase=Failed,templateName = t", ["b"]), ("phase!=Failed,templateName=t", ["a"]),
      ("inputs.parameters.v.value=1", ["a", "b"]), ("inputs.parameters.v.value!=1,templateName=t", []),
      ("inputs.parameters.other.value!=1,displayName=a", ["a"]), ("displayName=a,displayName=b", []),
      ("templateRef.name!=x,displayName=a", ["a"]), ("display\\Name=a", ["a"]),
    ] as [(String, [String])])
  func selectors(text: String, expected: [String]) throws {
    let driver = try Self.ended(Self.steps, failing: "b")
    let selector = try NodeSelector(fields: text)
    let found = driver.live.filter { driver.machine.matches(selector, $0.id.ordinal) }.map(\.displayName)
    #expect(found == expected, "\(text)")
  }

  @Test("An id of Argo's is a name; an escaped comma belongs to the value")
  func selectorForms() throws {
    let driver = try Self.ended(Self.steps)
    let b = try #require(driver.node("wf[1].b"))
    let id = ArgoNames.nodeID(workflow: "wf", node: b.name)
    #expect(driver.machine.matches(try NodeSelector(fields: "id=\(id)"), b.id.ordinal))
    #expect(try NodeSelector(fields: #"displayName=f(0:a\,b\=c)"#) == .displayName("f(0:a,b=c)"))
    for wrong in ["", "displayName", "colour=red", "phase=Green", "inputs.parameters.value=1", "a=b\\"] {
      #expect(throws: FederationError.self, "\(wrong)") { try NodeSelector(fields: wrong) }
    }
  }

  // MARK: Running again

  @Test("What succeeded runs again where it is chosen, and so does what followed it")
  func restartSuccessful() throws {
    var driver = try Self.ended(Self.steps)
    #expect(driver.machine.status.phase == .succeeded)
    let selector = NodeSelector.displayName("b")
    for (flag, chosen) in [(false, selector), (true, nil), (true, .displayName("none"))] as [(Bool, NodeSelector?)] {
      #expect(driver.machine.refusalToRetry(flag, chosen)?.code == .failedPrecondition)
      driver.send(.retry(restartSuccessful: flag, selector: chosen))
      #expect(driver.machine.status.phase == .succeeded && driver.launched.isEmpty)
    }
    #expect(driver.machine.refusalToRetry(true, selector) == nil)
    driver.send(.retry(restartSuccessful: true, selector: selector))
    driver.run()
    #expect(driver.launched == ["wf[1].b", "wf[2].c"])
    #expect(driver.machine.status.phase == .succeeded && Set(driver.live.map(\.name)).count == driver.live.count)
  }

  @Test("A chosen template runs again whole, also the entrypoint's")
  func restartOfRoot() throws {
    var driver = try Self.ended(Self.steps)
    driver.send(.retry(restartSuccessful: true, selector: .templateName("main")))
    driver.run()
    #expect(driver.launched == ["wf[0].a", "wf[1].b", "wf[2].c"])
  }

  private static let dag = """
      entrypoint: main
      arguments: {parameters: [{name: n, value: "1"}]}
      templates:
      - name: main
        inputs: {parameters: [{name: n}]}
        dag:
          tasks:
          - {name: first, template: t, arguments: {parameters: [{name: v, value: "{{inputs.parameters.n}}"}]}}
          - name: inner
            template: inner
            dependencies: [first]
            arguments: {parameters: [{name: m, value: "{{inputs.parameters.n}}{{inputs.parameters.n}}"}]}
          - name: fan
            template: t
            dependencies: [first]
            withSequence: {count: "{{inputs.parameters.n}}"}
            arguments: {parameters: [{name: v, value: "{{item}}"}]}
      - name: inner
        inputs: {parameters: [{name: m}]}
        dag:
          tasks:
          - {name: good, template: t, arguments: {parameters: [{name: v, value: "{{inputs.parameters.m}}"}]}}
          - {name: bad, template: t, arguments: {parameters: [{name: v, value: "{{inputs.parameters.m}}"}]}}
      - {name: t, inputs: {parameters: [{name: v}]}, container: {image: i, command: [c]}}
    """

  @Test("New arguments reach everything that runs again, through every level, and change the width of its loops")
  func newArguments() throws {
    var driver = try MachineDriver(spec: Self.dag)
    driver.run { $0.displayName == "bad" || $0.displayName == "fan(0:0)" ? .bad() : .good() }
    #expect(driver.machine.status.phase == .failed)
    driver.launched = []
    let definition = try driver.machine.definition.withNewArguments(["n": "2"])
    driver.machine = try WorkflowMachine(
      definition: definition, identity: driver.machine.identity, status: driver.machine.status,
      nodes: (0..<Int32(driver.machine.nodeCount)).map { driver.machine[NodeID($0)] })
    driver.send(.retry(restartSuccessful: false, selector: nil, hasNewArguments: true))
    driver.run()
    #expect(driver.machine.status.phase == .succeeded)
    #expect(Set(driver.launched) == ["wf.inner.bad", "wf.fan(0:0)", "wf.fan(1:1)"])
    #expect(driver.node("wf.inner")?.inputs.parameter("m") == "22")
    #expect(driver.node("wf.inner.bad")?.inputs.parameter("v") == "22")
    #expect(driver.node("wf.inner.good")?.inputs.parameter("v") == "11", "what succeeded stays as it was")
  }

  @Test("New arguments are checked as those of a submission, and templates of other documents stay in the document")
  func argumentsOfStored() throws {
    let definition = try MachineDriver(spec: Self.steps).machine.definition
    #expect(throws: DocumentErrors.self) { try definition.withNewArguments(["n": "3"]) }
    #expect(throws: DocumentErrors.self) { try definition.withNewArguments(["m": "1"]) }
    #expect(try definition.withNewArguments(["n": "2"]).spec.arguments.parameters.map(\.value) == ["2"])
    #expect(try definition.withNewArguments([:]) == definition)
  }

  // MARK: Going on elsewhere

  @Test("A workflow that goes on where another had come to has its results, runs the rest, and is rebuilt as it is")
  func continuing() throws {
    let failed = try Self.ended(Self.steps, failing: "b")
    let definition = try failed.machine.definition.resubmitted(from: "wf", keepingTemplates: true)
    #expect(definition.metadata.name == nil && definition.metadata.generateName == "wf-")
    var driver = try MachineDriver(spec: Self.steps)
    driver.machine = try WorkflowMachine(
      continuing: failed.machine, program: try WorkflowProgram(definition), identity: MachineDriver.identity("wf-x"),
      at: driver.now)
    let all = driver.machine.nodeCount
    driver.send(.retry(restartSuccessful: false, selector: nil))
    #expect(driver.machine.takeChanges().nodes.count >= all, "every node is to be stored under the new workflow")
    driver.run()
    #expect(driver.launched == ["wf-x[1].b", "wf-x[2].c"])
    #expect(driver.machine.status.phase == .succeeded)
    let kept = try #require(driver.node("wf-x[0].a"))
    #expect(kept.outputs.result == "of a" && kept.message.hasPrefix("original pod: wf-"))
    #expect(driver.live.allSatisfy { $0.name.hasPrefix("wf-x") } && driver.node("wf-x")?.displayName == "wf-x")
    let done = try Self.ended(Self.steps)
    #expect(throws: FederationError.self) {
      try WorkflowMachine(
        continuing: done.machine, program: try WorkflowProgram(definition), identity: MachineDriver.identity("y"),
        at: driver.now)
    }
  }

  // MARK: Setting

  private static let gate = """
      entrypoint: main
      templates:
      - name: main
        steps: [[{name: gate, template: gate}, {name: other, template: gate}]]
      - name: gate
        outputs:
          parameters:
          - {name: who, valueFrom: {supplied: {}}}
          - {name: how, valueFrom: {default: fast, supplied: {}}}
        suspend: {}
    """

  @Test("What is set without an end stays with the node, which waits on; resuming it takes that and the defaults")
  func setWithoutEnd() throws {
    var driver = try MachineDriver(spec: Self.gate)
    driver.send(.start)
    let gate = NodeSelector.displayName("gate")
    #expect(driver.node("wf[0].gate")?.message.contains("--set who=VALUE") == true)
    #expect(driver.machine.refusalToSet(gate, nil, ["whom": "x"])?.code == .invalidArgument)
    #expect(driver.machine.refusalToSet(gate, .succeeded, [:])?.code == .invalidArgument)
    #expect(driver.machine.refusalToSet(gate, .failed, [:]) == nil)
    driver.send(.setNodes(selector: gate, phase: nil, message: "", parameters: ["who": "ann"]))
    #expect(driver.phase("wf[0].gate") == .running && driver.phase("wf[0].other") == .running)
    #expect(driver.node("wf[0].gate")?.outputs.parameters == ["who": "ann"])
    #expect(driver.node("wf[0].gate")?.message.contains("--set") == false, "it waits for no value any more")
    driver.send(.setNodes(selector: gate, phase: nil, message: "asked ann", parameters: [:]))
    #expect(driver.node("wf[0].gate")?.message == "asked ann")
    #expect(driver.machine.refusalToResume(gate, [:]) == nil)
    driver.send(.resumeNodes(selector: gate, parameters: [:]))
    #expect(driver.phase("wf[0].gate") == .succeeded)
    #expect(driver.node("wf[0].gate")?.outputs.parameters == ["who": "ann", "how": "fast"])
    #expect(driver.machine.refusalToSet(gate, nil, [:])?.code == .failedPrecondition, "it does not wait any more")
    driver.send(.setNodes(selector: .displayName("other"), phase: .failed, message: "no", parameters: [:]))
    #expect(driver.phase("wf[0].other") == .failed && driver.node("wf[0].other")?.message == "no")
    #expect(driver.machine.status.phase == .failed)
  }

  @Test("A value that is missing leaves the others that were set where they are")
  func setInParts() throws {
    var driver = try MachineDriver(
      spec: Self.gate.replacing("{default: fast, supplied: {}}", with: "{supplied: {}}"))
    driver.send(.start)
    let gate = NodeSelector.displayName("gate")
    driver.send(.setNodes(selector: gate, phase: nil, message: "", parameters: ["who": "ann"]))
    driver.send(.resumeNodes(selector: gate, parameters: [:]))
    #expect(driver.phase("wf[0].gate") == .running)
    driver.send(.setNodes(selector: gate, phase: .succeeded, message: "done", parameters: ["how": "slow"]))
    #expect(driver.node("wf[0].gate")?.outputs.parameters == ["who": "ann", "how": "slow"])
    #expect(driver.phase("wf[0].gate") == .succeeded && driver.node("wf[0].gate")?.message == "done")
  }
}
