import Execution
import FederationModel
import FoundationEssentials
import KubernetesAPI
import KubernetesSupport
import Testing

@testable import AgentRuntime
@testable import KubernetesExecutor

/// What the agent may do in somebody's cluster: what it needs, and no more.
@Suite(
  .serialized, .timeLimit(.minutes(10)),
  .enabled(if: LocalKubernetes.runsPods, "\(LocalKubernetes.noPods)"))
struct KubernetesRightsTests {
  private static func id(_ counter: UInt32) -> RunID { RunID(incarnation: 5, counter: counter) }

  @Test("Of the rights that the preflight asks for each that is missing is named, with what is lost without it")
  func missing() async throws {
    try await KubernetesFixture.with(configure: { $0.kubelet = .none }) { fixture in
      let all = await KubernetesPreflight.findings(fixture.configuration, fixture.client)
      #expect(all.allSatisfy { $0.level == .ok }, "\(all)")
      let rights = KubernetesPreflight.rights
      for (place, right) in rights.enumerated() {
        for verb in right.verbs {
          var fewer = rights
          fewer[place].verbs.removeAll { $0 == verb }
          let found = try await fixture.findings(with: fewer).filter { $0.level != .ok }
          // A right in the whole cluster is one in each namespace.
          let isEverywhere =
            right.isNamespaced
            && rights.contains { !$0.isNamespaced && $0.name == right.name && $0.verbs.contains(verb) }
          guard !isEverywhere else {
            #expect(found == [])
            continue
          }
          let scope = right.isNamespaced ? "namespace \(fixture.namespace)" : "the cluster"
          #expect(found.count == 1, "\(right.name) \(verb): \(found)")
          #expect(found.first?.text.hasPrefix("may not \(verb) \(right.name) in \(scope)") == true, "\(found)")
          #expect(found.first?.level == (right.lack == nil ? .failed : .warning))
        }
      }
      var strict = fixture.configuration
      strict.minimumMinor = 99
      let old = await KubernetesPreflight.findings(strict, fixture.client)
      #expect(old.contains { $0.level == .failed && $0.text.contains("1.99 or newer is needed") })
    }
  }

  @Test(
    "The rights are the least that work: runs' lives use each of them, and ask for nothing else",
    .enabled(if: LocalKubernetes.isLocal, "somebody's API server keeps no audit log for a test"))
  func least() async throws {
    let audit = try TemporaryDirectory()
    try audit.write(#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}"#, to: "policy")
    try await KubernetesFixture.with(configure: {
      $0.apiServerArguments = ["--audit-policy-file=\(audit.path)/policy", "--audit-log-path=\(audit.path)/log"]
    }) { fixture in
      let short = fixture.request(Self.id(1), "echo hello")
      try await fixture.submit(
        short, fixture.request(Self.id(2), "echo up; sleep 60"),
        fixture.request(Self.id(3), "true") { $0.spec.resources = Resources(cpuMillicores: 1000, gpus: 1) },
        fixture.request(Self.id(4), "echo up; sleep 60"))
      // As if its journal had not noted the submission.
      try await fixture.executor.submit([short])
      // Somebody else's Job has the name of a run.
      _ = try await fixture.admin.create(
        KubernetesPath.collection("batch/v1", "jobs", namespace: fixture.namespace),
        [
          "apiVersion": "batch/v1", "kind": "Job", "metadata": ["name": .string(fixture.name(Self.id(5)))],
          "spec": [
            "template": [
              "spec": [
                "restartPolicy": "Never", "containers": [["name": "c", "image": "x", "command": ["sleep", "60"]]],
              ]
            ]
          ],
        ])
      try await fixture.submit(fixture.request(Self.id(5), "true"))
      #expect(try await fixture.end(of: Self.id(5)).phase == .error)
      #expect(try await fixture.end(of: Self.id(1)).phase == .succeeded)
      try await fixture.wait(for: Self.id(3), "the reason of its wait") { $0.message.contains("Insufficient") }
      for id in [Self.id(2), Self.id(4)] {
        try await fixture.wait(for: id, "its first line") { $0.phase == .running && $0.logBytes > 0 }
      }
      // A Job that was deleted, and leaves its pod to nobody.
      _ = try await fixture.admin.delete(fixture.jobPath(Self.id(4)), options: ["propagationPolicy": "Orphan"])
      #expect(try await fixture.end(of: Self.id(4)).phase == .cancelled)
      try await fixture.restartAgent()
      _ = try await fixture.executor.reattach(known: [Self.id(1), Self.id(2), Self.id(3), Self.id(4)])
      for id in [Self.id(2), Self.id(3)] {
        try await fixture.executor.cancel(id, grace: .zero)
        #expect(try await fixture.end(of: id).phase == .cancelled)
      }
      try await fixture.executor.forget((1...5).map(Self.id))
      try await waitUntil(timeout: .seconds(60)) { (try? await fixture.isEmpty()) == true }
      _ = await fixture.executor.refreshInventory()

      var used: Set<String> = []
      for line in try String(contentsOfFile: audit.path + "/log", encoding: .utf8).split(separator: "\n") {
        let entry = try JSONDecoder().decode(JSONValue.self, from: Data(line.utf8))
        guard entry["user"]?["username"]?.stringValue?.contains(":\(fixture.namespace):agent-") == true,
          let object = entry["objectRef"], let resource = object["resource"]?.stringValue,
          resource != "selfsubjectaccessreviews", let verb = entry["verb"]?.stringValue
        else { continue }
        let below = object["subresource"]?.stringValue.map { "/\($0)" } ?? ""
        used.insert("\(verb) \(resource)\(below)\(object["namespace"] == nil ? " everywhere" : "")")
        #expect(entry["responseStatus"]?["code"]?.integerValue != 403, "\(line)")
      }
      let asked = Set(
        KubernetesPreflight.rights.flatMap { right in
          right.verbs.map { "\($0) \(right.name)\(right.isNamespaced ? "" : " everywhere")" }
        })
      #expect(used.subtracting(asked) == [], "used without being asked for")
      #expect(asked.subtracting(used) == [], "asked for and not used")
    }
  }
}

extension KubernetesFixture {
  /// What the preflight says to a service account that has these rights alone.
  fileprivate func findings(with rights: [KubernetesPreflight.Right]) async throws -> [KubernetesPreflight.Finding] {
    let token = try await Self.grant(rights, in: namespace, admin, of: cluster)
    let path = directory.path + "/fewer"
    try cluster.writeKubeconfig(token: token, namespace: namespace, to: path)
    let client = try cluster.client(.kubeconfig(path, context: nil))
    let found = await KubernetesPreflight.findings(configuration, client)
    await client.close()
    return found
  }
}
