import FederationModel
import Testing

@testable import WorkflowCore

/// Single lines of Argo's documentation and of its end-to-end tests, in documents of our own.
@Suite("Argo's semantics")
struct ArgoSemanticsTests {
  /// - Source: Argo `operator.go`, `aggregatedJSONValueList`.
  @Test(
    "Values of a loop's output parameter are a list of texts, unless all of them are maps",
    arguments: [
      (["1", "2"], #"["1","2"]"#), ([#"{"b":1}"#, #"{"a":2}"#], #"[{"b":1},{"a":2}]"#),
      (["[1]", "[2]"], #"["[1]","[2]"]"#), (["[1]", "x"], #"["[1]","x"]"#),
      (["true", "[]"], #"["true","[]"]"#),
    ])
  func aggregates(values: [String], expected: String) throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            outputs: {parameters: [{name: all, valueFrom: {parameter: "{{steps.a.outputs.parameters.o}}"}}, {name: results, valueFrom: {parameter: "{{steps.a.outputs.result}}"}}]}
            steps: [[{name: a, template: work, withItems: [0, 1]}]]
          - {name: work, outputs: {parameters: [{name: o, valueFrom: {path: /o}}]}, script: {image: i, command: [c], source: s}}
        """)
    driver.run { node in .good(result: values[Int(node.item)], ["o": values[Int(node.item)]]) }
    #expect(driver.node("wf")?.outputs.parameters["all"] == expected)
    // Results are taken one by one.
    let results = driver.node("wf")?.outputs.parameters["results"]
    if values == ["1", "2"] { #expect(results == "[1,2]") }
    if values[1] == "x" { #expect(results == #"[[1],"x"]"#) }
  }

  @Test("Parameters, labels and annotations are there as JSON, too")
  func jsonVariables() throws {
    var driver = try MachineDriver(
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: wf, labels: {l: x}, annotations: {n: "y z"}}
      spec:
        entrypoint: main
        arguments: {parameters: [{name: p, value: "1"}]}
        templates:
        - name: main
          container:
            image: i
            command: [c]
            args: ["{{workflow.parameters.json}}", "{{=jsonpath(workflow.labels.json, '$.l')}}", "{{workflow.annotations.json}}", "{{workflow.status}}"]
      """)
    driver.send(.start)
    #expect(
      try driver.machine.taskSpec(for: driver.open[0]).arguments == [
        #"[{"name":"p","value":"1"}]"#, "x", #"{"n":"y z"}"#, "Running",
      ])
  }

