import ControlPlaneCore
import FederationModel
import LedgerCore
import SchedulerCore
import Testing
import WorkflowCore

private func tasks(_ priorityClass: String, _ count: Int = 1, _ federation: String = "", outputs: String = "") -> String
{
  classTasks(priorityClass, count, federation, outputs: outputs, retries: 1)
}

@Suite("Preemption in the core")
struct PreemptionTests {
  private static let weather = Weather([
    .crash: 1, .disconnect: 1, .connect: 4, .plan: 6, .deliver: 5, .work: 3, .report: 4,
    .proceed: 4, .tick: 2, .send: 5, .answer: 5,
  ])

  /// A cluster of four slots, all of which are lent to everybody.
  private func federation(_ configuration: CoreConfiguration = CoreConfiguration(holdsHeadroom: false)) -> Federation {
    Federation(seed: 3, clusters: ["a"], configuration: configuration)
  }

  private func submit(
    _ name: String, _ yaml: String, to project: ProjectName = "default", _ federation: inout Federation
  ) throws {
    federation.command(
      .submit(
        Submission(
          definition: try Federation.definition(yaml), project: project, name: name, uid: "uid-\(name)")))
    federation.settle()
  }

  /// Four runs of a class run, and one task of another waits.
  private func contest(_ running: String, _ waiting: String, _ hook: String = "", outputs: String = "") throws
    -> Federation
  {
    var federation = federation()
    try submit("low", tasks(running, 4, hook, outputs: outputs), &federation)
    federation.planHere()
    federation.startHere()
    federation.clock = federation.clock + .seconds(10)
    try submit("high", tasks(waiting), &federation)
    federation.planHere()
    return federation
  }

  private func phase(_ name: String, _ federation: Federation) -> NodePhase? {
    federation.database.workflows.values.first { $0.name == name }?.status.phase
  }

  // MARK: Who takes whose room

  @Test(
    "A task takes the room of runs strictly lower in class, and only realtime and interruptible ones do",
    arguments: PriorityClass.allCases, PriorityClass.allCases)
  func classes(waiting: PriorityClass, running: PriorityClass) throws {
    var federation = try contest(running.rawValue, waiting.rawValue)
    federation.tickHere()
    let mayTake = [.realtime, .interruptible].contains(waiting) && running > waiting
    #expect(federation.leavingHere.count == (mayTake ? 1 : 0))
  }

  @Test("No more runs leave than are needed, however long they take, and the task is placed when they have left (I1)")
  func waitsForTheEnd() throws {
    var federation = try contest("offline", "realtime")
    let victims = federation.leavingHere
    #expect(victims.count == 1)
    for _ in 0..<20 { federation.tickHere() }
    #expect(federation.leavingHere == victims, "asked again while one leaves")
    #expect(federation.database.runs.count == 4, "placed before the room was there")
    let reason = federation.core.standstill(of: WorkflowReference(project: "default", name: "high"))?.reason ?? ""
    #expect(reason.contains("room is being made on a"), "\(reason)")
    federation.endHere(victims[0], TaskOutcome(phase: .cancelled, message: "cancelled"))
    federation.planHere()
    let placed = federation.database.runs.values.filter { !victims.contains($0.id) && $0.phase == .bound }
    #expect(placed.count == 1 && placed[0].task.workflow.number == 2, "\(placed)")
    #expect(federation.database.runs[victims[0]]?.phase == .preempted)
    #expect(federation.world.violations.isEmpty)
  }

  @Test("Room that was made is kept for the task that asked, whoever else waits, and after a crash of the leader too")
  func isKept() throws {
    for crashes in [false, true] {
      var federation = try contest("idle", "interruptible")
      let victims = federation.leavingHere
      #expect(victims.count == 1)
      // Of the same class and more urgent in no way.
      try submit("rival", tasks("interruptible", 3, "walltime: 1h"), &federation)
      if crashes {
        federation.send()
        federation.answer()
        federation.crash()
        federation.connect("a")
        federation.settle()
      }
      // Without more victims the only room to come is that which is kept.
      let before = Set(federation.database.runs.keys)
      federation.endHere(victims[0], TaskOutcome(phase: .cancelled))
      federation.planHere()
      let new = federation.database.runs.values.filter { !before.contains($0.id) }
      #expect(new.contains { $0.task.workflow.number == 2 }, "crashes \(crashes): \(new)")
      #expect(!new.contains { $0.task.workflow.number == 1 }, "the victim came back at once")
    }
  }

