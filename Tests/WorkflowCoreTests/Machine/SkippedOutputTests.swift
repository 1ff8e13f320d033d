import FederationModel
import Testing

@testable import WorkflowCore

/// - Source: Argo Workflows v4.1, docs/variables.md, "Outputs of Skipped and Omitted Nodes".
@Suite("Outputs of nodes that never ran")
struct SkippedOutputTests {
  /// Its task `b` never runs; `c` is what is tried, and `use` says which default its template has.
  private static func dag(_ task: String, output: String = "valueFrom: {path: /o}", use: String = "name: p") -> String {
    """
      entrypoint: main
      templates:
      - name: main
        outputs: {parameters: [{name: all, valueFrom: {parameter: "{{tasks.b.outputs.parameters.o}}", default: none}}]}
        dag:
          tasks:
          - {name: a, template: work}
          - {name: b, template: work, depends: a.Failed}
          - {name: c, depends: b || b.Omitted, \(task)}
      - {name: work, outputs: {parameters: [{name: o, \(output)}]}, container: {image: i, command: [c]}}
      - {name: use, inputs: {parameters: [{\(use)}]}, container: {image: i, command: [c]}}
    """
  }

  private static func argument(_ value: String) -> String {
    "template: use, arguments: {parameters: [{name: p, value: \"\(value)\"}]}"
  }

  @Test("The producer's default is the output of a task that never ran")
  func producerDefault() throws {
    let output = "valueFrom: {path: /o, default: '[\"x\", \"y\"]'}"
    var driver = try MachineDriver(
      spec: Self.dag(
        "template: use, withParam: '{{tasks.b.outputs.parameters.o}}', arguments: {parameters: [{name: p, value: '{{item}}'}]}",
        output: output))
    driver.run { _ in .good(["o": "z"]) }
    #expect(driver.machine.status.phase == .succeeded)
    #expect(driver.phase("wf.b") == .omitted)
    #expect(driver.node("wf.c(1:y)")?.inputs.parameter("p") == "y")
    #expect(driver.node("wf")?.outputs.parameters["all"] == #"["x", "y"]"#)
  }

  @Test("The reader's default takes the place of an argument that is nothing but such an output")
  func consumerDefault() throws {
    var driver = try MachineDriver(
      spec: Self.dag(Self.argument("{{tasks.b.outputs.parameters.o}}"), use: "name: p, default: own"))
    driver.run { _ in .good(["o": "z"]) }
    #expect(driver.node("wf.c")?.inputs.parameter("p") == "own")
    // The aggregate's own default.
    #expect(driver.node("wf")?.outputs.parameters["all"] == "none")
  }

  @Test("`??` gives such an output a value, and an empty output is not one")
  func coalescing() throws {
    for (output, expected) in [("valueFrom: {path: /o}", "nothing"), ("valueFrom: {path: /o, default: ''}", "")] {
      var driver = try MachineDriver(
        spec: Self.dag(Self.argument("{{=tasks.b.outputs.parameters.o ?? 'nothing'}}"), output: output))
      driver.run { _ in .good(["o": "z"]) }
      #expect(driver.node("wf.c")?.inputs.parameter("p") == expected)
    }
  }

  @Test(
    "Who uses such an output all the same ends in Error",
    arguments: [
      argument("{{tasks.b.outputs.parameters.o}}"), argument("x-{{tasks.b.outputs.parameters.o}}"),
      argument("{{tasks.b.outputs.result}}"), "template: work, when: '{{tasks.b.outputs.parameters.o}} == 1'",
      "template: work, withParam: '{{tasks.b.outputs.parameters.o}}'",
    ])
  func unhandled(task: String) throws {
    // No default of the reader's helps where the output is a part of a text.
    var driver = try MachineDriver(
      spec: Self.dag(task, use: task.contains("x-{{") ? "name: p, default: own" : "name: p"))
    driver.run { _ in .good(["o": "z"]) }
    #expect(driver.phase("wf.c") == .error)
    #expect(driver.node("wf.c")?.message.contains("absent optional") == true)
    #expect(driver.machine.status.phase == .error)
  }

  @Test("A task that its own condition leaves out needs no outputs")
  func leftOut() throws {
    for task in [
      Self.argument("{{tasks.b.outputs.parameters.o}}") + ", when: 'false'",
      "template: work, withParam: '{{tasks.b.outputs.parameters.o}}', when: '1 == 2'",
    ] {
      var driver = try MachineDriver(spec: Self.dag(task))
      driver.run { _ in .good(["o": "z"]) }
      #expect(driver.phase("wf.c") == .skipped)
      #expect(driver.machine.status.phase == .succeeded)
    }
  }

  @Test("In a group of steps nothing begins when one of them cannot be made, and the template has failed")
  func steps() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps:
            - - {name: b, template: work, when: "false"}
            - - {name: other, template: work}
              - {name: c, template: use, arguments: {parameters: [{name: p, value: "{{steps.b.outputs.parameters.o}}-"}]}}
          - {name: work, outputs: {parameters: [{name: o, valueFrom: {path: /o}}]}, container: {image: i, command: [c]}}
          - {name: use, inputs: {parameters: [{name: p}]}, container: {image: i, command: [c]}}
        """)
    driver.run()
    #expect(driver.phase("wf[1]") == .error)
    #expect(driver.node("wf[1]")?.message.contains("absent optional") == true)
    #expect(driver.node("wf[1].other") == nil && driver.launched.isEmpty)
    #expect(driver.machine.status.phase == .failed)
  }

  @Test("A volume may be named by what a task before gave, or would have given")
  func volumes() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          volumes: [{name: v, configMap: {name: "{{tasks.b.outputs.parameters.o}}"}}]
          templates:
          - name: main
            dag:
              tasks:
              - {name: b, template: work, when: "false"}
              - {name: c, template: use, depends: b || b.Skipped}
          - {name: work, outputs: {parameters: [{name: o, valueFrom: {path: /o, default: maps}}]}, container: {image: i, command: [c]}}
          - {name: use, container: {image: i, command: [c], volumeMounts: [{name: v, mountPath: /v}]}}
        """)
    driver.send(.start)
    let spec = try driver.machine.taskSpec(for: driver.open[0])
    guard case .object(let object, _, _)? = spec.fileVolumes?.first?.sources.first else {
      Issue.record("\(String(describing: spec.fileVolumes))")
      return
    }
    #expect(object.name == "maps")
  }
}
