import ControlPlaneCore
import FederationModel
import LedgerCore
import SchedulerCore
import Testing
import WorkflowCore

/// A core-second for a fen: 100 s are held for 1.00 CNY.
private let prices = PriceSheet(currency: "CNY", coreHour: 3600)

/// Tasks that may take ten minutes each.
private func document(count: Int = 1, more: String = "") -> String {
  """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: long}
  spec:
    entrypoint: main
    templates:
    - name: main
      steps: [[{name: s, template: one, withSequence: {count: "\(count)"}}]]
    - name: one
      federation: {walltime: 600s}
      retryStrategy: {limit: "2", retryPolicy: Always}\(more)
      container: {image: any, command: ["true"]}
  """
}

@Suite("Slices in the core")
struct CoreSliceTests {
  private static let weather = Weather([
    .crash: 1, .disconnect: 1, .connect: 4, .plan: 6, .deliver: 6, .work: 2, .report: 8,
    .tick: 8, .proceed: 6, .send: 8, .answer: 10,
  ])

  /// Clusters whose hour has a price, and a budget whose slice is 100 s.
  private func federation(
    seed: UInt64, _ limit: String, _ onExhausted: ExhaustionPolicy? = nil, on names: [ClusterName] = ["a"]
  ) -> Federation {
    var federation = Federation(seed: seed, clusters: names.map(\.text))
    for name in names {
      federation.command(.setPrices(name, PricePeriod(prices: prices)))
      federation.agents[name]!.measuresTime = true
    }
    federation.command(budget(limit, onExhausted))
    federation.settle()
    return federation
  }

  private func budget(_ limit: String, _ onExhausted: ExhaustionPolicy? = nil) -> Command {
    .project(
      "default",
      .setBudget(
        BudgetChange(
          limit: Amount(limit)!, currency: "CNY", period: .once, isHard: true, onExhausted: onExhausted,
          slice: .seconds(100))))
  }

  /// Places what waits, and begins all runs on a cluster.
  private func begin(_ federation: inout Federation, on name: ClusterName = "a") {
    federation.settle()
    federation.plan()
    federation.settle()
    while !federation.agents[name]!.inbox.isEmpty { federation.deliver(name) }
    federation.agents[name]!.clock = federation.clock
    for id in federation.agents[name]!.runs.filter({ $0.value.phase == .dispatched }).keys.sorted() {
      federation.agents[name]!.step(id, using: &federation.random, world: &federation.world)
    }
    federation.report(name)
    federation.settle()
  }

  /// Time passes, second by second: ticks, messages, and what the fences do.
  private func pass(_ federation: inout Federation, seconds: Int) {
    for _ in 0..<seconds {
      federation.clock = federation.clock + .seconds(1)
      federation.apply(.tick(silence: [:]))
      federation.settle()
      for name in federation.agents.keys.sorted() {
        federation.agents[name]!.clock = federation.clock
        while federation.agents[name]!.session != nil, !federation.agents[name]!.inbox.isEmpty {
          federation.deliver(name)
        }
        federation.agents[name]!.endUnpaid(&federation.world)
        federation.report(name)
      }
      federation.settle()
    }
  }

  private func only(_ federation: Federation) throws -> Reservation {
    try #require(federation.database.reservations.values.first)
  }

