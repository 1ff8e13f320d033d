/// Something done to an object of the cluster's Kubernetes API, in place of a program: a `resource` template with every tag replaced.
///
/// It is done with the rights of the task's own service account, as Argo does it, and never with those of the agent.
public struct RunResource: Hashable, Sendable, Codable {
  public enum Action: String, Hashable, Sendable, Codable, CaseIterable {
    case get, create, apply, delete, replace, patch
  }
  public enum MergeStrategy: String, Hashable, Sendable, Codable, CaseIterable {
    case strategic, merge, json
  }
  /// A value of the object, as an output parameter of the node.
  public struct Output: Hashable, Sendable, Codable {
    public var name: String
    /// As `kubectl get -o jsonpath=` takes it: `{.status.phase}`; see `KubectlPath`.
    public var jsonPath: String
    /// Where the path finds nothing, or there is no object; nil: an empty text, as in Argo.
    public var defaultValue: String?
    public init(name: String, jsonPath: String, defaultValue: String? = nil) {
      self.name = name
      self.jsonPath = jsonPath
      self.defaultValue = defaultValue
    }
  }
  public var action: Action
  /// The object, or for `patch` with `json` the list of operations: YAML or JSON. Empty where `flags` name the object.
  public var manifest: String
  public var mergeStrategy: MergeStrategy
  /// Whether the object goes with its workflow (`ownerReferences`).
  public var setsOwner: Bool
  /// The UID of that workflow, where `setsOwner`.
  public var workflow: String?
  /// As Argo takes them: `status.succeeded > 0, status.phase in (Running, Done)`; see `ResourceCondition`. nil: done as soon as the API
  /// has answered.
  public var successCondition: String?
  public var failureCondition: String?
  /// Of kubectl, as they are written.
  public var flags: [String]
  public var outputs: [Output]

  public init(
    action: Action, manifest: String, mergeStrategy: MergeStrategy = .strategic, setsOwner: Bool = false,
    successCondition: String? = nil, failureCondition: String? = nil, flags: [String] = [], outputs: [Output] = [],
    workflow: String? = nil
  ) {
    self.action = action
    self.manifest = manifest
    self.mergeStrategy = mergeStrategy
    self.setsOwner = setsOwner
    self.successCondition = successCondition
    self.failureCondition = failureCondition
    self.flags = flags
    self.outputs = outputs
    self.workflow = workflow
  }
}

extension RunResource {
  /// Of a manifest: it is kept in a Secret of the cluster, which holds 1 MiB.
  public static let manifestMax = ByteCount.kibibytes(512)
  /// A directory of the run's own, in which its values are put down.
  public static let outputDirectory = "/.fubini/values"

  /// Where the value is put down that is the parameter of this number.
  public static func path(ofOutput index: Int) -> String { "\(outputDirectory)/\(index)" }
}
