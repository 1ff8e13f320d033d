import DequeModule
import FederationModel
import WorkflowCore

extension ControlPlaneCore {
  // MARK: Sessions

  /// A session begins: whatever the agent has is made equal to what it should have.
  mutating func connected(_ name: ClusterName, _ session: SessionID, _ hello: AgentHello) {
    guard clusters[name] != nil, !openForgets.contains(where: { $0.cluster == name }) else {
      output.add(
        .close(
          name, session,
          FederationError(.notFound, "cluster \(name) is not part of this federation; create it and join anew")))
      return
    }
    clusters[name]!.session = session
    clusters[name]!.takesOrders = hello.takesOrders
    clusters[name]!.renewsSlices = hello.renewsSlices
    note(hello, of: name)
    clusters[name]!.highestSeen = hello.highestSeen
    clusters[name]!.isSilent = false
    wantsPlacement = true
    output.clusters.insert(name)
    output.dropCollected(for: name)
    // The database was restored to an earlier moment: this agent's runs may be newer than what we know.
    if hello.highestSeen > position { adoptAgent(name) }
    if clusters[name]!.row.isAdopting {
      welcome(name, session, hello, runs: [], cancels: [])
      return
    }
    reconcile(name, hello)
    var live: [RunID] = []
    var cancels: [RunID] = []
    for id in clusters[name]!.runs.sorted() where runs[id]?.row.isUnaccounted == false {
      live.append(id)
      if runs[id]!.row.cancelReason != nil { cancels.append(id) }
    }
    welcome(name, session, hello, runs: live, cancels: cancels)
    // What its journal has ended, its events will tell.
    for id in live where hello.runs[id]?.isTerminal != true { planRenewal(of: id) }
    sendOrders(to: name, session)
  }

  /// The next assignments of the oldest welcome that is not complete.
  mutating func proceedWithWelcome() {
    guard var open = openWelcomes.popFirst(), clusters[open.cluster]?.session == open.session else { return }
    for id in open.runs.prefix(configuration.sliceLimit) {
      // What has ended meanwhile was told as its end.
      guard let row = runs[id]?.row, let assignment = assignment(of: row) else { continue }
      output.assign(assignment, to: open.cluster, open.session)
    }
    open.runs = open.runs.dropFirst(configuration.sliceLimit)
    if !open.runs.isEmpty { openWelcomes.append(open) }
  }

  private mutating func note(_ hello: AgentHello, of name: ClusterName) {
    let known = clusters[name]!.agent
    let row = AgentRow(
      cluster: name, version: hello.agentVersion, journal: hello.journal,
      joinedAt: known?.journal == hello.journal ? known?.joinedAt ?? now : now, seenAt: now, inventory: hello.inventory)
    setAgent(row, of: name)
    output.agents.insert(name)
  }

  /// Names the complete desired set; the assignments themselves follow in slices.
  private mutating func welcome(
    _ name: ClusterName, _ session: SessionID, _ hello: AgentHello, runs: [RunID], cancels: [RunID]
  ) {
    let row = clusters[name]!.row
    output.add(
      .send(
        name, session,
        .welcome(
          AgentWelcome(
            desired: runs, cancels: cancels, isDraining: row.isDraining, isAdopting: row.isAdopting,
            ackedSequence: row.ackedSequence, protocolVersion: hello.protocolVersion,
            preempted: cancels.filter { self.runs[$0]?.row.isLeaving == true }))))
    openWelcomes.removeAll { $0.cluster == name }
    guard !runs.isEmpty else { return }
    openWelcomes.append(OpenWelcome(cluster: name, session: session, runs: runs[...]))
    proceedWithWelcome()
  }

  private mutating func adoptAgent(_ name: ClusterName) {
    guard !clusters[name]!.row.isAdopting else { return }
    clusters[name]!.row.isAdopting = true
    output.events.append(
      EventRow(
        at: now, cluster: name, reason: "Adopting",
        message:
          "the agent of \(name) has seen commits that this database does not hold; its runs are kept as they are until "
          + "`fubini recover`"))
  }

