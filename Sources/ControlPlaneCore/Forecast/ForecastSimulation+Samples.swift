import FederationModel
import SchedulerCore

/// What runs and waits take in one course of many.
extension ForecastSimulation {
  /// What a run takes in this course: of what those of its kind took, a part that is the task's own in each sample.
  func actual(_ index: Int) -> Double {
    guard let sample, tasks[index].row >= 0 else { return tasks[index].expected }
    let requirement = groups[tasks[index].group].pending.requirement
    let part = Self.part(sample, UInt64(tasks[index].row) << 1)
    let seconds = basis.history.runtime(
      of: requirement.template, reading: data.size(of: requirement), quantile: part)
    return seconds.map { $0 / sites[tasks[index].site].base.speed } ?? tasks[index].expected
  }

  /// By how much a wait in the cluster's own queue is longer than its median in this course.
  func waitFactor(_ index: Int, _ site: Int) -> Double {
    guard let sample, tasks[index].row >= 0 else { return 1 }
    let cores = groups[tasks[index].group].pending.requirement.resources.cpuMillicores / 1000
    let waits = sites[site].base.inventory.partitions.compactMap { partition in
      partition.waits.first { cores <= $0.cpus } ?? partition.waits.last
    }
    guard let wait = waits.first, wait.median > .zero else { return 1 }
    let part = Self.part(sample, UInt64(tasks[index].row) << 1 | 1)
    let upper = max(1, wait.upper.seconds / wait.median.seconds)
    // Straight from nothing by the median to what nine of ten do not exceed, and on.
    return part < 0.5 ? part * 2 : 1 + (part - 0.5) / 0.4 * (upper - 1)
  }

  /// A number from 0 to 1 that follows from two others.
  ///
  /// - Source: G. L. Steele, D. Lea, C. H. Flood: Fast splittable pseudorandom number generators. OOPSLA 2014 - SplitMix64.
  private static func part(_ sample: UInt64, _ number: UInt64) -> Double {
    var state = sample &* 0x9e37_79b9_7f4a_7c15 &+ number &* 0xd1b5_4a32_d192_ed03
    state = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
    state = (state ^ (state >> 27)) &* 0x94d0_49bb_1331_11eb
    return Double((state ^ (state >> 31)) >> 11) / 9_007_199_254_740_992
  }
}
