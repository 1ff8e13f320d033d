import FederationModel
import SchedulerCore

/// What a forecast is bounded by.
public struct ForecastLimits: Hashable, Sendable {
  /// Tasks of the workflow that are looked at.
  public var tasks: Int
  /// Movements that are told.
  public var transfers: Int
  /// Cluster evaluations and events of one course.
  public var work: Int
  /// Of all courses of one forecast together: samples and changes that would exceed it are left out.
  public var workInAll: Int
  /// Courses that differ in what runs and waits take.
  public var samples: Int
  /// Changes that are tried.
  public var changes: Int
  public init(
    tasks: Int = 5000, transfers: Int = 1000, work: Int = 400_000, workInAll: Int = 2_000_000, samples: Int = 32,
    changes: Int = 12
  ) {
    self.tasks = tasks
    self.transfers = transfers
    self.work = work
    self.workInAll = workInAll
    self.samples = samples
    self.changes = changes
  }
}

/// One thing that is otherwise than it is, to see what it would be worth.
enum ForecastChange: Hashable, Sendable {
  /// A replica more.
  case replica(DataKey, ClusterName)
  /// A cluster that is closed takes runs.
  case open(ClusterName, because: String)
  /// A cluster's operator maps an image.
  case image(String, ClusterName)
  /// A template asks for less; see `Requirement.template`.
  case relax(template: TemplateKey, Relaxation, for: ClusterName)

  enum Relaxation: Hashable, Sendable {
    /// Of one copy, not more than these.
    case resources(Resources)
    case walltime(Duration)
    case anyKind(ClusterKind)
    case labels([String])
    case notExcluded
    case anyPrice
    case mayWait
  }

  func apply(to basis: inout ForecastBasis) {
    switch self {
    case .replica(let key, let cluster): basis.snapshot.data[key]?.copies.append(DataCopy(cluster: cluster))
    case .open(let cluster, _):
      for index in basis.snapshot.clusters.indices where basis.snapshot.clusters[index].spec.name == cluster {
        basis.snapshot.clusters[index].closedBecause = nil
      }
    case .image(let image, let cluster):
      for index in basis.snapshot.clusters.indices where basis.snapshot.clusters[index].spec.name == cluster {
        basis.snapshot.clusters[index].inventory.images.append(ImageRule(pattern: image, runsAs: image))
      }
    case .relax: break
    }
  }

  func apply(to requirement: inout Requirement) {
    guard case .relax(let template, let relaxation, let cluster) = self, requirement.template == template else {
      return
    }
    switch relaxation {
    case .resources(let most):
      requirement.copy.cpuMillicores = min(requirement.copy.cpuMillicores, most.cpuMillicores)
      requirement.copy.memory = min(requirement.copy.memory, most.memory)
      requirement.copy.gpus = min(requirement.copy.gpus, most.gpus)
    case .walltime(let most): requirement.hints.walltime = requirement.hints.walltime.map { min($0, most) }
    case .anyKind: requirement.hints.kinds = []
    case .labels(let names):
      for name in names {
        requirement.nodeSelector[name] = nil
        requirement.hints.labels[name] = nil
      }
    case .notExcluded: requirement.hints.exclude.removeAll { $0 == cluster }
    case .anyPrice: requirement.hints.maxPrice = nil
    case .mayWait: requirement.hints.onDisconnect = .wait
    }
  }

  /// Completes "if ...".
  var condition: String {
    switch self {
    case .replica(let key, let cluster): return "\(Self.text(key)) were pinned on \(cluster)"
    case .open(let cluster, let reason): return "\(cluster) were open (it is closed: \(reason))"
    case .image(let image, let cluster): return "the operator of \(cluster) mapped image \(image)"
    case .relax(let template, let relaxation, let cluster):
      return "\(Self.text(relaxation, cluster)) in template \(template.name)"
    }
  }

