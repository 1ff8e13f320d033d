import FederationModel
import Testing

@testable import WorkflowCore

/// What steers a workflow: loops' numbers, what goes on after a failure, limits on what runs at once, waits, deadlines.
@Suite("Control")
struct ControlTests {
  @Test(
    "A sequence counts up and down, from where it is told, in the format that it is given",
    arguments: [
      ("count: 3", ["0", "1", "2"]), ("count: 2, start: 5", ["5", "6"]), ("start: 3, end: 1", ["3", "2", "1"]),
      ("start: 9, end: 11, format: 'n%03X'", ["n009", "n00A", "n00B"]), ("count: 0", []),
      ("start: '{{workflow.parameters.from}}', end: '4'", ["4"]), ("end: 2", ["0", "1", "2"]),
    ])
  func sequences(sequence: String, expected: [String]) throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          arguments: {parameters: [{name: from, value: "4"}]}
          templates:
          - name: main
            steps: [[{name: a, template: work, arguments: {parameters: [{name: n, value: "{{item}}"}]}, withSequence: {\(sequence)}}]]
          - {name: work, inputs: {parameters: [{name: n}]}, container: {image: i, command: [c]}}
        """)
    driver.run()
    #expect(driver.machine.status.phase == .succeeded)
    let tasks = driver.live.filter { $0.type == .pod }
    #expect(tasks.map { $0.inputs.parameter("n") } == expected)
    #expect(tasks.map(\.name) == expected.enumerated().map { "wf[0].a(\($0.offset):\($0.element))" })
    if expected.isEmpty { #expect(driver.node("wf[0].a")?.message == "Skipped, empty params") }
  }

  @Test("A loop goes over what a loop before it left, and takes maps and lists apart")
  func nestedItems() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps:
            - - {name: a, template: list, withItems: [x, y]}
            - - name: b
                template: work
                withParam: "{{steps.a.outputs.parameters.made}}"
                arguments: {parameters: [{name: p, value: "{{item.name}} {{item.size.width}} {{item.tags}}"}]}
          - {name: list, outputs: {parameters: [{name: made, valueFrom: {path: /made}}]}, container: {image: i, command: [c]}}
          - {name: work, inputs: {parameters: [{name: p}]}, container: {image: i, command: [c]}}
        """)
    driver.run { node in
      guard node.templateName == "list" else { return .good() }
      return .good(["made": #"{"name":"n\#(node.item)","size":{"width":\#(node.item + 1)},"tags":["t"]}"#])
    }
    #expect(driver.machine.status.phase == .succeeded)
    #expect(
      driver.live.filter { $0.templateName == "work" }.map { $0.inputs.parameter("p") } == [
        #"n0 1 ["t"]"#, #"n1 2 ["t"]"#,
      ])
  }

  @Test(
    "A step that may end so lets the others go on; one that may not ends its template",
    arguments: [
      ("{failed: true}", RunPhase.failed, NodePhase.succeeded), ("{error: true}", .failed, .failed),
      ("{error: true}", .error, .succeeded), ("{failed: true}", .error, .failed), ("{}", .failed, .failed),
    ])
  func continueOn(written: String, end: RunPhase, expected: NodePhase) throws {
    for body in [
      "steps: [[{name: a, template: bad, continueOn: \(written)}], [{name: b, template: good}]]",
      "dag: {tasks: [{name: a, template: bad, continueOn: \(written)}, {name: b, template: good, dependencies: [a]}]}",
    ] {
      var driver = try MachineDriver(
        spec: """
            entrypoint: main
            templates:
            - {name: main, \(body)}
            - {name: bad, container: {image: i, command: [c]}}
            - {name: good, container: {image: i, command: [c]}}
          """)
      driver.run { $0.templateName == "bad" ? TaskOutcome(phase: end, message: "no") : .good() }
      #expect(driver.launched.count == (expected == .succeeded ? 2 : 1), "\(body)")
      let phase = driver.machine.status.phase
      #expect(expected == .succeeded ? phase == .succeeded : phase != .succeeded, "\(body)")
    }
  }

  @Test("A dag that fails fast starts nothing more; one that does not runs what depends on nothing that failed")
  func failFast() throws {
    for isFast in [true, false] {
      var driver = try MachineDriver(
        spec: """
            entrypoint: main
            parallelism: 1
            templates:
            - name: main
              dag: {failFast: \(isFast), tasks: [{name: a, template: work}, {name: b, template: work}, {name: c, template: work, dependencies: [a]}]}
            - {name: work, container: {image: i, command: [c]}}
          """)
      driver.run { $0.displayName == "a" ? .bad() : .good() }
      #expect(driver.machine.status.phase == .failed)
      #expect(driver.phase("wf.b") == .succeeded)
      // What depends on the one that failed is left out, or was never looked at.
      #expect(driver.phase("wf.c") == (isFast ? nil : .omitted) || driver.phase("wf.c") == .omitted)
      #expect(!driver.launched.contains("wf.c"))
    }
  }

  @Test("A template's parallelism bounds its own children, whatever runs beside it")
  func templateParallelism() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps: [[{name: a, template: few}, {name: b, template: work, withSequence: {count: "4"}}]]
          - {name: few, parallelism: 2, steps: [[{name: c, template: work, withSequence: {count: "5"}}]]}
          - {name: work, container: {image: i, command: [c]}}
        """)
    driver.send(.start)
    func open(_ prefix: String) -> Int { driver.open.count { driver.machine[$0].name.hasPrefix(prefix) } }
    #expect(open("wf[0].b") == 4 && open("wf[0].a[0].c") == 2)
    let first = try #require(driver.open.first { driver.machine[$0].name.hasPrefix("wf[0].a[0].c") })
    driver.end(first, .good())
    #expect(open("wf[0].a[0].c") == 2)
    driver.run()
    #expect(driver.machine.status.phase == .succeeded && driver.launched.count == 9)
  }

  @Test("Waits between attempts grow by the factor, up to the cap")
  func backoff() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            retryStrategy: {limit: "4", backoff: {duration: "10", factor: "3", cap: "1m"}}
            container: {image: i, command: [c]}
        """)
    driver.send(.start)
    var waits: [Duration] = []
    for _ in 0..<4 {
      driver.endNext(.bad())
      let wake = try #require(driver.machine.nextWake)
      waits.append(wake - driver.now)
      driver.now = wake
      driver.send(.timeReached)
    }
    #expect(waits == [.seconds(10), .seconds(30), .seconds(60), .seconds(60)])
    driver.endNext(.bad())
    #expect(driver.machine.status.message == "No more retries left")
  }

  @Test("A workflow past its deadline has failed, and its exit handler runs all the same")
  func deadline() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          activeDeadlineSeconds: 30
          onExit: bye
          templates:
          - name: main
            steps: [[{name: a, template: work}], [{name: b, template: work}]]
          - {name: work, container: {image: i, command: [c]}}
          - {name: bye, container: {image: i, command: [c], args: ["{{workflow.status}}"]}}
        """)
    driver.send(.start)
    driver.now = driver.now + .seconds(30)
    driver.send(.timeReached)
    #expect(driver.cancelled == driver.open)
    driver.endNext(TaskOutcome(phase: .cancelled))
    #expect(driver.node("wf[0].a")?.message == "Step exceeded its deadline")
    #expect(driver.phase("wf[0].a") == .failed)
    #expect(driver.launched.last == "wf.onExit")
    #expect(try driver.machine.taskSpec(for: driver.open[0]).arguments == ["Failed"])
    driver.run()
    #expect(driver.machine.status.phase == .failed && !driver.launched.contains("wf[1].b"))
  }

  @Test("A stop while an attempt is under way ends the retries, and says why")
  func stoppedRetries() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - {name: main, retryStrategy: {limit: "5", retryPolicy: Always}, container: {image: i, command: [c]}}
        """)
    driver.send(.start)
    driver.send(.stop(message: ""))
    driver.endNext(TaskOutcome(phase: .cancelled))
    #expect(driver.launched.count == 1)
    #expect(driver.node("wf")?.message == "Stopped with strategy 'Stop'")
    #expect(driver.node("wf(0)")?.message == "workflow shutdown with strategy:  Stop")
  }

  @Test("A global output is there for what comes after it, and for the exit handler")
  func globalOutputs() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          onExit: bye
          templates:
          - name: main
            steps:
            - - {name: a, template: make}
            - - {name: b, template: use, arguments: {parameters: [{name: p, value: "{{workflow.outputs.parameters.shared}}"}]}}
          - {name: make, outputs: {parameters: [{name: o, valueFrom: {path: /o}, globalName: shared}]}, container: {image: i, command: [c]}}
          - {name: use, inputs: {parameters: [{name: p}]}, container: {image: i, command: [c]}}
          - {name: bye, container: {image: i, command: [c], args: ["{{workflow.outputs.parameters.shared}}"]}}
        """)
    driver.send(.start)
    driver.endNext(.good(["o": "told"]))
    #expect(driver.node("wf[1].b")?.inputs.parameter("p") == "told")
    driver.endNext(.good())
    #expect(try driver.machine.taskSpec(for: driver.open[0]).arguments == ["told"])
  }

  @Test("A value that an enum does not name is refused where it is given, and a template's own expressions give values")
  func values() throws {
    let spec = """
        entrypoint: main
        arguments: {parameters: [{name: size, value: small, enum: [small, large]}]}
        templates:
        - name: main
          inputs: {parameters: [{name: n, valueFrom: {expression: "workflow.parameters.size == 'small' ? 1 : 9"}}]}
          outputs: {parameters: [{name: twice, valueFrom: {expression: "asInt(inputs.parameters.n) * 2"}}, {name: none, valueFrom: {expression: "steps['b'].outputs.parameters.o", default: d}}]}
          steps: [[{name: b, template: make, when: "false"}]]
        - {name: make, outputs: {parameters: [{name: o, valueFrom: {path: /o}}]}, container: {image: i, command: [c]}}
      """
    var driver = try MachineDriver(spec: spec)
    driver.run()
    #expect(driver.node("wf")?.inputs.parameter("n") == "1")
    #expect(driver.node("wf")?.outputs.parameters == ["twice": "2", "none": "d"])
    #expect(throws: DocumentErrors.self) {
      try MachineDriver(spec: spec.replacing("value: small", with: "value: tiny"))
    }
  }
}
