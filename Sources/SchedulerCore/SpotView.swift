public import FederationModel

/// The part of a cluster that is offered as spot capacity, as a placement pass sees it.
public struct SpotView: Sendable {
  public var offer: SpotOffer
  /// What holds at the moment; nil: no price is set.
  public var prices: PriceSheet?
  /// What runs on it have that hold a slot.
  public var used: Resources
  public var slotsUsed: Int
  /// While tasks look at one part of the cluster: which, and what the whole of it is.
  fileprivate var entered: Entered?

  public init(offer: SpotOffer, prices: PriceSheet?, used: Resources = .zero, slotsUsed: Int = 0) {
    self.offer = offer
    self.prices = prices
    self.used = used
    self.slotsUsed = slotsUsed
  }

  fileprivate struct Entered: Sendable {
    var choice: SpotChoice
    var capacity: Resources
    var slots: Int?
    var prices: PriceSheet?
    var free: Resources
    var freeSlots: Int?
    /// Of the part, when it was entered.
    var partFree: Resources
    var partFreeSlots: Int?
  }
}

/// Which part of a cluster a task goes to.
public struct SpotChoice: Hashable, Sendable {
  public var isSpot: Bool
  /// Why it is not spot capacity though the task would take it; nil: it would not, or it is.
  public var note: String?
  public init(isSpot: Bool, note: String? = nil) {
    self.isSpot = isSpot
    self.note = note
  }
}

extension ClusterView {
  /// Whether what is looked at is the spot part.
  public var isSpot: Bool { spot?.entered?.choice.isSpot ?? false }

  /// Of what is looked at: why it is not spot capacity.
  var spotNote: String? { spot?.entered?.choice.note }

  /// Until `leave` the cluster is one of its two parts alone. On a cluster without spot capacity nothing changes.
  ///
  /// What runs on one part physically have of the other, because that was made larger meanwhile, is not there until they have left; but
  /// a cluster with a queue of its own lets it wait.
  public mutating func enter(_ choice: SpotChoice) {
    guard let spot, spot.entered == nil else { return }
    let (all, slots) = (inventory.capacity, inventory.slots)
    let part = spot.offer.part(of: all)
    let used = choice.isSpot ? spot.used : all - free - spot.used
    let capacity = choice.isSpot ? part : all - part
    let room = capacity - used
    let partFree = inventory.queues ? room : room.least(free)
    let partSlots = slots.map { choice.isSpot ? spot.offer.part(of: $0) : $0 - spot.offer.part(of: $0) }
    let partFreeSlots = freeSlots.map { left -> Int in
      let taken = choice.isSpot ? spot.slotsUsed : (slots ?? 0) - left - spot.slotsUsed
      return min(left, (partSlots ?? 0) - taken)
    }
    self.spot!.entered = SpotView.Entered(
      choice: choice, capacity: all, slots: slots, prices: spec.prices, free: free, freeSlots: freeSlots,
      partFree: partFree, partFreeSlots: partFreeSlots)
    inventory.capacity = capacity
    inventory.slots = partSlots
    (free, freeSlots) = (partFree, partFreeSlots)
    if choice.isSpot { spec.prices = spot.prices }
  }

  /// The whole cluster again, without what was taken of the part.
  public mutating func leave() {
    guard let entered = spot?.entered else { return }
    let taken = entered.partFree - free
    let slotsTaken = freeSlots.flatMap { left in entered.partFreeSlots.map { $0 - left } } ?? 0
    spot!.entered = nil
    if entered.choice.isSpot {
      spot!.used += taken
      spot!.slotsUsed += slotsTaken
    }
    inventory.capacity = entered.capacity
    inventory.slots = entered.slots
    spec.prices = entered.prices
    free = entered.free - taken
    freeSlots = entered.freeSlots.map { $0 - slotsTaken }
  }

  /// The cluster as the part that tasks of a requirement go to.
  public func part(for requirement: Requirement, lasting runtime: Duration) -> ClusterView {
    var view = self
    view.enter(choice(for: requirement, lasting: runtime))
    view.enter(partition: view.partition(for: requirement))
    return view
  }

  /// The cluster as the part that a placement goes to.
  public func part(of placement: Placement) -> ClusterView {
    var view = self
    view.enter(SpotChoice(isSpot: placement.isSpot))
    view.enter(partition: placement.partition)
    return view
  }

  /// Which part tasks of a requirement go to now: who allows spot takes it where it has room and costs no more than the bid; dearer than
  /// the rest of the cluster only when that is full.
  public func choice(for requirement: Requirement, lasting runtime: Duration) -> SpotChoice {
    guard let spot, let policy = requirement.hints.spot, policy != .never else { return SpotChoice(isSpot: false) }
    guard policy == .allow else { return SpotChoice(isSpot: true) }
    var (offered, rest) = (self, self)
    offered.enter(SpotChoice(isSpot: true))
    rest.enter(SpotChoice(isSpot: false))
    let isRestLarge = requirement.resources.fits(in: rest.inventory.capacity) && rest.inventory.slots != 0
    guard spot.offer.percent > 0, let sheet = spot.prices?.quoted(to: requirement.hints.priorityClass) else {
      return SpotChoice(isSpot: !isRestLarge)
    }
    let bound = requirement.hints.walltime ?? runtime
    let regular = regularQuote(for: requirement)
    let refusal = SpotBid.refusal(
      of: sheet, regular: regular, bid: requirement.hints.maxPrice, for: requirement.priced, lasting: bound, egress: 0)
    guard isRestLarge else { return SpotChoice(isSpot: true) }
    if let refusal { return SpotChoice(isSpot: false, note: refusal) }
    guard offered.hasRoom(for: requirement.resources, lasting: runtime) else {
      // Where there is room nowhere, what is cheaper is worth waiting for.
      return SpotChoice(isSpot: !rest.hasRoom(for: requirement.resources, lasting: runtime))
    }
    let cost = sheet.cost(of: requirement.priced, for: bound)
    let isDearer = regular.map { $0.currency == sheet.currency && cost > $0.cost(of: requirement.priced, for: bound) }
    return SpotChoice(isSpot: isDearer != true || !rest.hasRoom(for: requirement.resources, lasting: runtime))
  }
}

extension Resources {
  /// Of each amount the smaller.
  fileprivate func least(_ other: Resources) -> Resources {
    Resources(
      cpuMillicores: min(cpuMillicores, other.cpuMillicores), memory: min(memory, other.memory),
      gpus: min(gpus, other.gpus), gpuType: gpuType)
  }
}
