internal import FederationModel
public import KubernetesAPI

/// What an operator can know before an agent relies on it: whether the API server answers, is new enough, and allows what is needed.
public enum KubernetesPreflight {
  /// What was looked at, and what is wrong with it.
  public struct Finding: Hashable, Sendable {
    public enum Level: Hashable, Sendable { case ok, warning, failed }
    public var check: String
    public var text: String
    public var level: Level
  }

  /// One right of the agent's: `group` and `subresource` are empty where there are none.
  struct Right: Hashable, Sendable {
    var verbs: [String]
    var group = ""
    var resource: String
    var subresource = ""
    /// In the namespaces of runs; false: in the whole cluster.
    var isNamespaced = true
    /// What is lacking without it; nil: everything.
    var lack: String?

    var name: String { resource + (subresource.isEmpty ? "" : "/\(subresource)") }
  }

  static let rights = [
    Right(verbs: ["create", "get", "list", "watch", "patch", "delete"], group: "batch", resource: "jobs"),
    Right(verbs: ["list", "watch", "delete"], resource: "pods"),
    Right(verbs: ["get"], resource: "pods", subresource: "log"),
    Right(verbs: ["list", "watch"], resource: "events"),
    Right(verbs: ["create", "get", "delete"], resource: "secrets"),
    Right(
      verbs: ["list"], resource: "resourcequotas",
      lack: "runs that a quota of the namespace refuses then wait in the cluster, and not before they are placed"),
    Right(
      verbs: ["list"], resource: "nodes", isNamespaced: false,
      lack: "the cluster's capacity is then unknown but for the pools that are declared"),
    Right(
      verbs: ["list"], resource: "pods", isNamespaced: false,
      lack: "what others' pods take of the nodes is then not known"),
  ]

  /// All that an agent with this configuration needs.
  static func rights(_ configuration: KubernetesExecutorConfiguration) -> [Right] {
    rights + (configuration.workflowClaims == nil ? [] : claimRights)
      + (configuration.fluid.map { fluidRights(runtime: $0.runtime) } ?? [])
      + (configuration.usesKueue ? gangRights : [])
  }

  static let claimRights = [
    Right(
      verbs: ["create", "get", "list", "watch", "delete"], resource: "persistentvolumeclaims",
      lack: "workflows have no volume claims of their own then")
  ]

  static func fluidRights(runtime: FluidConfiguration.Runtime?) -> [Right] {
    let lack = "data sets that Fluid is to keep are then not brought here"
    let group = "data.fluid.io"
    let common = ["dataloads", "datasets"].map {
      Right(verbs: ["create", "get", "list", "watch", "delete"], group: group, resource: $0, lack: lack)
    }
    guard let runtime else { return common }
    return common + [Right(verbs: ["create", "get"], group: group, resource: runtime.resource, lack: lack)]
  }

  /// Where the operator declares Kueue: the members of a gang find each other by a Service, which goes with its Job.
  static let gangRights = [
    Right(verbs: ["create", "get"], resource: "services", lack: "no gangs are started")
  ]

  /// Changes nothing.
  public static func findings(
    _ configuration: KubernetesExecutorConfiguration, _ client: KubernetesClient
  ) async -> [Finding] {
    let version: KubernetesVersion
    do throws(FederationError) { version = try await client.version() } catch {
      return [Finding(check: "kubernetes", text: error.publicMessage, level: .failed)]
    }
    let isNew = version.major > 1 || version.minor >= configuration.minimumMinor
    var findings = [
      Finding(
        check: "kubernetes",
        text: isNew
          ? "\(client.connection.server) is \(version.gitVersion)"
          : "\(version.gitVersion): 1.\(configuration.minimumMinor) or newer is needed", level: isNew ? .ok : .failed)
    ]
    for namespace in configuration.allNamespaces {
      findings += await check(rights(configuration), in: namespace, client)
    }
    findings += await check(rights(configuration), in: nil, client)
    findings.append(
      Finding(
        check: "image", text: "pods begin with \(configuration.image); whether nodes can pull it, only a pod tells",
        level: .ok))
    return findings
  }

  private static func check(
    _ rights: [Right], in namespace: String?, _ client: KubernetesClient
  ) async -> [Finding] {
    let place = namespace.map { "namespace \($0)" } ?? "the cluster"
    var missing: [(Right, String)] = []
    for right in rights where right.isNamespaced == (namespace != nil) {
      for verb in right.verbs {
        var attributes: [String: JSONValue] = ["verb": .string(verb), "resource": .string(right.resource)]
        if !right.group.isEmpty { attributes["group"] = .string(right.group) }
        if !right.subresource.isEmpty { attributes["subresource"] = .string(right.subresource) }
        if let namespace { attributes["namespace"] = .string(namespace) }
        do throws(FederationError) {
          let review = try await client.create(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            [
              "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
              "spec": ["resourceAttributes": .object(attributes)],
            ])
          if review["status"]?["allowed"]?.boolValue != true { missing.append((right, verb)) }
        } catch {
          return [Finding(check: "rights", text: "\(place): \(error.publicMessage)", level: .failed)]
        }
      }
    }
    guard !missing.isEmpty else {
      return [Finding(check: "rights", text: "all that are needed in \(place)", level: .ok)]
    }
    return missing.map { right, verb in
      Finding(
        check: "rights",
        text: "may not \(verb) \(right.name) in \(place): "
          + (right.lack ?? "apply the manifest of `fubini cluster create --kind kubernetes --print-manifest` again"),
        level: right.lack == nil ? .failed : .warning)
    }
  }
}
