import FederationModel
import SchedulerCore
import Testing

@testable import ControlPlaneCore

@Suite("Waiting tasks by groups")
struct PendingTasksTests {
  private static func requirement(_ index: Int, _ priority: PriorityClass = .interruptible, data: [DataKey] = [])
    -> Requirement
  {
    var hints = FederationHints()
    hints.priorityClass = priority
    return Requirement(project: "p", image: "i-\(index)", copy: .zero, hints: hints, data: data)
  }

  private static func task(_ index: Int) -> TaskID { TaskID(workflow: WorkflowID(1), node: NodeID(Int32(index))) }

  @Test("a pass sees the first groups of the highest class every time, and all others in turn")
  func turns() {
    var pending = PendingTasks()
    var keys: [Int64] = []
    for index in 0..<1000 { keys.append(pending.add(Self.task(index), requirement: Self.requirement(index))) }
    let urgent = pending.add(Self.task(5000), requirement: Self.requirement(5000, .realtime))
    let idle = pending.add(Self.task(6000), requirement: Self.requirement(6000, .idle))
    var seen: Set<Int64> = []
    for _ in 0..<8 {
      let selection = pending.select(in: ["p"]) { _, _ in true }.keys
      #expect(selection.count == PendingTasks.selectionLimit && Set(selection).count == selection.count)
      #expect(selection.first == urgent && Array(selection[1...100]) == Array(keys[..<100]))
      seen.formUnion(selection)
    }
    #expect(seen == Set(keys + [urgent, idle]))
  }

  @Test("a gang is seen in every pass, however much waits before it and behind it: room is kept for it only then (I6)")
  func gangs() {
    var pending = PendingTasks()
    for index in 0..<500 { _ = pending.add(Self.task(index), requirement: Self.requirement(index)) }
    var gang = Self.requirement(1)
    gang.hints.gangSize = 4
    let key = pending.add(Self.task(500), requirement: gang)
    var last: Int64 = 0
    for index in 501..<1000 { last = pending.add(Self.task(index), requirement: Self.requirement(index)) }
    for _ in 0..<8 {
      let selection = pending.select(in: ["p"]) { _, _ in true }.keys
      #expect(selection.contains(key) && selection == selection.sorted())
    }
    #expect(pending.gangs(before: last, in: ["p"]) == [key] && pending.gangs(before: key, in: ["p"]).isEmpty)
    pending.leave(key)
    #expect(
      !pending.select(in: ["p"]) { _, _ in true }.keys.contains(key) && pending.gangs(before: last, in: ["p"]).isEmpty)
  }

  @Test("groups that come and go leave the order of the others as it is", arguments: 1...5)
  func churn(seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var pending = PendingTasks()
    var alive: [Int64: (class: PriorityClass, order: Int)] = [:]
    for index in 0..<2000 {
      let priority = PriorityClass.allCases[random.next(upTo: 4)]
      alive[pending.add(Self.task(index), requirement: Self.requirement(index, priority))] = (priority, index)
      while alive.count > 150, let key = alive.keys.sorted().randomElement(using: &random) {
        pending.leave(key)
        alive[key] = nil
      }
      let expected = alive.sorted { ($0.value.class, $0.value.order) < ($1.value.class, $1.value.order) }.map(\.key)
      guard index % 50 == 0 else { continue }
      #expect(pending.select(in: ["p"]) { _, _ in true }.keys == expected, "seed \(seed), step \(index)")
    }
  }

  @Test("What room cannot help has no turn by age: who comes after it has, until it may start and has its place again")
  func obstructed() {
    var pending = PendingTasks()
    let keys = (0..<3).map { pending.add(Self.task($0), requirement: Self.requirement($0)) }
    func aged() -> [Int64] { pending.select(in: ["p"]) { _, _ in true }.aged }
    #expect(aged() == [keys[0]])
    pending.note([keys[0]: true, keys[1]: true])
    #expect(aged() == [keys[2]])
    pending.note([keys[2]: true])
    #expect(aged().isEmpty)
    pending.note([keys[0]: true, keys[1]: false])
    #expect(aged() == [keys[1]])
    pending.note([keys[0]: false, keys[2]: false])
    #expect(aged() == [keys[0]])
    pending.leave(keys[0])
    #expect(aged() == [keys[1]])
  }

  @Test("what is known of an input lasts as long as a group reads it")
  func artifacts() {
    var pending = PendingTasks()
    let known: [DataKey: PendingTasks.Artifact] = [
      "x": PendingTasks.Artifact(size: .gibibytes(1), producedOn: "a", project: "p")
    ]
    let first = pending.add(Self.task(1), requirement: Self.requirement(1, data: ["x"]), artifacts: known)
    let second = pending.add(Self.task(2), requirement: Self.requirement(2, data: ["x"]), artifacts: known)
    #expect(pending.add(Self.task(3), requirement: Self.requirement(2, data: ["x"]), artifacts: known) == second)
    pending.leave(first)
    pending.leave(second)
    #expect(pending.artifacts["x"]?.size == .gibibytes(1))
    pending.leave(second)
    #expect(pending.artifacts.isEmpty && pending.isEmpty)
  }
}
