import FederationModel
import Foundation
import KubernetesAPI
import KubernetesSupport
import Testing
import Yams

@testable import KubernetesExecutor
@testable import fubini

/// The manifests of agent and control plane, before a real API server.
@Suite(
  "Manifests on a Kubernetes cluster", .serialized, .timeLimit(.minutes(3)),
  .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
struct AgentManifestClusterTests {
  /// Paths of the kinds that manifests have.
  private static let resources: [String: (resource: String, isNamespaced: Bool)] = [
    "Namespace": ("namespaces", false), "ServiceAccount": ("serviceaccounts", true), "Role": ("roles", true),
    "RoleBinding": ("rolebindings", true), "ClusterRole": ("clusterroles", false),
    "ClusterRoleBinding": ("clusterrolebindings", false), "Secret": ("secrets", true),
    "ConfigMap": ("configmaps", true), "PersistentVolumeClaim": ("persistentvolumeclaims", true),
    "Service": ("services", true), "NetworkPolicy": ("networkpolicies", true), "Deployment": ("deployments", true),
    "Job": ("jobs", true), "PodDisruptionBudget": ("poddisruptionbudgets", true),
  ]

  private static func create(_ document: JSONValue, _ client: KubernetesClient, namespace: String) async throws
    -> JSONValue
  {
    let kind = try #require(document["kind"]?.stringValue)
    let version = try #require(document["apiVersion"]?.stringValue)
    let (resource, isNamespaced) = try #require(resources[kind], "\(kind)")
    let place = document["metadata"]?["namespace"]?.stringValue ?? namespace
    return try await client.create(
      KubernetesPath.collection(version, resource, namespace: isNamespaced ? place : nil), document)
  }

  /// Fields that an API server has not kept: it does not know them.
  private static func unknown(in sent: JSONValue, kept: JSONValue?, at path: String = "") -> [String] {
    guard let kept else { return [path] }
    switch sent {
    case .object(let fields):
      return fields.flatMap { key, value -> [String] in
        // Secrets come back encoded; nothing is kept of what is empty or false.
        if key == "stringData" || value == .object([:]) || value == .bool(false) { return [] }
        return unknown(in: value, kept: kept[key], at: "\(path).\(key)")
      }
    case .array(let items):
      let others = kept.arrayValue ?? []
      guard others.count >= items.count else { return [path] }
      return zip(items, others).flatMap { unknown(in: $0, kept: $1, at: path + "[]") }
    default: return []
    }
  }

  @Test("an API server takes every object of the agent's manifest, and knows each of its fields")
  func taken() async throws {
    try await LocalKubernetes.with(configure: { $0.kubelet = .none }) { cluster in
      let client = try cluster.client()
      let manifest = AgentManifestTests.manifest {
        $0.namespaces = [("alpha", "fubini-alpha"), ("beta", "fubini-beta")]
        $0.storageClass = "standard"
      }
      for document in try AgentManifestTests.documents(manifest) {
        let kept = try await Self.create(document, client, namespace: "none")
        let kind = document["kind"]?.stringValue ?? ""
        #expect(Self.unknown(in: document, kept: kept) == [], "\(kind)")
      }
      await client.close()
    }
  }

  @Test("an API server takes the control plane's manifests, and knows each of their fields")
  func controlPlane() async throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "controlplane/deploy/kubernetes")
    try await LocalKubernetes.with(configure: { $0.kubelet = .none }) { cluster in
      let client = try cluster.client()
      _ = try await client.create(
        "/api/v1/namespaces", ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": "fubini"]])
      var count = 0
      for name in try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() {
        let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
        for node in try Array(Yams.compose_all(yaml: text)) {
          let document = AgentManifestTests.value(node)
          let kept = try await Self.create(document, client, namespace: "fubini")
          // Kubernetes before 1.21 has it behind a switch.
          let unknown = Self.unknown(in: document, kept: kept).filter { $0 != ".spec.ttlSecondsAfterFinished" }
          #expect(unknown == [], "\(name)")
          count += 1
        }
      }
      #expect(count >= 5)
      await client.close()
    }
  }

  private static let verbs = [
    "create", "get", "list", "watch", "update", "patch", "delete", "deletecollection", "impersonate",
  ]
  private static let others: [(group: String, resource: String)] = [
    ("batch", "jobs"), ("batch", "jobs/status"), ("batch", "cronjobs"), ("", "pods"), ("", "pods/log"),
    ("", "pods/exec"), ("", "pods/eviction"), ("", "events"), ("", "secrets"), ("", "configmaps"),
    ("", "serviceaccounts"), ("", "serviceaccounts/token"), ("", "nodes"), ("", "namespaces"), ("apps", "deployments"),
    ("", "persistentvolumeclaims"), ("", "services"), ("", "resourcequotas"), ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
  ]

  /// All that an account may do in a namespace, of what is asked for here: `GROUP/RESOURCE VERB`.
  private static func rights(
    of account: String, in namespace: String, _ client: KubernetesClient
  ) async throws -> Set<String> {
    let home = account.split(separator: ":")[0]
    let name = account.split(separator: ":")[1]
    var found: Set<String> = []
    for (group, resource) in others {
      let parts = resource.split(separator: "/").map(String.init)
      for verb in verbs {
        var attributes: [String: JSONValue] = [
          "group": .string(group), "resource": .string(parts[0]), "verb": .string(verb),
        ]
        if !namespace.isEmpty { attributes["namespace"] = .string(namespace) }
        if parts.count > 1 { attributes["subresource"] = .string(parts[1]) }
        let review = try await client.create(
          "/apis/authorization.k8s.io/v1/subjectaccessreviews",
          [
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": [
              "resourceAttributes": .object(attributes), "user": .string("system:serviceaccount:\(home):\(name)"),
              "groups": [
                "system:serviceaccounts", .string("system:serviceaccounts:\(home)"), "system:authenticated",
              ],
            ],
          ])
        if review["status"]?["allowed"]?.boolValue == true { found.insert("\(group)/\(resource) \(verb)") }
      }
    }
    return found
  }

  private static func names(_ rights: [(group: String, resource: String, verbs: [String])]) -> Set<String> {
    Set(rights.flatMap { right in right.verbs.map { "\(right.group)/\(right.resource) \($0)" } })
  }

  @Test("the agent may do what its executor asks for and nothing else; runs' pods may do nothing")
  func leastRights() async throws {
    func asked(isNamespaced: Bool) -> Set<String> {
      Set(
        KubernetesPreflight.rights.filter { $0.isNamespaced == isNamespaced }.flatMap { right in
          right.verbs.map { "\(right.group)/\(right.name) \($0)" }
        })
    }
    #expect(Self.names(AgentManifest.rights) == asked(isNamespaced: true))
    #expect(Self.names(AgentManifest.clusterRights) == asked(isNamespaced: false))
    #expect(
      Self.names(AgentManifest.claimRights)
        == Set(KubernetesPreflight.claimRights.flatMap { right in right.verbs.map { "/\(right.name) \($0)" } }))
    let fluid = KubernetesPreflight.fluidRights(runtime: .init(kind: "AlluxioRuntime"))
    #expect(
      Self.names(AgentManifest.fluidRights(runtime: "AlluxioRuntime"))
        == Set(fluid.flatMap { right in right.verbs.map { "\(right.group)/\(right.name) \($0)" } }))
    #expect(
      Self.names(AgentManifest.gangRights)
        == Set(KubernetesPreflight.gangRights.flatMap { right in right.verbs.map { "/\(right.name) \($0)" } }))
    try await LocalKubernetes.with(configure: { $0.kubelet = .none }) { cluster in
      let client = try cluster.client()
      for document in try AgentManifestTests.documents(AgentManifestTests.manifest()) {
        _ = try await Self.create(document, client, namespace: "none")
      }
      let agent = "fubini-system:fubini-agent"
      let whole = Self.names(AgentManifest.clusterRights)
      // Rights in the whole cluster hold in each namespace.
      #expect(
        try await Self.rights(of: agent, in: "fubini-alpha", client)
          == Self.names(AgentManifest.rights).union(whole))
      for namespace in ["", "default", "kube-system", "fubini-system"] {
        #expect(try await Self.rights(of: agent, in: namespace, client) == whole, "\(namespace)")
      }
      for namespace in ["", "fubini-alpha", "fubini-system"] {
        #expect(try await Self.rights(of: "fubini-alpha:fubini-run", in: namespace, client) == [], "\(namespace)")
      }
      await client.close()
    }
  }
}
