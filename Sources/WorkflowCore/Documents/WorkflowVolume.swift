public import FederationModel

/// One of `volumes`. Texts may hold tags.
public struct WorkflowVolume: Hashable, Sendable, Codable {
  public enum Kind: Hashable, Sendable, Codable {
    case emptyDir
    /// `secret`, `configMap`, `downwardAPI` and `projected`: small files that are made when the run starts.
    case files([FileSource], mode: Int32)
    /// `persistentVolumeClaim`: a directory that a cluster's operator has named so. May hold tags.
    case claim(name: String, isReadOnly: Bool)
    /// One of `volumeClaimTemplates`: a directory of the workflow's own.
    /// - Parameter specification: its `spec`, for Kubernetes.
    case ownClaim(specification: JSONValue?)
    /// Of a kind that only Kubernetes has: an object with one member, named by the kind.
    case pod(JSONValue)
  }
  public enum FileSource: Hashable, Sendable, Codable {
    /// - Parameter items: nil: every key is a file.
    case object(ProjectObject, items: [FileVolume.Item]?, isOptional: Bool)
    case field(PodField, path: String, mode: Int32?)
  }
  public var name: String
  public var kind: Kind
  /// What an `emptyDir` says of its medium and its size, for Kubernetes; nil: nothing.
  public var directorySettings: JSONValue?
  public init(name: String, kind: Kind = .emptyDir) {
    self.name = name
    self.kind = kind
  }
}

extension WorkflowVolume {
  /// Whether its bytes outlive the runs that mount it.
  var isClaim: Bool {
    switch kind {
    case .claim, .ownClaim: true
    case .emptyDir, .files, .pod: false
    }
  }
}

extension WorkflowVolume {
  /// Whether only Kubernetes has it.
  var isPodVolume: Bool { if case .pod = kind { true } else { false } }
}

/// What a variable takes from elsewhere. Names may hold tags.
public enum VariableSource: Hashable, Sendable, Codable {
  case object(EnvironmentSource)
  case field(PodField, variable: String)
  /// A field of the pod that no run has elsewhere: `valueFrom` as it is written.
  case pod([String: JSONValue], variable: String)
}

/// A `fieldRef` that has a meaning where there are no pods.
///
/// - Source: Kubernetes, "Downward API".
public enum PodField: Hashable, Sendable, Codable {
  case name, namespace, uid, serviceAccountName
  /// One label, or annotation, of the template; "" where there is none.
  case label(String), annotation(String)
  /// All of them, one `key="value"` a line.
  case labels, annotations

  /// nil for a field of a pod that no run has.
  init?(_ path: String) {
    switch path {
    case "metadata.name": self = .name
    case "metadata.namespace": self = .namespace
    case "metadata.uid": self = .uid
    case "spec.serviceAccountName": self = .serviceAccountName
    case "metadata.labels": self = .labels
    case "metadata.annotations": self = .annotations
    default:
      func key(_ prefix: String) -> String? {
        guard path.hasPrefix(prefix + "['"), path.hasSuffix("']"), path.utf8.count > prefix.utf8.count + 4 else {
          return nil
        }
        return String(path.dropFirst(prefix.count + 2).dropLast(2))
      }
      if let key = key("metadata.labels") {
        self = .label(key)
      } else if let key = key("metadata.annotations") {
        self = .annotation(key)
      } else {
        return nil
      }
    }
  }
}
