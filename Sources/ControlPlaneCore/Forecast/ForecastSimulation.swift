import FederationModel
import HeapModule
import SchedulerCore
import WorkflowCore

/// Runs a workflow forward in virtual time on the federation as it is: the workflow's own machine makes the tasks, the leader's own
/// planner places them, and clusters, slots and links do what the planner expects of them.
///
/// Without side effects and without a clock: the same basis gives the same course.
struct ForecastSimulation {
  let basis: ForecastBasis
  let planner: PlacementPlanner
  let change: ForecastChange?
  /// nil: everything takes what is expected; else the number of a sample of what it might take.
  let sample: UInt64?
  let limits: ForecastLimits
  let tails: WorkflowTails
  var machine: WorkflowMachine
  var trace = ForecastTrace()

  var time = 0.0
  var sites: [ForecastSite]
  var data: ForecastData
  var tasks: [Task] = []
  var groups: [Group] = []
  private var groupOfRequirement: [Group.Key: Int] = [:]
  var events = Heap<Event>()
  /// What the project may spend, at `time`.
  var budget: BudgetView?
  /// By index of `tasks`.
  var holds: [Int: Hold] = [:]
  /// By node of the machine.
  private var taskOfNode: [NodeID: Int] = [:]
  /// The task whose end the machine is being told of.
  private var cause: Int?
  private var wantsPass = true

  /// A task between its launch and its end, others' included.
  struct Task {
    /// nil: somebody else's.
    var node: NodeID?
    var spec: TaskSpec?
    var group: Int
    /// Index into `trace.tasks`; -1 for somebody else's.
    var row = -1
    var site = -1
    /// It takes the site's spot capacity.
    var isSpot = false
    /// The partition that its run is quoted for.
    var partition: String?
    /// Seconds of the run there, expected and in this course.
    var expected = 0.0
    var actual = 0.0
    var isOver = false
  }

  /// Tasks that wait with one requirement.
  struct Group {
    struct Key: Hashable {
      var requirement: Requirement
      /// The step or dag task, so that a plan has a row for each.
      var name: String
      var template: String
    }
    var pending: PendingGroup
    var runtime: RuntimeEstimate
    /// Indices of `tasks`.
    var waiting: [Int] = []
    /// Index into `trace.groups`; -1 for somebody else's.
    var row = -1
  }

  struct Event: Comparable {
    enum Kind: Int { case ended, staged }
    var at: Double
    var kind: Kind
    var task: Int
    static func < (a: Self, b: Self) -> Bool { (a.at, a.kind.rawValue, a.task) < (b.at, b.kind.rawValue, b.task) }
  }

  init(
    machine: WorkflowMachine, tails: WorkflowTails, basis: ForecastBasis, change: ForecastChange? = nil,
    sample: UInt64? = nil, limits: ForecastLimits
  ) {
    var basis = basis
    change?.apply(to: &basis)
    self.basis = basis
    self.change = change
    self.sample = sample
    self.limits = limits
    self.tails = tails
    self.machine = machine
    planner = PlacementPlanner(weights: basis.weights)
    sites = zip(basis.snapshot.clusters, basis.running).map { ForecastSite($0, running: $1) }
    data = ForecastData(basis.snapshot, sites)
    budget = basis.budget
    for pending in basis.snapshot.groups { addOthers(pending) }
  }

  private var planned: Timestamp { basis.now + .seconds(time) }

  // MARK: The loop

  /// Lets the workflow run to its end, as far as the limits go.
  mutating func run() -> ForecastTrace {
    for site in sites.indices {
      for (number, run) in sites[site].running.enumerated() {
        // Runs that are there already free their slots in their time, and nobody is told.
        sites[site].adopt(number, as: tasks.count)
        events.insert(Event(at: run.expectedEnd, kind: .ended, task: tasks.count))
        tasks.append(Task(group: -1, site: site))
      }
    }
    tell(.start)
    while !machine.status.phase.isTerminal {
      if wantsPass { place() }
      if machine.status.phase.isTerminal { break }
      guard trace.work < limits.work, trace.tasks.count <= limits.tasks else { return cut() }
      guard advance() else {
        trace.ending = .stuck
        explainWaiting()
        trace.end = trace.tasks.map(\.endAt).filter(\.isFinite).max() ?? time
        return finished()
      }
    }
    trace.end = time
    let status = machine.status
    trace.ending = status.phase.isFulfilledWell ? .complete : .bad(status.message)
    return finished()
  }