  @Test("A tag may stand in a tag, and what other tools write in braces stays")
  func nestedTags() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          arguments: {parameters: [{name: size-small, value: "1"}, {name: size-large, value: "9"}]}
          templates:
          - name: main
            steps:
            - - {name: a, template: work, withItems: [small, large], arguments: {parameters: [{name: p, value: "{{workflow.parameters.size-{{item}}}}"}]}}
          - name: work
            inputs: {parameters: [{name: p}]}
            container: {image: i, command: [c], args: ["{{inputs.parameters.p}} {{ .State }} {{custom.variable}}"]}
        """)
    driver.send(.start)
    #expect(
      try driver.open.map { try driver.machine.taskSpec(for: $0).arguments[0] } == [
        "1 {{ .State }} {{custom.variable}}", "9 {{ .State }} {{custom.variable}}",
      ])
  }

  @Test("A template knows what its step or task is called, and its node what its template says")
  func names() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps:
            - - {name: a, template: work, withItems: [x], arguments: {parameters: [{name: p, value: "p1{{steps.name}}"}]}}
              - {name: b, template: inner}
          - name: inner
            dag: {tasks: [{name: t, template: again}]}
          - name: work
            annotations: {"workflows.argoproj.io/display-name": "shown-{{inputs.parameters.p}}"}
            inputs: {parameters: [{name: p}]}
            container: {image: i, command: [c], args: ["{{steps.name}} {{node.name}}"]}
          - name: again
            retryStrategy: {limit: "1"}
            container: {image: i, command: [c], args: ["{{tasks.name}}"]}
        """)
    driver.send(.start)
    #expect(
      try driver.open.map { try driver.machine.taskSpec(for: $0).arguments[0] } == ["a(0:x) wf[0].a(0:x)", "t"])
    #expect(driver.node("wf[0].a(0:x)")?.displayName == "shown-p1")
  }

  @Test("A display name of another shape is an Error of its node")
  func badDisplayName() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            annotations: {"workflows.argoproj.io/display-name": "no blanks"}
            container: {image: i, command: [c]}
        """)
    driver.run()
    #expect(driver.machine.status.phase == .error)
    #expect(driver.machine.status.message.contains("no blanks"))
  }

  @Test("The failures of a workflow are a JSON text in quotes")
  func failures() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          onExit: bye
          templates:
          - {name: main, container: {image: i, command: [c]}}
          - {name: bye, container: {image: i, command: [c], args: ["{{workflow.status}}", "{{workflow.failures}}"]}}
        """)
    driver.send(.start)
    driver.endNext(.bad(3, "exit code 3"))
    let arguments = try driver.machine.taskSpec(for: driver.open[0]).arguments
    #expect(arguments[0] == "Failed")
    guard case .string(let inner) = try JSONText.parse(arguments[1]),
      case .array(let failures) = try JSONText.parse(inner)
    else {
      Issue.record("\(arguments)")
      return
    }
    #expect(failures.count == 1 && failures[0]["message"]?.stringValue == "exit code 3")
    #expect(failures[0]["displayName"]?.stringValue == "wf" && failures[0]["phase"]?.stringValue == "Failed")
  }

  @Test("OnTransientError retries what may pass: Errors, networks that gave way, and what the operator's pattern says")
  func transientErrors() throws {
    for (message, pattern, attempts) in [
      ("exit code 1", nil, 1), ("dial tcp: i/o timeout", nil, 2), ("exit code 7", "code [78]$", 2),
      ("exit code 9", "code [78]$", 1),
    ] as [(String, String?, Int)] {
      var driver = try MachineDriver(
        spec: """
            entrypoint: main
            templates:
            - {name: main, retryStrategy: {limit: "1", retryPolicy: OnTransientError}, container: {image: i, command: [c]}}
          """)
      if let pattern { driver.machine.transientErrors = try TransientErrors(pattern: pattern) }
      driver.run { _ in .bad(1, message) }
      #expect(driver.launched.count == attempts, "\(message)")
    }
    #expect(throws: FederationError.self) { try TransientErrors(pattern: "(") }
  }

  @Test("A task that waits longer than its pendingTimeout has failed; one that began in time goes on until its timeout")
  func pendingTimeout() throws {
    for begins in [false, true] {
      var driver = try MachineDriver(
        spec: """
            entrypoint: main
            templates:
            - {name: main, pendingTimeout: 10s, timeout: 60s, container: {image: i, command: [c]}}
          """)
      driver.send(.start)
      let began = driver.now
      #expect(driver.machine.nextWake == began + .seconds(10))
      if begins { driver.send(.taskStarted(driver.open[0], cluster: "one", runsAs: "host")) }
      #expect(driver.machine.nextWake == began + .seconds(begins ? 60 : 10))
      driver.now = began + .seconds(10)
      driver.send(.timeReached)
      #expect(driver.cancelled.isEmpty == begins)
    }
  }

  @Test("Resources of the pod: a template's own in place of the workflow's")
  func podResources() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          podResources: {limits: {cpu: "1"}}
          templates:
          - name: main
            steps: [[{name: a, template: small}, {name: b, template: large}]]
          - {name: small, container: {image: i, command: [c]}}
          - {name: large, podResources: {limits: {cpu: "3"}}, container: {image: i, command: [c]}}
        """)
    driver.send(.start)
    #expect(
      try driver.open.map { try driver.machine.taskSpec(for: $0).resources.cpuMillicores } == [1000, 3000])
  }

  @Test("An optional input that nobody gave is handed on as such")
  func optionalInputs() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps: [[{name: a, template: middle}]]
          - name: middle
            inputs: {artifacts: [{name: f, optional: true}]}
            steps: [[{name: b, template: leaf, arguments: {artifacts: [{name: f, from: "{{inputs.artifacts.f}}"}]}}]]
          - {name: leaf, inputs: {artifacts: [{name: f, path: /f, optional: true}]}, container: {image: i, command: [c]}}
        """)
    driver.run()
    #expect(driver.machine.status.phase == .succeeded)
  }

  @Test("An expression may hold tags, which are replaced first")
  func tagsInExpressions() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            inputs: {parameters: [{name: most, value: "2"}]}
            retryStrategy: {limit: "9", expression: "asInt(retries) + 1 < {{inputs.parameters.most}}"}
            container: {image: i, command: [c]}
        """)
    driver.run { _ in .bad() }
    #expect(driver.launched.count == 2)
  }

  @Test(
    "An output that its maker may leave out, and has, is no input: who can do without it runs, who needs it says so")
  func outputsLeftOut() throws {
    for isOptional in [true, false] {
      var driver = try MachineDriver(
        spec: """
            entrypoint: main
            templates:
            - name: main
              steps:
              - - {name: a, template: make}
              - - {name: b, template: read, arguments: {artifacts: [{name: f, from: "{{steps.a.outputs.artifacts.o}}"}]}}
            - {name: make, outputs: {artifacts: [{name: o, path: /o, optional: true}]}, container: {image: i, command: [c]}}
            - {name: read, inputs: {artifacts: [{name: f, path: /f, optional: \(isOptional)}]}, container: {image: i, command: [c]}}
          """)
      driver.run()
      #expect(driver.machine.status.phase == (isOptional ? .succeeded : .failed))
      #expect(driver.launched.count == (isOptional ? 2 : 1))
    }
  }

  /// - Source: Argo `operator.go`, `executeScript`.
  @Test("A script of nothing is its command with the arguments that are written, and no file")
  func emptyScript() throws {
    for (source, script) in [("", nil), ("source: x, ", "x")] as [(String, String?)] {
      var driver = try MachineDriver(
        spec: """
            entrypoint: main
            templates: [{name: main, script: {image: i, \(source)args: [echo, "[]"]}}]
          """)
      driver.send(.start)
      let spec = try driver.machine.taskSpec(for: driver.open[0])
      #expect(spec.script == script && spec.arguments == ["echo", "[]"])
    }
  }

  @Test("Names of outputs, and of what they are to the workflow, may have tags")
  func taggedNames() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          onExit: last
          templates:
          - name: main
            steps: [[{name: a, template: make, withItems: [car, bike], arguments: {parameters: [{name: v, value: "{{item}}"}]}}]]
          - name: make
            inputs: {parameters: [{name: v}]}
            outputs:
              parameters: [{name: p, globalName: "value-{{inputs.parameters.v}}", valueFrom: {path: /p}}]
              artifacts: [{name: "result-{{inputs.parameters.v}}", path: /r, globalName: "all-{{inputs.parameters.v}}"}]
            container: {image: i, command: [c]}
          - name: last
            steps:
            - - name: read
                template: read
                arguments:
                  parameters: [{name: p, value: "{{workflow.outputs.parameters.value-car}}"}]
                  artifacts: [{name: f, from: "{{workflow.outputs.artifacts.all-bike}}"}]
          - name: read
            inputs: {parameters: [{name: p}], artifacts: [{name: f, path: /f}]}
            container: {image: i, command: [c], args: ["{{inputs.parameters.p}}"]}
        """)
    driver.send(.start)
    let made = try driver.open.map { try driver.machine.taskSpec(for: $0).outputArtifacts[0].name }
    #expect(made == ["result-car", "result-bike"])
    driver.run(limit: 2) { node in
      guard let item = ["car", "bike"].first(where: { node.name.contains($0) }) else { return .good() }
      var outcome = TaskOutcome.good(["p": "p-\(item)"])
      outcome.outputs.artifacts["result-\(item)"] = StoredArtifact(
        key: "k-\(item)", size: .zero, sha256: "", archive: .none)
      return outcome
    }
    #expect(driver.machine.status.outputs.parameters["value-bike"] == "p-bike")
    let read = try driver.machine.taskSpec(for: try #require(driver.open.last))
    #expect(read.arguments == ["p-car"])
    guard case .stored(let artifact)? = read.inputs.first?.source else {
      Issue.record("no artifact: \(read.inputs)")
      return
    }
    #expect(artifact.key == "k-bike")
  }

  @Test("A name that its tags make of an output is one, and two outputs have two")
  func badTaggedNames() throws {
    for names in [["{{workflow.parameters.p}}"], ["a", "{{workflow.parameters.q}}"]] {
      var driver = try MachineDriver(
        spec: """
            entrypoint: main
            arguments: {parameters: [{name: p, value: "a/b"}, {name: q, value: "a"}]}
            templates:
            - name: main
              outputs: {artifacts: [\(names.map { "{name: \"\($0)\", path: \"/\($0.count)\"}" }.joined(separator: ", "))]}
              container: {image: i, command: [c]}
          """)
      driver.send(.start)
      let node = driver.open[0]
      #expect(throws: FederationError.self) { try driver.machine.taskSpec(for: node) }
    }
  }

  @Test("The name of a volume that is mounted may have tags")
  func taggedMounts() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          volumeClaimTemplates: [{metadata: {name: one}, spec: {}}]
          templates:
          - name: main
            steps: [[{name: a, template: work, withItems: [one, two], arguments: {parameters: [{name: v, value: "{{item}}"}]}}]]
          - name: work
            inputs: {parameters: [{name: v}]}
            container: {image: i, command: [c], volumeMounts: [{name: "{{inputs.parameters.v}}", mountPath: /v}]}
        """)
    driver.send(.start)
    #expect(try driver.machine.taskSpec(for: driver.open[0]).claims?.first?.name == "one")
    let other = driver.open[1]
    #expect(throws: FederationError.self) { try driver.machine.taskSpec(for: other) }
  }

  @Test("An address of nothing is no place: an input that may be missing is, another is asked for its url")
  func emptyAddress() throws {
    func document(_ optional: Bool) -> String {
      """
        entrypoint: main
        templates:
        - name: main
          inputs: {artifacts: [{name: f, path: /f, optional: \(optional), http: {url: ""}}]}
          container: {image: i, command: [c]}
      """
    }
    var driver = try MachineDriver(spec: document(true))
    driver.run()
    #expect(driver.machine.status.phase == .succeeded)
    #expect(throws: (any Error).self) { _ = try MachineDriver(spec: document(false)) }
  }
}