  @Test("Room that is made for a task which goes away is everybody's again, and its victim runs on elsewhere")
  func claimantGoes() throws {
    var federation = try contest("offline", "realtime")
    let victims = federation.leavingHere
    federation.command(.workflow(WorkflowReference(project: "default", name: "high"), .terminate))
    federation.settle()
    federation.endHere(victims[0], TaskOutcome(phase: .cancelled))
    federation.tickHere()
    #expect(federation.database.runs.count == 5, "the victim's task did not get its place back")
    #expect(federation.database.runs.values.contains { $0.epoch == 2 })
  }

  // MARK: The victims

  @Test("The run that has done the least leaves")
  func least() throws {
    var federation = federation()
    for index in 0..<4 {
      try submit("low\(index)", tasks("offline"), &federation)
      federation.planHere()
      federation.startHere()
      federation.clock = federation.clock + .seconds(index == 2 ? 1 : 100)
      if index == 2 { federation.clock = federation.clock + .seconds(99) }
    }
    try submit("high", tasks("realtime"), &federation)
    federation.planHere()
    let victim = try #require(federation.leavingHere.first)
    #expect(federation.database.runs[victim]?.task.workflow.number == 4, "the youngest has done least")
  }

  @Test("What a preempted run had reached is what its task goes on with, and it is told how often it was sent away")
  func checkpoint() throws {
    var federation = try contest(
      "offline", "realtime", "onPreempt: {signal: SIGUSR1, grace: 5s, checkpoint: state}",
      outputs: "outputs: {artifacts: [{name: state, path: /data/state, archive: {none: {}}}]}")
    let victim = try #require(federation.leavingHere.first)
    #expect(
      federation.agents["a"]!.runs[victim]!.assignment.spec.environment.contains(
        EnvironmentVariable(name: "FUBINI_RESTART_COUNT", value: "0")))
    let stored = StoredArtifact(
      key: "low/state", size: ByteCount(7), sha256: String(repeating: "ab", count: 32), archive: .none)
    federation.endHere(
      victim, TaskOutcome(phase: .cancelled, outputs: TaskOutputs(artifacts: ["state": stored, "other": stored])))
    federation.crash()
    federation.connect("a")
    federation.settle()
    // The realtime task, then the victim's when that has ended.
    federation.tickHere()
    federation.startHere()
    let high = try #require(federation.database.runs.values.first { $0.task.workflow.number == 2 })
    federation.endHere(high.id, TaskOutcome(phase: .succeeded, exitCode: 0))
    federation.tickHere()
    let again = try #require(federation.agents["a"]!.runs.values.first { $0.assignment.epoch == 2 }).assignment.spec
    #expect(again.environment.contains(EnvironmentVariable(name: "FUBINI_RESTART_COUNT", value: "1")))
    #expect(again.inputs.count == 1 && again.inputs[0].path == "/data/state")
    guard case .stored(let input)? = again.inputs.first?.source else { return #expect(Bool(false), "no checkpoint") }
    #expect(input.key == "low/state" && input.sha256 == stored.sha256)
  }

  @Test("Being sent away uses up neither the attempts of the author nor those of lost runs, and ends by itself")
  func attempts() throws {
    var federation = federation(CoreConfiguration(restartProtection: .zero, holdsHeadroom: false))
    try submit("low", tasks("offline", 4), &federation)
    federation.planHere()
    federation.startHere()
    for round in 0..<8 {
      try submit("high\(round)", tasks("realtime", 4), &federation)
      federation.planHere()
      #expect(federation.leavingHere.count == 4, "round \(round)")
      for run in federation.leavingHere { federation.endHere(run, TaskOutcome(phase: .cancelled)) }
      federation.tickHere()
      federation.startHere()
      for run in federation.agents["a"]!.runs.filter({ $0.value.phase == .running }).keys.sorted() {
        federation.endHere(run, TaskOutcome(phase: .succeeded, exitCode: 0))
      }
      federation.tickHere()
      federation.startHere()
    }
    #expect(phase("low", federation) == .running, "\(federation.remains)")
    #expect(federation.database.nodes.values.filter { $0.restarts == 8 }.count == 4)
    #expect(federation.database.runs.values.map(\.epoch).max() == 9)
  }