  private mutating func cut() -> ForecastTrace {
    trace.end = time
    trace.note("the workflow is larger than what is looked at: what comes after \(Int(time)) s is not planned")
    return finished()
  }

  private mutating func finished() -> ForecastTrace {
    noteAssumptions()
    return trace
  }

  /// What happens next; false when nothing does any more.
  private mutating func advance() -> Bool {
    let wake = machine.nextWake.map { max(time, ($0 - basis.now).seconds) }
    if let event = events.min, event.at <= wake ?? .infinity {
      time = max(time, event.at)
      // All that happens at one moment comes before the next pass.
      while let next = events.min, next.at <= time {
        events.removeMin()
        happen(next)
      }
      return true
    }
    if let wake {
      time = wake
      tell(.timeReached)
      return true
    }
    return resume()
  }

  private mutating func happen(_ event: Event) {
    trace.work += 1
    switch event.kind {
    case .staged: staged(event.task)
    case .ended: ended(event.task)
    }
  }

  /// Somebody resumes what waits for a person; false when nothing does.
  private mutating func resume() -> Bool {
    let count = machine.nodeCount
    let waits = (0..<count).contains {
      let node = machine[NodeID(Int32($0))]
      return node.type == .suspend && node.phase == .running
    }
    guard waits || machine.status.isSuspended else { return false }
    trace.note("how long the workflow waits for somebody to resume it: counted as no time")
    let before = machine.status.isSuspended
    tell(.resume)
    tell(.resumeNodes(selector: .all, parameters: machine.definition.suppliedOutputs))
    let still = (0..<machine.nodeCount).contains {
      let node = machine[NodeID(Int32($0))]
      return node.type == .suspend && node.phase == .running
    }
    return before || !still || machine.nodeCount > count
  }

  // MARK: The machine

  private mutating func tell(_ event: WorkflowEvent) {
    var events = [event]
    while !events.isEmpty {
      let next = events.removeFirst()
      for action in machine.handle(next, at: planned, limit: 1024) {
        switch action {
        case .launch(let node): if let ended = launch(node) { events.append(ended) }
        case .cancel(let node, let reason): if let ended = cancel(node, reason) { events.append(ended) }
        // A plan knows nothing of other workflows, so every lock is free, and nothing of caches.
        case .acquire(let node): events.append(.locksAcquired(node))
        case .recall(let node, _): events.append(.recalled(node, outputs: nil))
        case .release, .remember, .finished: break
        }
      }
      trace.work += 1
      let isBounded = trace.work < limits.work && trace.tasks.count <= limits.tasks
      if machine.isUnfinished, events.isEmpty, isBounded { events.append(.proceed) }
    }
  }

  /// Returns what the machine is told at once, of a task that cannot be described before others have run.
  private mutating func launch(_ node: NodeID) -> WorkflowEvent? {
    let record = machine[node]
    do {
      var spec = try machine.taskSpec(for: node)
      see(&spec.inputs)
      spec.datasets = spec.federation.datasets?.compactMap { basis.datasets[$0] }
      var requirement = Requirement(
        template: TemplateKey(
          project: basis.project, name: record.templateName, program: machine.program(of: node)),
        spec: spec)
      change?.apply(to: &requirement)
      let group = group(of: requirement, record)
      tasks.append(Task(node: node, spec: spec, group: group, row: trace.tasks.count))
      trace.tasks.append(
        ForecastTask(name: record.name, group: groups[group].row, readyAt: time, parent: cause.map { tasks[$0].row }))
      trace.groups[groups[group].row].count += 1
      taskOfNode[node] = tasks.count - 1
      groups[group].waiting.append(tasks.count - 1)
      wantsPass = true
      return nil
    } catch {
      let message = (error as? FederationError)?.publicMessage ?? "\(error)"
      trace.note("\(record.displayName) cannot be planned, and is counted as nothing: \(message)")
      return .taskEnded(node, TaskOutcome(phase: .succeeded, exitCode: 0))
    }
  }

