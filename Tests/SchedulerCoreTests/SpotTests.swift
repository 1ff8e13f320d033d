import FederationModel
import SchedulerCore
import Testing

/// Four slots of two cores each, of which `percent` are spot capacity at `spot` minor units for a core and hour; the rest costs 400.
private func cluster(
  _ name: ClusterName = "a", percent: Int? = 50, spot: Double? = 100, regular: Double? = 400, queues: Bool = false
) -> ClusterView {
  let capacity = Resources(cpuMillicores: 8000, memory: .gibibytes(16))
  let prices = regular.map { PriceSheet(currency: "CNY", coreHour: $0) }
  var view = ClusterView(
    spec: ClusterSpec(name: name, kind: .process, prices: prices),
    inventory: ClusterInventory(
      capacity: capacity, slots: queues ? nil : 4, images: [ImageRule(pattern: "*", runsAs: "host")], queues: queues),
    free: capacity, freeSlots: queues ? nil : 4, bandwidth: 1e8)
  view.spot = percent.map {
    SpotView(
      offer: SpotOffer(percent: $0, notice: .seconds(60), reason: "maintenance"),
      prices: spot.map { PriceSheet(currency: "CNY", coreHour: $0) })
  }
  return view
}

private func requirement(_ spot: SpotPolicy?, bid: String? = nil, cores: Int64 = 1) -> Requirement {
  var hints = FederationHints(walltime: .seconds(3600), maxPrice: bid.map { Money($0)! })
  hints.spot = spot
  return Requirement(
    project: "p", image: "any", copy: Resources(cpuMillicores: cores * 1000, memory: .gibibytes(1)), hints: hints)
}

private func tasks(_ count: Int32, from first: Int32 = 0) -> [TaskID] {
  (first..<first + count).map { TaskID(workflow: WorkflowID(1), node: NodeID($0)) }
}

private func plan(_ clusters: [ClusterView], _ requirements: [(Requirement, Int32)]) -> PlacementPlan {
  var first: Int32 = 0
  var groups: [PendingGroup] = []
  for (requirement, count) in requirements {
    groups.append(
      PendingGroup(
        key: Int64(groups.count + 1), requirement: requirement, tasks: tasks(count, from: first),
        expectedRuntime: .seconds(600)))
    first += count
  }
  return PlacementPlanner().plan(SchedulingSnapshot(clusters: clusters, groups: groups))
}

private func rejection(_ clusters: [ClusterView], _ requirement: Requirement) -> Rejection? {
  PlacementPlanner().explain(requirement, expectedRuntime: .seconds(600), on: clusters).candidates[0].rejection
}

@Suite("Spot capacity in a placement pass")
struct SpotTests {
  @Test("Who does not ask for it has the rest of the cluster alone, and who requires it the spot part alone")
  func parts() {
    let never = plan([cluster()], [(requirement(nil), 9)])
    #expect(never.placements.count == 2 && never.placements.allSatisfy { !$0.isSpot })
    let only = plan([cluster()], [(requirement(.require), 9)])
    #expect(only.placements.count == 2 && only.placements.allSatisfy(\.isSpot))
    let both = plan([cluster()], [(requirement(nil), 9), (requirement(.require), 9)])
    #expect(both.placements.count { $0.isSpot } == 2 && both.placements.count { !$0.isSpot } == 2)
    let table = both.tables[both.placements.first { $0.isSpot }!.table].candidates[0]
    #expect(table.isSpot && table.estimate?.priceMinorUnits.map { abs($0 - 100.0 / 6) < 0.01 } == true)
  }

  @Test("Who allows it takes it first, and the rest in the next pass when it is full")
  func allows() {
    var view = cluster()
    let first = plan([view], [(requirement(.allow), 9)])
    #expect(first.placements.count == 2 && first.placements.allSatisfy(\.isSpot))
    view.free -= Resources(cpuMillicores: 2000)
    view.freeSlots = 2
    view.spot!.used = Resources(cpuMillicores: 2000)
    view.spot!.slotsUsed = 2
    let second = plan([view], [(requirement(.allow), 9)])
    #expect(second.placements.count == 2 && second.placements.allSatisfy { !$0.isSpot })
    let dear = plan([cluster(spot: 500)], [(requirement(.allow, bid: "9 CNY"), 1)])
    #expect(dear.placements.map(\.isSpot) == [false], "what is dearer than the rest is not taken while there is room")
  }

