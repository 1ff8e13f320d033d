import ControlPlaneCore
import FederationModel
import LedgerCore
import SchedulerCore
import Testing
import WorkflowCore

/// Twelve tasks of at most a minute each.
private let fan = """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: fan}
  spec:
    entrypoint: main
    federation: {walltime: 60s}
    templates:
    - name: main
      steps: [[{name: s, template: one, withSequence: {count: "12"}}]]
    - name: one
      retryStrategy: {limit: "9"}
      container: {image: any, command: ["true"]}
  """

/// A core-second for a fen: a minute is reserved for 0.60 CNY.
private let prices = PriceSheet(currency: "CNY", coreHour: 3600)

private func budget(_ limit: String, _ onExhausted: ExhaustionPolicy? = nil) -> Command {
  .project(
    "default",
    .setBudget(
      BudgetChange(
        limit: Amount(limit)!, currency: "CNY", period: .once, isHard: true, onExhausted: onExhausted,
        defaultWalltime: .seconds(600))))
}

extension InMemoryDatabase {
  /// What the committed rows say against each other.
  var imbalance: String? {
    var balances: [LedgerAccount: Int64] = [:]
    for entry in entries {
      balances[entry.from, default: 0] -= entry.amount.micros
      balances[entry.to, default: 0] += entry.amount.micros
    }
    for (project, budget) in budgets {
      for (kind, image) in [
        (LedgerAccount.Kind.available, budget.available), (.reserved, budget.reserved), (.spent, budget.spent),
      ] where balances[LedgerAccount(kind, project.text, "CNY")] ?? 0 != image.micros {
        return "\(project): \(kind) is \(image), its entries say otherwise"
      }
    }
    // What agents may have been told to run is held: the placement and its reservation are one unit.
    for run in runs.values where !run.phase.isTerminal && reservations[run.id] == nil {
      return "nothing is held for run \(run.id)"
    }
    return Ledger(
      budgets: Array(budgets.values), reservations: Array(reservations.values), allowances: Array(allowances.values),
      storage: Array(storage.values)
    ).violation
  }
}

@Suite("Money in the core")
struct CoreMoneyTests {
  private static let weather = Weather([
    .crash: 1, .disconnect: 1, .connect: 4, .plan: 5, .deliver: 5, .work: 5, .report: 4,
    .tick: 1, .proceed: 4, .send: 5, .answer: 5,
  ])

  /// A federation of clusters with and without prices, and a budget.
  private func federation(seed: UInt64, _ names: [ClusterName], free: [ClusterName] = [], _ limit: String) -> Federation
  {
    var federation = Federation(seed: seed, clusters: (names + free).map(\.text))
    for name in names {
      federation.command(.setPrices(name, PricePeriod(prices: prices)))
      federation.agents[name]!.wallMilliseconds = 20_000
    }
    federation.command(budget(limit))
    federation.settle()
    return federation
  }

  @Test(
    "I3: reserved + spent <= limit at every commit, through crashes of the leader and lost sessions, and nothing stays reserved",
    arguments: 0..<40)
  func holds(seed: UInt64) throws {
    var federation = federation(seed: seed, ["a", "b"], free: ["c"], "6.50")
    _ = try federation.submit("fan", fan)
    federation.settle()
    var seen: Int64 = -1
    for step in 0..<400 {
      let name: ClusterName = ["a", "b", "c"][federation.random.next(upTo: 3)]
      federation.blow(Self.weather, at: name)
      guard federation.database.sequence != seen else { continue }
      seen = federation.database.sequence
      let imbalance = federation.database.imbalance
      #expect(imbalance == nil, "seed \(seed), step \(step)")
      guard imbalance == nil else { return }
    }
    let isOver = federation.runToEnd()
    #expect(isOver, "seed \(seed): \(federation.remains)")
    #expect(federation.database.imbalance == nil, "seed \(seed)")
    #expect(federation.database.reservations.isEmpty, "seed \(seed)")
    let charged = federation.database.runs.values.reduce(Amount.zero) { $0 + ($1.charge ?? .zero) }
    let spent = try #require(federation.database.budgets["default"]?.spent)
    #expect(spent == charged && spent > .zero && spent <= Amount("6.50")!, "seed \(seed): \(spent), \(charged)")
    #expect(!federation.database.runs.values.contains { $0.cluster == "c" }, "seed \(seed): it has no price")
    #expect(federation.world.violations.isEmpty, "seed \(seed)")
  }