  @Test("One that was sent away before is left alone for a while, twice as long each time, but for realtime work")
  func protection() throws {
    var federation = try contest("offline", "interruptible")
    let victim = try #require(federation.leavingHere.first)
    federation.endHere(victim, TaskOutcome(phase: .cancelled))
    federation.planHere()
    federation.startHere()
    // The victim comes back where the interruptible task was; the other three become interruptible work.
    for run in federation.database.runs.values where run.task.workflow.number == 2 && !run.phase.isTerminal {
      federation.endHere(run.id, TaskOutcome(phase: .succeeded, exitCode: 0))
    }
    federation.tickHere()
    federation.startHere()
    for run in federation.database.runs.values where run.epoch == 1 && !run.phase.isTerminal {
      federation.endHere(run.id, TaskOutcome(phase: .succeeded, exitCode: 0))
    }
    try submit("full", tasks("interruptible", 4), &federation)
    federation.tickHere()
    federation.startHere()
    #expect(federation.leavingHere.isEmpty, "sent away again at once")
    federation.tickHere(seconds: 31)
    #expect(federation.leavingHere.count == 1, "never sent away again")
  }

  @Test("What another project runs is not told to the victim's, and not what its own is called")
  func leaks() throws {
    var federation = federation()
    federation.command(.project("secret", .create(description: "")))
    try submit("low", tasks("offline", 4), &federation)
    federation.planHere()
    federation.startHere()
    try submit("hidden", tasks("realtime"), to: "secret", &federation)
    federation.planHere()
    let victim = try #require(federation.leavingHere.first)
    let texts =
      federation.database.events.filter { $0.workflow?.number == 1 }.map(\.message)
      + [federation.database.runs[victim]?.cancelReason ?? ""]
    #expect(texts.contains { $0.contains("Preempted by a task of class realtime of another project") }, "\(texts)")
    #expect(!texts.contains { $0.contains("secret") || $0.contains("hidden") }, "\(texts)")
  }

