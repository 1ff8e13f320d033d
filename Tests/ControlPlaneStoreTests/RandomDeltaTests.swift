import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import LedgerCore
import SchedulerCore
import TestSupport
import Testing
import WorkflowCore

/// What the database must hold: the units that were committed, applied to dictionaries.
private struct Mirror {
  var now = Timestamp.epoch
  var workflows: [WorkflowID: WorkflowRow] = [:]
  var nodes: [TaskID: NodeRecord] = [:]
  var runs: [RunID: RunRow] = [:]
  var clusters: [ClusterName: ClusterRow] = [:]
  var agents: [ClusterName: AgentRow] = [:]
  var artifacts: [WorkflowID: [String: ArtifactRow]] = [:]
  var idempotency: [String: IdempotencyRow] = [:]
  var datasets: [DatasetReference: DatasetRow] = [:]
  var versions: [DataKey: DatasetVersionRow] = [:]
  var replicas: [ReplicaName: ReplicaRow] = [:]
  var transfers: [TransferID: TransferRow] = [:]
  var organisations: [OrganisationName: OrganisationRow] = [
    .federation: OrganisationRow(name: .federation, createdAt: .epoch)
  ]
  var projects: [ProjectName: ProjectRow] = [:]
  var semaphores: [String: SemaphoreRow] = [:]
  var memos: [MemoName: MemoRow] = [:]
  var usage: [ProjectName: ShareRow] = [:]
  var budgets: [ProjectName: Budget] = [:]
  var reservations: [RunID: Reservation] = [:]
  var allowances: [Allowance.Name: Allowance] = [:]
  var storage: [String: StorageHold] = [:]
  var lastWorkflow = WorkflowID(0)
  var lastExplanation: Int64 = 0

  mutating func commit(_ delta: DurableDelta) {
    now = max(now, delta.now)
    for row in delta.workflows {
      workflows[row.id] = row
      lastWorkflow = max(lastWorkflow, row.id)
    }
    for row in delta.nodes {
      var record = row.record
      record.children = []
      nodes[TaskID(workflow: row.workflow, node: record.id)] = record
    }
    for row in delta.runs { runs[row.id] = row }
    for row in delta.clusters { clusters[row.spec.name] = row }
    for row in delta.agents { agents[row.cluster] = row }
    for row in delta.artifacts { artifacts[row.task.workflow, default: [:]]["\(row.task)/\(row.name)"] = row }
    for row in delta.explanations { lastExplanation = max(lastExplanation, row.id) }
    for row in delta.idempotency { idempotency[row.principal + "/" + row.key] = row }
    for id in delta.deletedWorkflows {
      workflows[id] = nil
      artifacts[id] = nil
      nodes = nodes.filter { $0.key.workflow != id }
      runs = runs.filter { $0.value.task.workflow != id }
    }
    for name in delta.deletedClusters { (clusters[name], agents[name]) = (nil, nil) }
    for row in delta.datasets { datasets[row.reference] = row }
    for row in delta.datasetVersions { versions[row.key] = row }
    for row in delta.replicas { replicas[ReplicaName(key: row.key, cache: row.cache)] = row }
    for row in delta.transfers { transfers[row.id] = row }
    for name in delta.deletedDatasets {
      datasets[name] = nil
      versions = versions.filter { $0.value.dataset != name }
    }
    for key in delta.deletedVersions { versions[key] = nil }
    for name in delta.deletedReplicas { replicas[name] = nil }
    for row in delta.organisations { organisations[row.name] = row }
    for row in delta.projects { projects[row.name] = row }
    for row in delta.semaphores { semaphores["\(row.project)/\(row.lock)"] = row.limit == nil ? nil : row }
    for row in delta.memos { memos[row.name] = row }
    for name in delta.forgottenMemos { memos[name] = nil }
    for row in delta.shares { usage[row.project] = row }
    for budget in delta.ledger.budgets { budgets[budget.project] = budget }
    for reservation in delta.ledger.reservations { reservations[reservation.run] = reservation }
    for run in delta.ledger.ended { reservations[run] = nil }
    for hold in delta.ledger.storage { storage[hold.name] = hold }
    for name in delta.ledger.endedStorage { storage[name] = nil }
    for allowance in delta.ledger.allowances { allowances[allowance.name] = allowance }
  }

