import FederationModel
import Testing

@testable import WorkflowCore

@Suite("WorkflowMachine under random events")
struct MachinePropertyTests {
  /// One random event that fits the moment, or does not fit at all.
  private func event(_ driver: MachineDriver, _ random: inout SeededGenerator, allowStops: Bool) -> WorkflowEvent {
    let nodes = Int32(max(1, driver.machine.nodeCount))
    let outcomes: [TaskOutcome] = [
      .good(result: "1"), .good(), .bad(), TaskOutcome(phase: .error, message: "no such command"),
      TaskOutcome(phase: .lost, message: "lost"), TaskOutcome(phase: .cancelled),
    ]
    switch Int.random(in: 0..<20, using: &random) {
    case 0: return .suspend
    case 1, 2: return .resume
    case 3: return .resumeNodes(selector: .all, parameters: [:])
    case 4 where allowStops: return .stop(message: "enough")
    case 5 where allowStops && Bool.random(using: &random): return .terminate
    case 6: return .timeReached
    case 7:
      return .taskEnded(
        NodeID(Int32.random(in: 0..<(nodes + 3), using: &random)), outcomes.randomElement(using: &random)!)
    case 8: return .start
    case 9: return .taskStarted(NodeID(Int32.random(in: 0..<nodes, using: &random)), cluster: "c", runsAs: "host")
    case 11, 12: return .taskReady(NodeID(Int32.random(in: 0..<nodes, using: &random)))
    case 10 where allowStops:
      return .retry(restartSuccessful: Bool.random(using: &random), selector: .displayName("a(0:x)"))
    default:
      guard let node = driver.open.randomElement(using: &random) else { return .timeReached }
      return .taskEnded(node, outcomes.randomElement(using: &random)!)
    }
  }

  private func apply(_ event: WorkflowEvent, to driver: inout MachineDriver) {
    if case .taskEnded(let node, _) = event { driver.open.removeAll { $0 == node } }
    driver.send(event)
  }

  @Test("A machine rebuilt from its records answers every further event alike", arguments: 0..<60 as Range<UInt64>)
  func rebuiltMachinesAgree(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var driver = try MachineDriver(spec: SampleWorkflows.all[Int(seed) % SampleWorkflows.all.count])
    driver.send(.start)
    // Holds only what `takeChanges` told to persist.
    var records: [NodeRecord] = []
    func persist() {
      for node in driver.machine.takeChanges().nodes {
        if Int(node.ordinal) == records.count { records.append(driver.machine[node]) }
        records[Int(node.ordinal)] = driver.machine[node]
      }
    }
    persist()
    for step in 0..<60 {
      var twin = try WorkflowMachine(
        definition: driver.machine.definition, identity: driver.machine.identity, status: driver.machine.status,
        nodes: records.map { record in
          var stored = record
          stored.children = []
          return stored
        })
      driver.now = driver.now + .milliseconds(Int64.random(in: 0..<20_000, using: &random))
      let event = event(driver, &random, allowStops: true)
      let answer = twin.handle(event, at: driver.now)
      var original = driver.machine
      let expected = original.handle(event, at: driver.now)
      #expect(answer == expected, "seed \(seed), step \(step), \(event)")
      #expect(twin.status == original.status, "seed \(seed), step \(step), \(event)")
      #expect(twin.nextWake == original.nextWake, "seed \(seed), step \(step), \(event)")
      let (mine, theirs) = (twin.takeChanges(), original.takeChanges())
      #expect(mine == theirs, "seed \(seed), step \(step), \(event)")
      try #require(twin.nodeCount == original.nodeCount, "seed \(seed), step \(step), \(event)")
      for ordinal in 0..<Int32(twin.nodeCount) where twin[NodeID(ordinal)] != original[NodeID(ordinal)] {
        Issue.record(
          "seed \(seed), step \(step), \(event): \(twin[NodeID(ordinal)]) is not \(original[NodeID(ordinal)])")
      }
      apply(event, to: &driver)
      persist()
    }
  }