  /// Compares the runs that we believe to be alive there with those that the agent's journal knows.
  private mutating func reconcile(_ name: ClusterName, _ hello: AgentHello) {
    let known = clusters[name]!.row.journal
    let isNewJournal = known != hello.journal
    if isNewJournal {
      clusters[name]!.row.journal = hello.journal
      clusters[name]!.row.ackedSequence = 0
    }
    for id in clusters[name]!.runs.sorted() {
      guard let run = runs[id] else { continue }
      if hello.runs[id] != nil {
        if run.row.isUnaccounted {
          runs[id]!.row.isUnaccounted = false
          output.runs[id] = runs[id]!.row
        }
      } else if isNewJournal && known != nil {
        // Another journal may have started it: only the operator can know whether it still runs (invariant I1).
        guard !run.row.isUnaccounted else { continue }
        runs[id]!.row.isUnaccounted = true
        output.runs[id] = runs[id]!.row
        output.events.append(
          EventRow(
            at: now, workflow: run.row.task.workflow, node: run.row.task.node, cluster: name, reason: "RunUnaccounted",
            message:
              "the agent of \(name) came back with a new journal and cannot say what became of run \(id.hexadecimal)"))
      } else if run.row.phase != .bound, !run.row.isUnaccounted {
        // The journal that took it does not hold it any more: it has ended there and was forgotten, in a history that this
        // database has lost. It does not run.
        lose(id, "its agent has forgotten it: the database was restored to an earlier moment")
      }
    }
  }

  mutating func disconnected(_ name: ClusterName, _ session: SessionID) {
    guard clusters[name]?.session == session else { return }
    clusters[name]!.session = nil
    data.reports[name] = nil
    if data.indexing.values.contains(name) { assignIndexing() }
    clusters[name]!.seen(at: now)
    output.agents.insert(name)
    output.dropCollected(for: name)
  }

  mutating func changed(_ inventory: ClusterInventory, of name: ClusterName, _ session: SessionID) {
    guard clusters[name]?.session == session else { return }
    if clusters[name]!.inventory != inventory {
      var row = clusters[name]!.agent
      row?.inventory = inventory
      setAgent(row, of: name)
      clusters[name]!.seen(at: now)
      output.agents.insert(name)
    }
    wantsPlacement = true
  }

  // MARK: Events

  mutating func received(_ events: [AgentEvent], from name: ClusterName, _ session: SessionID) {
    guard let cluster = clusters[name], cluster.session == session, !cluster.row.isAdopting else { return }
    for event in events where event.sequence > clusters[name]!.row.ackedSequence {
      clusters[name]!.row.ackedSequence = event.sequence
      output.clusters.insert(name)
      apply(event, from: name, session)
    }
    output.acknowledge(clusters[name]!.row.ackedSequence, of: name, session)
  }

  private mutating func apply(_ event: AgentEvent, from name: ClusterName, _ session: SessionID) {
    guard let run = runs[event.run], run.row.cluster == name else {
      // Over here, or never ours on this cluster: what has ended may be deleted there, what has not must not go on.
      output.add(
        .send(name, session, .cancel([event.run], reason: "the control plane has no such run on this cluster")))
      if event.phase.isTerminal { output.forget(event.run, on: name, session) }
      return
    }
    guard event.phase.rawValue > run.row.phase.rawValue || event.phase == run.row.phase else { return }
    if event.phase.isTerminal {
      close(event, from: name, session)
    } else {
      advance(event, on: name)
    }
  }