  var state: DurableState {
    let open = workflows.values.filter { !$0.status.phase.isTerminal || $0.deletionRequested }.sorted { $0.id < $1.id }
    let ids = Set(open.map(\.id))
    var epochs: [TaskID: Int32] = [:]
    for run in runs.values where ids.contains(run.task.workflow) {
      epochs[run.task] = max(epochs[run.task] ?? 0, run.epoch)
    }
    var state = DurableState(
      now: now,
      workflows: open.map { row in
        LoadedWorkflow(
          row: row, nodes: nodes.filter { $0.key.workflow == row.id }.map(\.value).sorted { $0.id < $1.id })
      },
      runs: runs.values.filter { ids.contains($0.task.workflow) && !$0.phase.isTerminal }.sorted { $0.id < $1.id },
      epochs: epochs, clusters: clusters.values.sorted { $0.spec.name < $1.spec.name },
      agents: agents.values.sorted { $0.cluster < $1.cluster },
      idempotency: idempotency.values.sorted { ($0.principal, $0.key) < ($1.principal, $1.key) },
      lastWorkflowID: lastWorkflow, lastExplanationID: lastExplanation)
    state.organisations = organisations.values.sorted { $0.name < $1.name }
    state.projects = projects.values.sorted { $0.name < $1.name }
    state.semaphores = semaphores.values.sorted { ($0.project, $0.lock) < ($1.project, $1.lock) }
    for row in workflows.values {
      state.expiring[WorkflowReference(project: row.project, name: row.name)] = row.status.expiresAt
    }
    state.memos = memos.values.sorted { $0.name < $1.name }
    state.shares = usage.values.sorted { $0.project < $1.project }
    state.budgets = budgets.values.sorted { $0.project < $1.project }
    state.reservations = reservations.values.sorted { $0.run < $1.run }
    state.storageHolds = storage.values.sorted { $0.name < $1.name }
    state.allowances = allowances.values.sorted { $0.name < $1.name }
    state.datasets = datasets.values.sorted { $0.reference < $1.reference }
    state.datasetVersions = versions.values.sorted { $0.key < $1.key }
    state.replicas = replicas.values.sorted { ($0.key, $0.cache) < ($1.key, $1.cache) }
    state.transfers = transfers.values.filter { !$0.phase.isTerminal }.sorted { $0.id < $1.id }
    state.unstoredArtifacts = artifacts.values.flatMap(\.values).filter { $0.stored.isUnstored == true }.sorted {
      ($0.task, $0.name) < ($1.task, $1.name)
    }
    return state
  }
}

/// A core that lives through random inputs, and the sessions that its agents have with it.
private struct RandomLife {
  static let documents = [
    """
    spec:
      entrypoint: main
      templates:
      - name: main
        dag:
          tasks:
          - {name: split, template: work}
          - {name: each, template: work, dependencies: [split], withItems: ["a", "b\\"", "ü", 4, 5.5, {k: v}, "g", "h", "i", "j"]}
          - {name: join, template: work, depends: "each.AnySucceeded || each.AllFailed"}
      - name: work
        outputs: {parameters: [{name: p, valueFrom: {path: /p}, globalName: g}]}
        container: {image: any, command: ["true"]}
    """,
    """
    spec:
      entrypoint: main
      onExit: work
      templates:
      - name: main
        steps:
        - - {name: a, template: work, withSequence: {count: "9"}, continueOn: {failed: true}}
        - - {name: b, template: pause}
        - - {name: c, template: work}
      - {name: pause, suspend: {duration: "20"}}
      - name: work
        retryStrategy: {limit: "1", retryPolicy: Always}
        timeout: 100s
        federation: {spot: allow, maxPrice: "0.02 EUR", walltime: 1h}
        container: {image: any, command: ["true"]}
    """,
    """
    spec:
      entrypoint: main
      ttlStrategy: {secondsAfterCompletion: 20}
      synchronization: {semaphore: {database: {key: all}}}
      hooks: {up: {template: work, expression: 'workflow.status == "Running"'}}
      templates:
      - name: main
        steps:
        - - {name: a, template: kept, withItems: [u, v, u]}
        - - {name: b, template: work, withSequence: {count: "4"}}
      - name: kept
        memoize: {key: "kö 'é", maxAge: 500s, cache: {configMap: {name: store}}}
        outputs: {parameters: [{name: o, value: "ü"}]}
        suspend: {duration: "5"}
      - name: work
        synchronization: {mutexes: [{name: door}], semaphores: [{database: {key: db}}]}
        container: {image: any, command: ["true"]}
    """,
  ]
  static let clusters: [ClusterName] = ["a", "b"]

