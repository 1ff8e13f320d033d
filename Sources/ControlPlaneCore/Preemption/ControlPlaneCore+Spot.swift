import FederationModel
import SchedulerCore

/// Under which terms a cluster's spot runs were looked at: while nothing of it changes, none has to leave.
struct SpotReview: Hashable, Sendable {
  var offer: SpotOffer?
  var prices: PriceSheet?
  var regular: PriceSheet?
}

/// Spot capacity: what an operator gives for a price of its own, and takes back after a notice (ADR 0021).
///
/// A run leaves as one that is preempted, with its hook, and its task waits again. It leaves when the price rises above its bid, or when
/// the operator makes the share smaller and it is not among those that fit into the rest. Both follow from durable rows, so a new
/// leader goes on where the one before ended.
extension ControlPlaneCore {
  // MARK: Commands

  mutating func perform(_ command: SpotCommand, on name: ClusterName, _ principal: Principal) throws -> Reply {
    let spec = try entry(name).row.spec
    let action: (name: String, detail: String)
    switch command {
    case .offer(let percent, let notice, let reason):
      clusters[name]!.row.spec.spot = try offer(percent, notice, reason, instead: spec.spot)
      let seconds = Int64(clusters[name]!.row.spec.spot!.notice.seconds)
      action = ("cluster.spot", "\(percent) %, notice \(seconds) s\(reason.map { ": \($0)" } ?? "")")
    case .withdraw:
      guard spec.spot != nil else { throw Self.offersNothing(name) }
      clusters[name]!.row.spec.spot = nil
      action = ("cluster.spot", "withdrawn")
    case .setPrices(let period):
      guard var offer = spec.spot else { throw Self.offersNothing(name) }
      if let regular = spec.prices(at: now), regular.currency != period.prices.currency {
        throw FederationError(
          .invalidArgument,
          "the prices of cluster \(name) are in \(regular.currency); those of its spot capacity must be, too")
      }
      (offer.prices, offer.pricePeriods) = try priced(offer.prices, offer.pricePeriods, by: period, name)
      clusters[name]!.row.spec.spot = offer
      action = ("cluster.spotPrices", period.prices.currency)
    }
    reviewSpot(of: name)
    wantsPlacement = true
    return changed(name, principal, action.name, action.detail)
  }

  private func offer(_ percent: Int, _ notice: Duration?, _ reason: String?, instead old: SpotOffer?) throws
    -> SpotOffer
  {
    guard (0...100).contains(percent) else {
      throw FederationError(.invalidArgument, "the share of spot capacity is 0 to 100 per cent")
    }
    guard let notice = notice ?? old?.notice else {
      throw FederationError(.invalidArgument, "say how many seconds of notice its runs get")
    }
    let range = SpotOffer.noticeRange
    guard notice >= .seconds(range.lowerBound), notice <= .seconds(range.upperBound) else {
      throw FederationError(
        .invalidArgument, "a notice is \(range.lowerBound) to \(range.upperBound) seconds")
    }
    guard (reason ?? "").utf8.count <= 1000 else {
      throw FederationError(.invalidArgument, "a reason has at most 1000 bytes")
    }
    var offer = old ?? SpotOffer(percent: percent, notice: notice)
    if percent < offer.percent { offer.reclaimedAt = now }
    (offer.percent, offer.notice, offer.reason) = (percent, notice, reason)
    return offer
  }

  private static func offersNothing(_ name: ClusterName) -> FederationError {
    FederationError(
      .failedPrecondition,
      "cluster \(name) offers no spot capacity; an operator declares it: fubini cluster spot \(name) --share 50 --notice 60"
    )
  }

  // MARK: Placing

  /// What a run is quoted, and what it agrees to with that.
  func terms(for placement: Placement, _ requirement: Requirement) -> (quote: PriceSheet?, spot: SpotTerms?) {
    let spec = clusters[placement.cluster]!.row.spec
    let priorityClass = requirement.hints.priorityClass
    guard placement.isSpot, let offer = spec.spot else {
      return (spec.prices(at: now)?.quoted(on: placement.partition).quoted(to: priorityClass), nil)
    }
    let bound = requirement.hints.walltime ?? expectedRuntime(of: requirement)
    var terms = SpotTerms(bid: requirement.hints.maxPrice, bound: bound, notice: offer.notice)
    terms.partition = clusters[placement.cluster]!.view(defaultBandwidth: configuration.defaultBandwidth, at: now)
      .partition(for: requirement)
    return (spec.spotPrices(at: now)?.quoted(to: priorityClass), terms)
  }

