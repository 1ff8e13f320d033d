public import FederationModel

/// The mode of the agent's program that does what a `resource` template says, inside the run's pod. What it is to do, it finds where a
/// request would be (`RequestProgram.path`): JSON of a `RunResource`.
public enum ResourceProgram {
  /// The argument that chooses it.
  public static let command = "resource"
  /// Where Kubernetes' own volumes of accounts are.
  static let accountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"
}

/// An object of the cluster that stands for a workflow: what has it as its owner is deleted with it.
public struct ResourceOwner: Hashable, Sendable {
  /// By which the program is told: `NAMESPACE NAME UID`.
  public static let variable = "FUBINI_OWNER"

  public var namespace: String
  public var name: String
  public var uid: String

  public init(namespace: String, name: String, uid: String) {
    self.namespace = namespace
    self.name = name
    self.uid = uid
  }

  /// nil for what is none.
  public init?(_ text: String) {
    let words = text.split(separator: " ").map(String.init)
    guard words.count == 3 else { return nil }
    self.init(namespace: words[0], name: words[1], uid: words[2])
  }

  var text: String { "\(namespace) \(name) \(uid)" }

  /// An entry of `ownerReferences`, as Argo gives its workflow's.
  public var reference: JSONValue {
    ["apiVersion": "v1", "kind": "Secret", "name": .string(name), "uid": .string(uid), "controller": true]
  }
}
