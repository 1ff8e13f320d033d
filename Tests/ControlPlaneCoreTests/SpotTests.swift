import ControlPlaneCore
import FederationModel
import LedgerCore
import SchedulerCore
import Testing
import WorkflowCore

private let hour = PriceSheet(currency: "CNY", coreHour: 400)

private func spotPrice(_ minor: Double) -> Command {
  .spot("a", .setPrices(PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: minor))))
}

/// Tasks of a core and an hour at most that take spot capacity and nothing else.
private func bidding(_ count: Int, _ bid: String, _ more: String = "", outputs: String = "") -> String {
  classTasks(
    "offline", count, "spot: require, walltime: 1h, maxPrice: \"\(bid)\"\(more.isEmpty ? "" : ", " + more)",
    outputs: outputs, retries: 1)
}

@Suite("Spot capacity in the core")
struct SpotTests {
  /// One cluster of four slots, of which a share is spot capacity at 1 CNY for a core and hour; the rest costs 4.
  private func federation(_ percent: Int = 100, notice: Int64 = 60) -> Federation {
    var federation = Federation(seed: 8, clusters: ["a"], configuration: CoreConfiguration(holdsHeadroom: false))
    federation.command(.setPrices("a", PricePeriod(prices: hour)))
    federation.command(.spot("a", .offer(percent: percent, notice: .seconds(notice), reason: nil)))
    federation.command(spotPrice(100))
    federation.settle()
    return federation
  }

  private func set(_ command: Command, _ federation: inout Federation) {
    let request = federation.command(command)
    federation.settle()
    #expect(throws: Never.self) { try federation.replies[request]?.get() }
    federation.deliverHere()
  }

  private func running(_ yaml: String, _ federation: inout Federation, name: String = "w") throws {
    _ = try federation.submit(name, yaml)
    federation.settle()
    federation.planHere()
    federation.startHere()
  }

  private func reason(_ federation: Federation, _ name: String = "w") -> String {
    federation.core.standstill(of: WorkflowReference(project: "default", name: name))?.reason ?? ""
  }

  // MARK: Prices

