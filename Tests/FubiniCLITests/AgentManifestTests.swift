import FederationModel
import Testing
import Yams

@testable import fubini

/// What `cluster create --kind kubernetes --print-manifest` prints.
@Suite struct AgentManifestTests {
  static func manifest(_ change: (inout AgentManifest) -> Void = { _ in }) -> AgentManifest {
    var manifest = AgentManifest(
      cluster: "edge-k8s", token: "fbj1_abc.def-ghi", server: "fubini.example.org:8443",
      image: "registry.example.org/fubini-agent:0.1.0", namespaces: [("alpha", "fubini-alpha")])
    change(&manifest)
    return manifest
  }

  /// The documents as Kubernetes' clients read them.
  static func documents(_ manifest: AgentManifest) throws -> [JSONValue] {
    try Array(Yams.compose_all(yaml: manifest.text)).map(value)
  }

  static func value(_ node: Node) -> JSONValue {
    switch node {
    case .mapping(let mapping):
      .object(Dictionary(uniqueKeysWithValues: mapping.map { ($0.key.string ?? "", value($0.value)) }))
    case .sequence(let sequence): .array(sequence.map(value))
    default:
      node.bool.map { .bool($0) } ?? node.int.map { .integer(Int64($0)) } ?? .string(node.string ?? "")
    }
  }

  private func find(_ kind: String, _ documents: [JSONValue]) -> [JSONValue] {
    documents.filter { $0["kind"]?.stringValue == kind }
  }