  @Test("A victim pays for what it used, at its quote, and what was held for the rest comes back (I3)")
  func charge() throws {
    var federation = federation()
    federation.command(
      .updateCluster(
        ClusterSpec(name: "a", kind: .process, prices: PriceSheet(currency: "CNY", coreHour: 100))))
    federation.command(
      .project("default", .setBudget(BudgetChange(limit: try #require(Amount("1000")), currency: "CNY", isHard: true))))
    federation.settle()
    try submit("low", tasks("offline", 4, "walltime: 10h"), &federation)
    federation.planHere()
    federation.startHere()
    try submit("high", tasks("realtime", 1, "walltime: 1h"), &federation)
    federation.planHere()
    let victim = try #require(federation.leavingHere.first)
    #expect(federation.database.reservations[victim]?.amount == Amount("1"), "an hour of ten")
    federation.endHere(victim, TaskOutcome(phase: .cancelled))
    // 36 s of a core at 1 CNY an hour.
    #expect(federation.database.runs[victim]?.charge == Amount("0.01"))
    #expect(federation.database.reservations[victim] == nil)
  }

  // MARK: Faults

  @Test(
    "Classes send each other away while everything crashes: one live run of each task (I1), one end of each (I2)",
    arguments: 0..<16)
  func schedules(seed: UInt64) throws {
    var federation = Federation(seed: seed, clusters: ["a", "b"])
    for (name, yaml) in [
      ("idle", tasks("idle", 12)), ("offline", tasks("offline", 6, "onDisconnect: replace")),
      ("interruptible", tasks("interruptible", 6)), ("realtime", tasks("realtime", 5)),
    ] {
      try submit(name, yaml, &federation)
      for _ in 0..<120 {
        let name: ClusterName = ["a", "b"][federation.random.next(upTo: 2)]
        federation.blow(Self.weather, at: name, lull: .milliseconds(500))
      }
    }
    let isOver = federation.runToEnd()
    #expect(isOver, "seed \(seed): \(federation.remains)")
    #expect(federation.world.violations.isEmpty, "seed \(seed): \(federation.world.violations)")
    let ends = Dictionary(grouping: federation.database.runs.values.filter { $0.phase == .succeeded }, by: \.task)
    #expect(ends.values.allSatisfy { $0.count == 1 }, "seed \(seed)")
    // Of what was sent away every task has another run.
    let preempted = federation.database.runs.values.filter { $0.phase == .preempted }
    for run in preempted {
      let node = try #require(federation.database.nodes[run.task])
      #expect(node.restarts == preempted.count { $0.task == run.task }, "seed \(seed)")
    }
  }
}

extension PreemptionTests {
  @Test(
    "A run that waits in a cluster's own queue is given the cores of those of lower classes, and of who waits before it"
  )
  func queued() throws {
    var federation = Federation(
      seed: 3, clusters: ["a"], configuration: CoreConfiguration(holdsHeadroom: false))
    federation.disconnect("a")
    federation.agents["a"]!.queues = true
    federation.connect("a")
    federation.settle()
    func told(_ phase: RunPhase, _ count: Int) -> [RunID] {
      let fresh = federation.agents["a"]!.runs.filter { $0.value.phase == .dispatched }.keys.sorted().prefix(count)
      for run in fresh {
        federation.agents["a"]!.sequence += 1
        federation.agents["a"]!.runs[run]!.phase = phase
        federation.apply(
          .agentEvents(
            "a", federation.agents["a"]!.session!,
            [AgentEvent(sequence: federation.agents["a"]!.sequence, run: run, phase: phase, at: .epoch)]))
      }
      federation.settle()
      return Array(fresh)
    }
    func submit(_ name: String, _ yaml: String) throws {
      _ = try federation.submit(name, yaml)
      federation.settle()
      federation.plan()
      federation.settle()
      while !federation.agents["a"]!.inbox.isEmpty { federation.deliver("a") }
    }
    // One run has all 64 cores, one of its class waits behind it, and then the realtime one.
    let whole = { (name: String) in
      tasks(name).replacing("requests: {cpu: \"1\"}", with: "requests: {cpu: \"64\"}")
    }
    try submit("first", whole("offline"))
    let running = told(.running, 1)
    try submit("second", whole("offline"))
    let waiting = told(.queued, 1)
    try submit("high", tasks("realtime"))
    for _ in 0..<8 {
      federation.clock = federation.clock + .seconds(1)
      federation.apply(.tick(silence: [:]))
      federation.settle()
      federation.plan()
      federation.settle()
      while !federation.agents["a"]!.inbox.isEmpty { federation.deliver("a") }
      _ = told(.queued, 9)
      for run in waiting
      where federation.agents["a"]!.runs[run]?.isCancelWanted == true
        && federation.agents["a"]!.runs[run]?.phase == .queued
      {
        federation.agents["a"]!.sequence += 1
        federation.agents["a"]!.runs[run]!.phase = .cancelled
        federation.apply(
          .agentEvents(
            "a", federation.agents["a"]!.session!,
            [
              AgentEvent(
                sequence: federation.agents["a"]!.sequence, run: run, phase: .cancelled, at: .epoch,
                outcome: TaskOutcome(phase: .cancelled))
            ]))
        federation.settle()
      }
    }
    #expect(running.count == 1 && waiting.count == 1)
    #expect(federation.agents["a"]!.runs[running[0]]!.isCancelWanted, "the running one keeps its cores")
    #expect(federation.database.runs[waiting[0]]?.phase == .preempted)
    #expect(federation.database.runs.values.contains { $0.priorityClass == .realtime && $0.cancelReason == nil })
  }
}
