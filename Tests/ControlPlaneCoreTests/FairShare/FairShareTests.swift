import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing

@Suite("Fair share through the core and its passes, in virtual time")
struct FairShareTests {
  private static let names = (1...10).map { ProjectName("p\($0)") }

  /// Projects 1 to 10 have these weights, and tasks of all sizes.
  private static func machine(seed: UInt64, slots: Int = 64) -> SharedMachine {
    SharedMachine(seed: seed, slots: slots, projects: names.enumerated().map { ($1, Double($0 + 1)) })
  }

  @Test(
    "Ten projects of different weights and demands get what belongs to them within 2 % of each one's part",
    arguments: [1, 2] as [UInt64])
  func converges(seed: UInt64) throws {
    let (slots, time) = (32, 6000)
    var machine = Self.machine(seed: seed, slots: slots)
    for (index, name) in Self.names.enumerated() {
      // Short tasks beside long and wide ones. The smallest weight asks for four times what it gets, the others for half as much again.
      let (cores, seconds) = ([1, 2, 4][index % 3], [2...10, 10...20, 20...30][index % 3] as ClosedRange<Int64>)
      let entitled = Double(index + 1) / 55 * Double(slots * time)
      let task = Double(cores) * Double(seconds.lowerBound + seconds.upperBound) / 2
      try machine.submit(
        SharedMachine.Load(
          project: name, tasks: Int(entitled / task * (index == 0 ? 4 : 1.5)), cores: Int64(cores),
          seconds: seconds, walltime: index % 2 == 0 ? 30 : 300))
    }
    machine.run(for: Int64(time))
    let used = machine.usedByNow()
    let all = used.values.reduce(0, +)
    #expect(all > 0.95 * Double(slots * time), "the machine was idle: \(all)")
    var worst = 0.0
    for (index, name) in Self.names.enumerated() {
      let entitled = Double(index + 1) / 55
      worst = max(worst, abs(used[name]! / all - entitled) / entitled)
    }
    print("fair share through the core, seed \(seed): the worst of ten is \(worst * 100) % off its part")
    #expect(worst < 0.02, "seed \(seed): \(used.mapValues { $0 / all })")
  }

  @Test("What a project does not ask for is shared by the others in proportion to their weights")
  func leftOver() throws {
    var machine = Self.machine(seed: 4, slots: 32)
    for name in Self.names.dropLast() {
      try machine.submit(SharedMachine.Load(project: name, tasks: 2000, seconds: 10...20))
    }
    // The heaviest is entitled to 10 of 55 parts and asks for a few minutes of it.
    try machine.submit(SharedMachine.Load(project: "p10", tasks: 50, seconds: 10...20))
    machine.run(for: 4000)
    let used = machine.usedByNow()
    let others = used.filter { $0.key != "p10" }.values.reduce(0, +)
    for (index, name) in Self.names.dropLast().enumerated() {
      let entitled = Double(index + 1) / 45
      #expect(abs(used[name]! / others - entitled) / entitled < 0.02, "\(name): \(used[name]! / others)")
    }
    #expect(used["p10"]! >= 50 * 10)
  }

  @Test("A leader that is rebuilt goes on with the same use, to the second")
  func rebuilt() throws {
    var machine = Self.machine(seed: 5, slots: 16)
    for name in Self.names.prefix(4) {
      try machine.submit(SharedMachine.Load(project: name, tasks: 300, cores: 2, seconds: 5...300))
    }
    machine.run(for: 1000)
    let before = machine.core.fairShare().projects
    #expect(before.count >= 4 && before.contains { $0.used.cpu > 100 })
    machine.restart()
    for (old, new) in zip(before, machine.core.fairShare().projects) {
      #expect(old.project == new.project && abs(old.used.cpu - new.used.cpu) < 0.01, "\(old) \(new)")
      #expect(old.running == new.running && old.waiting == new.waiting)
    }
    // And what the machine has seen is what the core counts; nothing was forgotten in so short a time.
    let used = machine.usedByNow()
    for status in machine.core.fairShare().projects where used[status.project] != nil {
      #expect(abs(status.used.cpu / used[status.project]! - 1) < 0.01, "\(status) \(used)")
    }
    machine.run(for: 1000)
    #expect(machine.starts.count > 100)
  }

