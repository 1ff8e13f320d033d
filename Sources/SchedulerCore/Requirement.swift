public import FederationModel

/// What a task asks of a cluster: all that a placement depends on. Tasks with equal requirements are interchangeable to the
/// scheduler and are filtered and scored once, as one group (a fan-out of 10,000 is one requirement).
public struct Requirement: Hashable, Sendable {
  public var project: ProjectName
  public var image: String
  /// Of one copy of the program.
  public var copy: Resources
  public var nodeSelector: [String: String]
  public var hints: FederationHints
  /// The author's limit on the program's time, beside `hints.walltime`; nil: none.
  public var activeDeadline: Duration?
  /// Small inputs by where their bytes are already, in order of cluster name; the repository (nil) first. They have no names, so that
  /// tasks that each read a small file of their own are one group.
  public var inputs: [InputVolume]
  /// Data sets, and inputs of `namedSize` and more, in order, each once.
  public var data: [DataKey]
  /// Names the history that the runtime is estimated from.
  public var template: TemplateKey
  /// Whose task it is, because a project's budget may bound each of its members; empty: nobody's limit counts.
  public var member = ""
  /// All that it may take is held before it begins: an earlier run of it was ended because more could not be held.
  public var isHeldWhole = false
  /// What the cluster must be able to do beyond running a program.
  public var features: Set<RunFeature> = []
  /// Of the containers beside the one that `image` is of, in order, each once.
  public var companionImages: [String] = []
  /// What it must run beside; nil: nothing.
  public var beside: Companion?
  /// Volume claims that the cluster's operator must have declared, in order, each once.
  public var claims: [String] = []
  /// Of Kubernetes, by the author's word; nil: none is named.
  public var serviceAccount: String?

  public init(
    project: ProjectName, image: String, copy: Resources, nodeSelector: [String: String] = [:],
    hints: FederationHints = FederationHints(), inputs: [InputVolume] = [], data: [DataKey] = [],
    template: TemplateKey? = nil, activeDeadline: Duration? = nil
  ) {
    self.activeDeadline = activeDeadline
    self.project = project
    self.image = image
    self.copy = copy
    self.nodeSelector = nodeSelector
    self.hints = hints
    self.inputs = inputs
    self.data = data
    self.template = template ?? TemplateKey(project: project, name: "", program: 0)
  }

  /// The requirement of a task as the workflow machine resolved it.
  public init(template: TemplateKey, spec: TaskSpec) {
    var volumes: [ClusterName?: Int64] = [:]
    var data: Set<DataKey> = []
    for input in spec.inputs where spec.transformations == nil {
      // Whatever its size, it is asked for by name: a small file of a far server is slow, too.
      if case .foreign(let foreign) = input.source, let object = foreign.object { data.insert(object.key) }
      guard case .stored(let artifact) = input.source else { continue }
      if artifact.size < Self.namedSize {
        volumes[artifact.producedOn, default: 0] += artifact.size.bytes
      } else {
        data.insert(DataKey(sha256: artifact.sha256))
      }
    }
    // A data set has a name whatever its size: it is never packed with a task's own files.
    for dataset in spec.datasets ?? [] { data.insert(dataset.object.key) }
    self.init(
      project: template.project, image: spec.image, copy: spec.resources, nodeSelector: spec.nodeSelector,
      hints: spec.federation,
      inputs: volumes.map { InputVolume(cluster: $0.key, size: ByteCount($0.value)) }
        .sorted { ($0.cluster?.text ?? "") < ($1.cluster?.text ?? "") },
      data: data.sorted(), template: template, activeDeadline: spec.activeDeadline)
    features = spec.features
    beside = spec.beside
    claims = Set((spec.claims ?? []).filter { $0.workflow == nil }.map(\.name)).sorted()
    serviceAccount = spec.pod?.serviceAccount
    companionImages = Set((spec.containers?.list ?? []).map(\.image)).subtracting([spec.image]).sorted()
  }

  /// An input of this size and above is worth a name, a replica and a transfer of its own: it takes 10 ms at 100 MB/s.
  public static let namedSize = ByteCount.mebibytes(1)

  /// Of the whole gang: what is taken.
  public var resources: Resources { hints.gangSize == 1 ? copy : copy * hints.gangSize }

  /// How long a run may take by its author's word; nil: as long as it likes.
  public var bound: Duration? {
    guard let walltime = hints.walltime, let activeDeadline else { return hints.walltime ?? activeDeadline }
    return min(walltime, activeDeadline)
  }

  /// Of the whole gang: what is quoted and charged. More than `resources` where no CPU was asked for.
  public var priced: Resources { copy.priced(copies: hints.gangSize) }
}

/// Input bytes that one cluster holds.
public struct InputVolume: Hashable, Sendable {
  /// nil: in the artifact repository alone.
  public var cluster: ClusterName?
  public var size: ByteCount
  public init(cluster: ClusterName?, size: ByteCount) {
    self.cluster = cluster
    self.size = size
  }
}
