import SchedulerCore
import SimulatorCore

/// The three platforms of `make bench-coscheduling`. Bandwidths in bytes per second, prices in one currency.
enum BenchmarkPlatform {
  static let all = [campus, continental, hybrid]

  /// Four clusters of one organisation over 10 Gbit/s, one of them with the data.
  static let campus = Platform(
    name: "campus",
    sites: [
      site("archive", slots: 8, speed: 1, gigabits: 10, holdsInputs: true),
      site("north", slots: 16, speed: 1, gigabits: 10),
      site("south", slots: 16, speed: 1.3, gigabits: 10),
      site("lab", slots: 8, speed: 1.6, gigabits: 1),
    ])

  /// Five clusters far apart with unequal links; the fast ones are the badly connected ones.
  static let continental = Platform(
    name: "continental",
    sites: [
      site("store", slots: 4, speed: 0.8, gigabits: 4, holdsInputs: true),
      site("east", slots: 16, speed: 1, gigabits: 1),
      site("west", slots: 16, speed: 1.5, gigabits: 0.5),
      site("alps", slots: 12, speed: 2, gigabits: 0.2),
      site("coast", slots: 24, speed: 0.9, gigabits: 1),
    ])

  /// A small local cluster with the data, a supercomputer with a queue, and two clouds that cost money.
  static let hybrid = Platform(
    name: "hybrid",
    sites: [
      site("local", slots: 8, speed: 1, gigabits: 1, holdsInputs: true),
      site("hpc", slots: 48, speed: 1.8, gigabits: 2, price: 0.02, wait: QueueWaitModel(p50: 30, p90: 120)),
      site("cloud-a", slots: 32, speed: 1.2, gigabits: 1, price: 0.06, egress: 0.08),
      site("cloud-b", slots: 32, speed: 1, gigabits: 1, price: 0.03, egress: 0.05),
    ])

  private static func site(
    _ name: String, slots: Int, speed: Double, gigabits: Double, price: Double = 0, egress: Double = 0,
    wait: QueueWaitModel? = nil, holdsInputs: Bool = false
  ) -> PlatformSite {
    PlatformSite(
      name: name,
      compute: ComputeSite(
        slots: slots, speed: speed, bandwidthIn: gigabits * 125e6, bandwidthOut: gigabits * 125e6,
        pricePerSecond: price / 3600, egressPerByte: egress / 1e9), wait: wait, holdsInputs: holdsInputs)
  }
}