  @Test("A new project goes before one that has used more, and not for longer than it has used less")
  func newcomer() throws {
    var machine = SharedMachine(
      seed: 6, slots: 10, projects: [("old", 1), ("new", 1)],
      configuration: CoreConfiguration(shareHalfLife: .seconds(3600)))
    try machine.submit(SharedMachine.Load(project: "old", tasks: 20_000, seconds: 10...10))
    machine.run(for: 1800)
    try machine.submit(SharedMachine.Load(project: "new", tasks: 20_000, seconds: 10...10))
    let before = machine.starts.count
    machine.run(for: 300)
    let first = machine.starts[before...]
    // All but what goes by age.
    #expect(first.filter { $0.project == "new" }.count > first.count * 8 / 10)
    #expect(first.contains { $0.project == "old" })
    machine.run(for: 4 * 3600)
    let last = machine.starts.suffix(2000)
    let part = Double(last.filter { $0.project == "new" }.count) / 2000
    #expect(abs(part - 0.5) < 0.02, "\(part)")
  }

  @Test("Every task of positive share starts within the bound of ADR 18, whatever the others do", arguments: 0..<12)
  func bound(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let slots = 2 + random.next(upTo: 7)
    let projects = (0..<(2 + random.next(upTo: 5))).map {
      (name: ProjectName("p\($0)"), weight: [0.001, 0.1, 1, 10, 100_000][random.next(upTo: 5)])
    }
    var machine = SharedMachine(
      seed: seed, slots: slots, projects: projects, configuration: CoreConfiguration(shareHalfLife: .seconds(600)))
    var known = 0
    var arrived: [(project: ProjectName, before: Int, name: String, at: Timestamp, starts: Int)] = []
    let longest: Int64 = 40
    for _ in 0..<25 {
      for project in projects where random.next(upTo: 2) == 0 {
        let priority = [PriorityClass.realtime, .interruptible, .offline, .idle][random.next(upTo: 4)]
        let count = 1 + random.next(upTo: priority == .realtime ? 60 : 8)
        known += 1
        // Those of the project that have a share and wait already, and those that come with it.
        let waiting = machine.waiting(of: project.name)
        try machine.submit(
          SharedMachine.Load(
            project: project.name, tasks: count, priority: priority,
            seconds: 1...(1 + Int64(random.next(upTo: Int(longest)))), walltime: Int64(1 + random.next(upTo: 100))))
        guard priority != .idle else { continue }
        arrived.append((project.name, waiting + count, machine.lastName, machine.now, machine.starts.count))
      }
      machine.run(for: Int64(random.next(upTo: 60)))
    }
    machine.run(for: 20_000)
    for task in arrived {
      let starts = machine.starts.filter { $0.workflow == task.name }
      let last = try #require(starts.map(\.number).max(), "seed \(seed): \(task) never started")
      // The last of the workflow has so many of its project before it, itself included.
      let bound = task.before * projects.count * ProjectTurns.agedPeriod
      #expect(
        last - task.starts <= bound, "seed \(seed), \(slots) slots: \(task) waited for \(last - task.starts) starts")
      let seconds = Double((bound + slots - 1) / slots) * Double(longest + 1)
      let latest = starts.map(\.at).max()!
      #expect((latest - task.at).seconds <= seconds, "seed \(seed): \(task) waited for \(latest - task.at)")
    }
  }

  @Test("A task that nothing can help takes no turn by age, from its own project or from others")
  func hopeless() throws {
    let others = (0..<40).map { (name: ProjectName("stuck\($0)"), weight: 1.0) }
    var machine = SharedMachine(
      seed: 1, slots: 4, projects: [(name: "urgent", weight: 1), (name: "patient", weight: 1)] + others)
    for project in others.map(\.name) + ["patient"] {
      try machine.submit(SharedMachine.Load(project: project, tasks: 1, cores: 1000, seconds: 1...1))
    }
    machine.run(for: 1)
    // Goes before everything else whatever the shares are, but for turns by age.
    try machine.submit(SharedMachine.Load(project: "urgent", tasks: 1000, priority: .realtime, seconds: 5...5))
    try machine.submit(SharedMachine.Load(project: "patient", tasks: 1, priority: .offline, seconds: 5...5))
    let task = machine.lastName
    machine.run(for: 2000)
    let start = try #require(machine.starts.first { $0.workflow == task })
    #expect(start.number <= 2 * ProjectTurns.agedPeriod)
  }
}