  @Test("A run that may take more than the budget has is placed, renewed in good time, and charged what it used")
  func renewed() throws {
    var federation = federation(seed: 1, "4")
    _ = try federation.submit("long", document())
    begin(&federation)
    #expect(try only(federation).amount == Amount("1")! && only(federation).bound == .seconds(600))
    #expect(federation.agents["a"]!.runs.values.map(\.slice) == [.seconds(100)])
    #expect(federation.agents["a"]!.runs.values.map(\.assignment.walltime) == [.seconds(600)])
    // A disconnect limit before its end, because that is more than half of it.
    pass(&federation, seconds: 38)
    #expect(try only(federation).slice == .seconds(100))
    pass(&federation, seconds: 3)
    #expect(try only(federation).slice == .seconds(200) && only(federation).amount == Amount("2")!)
    #expect(federation.agents["a"]!.runs.values.map(\.slice) == [.seconds(200)], "and its agent was told")
    pass(&federation, seconds: 220)
    #expect(try only(federation).amount == Amount("4")!, "all there is")
    #expect(federation.database.imbalance == nil)
    federation.work("a")
    federation.report("a")
    federation.settle()
    let run = try #require(federation.database.runs.values.first)
    #expect(run.phase.isTerminal && run.wallMilliseconds > 260_000)
    #expect(run.charge == Amount(charging: Double(run.wallMilliseconds) / 1000), "one for a second")
    #expect(federation.database.reservations.isEmpty && federation.database.imbalance == nil)
    #expect(!federation.database.events.contains { $0.reason == "RunLapsing" })
  }

  @Test(
    "Where money ends the run is warned ahead, uses up the last of it, and its task waits with the reason, without an attempt of its own, until all of it can be held"
  )
  func exhausted() throws {
    var federation = federation(seed: 2, "2.70")
    _ = try federation.submit("long", document())
    begin(&federation)
    pass(&federation, seconds: 150)
    let warning = try #require(federation.database.events.first { $0.reason == "RunLapsing" })
    #expect(warning.message.contains("project default has 0.70 CNY left"), "\(warning.message)")
    #expect(federation.database.audit.contains { $0.action == "budget.lapsing" && $0.object == "default/long" })
    let run = try #require(federation.database.runs.values.first)
    #expect(run.message.hasPrefix("it is paid for until "), "\(run.message)")
    let reference = WorkflowReference(project: "default", name: "long")
    let reasons = federation.core.reasons(in: reference, of: [run.task.node])
    #expect(reasons[run.task.node]?.hasPrefix("Running on a: it is paid for until ") == true, "\(reasons)")
    // A disconnect limit more, and then 0.10 is left, which pays for no step.
    #expect(try only(federation).slice == .seconds(260))
    pass(&federation, seconds: 120)
    let ended = try #require(federation.database.runs[run.id])
    #expect(ended.phase == .failed && ended.message.hasPrefix("budget exhausted: project default has 0.10 CNY left"))
    #expect(ended.charge == Amount("2.60"), "no more than was held")
    #expect(federation.database.entries.allSatisfy { $0.kind != .overrun })
    #expect(federation.database.events.contains { $0.reason == "BudgetExhausted" && $0.node == run.task.node })
    let node = try #require(federation.database.nodes[run.task])
    #expect(node.phase == .pending && node.restarts == 1 && node.isHeldWhole)
    #expect(federation.database.nodes.values.count { $0.role == .attempt } == 1, "no attempt was used")
    for isRebuilt in [false, true] {
      if isRebuilt {
        federation.crash()
        federation.connect("a")
      }
      pass(&federation, seconds: 30)
      federation.plan()
      federation.settle()
      #expect(federation.database.reservations.isEmpty, "0.10 are left")
      let reason = federation.core.standstill(of: WorkflowReference(project: "default", name: "long"))?.reason
      #expect(reason?.contains("it may cost 6.00 CNY") == true, "rebuilt \(isRebuilt): \(reason ?? "")")
    }
    federation.command(budget("9"))
    begin(&federation)
    #expect(try only(federation).slice == .seconds(600) && only(federation).amount == Amount("6")!)
    let isOver = federation.runToEnd()
    #expect(isOver && federation.database.imbalance == nil, "\(federation.remains)")
  }

  @Test("Money that comes before the slice is over lets a warned run go on, and takes the warning back")
  func rescued() throws {
    var federation = federation(seed: 3, "1")
    _ = try federation.submit("long", document())
    begin(&federation)
    pass(&federation, seconds: 60)
    #expect(federation.database.events.contains { $0.reason == "RunLapsing" })
    federation.command(budget("9"))
    pass(&federation, seconds: 20)
    #expect(federation.database.events.contains { $0.reason == "RunRenewed" })
    #expect(federation.database.runs.values.map(\.message) == [""])
    pass(&federation, seconds: 300)
    #expect(federation.agents["a"]!.runs.values.map(\.phase) == [.running])
  }