  private mutating func group(of requirement: Requirement, _ record: NodeRecord) -> Int {
    let tail = machine.tail(of: record.id, tails)
    let deadline = machine.workflowDeadline.map { ($0 - basis.now).seconds }
    let boundary = record.boundary.map { machine[$0].templateName } ?? ""
    let key = Group.Key(requirement: requirement, name: record.stepName, template: boundary)
    // What is behind tasks of one group may differ: the longest counts.
    if let known = groupOfRequirement[key] {
      groups[known].pending.tail = max(groups[known].pending.tail, tail)
      return known
    }
    let inputs = data.size(of: requirement)
    let learnt = basis.history.runtime(of: requirement.template, reading: inputs)
    let assumed = (requirement.hints.walltime ?? basis.defaultRuntime).seconds
    let estimate = learnt ?? RuntimeEstimate(median: assumed, upper: assumed, samples: 0)
    groupOfRequirement[key] = groups.count
    var pending = PendingGroup(
      requirement: requirement, tasks: [], expectedRuntime: .seconds(estimate.median),
      runtimeSpread: .seconds(estimate.upper - estimate.median), isRuntimeKnown: learnt != nil, tail: tail,
      deadline: deadline)
    pending.quota = basis.quota
    groups.append(Group(pending: pending, runtime: estimate, row: trace.groups.count))
    trace.groups.append(
      ForecastGroup(
        name: record.stepName, template: record.templateName, runtime: estimate,
        runtimeFrom: learnt != nil ? .history : requirement.hints.walltime != nil ? .walltime : .assumed, tail: tail,
        deadline: deadline, requirement: requirement))
    return groups.count - 1
  }

  private mutating func addOthers(_ pending: PendingGroup) {
    groups.append(
      Group(
        pending: pending,
        runtime: RuntimeEstimate(
          median: pending.expectedRuntime.seconds, upper: pending.expectedRuntime.seconds, samples: 0)))
    for _ in pending.tasks {
      groups[groups.count - 1].waiting.append(tasks.count)
      tasks.append(Task(group: groups.count - 1))
    }
  }

  private mutating func cancel(_ node: NodeID, _ reason: String) -> WorkflowEvent? {
    guard let index = taskOfNode[node], !tasks[index].isOver else { return nil }
    if tasks[index].site < 0 {
      groups[tasks[index].group].waiting.removeAll { $0 == index }
    } else {
      let start = trace.tasks[tasks[index].row].startAt
      settle(index, lasting: start.isFinite ? time - start : 0)
      release(index)
    }
    tasks[index].isOver = true
    trace.tasks[tasks[index].row].endAt = time
    wantsPass = true
    return .taskEnded(node, TaskOutcome(phase: .cancelled, message: reason))
  }

  // MARK: Placing

  /// One pass of the leader's planner.
  private mutating func place() {
    wantsPass = false
    let order = groups.indices.filter { !groups[$0].waiting.isEmpty }.sorted { precedes($0, $1) }
    guard !order.isEmpty else { return }
    trace.work += order.count * (Int.bitWidth - order.count.leadingZeroBitCount)
    var snapshot = SchedulingSnapshot(clusters: sites.map { $0.view(at: time) }, groups: [])
    for index in order.prefix(PendingTasksLimit.groups) {
      var pending = groups[index].pending
      let ids = groups[index].waiting.prefix(PendingTasksLimit.tasks)
      pending.tasks = ids.map { TaskID(workflow: WorkflowID(0), node: NodeID(Int32($0))) }
      pending.waiting = groups[index].waiting.count
      if pending.requirement.project == basis.project { pending.budget = budget }
      pending.deadline = pending.deadline.map { $0 - time }
      snapshot.groups.append(pending)
      for key in pending.requirement.data where snapshot.data[key] == nil {
        snapshot.data[key] = data.view(key, at: time)
      }
    }
    trace.work += snapshot.groups.count * max(1, sites.count)
    let plan = planner.plan(snapshot)
    trace.work += plan.placements.count * (1 + sites.count / 8)
    var sources: [StagingName: ClusterName?] = [:]
    for staging in plan.stagings { sources[StagingName(staging)] = .some(staging.source) }
    for placement in plan.placements { bind(placement, plan.tables[placement.table], sources) }
    for staging in plan.stagings where staging.isSpeculative { warm(staging) }
  }