  @Test("A run that bids less than the price becomes leaves, waits and says why, and comes back when it falls")
  func priceRises() throws {
    var federation = federation()
    try running(bidding(1, "3 CNY"), &federation)
    let first = try #require(federation.database.runs.values.first)
    #expect(federation.database.explanations[first.explanation]?.document.contains(#""spot":true"#) == true)
    #expect(
      first.quote?.coreHour == 100
        && first.spot
          == SpotTerms(
            bid: Money("3 CNY"), bound: .seconds(3600), notice: .seconds(60))
    )
    set(spotPrice(300), &federation)
    #expect(federation.leavingHere.isEmpty, "a bid of 3 bears a price of 3")
    set(spotPrice(400), &federation)
    #expect(federation.leavingHere == [first.id])
    #expect(
      federation.database.runs[first.id]?.cancelReason == "Evicted: spot price 4.00 CNY above bid 3.00 CNY on a")
    #expect(federation.database.events.contains { $0.reason == "Evicted" && $0.cluster == "a" })
    federation.endHere(first.id, TaskOutcome(phase: .cancelled))
    federation.planHere()
    #expect(federation.database.runs[first.id]?.phase == .preempted)
    #expect(federation.database.runs[first.id]?.charge == Amount("0.01"), "36 s at what was quoted")
    #expect(federation.database.runs.count == 1)
    #expect(reason(federation) == "a: spot price 4.00 CNY above bid 3.00 CNY")
    set(spotPrice(250), &federation)
    federation.planHere()
    let second = try #require(federation.database.runs.values.first { $0.epoch == 2 })
    #expect(second.quote?.coreHour == 250)
    #expect(federation.database.nodes.values.contains { $0.restarts == 1 }, "counted, and by no retry")
    federation.startHere()
    federation.endHere(second.id, TaskOutcome(phase: .succeeded, exitCode: 0))
    #expect(federation.database.workflows.values.allSatisfy { $0.status.phase == .succeeded })
    #expect(federation.world.violations.isEmpty)
  }

  @Test("A price that changes by the clock sends away and calls back without anybody's command")
  func schedule() throws {
    var federation = federation()
    let from = federation.clock + .seconds(100)
    set(
      .spot(
        "a",
        .setPrices(
          PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 900), from: from, until: from + .seconds(100)))),
      &federation)
    try running(bidding(2, "3 CNY"), &federation)
    federation.tickHere(seconds: 50)
    #expect(federation.leavingHere.isEmpty && federation.database.runs.count == 2)
    federation.tickHere(seconds: 60)
    #expect(federation.leavingHere.count == 2)
    for run in federation.leavingHere { federation.endHere(run, TaskOutcome(phase: .cancelled)) }
    federation.planHere()
    #expect(federation.database.runs.count == 2)
    federation.tickHere(seconds: 100)
    #expect(federation.database.runs.count == 4, "\(reason(federation))")
  }

  @Test("Who names no bid stays as long as it costs no more than the rest of the cluster, whichever of the two changes")
  func noBid() throws {
    var federation = federation(50)
    try running(classTasks("offline", 1, "spot: require, walltime: 1h"), &federation)
    set(spotPrice(400), &federation)
    #expect(federation.leavingHere.isEmpty)
    set(.setPrices("a", PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 399))), &federation)
    federation.tickHere()
    #expect(federation.leavingHere.count == 1)
  }

  @Test("I3: whatever a run without a walltime takes, it is charged no more than it bid")
  func chargeIsBounded() throws {
    var federation = federation()
    try running(
      classTasks("offline", 1, "spot: require, maxPrice: \"0.01 CNY\"").replacing("retryStrategy", with: "x"),
      &federation)
    let run = try #require(federation.database.runs.values.first)
    federation.endHere(run.id, TaskOutcome(phase: .succeeded, exitCode: 0), seconds: 3600)
    #expect(federation.database.runs[run.id]?.charge == Amount("0.01"))
  }

  @Test("The hook ends within the notice: a longer grace is cut to it, and a task without one gets SIGTERM in time")
  func notice() throws {
    var federation = federation(notice: 20)
    try running(bidding(1, "3 CNY", "onPreempt: {signal: SIGUSR1, grace: 5m}"), &federation)
    try running(bidding(1, "3 CNY", "onPreempt: {signal: SIGINT, grace: 7s}"), &federation, name: "short")
    try running(bidding(1, "3 CNY"), &federation, name: "plain")
    let hooks = federation.agents["a"]!.runs.sorted { $0.key < $1.key }.map {
      $0.value.assignment.spec.federation.onPreempt
    }
    #expect(
      hooks == [
        PreemptionHook(signal: .user1, grace: .seconds(20)), PreemptionHook(signal: .interrupt, grace: .seconds(7)),
        PreemptionHook(signal: .terminate, grace: .seconds(20)),
      ])
  }

  // MARK: Reclaiming

  @Test("A share that becomes smaller sends those away that have done least, as many as do not fit, and nobody else")
  func reclaims() throws {
    var federation = federation(75)
    for index in 0..<3 {
      try running(bidding(1, "3 CNY"), &federation, name: "w\(index)")
      federation.clock = federation.clock + .seconds(100)
    }
    try running(classTasks("idle"), &federation, name: "rest")
    let young = try #require(federation.database.runs.values.first { $0.task.workflow.number == 3 })
    set(.spot("a", .offer(percent: 50, notice: nil, reason: "a lecture")), &federation)
    #expect(federation.leavingHere == [young.id])
    #expect(
      federation.database.runs[young.id]?.cancelReason == "Evicted: a takes spot capacity back: a lecture")
    for _ in 0..<5 { federation.tickHere() }
    #expect(federation.leavingHere == [young.id], "asked again while one leaves")
    try running(classTasks("offline"), &federation, name: "more")
    #expect(federation.database.runs.count == 4, "what is given back is not there before it is left")
    federation.endHere(young.id, TaskOutcome(phase: .cancelled))
    federation.planHere()
    #expect(federation.database.runs.values.contains { $0.task.workflow.number == 5 && $0.spot == nil })
    #expect(
      reason(federation, "w2").contains("all 2 slots of its spot capacity are taken"), "\(reason(federation, "w2"))")
  }

  @Test("All of it taken back, or ended: all leave, and who waits is told", arguments: [false, true])
  func takesAll(isEnded: Bool) throws {
    var federation = federation()
    try running(bidding(4, "3 CNY"), &federation)
    set(.spot("a", isEnded ? .withdraw : .offer(percent: 0, notice: nil, reason: "repair")), &federation)
    #expect(federation.leavingHere.count == 4)
    for run in federation.leavingHere { federation.endHere(run, TaskOutcome(phase: .cancelled)) }
    federation.planHere()
    #expect(federation.database.runs.count == 4)
    #expect(
      reason(federation)
        == (isEnded
          ? "a: the workflow asks for spot capacity, and it has none"
          : "a: its operator has taken its spot capacity back: repair"))
    set(.spot("a", .offer(percent: 100, notice: .seconds(9), reason: nil)), &federation)
    if isEnded { set(spotPrice(100), &federation) }
    federation.planHere()
    #expect(federation.database.runs.count == 8)
  }

  @Test("An eviction that a leader began, its successor finishes, in slices and without asking anybody twice (I1, I2)")
  func survivesCrashes() throws {
    for seed in 0..<30 as Range<UInt64> {
      var federation = Federation(
        seed: seed, clusters: ["a", "b"], configuration: CoreConfiguration(sliceLimit: 1, holdsHeadroom: false))
      for name in ["a", "b"] as [ClusterName] {
        federation.command(.spot(name, .offer(percent: 100, notice: .seconds(30), reason: nil)))
        federation.command(.spot(name, .setPrices(PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 100)))))
      }
      _ = try federation.submit("w", bidding(7, "3 CNY", "onDisconnect: wait"))
      federation.settle()
      for step in 0..<600 {
        let name = ["a", "b"][federation.random.next(upTo: 2)] as ClusterName
        switch federation.random.next(upTo: 40) {
        case 0 where step % 4 == 0: federation.crash()
        case 1: federation.disconnect(name)
        case 2, 3, 4: if federation.agents[name]!.session == nil { federation.connect(name) }
        case 5:
          let price = PriceSheet(currency: "CNY", coreHour: Double(federation.random.next(upTo: 6) * 100))
          federation.command(.spot(name, .setPrices(PricePeriod(prices: price))))
        case 6:
          let percent = federation.random.next(upTo: 5) * 25
          federation.command(.spot(name, .offer(percent: percent, notice: nil, reason: nil)))
        case 7: federation.apply(.tick(silence: [:]))
        case 8..<14: federation.plan()
        case 14..<19: federation.send()
        case 19..<24: federation.answer()
        case 24..<30: federation.deliver(name)
        case 30..<34: federation.work(name)
        default: federation.report(name)
        }
      }
      for name in ["a", "b"] as [ClusterName] {
        federation.command(.spot(name, .offer(percent: 100, notice: nil, reason: nil)))
        federation.command(.spot(name, .setPrices(PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 100)))))
      }
      let isOver = federation.runToEnd()
      #expect(isOver, "seed \(seed): \(federation.remains)")
      #expect(federation.world.violations.isEmpty, "seed \(seed): \(federation.world.violations)")
      for run in federation.database.runs.values {
        let cost = run.quote!.cost(of: Resources(cpuMillicores: 1000), for: .seconds(3600))
        #expect(run.phase.isTerminal && cost <= 300, "seed \(seed): \(run)")
        #expect(run.spot?.isEvicted != true || run.cancelReason?.hasPrefix("Evicted: ") == true, "seed \(seed): \(run)")
      }
    }
  }

  @Test("A new leader tells a returning agent of evictions as of preemptions, so that hooks are called")
  func welcomes() throws {
    var federation = federation()
    try running(bidding(1, "3 CNY", "onPreempt: {signal: SIGUSR1}"), &federation)
    federation.disconnect("a")
    federation.command(spotPrice(900))
    federation.settle()
    federation.crash()
    federation.connect("a")
    federation.settle()
    let welcomes = federation.agents["a"]!.inbox.compactMap { command -> AgentWelcome? in
      guard case .welcome(let welcome) = command else { return nil }
      return welcome
    }
    #expect(welcomes.count == 1 && welcomes[0].preempted == welcomes[0].cancels && welcomes[0].cancels.count == 1)
  }

  // MARK: Commands

  @Test("What makes no sense is refused, and everything is audited")
  func commands() throws {
    var federation = Federation(seed: 8, clusters: ["a"])
    func refusal(_ command: SpotCommand, _ federation: inout Federation) -> ErrorCode? {
      let request = federation.command(.spot("a", command))
      federation.settle()
      guard case .failure(let error)? = federation.replies[request] else { return nil }
      return error.code
    }
    let price = PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 1))
    #expect(refusal(.setPrices(price), &federation) == .failedPrecondition)
    #expect(refusal(.withdraw, &federation) == .failedPrecondition)
    #expect(refusal(.offer(percent: 50, notice: nil, reason: nil), &federation) == .invalidArgument)
    #expect(refusal(.offer(percent: 101, notice: .seconds(9), reason: nil), &federation) == .invalidArgument)
    #expect(refusal(.offer(percent: -1, notice: .seconds(9), reason: nil), &federation) == .invalidArgument)
    #expect(refusal(.offer(percent: 50, notice: .zero, reason: nil), &federation) == .invalidArgument)
    #expect(refusal(.offer(percent: 50, notice: .seconds(601), reason: nil), &federation) == .invalidArgument)
    #expect(refusal(.offer(percent: 50, notice: .seconds(9), reason: "x"), &federation) == nil)
    federation.command(.setPrices("a", PricePeriod(prices: PriceSheet(currency: "EUR", coreHour: 1))))
    #expect(refusal(.setPrices(price), &federation) == .invalidArgument, "two currencies on one cluster")
    federation.command(.updateCluster(ClusterSpec(name: "a", kind: .process)))
    federation.settle()
    #expect(federation.database.clusters["a"]?.spec.spot?.percent == 50, "an ordinary change leaves it alone")
    #expect(federation.database.audit.contains { $0.action == "cluster.spot" && $0.detail == "50 %, notice 9 s: x" })
  }
}