  @Test(
    "on-exhausted stop: the workflow of a run that cannot be paid any longer is stopped with the reason, and not retried"
  )
  func stopped() throws {
    var federation = federation(seed: 4, "1.20", .stop)
    _ = try federation.submit("long", document())
    begin(&federation)
    pass(&federation, seconds: 120)
    let isOver = federation.runToEnd(limit: 10)
    #expect(isOver, "\(federation.remains)")
    let row = try #require(federation.database.workflows.values.first)
    #expect(row.status.phase == .failed && row.status.shutdown == .stop, "\(row.status)")
    #expect(row.status.shutdownMessage.contains("the budget is exhausted: project default has"))
    #expect(federation.database.runs.count == 1 && federation.database.runs.values.first?.charge == Amount("1"))
    #expect(federation.database.imbalance == nil)
  }

  @Test(
    "A cluster that is cut off cannot use more than is held: no slice is added while it is away, and it is told all that was missed"
  )
  func cutOff() throws {
    var federation = federation(seed: 5, "100")
    _ = try federation.submit("long", document(count: 2))
    begin(&federation)
    #expect(federation.agents["a"]!.runs.values.allSatisfy { $0.phase == .running })
    pass(&federation, seconds: 20)
    federation.disconnect("a")
    pass(&federation, seconds: 40)
    #expect(
      federation.database.budgets["default"]?.reserved == Amount("2"), "nothing is held for what nobody can be told")
    // Back in time: welcomed, renewed, told. The next renewal is committed, and its message is lost with the session and the leader.
    federation.connect("a")
    pass(&federation, seconds: 5)
    #expect(federation.agents["a"]!.runs.values.allSatisfy { $0.slice == .seconds(200) })
    federation.agents["a"]!.session = nil
    pass(&federation, seconds: 90)
    #expect(federation.database.reservations.values.allSatisfy { $0.slice == .seconds(300) })
    #expect(federation.agents["a"]!.runs.values.allSatisfy { $0.slice == .seconds(200) }, "it has heard nothing")
    federation.crash()
    federation.connect("a")
    pass(&federation, seconds: 2)
    #expect(federation.agents["a"]!.runs.values.allSatisfy { $0.slice == .seconds(300) }, "told anew")
    // Away for a day: the fence ends both, and what is held is all that is charged.
    federation.disconnect("a")
    let held = try #require(federation.database.budgets["default"]?.reserved)
    pass(&federation, seconds: 1000)
    #expect(federation.database.budgets["default"]?.reserved == held && federation.world.live.isEmpty)
    federation.connect("a")
    pass(&federation, seconds: 2)
    #expect(federation.database.budgets["default"]?.spent == held)
    #expect(federation.database.entries.allSatisfy { $0.kind != .overrun } && federation.database.imbalance == nil)
    #expect(federation.database.events.contains { $0.reason == "RunUnrenewed" })
    // There was money: their tasks run again, as after a loss.
    let isOver = federation.runToEnd()
    #expect(isOver && federation.database.workflows.values.allSatisfy { $0.status.phase == .succeeded })
  }

  @Test(
    "An agent of an earlier release gets the whole bound as one slice; one that comes instead of a newer one, what is held"
  )
  func earlierAgents() throws {
    var federation = federation(seed: 6, "100")
    federation.disconnect("a")
    federation.agents["a"]!.renewsSlices = false
    federation.connect("a")
    _ = try federation.submit("long", document(count: 2))
    begin(&federation)
    #expect(federation.database.reservations.values.allSatisfy { $0.amount == Amount("6")! && !$0.isRenewable })
    #expect(
      federation.agents["a"]!.runs.values.allSatisfy { $0.slice == nil && $0.assignment.walltime == .seconds(600) })
    var newer = self.federation(seed: 7, "100")
    _ = try newer.submit("long", document())
    newer.settle()
    newer.plan()
    newer.settle()
    newer.disconnect("a")
    newer.agents["a"]!.renewsSlices = false
    newer.connect("a")
    newer.settle()
    while !newer.agents["a"]!.inbox.isEmpty { newer.deliver("a") }
    #expect(newer.agents["a"]!.runs.values.map(\.assignment.walltime) == [.seconds(100)])
  }

  @Test(
    "A run whose beginning is not known, because it was long under way and its agent's clock is wrong, is renewed in time",
    arguments: [-86_400, 0, 86_400])
  func wrongClock(seconds: Int) throws {
    var federation = federation(seed: 10, "100")
    federation.agents["a"]!.clockError = .seconds(seconds)
    _ = try federation.submit("long", document())
    federation.settle()
    federation.plan()
    federation.settle()
    pass(&federation, seconds: 300)
    begin(&federation)
    for elapsed in stride(from: 40, through: 320, by: 40) {
      pass(&federation, seconds: 40)
      #expect(federation.agents["a"]!.runs.values.map(\.phase) == [.running], "after \(elapsed) s")
      let slice = try only(federation).slice
      #expect(slice > .seconds(elapsed) && slice <= .seconds(elapsed + 280), "\(slice) after \(elapsed) s")
    }
  }

  @Test(
    "What runs of a template have taken is held at once, and a run whose bound is no longer than a slice is held whole")
  func lengths() throws {
    var federation = federation(seed: 8, "100")
    _ = try federation.submit("first", document())
    begin(&federation)
    pass(&federation, seconds: 250)
    let isOver = federation.runToEnd()
    #expect(isOver)
    _ = try federation.submit("second", document())
    begin(&federation)
    let slice = try only(federation).slice
    #expect(slice > .seconds(240) && slice < .seconds(600), "\(slice)")
    var short = self.federation(seed: 9, "100")
    _ = try short.submit("short", document().replacing("600s", with: "100s"))
    begin(&short)
    #expect(try only(short).since == nil && !only(short).isRenewable, "nothing more is ever written of it")
  }

  @Test(
    "I3: whatever is renewed, lost, cut off and rebuilt, no commit overspends, no run uses more than is held for it, and all ends",
    arguments: 0..<40)
  func holds(seed: UInt64) throws {
    var federation = federation(seed: seed, "14", seed % 3 == 0 ? .stop : nil, on: ["a", "b"])
    _ = try federation.submit("long", document(count: 6))
    federation.settle()
    var seen: Int64 = -1
    for step in 0..<700 {
      let name: ClusterName = federation.random.next(upTo: 2) == 0 ? "a" : "b"
      federation.clock = federation.clock + .milliseconds(federation.random.next(upTo: 4000))
      for agent in federation.agents.keys {
        federation.agents[agent]!.clock = federation.clock
        federation.agents[agent]!.endUnpaid(&federation.world)
      }
      federation.blow(Self.weather, at: name)
      guard federation.database.sequence != seen else { continue }
      seen = federation.database.sequence
      let imbalance = federation.database.imbalance
      #expect(imbalance == nil, "seed \(seed), step \(step)")
      guard imbalance == nil else { return }
    }
    // What an agent was told is held, so that what it uses is never more.
    for (name, agent) in federation.agents {
      for run in agent.runs.values where run.phase == .running && run.slice != nil {
        let held = federation.database.reservations[run.assignment.run]?.slice ?? .zero
        #expect(run.slice! <= held, "seed \(seed), \(name)")
      }
    }
    federation.command(budget("100"))
    let isOver = federation.runToEnd()
    #expect(isOver, "seed \(seed): \(federation.remains)")
    #expect(federation.database.imbalance == nil && federation.database.reservations.isEmpty, "seed \(seed)")
    #expect(federation.database.entries.allSatisfy { $0.kind != .overrun }, "seed \(seed)")
    #expect(federation.world.violations.isEmpty, "seed \(seed)")
  }
}
