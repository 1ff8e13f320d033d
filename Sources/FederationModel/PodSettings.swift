/// What only Kubernetes can obey of a task: parts of its pod, each as the Kubernetes API takes it, with every tag replaced.
///
/// - Source: Kubernetes API v1, Pod.
public struct PodSettings: Hashable, Sendable, Codable {
  /// Members of the pod's `spec`: those of `specMembers`, and nothing else.
  public var spec: [String: JSONValue]
  /// Members of containers, by the container's name (the template's own is called main): those of `containerMembers`. A list `env` has the
  /// variables that are fields of the pod, beside those of the task.
  public var containers: [String: [String: JSONValue]]
  /// Of the pod itself.
  public var labels: [String: String]
  public var annotations: [String: String]
  /// Volumes of kinds that only Kubernetes has.
  public var volumes: [PodVolume]
  /// What a document says of the medium and the size of empty directories, by the path at which all of one appears
  /// (`TaskSpec.scratchPaths`); nil: nothing. Elsewhere such a directory is one like others.
  public var directories: [String: JSONValue]?

  public init(
    spec: [String: JSONValue] = [:], containers: [String: [String: JSONValue]] = [:], labels: [String: String] = [:],
    annotations: [String: String] = [:], volumes: [PodVolume] = []
  ) {
    self.spec = spec
    self.containers = containers
    self.labels = labels
    self.annotations = annotations
    self.volumes = volumes
  }

  public static let specMembers: Set<String> = [
    "affinity", "dnsConfig", "dnsPolicy", "hostAliases", "imagePullSecrets", "priorityClassName", "resourceClaims",
    "runtimeClassName", "schedulerName", "securityContext", "serviceAccountName", "tolerations",
  ]
  public static let containerMembers: Set<String> = ["env", "imagePullPolicy", "lifecycle", "securityContext"]

  public var isEmpty: Bool { self == PodSettings() }

  /// The one that its author names; nil: none.
  public var serviceAccount: String? {
    get { spec["serviceAccountName"]?.stringValue }
    set { spec["serviceAccountName"] = newValue.map { .string($0) } }
  }
}

/// A volume of a kind that only Kubernetes has. All containers of the run see it at the same places.
public struct PodVolume: Hashable, Sendable, Codable {
  public struct Mount: Hashable, Sendable, Codable {
    /// Absolute, as the run sees it.
    public var path: String
    /// Relative; nil: all of it.
    public var subPath: String?
    public var isReadOnly: Bool
    public init(path: String, subPath: String? = nil, isReadOnly: Bool = false) {
      self.path = path
      self.subPath = subPath
      self.isReadOnly = isReadOnly
    }
  }
  public var name: String
  /// With one member, named by the volume's kind.
  public var source: JSONValue
  public var mounts: [Mount]
  public init(name: String, source: JSONValue, mounts: [Mount]) {
    self.name = name
    self.source = source
    self.mounts = mounts
  }
}

extension PodSettings {
  /// What a cluster must be able to do so that a run means the same there. Settings that only say where Kubernetes puts a pod, or with
  /// which rights it asks the cluster's API, mean nothing to a program elsewhere, and ask for nothing.
  public var features: Set<RunFeature> {
    let contexts = [spec["securityContext"]] + containers.values.map { $0["securityContext"] }
    let hostPaths = volumes.contains { $0.source["hostPath"] != nil }
    if hostPaths || contexts.contains(where: { $0.map(Self.asksForRights) == true }) {
      return [.pods, .privilegedPods]
    }
    let isRoot = contexts.contains { $0?["runAsUser"]?.integerValue == 0 }
    let hasMembers = containers.values.contains { $0["env"] != nil || $0["lifecycle"] != nil }
    return isRoot || hasMembers || !volumes.isEmpty || spec["hostAliases"] != nil ? [.pods] : []
  }

  private static func asksForRights(_ context: JSONValue) -> Bool {
    if context["privileged"]?.boolValue == true || context["capabilities"]?["add"]?.arrayValue?.isEmpty == false {
      return true
    }
    if let mount = context["procMount"]?.stringValue, mount != "Default" { return true }
    return context["sysctls"]?.arrayValue?.isEmpty == false
  }

  /// Everything in it that may hold tags.
  public var texts: [String] {
    spec.values.flatMap(\.texts) + Array(labels.values) + Array(annotations.values)
  }

  /// A pod (or a pod template) with these settings: maps are merged, and what the pod has already said is kept; lists are appended.
  ///
  /// - Parameter pod: with `spec.containers`, each with a name. A member of another shape than Kubernetes gives it is replaced.
  public func merged(into pod: JSONValue) -> JSONValue {
    var pod = pod.objectValue ?? [:]
    var podSpec = pod["spec"]?.objectValue ?? [:]
    for (key, value) in spec where Self.specMembers.contains(key) {
      podSpec[key] = podSpec[key].map { Self.join($0, value) } ?? value
    }
    for key in ["initContainers", "containers"] {
      guard let list = podSpec[key]?.arrayValue else { continue }
      podSpec[key] = .array(list.map(withMembers))
    }
    if !volumes.isEmpty {
      podSpec["volumes"] = .array(
        (podSpec["volumes"]?.arrayValue ?? [])
          + volumes.map { .object(($0.source.objectValue ?? [:]).merging(["name": .string($0.name)]) { $1 }) })
    }
    pod["spec"] = .object(podSpec)
    var metadata = pod["metadata"]?.objectValue ?? [:]
    for (key, values) in [("labels", labels), ("annotations", annotations)] where !values.isEmpty {
      metadata[key] = Self.join(metadata[key] ?? [:], .object(values.mapValues { .string($0) }))
    }
    if !metadata.isEmpty { pod["metadata"] = .object(metadata) }
    return .object(pod)
  }

  /// The program that brings a run's files is nobody's: its container has no settings, and no volumes of the author's.
  private func withMembers(_ container: JSONValue) -> JSONValue {
    guard var members = container.objectValue, let name = members["name"]?.stringValue,
      !name.hasPrefix(Self.ownContainerPrefix)
    else { return container }
    for (key, value) in containers[name] ?? [:] where Self.containerMembers.contains(key) {
      members[key] = members[key].map { Self.join($0, value) } ?? value
    }
    let mounts = volumes.flatMap { volume in
      volume.mounts.map { mount -> JSONValue in
        var entry: [String: JSONValue] = ["name": .string(volume.name), "mountPath": .string(mount.path)]
        if let part = mount.subPath { entry["subPath"] = .string(part) }
        if mount.isReadOnly { entry["readOnly"] = true }
        return .object(entry)
      }
    }
    if !mounts.isEmpty { members["volumeMounts"] = .array((members["volumeMounts"]?.arrayValue ?? []) + mounts) }
    return .object(members)
  }

  /// Containers whose names begin so are the agent's.
  public static let ownContainerPrefix = "fubini-"

  private static func join(_ own: JSONValue, _ added: JSONValue) -> JSONValue {
    switch (own, added) {
    case (.object(let own), .object(let added)): .object(own.merging(added) { join($0, $1) })
    case (.array(let own), .array(let added)): .array(own + added)
    default: own
    }
  }
}

extension JSONValue {
  /// Every text in it, but for names of members.
  public var texts: [String] {
    switch self {
    case .string(let text): [text]
    case .array(let elements): elements.flatMap(\.texts)
    case .object(let members): members.values.flatMap(\.texts)
    case .null, .bool, .integer, .number: []
    }
  }
}
