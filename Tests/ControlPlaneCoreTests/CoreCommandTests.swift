import ControlPlaneCore
import FederationModel
import Testing
import WorkflowCore

private func replaceable(_ policy: String) -> String {
  single.replacing("spec:\n", with: "spec:\n  federation: {onDisconnect: \(policy)}\n", maxReplacements: 1)
}

private let fan = """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: fan}
  spec:
    entrypoint: main
    templates:
    - name: main
      steps: [[{name: s, template: one, withItems: [1, 2, 3, 4]}]]
    - name: one
      container: {image: any, command: ["true"]}
  """

@Suite("Commands to the core")
struct CoreCommandTests {
  /// A federation of one cluster with four runs that its agent has not heard of, one in a slice.
  private func fourRuns() throws -> Federation {
    var federation = Federation(seed: 9, clusters: ["a"], configuration: CoreConfiguration(sliceLimit: 1))
    _ = try federation.submit("fan", fan)
    federation.settle()
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.count == 4)
    return federation
  }

  @Test(
    "A run that asked for no CPU is charged for one core, by this leader and by the next one", arguments: [false, true])
  func chargesTheDefaultRequest(isRebuilt: Bool) throws {
    var federation = Federation(seed: 4, clusters: ["a"])
    let prices = PriceSheet(currency: "CNY", coreHour: 3600)
    federation.command(.updateCluster(ClusterSpec(name: "a", kind: .process, prices: prices)))
    _ = try federation.submit("one", single)
    federation.settle()
    federation.plan()
    federation.settle()
    if isRebuilt {
      federation.crash()
      federation.connect("a")
      federation.settle()
    }
    let run = try #require(federation.database.runs.values.first)
    #expect(run.resources.cpuMillicores == 0, "it takes a slot, and no room beside it")
    var usage = RunUsage()
    usage.wallMilliseconds = 10_000
    let event = AgentEvent(
      sequence: 1, run: run.id, phase: .succeeded, at: .epoch, outcome: TaskOutcome(phase: .succeeded, exitCode: 0),
      usage: usage)
    federation.apply(.agentEvents("a", federation.agents["a"]!.session!, [event]))
    federation.settle()
    #expect(federation.database.runs[run.id]?.charge == Amount("0.1"))
  }

  @Test(
    "A run pays what was quoted when it was placed: its class's share of the prices of that time, whatever comes after")
  func quotesBind() throws {
    var federation = Federation(seed: 14, clusters: ["a"])
    let always = PriceSheet(currency: "CNY", coreHour: 3600)
    federation.command(.setPrices("a", PricePeriod(prices: always)))
    let sale = PriceSheet(currency: "CNY", coreHour: 1800, classFactors: ["idle": 0.5, "interruptible": 1])
    let now = federation.clock
    federation.command(
      .setPrices("a", PricePeriod(prices: sale, from: now + .seconds(-60), until: now + .seconds(3600))))
    federation.command(
      .setPrices("a", PricePeriod(prices: PriceSheet(currency: "EUR", coreHour: 9), from: now + .seconds(7200))))
    // An ordinary change of the cluster leaves periods alone.
    federation.command(.updateCluster(ClusterSpec(name: "a", kind: .process, labels: ["x": "y"], prices: always)))
    _ = try federation.submit(
      "one", single.replacing("entrypoint:", with: "federation: {priorityClass: idle}\n  entrypoint:"))
    federation.settle()
    federation.plan()
    federation.settle()
    let run = try #require(federation.database.runs.values.first)
    #expect(run.quote == PriceSheet(currency: "CNY", coreHour: 900))
    federation.command(.setPrices("a", PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 1_000_000))))
    var usage = RunUsage()
    usage.wallMilliseconds = 10_000
    let event = AgentEvent(
      sequence: 1, run: run.id, phase: .succeeded, at: .epoch, outcome: TaskOutcome(phase: .succeeded, exitCode: 0),
      usage: usage)
    federation.apply(.agentEvents("a", federation.agents["a"]!.session!, [event]))
    federation.settle()
    #expect(federation.database.runs[run.id]?.charge == Amount("0.025"), "10 s of one core at 9 an hour")
    let spec = try #require(federation.database.clusters["a"]?.spec)
    #expect(spec.pricePeriods?.count == 2 && spec.labels == ["x": "y"])
    #expect(spec.prices(at: now + .seconds(7200))?.currency == "EUR")
    #expect(spec.prices(at: now + .seconds(3600))?.coreHour == 1_000_000)
  }

  @Test("A run is quoted the prices of its partition, is told to go there, and pays them whatever comes after")
  func partitionsBind() throws {
    var federation = Federation(seed: 16, clusters: ["a"])
    var agent = federation.agents["a"]!
    func partition(_ name: String, isDefault: Bool, cores: Int64) -> Partition {
      Partition(
        name: name, isDefault: isDefault, nodes: 1, usableNodes: 1, cpus: cores, freeCPUs: cores, cpusPerNode: cores,
        memoryPerNode: .gibibytes(64))
    }
    agent.partitions = [partition("small", isDefault: true, cores: 1), partition("large", isDefault: false, cores: 8)]
    federation.agents["a"] = agent
    federation.apply(.inventoryChanged("a", try #require(agent.session), agent.inventory))
    var sheet = PriceSheet(currency: "CNY", coreHour: 3600)
    sheet.partitions = ["large": HourlyPrices(coreHour: 7200)]
    federation.command(.setPrices("a", PricePeriod(prices: sheet)))
    var unknown = sheet
    unknown.partitions = ["lagre": HourlyPrices(coreHour: 1)]
    let mistake = federation.command(.setPrices("a", PricePeriod(prices: unknown)))
    federation.settle()
    guard case .failure(let refusal)? = federation.replies[mistake] else {
      Issue.record("a partition that is not there was given a price")
      return
    }
    #expect(refusal.publicMessage.contains("no partition or pool lagre: it has large, small"))
    _ = try federation.submit(
      "one", single.replacing("container: {", with: "container: {resources: {requests: {cpu: 2}}, "))
    federation.settle()
    federation.planHere()
    let run = try #require(federation.database.runs.values.first)
    #expect(run.quote?.coreHour == 7200 && run.quote?.partition == "large")
    #expect(federation.agents["a"]!.runs[run.id]?.assignment.spec.federation.slurm?.partition == "large")
    federation.command(.setPrices("a", PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 1))))
    federation.startHere()
    federation.endHere(run.id, TaskOutcome(phase: .succeeded, exitCode: 0), seconds: 10)
    #expect(federation.database.runs[run.id]?.charge == Amount("0.40"), "10 s of two cores at 72 an hour")
  }

  @Test("Periods of prices are bounded, the same time again replaces, and what is over makes room")
  func pricePeriods() throws {
    var federation = Federation(seed: 15, clusters: ["a"])
    let sheet = PriceSheet(currency: "CNY", coreHour: 1)
    let start = federation.clock
    func period(_ index: Int) -> PricePeriod {
      PricePeriod(prices: sheet, from: start + .seconds(index), until: start + .seconds(1000 + index))
    }
    for index in 0..<ClusterSpec.pricePeriodsMax { federation.command(.setPrices("a", period(index))) }
    let again = federation.command(.setPrices("a", period(3)))
    let tooMany = federation.command(.setPrices("a", period(999)))
    federation.settle()
    #expect(federation.database.clusters["a"]?.spec.pricePeriods?.count == ClusterSpec.pricePeriodsMax)
    #expect(throws: Never.self) { try federation.replies[again]?.get() }
    #expect(throws: FederationError.self) { try federation.replies[tooMany]?.get() }
    federation.clock = start + .seconds(1010)
    let later = federation.command(.setPrices("a", period(999)))
    federation.settle()
    #expect(throws: Never.self) { try federation.replies[later]?.get() }
    #expect(federation.database.clusters["a"]!.spec.pricePeriods!.count < ClusterSpec.pricePeriodsMax)
  }

  @Test("A welcome names the complete desired set, and the assignments follow in slices")
  func welcomesInSlices() throws {
    var federation = try fourRuns()
    federation.disconnect("a")
    federation.connect("a")
    federation.send()
    #expect(federation.core.isUnfinished)
    let cancelled = try #require(federation.database.workflows.values.first)
    federation.command(.workflow(WorkflowReference(project: cancelled.project, name: cancelled.name), .terminate))
    federation.settle()
    let inbox = federation.agents["a"]!.inbox
    guard case .welcome(let welcome)? = inbox.first else {
      Issue.record("the welcome comes first: \(inbox)")
      return
    }
    #expect(welcome.desired == federation.database.runs.keys.sorted() && welcome.cancels.isEmpty)
    let assigned = inbox.flatMap { command -> [RunID] in
      if case .assign(let runs) = command { runs.map(\.run) } else { [] }
    }
    #expect(assigned == welcome.desired)
    // The cancellation came between the slices, and reaches runs whose assignment came after it.
    while !federation.agents["a"]!.inbox.isEmpty { federation.deliver("a") }
    #expect(federation.agents["a"]!.runs.values.count(where: \.isCancelWanted) == 4)
  }

  @Test(
    "A cluster with many runs is forgotten in slices, its agent refused meanwhile, its operator answered after the last"
  )
  func forgetsInSlices() throws {
    var federation = try fourRuns()
    let request = federation.command(
      .forgetCluster("a", confirmStopped: true), key: IdempotencyKey(key: "k", requestHash: "h"))
    federation.connect("a")
    let again = federation.command(.forgetCluster("a", confirmStopped: true))
    federation.send()
    federation.answer()
    #expect(federation.replies[request] == nil && federation.database.clusters["a"] != nil)
    #expect(federation.agents["a"]!.session == nil, "a cluster that is being forgotten is not spoken to")
    federation.settle()
    guard case .success? = federation.replies[request], case .failure(let error)? = federation.replies[again] else {
      Issue.record("the first is carried out: \(federation.replies)")
      return
    }
    #expect(error.code == .failedPrecondition)
    #expect(federation.database.clusters["a"] == nil)
    #expect(federation.database.runs.values.allSatisfy { $0.phase == .lost })
  }

  @Test("A repeated submission with the same key gets the first answer and makes nothing new, also from a new leader")
  func repeatsAnswers() throws {
    var federation = Federation(seed: 1, clusters: ["a"])
    let key = IdempotencyKey(key: "k", requestHash: "h")
    let first = try federation.submit("one", single, key: key)
    federation.settle()
    federation.crash()
    let second = try federation.submit("one", single, key: key)
    federation.settle()
    guard case .success(let a)? = federation.replies[first], case .success(let b)? = federation.replies[second] else {
      Issue.record("both are answered: \(federation.replies)")
      return
    }
    #expect(a == b)
    #expect(federation.database.workflows.count == 1)
    let other = try federation.submit("two", single, key: IdempotencyKey(key: "k", requestHash: "other"))
    federation.settle()
    guard case .failure(let error)? = federation.replies[other] else {
      Issue.record("the same key for another request is refused")
      return
    }
    #expect(error.code == .invalidArgument)
  }

  @Test("Nothing is answered before its unit has committed")
  func commitsThenActs() throws {
    var federation = Federation(seed: 2, clusters: ["a"])
    let request = try federation.submit("one", single)
    federation.send()
    #expect(federation.replies[request] == nil)
    federation.answer()
    #expect(federation.replies[request] != nil)
  }

  @Test(
    "A run that waits out a disconnection is left alone; one that may be replaced is, after the limit and no sooner (I1)"
  )
  func replacesAfterTheLimit() throws {
    for policy in ["wait", "replace"] {
      var federation = Federation(seed: 3, clusters: ["a"])
      _ = try federation.submit("one", replaceable(policy))
      federation.settle()
      federation.plan()
      federation.settle()
      federation.deliver("a")
      federation.deliver("a")
      federation.work("a")
      federation.report("a")
      federation.settle()
      federation.disconnect("a")
      federation.apply(.tick(silence: ["a": .seconds(69)]))
      federation.settle()
      #expect(federation.database.runs.values.allSatisfy { !$0.phase.isTerminal }, "\(policy): before the limit")
      federation.apply(.tick(silence: ["a": .seconds(71)]))
      federation.settle()
      let lost = federation.database.runs.values.filter { $0.phase == .lost }
      #expect(lost.count == (policy == "replace" ? 1 : 0), "\(policy): after the limit")
    }
  }

  @Test(
    "A run that its own cluster preempted is placed again, whatever its task says of disconnections; another loss ends it",
    arguments: [RunEndCause.preempted, .nodeFailure])
  func preemptedByItsCluster(_ cause: RunEndCause) throws {
    var federation = Federation(seed: 3, clusters: ["a"])
    _ = try federation.submit("one", replaceable("wait"))
    federation.settle()
    federation.plan()
    federation.settle()
    federation.deliver("a")
    let run = try #require(federation.database.runs.keys.first)
    var event = AgentEvent(
      sequence: 1, run: run, phase: .lost, at: .epoch, message: "gone",
      outcome: TaskOutcome(phase: .lost, message: "gone"))
    event.cause = cause
    federation.apply(.agentEvents("a", federation.agents["a"]!.session!, [event]))
    federation.settle()
    federation.plan()
    federation.settle()
    let runs = federation.database.runs.values
    #expect(runs.filter { $0.phase == .lost }.count == 1)
    #expect(runs.count { !$0.phase.isTerminal } == (cause == .preempted ? 1 : 0), "\(runs.map(\.phase))")
    let phase = federation.database.workflows.values.first?.status.phase
    #expect(phase == (cause == .preempted ? .running : .error), "\(String(describing: phase))")
  }

  @Test("I8: when most agents vanish at once every limit is extended once, by a bounded time")
  func suspectsItself() throws {
    var federation = Federation(seed: 4, clusters: ["a", "b", "c"])
    _ = try federation.submit("one", replaceable("replace"))
    federation.settle()
    federation.plan()
    federation.settle()
    for name in ["a", "b", "c"] as [ClusterName] { federation.disconnect(name) }
    let silence = { (time: Duration) in ["a": time, "b": time, "c": time] as [ClusterName: Duration] }
    federation.apply(.tick(silence: silence(.seconds(100))))
    federation.settle()
    #expect(federation.database.runs.values.allSatisfy { $0.phase == .bound }, "extended")
    federation.apply(.tick(silence: silence(.seconds(371))))
    federation.settle()
    #expect(federation.database.runs.values.contains { $0.phase == .lost }, "not for ever")
  }

  @Test("An agent that comes back without its journal leaves its runs unaccounted, not doubled (I1)")
  func newJournal() throws {
    var federation = Federation(seed: 5, clusters: ["a"])
    _ = try federation.submit("one", single)
    federation.settle()
    federation.plan()
    federation.settle()
    while !federation.agents["a"]!.inbox.isEmpty { federation.deliver("a") }
    federation.work("a")
    federation.report("a")
    federation.settle()
    federation.disconnect("a")
    federation.agents["a"] = SimulatedAgent(cluster: "a", journal: "another-journal")
    federation.connect("a")
    federation.settle()
    while !federation.agents["a"]!.inbox.isEmpty { federation.deliver("a") }
    #expect(federation.agents["a"]!.runs.isEmpty, "it is not told to run it again")
    #expect(federation.database.runs.values.map(\.isUnaccounted) == [true])
    let refused = federation.command(.forgetCluster("a", confirmStopped: false))
    federation.settle()
    guard case .failure(let error)? = federation.replies[refused] else {
      Issue.record("forgetting without a word about the runs is refused")
      return
    }
    #expect(error.code == .failedPrecondition)
  }

  @Test("I10: what waits has a reason, and each cluster that was rejected its own")
  func explains() throws {
    var federation = Federation(seed: 6, clusters: ["a", "b"])
    federation.command(.cordon("a", reason: "new disks"))
    _ = try federation.submit(
      "one", single.replacing("spec:\n", with: "spec:\n  nodeSelector: {gpu: big}\n", maxReplacements: 1))
    federation.settle()
    let request = federation.command(.explain(WorkflowReference(project: "default", name: "one"), node: "one"))
    federation.settle()
    guard case .success(.explanation(let text))? = federation.replies[request] else {
      Issue.record("explained: \(String(describing: federation.replies[request]))")
      return
    }
    #expect(text.contains("\"cluster\":\"a\"") && text.contains("\"cluster\":\"b\""))
    #expect(text.contains("gpu=big is asked for"))
    let reference = WorkflowReference(project: "default", name: "one")
    #expect(federation.core.reasons(in: reference, of: [NodeID(0)]).count == 1)
  }

  @Test("I10: a workflow of which nothing runs says what it waits for, and whether any cluster would ever take it")
  func standsStill() throws {
    var federation = Federation(seed: 61, clusters: ["a"])
    let reference = WorkflowReference(project: "default", name: "one")
    _ = try federation.submit(
      "one", single.replacing("spec:\n", with: "spec:\n  nodeSelector: {gpu: big}\n", maxReplacements: 1))
    federation.settle()
    let still = try #require(federation.core.standstill(of: reference))
    #expect(still.isUnplaceable && still.reason == "a: gpu=big is asked for, it has no label gpu")
    federation.command(
      .updateCluster(ClusterSpec(name: "a", kind: .process, labels: ["gpu": "big"], prices: nil, project: nil)))
    federation.command(.drain("a", true, reason: "moving house"))
    federation.settle()
    let drained = federation.core.standstill(of: reference)
    #expect(drained?.reason == "a: draining: moving house" && drained?.isUnplaceable == false)
    federation.command(.drain("a", false, reason: ""))
    federation.command(.cordon("a", reason: nil))
    let isOver = federation.runToEnd()
    #expect(isOver, "\(federation.remains)")
    #expect(federation.core.standstill(of: reference) == nil)
  }

  @Test("I10: a gate says what it waits for; resuming nothing, or with a value that nothing takes, is refused")
  func resumesWhatWaits() throws {
    var federation = Federation(seed: 62, clusters: ["a"])
    let reference = WorkflowReference(project: "default", name: "one")
    _ = try federation.submit(
      "one",
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: one}
      spec:
        entrypoint: main
        templates:
        - name: main
          steps: [[{name: approve, template: approve}]]
        - name: approve
          suspend: {}
          outputs: {parameters: [{name: who, valueFrom: {supplied: {}}}]}
      """)
    federation.settle()
    let still = federation.core.standstill(of: reference)
    #expect(still?.displayName == "approve" && still?.reason == "waits for `fubini resume one --set who=VALUE`")
    func answer(_ command: WorkflowCommand) -> Result<Reply, FederationError>? {
      let request = federation.command(.workflow(reference, command))
      federation.settle()
      return federation.replies[request]
    }
    for (command, code) in [
      (.resume, .invalidArgument), (.resumeNodes(.displayName("nobody"), parameters: [:]), .failedPrecondition),
      (.resumeNodes(.all, parameters: ["whoo": "x"]), .invalidArgument),
    ] as [(WorkflowCommand, ErrorCode)] {
      guard case .failure(let error)? = answer(command) else {
        Issue.record("\(command) resumes nothing")
        continue
      }
      #expect(error.code == code)
    }
    guard case .success? = answer(.resumeNodes(.all, parameters: ["who": "me"])) else {
      Issue.record("it has what it waits for")
      return
    }
    let isOver = federation.runToEnd()
    #expect(isOver, "\(federation.remains)")
  }

  @Test("A failed workflow can be retried and deleted after it has left memory")
  func retriesAndDeletes() throws {
    var federation = Federation(seed: 7, clusters: ["a"])
    let reference = WorkflowReference(project: "default", name: "one")
    _ = try federation.submit("one", single)
    federation.settle()
    federation.command(.workflow(reference, .terminate))
    let isOver1 = federation.runToEnd()
    #expect(isOver1, "\(federation.remains)")
    #expect(federation.database.workflows.values.first?.status.phase == .failed)
    let retry = federation.command(.workflow(reference, .retry(restartSuccessful: false, nil)))
    federation.settle()
    guard case .success? = federation.replies[retry] else {
      Issue.record("retried: \(String(describing: federation.replies[retry]))")
      return
    }
    let isOver2 = federation.runToEnd()
    #expect(isOver2, "\(federation.remains)")
    let delete = federation.command(.workflow(reference, .delete))
    federation.settle()
    #expect(federation.replies[delete].map { if case .success(.deleted) = $0 { true } else { false } } == true)
    #expect(
      federation.database.workflows.isEmpty && federation.database.nodes.isEmpty && federation.database.runs.isEmpty)
  }
}