  private mutating func advance(_ event: AgentEvent, on name: ClusterName) {
    let before = runs[event.run]!
    var run = before
    run.row.phase = event.phase
    run.row.message = event.message
    run.row.dispatchedAt = run.row.dispatchedAt ?? now
    if event.phase == .running {
      run.row.startedAt = run.row.startedAt ?? now
      run.row.runsAs = event.runsAs
    }
    move(before, to: run, on: name)
    if event.phase.rawValue > RunPhase.staging.rawValue, before.row.phase.rawValue <= RunPhase.staging.rawValue {
      leaveStaging(run, isReady: true)
      clusters[name]!.backlogIn -= run.promisedBytes
      run.promisedBytes = .zero
    }
    runs[event.run] = run
    output.runs[event.run] = run.row
    if before.row.startedAt == nil, run.row.startedAt != nil {
      chargeStart(of: run)
      noteBegin(of: event)
    }
    if event.phase == .running, before.row.phase != .running {
      if let expected = history.runtime(of: run.template, reading: run.row.inputBytes) {
        clusters[name]!.started(event.run, at: now, expected: expected.median)
      }
      workflows[run.row.task.workflow]?.machine.taskReachable(
        run.row.task.node, at: clusters[name]!.inventory.runAddress ?? RunAddress.loopback)
      handle(.taskStarted(run.row.task.node, cluster: name, runsAs: event.runsAs), in: run.row.task.workflow)
      noteUpcoming(after: run.row.task.node, in: run.row.task.workflow)
    }
    if event.isReady {
      if let address = event.address, clusters[name]!.inventory.runAddress == nil {
        workflows[run.row.task.workflow]?.machine.taskReachable(run.row.task.node, at: address, onlyInCluster: true)
      }
      handle(.taskReady(run.row.task.node), in: run.row.task.workflow)
    }
  }

  /// Keeps the cluster's slots and link backlog in step with a run's phase.
  private mutating func move(_ before: RunEntry, to run: RunEntry, on name: ClusterName) {
    if before.holdsSlot, !run.holdsSlot {
      clusters[name]!.giveBack(run)
      wantsPlacement = true
    } else if !before.holdsSlot, run.holdsSlot {
      clusters[name]!.take(run)
    }
  }

  private mutating func close(_ event: AgentEvent, from name: ClusterName, _ session: SessionID) {
    let entry = runs[event.run]!
    var row = entry.row
    var outcome = event.outcome ?? TaskOutcome(phase: event.phase, message: event.message)
    outcome.outputs.artifacts = placed(outcome.outputs.artifacts, by: row)
    let hasLeft = event.phase == .cancelled && isPreempted(row)
    row.phase = hasLeft ? .preempted : event.phase
    row.dispatchedAt = row.dispatchedAt ?? now
    if !event.runsAs.isEmpty { row.runsAs = event.runsAs }
    row.finishedAt = now
    row.exitCode = outcome.exitCode
    row.message = outcome.message
    row.cause = hasLeft ? .preempted : event.cause
    row.bytesIn = event.usage.bytesIn
    row.bytesOut = event.usage.bytesOut
    row.wallMilliseconds = event.usage.wallMilliseconds
    row.stagingMilliseconds = event.usage.stagingMilliseconds
    row.egress = metered(row, event.usage)
    // Asked for before its own money comes back.
    let shortage = event.isUnpaid ? entry.lapse ?? refusalToRenew(event.run) : nil
    row.charge = settle(row, entry.priced)
    // What is followed was measured when it arrived, without the time that the run waited for room.
    if entry.inputs.isEmpty {
      clusters[name]!.measured(event.usage.bytesIn, inMilliseconds: event.usage.stagingMilliseconds)
    }
    if event.phase == .succeeded { learn(entry, outcome, seconds: Double(event.usage.wallMilliseconds) / 1000) }
    retire(entry, as: row)
    output.forget(event.run, on: name, session)
    index(outcome.outputs.artifacts, of: row)
    // What came after it uses the run that has ended: another one would be somewhere else.
    if isServing(row.task), row.cancelReason != nil || event.phase == .lost || event.isUnpaid {
      return end(row.task, outcome)
    }
    if hasLeft { notePreempted(row, outcome.outputs) }
    if event.isUnpaid, row.cancelReason == nil || isRebinding(row) {
      row.cancelReason = nil
      return endUnpaid(row, outcome, because: shortage)
    }
    // Where its own cluster took its place, its program is known to have ended: it may begin elsewhere, as after a preemption of ours.
    if event.phase == .lost, entry.isReplaceable || event.cause == .preempted {
      if isPreempted(row) { row.cancelReason = nil }
      if replace(row) { return }
    }
    if event.phase == .cancelled, isRebinding(row) {
      row.cancelReason = nil
      if replace(row) { return }
    }
    end(
      row.task,
      TaskOutcome(phase: event.phase, exitCode: outcome.exitCode, message: outcome.message, outputs: outcome.outputs))
  }

