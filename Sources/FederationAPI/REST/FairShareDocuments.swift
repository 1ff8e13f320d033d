/// Whose turn it is, of the projects that the caller may see.
public struct FairShareList: Hashable, Sendable, Codable {
  /// After so many seconds what was used counts half.
  public var halfLifeSeconds: Double
  /// Of all clusters that are ready.
  public var capacity: ShareUseDocument
  /// By organisation and name.
  public var items: [FairShareDocument]
  /// How many projects have something waiting, those that the caller may not see among them.
  public var waitingProjects: Int
  /// Why the next one is next; nil: nothing waits.
  public var next: String?
  public init(
    halfLifeSeconds: Double, capacity: ShareUseDocument, items: [FairShareDocument], waitingProjects: Int, next: String?
  ) {
    self.halfLifeSeconds = halfLifeSeconds
    self.capacity = capacity
    self.items = items
    self.waitingProjects = waitingProjects
    self.next = next
  }
}

/// Amounts of each resource: what clusters have, or what was used, in seconds of each.
public struct ShareUseDocument: Hashable, Sendable, Codable {
  public var cores: Double
  public var gibibytes: Double
  public var gpus: Double
  public init(cores: Double, gibibytes: Double, gpus: Double) {
    self.cores = cores
    self.gibibytes = gibibytes
    self.gpus = gpus
  }
}

/// One project's share. Parts are from 0 to 1.
public struct FairShareDocument: Hashable, Sendable, Codable {
  public var organisation: String
  public var project: String
  public var weight: Double
  /// The part that belongs to it by weight.
  public var entitled: Double
  /// Its part of what all projects have used, each counted by the resource of which it used most.
  public var usedPart: Double
  /// Seconds of cores, GiB and GPUs that its runs have used, with decay.
  public var used: ShareUseDocument
  /// `cpu`, `memory` or `gpu`: what it has used most of.
  public var dominant: String
  /// From 1 (has used nothing) over 0.5 (what is its own) to 0; the greatest goes first.
  public var factor: Double
  /// Its place among the projects that have something waiting, from 1; nil: nothing waits.
  public var place: Int?
  public var waiting: Int
  public var running: Int64
  /// Of the organisation, compared with the others; nil from a control plane that knows one alone.
  public var organisationWeight: Double?
  public init(
    organisation: String, project: String, weight: Double, entitled: Double, usedPart: Double, used: ShareUseDocument,
    dominant: String, factor: Double, place: Int?, waiting: Int, running: Int64,
    organisationWeight: Double? = nil
  ) {
    self.organisationWeight = organisationWeight
    self.organisation = organisation
    self.project = project
    self.weight = weight
    self.entitled = entitled
    self.usedPart = usedPart
    self.used = used
    self.dominant = dominant
    self.factor = factor
    self.place = place
    self.waiting = waiting
    self.running = running
  }
}

/// The body of `PUT /v1/projects/{project}/weight`.
public struct WeightRequest: Hashable, Sendable, Codable {
  /// Above 0, at most 1000000; 1 is that of a project of which nobody said anything.
  public var weight: Double
  public init(weight: Double) { self.weight = weight }
}

/// What a waiting task's place in the order is made of, the first first.
public struct PriorityDocument: Hashable, Sendable, Codable {
  /// `realtime` goes before other classes, `idle` after all of them, whatever the shares are.
  public var priorityClass: String
  /// The project's place by its share, and how many projects have something waiting.
  public var sharePlace: Int
  public var shareProjects: Int
  /// As in `FairShareDocument`.
  public var shareFactor: Double
  /// Seconds that may still be lost before the workflow is late; nil: it has no deadline.
  public var slackSeconds: Double?
  /// Seconds of work from its start to the end of what needs it.
  public var rankSeconds: Double
  /// Seconds that it has waited, as the leader knows.
  public var ageSeconds: Double
  public init(
    priorityClass: String, sharePlace: Int, shareProjects: Int, shareFactor: Double, slackSeconds: Double?,
    rankSeconds: Double, ageSeconds: Double
  ) {
    self.priorityClass = priorityClass
    self.sharePlace = sharePlace
    self.shareProjects = shareProjects
    self.shareFactor = shareFactor
    self.slackSeconds = slackSeconds
    self.rankSeconds = rankSeconds
    self.ageSeconds = ageSeconds
  }
}
