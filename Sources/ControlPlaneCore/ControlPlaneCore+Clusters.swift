import DequeModule
import FederationModel

extension ControlPlaneCore {
  mutating func create(_ spec: ClusterSpec, _ principal: Principal) throws -> Reply {
    guard spec.name.isDNSLabel else {
      throw FederationError(
        .invalidArgument, "a cluster's name is 1 to 63 lower-case letters, digits and hyphens, not \"\(spec.name)\"")
    }
    guard !LinkTable.outside.contains(spec.name.text) else {
      throw FederationError(
        .invalidArgument,
        "no cluster can be called \(spec.name): data that comes from no cluster is shown as from there; take another name"
      )
    }
    guard clusters[spec.name] == nil else {
      throw FederationError(.alreadyExists, "cluster \(spec.name) exists already")
    }
    clusters[spec.name] = ClusterEntry(row: ClusterRow(spec: spec, createdAt: now))
    return changed(spec.name, principal, "cluster.create")
  }

  mutating func update(_ spec: ClusterSpec, _ principal: Principal) throws -> Reply {
    let old = try entry(spec.name).row.spec
    guard old.kind == spec.kind else {
      throw FederationError(
        .failedPrecondition, "cluster \(spec.name) is of kind \(old.kind.rawValue); that cannot be changed")
    }
    var spec = spec
    (spec.pricePeriods, spec.spot) = (old.pricePeriods, old.spot)
    clusters[spec.name]!.row.spec = spec
    return changed(spec.name, principal, "cluster.update")
  }

  /// - Parameter period: its prices replace what always holds when it has neither beginning nor end.
  mutating func setPrices(of name: ClusterName, _ period: PricePeriod, _ principal: Principal) throws -> Reply {
    let cluster = try entry(name)
    let there = cluster.inventory.partitions.map(\.name)
    if !there.isEmpty,
      let unknown = (period.prices.partitions ?? [:]).keys.sorted().first(where: { !there.contains($0) })
    {
      throw FederationError(
        .invalidArgument,
        "cluster \(name) has no partition or pool \(unknown): it has \(there.sorted().prefix(20).joined(separator: ", "))"
      )
    }
    var spec = cluster.row.spec
    (spec.prices, spec.pricePeriods) = try priced(spec.prices, spec.pricePeriods, by: period, name)
    clusters[name]!.row.spec = spec
    wantsPlacement = true
    return changed(name, principal, "cluster.prices", "\(period.prices.currency)")
  }

  /// Prices with a new period, or with what always holds when it has neither beginning nor end.
  func priced(_ always: PriceSheet?, _ old: [PricePeriod]?, by period: PricePeriod, _ name: ClusterName) throws -> (
    PriceSheet?, [PricePeriod]?
  ) {
    guard period.from != nil || period.until != nil else { return (period.prices, old) }
    var periods = (old ?? []).filter { $0.until.map { now < $0 } ?? true }
    // The same time again is a correction.
    periods.removeAll { $0.from == period.from && $0.until == period.until }
    guard periods.count < ClusterSpec.pricePeriodsMax else {
      throw FederationError(
        .failedPrecondition,
        "cluster \(name) has \(periods.count) periods of prices that are not over; that is the most")
    }
    return (always, periods + [period])
  }

  mutating func cordon(_ name: ClusterName, reason: String?, _ principal: Principal) throws -> Reply {
    _ = try entry(name)
    clusters[name]!.row.cordonReason = reason
    return changed(name, principal, reason == nil ? "cluster.uncordon" : "cluster.cordon", reason ?? "")
  }

  /// A drain is a cordon, so its reason takes the place of a cordon's, and is shown to those who wait.
  mutating func drain(_ name: ClusterName, _ isDraining: Bool, reason: String, _ principal: Principal) throws -> Reply {
    let cluster = try entry(name)
    clusters[name]!.row.isDraining = isDraining
    if isDraining, !reason.isEmpty { clusters[name]!.row.cordonReason = reason }
    if let session = cluster.session { output.add(.send(name, session, .drain(isDraining))) }
    return changed(name, principal, isDraining ? "cluster.drain" : "cluster.undrain", reason)
  }