  private enum PendingTasksLimit {
    static let groups = 256
    static let tasks = 1024
  }

  struct StagingName: Hashable {
    var data: DataKey
    var cluster: ClusterName
    init(_ staging: Staging) { (data, cluster) = (staging.data, staging.cluster) }
    init(_ data: DataKey, _ cluster: ClusterName) { (self.data, self.cluster) = (data, cluster) }
  }

  /// Class, then who was there first, then rank.
  private func precedes(_ a: Int, _ b: Int) -> Bool {
    let classes = (
      groups[a].pending.requirement.hints.priorityClass, groups[b].pending.requirement.hints.priorityClass
    )
    if classes.0 != classes.1 { return classes.0 < classes.1 }
    let rows = (groups[a].row, groups[b].row)
    if (rows.0 < 0) != (rows.1 < 0) { return rows.0 < 0 }
    guard rows.0 >= 0 else { return a < b }
    let ranks = (groups[a].pending.rank, groups[b].pending.rank)
    return ranks.0 != ranks.1 ? ranks.0 > ranks.1 : a < b
  }

  private mutating func bind(
    _ placement: Placement, _ table: CandidateTable, _ sources: [StagingName: ClusterName?]
  ) {
    let index = Int(placement.task.node.ordinal)
    guard let site = sites.firstIndex(where: { $0.name == placement.cluster }) else { return }
    let egress = egress(of: placement, to: site)
    tasks[index].isSpot = placement.isSpot
    tasks[index].partition = placement.partition
    guard hold(index, on: site, egress: egress) else { return }
    let group = tasks[index].group
    if let place = groups[group].waiting.firstIndex(of: index) { groups[group].waiting.remove(at: place) }
    tasks[index].site = site
    tasks[index].expected = groups[group].pending.expectedRuntime.seconds / sites[site].base.speed
    tasks[index].actual = actual(index)
    let inputs = bring(groups[group].pending.requirement, to: site, sources)
    var wait = 0.0
    if sites[site].base.inventory.queues {
      wait = (table.candidates.first { $0.isChosen }?.estimate?.waitSeconds ?? 0) * waitFactor(index, site)
    }
    sites[site].bind(
      groups[group].pending.requirement.resources, index, isStaging: inputs.at > time,
      isShort: groups[group].pending.expectedRuntime < ClusterView.shortTask, to: placement)
    events.insert(Event(at: max(inputs.at, time + wait), kind: .staged, task: index))
    let row = tasks[index].row
    guard row >= 0 else { return }
    trace.tasks[row].cluster = placement.cluster
    trace.tasks[row].placedAt = time
    trace.tasks[row].stagedAt = inputs.at
    trace.tasks[row].moved = inputs.moved
    if trace.tasks[row].readyAt < time, let freed = sites[site].lastEnded { trace.tasks[row].freedBy = freed }
    if trace.groups[groups[group].row].table.candidates.isEmpty { trace.groups[groups[group].row].table = table }
    price(index, site, tasks[index].actual, egress: egress)
  }

  /// When all that a requirement reads is on a site, and what is moved for it.
  private mutating func bring(
    _ requirement: Requirement, to site: Int, _ sources: [StagingName: ClusterName?]
  ) -> (at: Double, moved: ByteCount) {
    var (ready, moved) = (time, ByteCount.zero)
    for key in requirement.data {
      if let there = data.arrival(of: key, on: sites[site]) {
        ready = max(ready, there)
        continue
      }
      let size = data.size(of: key)
      let source = sources[StagingName(key, sites[site].name)] ?? nil
      let at = move(size, key, from: source, to: site, isSpeculative: false)
      (ready, moved) = (max(ready, at), moved + size)
    }
    for volume in requirement.inputs where volume.cluster != sites[site].name && volume.size > .zero {
      ready = max(ready, move(volume.size, nil, from: volume.cluster, to: site, isSpeculative: false))
      moved += volume.size
    }
    return (ready, moved)
  }

