import FederationModel
import SchedulerCore

/// Room for realtime work that has not come yet: held by a quantile of what it wanted lately, and lent to idle work meanwhile, which
/// leaves at once.
extension ControlPlaneCore {
  /// A tick: what realtime work has, and what is being made for it. Clusters without any learn nothing.
  mutating func observeDemand() {
    for name in clusters.keys {
      var (resources, slots) = clusters[name]!.use(of: .realtime)
      for claim in preemption.claims(on: name) where claim.requirement.hints.priorityClass == .realtime {
        resources += claim.requirement.resources
        slots += 1
      }
      clusters[name]!.demand.observe(resources, slots: slots, at: now)
      clusters[name]!.expectedDemand = clusters[name]!.demand.headroom(at: now)
    }
  }
}

extension ClusterEntry {
  /// Of the free room, what those may not take that leave slowly: what is expected to be wanted, less what realtime work has already and
  /// what idle work would leave.
  var headroom: Headroom? {
    guard let expected = expectedDemand else { return nil }
    let (realtime, idle) = (use(of: .realtime), use(of: .idle))
    // Others keep a tenth, a slot at least: what is held for longer than it is used must not stop them.
    let capacity = inventory.capacity
    func rest(_ part: KeyPath<Resources, Int64>) -> Int64 {
      let wanted = expected.resources[keyPath: part] - realtime.resources[keyPath: part] - idle.resources[keyPath: part]
      let most = capacity[keyPath: part] - capacity[keyPath: part] / 10 - realtime.resources[keyPath: part]
      return max(0, min(wanted, most))
    }
    let all = inventory.slots ?? .max
    let most = all == .max ? .max : max(0, all - max(1, all / 10) - realtime.slots)
    guard most > 0 else { return nil }
    let held = Headroom(
      resources: Resources(
        cpuMillicores: rest(\.cpuMillicores), memory: ByteCount(rest(\.memory.bytes)), gpus: rest(\.gpus)),
      slots: min(most, max(0, expected.slots - realtime.slots - idle.slots)))
    return held.slots == 0 && held.resources == .zero ? nil : held
  }
}