  var core: ControlPlaneCore
  var random: SeededGenerator
  var clock = Sample.now
  var sessions: [ClusterName: SessionID] = [:]
  var sequences: [ClusterName: Int64] = [:]
  var lastNumber: Int64 = 0
  var names: [String] = []

  init(seed: UInt64) {
    random = SeededGenerator(seed: seed)
    core = Self.core(DurableState(now: .epoch), CommitPosition(term: 1, sequence: 0), 1)
    command(.organisation("o", .create(description: "ü", weight: 2)))
    command(.project("p", .create(description: "é", organisation: "o")))
    command(.project("q", .create(description: "", organisation: "o")))
    command(.project("p", .setSemaphore(key: "all", limit: 2)))
    command(.project("p", .setSemaphore(key: "db", limit: 2)))
  }

  static func core(_ state: DurableState, _ position: CommitPosition, _ incarnation: UInt32) -> ControlPlaneCore {
    ControlPlaneCore(
      state: state, position: position, incarnation: incarnation, configuration: CoreConfiguration(sliceLimit: 3))
  }

  /// As a new leader does: from what the database says, with sessions begun anew.
  mutating func restart(_ state: DurableState, _ position: CommitPosition) {
    core = Self.core(state, position, UInt32(truncatingIfNeeded: random.next() >> 33))
    sessions = [:]
  }

  private mutating func command(_ command: Command) {
    lastNumber += 1
    let key = random.next(upTo: 3) == 0 ? IdempotencyKey(key: "k\(lastNumber)", requestHash: "h") : nil
    core.apply(
      .command(command, request: RequestID(lastNumber), principal: Principal(user: "u"), idempotency: key), at: clock)
  }

  /// One random input.
  mutating func step() throws {
    clock = clock + .milliseconds(Int64(random.next(upTo: 2000)))
    let cluster = Self.clusters[random.next(upTo: 2)]
    let workflow = WorkflowReference(project: "p", name: names.suffix(6).randomElement(using: &random) ?? "none")
    switch random.next(upTo: 50) {
    case 0..<2: try submit()
    case 3: command(.workflow(workflow, .suspend))
    case 4, 5: command(.workflow(workflow, .resume))
    case 6: command(.workflow(workflow, .stop(message: "why \"not\" \u{1F9EA}")))
    case 7: command(.workflow(workflow, random.next(upTo: 2) == 0 ? .terminate : .delete))
    case 8:
      let prices =
        random.next(upTo: 2) == 0 ? PriceSheet(currency: "EUR", coreHour: 1.25, storageGibibyteHour: 0.9) : nil
      let spec = ClusterSpec(name: cluster, kind: .process, labels: ["n": "\(random.next(upTo: 9))"], prices: prices)
      command(core.clusterNames.contains(cluster) ? .updateCluster(spec) : .createCluster(spec))
    case 9: command(.cordon(cluster, reason: random.next(upTo: 2) == 0 ? "disks" : nil))
    case 10 where random.next(upTo: 6) == 0: command(.forgetCluster(cluster, confirmStopped: true))
    case 27: money()
    case 2: semaphores()
    case 32: spot(cluster)
    case 11..<14: connect(cluster)
    case 14:
      if let session = sessions.removeValue(forKey: cluster) {
        core.apply(.agentDisconnected(cluster, session), at: clock)
      }
    case 15..<22:
      if let snapshot = core.takeSnapshot() { core.apply(.plan(PlacementPlanner().plan(snapshot)), at: clock) }
    case 22..<26: core.apply(.tick(silence: [:]), at: clock)
    case 26, 28..<32: core.apply(.proceed, at: clock)
    case 40..<44: dataCommand(cluster)
    case 44..<50: dataEvent(cluster)
    default: report(cluster)
    }
  }