  private mutating func move(
    _ size: ByteCount, _ key: DataKey?, from source: ClusterName?, to site: Int, isSpeculative: Bool
  ) -> Double {
    let begin = max(time, sites[site].linkFreeAt)
    var end = sites[site].promise(size, at: time)
    if let sender = sites.firstIndex(where: { $0.name == source }), sender != site {
      end = max(end, sites[sender].promiseOut(size, at: time))
    } else if let key, let rate = data.view(key, at: time)?.origin {
      end = max(end, time + Double(size.bytes) / max(1, rate))
    }
    if let key {
      data.arrive(key, on: sites[site], at: end)
      sites[site].keep(size)
    }
    let from = source == sites[site].name ? nil : source
    if trace.transfers.count < limits.transfers {
      trace.transfers.append(
        ForecastTransfer(
          data: key, from: from, to: sites[site].name, size: size, beginsAt: begin, endsAt: end,
          isSpeculative: isSpeculative))
    }
    return end
  }

  private mutating func warm(_ staging: Staging) {
    guard let site = sites.firstIndex(where: { $0.name == staging.cluster }),
      data.arrival(of: staging.data, on: sites[site]) == nil
    else { return }
    _ = move(data.size(of: staging.data), staging.data, from: staging.source, to: site, isSpeculative: true)
  }

  // MARK: Running

  private mutating func staged(_ index: Int) {
    guard !tasks[index].isOver else { return }
    let (site, resources) = (tasks[index].site, groups[tasks[index].group].pending.requirement.resources)
    sites[site].staged(resources, index)
    start(at: site)
  }

  /// Starts what waits at a site and has room, first come first served.
  private mutating func start(at site: Int) {
    while let index = sites[site].queue.first {
      let resources = groups[tasks[index].group].pending.requirement.resources
      guard sites[site].fits(resources) else { return }
      sites[site].startNext(resources, expectedEnd: time + tasks[index].expected)
      events.insert(Event(at: time + tasks[index].actual, kind: .ended, task: index))
      guard tasks[index].row >= 0 else { continue }
      let row = tasks[index].row
      trace.tasks[row].startAt = time
      if trace.tasks[row].stagedAt < time, let freed = sites[site].lastEnded { trace.tasks[row].freedBy = freed }
      guard let node = tasks[index].node else { continue }
      tell(.taskStarted(node, cluster: sites[site].name, runsAs: ""))
      guard tasks[index].spec?.containers?.isDaemon == true else { continue }
      machine.taskReachable(node, at: Foresight.unknown)
      tell(.taskReady(node))
    }
  }

  /// Takes a task off its site.
  private mutating func release(_ index: Int) {
    let site = tasks[index].site
    let resources =
      tasks[index].group < 0
      ? sites[site].running.first { $0.task == index }?.resources ?? .zero
      : groups[tasks[index].group].pending.requirement.resources
    sites[site].release(index, resources)
  }

  private mutating func ended(_ index: Int) {
    guard !tasks[index].isOver else { return }
    tasks[index].isOver = true
    settle(index, lasting: tasks[index].actual)
    release(index)
    wantsPass = true
    let site = tasks[index].site
    sites[site].lastEnded = tasks[index].row >= 0 ? tasks[index].row : nil
    start(at: site)
    guard tasks[index].row >= 0, let node = tasks[index].node, let spec = tasks[index].spec else { return }
    trace.tasks[tasks[index].row].endAt = time
    let template = groups[tasks[index].group].pending.requirement.template
    var outcome = TaskOutcome(phase: .succeeded, exitCode: 0)
    outcome.outputs = machine.foreseenOutputs(of: node, spec, on: sites[site].name) { name in
      basis.history.outputSize(of: template, named: name)
    }
    for name in outcome.outputs.artifacts.keys.sorted() {
      let made = outcome.outputs.artifacts[name]!
      if basis.history.outputSize(of: template, named: name) == nil {
        trace.note("the size of output \(name) of template \(machine[node].templateName): taken as nothing")
      }
      data.made(DataKey(sha256: made.sha256), made.size, on: sites[site], at: time)
    }
    cause = index
    tell(.taskEnded(node, outcome))
    cause = nil
  }
}
