import FederationModel
import Testing

@testable import WorkflowCore

@Suite("WorkflowMachine")
struct MachineBehaviourTests {
  @Test("Steps run group by group, with Argo's names, types and edges")
  func stepsTree() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps:
            - - {name: a, template: work}
              - {name: b, template: work}
            - - {name: c, template: work}
          - {name: work, container: {image: i, command: [c]}}
        """)
    driver.send(.start)
    #expect(driver.launched == ["wf[0].a", "wf[0].b"])
    driver.endNext(.good())
    #expect(driver.launched.count == 2)
    driver.endNext(.good())
    #expect(driver.launched.last == "wf[1].c")
    driver.run()
    #expect(driver.machine.status.phase == .succeeded)
    #expect(driver.node("wf")?.type == .steps)
    #expect(driver.node("wf[0]")?.type == .stepGroup)
    #expect(driver.node("wf[0].a")?.children == [driver.node("wf[1]")!.id])
    #expect(driver.node("wf[1]")?.upstream == [driver.node("wf[0].a")!.id, driver.node("wf[0].b")!.id])
    #expect(driver.node("wf[0].a")?.boundary == .root)
  }

  @Test("A failed step fails its group and its template with Argo's words")
  func stepFails() throws {
    var driver = try MachineDriver(spec: SampleWorkflows.all[0])
    driver.run { $0.displayName == "p" ? .bad() : .good() }
    #expect(driver.machine.status.phase == .failed)
    #expect(driver.phase("wf[1].c.q") == .omitted)
    #expect(driver.node("wf[1].c.q")?.message == "omitted: depends condition not met")
    #expect(driver.phase("wf[1].c.r") == .succeeded)
    #expect(driver.node("wf[0].b")?.message == "when '1 == 2' evaluated false")
    let child = ArgoNames.nodeID(workflow: "wf", node: "wf[1].c")
    #expect(driver.machine.status.message == "child '\(child)' failed")
  }

  @Test("Parameters and results flow from step to step and out of the template")
  func parameterFlow() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          arguments: {parameters: [{name: who, value: world}]}
          templates:
          - name: main
            outputs: {parameters: [{name: all, valueFrom: {parameter: "{{steps.fan.outputs.result}}"}}]}
            steps:
            - - {name: make, template: make}
            - - name: fan
                template: say
                withParam: "{{steps.make.outputs.result}}"
                arguments: {parameters: [{name: text, value: "{{item.n}}-{{workflow.parameters.who}}-{{steps.make.outputs.parameters.p}}"}]}
          - name: make
            outputs: {parameters: [{name: p, valueFrom: {path: /p}, globalName: g}]}
            container: {image: i, command: [c]}
          - name: say
            inputs: {parameters: [{name: text}, {name: other, value: "d{{workflow.name}}"}]}
            container: {image: i, command: [echo], args: ["{{inputs.parameters.text}} {{inputs.parameters.other}} {{= asInt('2') + 1}}"]}
        """)
    driver.send(.start)
    driver.endNext(.good(result: #"[{"n":1},{"n":"two"}]"#, ["p": "P{{x}}"]))
    #expect(driver.launched.suffix(2) == ["wf[1].fan(0:n:1)", "wf[1].fan(1:n:two)"])
    let spec = try driver.machine.taskSpec(for: driver.open[1])
    #expect(spec.arguments == ["two-world-P{{x}} dwf 3"])
    driver.endNext(.good(result: "7"))
    driver.endNext(.good(result: "text"))
    #expect(driver.machine.status.phase == .succeeded)
    #expect(driver.node("wf")?.outputs.parameters["all"] == #"[7,"text"]"#)
    #expect(driver.machine.status.outputs.parameters["g"] == "P{{x}}")
  }

  @Test(
    "NUL in a loop's list or in an expression ends its node with where it was, and no node with half a text is made",
    arguments: [
      ("withParam: '[\"a\", \"b\\u0000c\"]'", "{{item}}", "NUL (\\u0000) at byte 8"),
      ("withParam: '{\"a\": 1}'", "{{item}}", "of 'fan' could not be parsed as a JSON list (it is no list)"),
      ("when: 'true'", "{{=sprig.b64dec('YQBi')}}", "a text with the character NUL"),
      ("when: 'true'", "{{=fromJson('\"\\\\u0000\"')}}", "NUL (\\u0000) at byte 1"),
    ])
  func nul(loop: String, value: String, message: String) throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps: [[{name: fan, template: say, \(loop), arguments: {parameters: [{name: text, value: '\(value.replacing("'", with: "''"))'}]}}]]
          - name: say
            inputs: {parameters: [{name: text}]}
            container: {image: i, command: [echo], args: ["{{inputs.parameters.text}}"]}
        """)
    driver.send(.start)
    #expect(driver.launched.isEmpty && driver.phase("wf[0]") == .error && driver.machine.status.phase == .failed)
    let messages = driver.machine.nodes.map(\.message)
    #expect(messages.contains { $0.contains(message) }, "\(messages)")
  }

  @Test("A Retry node makes attempts until one succeeds, waiting between them")
  func retries() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            retryStrategy: {limit: "3", backoff: {duration: "10", factor: "2"}}
            container: {image: i, command: [c], args: ["{{retries}} {{lastRetry.exitCode}}"]}
        """)
    driver.send(.start)
    #expect(driver.launched == ["wf(0)"])
    driver.endNext(.bad(7))
    #expect(driver.node("wf")?.message == "Backoff for 10 seconds")
    #expect(driver.machine.nextWake == driver.now + .seconds(10))
    driver.now = driver.now + .seconds(10)
    driver.send(.timeReached)
    #expect(try driver.machine.taskSpec(for: driver.open[0]).arguments == ["1 7"])
    driver.endNext(.bad())
    #expect(driver.machine.nextWake == driver.now + .seconds(20))
    driver.now = driver.now + .seconds(20)
    driver.send(.timeReached)
    driver.endNext(.good())
    #expect(driver.machine.status.phase == .succeeded)
    #expect(driver.node("wf")?.type == .retry)
  }

  @Test(
    "A retry strategy decides by policy, limit and expression",
    arguments: [
      ("limit: '1'", RunPhase.failed, 2, "No more retries left"),
      ("limit: '5'", RunPhase.error, 1, "boom"),
      ("limit: '1', retryPolicy: Always", RunPhase.error, 2, "No more retries left"),
      ("limit: '1', retryPolicy: OnError", RunPhase.failed, 1, "boom"),
      ("limit: '1', retryPolicy: OnTransientError", RunPhase.lost, 2, "No more retries left"),
      ("limit: '1', retryPolicy: OnTransientError", RunPhase.failed, 1, "boom"),
      (
        "limit: '5', expression: '{{=asInt(lastRetry.exitCode) > 3}}'", RunPhase.failed, 1,
        "retryStrategy.expression evaluated to false"
      ),
      (
        "limit: '5', expression: 'asInt(lastRetry.exitCode) > 3'", RunPhase.failed, 1,
        "retryStrategy.expression evaluated to false"
      ),
      (
        "limit: '9', backoff: {duration: '60', maxDuration: '100'}", RunPhase.failed, 2,
        "Backoff would exceed max duration limit"
      ),
    ])
  func retryDecisions(strategy: String, end: RunPhase, attempts: Int, message: String) throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - {name: main, retryStrategy: {\(strategy)}, container: {image: i, command: [c]}}
        """)
    driver.run { _ in TaskOutcome(phase: end, exitCode: 1, message: "boom") }
    #expect(driver.launched.count == attempts)
    #expect(driver.machine.status.phase == (end == .failed ? .failed : .error))
    #expect(driver.machine.status.message == message)
  }

  @Test("Parallelism of the workflow bounds the tasks that run")
  func parallelism() throws {
    var driver = try MachineDriver(spec: SampleWorkflows.all[1])
    driver.send(.start)
    var most = 0
    for _ in 0..<100 where !driver.machine.status.phase.isTerminal {
      most = max(most, driver.open.count)
      if driver.open.isEmpty, let wake = driver.machine.nextWake {
        driver.now = wake
        driver.send(.timeReached)
      }
      driver.endNext(.good())
    }
    #expect(most == 2)
    #expect(driver.machine.status.phase == .succeeded)
    #expect(driver.launched.last == "wf.onExit")
    #expect(driver.launched.contains("wf.sub.onExit"))
  }

  @Test("A stop cancels what runs, waits for it, and runs the exit handler; a terminate does not")
  func stopAndTerminate() throws {
    for shutdown in [Shutdown.stop, .terminate] {
      var driver = try MachineDriver(spec: SampleWorkflows.all[1])
      driver.send(.start)
      driver.send(shutdown == .stop ? .stop(message: "why") : .terminate)
      #expect(driver.cancelled == driver.open)
      #expect(driver.machine.status.phase == .running)
      while let node = driver.open.first, driver.cancelled.contains(node) {
        driver.end(node, TaskOutcome(phase: .cancelled))
      }
      #expect(driver.launched.contains("wf.onExit") == (shutdown == .stop))
      driver.run()
      #expect(driver.machine.status.phase == .failed)
      #expect(driver.machine.status.message == "Stopped with strategy '\(shutdown.rawValue)'")
    }
  }

  @Test("A task past its timeout is cancelled and ends Failed with the reason")
  func timeout() throws {
    var driver = try MachineDriver(
      spec: "  entrypoint: m\n  templates: [{name: m, timeout: 5s, container: {image: i, command: [c]}}]\n")
    driver.send(.start)
    driver.now = driver.machine.nextWake!
    driver.send(.timeReached)
    #expect(driver.cancelled == [.root])
    #expect(driver.machine.status.phase == .running)
    driver.endNext(TaskOutcome(phase: .cancelled))
    #expect(driver.machine.status.phase == .failed)
    #expect(driver.machine.status.message == "Step exceeded its deadline")
  }

  @Test("A run that its cluster cancelled unasked is an Error with the cluster's reason, which OnError retries")
  func cancelledUnasked() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: m
          templates:
          - {name: m, retryStrategy: {limit: 1, retryPolicy: OnError}, container: {image: i, command: [c]}}

        """)
    driver.send(.start)
    driver.endNext(TaskOutcome(phase: .cancelled, message: "cancelled in Slurm"))
    #expect(driver.machine.status.phase == .running)
    driver.endNext(TaskOutcome(phase: .cancelled, message: "cancelled in Slurm"))
    #expect(driver.launched.count == 2)
    #expect(driver.machine.status.phase == .error)
    #expect(driver.machine.status.message == "No more retries left")
  }

  @Test("A suspended workflow starts nothing new; suspend nodes wait for their values")
  func suspension() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          suspend: true
          templates:
          - name: main
            steps:
            - - {name: ask, template: ask}
            - - {name: use, template: use, arguments: {parameters: [{name: v, value: "{{steps.ask.outputs.parameters.v}}"}]}}
          - name: ask
            outputs: {parameters: [{name: v, valueFrom: {supplied: {}}}]}
            suspend: {}
          - {name: use, inputs: {parameters: [{name: v}]}, container: {image: i, command: [c]}}
        """)
    driver.send(.start)
    #expect(driver.phase("wf") == .pending)
    driver.send(.resume)
    #expect(driver.phase("wf[0].ask") == .running)
    driver.send(.resumeNodes(selector: .displayName("ask"), parameters: [:]))
    #expect(driver.phase("wf[0].ask") == .running)
    driver.send(.resumeNodes(selector: .displayName("ask"), parameters: ["v": "42"]))
    #expect(driver.node("wf[1].use")?.inputs.parameter("v") == "42")
    driver.run()
    #expect(driver.machine.status.phase == .succeeded)
  }

  @Test("Recursion is stopped with a clear message")
  func recursion() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps: [[{name: again, template: main}]]
        """)
    driver.run()
    #expect(driver.machine.status.phase == .failed || driver.machine.status.phase == .error)
    let deepest = driver.live.first { $0.message.hasPrefix("Maximum recursion depth exceeded") }
    #expect(deepest?.phase == .error)
    #expect(driver.machine.nodeCount < 3 * WorkflowMachine.depthLimit)
  }

  @Test("A retried workflow runs again what failed, and keeps what succeeded")
  func retryOfAWorkflow() throws {
    var driver = try MachineDriver(spec: SampleWorkflows.all[0])
    driver.run { $0.displayName == "p" ? .bad() : .good() }
    #expect(driver.machine.status.phase == .failed)
    driver.launched = []
    driver.send(.retry(restartSuccessful: false, selector: nil))
    driver.run()
    #expect(driver.machine.status.phase == .succeeded)
    #expect(driver.launched == ["wf[1].c.p", "wf[1].c.q(0)", "wf[1].c.s"])
    #expect(driver.phase("wf[1].c.r") == .omitted)
    #expect(Set(driver.live.map(\.name)).count == driver.live.count)
  }

  @Test("A single task that failed can be retried")
  func retryOfASingleTask() throws {
    var driver = try MachineDriver(spec: SampleWorkflows.all[2])
    driver.run { _ in .bad() }
    #expect(driver.launched == ["wf(0)", "wf(1)"])
    driver.send(.retry(restartSuccessful: false, selector: nil))
    driver.run()
    #expect(driver.machine.status.phase == .succeeded)
    #expect(driver.live.filter { $0.name == "wf" }.count == 1)
  }

  @Test("Work is linear: each task of a wide fan-out, a long dag and a long chain changes a bounded number of records")
  func linearWork() throws {
    func records(_ spec: String) throws -> Double {
      var driver = try MachineDriver(spec: spec)
      var written = 0
      driver.send(.start)
      written += driver.machine.takeChanges().nodes.count
      var next = 0
      while next < driver.open.count {
        driver.send(.taskEnded(driver.open[next], .good()))
        written += driver.machine.takeChanges().nodes.count
        next += 1
      }
      #expect(driver.machine.status.phase == .succeeded)
      return Double(written) / Double(driver.machine.nodeCount)
    }
    let work = "  - {name: work, container: {image: i, command: [c]}}\n"
    let fan = """
        entrypoint: main
        templates:
        - {name: main, parallelism: 7, dag: {tasks: [{name: fan, template: work, withSequence: {count: "2000"}}]}}
      \(work)
      """
    let chain = (0..<1000).map { "    - - {name: s\($0), template: work}\n" }.joined()
    #expect(try records(fan) <= 3)
    #expect(try records("  entrypoint: main\n  templates:\n  - name: main\n    steps:\n\(chain)\(work)") <= 3)
  }
}