  private mutating func semaphores() {
    if random.next(upTo: 2) == 0 {
      command(
        .project("p", .setSemaphore(key: "all", limit: random.next(upTo: 4) == 0 ? nil : 1 + random.next(upTo: 4))))
    } else {
      command(
        .project("p", .setSemaphore(key: "db", limit: random.next(upTo: 5) == 0 ? nil : 1 + random.next(upTo: 3))))
    }
  }

  private mutating func spot(_ cluster: ClusterName) {
    let price = PriceSheet(currency: "EUR", coreHour: Double(random.next(upTo: 4)))
    switch random.next(upTo: 8) {
    case 0: command(.spot(cluster, .withdraw))
    case 1: command(.spot(cluster, .setPrices(PricePeriod(prices: price, until: clock + .seconds(20)))))
    case 2, 3: command(.spot(cluster, .setPrices(PricePeriod(prices: price))))
    default:
      command(
        .spot(
          cluster,
          .offer(percent: random.next(upTo: 5) * 25, notice: .seconds(5), reason: random.next(upTo: 2) == 0 ? "é" : nil)
        ))
    }
  }

  private mutating func money() {
    let change = BudgetChange(
      limit: Amount(micros: Int64(random.next(upTo: 90_000))), currency: random.next(upTo: 9) == 0 ? "CNY" : "EUR",
      period: BudgetPeriod.allCases[random.next(upTo: 3)], isHard: random.next(upTo: 2) == 0, alerts: [10, 50],
      carriesOver: random.next(upTo: 2) == 0, defaultWalltime: .seconds(600),
      slice: .seconds(60 + random.next(upTo: 120)))
    let project: ProjectName = random.next(upTo: 3) == 0 ? "q" : "p"
    switch random.next(upTo: 7) {
    case 6:
      let limit = random.next(upTo: 3) == 0 ? nil : Amount(micros: Int64(random.next(upTo: 90_000)))
      command(.project(project, .limitMember(random.next(upTo: 2) == 0 ? "u" : "v", limit)))
    case 2:
      command(.organisation("o", .setWeight(Double(1 + random.next(upTo: 9)))))
      let grant = OrganisationGrant(amount: Amount(micros: 1_000_000_000), currency: change.currency)
      command(.organisation("o", .setGrant(random.next(upTo: 2) == 0 ? grant : nil)))
    case 0: command(.project("q", .transferBudget(Amount(micros: 900), to: "p")))
    case 1: command(.project("q", .archive(random.next(upTo: 2) == 0)))
    default: command(.project(project, .setBudget(change)))
    }
  }

  private mutating func dataCommand(_ cluster: ClusterName) {
    let reference = DatasetReference(project: "p", name: "set-\(random.next(upTo: 3))")
    let life: Duration? = random.next(upTo: 2) == 0 ? .seconds(600) : nil
    let spec = DatasetSpec(
      project: "p", name: reference.name, origin: DataOrigin(uri: "s3://é/\"x\"", secret: "s"),
      allowedClusters: ["n": "1"], expiresAfter: life)
    switch random.next(upTo: 9) {
    case 0, 1: command(.dataset(reference, .create(spec)))
    case 2: command(.dataset(reference, .update(spec)))
    case 3: command(.dataset(reference, random.next(upTo: 4) == 0 ? .remove : .removeVersion(1)))
    case 4, 5:
      command(
        .dataset(
          reference, .addVersion(.uploaded(manifest: Sample.artifact, files: 3, size: ByteCount.mebibytes(5)))))
    case 6:
      command(.dataset(reference, .addVersion(.origin(path: "a/b", via: random.next(upTo: 2) == 0 ? cluster : nil))))
    case 7: command(.dataset(reference, .pin(version: nil, cluster: cluster, random.next(upTo: 2) == 0)))
    default: command(.dataset(reference, .prefetch(version: nil, cluster: cluster)))
    }
  }

