public import FederationModel

/// What a site says for a kind of task where its author says nothing (`slurm.defaults`). Pure.
public struct SiteDefault: Hashable, Sendable, Codable {
  /// For which tasks; what is nil or empty holds for all. Everything that is given must hold.
  public struct Condition: Hashable, Sendable, Codable {
    public var priorityClass: PriorityClass?
    /// Of the workflow and the template, with these values.
    public var labels: [String: String]
    public var project: String?
    /// Whether it asks for GPUs.
    public var gpus: Bool?
    public init(
      priorityClass: PriorityClass? = nil, labels: [String: String] = [:], project: String? = nil, gpus: Bool? = nil
    ) {
      self.priorityClass = priorityClass
      self.labels = labels
      self.project = project
      self.gpus = gpus
    }

    func holds(for run: RunTraits) -> Bool {
      if let priorityClass, priorityClass != run.priorityClass { return false }
      if let project, project != run.project { return false }
      if let gpus, gpus != run.hasGPUs { return false }
      return labels.allSatisfy { run.labels[$0.key] == $0.value }
    }
  }

  /// What conditions look at.
  struct RunTraits: Hashable, Sendable {
    var priorityClass: PriorityClass
    var labels: [String: String]
    var project: String
    var hasGPUs: Bool
  }

  public var condition: Condition
  public var partition: String?
  public var account: String?
  public var qos: String?
  public var constraint: String?
  /// Of a task that asks for GPUs and names no type.
  public var gpuType: String?
  /// Generic resources beside GPUs that each node must give, `NAME[:TYPE]:COUNT`, separated by commas.
  public var gres: String?

  public init(
    condition: Condition = Condition(), partition: String? = nil, account: String? = nil, qos: String? = nil,
    constraint: String? = nil, gpuType: String? = nil, gres: String? = nil
  ) {
    self.condition = condition
    self.partition = partition
    self.account = account
    self.qos = qos
    self.constraint = constraint
    self.gpuType = gpuType
    self.gres = gres
  }

  /// - Parameters:
  ///   - key: how the configuration calls it.
  ///   - partitions: those that are offered; empty: all.
  /// - Throws: `.invalidArgument` naming the key.
  func validate(_ key: String, partitions: [String]) throws(FederationError) {
    let values = [
      ("partition", partition), ("account", account), ("qos", qos), ("constraint", constraint), ("gpuType", gpuType),
      ("gres", gres),
    ]
    guard values.contains(where: { $0.1 != nil }) else {
      throw FederationError(
        .invalidArgument,
        "\(key) sets nothing: give it \(values.dropLast().map(\.0).joined(separator: ", ")) or \(values.last!.0)")
    }
    for (name, value) in values {
      do throws(FederationError) { _ = try JobShape.value(value, name) } catch {
        throw FederationError(.invalidArgument, "\(key).\(name): \(error.publicMessage)")
      }
    }
    if let partition, !partitions.isEmpty, !partitions.contains(partition) {
      throw FederationError(
        .invalidArgument, "\(key).partition is \(partition), which slurm.partitions does not offer")
    }
    if let gres, gres.split(separator: ",").contains(where: { $0 == "gpu" || $0.hasPrefix("gpu:") }) {
      throw FederationError(
        .invalidArgument, "\(key).gres must not have gpu: how many GPUs, tasks say themselves; gpuType is their type")
    }
    if gpuType != nil, condition.gpus == false {
      throw FederationError(.invalidArgument, "\(key).gpuType is for tasks with GPUs, which its condition excludes")
    }
  }
}

extension SlurmExecutorConfiguration {
  /// The first rule that matches and says it.
  func siteDefault(_ value: KeyPath<SiteDefault, String?>, for run: SiteDefault.RunTraits) -> String? {
    for rule in defaults where rule.condition.holds(for: run) { if let text = rule[keyPath: value] { return text } }
    return nil
  }
}
