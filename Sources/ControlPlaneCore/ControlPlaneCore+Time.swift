import DequeModule
public import FederationModel
import HeapModule
import WorkflowCore

extension ControlPlaneCore {
  /// The earliest moment at which a tick would change a workflow.
  public var nextWake: Timestamp? { wakes.min?.at }

  mutating func tick(silence: [ClusterName: Duration]) {
    note(silence)
    replaceUnreachableRuns(silence)
    wakeWorkflows()
    expireWorkflows()
    forgetOldReplies()
    for name in Array(clusters.keys) { clusters[name]!.postponeLateEnds(at: now, limit: configuration.sliceLimit) }
    beginBudgetPeriods()
    reviewPins()
    renewSlices()
    stopUnpayable()
    reviewPlacement()
    reviewSpot()
    moveStalledRuns()
    backlog.tick(at: now)
    if configuration.holdsHeadroom { observeDemand() }
    makeRoom()
    makeRoomInQueues()
    storeOverdue()
    bringHomeWhatIsRead()
    revalueStale()
    if !data.lost.isEmpty { recoverInputs() }
    if expiredAt + .seconds(60) < now {
      expiredAt = now
      expireVersions()
    }
  }

  // MARK: Agents' leases

  private mutating func note(_ silence: [ClusterName: Duration]) {
    for name in clusters.keys.sorted() {
      let isSilent = (silence[name] ?? .zero) > configuration.agentLease
      guard clusters[name]!.isSilent != isSilent else { continue }
      clusters[name]!.isSilent = isSilent
      wantsPlacement = true
      guard clusters[name]!.row.journal != nil else { continue }
      clusters[name]!.seen(at: now + (.zero - (silence[name] ?? .zero)))
      output.agents.insert(name)
      output.events.append(
        EventRow(
          at: now, cluster: name, reason: isSilent ? "ClusterOffline" : "ClusterOnline",
          message: isSilent
            ? "no answer from the agent of \(name) for longer than its lease" : "the agent of \(name) answers again"))
    }
  }

  /// Ends the runs whose fence must have ended them (invariant I1): silence is counted from the last heartbeat that was answered, and
  /// the lease beside the run from the moment that heartbeat was sent, which is earlier.
  private mutating func replaceUnreachableRuns(_ silence: [ClusterName: Duration]) {
    suspectOurselves(silence)
    var limit = configuration.disconnectLimit + configuration.fenceMargin
    if isMassLoss { limit += configuration.massLossExtension }
    for name in clusters.keys.sorted() {
      guard let quiet = silence[name], quiet > limit, !clusters[name]!.row.isAdopting else { continue }
      let replaced = clusters[name]!.runs.sorted().filter {
        runs[$0]?.isReplaceable == true && runs[$0]?.row.isUnaccounted == false
      }.prefix(configuration.sliceLimit)
      // A session that is formally open must not go on as if nothing had happened: its agent learns from a welcome what is left, before
      // its lease becomes fresh and what it had not yet started could start.
      if !replaced.isEmpty, let session = clusters[name]!.session {
        output.add(
          .close(
            name, session,
            FederationError(
              .unavailable, "silent for longer than the disconnect limit; connect again", retryAfter: .milliseconds(100)
            )))
      }
      for id in replaced {
        lose(
          id,
          "no answer from the agent of \(name) for longer than the disconnect limit; the fence beside the run has ended it"
        )
      }
    }
  }

  /// When most agents vanish at once it is more likely that we were cut off than that they died (invariant I8): every limit is
  /// extended once, by a bounded time, until most are back.
  private mutating func suspectOurselves(_ silence: [ClusterName: Duration]) {
    let known = clusters.values.filter { $0.row.journal != nil }
    let away = known.count { $0.isSilent }
    let isMassLoss = known.count >= 3 && away * 2 > known.count
    guard isMassLoss != self.isMassLoss else { return }
    self.isMassLoss = isMassLoss
    output.events.append(
      EventRow(
        at: now, reason: isMassLoss ? "MassLoss" : "MassLossOver",
        message: isMassLoss
          ? "\(away) of \(known.count) agents are silent: the control plane suspects its own network and extends every disconnect limit"
          : "most agents answer again"))
  }

  // MARK: Workflows' moments

  private mutating func wakeWorkflows() {
    var left = configuration.sliceLimit
    while left > 0, let wake = wakes.min, wake.at <= now {
      left -= 1
      wakes.removeMin()
      guard let workflow = workflows[wake.workflow], workflow.scheduledWake == wake.at else { continue }
      workflows[wake.workflow]!.scheduledWake = nil
      handle(.timeReached, in: wake.workflow)
    }
  }

  private mutating func forgetOldReplies() {
    let oldest = now + (.zero - configuration.idempotencyWindow)
    var left = 1024
    while left > 0, let key = replyOrder.first, replies[key].map({ $0.at < oldest }) ?? true {
      left -= 1
      replyOrder.removeFirst()
      replies[key] = nil
    }
  }
}