  private mutating func dataEvent(_ cluster: ClusterName) {
    guard let session = sessions[cluster] else { return }
    let number = Int32(1 + random.next(upTo: 3))
    let key =
      random.next(upTo: 3) == 0
      ? DataKey(sha256: Sample.artifact.sha256)
      : DataKey(project: "p", dataset: "set-\(random.next(upTo: 3))", version: number)
    if random.next(upTo: 6) == 0 {
      let report = CacheReport(
        replicas: [CacheReport.Replica(key: key, size: .mebibytes(5))], isFirst: true, isLast: true)
      core.apply(.cacheReported(cluster, session, report), at: clock)
      return
    }
    let change: DataEvent.Change =
      switch random.next(upTo: 6) {
      case 0, 1: .ready(size: .mebibytes(5), moved: .mebibytes(5), milliseconds: 700, source: .repository(key: nil))
      case 2:
        .progress(
          done: .mebibytes(2), rate: 9, waiting: "w", source: .export("b", url: "https://b"))
      case 3: .gone(reason: random.next(upTo: 2) == 0 ? "evicted" : "corrupt")
      case 4: .failed(message: "é")
      default:
        random.next(upTo: 2) == 0
          ? .stored(failure: random.next(upTo: 2) == 0 ? "" : "full", moved: .mebibytes(5), milliseconds: 7)
          : .indexed(failure: "", manifest: Sample.artifact, files: 2, size: .mebibytes(5))
      }
    core.apply(.dataEvents(cluster, session, [DataEvent(key: key, change: change)]), at: clock)
  }

