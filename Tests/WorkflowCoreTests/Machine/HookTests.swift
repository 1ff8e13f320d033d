import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Lifecycle hooks and exit handlers")
struct HookTests {
  private static let templates = """
      - {name: work, container: {image: work, command: [c]}}
      - {name: note, inputs: {parameters: [{name: p, default: none}]}, container: {image: note, command: [c], args: ["{{inputs.parameters.p}}"]}}
    """

  private func driver(_ spec: String) throws -> MachineDriver { try MachineDriver(spec: spec + "\n" + Self.templates) }

  private func arguments(_ driver: MachineDriver, _ name: String) throws -> [String] {
    try driver.machine.taskSpec(for: try #require(driver.node(name)).id).arguments
  }

  @Test("a step's hook runs beside it once its condition holds, once, and the next group waits for it")
  func beside() throws {
    var driver = try driver(
      """
        entrypoint: main
        templates:
        - name: main
          steps:
          - - {name: a, template: work, hooks: {up: {template: note, expression: 'steps.a.status == "Running"'}}}
          - - {name: b, template: work}
      """)
    driver.send(.start)
    #expect(driver.launched == ["wf[0].a"])
    let (a, cluster) = (driver.open[0], ClusterName("c"))
    driver.send(.taskStarted(a, cluster: cluster, runsAs: "u"))
    #expect(driver.launched == ["wf[0].a", "wf[0].a.hooks.up"])
    driver.send(.taskStarted(a, cluster: cluster, runsAs: "u"))
    driver.end(a, .good())
    #expect(driver.launched.count == 2, "the hook is not over")
    driver.endNext(.bad())
    #expect(driver.launched.last == "wf[1].b", "how a hook ends changes nothing")
    driver.endNext(.good())
    #expect(driver.machine.status.phase == .succeeded)
    let hook = ArgoStatus.status(driver.machine)["nodes"]?[ArgoNames.nodeID(workflow: "wf", node: "wf[0].a.hooks.up")]
    #expect(hook?["nodeFlag"] == ["hooked": true])
    let step = ArgoStatus.status(driver.machine)["nodes"]?[ArgoNames.nodeID(workflow: "wf", node: "wf[0].a")]
    #expect(step?["children"]?.arrayValue?.first == .string(ArgoNames.nodeID(workflow: "wf", node: "wf[0].a.hooks.up")))
  }

  @Test("a hook whose condition never holds never runs")
  func never() throws {
    var driver = try driver(
      """
        entrypoint: main
        hooks: {bad: {template: note, expression: 'workflow.status == "Failed"'}}
        templates:
        - name: main
          dag: {tasks: [{name: a, template: work, hooks: {bad: {template: note, expression: 'tasks.a.status == "Failed"'}}}]}
      """)
    driver.run()
    #expect(driver.launched == ["wf.a"])
    #expect(driver.machine.status.phase == .succeeded)
  }

  @Test("the end of a step sets hooks off, too, before its exit handler, which sees the step's outputs")
  func afterwards() throws {
    var driver = try driver(
      """
        entrypoint: main
        templates:
        - name: main
          dag:
            tasks:
            - name: a
              template: work
              hooks:
                bad: {template: note, expression: 'tasks.a.status == "Failed"'}
                exit: {template: note, expression: 'tasks.a.status != "Succeeded"', arguments: {parameters: [{name: p, value: "{{tasks.a.status}} {{tasks.a.exitCode}}"}]}}
      """)
    driver.send(.start)
    driver.endNext(.bad(3))
    #expect(driver.launched == ["wf.a", "wf.a.hooks.bad"])
    driver.endNext(.good())
    #expect(driver.launched.last == "wf.a.onExit")
    #expect(try arguments(driver, "wf.a.onExit") == ["Failed 3"])
    driver.endNext(.good())
    #expect(driver.machine.status.phase == .failed)
  }

  @Test("hooks of a loop are those of each member, and speak of it by the step's name")
  func loops() throws {
    var driver = try driver(
      """
        entrypoint: main
        templates:
        - name: main
          steps:
          - - name: a
              template: work
              withItems: [x, z]
              hooks: {bad: {template: note, expression: 'steps.a.status == "Failed"', arguments: {parameters: [{name: p, value: "{{item}} {{steps.a.exitCode}}"}]}}}
      """)
    driver.send(.start)
    driver.endNext(.good())
    driver.endNext(.bad(4))
    #expect(driver.launched == ["wf[0].a(0:x)", "wf[0].a(1:z)", "wf[0].a(1:z).hooks.bad"])
    #expect(try arguments(driver, "wf[0].a(1:z).hooks.bad") == ["z 4"])
  }

  @Test("a workflow's hooks run on its states; the exit handler comes after them")
  func workflow() throws {
    var driver = try driver(
      """
        entrypoint: main
        hooks:
          up: {template: note, expression: 'workflow.status == "Running"'}
          bad: {template: note, expression: 'workflow.status == "Failed"'}
          exit: {template: note, arguments: {parameters: [{name: p, value: "{{workflow.status}}"}]}}
        templates:
        - {name: main, steps: [[{name: a, template: work}]]}
      """)
    driver.send(.start)
    #expect(Set(driver.launched) == ["wf[0].a", "wf.hooks.up"])
    let (step, hook) = (try #require(driver.node("wf[0].a")).id, try #require(driver.node("wf.hooks.up")).id)
    driver.end(step, .bad())
    #expect(driver.launched.last == "wf.hooks.bad")
    driver.end(try #require(driver.node("wf.hooks.bad")).id, .good())
    #expect(driver.launched.count == 3, "the other hook still runs")
    driver.end(hook, .good())
    #expect(driver.launched.last == "wf.onExit")
    #expect(try arguments(driver, "wf.onExit") == ["Failed"])
    #expect(driver.machine.status.phase == .running)
    driver.endNext(.good())
    #expect(driver.machine.status.phase == .failed)
    #expect(driver.finishedCount == 1)
  }

  @Test("a workflow's hook may wait for a global output")
  func globalOutput() throws {
    var driver = try driver(
      """
        entrypoint: main
        hooks: {found: {template: note, expression: 'workflow.outputs.parameters.g == "yes"', arguments: {parameters: [{name: p, value: "{{workflow.outputs.parameters.g}}"}]}}}
        templates:
        - {name: main, steps: [[{name: a, template: make}], [{name: b, template: work}]]}
        - {name: make, container: {image: i, command: [c]}, outputs: {parameters: [{name: o, globalName: g, valueFrom: {path: /o}}]}}
      """)
    driver.send(.start)
    driver.endNext(.good(["o": "yes"]))
    #expect(Set(driver.launched) == ["wf[0].a", "wf.hooks.found", "wf[1].b"])
    #expect(try arguments(driver, "wf.hooks.found") == ["yes"])
  }

  @Test("a condition that makes no sense is a node in Error that says so, and the step goes on")
  func nonsense() throws {
    var driver = try driver(
      """
        entrypoint: main
        templates:
        - name: main
          steps: [[{name: a, template: work, hooks: {odd: {template: note, expression: '1 + 1'}}}]]
      """)
    driver.run()
    let hook = try #require(driver.node("wf[0].a.hooks.odd"))
    #expect(hook.phase == .error && hook.message.contains("neither true nor false"))
    #expect(driver.machine.status.phase == .succeeded)
  }

  @Test("stop keeps hooks from beginning and lets exit handlers run; terminate neither")
  func shutdown() throws {
    for shutdown in [WorkflowEvent.stop(message: ""), .terminate] {
      var driver = try driver(
        """
          entrypoint: main
          onExit: note
          hooks: {bad: {template: note, expression: 'workflow.status == "Failed"'}}
          templates:
          - name: main
            steps: [[{name: a, template: work, hooks: {bad: {template: note, expression: 'steps.a.status == "Failed"'}}}]]
        """)
      driver.send(.start)
      driver.send(shutdown)
      driver.end(driver.open[0], TaskOutcome(phase: .cancelled, message: ""))
      #expect(driver.launched == (shutdown == .terminate ? ["wf[0].a"] : ["wf[0].a", "wf.onExit"]))
      driver.run()
      #expect(driver.machine.status.phase == .failed)
    }
  }

  @Test(
    "a hook that makes no sense is refused at its place",
    arguments: [
      ("{up: {template: note}}", "an expression"), ("{up: {expression: 'true'}}", "names one template"),
      ("{up: {template: nobody, expression: 'true'}}", "no template \"nobody\""),
      ("{up: {template: note, expression: '1 +'}}", "expression"),
      ("{'a b': {template: note, expression: 'true'}}", "the hook's name"),
    ])
  func refusals(_ hooks: String, _ word: String) {
    let text = WorkflowCoreTests.workflow(
      """
      - {name: main, steps: [[{name: a, template: note, hooks: \(hooks)}]]}
      - {name: note, container: {image: i, command: [c]}}
      """)
    let found = problems(of: text)
    #expect(
      found.contains { $0.path.hasPrefix("spec.templates[0].steps[0][0].hooks.") || $0.path.contains("a b") },
      "\(found)")
    #expect(found.contains { $0.message.contains(word) }, "\(found)")
  }
}