  @Test(
    "A machine rebuilt between two slices of its work goes on as the original does", arguments: 0..<90 as Range<UInt64>)
  func rebuiltBetweenSlices(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var driver = try MachineDriver(spec: SampleWorkflows.all[Int(seed) % SampleWorkflows.all.count])
    driver.limit = Int.random(in: 1...4, using: &random)
    var records: [NodeRecord] = []
    var event = WorkflowEvent.start
    var slices = 0
    for step in 0..<200 {
      let twin = try? WorkflowMachine(
        definition: driver.machine.definition, identity: driver.machine.identity, status: driver.machine.status,
        nodes: records.map { record in
          var stored = record
          stored.children = []
          return stored
        })
      var rebuilt = try #require(twin, "seed \(seed), step \(step)")
      if step > 0 {
        #expect(rebuilt.nextWake == driver.machine.nextWake, "seed \(seed), step \(step)")
        let answer = rebuilt.handle(event, at: driver.now, limit: driver.limit)
        var original = driver.machine
        #expect(
          answer == original.handle(event, at: driver.now, limit: driver.limit), "seed \(seed), step \(step), \(event)")
        #expect(rebuilt.status == original.status, "seed \(seed), step \(step), \(event)")
        try #require(rebuilt.nodeCount == original.nodeCount, "seed \(seed), step \(step), \(event)")
        for ordinal in 0..<Int32(rebuilt.nodeCount) where rebuilt[NodeID(ordinal)] != original[NodeID(ordinal)] {
          Issue.record(
            "seed \(seed), step \(step), \(event): \(rebuilt[NodeID(ordinal)]) is not \(original[NodeID(ordinal)])")
        }
      }
      apply(event, to: &driver)
      for node in driver.machine.takeChanges().nodes {
        if Int(node.ordinal) == records.count { records.append(driver.machine[node]) }
        records[Int(node.ordinal)] = driver.machine[node]
      }
      if driver.machine.isUnfinished { slices += 1 }
      if driver.machine.isUnfinished, Int.random(in: 0..<4, using: &random) > 0 {
        event = .proceed
      } else {
        driver.now = driver.now + .milliseconds(Int64.random(in: 0..<9_000, using: &random))
        event = self.event(driver, &random, allowStops: seed % 3 == 0)
      }
    }
    // The third one is a single task, with hardly anything to leave undone.
    #expect(slices > 0 || Int(seed) % SampleWorkflows.all.count == 2, "seed \(seed): nothing was ever left undone")
  }

  @Test(
    "However it is sliced, a workflow makes the same nodes and comes to the same end", arguments: [1, 2, 3, 7, 64])
  func slicesChangeNothing(limit: Int) throws {
    for spec in SampleWorkflows.all {
      var whole = try MachineDriver(spec: spec)
      whole.run()
      var sliced = try MachineDriver(spec: spec)
      sliced.limit = limit
      sliced.run()
      #expect(sliced.machine.status.phase == whole.machine.status.phase)
      #expect(Set(sliced.live.map(\.name)) == Set(whole.live.map(\.name)))
      for record in whole.live { #expect(sliced.phase(record.name) == record.phase, "\(record.name)") }
      #expect(!sliced.machine.isUnfinished)
    }
  }

  @Test("A slice of a loop of 5,000 items makes no more nodes than it may, and the loop names each item once")
  func slicesAreBounded() throws {
    let items = (0..<5000).map(String.init).joined(separator: ", ")
    for loop in ["withItems: [\(items)]", "withSequence: {count: \"5000\"}", "withParam: '[\(items)]'"] {
      var driver = try MachineDriver(
        spec: """
            entrypoint: main
            templates:
            - name: main
              steps:
              - - {name: a, template: work, \(loop)}
                - {name: b, template: work}
            - {name: work, container: {image: i, command: [c]}}
          """)
      driver.limit = 100
      var before = 0
      driver.send(.start)
      while driver.machine.isUnfinished {
        #expect(driver.machine.takeChanges().nodes.count <= 2 * driver.limit + 4)
        #expect(driver.machine.nodeCount - before <= driver.limit)
        before = driver.machine.nodeCount
        driver.send(.proceed)
      }
      #expect(driver.machine.nodeCount == 5003)
      #expect(driver.open.count == 5001)
      #expect(driver.phase("wf[0].a(4999:4999)") == .pending)
    }
  }

  @Test(
    "I2: every launched task ends exactly once and the workflow becomes terminal", arguments: 0..<120 as Range<UInt64>)
  func everythingEnds(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var driver = try MachineDriver(spec: SampleWorkflows.all[Int(seed) % SampleWorkflows.all.count])
    driver.send(.start)
    for _ in 0..<Int.random(in: 0..<80, using: &random) {
      driver.now = driver.now + .milliseconds(Int64.random(in: 0..<30_000, using: &random))
      let event = event(driver, &random, allowStops: seed % 2 == 0)
      if case .retry = event { continue }
      apply(event, to: &driver)
    }
    driver.send(.resume)
    var steps = 0
    while !driver.machine.status.phase.isTerminal, steps < 1000 {
      steps += 1
      if let node = driver.open.first {
        driver.end(node, driver.cancelled.contains(node) ? TaskOutcome(phase: .cancelled) : .good())
      } else if let wake = driver.machine.nextWake {
        driver.now = max(driver.now, wake)
        driver.send(.timeReached)
      } else {
        break
      }
    }
    #expect(driver.machine.status.phase.isTerminal, "seed \(seed): stuck after \(steps) steps")
    #expect(driver.finishedCount == 1, "seed \(seed)")
    #expect(Set(driver.launched).count == driver.launched.count, "seed \(seed): launched twice")
    for node in driver.live { #expect(node.phase.isTerminal, "seed \(seed): \(node.name) is \(node.phase)") }
  }

  @Test("Late, foreign and repeated events change nothing")
  func illegalEventsChangeNothing() throws {
    var driver = try MachineDriver(spec: SampleWorkflows.all[0])
    driver.run()
    _ = driver.machine.takeChanges()
    let before = driver.machine.status
    let events: [WorkflowEvent] = [
      .start, .taskEnded(NodeID(0), .good()), .taskEnded(NodeID(9999), .bad()), .taskEnded(NodeID(-1), .bad()),
      .timeReached, .suspend,
      .resume, .stop(message: ""), .terminate, .retry(restartSuccessful: false, selector: .all),
      .taskStarted(NodeID(2), cluster: "c", runsAs: "host"), .resumeNodes(selector: .all, parameters: [:]),
    ]
    for event in events {
      #expect(driver.machine.handle(event, at: driver.now).isEmpty, "\(event)")
      #expect(driver.machine.takeChanges().isEmpty, "\(event)")
    }
    #expect(driver.machine.status == before)
  }
}