  mutating func revoke(_ name: ClusterName, _ principal: Principal) throws -> Reply {
    let cluster = try entry(name)
    clusters[name]!.row.revokedAt = now
    if let session = cluster.session {
      output.add(
        .close(
          name, session, FederationError(.permissionDenied, "the certificate of cluster \(name) was revoked; join anew")
        ))
    }
    return changed(name, principal, "cluster.revoke")
  }

  /// The cluster will not come back. Its runs are replaced, which only an operator who knows that they have ended may allow.
  ///
  /// Returns whether there are more runs than one slice gives up, so that `proceedWithForget` goes on.
  mutating func beginForgetting(_ name: ClusterName, confirmStopped: Bool, _ principal: Principal) throws -> Bool {
    let cluster = try entry(name)
    guard !openForgets.contains(where: { $0.cluster == name }) else {
      throw FederationError(.failedPrecondition, "cluster \(name) is being forgotten already")
    }
    guard confirmStopped || cluster.runs.isEmpty else {
      throw FederationError(
        .failedPrecondition,
        "\(cluster.runs.count) runs may still be alive on \(name); make sure that they are not, then say --confirm-stopped"
      )
    }
    note(principal, "cluster.forget", name.text, cluster.runs.isEmpty ? "no runs" : "runs confirmed stopped")
    if let session = cluster.session {
      output.add(.close(name, session, FederationError(.notFound, "cluster \(name) was removed from the federation")))
      // Nothing new is placed there while its runs are given up.
      clusters[name]!.session = nil
      output.dropCollected(for: name)
    }
    giveUpRuns(of: name, principal)
    return !clusters[name]!.runs.isEmpty
  }

  /// The next slice of the cluster that has been forgotten for longest; with its last run the cluster goes, and the operator hears
  /// of it.
  mutating func proceedWithForget() {
    guard let open = openForgets.popFirst() else { return }
    giveUpRuns(of: open.cluster, open.principal)
    if clusters[open.cluster]!.runs.isEmpty {
      answer(forget(open.cluster), to: open.request, open.principal, open.idempotency)
    } else {
      openForgets.append(open)
    }
  }

  private mutating func giveUpRuns(of name: ClusterName, _ principal: Principal) {
    for run in clusters[name]!.runs.sorted().prefix(configuration.sliceLimit) {
      lose(run, "its cluster was forgotten by \(principal.user), who confirmed that it has stopped")
    }
  }

  /// Removes a cluster that has no runs any more.
  mutating func forget(_ name: ClusterName) -> Reply {
    forgetData(of: name)
    clusters[name] = nil
    output.deletedClusters.insert(name)
    return .cluster(name)
  }

  /// Ends the adoption after a restore: the database is lifted above all that the agents have seen, and they are told anew what to
  /// run. Runs that this database does not know are stopped by their agents then.
  mutating func recover(_ name: ClusterName?, _ principal: Principal) throws -> Reply {
    if let name { _ = try entry(name) }
    let chosen = clusters.keys.sorted().filter { clusters[$0]!.row.isAdopting && (name == nil || name == $0) }
    guard !chosen.isEmpty else {
      throw FederationError(
        .failedPrecondition, name.map { "cluster \($0) is not being adopted" } ?? "no cluster is being adopted")
    }
    for cluster in chosen {
      let entry = clusters[cluster]!
      guard let session = entry.session else {
        throw FederationError(
          .failedPrecondition, "the agent of \(cluster) is away; recover it when it is back, or forget the cluster")
      }
      output.minimumSequence = max(output.minimumSequence ?? 0, entry.highestSeen.sequence)
      clusters[cluster]!.row.isAdopting = false
      output.clusters.insert(cluster)
      output.add(
        .close(
          cluster, session, FederationError(.unavailable, "recovered: connect again", retryAfter: .milliseconds(100))))
      note(principal, "cluster.recover", cluster.text)
    }
    return .cluster(chosen[0])
  }

  func entry(_ name: ClusterName) throws -> ClusterEntry {
    guard let entry = clusters[name] else { throw FederationError(.notFound, "there is no cluster \(name)") }
    return entry
  }

  mutating func changed(_ name: ClusterName, _ principal: Principal, _ action: String, _ detail: String = "")
    -> Reply
  {
    output.clusters.insert(name)
    wantsPlacement = true
    note(principal, action, name.text, detail)
    return .cluster(name)
  }
}