  // MARK: Leaving

  /// A tick: prices that change by the clock, and what one slice did not come to.
  mutating func reviewSpot() {
    for name in clusters.keys.sorted() {
      let entry = clusters[name]!
      guard entry.spotRuns > 0 || entry.row.spec.spot != nil else { continue }
      guard entry.spotReviewed != spotReview(of: name) else { continue }
      wantsPlacement = true
      reviewSpot(of: name)
    }
  }

  private func spotReview(of name: ClusterName) -> SpotReview {
    let spec = clusters[name]!.row.spec
    return SpotReview(offer: spec.spot, prices: spec.spotPrices(at: now), regular: spec.prices(at: now))
  }

  /// Tells those to leave that the cluster has no more room for, or that bid too little.
  private mutating func reviewSpot(of name: ClusterName) {
    let review = spotReview(of: name)
    clusters[name]!.spotReviewed = review
    guard clusters[name]!.spotRuns > 0 else { return }
    var left = configuration.sliceLimit
    for (id, reason) in spotEvictions(of: name, review) {
      guard left > 0 else {
        clusters[name]!.spotReviewed = nil
        return
      }
      left -= 1
      evict(id, because: reason)
    }
  }

  /// Who has to leave, and why.
  private func spotEvictions(of name: ClusterName, _ review: SpotReview) -> [(RunID, String)] {
    let here = clusters[name]!.runs.sorted().filter { runs[$0]!.row.spot != nil && runs[$0]!.row.cancelReason == nil }
    guard let offer = review.offer, offer.percent > 0 else {
      let why = review.offer?.reason.map { ": \($0)" } ?? ""
      return here.map { ($0, "\(name) takes its spot capacity back\(why)") }
    }
    var leaving: [(RunID, String)] = []
    for id in here {
      let run = runs[id]!
      guard let sheet = review.prices?.quoted(to: run.priorityClass),
        let refusal = SpotBid.refusal(
          of: sheet, regular: review.regular?.quoted(on: run.row.spot!.partition).quoted(to: run.priorityClass),
          bid: run.row.spot!.bid, for: run.priced,
          lasting: run.row.spot!.bound, egress: run.row.egress.plannedCost)
      else { continue }
      leaving.append((id, "\(refusal) on \(name)"))
    }
    guard let since = offer.reclaimedAt else { return leaving }
    let gone = Set(leaving.map(\.0))
    let staying = here.filter { !gone.contains($0) && runs[$0]!.row.boundAt <= since }
    let why = offer.reason.map { ": \($0)" } ?? ""
    return leaving + beyond(offer, staying, on: name).map { ($0, "\(name) takes spot capacity back\(why)") }
  }

  /// Of these runs those that do not fit into what is offered: the least costly leave.
  private func beyond(_ offer: SpotOffer, _ staying: [RunID], on name: ClusterName) -> [RunID] {
    let inventory = clusters[name]!.inventory
    var resources = Resources.zero - offer.part(of: inventory.capacity)
    for id in staying { resources += runs[id]!.row.resources }
    let missing = MissingRoom(
      resources: resources, slots: inventory.slots.map { staying.count - offer.part(of: $0) } ?? 0)
    let bandwidth = clusters[name]!.view(defaultBandwidth: configuration.defaultBandwidth, at: now).bandwidth
    let victims = staying.map { victim($0, bandwidth: bandwidth, isProtected: false) }
    return VictimChoice.choose(making: missing, from: victims, capacity: inventory.capacity)?.runs ?? []
  }

  private mutating func evict(_ id: RunID, because reason: String) {
    runs[id]!.row.spot!.isEvicted = true
    askToLeave(id, because: "Evicted: \(reason)", event: "Evicted")
  }

  /// What a run is told on its way out ends within the notice that it was placed with.
  func withNotice(_ spec: TaskSpec, of row: RunRow) -> TaskSpec {
    guard let terms = row.spot else { return spec }
    var spec = spec
    var hook = spec.federation.onPreempt ?? PreemptionHook(grace: spec.terminationGrace)
    hook.grace = min(hook.grace, terms.notice)
    spec.federation.onPreempt = hook
    return spec
  }
}
