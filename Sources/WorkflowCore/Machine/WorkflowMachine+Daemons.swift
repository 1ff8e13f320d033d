public import FederationModel

/// Templates with `daemon: true`: what waits for such a node goes on when it is ready, and it is asked to end when the steps or dag
/// template that it stands in has ended. The workflow is over when the last of them has.
///
/// - Source: Argo Workflows v3.7, `workflow/controller/operator.go`, `assessNodeStatus` and `killDaemonedChildren`.
extension WorkflowMachine {
  func isDaemon(_ node: Int32) -> Bool { program.hasDaemons && plan(of: node)?.template.isDaemon == true }

  /// Where others reach a daemon's run; told before its node is ready. What was ready once keeps its address.
  public mutating func taskReachable(_ node: NodeID, at address: String, onlyInCluster: Bool = false) {
    guard let index = liveTask(node), isDaemon(node.ordinal), !nodes[index].isDaemoned else { return }
    for ordinal in [node.ordinal, retry(of: node.ordinal)].compactMap(\.self) {
      nodes[Int(ordinal)].daemon = NodeDaemon(address: address, isOfCluster: onlyInCluster ? true : nil)
      markChanged(ordinal)
    }
  }

  /// The Retry node of an attempt; nil for everything else.
  private func retry(of node: Int32) -> Int32? {
    nodes[Int(node)].role == .attempt ? nodes[Int(node)].parent?.ordinal : nil
  }

  mutating func taskReady(_ node: NodeID) {
    guard let index = liveTask(node), isDaemon(node.ordinal), !nodes[index].isDaemoned,
      nodes[index].cancelReason == nil
    else { return }
    nodes[index].phase = .running
    serve(node.ordinal)
    noteDaemon(node.ordinal)
    let head = retry(of: node.ordinal) ?? node.ordinal
    if head != node.ordinal { serve(head) }
    // Nobody stands beside an entrypoint, an exit handler or a hook: they are done with being ready.
    guard nodes[Int(head)].role == .step else { return cancel(node.ordinal, reason: Self.dismissal) }
    setOffHooks(of: head)
    stepEnded(head)
  }

  /// From now on nothing waits for the node, and it keeps others from nothing.
  private mutating func serve(_ node: Int32) {
    var daemon = nodes[Int(node)].daemon ?? NodeDaemon(address: RunAddress.loopback)
    daemon.isReady = true
    nodes[Int(node)].daemon = daemon
    markChanged(node)
    leaveGate(node)
    freeSlots(of: node)
  }

  /// Takes a daemon that is ready and has not ended into account.
  mutating func noteDaemon(_ node: Int32) {
    daemons[nodes[Int(node)].boundary?.ordinal ?? -1, default: []].insert(node)
  }

  static let dismissal = "the template that it stood in has ended"

  /// A template has ended: so do its daemons.
  mutating func dismissDaemons(of boundary: Int32) {
    for node in daemons[boundary]?.sorted() ?? [] { cancel(node, reason: Self.dismissal) }
  }

  /// A daemon has ended. The workflow may have waited for the last one.
  mutating func daemonLeft(_ node: Int32) {
    let boundary = nodes[Int(node)].boundary?.ordinal ?? -1
    guard daemons[boundary]?.remove(node) != nil else { return }
    if daemons[boundary]?.isEmpty == true { daemons[boundary] = nil }
    guard daemons.isEmpty, status.phase == .running, root >= 0 else { return }
    let last = exitHandler >= 0 ? exitHandler : root
    guard nodes[Int(last)].phase.isTerminal, !nodes[Int(last)].isEndPending else { return }
    nodes[Int(last)].isEndPending = true
    markChanged(last)
    agenda.ended.push(last)
  }

  /// What the end of a daemon's run means: that its program failed is nobody's failure, and that it was asked to end after it was ready
  /// is how it should end.
  func daemonPhase(after outcome: TaskOutcome, of node: NodeRecord) -> NodePhase {
    switch outcome.phase {
    case .succeeded, .failed: .succeeded
    default: node.cancelReason == nil ? .error : node.isDaemoned ? .succeeded : .failed
    }
  }

  // MARK: Who reaches it

  /// The cluster on which a node must run because of daemons that no other one reaches; nil: any.
  ///
  /// The address of a daemon is passed on by arguments alone, so that what stands in a step which mentions it is what may use it.
  /// - Throws: `FederationError` (`failedPrecondition`) when such daemons are on several clusters.
  func clusterOfDaemons(for node: Int32) throws -> ClusterName? {
    guard program.hasDaemons else { return nil }
    var found: Set<ClusterName> = []
    var current: Int32? = node
    while var place = current {
      // Attempts, hooks and exit handlers have what their step may mention.
      while nodes[Int(place)].role != .step, nodes[Int(place)].role != .group, let parent = nodes[Int(place)].parent {
        place = parent.ordinal
      }
      if let boundary = nodes[Int(place)].boundary?.ordinal, let name = step(of: place)?.name,
        let mentioned = plan(of: boundary)?.mentionedDaemons[name]
      {
        for daemon in mentioned {
          for member in members(ofStep: daemon, in: boundary)?.nodes ?? [] {
            found.formUnion(cluster(ofLocal: member).map { [$0] } ?? [])
          }
        }
      }
      current = nodes[Int(place)].boundary?.ordinal
    }
    guard found.count > 1 else { return found.first }
    throw FederationError(
      .failedPrecondition,
      "it is to reach daemons on the clusters \(found.map(\.text).sorted().joined(separator: ", ")), and each can be reached "
        + "on its own cluster alone: declare `runAddress` in the configurations of their agents, or keep the daemons together"
    )
  }

  /// Where a daemon runs that no other cluster reaches.
  private func cluster(ofLocal node: Int32) -> ClusterName? {
    let record = nodes[Int(node)]
    guard (record.daemon.map { $0.isOfCluster == true || RunAddress.isLoopback($0.address) }) == true else {
      return nil
    }
    return record.hostCluster ?? liveAttempts(of: node).last.flatMap { nodes[Int($0)].hostCluster }
  }
}