  @Test("The price of a run, for its walltime, is at most its bid; without one at most what is asked otherwise")
  func bids() {
    #expect(plan([cluster()], [(requirement(.require, bid: "1 CNY"), 1)]).placements.count == 1)
    #expect(plan([cluster()], [(requirement(.require, bid: "0.99 CNY"), 1)]).placements.isEmpty)
    let low = rejection([cluster(spot: 400)], requirement(.require, bid: "3 CNY"))
    #expect(low == Rejection("SpotPrice", "spot price 4.00 CNY above bid 3.00 CNY", isTemporary: true))
    #expect(rejection([cluster(spot: 400)], requirement(.require)) == nil)
    #expect(rejection([cluster(spot: 401)], requirement(.require))?.message.contains("above the 4.00 CNY") == true)
    #expect(rejection([cluster(spot: 401, regular: nil)], requirement(.require)) == nil, "nothing to compare with")
    #expect(
      rejection([cluster()], requirement(.require, bid: "1 EUR"))?.message
        == "the spot price is in CNY, the bid in EUR")
  }

  @Test("Each reason why spot capacity cannot be had is told (I10)")
  func reasons() {
    #expect(rejection([cluster(percent: nil)], requirement(.require))?.code == "NoSpot")
    #expect(rejection([cluster(percent: 100)], requirement(nil))?.code == "SpotOnly")
    #expect(rejection([cluster(percent: 100)], requirement(.never))?.code == "SpotOnly")
    #expect(rejection([cluster(spot: nil)], requirement(.require))?.code == "NoSpotPrice")
    let gone = rejection([cluster(percent: 0)], requirement(.require))
    #expect(gone?.code == "SpotReclaimed" && gone?.message.contains("maintenance") == true && gone?.isTemporary == true)
    let large = rejection([cluster()], requirement(.require, cores: 5))
    #expect(large?.message == "5 cores asked for, it has 4 of spot capacity" && large?.isTemporary == false)
    #expect(
      rejection([cluster()], requirement(nil, cores: 5))?.message
        == "5 cores asked for, it has 4 besides its spot capacity")
    var full = cluster(spot: 500)
    full.freeSlots = 2
    full.free -= Resources(cpuMillicores: 2000)
    let waits = rejection([full], requirement(.allow, bid: "4 CNY"))
    #expect(
      waits?.message == "all 2 slots are taken; spot price 5.00 CNY above bid 4.00 CNY" && waits?.code == "Full")
  }

  @Test("Room that runs of one part physically have of the other is not there yet, but a queue lets it wait")
  func shrunk() {
    // The share was 100 %, and four runs are still there.
    var view = cluster(percent: 50)
    view.free = Resources(cpuMillicores: 4000, memory: .gibibytes(12))
    view.freeSlots = 0
    view.spot!.used = Resources(cpuMillicores: 4000, memory: .gibibytes(4))
    view.spot!.slotsUsed = 4
    #expect(plan([view], [(requirement(nil), 3)]).placements.isEmpty)
    var queue = cluster(percent: 50, queues: true)
    queue.free = .zero
    queue.spot!.used = Resources(cpuMillicores: 8000, memory: .gibibytes(16))
    #expect(plan([queue], [(requirement(nil), 3)]).placements.count == 3)
  }

  @Test("Whatever comes in whatever order, neither part has more than it is, and no run is quoted more than it bids")
  func random() {
    for seed in 1...200 as ClosedRange<UInt64> {
      var random = SeededGenerator(seed: seed)
      var views = (0..<3).map { index -> ClusterView in
        let percent = random.next(upTo: 5) == 0 ? nil : random.next(upTo: 5) * 25
        return cluster(ClusterName("c\(index)"), percent: percent, spot: Double(random.next(upTo: 600)))
      }
      for _ in 0..<6 {
        let wishes = (0..<4).map { _ -> (Requirement, Int32) in
          let policy = [nil, .never, .allow, .require][random.next(upTo: 4)] as SpotPolicy?
          let bid = random.next(upTo: 2) == 0 ? nil : "\(1 + random.next(upTo: 5)) CNY"
          return (requirement(policy, bid: bid, cores: Int64(1 + random.next(upTo: 3))), Int32(random.next(upTo: 4)))
        }
        let plan = plan(views, wishes)
        for placement in plan.placements {
          var (rest, ordinal) = (Int(placement.task.node.ordinal), 0)
          while rest >= Int(wishes[ordinal].1) {
            rest -= Int(wishes[ordinal].1)
            ordinal += 1
          }
          let wish = wishes[ordinal].0
          let index = views.firstIndex { $0.spec.name == placement.cluster }!
          #expect(!placement.isSpot || wish.hints.spot == .allow || wish.hints.spot == .require, "seed \(seed)")
          #expect(placement.isSpot || wish.hints.spot != .require, "seed \(seed)")
          if placement.isSpot, let bid = wish.hints.maxPrice {
            let cost = views[index].spot!.prices!.cost(of: wish.priced, for: .seconds(3600)).rounded(.up)
            #expect(cost <= Double(bid.minorUnits), "seed \(seed)")
          }
          views[index].enter(SpotChoice(isSpot: placement.isSpot))
          views[index].free -= wish.resources
          views[index].freeSlots! -= 1
          #expect(
            Resources.zero.fits(in: views[index].free) && views[index].freeSlots! >= 0, "seed \(seed): a part is over")
          views[index].leave()
          #expect(
            Resources.zero.fits(in: views[index].free) && views[index].freeSlots! >= 0, "seed \(seed): all is over")
        }
      }
    }
  }
}