  @Test(
    "Of tasks that compete for the last money as many start as it covers; the others say why, and follow when some comes back"
  )
  func lastMoney() throws {
    var federation = federation(seed: 1, ["a", "b"], "2.50")
    for name in ["a", "b"] as [ClusterName] { federation.agents[name]!.wallMilliseconds = 1000 }
    _ = try federation.submit("fan", fan)
    federation.settle()
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.count == 4, "4 x 0.60 of 2.50")
    #expect(federation.database.budgets["default"]?.reserved == Amount("2.40"))
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.count == 4)
    let standstill = federation.core.standstill(of: WorkflowReference(project: "default", name: "fan"))
    #expect(standstill?.reason.contains("0.10 CNY left until runs end") == true, "\(String(describing: standstill))")
    #expect(standstill?.isUnplaceable == false)
    let ended = federation.runToEnd()
    #expect(ended, "each gives back 0.59: \(federation.remains)")
    #expect(federation.database.imbalance == nil)
  }

  @Test(
    "An agent that is away for a day keeps its runs' reservations through a change of leaders, and settles when it reports"
  )
  func awayForADay() throws {
    var federation = federation(seed: 2, ["a"], "1")
    _ = try federation.submit(
      "one", single.replacing("entrypoint:", with: "federation: {walltime: 60s}\n  entrypoint:"))
    federation.settle()
    federation.plan()
    federation.settle()
    while !federation.agents["a"]!.inbox.isEmpty { federation.deliver("a") }
    federation.work("a")
    federation.report("a")
    federation.settle()
    federation.disconnect("a")
    federation.work("a")
    federation.clock = federation.clock + .seconds(86_400)
    federation.apply(.tick(silence: ["a": .seconds(86_400)]))
    federation.settle()
    federation.crash()
    federation.apply(.tick(silence: ["a": .seconds(86_400)]))
    federation.settle()
    #expect(federation.database.budgets["default"]?.reserved == Amount("0.60"))
    let ended = federation.runToEnd()
    #expect(ended, "\(federation.remains)")
    let budget = try #require(federation.database.budgets["default"])
    #expect(budget.reserved == .zero && budget.spent == federation.database.runs.values.first?.charge)
    #expect(federation.database.imbalance == nil)
  }

  @Test("A run without a limit of its own is given the project's, by this leader and by the next one")
  func defaultWalltime() throws {
    var federation = federation(seed: 3, ["a"], "10")
    _ = try federation.submit("one", single)
    federation.settle()
    federation.plan()
    federation.settle()
    #expect(federation.database.reservations.values.map(\.amount) == [Amount("6")!], "600 s")
    for isRebuilt in [false, true] {
      if isRebuilt {
        federation.crash()
        federation.agents["a"]!.runs = [:]
        federation.connect("a")
        federation.settle()
      }
      while !federation.agents["a"]!.inbox.isEmpty { federation.deliver("a") }
      #expect(
        federation.agents["a"]!.runs.values.map(\.assignment.walltime) == [.seconds(600)], "rebuilt: \(isRebuilt)")
    }
  }

  @Test("A member's limit keeps what is hers waiting, says whose it is, and lets the others go on")
  func members() throws {
    var federation = federation(seed: 8, ["a", "b"], "100")
    federation.command(.project("default", .limitMember("anna", Amount("1")!)))
    func submit(_ name: String, _ user: String) throws {
      let submission = Submission(
        definition: try Federation.definition(fan), project: "default", name: name, uid: "uid-\(name)")
      federation.lastRequest += 1
      federation.apply(
        .command(
          .submit(submission), request: RequestID(federation.lastRequest), principal: Principal(user: user),
          idempotency: nil))
    }
    try submit("hers", "anna")
    try submit("his", "ben")
    federation.settle()
    // The first pass proposes more of hers than she may have; the second one knows.
    for _ in 0..<2 {
      federation.plan()
      federation.settle()
    }
    let allowances = federation.database.allowances
    #expect(allowances[Allowance.Name("default", "anna")]?.reserved == Amount("0.60"), "one at a time")
    #expect(allowances[Allowance.Name("default", "ben")]?.reserved == Amount("4.20"), "the other seven of eight slots")
    let reason = federation.core.standstill(of: WorkflowReference(project: "default", name: "hers"))?.reason
    #expect(reason?.contains("anna in project default has 0.40 CNY left until runs end") == true, "\(reason ?? "")")
    federation.crash()
    // Each of hers takes 0.20: three, and then 0.40 are left for good.
    _ = federation.runToEnd(limit: 40)
    #expect(federation.database.workflows.values.first { $0.name == "his" }?.status.phase.isTerminal == true)
    #expect(federation.database.allowances[Allowance.Name("default", "anna")]?.spent == Amount("0.60"))
    #expect(federation.database.imbalance == nil)
    federation.command(.project("default", .limitMember("anna", nil)))
    let isOver = federation.runToEnd()
    #expect(isOver && federation.database.imbalance == nil, "\(federation.remains)")
  }

  @Test(
    "stop ends a workflow whose next task can never be paid, with the reason, and one that has money coming goes on")
  func stops() throws {
    var federation = federation(seed: 6, ["a"], "1")
    federation.command(budget("1", .stop))
    // Each holds 0.60 and takes 0.20: after three of them 0.40 are left.
    _ = try federation.submit("fan", fan)
    let isOver = federation.runToEnd()
    #expect(isOver, "\(federation.remains)")
    let row = try #require(federation.database.workflows.values.first)
    #expect(row.status.phase == .failed && row.status.shutdown == .stop)
    #expect(row.status.shutdownMessage.contains("the budget is exhausted: it may cost 0.60 CNY"), "\(row.status)")
    #expect(federation.database.budgets["default"]?.spent == Amount("0.60"))
    #expect(federation.database.events.contains { $0.reason == "BudgetExhausted" })
    #expect(federation.database.audit.contains { $0.action == "budget.stop" && $0.object == "default/fan" })
    #expect(federation.database.imbalance == nil)
  }

  @Test("stop does not wait for an exit handler that cannot be paid either")
  func stopsHandlers() throws {
    var federation = federation(seed: 7, ["a"], "1")
    federation.command(budget("1", .stop))
    let text = single.replacing(
      "entrypoint: main", with: "entrypoint: main\n  onExit: main\n  federation: {walltime: 1h}")
    _ = try federation.submit("one", text)
    let isOver = federation.runToEnd()
    #expect(isOver && federation.database.runs.isEmpty, "\(federation.remains)")
    #expect(federation.database.workflows.values.first?.status.phase == .failed)
  }

  @Test("What a run used beyond what was reserved is borne by its cluster's operator")
  func overrun() throws {
    var federation = federation(seed: 4, ["a"], "10")
    federation.agents["a"]!.wallMilliseconds = 61_500
    _ = try federation.submit(
      "one", single.replacing("entrypoint:", with: "federation: {walltime: 60s}\n  entrypoint:"))
    let ended = federation.runToEnd()
    #expect(ended)
    #expect(federation.database.runs.values.first?.charge == Amount("0.60"))
    let overrun = federation.database.entries.filter { $0.kind == .overrun }
    #expect(overrun.map(\.amount) == [Amount("0.015")!] && overrun.first?.to.owner == "a")
  }

  @Test(
    "An unknown, an archived and a spent project take no new workflow, each with its reason; drain takes it, and it waits"
  )
  func admission() throws {
    var federation = federation(seed: 5, ["a"], "0")
    func refusal(_ federation: inout Federation, _ name: String, _ project: ProjectName) throws -> FederationError? {
      let definition = try Federation.definition(single)
      let request = federation.command(
        .submit(Submission(definition: definition, project: project, name: name, uid: "uid-\(name)")))
      federation.settle()
      guard case .failure(let error)? = federation.replies[request] else { return nil }
      return error
    }
    #expect(try refusal(&federation, "w1", "default")?.code == .budgetDenied)
    let unknown = try #require(try refusal(&federation, "w2", "lab"))
    #expect(unknown.code == .notFound && unknown.publicMessage.contains("fubini project create lab"))
    federation.command(.project("lab", .create(description: "")))
    #expect(try refusal(&federation, "w3", "lab") == nil)
    federation.command(.project("lab", .archive(true)))
    #expect(try refusal(&federation, "w4", "lab")?.code == .failedPrecondition)
    federation.command(budget("0", .drain))
    #expect(try refusal(&federation, "w5", "default") == nil)
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.values.allSatisfy { $0.task.workflow == WorkflowID(1) }, "only lab's has started")
    #expect(
      federation.core.standstill(of: WorkflowReference(project: "default", name: "w5"))?.reason.contains("CNY left")
        == true)
  }
}