  private mutating func submit() throws {
    lastNumber += 1
    let name = "wf-\(lastNumber)"
    names.append(name)
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w, labels: {l: \"\(name)\"}}\n"
    let definition = try WorkflowDefinition.decode(
      Array((text + Self.documents[random.next(upTo: Self.documents.count)]).utf8))
    command(.submit(Submission(definition: definition, project: "p", name: name, uid: "uid-\(name)")))
  }

  private mutating func connect(_ cluster: ClusterName) {
    guard core.clusterNames.contains(cluster), sessions[cluster] == nil else { return }
    lastNumber += 1
    sessions[cluster] = SessionID(lastNumber)
    var inventory = Sample.agent(cluster).inventory
    inventory.slots = 2 + random.next(upTo: 6)
    inventory.cache = CacheInventory(name: cluster.text, capacity: .gibibytes(1))
    core.apply(
      .agentConnected(
        cluster, SessionID(lastNumber),
        AgentHello(
          journal: "j-\(cluster)", lastSequence: 0, highestSeen: CommitPosition(term: 0, sequence: 0),
          runs: known[cluster] ?? [:], inventory: inventory, protocolVersion: 1, agentVersion: "1.\(lastNumber)",
          takesOrders: true, renewsSlices: random.next(upTo: 4) > 0)),
      at: clock)
  }

  /// Runs that were assigned, by cluster: what a real agent would have in its journal.
  var known: [ClusterName: [RunID: RunPhase]] = [:]

  /// One of the cluster's runs starts or ends.
  private mutating func report(_ cluster: ClusterName) {
    guard let session = sessions[cluster], let run = known[cluster]?.keys.sorted().first,
      let phase = known[cluster]?[run]
    else { return }
    sequences[cluster, default: 0] += 1
    var event = AgentEvent(
      sequence: sequences[cluster]!, run: run, phase: .running, at: clock, message: "m", runsAs: "host")
    if phase == .running {
      event.phase = random.next(upTo: 4) == 0 ? .failed : .succeeded
      event.outcome = TaskOutcome(
        phase: event.phase, exitCode: event.phase == .failed ? 1 : 0, message: "é",
        outputs: TaskOutputs(
          result: "[1, \"x\\u0000\"]", parameters: ["p": "\(lastNumber)\n"],
          artifacts: ["out": random.next(upTo: 2) == 0 ? Sample.artifact : Sample.unstored]))
      event.usage = RunUsage(
        bytesIn: ByteCount(7), bytesFrom: ["a": ByteCount(4)], bytesOut: ByteCount(8), wallMilliseconds: 900)
      if event.phase == .failed { event.cause = RunEndCause.allCases[random.next(upTo: RunEndCause.allCases.count)] }
      known[cluster]![run] = nil
    } else {
      known[cluster]![run] = .running
    }
    core.apply(.agentEvents(cluster, session, [event]), at: clock)
  }

  mutating func take() -> DurableDelta {
    let (delta, effects) = core.takeOutput()
    for case .send(let cluster, _, let message) in effects {
      switch message {
      case .assign(let runs):
        for run in runs { known[cluster, default: [:]][run.run] = known[cluster]?[run.run] ?? .dispatched }
      case .welcome(let welcome):
        sequences[cluster] = max(sequences[cluster] ?? 0, welcome.ackedSequence)
      default: break
      }
    }
    return delta
  }
}

@Suite("Random lives of the core, written and read back", .timeLimit(.minutes(3)))
struct RandomDeltaTests {
  @Test(
    "I2: whatever the core writes, PostgreSQL holds exactly that, after failed units and new leaders, too",
    arguments: [11, 12, 13, 14, 15, 16] as [UInt64])
  func holdsWhatWasWritten(seed: UInt64) async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var life = RandomLife(seed: seed)
      var mirror = Mirror()
      var written = 0
      for step in 0..<500 {
        for _ in 0...life.random.next(upTo: 6) { try life.step() }
        let delta = life.take()
        guard !delta.isEmpty else { continue }
        let isDoomed = life.random.next(upTo: 12) == 0
        if isDoomed {
          // A unit that does not follow the last one is refused whole.
          let fence = Fence(term: fixture.position.term, previous: fixture.position.sequence + 5)
          #expect(await UnitTests.isFenced(fixture.store.send(delta, fence: fence)), "seed \(seed), step \(step)")
          if step % 2 == 0 {
            try await fixture.commit(delta)
            mirror.commit(delta)
          }
        } else {
          try await fixture.commit(delta)
          mirror.commit(delta)
        }
        written += delta.rowCount
        guard isDoomed || step % 50 == 49 else { continue }
        let loaded = try await fixture.store.loadDurable()
        Self.compare(loaded, mirror.state, "seed \(seed), step \(step)")
        for (workflow, artifacts) in mirror.artifacts {
          #expect(
            try await fixture.store.artifacts(of: workflow).count == artifacts.count, "seed \(seed), step \(step)")
        }
        // Where the unit is lost for good, and now and then besides, the next leader goes on from the database.
        if isDoomed || step % 100 == 99 {
          life.restart(loaded, CommitPosition(term: fixture.position.term, sequence: fixture.position.sequence))
        }
      }
      #expect(written > 1000, "seed \(seed): only \(written) rows")
    }
  }

  /// Part by part, so that a failure says which.
  private static func compare(_ a: DurableState, _ b: DurableState, _ place: String) {
    #expect(a.now == b.now, "\(place)")
    #expect(a.workflows.map(\.row) == b.workflows.map(\.row), "\(place)")
    #expect(a.workflows.map(\.nodes) == b.workflows.map(\.nodes), "\(place)")
    #expect(a.runs == b.runs, "\(place)")
    #expect(a.datasets == b.datasets, "\(place)")
    #expect(a.datasetVersions == b.datasetVersions, "\(place)")
    #expect(a.replicas == b.replicas, "\(place)")
    #expect(a.transfers == b.transfers, "\(place)")
    #expect(a.unstoredArtifacts == b.unstoredArtifacts, "\(place)")
    #expect(a.epochs == b.epochs, "\(place)")
    #expect(a.clusters == b.clusters, "\(place)")
    #expect(a.agents == b.agents, "\(place)")
    #expect(a.idempotency == b.idempotency, "\(place)")
    #expect(a.projects.filter { $0.name != "default" } == b.projects, "\(place)")
    #expect(a.budgets == b.budgets, "\(place)")
    #expect(a.reservations == b.reservations, "\(place)")
    #expect(a.storageHolds == b.storageHolds, "\(place)")
    #expect(a.allowances == b.allowances, "\(place)")
    #expect(a.lastWorkflowID == b.lastWorkflowID, "\(place)")
    #expect(a.lastExplanationID == b.lastExplanationID, "\(place)")
  }
}
