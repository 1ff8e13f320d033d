import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird

extension APIServer {
  var priceRoutes: [Route] {
    [
      Route(.get, "/v1/prices", .anywhere(.read, .price), "What clusters charge, now and at other times.") {
        _, context in
        let clusters = try await visibleClusters(to: context.signedIn(), for: Permission(.read, .price))
        return try .json(PriceList(items: prices(of: clusters)))
      },
      Route(.get, "/v1/clusters/:c/prices", .anywhere(.read, .price), "What a cluster charges, now and at other times.")
      {
        _, context in
        let name = ClusterName(try context.parameter("c"))
        let clusters = try await visibleClusters(to: context.signedIn(), for: Permission(.read, .price))
        guard let row = clusters.first(where: { $0.spec.name == name }) else {
          throw FederationError(.notFound, "there is no cluster \(name)")
        }
        return try .json(PriceList(items: prices(of: [row])))
      },
      Route(
        .put, "/v1/clusters/:c/prices", .federation(.update, .price),
        "Sets a cluster's prices, or those of its spot capacity, for always or for a time. Placed runs keep their quote."
      ) { request, context in
        let name = ClusterName(try context.parameter("c"))
        let bytes = try await request.bytes()
        let body = try JSONBody.decode(PriceRequest.self, from: bytes)
        let period = try body.period
        _ = try await services.commands.perform(
          body.spot == true ? .spot(name, .setPrices(period)) : .setPrices(name, period),
          as: try context.signedIn().principal,
          idempotency: try Self.idempotency(request, bytes))
        return try .json(AcceptedDocument(name: name.text))
      },
    ]
  }

  private func prices(of clusters: [ClusterRow]) -> [PriceDocument] {
    let now = Timestamp.wallClock
    return clusters.map(\.spec).sorted { $0.name < $1.name }.flatMap { spec -> [PriceDocument] in
      Self.prices(of: spec.name, spec.prices, spec.pricePeriods ?? [], at: now)
        + (spec.spot.map { Self.prices(of: spec.name, $0.prices, $0.pricePeriods ?? [], at: now, isSpot: true) } ?? [])
    }
  }

  private static func prices(
    of cluster: ClusterName, _ always: PriceSheet?, _ periods: [PricePeriod], at now: Timestamp, isSpot: Bool? = nil
  ) -> [PriceDocument] {
    let current = periods.lastIndex { $0.holds(at: now) }
    let timed = periods.enumerated().map { index, period in
      PriceDocument(
        cluster: cluster.text, prices: period.prices, from: period.from?.wire, until: period.until?.wire,
        isInForce: index == current, spot: isSpot)
    }
    guard let always else { return timed }
    let first = PriceDocument(
      cluster: cluster.text, prices: always, from: nil, until: nil, isInForce: current == nil, spot: isSpot)
    return [first] + timed
  }
}

extension PriceRequest {
  /// - Throws: `.invalidArgument` for prices and times that make no sense.
  fileprivate var period: PricePeriod {
    get throws {
      if let problem = prices.problem { throw FederationError(.invalidArgument, problem) }
      if spot == true, prices.egressGibibyte != 0 || prices.storageGibibyteHour != nil || prices.partitions != nil {
        throw FederationError(
          .invalidArgument,
          "spot capacity has hourly prices alone: what leaves a cluster or is kept there costs the same, and it is one "
            + "part in all partitions")
      }
      let (from, until) = (from?.timestamp, until?.timestamp)
      if let from, let until, from >= until {
        throw FederationError(.invalidArgument, "`from` must be before `until`")
      }
      if let until, until <= .wallClock {
        throw FederationError(.invalidArgument, "`until` has passed already")
      }
      return PricePeriod(prices: prices, from: from, until: until)
    }
  }
}