  @Test("a manifest is what an agent of one project needs, and each object is in its namespace")
  func single() throws {
    let documents = try Self.documents(Self.manifest())
    #expect(
      documents.compactMap { $0["kind"]?.stringValue } == [
        "Namespace", "Namespace", "ServiceAccount", "ServiceAccount", "Role", "RoleBinding", "ClusterRole",
        "ClusterRoleBinding", "Secret", "ConfigMap", "PersistentVolumeClaim", "Service", "NetworkPolicy", "Deployment",
      ])
    let role = try #require(find("Role", documents).first)
    #expect(role["metadata"]?["namespace"]?.stringValue == "fubini-alpha")
    let configuration = try #require(find("ConfigMap", documents).first?["data"]?["agent.yaml"]?.stringValue)
    let agent = try #require(try Yams.compose(yaml: configuration).map(Self.value))
    #expect(agent["project"]?.stringValue == "alpha")
    #expect(agent["controlPlane"] == ["fubini.example.org:8443"])
    #expect(agent["kubernetes"]?["namespace"]?.stringValue == "fubini-alpha")
    #expect(agent["kubernetes"]?["filesAddress"]?.stringValue == "https://fubini-agent.fubini-system.svc:7443")
    #expect(find("Secret", documents).first?["stringData"]?["token"]?.stringValue == "fbj1_abc.def-ghi")
    #expect(!configuration.contains("fbj1"))
  }

  @Test("rights on Fluid's objects are in a manifest that declares it, and in no other")
  func fluid() throws {
    func role(_ manifest: AgentManifest) throws -> String {
      try #require(find("Role", Self.documents(manifest)).first).description
    }
    #expect(!(try role(Self.manifest()).contains("data.fluid.io")))
    let manifest = Self.manifest { $0.fluid = ("JindoRuntime", "2Ti") }
    try manifest.validate()
    let text = try role(manifest)
    for resource in ["datasets", "dataloads", "jindoruntimes"] { #expect(text.contains(resource)) }
    let documents = try Self.documents(manifest)
    let configuration = try #require(find("ConfigMap", documents).first?["data"]?["agent.yaml"]?.stringValue)
    let agent = try #require(try Yams.compose(yaml: configuration).map(Self.value))
    #expect(
      agent["kubernetes"]?["fluid"] == ["capacity": "2Ti", "runtime": ["kind": "JindoRuntime"], "datasets": [:]])
    #expect(agent["kubernetes"]?["serviceAccount"] == "fubini-run")
    #expect(throws: CommandFailure.self) { try Self.manifest { $0.fluid = ("Alluxio", "2Ti") }.validate() }
    #expect(throws: CommandFailure.self) { try Self.manifest { $0.fluid = ("JindoRuntime", "much") }.validate() }
  }

  @Test("volume claims of workflows are in a manifest that asks for them, and in no other")
  func workflowClaims() throws {
    #expect(!Self.manifest().text.contains("persistentvolumeclaims"))
    let manifest = Self.manifest { $0.hasWorkflowClaims = true }
    let role = try #require(find("Role", Self.documents(manifest)).first)
    #expect(role.description.contains("persistentvolumeclaims"))
    let configuration = try #require(
      find("ConfigMap", Self.documents(manifest)).first?["data"]?["agent.yaml"]?.stringValue)
    let agent = try #require(try Yams.compose(yaml: configuration).map(Self.value))
    #expect(agent["kubernetes"]?["workflowClaims"] == [:])
  }

  @Test("each project of a manifest has a namespace and rights of its own")
  func mapped() throws {
    let manifest = Self.manifest {
      $0.namespaces = [("alpha", "a"), ("beta", "b")]
      $0.agentNamespace = "agents"
      $0.storageClass = "fast"
    }
    let documents = try Self.documents(manifest)
    #expect(find("Role", documents).map { $0["metadata"]?["namespace"]?.stringValue } == ["a", "b"])
    for binding in find("RoleBinding", documents) {
      #expect(binding["subjects"]?.arrayValue?.first?["namespace"]?.stringValue == "agents")
    }
    let text = try #require(find("ConfigMap", documents).first?["data"]?["agent.yaml"]?.stringValue)
    let agent = try #require(try Yams.compose(yaml: text).map(Self.value))
    #expect(agent["tenancy"]?.stringValue == "mapped")
    #expect(agent["projects"] == ["alpha": ["namespace": "a"], "beta": ["namespace": "b"]])
    #expect(find("PersistentVolumeClaim", documents).first?["spec"]?["storageClassName"]?.stringValue == "fast")
  }

  @Test("with a queue of Kueue the agent may make Services, which gangs need; without one it may not")
  func kueue() throws {
    for queue in [nil, "team-a"] {
      let documents = try Self.documents(Self.manifest { $0.queue = queue })
      let rules = try #require(find("Role", documents).first?["rules"]?.arrayValue)
      #expect(rules.contains { $0["resources"] == ["services"] && $0["verbs"] == ["create", "get"] } == (queue != nil))
      let text = try #require(find("ConfigMap", documents).first?["data"]?["agent.yaml"]?.stringValue)
      let agent = try #require(try Yams.compose(yaml: text).map(Self.value))
      #expect(agent["kubernetes"]?["kueue"]?["queue"]?.stringValue == queue)
    }
  }

  @Test("the agent's own pod holds to the restricted profile, with a root that cannot be written")
  func restricted() throws {
    let documents = try Self.documents(Self.manifest())
    let pod = try #require(find("Deployment", documents).first?["spec"]?["template"]?["spec"])
    #expect(pod["securityContext"]?["runAsNonRoot"]?.boolValue == true)
    let containers = (pod["initContainers"]?.arrayValue ?? []) + (pod["containers"]?.arrayValue ?? [])
    #expect(containers.count == 2)
    for container in containers {
      #expect(container["securityContext"]?["readOnlyRootFilesystem"]?.boolValue == true)
      #expect(container["securityContext"]?["allowPrivilegeEscalation"]?.boolValue == false)
      #expect(container["securityContext"]?["capabilities"]?["drop"] == ["ALL"])
      #expect(container["resources"]?["limits"]?["memory"] != nil)
    }
    #expect(find("Deployment", documents).first?["spec"]?["strategy"]?["type"]?.stringValue == "Recreate")
  }

  @Test("what could mean more than a value in YAML is refused")
  func refused() throws {
    try Self.manifest().validate()
    let changes: [(inout AgentManifest) -> Void] = [
      { $0.image = "a\nb: c" }, { $0.image = "a b" }, { $0.image = "" }, { $0.image = "a\"b" },
      { $0.agentNamespace = "A" }, { $0.namespaces = [] }, { $0.namespaces = [("a", "x y")] },
      { $0.namespaces = [("a", "x"), ("b", "x")] }, { $0.namespaces = [("a", "x"), ("a", "y")] },
      { $0.namespaces = [("a", "fubini-system")] }, { $0.storage = "much" }, { $0.storage = "0" },
      { $0.storageClass = "a b" }, { $0.server = "h: 1" }, { $0.token = "t\n" },
      { $0.queue = "a}" },
    ]
    for (index, change) in changes.enumerated() {
      #expect(throws: CommandFailure.self, "\(index)") { try Self.manifest(change).validate() }
    }
  }
}
