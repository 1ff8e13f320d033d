import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Single tasks are cancelled, and the others go on")
struct TaskCancellationTests {
  private static let loop = """
      entrypoint: main
      templates:
      - name: main
        parallelism: 2
        steps:
        - - {name: task, template: work, withItems: [a, b, c, d]}
      - name: work
        container: {image: i, command: [c]}
    """

  @Test("one that runs is asked to end, one that waits for its turn never begins, and the loop goes on to its end")
  func cancelled() throws {
    var driver = try MachineDriver(spec: Self.loop)
    driver.send(.start)
    #expect(driver.launched.count == 2)
    let tasks = (0..<Int32(driver.machine.nodeCount)).map { driver.machine[NodeID($0)] }.filter { $0.type == .pod }
    try #require(tasks.count == 4)
    driver.send(.cancelTasks([tasks[0].id, tasks[3].id], reason: "cancelled by scancel"))
    #expect(driver.cancelled == [tasks[0].id])
    #expect(
      driver.machine[tasks[3].id].phase == .failed && driver.machine[tasks[3].id].message == "cancelled by scancel")
    // Again, and of what is no task: nothing.
    driver.send(.cancelTasks([tasks[0].id, NodeID(0), NodeID(999)], reason: "again"))
    #expect(driver.cancelled == [tasks[0].id] && driver.machine[tasks[0].id].cancelReason == "cancelled by scancel")
    driver.endNext(.bad())
    driver.endNext(.good())
    driver.endNext(.good())
    #expect(driver.launched.count == 3, "the cancelled one was never launched")
    #expect(driver.machine[tasks[1].id].phase == .succeeded && driver.machine[tasks[2].id].phase == .succeeded)
    #expect(driver.machine.status.phase == .failed)
  }
}
