import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Work behind the parts of a workflow")
struct WorkflowTailsTests {
  private static let runtimes = ["short": 1.0, "long": 10, "prepare": 100]

  private static func tail(_ driver: MachineDriver, _ name: String) throws -> Double {
    let tails = WorkflowTails(driver.machine.program) { runtimes[$0] ?? 0 }
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
    let tails = WorkflowTails(driver.machine.program) { _ in 1 }
    // From the hundredth on each one waits for the one before.
    #expect(tails.behind(99, of: 0) == 19_900)
    #expect(tails.behind(19_999, of: 0) == 0)
  }
}
