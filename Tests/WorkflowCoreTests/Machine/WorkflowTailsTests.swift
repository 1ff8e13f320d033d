import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Work behind the parts of a workflow")
struct WorkflowTailsTests {
  private static let runtimes = ["short": 1.0, "long": 10, "prepare": 100]

  private static func tail(_ driver: MachineDriver, _ name: String) throws -> Double {
    let tails = WorkflowTails(driver.machine.program) { name, _ in runtimes[name] ?? 0 }
    return driver.machine.tail(of: try #require(driver.node(name)).id, tails)
  }

  private static let leaves = """
      - {name: short, container: {image: i, command: [c]}}
      - {name: long, container: {image: i, command: [c]}}
      - {name: prepare, container: {image: i, command: [c]}}
    """

  @Test("of a dag's task it is the longest way to the end, through other templates and out of its own")
  func dag() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps:
            - - {name: body, template: body}
              - {name: aside, template: long}
            - - {name: last, template: prepare}
          - name: body
            dag:
              tasks:
              - {name: a, template: short}
              - {name: b, template: long, dependencies: [a]}
              - {name: c, template: inner, dependencies: [a]}
              - {name: d, template: short, dependencies: [b, c]}
          - name: inner
            steps: [[{name: x, template: long}, {name: y, template: short}], [{name: z, template: long}]]
        \(Self.leaves)
        """)
    driver.send(.start)
    // c takes 20 s, d one, and then the last step 100.
    #expect(try Self.tail(driver, "wf[0].body.a") == 121)
    #expect(try Self.tail(driver, "wf[0].aside") == 100)
    driver.run(limit: 2)
    #expect(try Self.tail(driver, "wf[0].body.b") == 101)
    #expect(try Self.tail(driver, "wf[0].body.c[0].x") == 111)
    driver.run()
    #expect(try Self.tail(driver, "wf[0].body.c[1].z") == 101)
    #expect(try Self.tail(driver, "wf[0].body.d") == 100)
    #expect(try Self.tail(driver, "wf[1].last") == 0)
  }

  @Test("members of a loop and attempts have the tail of their task; a template that calls itself ends there")
  func loopsAndRecursion() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            dag:
              tasks:
              - {name: each, template: retried, withItems: [1, 2]}
              - {name: again, template: main, dependencies: [each], when: "1 == 2"}
              - {name: end, template: long, dependencies: [each]}
          - name: retried
            retryStrategy: {limit: "1"}
            container: {image: i, command: [c]}
        \(Self.leaves)
        """)
    driver.send(.start)
    #expect(driver.launched.count == 2)
    for name in driver.launched { #expect(try Self.tail(driver, name) == 10) }
  }

  @Test("a dag of 20,000 tasks is measured in one sweep", .timeLimit(.minutes(1)))
  func large() throws {
    let tasks = (0..<20_000).map { task in
      "- {name: t\(task), template: short\(task < 100 ? "" : ", dependencies: [t\(task - 100), t\(task - 1)]")}"
    }
    let driver = try MachineDriver(
      spec: "  entrypoint: main\n  templates:\n  - name: main\n    dag:\n      tasks:\n"
        + tasks.map { "      \($0)\n" }.joined() + "  - {name: short, container: {image: i, command: [c]}}\n")
    #expect(driver.machine.program.size == 20_002)
    let tails = WorkflowTails(driver.machine.program) { _, _ in 1 }
    // From the hundredth on each one waits for the one before.
    #expect(tails.behind(99, of: 0) == 19_900)
    #expect(tails.behind(19_999, of: 0) == 0)
  }
}

@Suite("Tasks that only wait for others which run")
struct UpcomingTaskTests {
  private static let spec = """
      entrypoint: main
      templates:
      - name: main
        dag:
          tasks:
          - {name: make, template: make}
          - {name: left, template: plain, dependencies: [make]}
          - {name: right, template: plain, dependencies: [make]}
          - name: use
            template: use
            dependencies: [left, right]
            arguments:
              artifacts:
              - {name: in, from: "{{tasks.make.outputs.artifacts.out}}"}
              - {name: more, from: "{{tasks.left.outputs.artifacts.out}}"}
      - name: plain
        container: {image: i, command: [c]}
        outputs: {artifacts: [{name: out, path: /out}]}
      - name: make
        container: {image: i, command: [c]}
        outputs: {artifacts: [{name: out, path: /out}]}
      - name: use
        inputs: {artifacts: [{name: in, path: /in}, {name: more, path: /more, optional: true}]}
        container: {image: large, command: [c], resources: {requests: {cpu: "2"}}}
    """

  @Test(
    "are told when the last of their parents starts, with what they read of what is there; no longer when they are there"
  )
  func expectation() throws {
    var driver = try MachineDriver(spec: Self.spec)
    driver.send(.start)
    let stored = StoredArtifact(key: "k", size: .gibibytes(1), sha256: "aa", archive: .none, producedOn: "a")
    var outcome = TaskOutcome.good()
    outcome.outputs.artifacts["out"] = stored
    driver.endNext(outcome)
    let (left, right) = (driver.open[0], driver.open[1])
    driver.send(.taskStarted(left, cluster: "a", runsAs: ""))
    #expect(driver.machine.upcoming(after: left).isEmpty)
    driver.send(.taskStarted(right, cluster: "a", runsAs: ""))
    let task = try #require(driver.machine.upcoming(after: right).first)
    let expected = try #require(driver.machine.expectation(of: task))
    #expect(expected.template == "use" && expected.spec.image == "large")
    #expect(expected.spec.resources.cpuMillicores == 2000)
    #expect(expected.spec.inputs.map(\.source) == [.stored(stored)], "what left makes is not there yet")
    driver.end(left, .good())
    driver.end(right, .good())
    #expect(!driver.machine.isUpcoming(task) && driver.machine.expectation(of: task) == nil)
  }

  @Test("of a steps template are those of the next group, when all of this one run; none where nothing is read")
  func steps() throws {
    func driver(_ arguments: String) throws -> MachineDriver {
      var driver = try MachineDriver(
        spec: """
            entrypoint: main
            templates:
            - name: main
              steps:
              - [{name: first, template: make}]
              - [{name: a, template: make}, {name: b, template: make}]
              - - name: c
                  template: use
                  \(arguments)
            - name: make
              container: {image: i, command: [c]}
              outputs: {artifacts: [{name: out, path: /out}]}
            - name: use
              inputs: {artifacts: [{name: in, path: /in, optional: true}]}
              container: {image: i, command: [c]}
          """)
      driver.send(.start)
      var outcome = TaskOutcome.good()
      outcome.outputs.artifacts["out"] = StoredArtifact(
        key: "k", size: .gibibytes(1), sha256: "aa", archive: .none, producedOn: "a")
      driver.endNext(outcome)
      driver.send(.taskStarted(driver.open[0], cluster: "a", runsAs: ""))
      #expect(driver.machine.upcoming(after: driver.open[0]).isEmpty)
      driver.send(.taskStarted(driver.open[1], cluster: "a", runsAs: ""))
      return driver
    }
    let reading = try driver("arguments: {artifacts: [{name: in, from: \"{{steps.first.outputs.artifacts.out}}\"}]}")
    let tasks = reading.machine.upcoming(after: reading.open[1])
    #expect(tasks.compactMap { reading.machine.expectation(of: $0)?.spec.inputs.first?.name } == ["in"])
    let plain = try driver("arguments: {parameters: [{name: unused, value: x}]}")
    #expect(plain.machine.upcoming(after: plain.open[1]).isEmpty)
  }
}
