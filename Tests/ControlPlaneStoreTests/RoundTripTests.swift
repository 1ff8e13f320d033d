import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import SchedulerCore
import TestSupport
import Testing
import WorkflowCore

@Suite("What the store commits comes back as it was", .timeLimit(.minutes(2)))
struct RoundTripTests {
  @Test("a row of every type, full and bare, is loaded as it was written, and as it was written last")
  func everyRow() async throws {
    try await StoreFixture.use { fixture in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1), Sample.workflow(2, phase: .pending)]
      delta.nodes = [Sample.bareNode(1, 0), Sample.node(1, 1), Sample.node(1, 2), Sample.bareNode(2, 0)]
      delta.runs = [Sample.run(11, 1, 1), Sample.run(12, 1, 2, phase: .succeeded), Sample.bareRun(13, 1, 2, epoch: 2)]
      delta.clusters = [
        Sample.cluster("a", prices: PriceSheet(currency: "EUR", coreHour: 1.5, storageGibibyteHour: 0.25)),
        Sample.cluster("b"),
        ClusterRow(spec: ClusterSpec(name: "c", kind: .process), createdAt: Sample.now),
        ClusterRow(
          spec: ClusterSpec(
            name: "d", kind: .slurm, prices: PriceSheet(currency: "CNY", gpuHour: 2, classFactors: ["idle": 0.25]),
            pricePeriods: [
              PricePeriod(prices: PriceSheet(currency: "EUR"), from: Sample.now, until: Sample.now + .seconds(9)),
              PricePeriod(prices: PriceSheet(currency: "EUR", coreHour: 1), until: Sample.now),
            ],
            spot: SpotOffer(
              percent: 40, notice: .seconds(60), prices: PriceSheet(currency: "CNY", gpuHour: 1),
              pricePeriods: [PricePeriod(prices: PriceSheet(currency: "CNY"), until: Sample.now)],
              reclaimedAt: Sample.now, reason: "maintenance")), createdAt: Sample.now),
      ]
      delta.clusters[3].spec.prices?.partitions = ["a100": HourlyPrices(coreHour: 0.1, gibibyteHour: 2, gpuHour: 3)]
      delta.explanations = [ExplanationRow(id: 9, workflow: WorkflowID(1), at: Sample.now, document: "{}")]
      delta.agents = [Sample.agent("a"), Sample.agent("b")]
      delta.events = [
        EventRow(
          at: Sample.now, workflow: WorkflowID(1), node: NodeID(1), cluster: "a", reason: "Submitted", message: "m"),
        EventRow(at: Sample.now, reason: "ClusterOffline", message: ""),
      ]
      delta.idempotency = [
        IdempotencyRow(principal: "u", key: "k", requestHash: "h", reply: "{\"r\":\"\\u0000\"}", at: Sample.now)
      ]
      delta.audit = [AuditRow(at: Sample.now, actor: "u", action: "cluster.cordon", object: "a", detail: "d")]
      delta.nodes[1].record.gate = NodeGate(
        locks: NodeLocks(names: [LockName(kind: .configMap, name: "a", key: "é")], isHeld: true),
        memo: NodeMemo(cache: "c", key: "k", isAnswered: true, isHit: true))
      delta.workflows[1].status.locks = NodeLocks(names: [LockName(kind: .mutex, name: "m")])
      delta.semaphores = [
        SemaphoreRow(project: "p", lock: LockName(kind: .configMap, name: "a", key: "é"), limit: 0),
        SemaphoreRow(project: "p", lock: LockName(kind: .database, name: "a"), limit: 3),
      ]
      delta.memos = [
        MemoRow(
          name: MemoName(project: "p", cache: "c", key: "k\"é"), outputs: TaskOutputs(result: "ü"), node: "n",
          workflow: "w", createdAt: Sample.now, hitAt: Sample.now + .seconds(1))
      ]
      try await fixture.commit(delta)