  /// As users name it.
  private static func text(_ key: DataKey) -> String {
    key.text.hasPrefix("dataset:") ? String(key.text.split(separator: "/").last ?? "") : key.text
  }

  private static func text(_ relaxation: Relaxation, _ cluster: ClusterName) -> String {
    switch relaxation {
    case .resources(let most):
      var parts: [String] = []
      if most.memory.bytes < .max { parts.append("memory <= \(most.memory)") }
      if most.cpuMillicores < .max { parts.append("cpu <= \(Double(most.cpuMillicores) / 1000)") }
      if most.gpus < .max { parts.append("GPUs <= \(most.gpus)") }
      return parts.joined(separator: " and ")
    case .walltime(let most): return "walltime <= \(Int(most.seconds)) s"
    case .anyKind(let kind): return "kind \(kind.rawValue) were allowed"
    case .labels(let names): return "\(names.joined(separator: " and ")) were not asked for"
    case .notExcluded: return "\(cluster) were not excluded"
    case .anyPrice: return "maxPrice were not set"
    case .mayWait: return "onDisconnect were wait"
    }
  }
}

extension ForecastChange {
  /// What would let a cluster take tasks that it refuses: one for each reason that somebody could do something about.
  static func relaxations(
    of requirement: Requirement, on view: ClusterView, _ rejection: Rejection
  ) -> [ForecastChange] {
    let cluster = view.spec.name
    func relax(_ relaxation: Relaxation) -> [ForecastChange] {
      [.relax(template: requirement.template, relaxation, for: cluster)]
    }
    switch rejection.code {
    case "TooLarge", "PartitionLimits": return relaxedSize(requirement, view).flatMap(relax)
    case "KindNotAllowed": return relax(.anyKind(view.spec.kind))
    case "LabelMismatch":
      let selectors = requirement.nodeSelector.merging(requirement.hints.labels) { $1 }
      return relax(.labels(selectors.keys.filter { view.label($0) != selectors[$0] }.sorted()))
    case "Excluded": return relax(.notExcluded)
    case "TooExpensive": return relax(.anyPrice)
    case "CannotFence": return relax(.mayWait)
    case "ImageNotAvailable": return [.image(requirement.image, cluster)]
    case "Closed": return view.closedBecause.map { [.open(cluster, because: $0)] } ?? []
    default: return []
    }
  }

  /// Resources and walltime as they fit there; `.max` where nothing is in the way.
  private static func relaxedSize(_ requirement: Requirement, _ view: ClusterView) -> [Relaxation] {
    let copies = Int64(requirement.hints.gangSize)
    let wanted = requirement.resources
    var most = view.inventory.capacity
    let partitions = view.inventory.partitions.filter { $0.state == .up }
    if let widest = partitions.map(\.cpusPerNode).max(), let largest = partitions.map(\.memoryPerNode).max() {
      most.cpuMillicores = min(most.cpuMillicores, widest * 1000)
      most.memory = min(most.memory, largest)
    }
    var relaxations: [Relaxation] = []
    let fits = Resources(
      cpuMillicores: wanted.cpuMillicores > most.cpuMillicores ? most.cpuMillicores / copies : .max,
      memory: wanted.memory > most.memory ? ByteCount(most.memory.bytes / copies) : ByteCount(.max),
      gpus: wanted.gpus > most.gpus ? most.gpus / copies : .max)
    // A task that needs GPUs or cores at all cannot do with none.
    let isPossible = fits.cpuMillicores > 0 && fits.gpus > 0 && fits.memory > .zero
    let isChanged = fits.cpuMillicores < .max || fits.memory.bytes < .max || fits.gpus < .max
    if isChanged, isPossible { relaxations.append(.resources(fits)) }
    if let walltime = requirement.hints.walltime, let limit = partitions.compactMap(\.timeLimit).max(),
      partitions.allSatisfy({ $0.timeLimit != nil }), walltime > limit
    {
      relaxations.append(.walltime(limit))
    }
    return relaxations
  }
}