  /// Artifacts are found by what made them and by their key, also when their workflow has left memory.
  private mutating func index(_ artifacts: [String: StoredArtifact], of run: RunRow) {
    guard !artifacts.isEmpty, let workflow = workflows[run.task.workflow]?.row else { return }
    for name in artifacts.keys.sorted() where artifacts[name]!.origin == nil {
      var stored = artifacts[name]!
      stored.producedOn = run.cluster
      var row = ArtifactRow(
        task: run.task, name: name, workflowUID: workflow.uid, project: workflow.project, stored: stored,
        createdAt: now, isRemade: workflows[run.task.workflow]!.tasks[run.task.node]?.isRemaking == true,
        collection: workflows[run.task.workflow]!.machine.collection(of: name, madeBy: run.task.node))
      if stored.isUnstored == true, workflows[run.task.workflow]!.machine.stageOut(of: run.task.node) == .lazy {
        row.storeBy = now + configuration.stageOutAfter
      }
      output.artifacts.append(row)
      let key = DataKey(sha256: stored.sha256)
      if stored.size >= Self.followedSize { arrived(key, stored.size, on: run.cluster) }
      if stored.isUnstored == true {
        workflows[run.task.workflow]!.epochs[run.task.node] = run.epoch
        keepUnstored(row)
      }
    }
  }

  private mutating func learn(_ run: RunEntry, _ outcome: TaskOutcome, seconds: Double) {
    history.learn(
      EndedRun(
        template: run.template, inputs: run.row.inputBytes, seconds: seconds,
        outputs: outcome.outputs.artifacts.mapValues(\.size)))
  }

  /// A run leaves memory with its last image.
  private mutating func retire(_ entry: RunEntry, as row: RunRow) {
    runs[row.id] = nil
    preemption.ended(entry.priorityClass)
    preemption.left(row.id, at: now)
    countOut(row)
    chargeEnd(of: entry, ran: row.wallMilliseconds)
    leaveStaging(entry, isReady: false)
    clusters[row.cluster]?.remove(entry)
    output.runs[row.id] = row
    wantsPlacement = true
  }

  // MARK: Losses

  /// Ends a run that provably does not run any more, without an outcome.
  mutating func lose(_ id: RunID, _ reason: String) {
    guard let entry = runs[id] else { return }
    var row = entry.row
    row.phase = .lost
    row.finishedAt = now
    row.message = reason
    row.isUnaccounted = false
    row.charge = settle(row, entry.priced)
    retire(entry, as: row)
    output.events.append(
      EventRow(
        at: now, workflow: row.task.workflow, node: row.task.node, cluster: row.cluster, reason: "RunLost",
        message: "run \(id.hexadecimal) on \(row.cluster): \(reason)"))
    if isPreempted(row) { row.cancelReason = nil }
    if replace(row) { return }
    end(row.task, TaskOutcome(phase: .lost, message: reason))
  }

  /// Whether others have gone on because this task, a daemon, was ready.
  private func isServing(_ task: TaskID) -> Bool {
    workflows[task.workflow]?.machine[task.node].isDaemoned == true
  }

  /// Lets the task of a lost run wait for another cluster. False when it must not: its end is wanted, or it was lost too often.
  mutating func replace(_ row: RunRow) -> Bool {
    guard row.cancelReason == nil, losses(of: row) < configuration.epochLimit, !isServing(row.task),
      workflows[row.task.workflow]?.tasks[row.task.node] != nil
    else { return false }
    workflows[row.task.workflow]!.tasks[row.task.node]!.run = nil
    enqueue(row.task, epoch: row.epoch)
    return true
  }
}