      var state = try await fixture.store.loadDurable()
      #expect(state.now == Sample.now)
      #expect(state.workflows.map(\.row) == delta.workflows)
      #expect(
        state.workflows.flatMap { loaded in loaded.nodes.map { NodeRow(workflow: loaded.row.id, record: $0) } }
          == delta.nodes)
      #expect(state.runs == [delta.runs[0], delta.runs[2]])
      #expect(state.epochs == [delta.runs[0].task: 1, delta.runs[2].task: 2])
      #expect(state.clusters == delta.clusters)
      #expect(state.agents == delta.agents)
      #expect(state.semaphores == delta.semaphores)
      #expect(state.memos == delta.memos)
      #expect(state.idempotency == delta.idempotency)
      #expect(state.lastWorkflowID == WorkflowID(2))
      #expect(state.lastExplanationID == 9)
      #expect(try await fixture.store.explanations([9])[9] == delta.explanations[0])
      #expect(try await fixture.store.events(after: 0).map(\.row) == delta.events)
      #expect(try await fixture.store.events(of: WorkflowID(1), after: 0).map(\.row) == [delta.events[0]])
      #expect(try await fixture.store.audit().map(\.row) == delta.audit)
      #expect(try await fixture.store.runs(of: WorkflowID(1)) == delta.runs)
      #expect(try await fixture.store.newestRuns(of: delta.runs[1].task, limit: 9) == [delta.runs[1], delta.runs[2]])
      #expect(try await fixture.store.newestRuns(of: delta.runs[1].task, limit: 1) == [delta.runs[2]])

      // Everything that may change changes.
      var second = DurableDelta(now: Sample.now + .seconds(9))
      second.workflows = [Sample.workflow(2, phase: .succeeded)]
      var node = Sample.node(2, 0, phase: .failed)
      node.record.name = "wf"
      second.nodes = [Sample.node(1, 1, phase: .failed)]
      second.runs = [Sample.run(11, 1, 1, phase: .failed)]
      second.clusters = [Sample.cluster("b", prices: PriceSheet(currency: "CNY")), Sample.cluster("a")]
      try await fixture.commit(second)
      state = try await fixture.store.loadDurable()
      #expect(state.now == second.now)
      #expect(state.workflows.map(\.row) == [delta.workflows[0]])
      #expect(state.workflows[0].nodes == [delta.nodes[0], second.nodes[0], delta.nodes[2]].map(\.record))
      #expect(state.runs == [delta.runs[2]])
      #expect(state.clusters == [second.clusters[1], second.clusters[0], delta.clusters[2], delta.clusters[3]])
    }
  }

  @Test(
    "a document is written anew with the generation alone, as a retry with other arguments makes it; a node's inputs where they change"
  )
  func retried() async throws {
    try await StoreFixture.use { fixture in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1)]
      delta.nodes = [Sample.node(1, 0)]
      try await fixture.commit(delta)
      let first = delta.workflows[0].document
      let generation = delta.workflows[0].generation
      for (document, retries, expected) in [("{}", Int32(0), first), ("{}", 1, "{}"), ("[]", 1, "{}")] {
        delta.workflows[0].document = document
        delta.workflows[0].generation = generation + retries
        delta.nodes[0].record.inputs.parameters = [NodeParameter(name: "g", value: "\(document)\(retries)")]
        try await fixture.commit(delta)
        let loaded = try #require(try await fixture.store.workflow(uid: delta.workflows[0].uid))
        #expect(loaded.row.document == expected)
        #expect(loaded.nodes.map(\.inputs) == delta.nodes.map(\.record.inputs))
      }
    }
  }

  @Test("a finished workflow is read by reference, by uid and in lists, with all its nodes")
  func reads() async throws {
    try await StoreFixture.use { fixture in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1, phase: .succeeded), Sample.workflow(2)]
      delta.nodes = [Sample.bareNode(1, 0), Sample.node(1, 1)]
      delta.runs = [Sample.run(5, 1, 1, phase: .succeeded)]
      try await fixture.commit(delta)
      let wanted = LoadedWorkflow(row: delta.workflows[0], nodes: delta.nodes.map(\.record))
      #expect(try await fixture.store.workflow(WorkflowReference(project: "p", name: "wf-1")) == wanted)
      #expect(try await fixture.store.workflow(uid: "uid-1") == wanted)
      #expect(try await fixture.store.workflow(uid: "nobody") == nil)
      let store = fixture.store
      #expect(try await store.workflows(WorkflowFilter()).map(\.id) == [WorkflowID(2), WorkflowID(1)])
      #expect(try await store.workflows(WorkflowFilter(), before: WorkflowID(2)).map(\.id) == [WorkflowID(1)])
      #expect(try await store.workflows(WorkflowFilter(phases: [.succeeded])).map(\.id) == [WorkflowID(1)])
      #expect(try await store.workflows(WorkflowFilter(project: "q")).isEmpty)
      #expect(try await store.workflows(WorkflowFilter(labels: ["team": "a"], namePrefix: "wf-")).count == 2)
      #expect(try await store.workflows(WorkflowFilter(labels: ["team": "b"])).isEmpty)
      let access = try await store.access(of: RunID(5), on: "edge-1")
      #expect(access == RunAccess(project: "p", workflowUID: "uid-1", nodeName: delta.nodes[1].record.name))
      #expect(try await store.access(of: RunID(5), on: "edge-2") == nil)
    }
  }

  @Test("a deleted workflow leaves nothing behind, and its number is never given again")
  func deletion() async throws {
    try await StoreFixture.use { fixture in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1), Sample.workflow(7)]
      delta.nodes = [Sample.bareNode(1, 0), Sample.bareNode(7, 0)]
      delta.runs = [Sample.run(1, 7, 0)]
      delta.explanations = [
        ExplanationRow(id: 3, workflow: WorkflowID(7), at: Sample.now, document: "{}"),
        ExplanationRow(id: 4, workflow: WorkflowID(1), at: Sample.now, document: "{}"),
      ]
      delta.artifacts = [Sample.artifactRow(7, 0, "out"), Sample.artifactRow(1, 0, "out")]
      delta.agents = [Sample.agent("a")]
      delta.events = [EventRow(at: Sample.now, workflow: WorkflowID(7), reason: "Submitted", message: "m")]
      delta.clusters = [Sample.cluster("a", prices: PriceSheet(currency: "EUR"))]
      try await fixture.commit(delta)
      try await fixture.store.recordLog(
        LogRecord(run: RunID(1), workflowUID: "uid-7", location: "l", size: ByteCount(5), isComplete: false))
      var second = DurableDelta(now: Sample.now)
      second.deletedWorkflows = [WorkflowID(7)]
      second.deletedClusters = ["a"]
      try await fixture.commit(second)
      let state = try await fixture.store.loadDurable()
      #expect(state.workflows.map(\.row.id) == [WorkflowID(1)])
      #expect(state.runs.isEmpty)
      #expect(state.clusters.isEmpty)
      #expect(state.lastWorkflowID == WorkflowID(7))
      #expect(try await fixture.store.log(of: RunID(1)) == nil)
      #expect(try await fixture.store.artifacts(of: WorkflowID(7)).isEmpty)
      #expect(try await fixture.store.artifacts(of: WorkflowID(1)).count == 1)
      #expect(try await fixture.store.explanations([3, 4]).keys.sorted() == [4])
      #expect(state.agents.isEmpty)
      #expect(try await fixture.store.events(after: 0).isEmpty)
      for table in ["nodes", "runs"] {
        #expect(try await fixture.number("SELECT count(*) FROM \(table) WHERE workflow_id = 7") == 0)
      }
      #expect(try await fixture.number("SELECT count(*) FROM price_sheets") == 0)
    }
  }

  @Test("a log's record never shrinks")
  func logIndex() async throws {
    try await StoreFixture.use { fixture in
      var log = LogRecord(run: RunID(1), workflowUID: "u", location: "l", size: ByteCount(50), isComplete: true)
      try await fixture.store.recordLog(log)
      log.size = ByteCount(5)
      log.isComplete = false
      try await fixture.store.recordLog(log)
      #expect(try await fixture.store.log(of: RunID(1))?.size == ByteCount(50))
      #expect(try await fixture.store.log(of: RunID(1))?.isComplete == true)
    }
  }

  @Test("artifacts are found by workflow and by key, in their project alone, and are replaced when they are made anew")
  func artifactIndex() async throws {
    try await StoreFixture.use { fixture in
      var delta = DurableDelta(now: Sample.now)
      delta.artifacts = [Sample.artifactRow(1, 1, "a"), Sample.artifactRow(1, 1, "b"), Sample.artifactRow(2, 0, "a")]
      delta.artifacts[2].stored.producedOn = nil
      try await fixture.commit(delta)
      let store = fixture.store
      #expect(try await store.artifacts(of: WorkflowID(1)) == Array(delta.artifacts[..<2]))
      #expect(try await store.artifacts(key: Sample.artifact.key, in: "p").count == 3)
      #expect(try await store.artifacts(key: Sample.artifact.key, in: "q").isEmpty)
      #expect(try await store.artifacts(key: "other", in: "p").isEmpty)
      var again = delta.artifacts[0]
      again.stored.sha256 = "01"
      delta.artifacts = [again, again]
      try await fixture.commit(delta)
      #expect(try await store.artifacts(of: WorkflowID(1)).first == again)
    }
  }

  @Test(
    "Runs that ended well come back with their templates, sizes, seconds and outputs, so that a new leader knows them")
  func endedRuns() async throws {
    try await StoreFixture.use { fixture in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1, phase: .succeeded), Sample.workflow(2)]
      delta.nodes = [Sample.bareNode(1, 0), Sample.bareNode(2, 0)]
      delta.nodes += (1...100).map { Sample.node(1, $0) } + [Sample.node(2, 1), Sample.node(2, 2)]
      delta.runs = (1...100).map { Sample.run(Int64($0), 1, $0, phase: .succeeded) }
      delta.runs[99].wallMilliseconds = 2500
      delta.runs += [Sample.run(200, 2, 1, phase: .failed), Sample.run(201, 2, 2, phase: .succeeded)]
      delta.runs[101].program = 0
      var artifact = Sample.artifactRow(1, 100, "out")
      artifact.stored.size = .mebibytes(3)
      delta.artifacts = [artifact]
      try await fixture.commit(delta)
      let runs = try await fixture.store.endedRuns()
      let template = TemplateKey(project: "p", name: "t", program: -7)
      // From both ends of a wide loop, and nothing of what failed, or of which nobody noted what it was.
      #expect(runs.count == 64)
      #expect(runs.allSatisfy { $0.template == template && $0.inputs == ByteCount(9) })
      #expect(
        runs.last
          == EndedRun(template: template, inputs: ByteCount(9), seconds: 2.5, outputs: ["out": .mebibytes(3)]))
      #expect(TemplateHistory(runs).outputSize(of: template, named: "out") == .mebibytes(3))
    }
  }
}
