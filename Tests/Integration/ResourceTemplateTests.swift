import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import KubernetesAPI
import KubernetesSupport
import TestSupport
import Testing

extension Integration {
  /// An edge machine and a real Kubernetes API, whose agent has what the printed manifest gives it and no more.
  @Suite(
    "End to end: resource templates", .serialized, .timeLimit(.minutes(5)),
    .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
  struct ResourceTemplateTests {
    private static func with(_ body: @Sendable (Federation, KubernetesClient) async throws -> Void) async throws {
      var options = FederationOptions()
      options.agents = [.init("edge")]
      try await Federation.with(options) { federation in
        let image = "fubini-test/agent"
        try await LocalKubernetes.with(configure: {
          $0.programs[image] = "\(federation.binaries)/fubini-agent:/usr/local/bin/fubini-agent"
        }) { cluster in
          // As pydflow does it, authors call the account `argo`; here that is another one's name.
          try await KubernetesMember.join(
            "k8s", image: image, to: federation, cluster, settings: ["serviceAccounts: {argo: fubini-task}"])
          for name in ["edge", "k8s"] { try await federation.connected(name) }
          let admin = try cluster.client()
          try await Self.grant(admin)
          try await body(federation, admin)
          await admin.close()
        }
      }
    }

    /// What the operator gives to tasks: config maps of their own namespace.
    private static func grant(_ admin: KubernetesClient) async throws {
      let (namespace, name, group) = ("fubini-default", "fubini-task", "rbac.authorization.k8s.io")
      _ = try await admin.create(
        KubernetesPath.collection("v1", "serviceaccounts", namespace: namespace),
        ["apiVersion": "v1", "kind": "ServiceAccount", "metadata": ["name": .string(name)]])
      _ = try await admin.create(
        KubernetesPath.collection("\(group)/v1", "roles", namespace: namespace),
        [
          "apiVersion": .string("\(group)/v1"), "kind": "Role", "metadata": ["name": .string(name)],
          "rules": [["apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get"]]],
        ])
      _ = try await admin.create(
        KubernetesPath.collection("\(group)/v1", "rolebindings", namespace: namespace),
        [
          "apiVersion": .string("\(group)/v1"), "kind": "RoleBinding", "metadata": ["name": .string(name)],
          "subjects": [["kind": "ServiceAccount", "name": .string(name), "namespace": .string(namespace)]],
          "roleRef": ["apiGroup": .string(group), "kind": "Role", "name": .string(name)],
        ])
    }

    private static func document(_ name: String, account: String, kind: String = "ConfigMap") -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        serviceAccountName: \(account)
        templates:
        - name: main
          steps:
          - - {name: make, template: make, arguments: {parameters: [{name: value, value: "42"}]}}
          - - {name: tell, template: tell, arguments: {parameters: [{name: m, value: "{{steps.make.outputs.parameters.v}}"}]}}
        - name: make
          inputs: {parameters: [{name: value}]}
          resource:
            action: create
            setOwnerReference: true
            successCondition: data.value == {{inputs.parameters.value}}
            manifest: |
              apiVersion: v1
              kind: \(kind)
              metadata: {name: \(name)}
              data: {value: "{{inputs.parameters.value}}"}
          outputs:
            parameters: [{name: v, valueFrom: {jsonPath: '{.kind} {.data.value}'}}]
        - name: tell
          inputs: {parameters: [{name: m}]}
          federation: {clusters: {kinds: [process]}}
          container: {image: "debian:12", command: [echo, "{{inputs.parameters.m}}"]}
      """
    }

    @Test(
      "an object is made by the task's own account, its values go on to another cluster, and it goes with its workflow")
    func whole() async throws {
      try await Self.with { federation, admin in
        let client = try federation.client()
        _ = try await client.submit(Self.document("made", account: "argo"))
        let detail = try await client.finished("made", timeout: .seconds(90))
        let agent = LogTail.of(federation.log("agent-k8s"))
        #expect(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message)) \(agent)")
        let make = try #require(detail.nodes.first { $0.displayName == "make" })
        #expect(make.run?.cluster == "k8s")
        let tell = try #require(detail.nodes.first { $0.displayName == "tell" })
        #expect(tell.run?.cluster == "edge")
        #expect(try await client.log("made", node: tell.name) == "ConfigMap 42\n")
        let path = KubernetesPath.object("v1", "configmaps", namespace: "fubini-default", name: "made")
        #expect(try await admin.get(path)["data"]?["value"] == "42")
        #expect(try await client.send("DELETE", "/api/v1/workflows/default/made").status == 200)
        try await waitUntil("the object is gone", timeout: .seconds(60)) {
          do {
            _ = try await admin.get(path)
            return false
          } catch { return (error as? FederationError)?.code == .notFound }
        }
      }
    }

    @Test(
      "I10: what the account may not do fails in the API server's words, and an account that is not listed is a reason to wait"
    )
    func reasons() async throws {
      try await Self.with { federation, _ in
        let client = try federation.client()
        _ = try await client.submit(Self.document("denied", account: "argo", kind: "Secret"))
        let denied = try await client.finished("denied", timeout: .seconds(90))
        #expect(denied.summary.phase == .failed)
        let make = try #require(denied.nodes.first { $0.displayName == "make" })
        #expect(
          make.message.hasPrefix(
            "Error from server (Forbidden): secrets is forbidden: User \"system:serviceaccount:fubini-default:fubini-task\""
          ),
          "\(make.message)")
        _ = try await client.submit(Self.document("unlisted", account: "root"))
        try await waitUntil("the reason of its wait", timeout: .seconds(30)) {
          let nodes = (try? await client.workflow("unlisted").nodes) ?? []
          return nodes.contains {
            $0.displayName == "make" && $0.phase == .pending
              && $0.message.contains("its operator lets no task name the service account root")
          }
        }
      }
    }
  }
}
