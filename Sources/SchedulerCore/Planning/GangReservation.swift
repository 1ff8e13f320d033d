public import FederationModel

/// When a run is expected to give back what it holds.
public struct ExpectedRelease: Hashable, Sendable {
  public var resources: Resources
  /// Seconds from now.
  public var end: Double
  /// It is on spot capacity.
  public var isSpot: Bool
  /// The partition that it was quoted for; nil: none.
  public var partition: String?
  public init(resources: Resources, end: Double, isSpot: Bool = false, partition: String? = nil) {
    self.partition = partition
    self.resources = resources
    self.end = end
    self.isSpot = isSpot
  }
}

/// Room that is kept for a gang which does not fit now: its copies start together or not at all (I6), so without it every slot that
/// becomes free would go to the next small task, and the gang would wait for ever.
///
/// What comes after the gang may still go there when it gives its place back in time, or takes what the gang leaves.
///
/// - Source: A. W. Mu'alem, D. G. Feitelson: Utilization, predictability, workloads, and user runtime estimates in scheduling the IBM
///   SP2 with backfilling. IEEE TPDS 12 (6), 2001 - EASY: one reservation, for the first that does not fit.
struct GangReservation: Hashable, Sendable {
  var copies: Int
  var resources: Resources
  /// Of the cluster's spot capacity; what goes to the rest is not in its way.
  let isSpot: Bool
  /// Seconds until enough is expected to be free.
  var start: Double
  /// What is free then besides.
  private(set) var spare: Resources
  /// Runs that may be added then besides; nil when only resources limit them.
  private(set) var spareSlots: Int?

  /// The soonest that a cluster is expected to have room for it; nil when what is known to end there is not enough.
  init?(for requirement: Requirement, on view: ClusterView) {
    copies = requirement.hints.gangSize
    isSpot = view.isSpot
    resources = requirement.resources
    // As `ClusterView.hasRoom`: a cluster with a queue of its own takes as much again.
    var free = view.inventory.queues ? view.free + view.inventory.capacity : view.free
    var slots = view.freeSlots
    start = 0
    for release in view.releases where release.isSpot == view.isSpot {
      if resources.fits(in: free), slots.map({ $0 > 0 }) ?? true { break }
      free += release.resources
      slots = slots.map { $0 + 1 }
      start = release.end
    }
    guard resources.fits(in: free), slots.map({ $0 > 0 }) ?? true else { return nil }
    spare = free - resources
    spareSlots = slots.map { $0 - 1 }
  }

  /// Whether a task may go there that would end in so many seconds.
  func admits(_ wanted: Resources, until end: Double) -> Bool {
    end <= start || wanted.fits(in: spare) && (spareSlots.map { $0 > 0 } ?? true)
  }

  /// It went there.
  mutating func admit(_ wanted: Resources, until end: Double) {
    guard end > start else { return }
    spare -= wanted
    spareSlots = spareSlots.map { $0 - 1 }
  }

  /// Why another may not.
  var rejection: Rejection {
    Rejection(
      Rejection.keptForGang,
      "\(Double(resources.cpuMillicores) / 1000) cores are kept for a gang of \(copies) that can start in about "
        + "\(LocalFirst.text(start)); this would end after that", isTemporary: true)
  }
}
