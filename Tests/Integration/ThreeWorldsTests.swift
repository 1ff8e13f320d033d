import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import KubernetesAPI
import KubernetesSupport
import LocalSlurm
import TestSupport
import Testing
import Yams

extension Integration {
  /// An edge machine, a real Slurm cluster and a real Kubernetes API, whose agent has what the printed manifest gives it and no more.
  @Suite(
    "examples/three-worlds", .serialized, .timeLimit(.minutes(10)),
    .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
  struct ThreeWorldsTests {
    @Test("one workflow runs on an edge machine, Slurm and Kubernetes; artifacts and a data set follow it (I4, I5)")
    func follows() async throws {
      try await SlurmFixture.with("hpc") { slurm in
        var options = FederationOptions()
        options.agents = [.init("edge")]
        try await Federation.with(options) { federation in
          try await federation.join(SlurmMember.agent("hpc", of: slurm.clusters[0], slurm))
          try federation.startAgent("hpc")
          let image = "fubini-test/agent"
          try await LocalKubernetes.with(configure: {
            $0.programs[image] = "\(federation.binaries)/fubini-agent:/usr/local/bin/fubini-agent"
          }) { cluster in
            try await KubernetesMember.join("k8s", image: image, to: federation, cluster)
            for name in ["edge", "hpc", "k8s"] { try await federation.connected(name) }
            try await Self.run(federation)
          }
        }
      }
    }

    private static func run(_ federation: Federation) async throws {
      let flow = try DataFlow(federation)
      try await flow.fubini("dataset", "create", "texts")
      try await flow.fubini("dataset", "put", "texts", Integration.repositoryFile("examples/three-worlds/texts"))
      let submitted = try await federation.fubini(
        ["submit", "-f", Integration.repositoryFile("examples/three-worlds/workflow.yaml"), "--wait"],
        timeout: .seconds(240))
      let agent = LogTail.of(federation.log("agent-k8s"))
      try #require(submitted.code == 0, "\(submitted.output)\n\(agent)")
      let client = try federation.client()
      let detail = try await client.workflow("@latest")
      let places = [
        "cut": "edge", "count-first": "hpc", "count-second": "hpc", "report": "k8s", "show": "edge",
      ]
      for (name, place) in places {
        let node = try #require(detail.nodes.first { $0.displayName == name })
        #expect(node.run?.cluster == place, "\(name) ran on \(node.run?.cluster ?? "nothing")")
      }
      let show = try #require(detail.nodes.first { $0.displayName == "show" })
      let said = try await client.log(detail.summary.name, node: show.name)
      // What the example's README promises.
      let readme = try String(
        contentsOfFile: Integration.repositoryFile("examples/three-worlds/README.md"), encoding: .utf8)
      let promised = readme.split(separator: "```text\n").last?.split(separator: "```").first ?? ""
      #expect(said.hasSuffix(promised), "\(said)")
      let transfers = try await client.get("/v1/projects/default/transfers", as: TransferList.self).items
        .filter { $0.key.hasPrefix("dataset:") }
      #expect(Set(transfers.map(\.cluster)) == ["edge", "hpc", "k8s"], "\(transfers)")
      #expect(transfers.count == 3, "once into each: \(transfers)")
    }
  }
}

/// Clusters of a test's federation that are on a real Kubernetes API.
enum KubernetesMember {
  /// Declares the cluster, applies the manifest that this prints, and starts an agent outside with the rights, the configuration and the
  /// token of the one that a Deployment would start.
  ///
  /// - Parameters:
  ///   - options: further ones of `cluster create`.
  ///   - settings: further lines of the agent's block `kubernetes`.
  static func join(
    _ name: String, image: String, to federation: Federation, _ cluster: LocalKubernetes, options: [String] = [],
    settings: [String] = []
  ) async throws {
    let (code, manifest) = try await federation.fubini(
      ["cluster", "create", name, "--kind", "kubernetes", "--project", "default", "--image", image, "--print-manifest"]
        + options)
    guard code == 0 else { throw HarnessError("cluster create ended with \(code): \(manifest)") }
    let client = try cluster.client()
    var configuration = ""
    var token = ""
    for node in try Array(Yams.compose_all(yaml: manifest)) {
      let document = value(node)
      switch document["kind"]?.stringValue {
      case "ConfigMap": configuration = document["data"]?["agent.yaml"]?.stringValue ?? ""
      case "Secret": token = document["stringData"]?["token"]?.stringValue ?? ""
      default: break
      }
      try await apply(document, client)
    }
    let account = try await client.create(
      "/api/v1/namespaces/fubini-system/serviceaccounts/fubini-agent/token",
      [
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": ["expirationSeconds": 3600, "audiences": ["https://kubernetes.default.svc"]],
      ])
    await client.close()
    let kubeconfig = federation.path("\(name).kubeconfig")
    try cluster.writeKubeconfig(
      token: account["status"]?["token"]?.stringValue ?? "", namespace: "fubini-default", to: kubeconfig)
    let port = try FreePort.next()
    // Of what the manifest says only where things are is another here.
    let yaml =
      configuration
      .replacing("/var/lib/fubini-agent/state", with: federation.agentState(name))
      .replacing("https://fubini-agent.fubini-system.svc:7443", with: "https://127.0.0.1:\(port)")
      .replacing("filesPort: 7443", with: "filesPort: \(port)")
    let lines = (["kubeconfig: \(kubeconfig)"] + settings).map { "  \($0)\n" }.joined()
    try (yaml + lines).write(
      toFile: federation.agentConfigurationPath(name), atomically: true, encoding: .utf8)
    let tokenFile = federation.path("\(name).token")
    try token.write(toFile: tokenFile, atomically: true, encoding: .utf8)
    for expected in ["joined as cluster \(name); next", "nothing to do"] {
      let joined = try await federation.agentCommand(["join", "--if-needed", "--token-file", tokenFile], of: name)
      guard joined.code == 0, joined.output.contains(expected) else {
        throw HarnessError("join ended with \(joined.code): \(joined.output)")
      }
    }
    federation.surround(name, with: .init(environment: ["FUBINI_KUBERNETES_MINIMUM": "1.20"]))
    try federation.startAgent(name)
  }

  private static func apply(_ document: JSONValue, _ client: KubernetesClient) async throws {
    let kinds = [
      "Namespace": "namespaces", "ServiceAccount": "serviceaccounts", "Role": "roles",
      "RoleBinding": "rolebindings", "ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings",
      "Secret": "secrets", "ConfigMap": "configmaps", "PersistentVolumeClaim": "persistentvolumeclaims",
      "Service": "services", "NetworkPolicy": "networkpolicies", "Deployment": "deployments",
    ]
    guard let version = document["apiVersion"]?.stringValue, let kind = document["kind"]?.stringValue,
      let resource = kinds[kind]
    else { throw HarnessError("the manifest has an object of an unknown kind") }
    _ = try await client.create(
      KubernetesPath.collection(version, resource, namespace: document["metadata"]?["namespace"]?.stringValue),
      document)
  }

  static func value(_ node: Node) -> JSONValue {
    switch node {
    case .mapping(let mapping):
      .object(Dictionary(uniqueKeysWithValues: mapping.map { ($0.key.string ?? "", value($0.value)) }))
    case .sequence(let sequence): .array(sequence.map(value))
    default: node.bool.map { .bool($0) } ?? node.int.map { .integer(Int64($0)) } ?? .string(node.string ?? "")
    }
  }
}
