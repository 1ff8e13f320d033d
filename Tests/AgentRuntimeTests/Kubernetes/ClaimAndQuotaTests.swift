import Execution
import FederationAPI
import FederationModel
import KubernetesAPI
import KubernetesSupport
import Testing

@testable import AgentRuntime
@testable import KubernetesExecutor

/// Volume claims of workflows, and quotas of namespaces, on a real API server. The agent has the rights that its preflight asks for.
@Suite(
  .serialized, .timeLimit(.minutes(20)),
  .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
struct ClaimAndQuotaTests {
  private static func id(_ counter: UInt32) -> RunID { RunID(incarnation: 6, counter: counter) }

  private static func run(
    _ fixture: KubernetesFixture, _ counter: UInt32, _ script: String, workflow: String = "w1",
    goesWithFailure: Bool = true
  ) -> RunRequest {
    fixture.request(id(counter), script) {
      $0.spec.claims = [
        ClaimVolume(
          name: "work", workflow: .init(uid: workflow, goesWithFailure: goesWithFailure),
          mounts: [.init(path: "/claim")],
          specification: ["accessModes": ["ReadWriteOnce"], "resources": ["requests": ["storage": "1Mi"]]])
      ]
    }
  }

  private static func claims(_ fixture: KubernetesFixture) async throws -> [JSONValue] {
    var found: [JSONValue] = []
    _ = try await fixture.admin.list(
      KubernetesPath.collection("v1", "persistentvolumeclaims", namespace: fixture.namespace)
    ) { found.append($0) }
    // Those that are being deleted stay for as long as a controller of Kubernetes protects them.
    return found.filter { $0["metadata"]?["deletionTimestamp"] == nil }
  }

  @Test("Runs of a workflow share its claim, which is made once, told of, and deleted when it is not wanted any more")
  func claims() async throws {
    try await KubernetesFixture.with(settings: { $0.workflowClaims = .init() }) { fixture in
      let features = await fixture.executor.inventory().features
      #expect(features?.contains(.claims) == true)
      try await fixture.submit(Self.run(fixture, 1, "echo from the first >/claim/file"))
      let first = try await fixture.end(of: Self.id(1))
      #expect(first.phase == .succeeded, "\(first.message) \(fixture.log(Self.id(1)))")
      try await fixture.submit(
        Self.run(fixture, 2, "cat /claim/file"),
        Self.run(fixture, 3, "ls -A /claim", workflow: "w2", goesWithFailure: false))
      for counter: UInt32 in [2, 3] {
        let end = try await fixture.end(of: Self.id(counter))
        #expect(end.phase == .succeeded, "\(end.message) \(fixture.log(Self.id(counter)))")
      }
      #expect(fixture.log(Self.id(2)).contains("from the first"))
      #expect(!fixture.log(Self.id(3)).contains("file"))
      #expect(try await Self.claims(fixture).count == 2)
      let keeper = OwnerKeeper(executor: fixture.executor)
      let all = try #require(await keeper.told(keeping: []))
      #expect(
        Dictionary(uniqueKeysWithValues: all.owners.map { ($0.workflowUid, $0.goesWithFailure) })
          == ["w1": true, "w2": false])
      #expect(await keeper.told(keeping: ["w1"])?.owners.map(\.workflowUid) == ["w2"])
      // What has runs here stays, whatever is ordered.
      await keeper.drop(["w1", "w2"], keeping: ["w2"])
      try await waitUntil(timeout: .seconds(60)) { (try? await Self.claims(fixture))?.count == 1 }
      #expect(await keeper.told(keeping: [])?.owners.map(\.workflowUid) == ["w2"])
    }
  }

  @Test("An agent that starts anew knows the claims that it made; a later run of the workflow mounts the same")
  func restart() async throws {
    try await KubernetesFixture.with(settings: { $0.workflowClaims = .init() }) { fixture in
      try await fixture.submit(Self.run(fixture, 1, "echo kept >/claim/file"))
      _ = try await fixture.end(of: Self.id(1))
      try await fixture.restartAgent()
      try await waitUntil(timeout: .seconds(60)) { await fixture.executor.claimOwners().map(\.workflow) == ["w1"] }
      try await fixture.submit(Self.run(fixture, 2, "cat /claim/file"))
      let end = try await fixture.end(of: Self.id(2))
      #expect(end.phase == .succeeded, "\(end.message)")
      #expect(fixture.log(Self.id(2)).contains("kept"))
      #expect(try await Self.claims(fixture).count == 1)
    }
  }

  @Test("I7: a claim of the same name that is somebody else's is not mounted and not deleted")
  func namesake() async throws {
    try await KubernetesFixture.with(settings: { $0.workflowClaims = .init() }) { fixture in
      let name = WorkflowClaim.name("w1", "work", mark: fixture.executor.mark)
      _ = try await fixture.admin.create(
        KubernetesPath.collection("v1", "persistentvolumeclaims", namespace: fixture.namespace),
        [
          "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": ["name": .string(name)],
          "spec": ["accessModes": ["ReadWriteOnce"], "resources": ["requests": ["storage": "1Mi"]]],
        ])
      try await fixture.submit(Self.run(fixture, 1, "true"))
      let end = try await fixture.end(of: Self.id(1))
      #expect(end.phase == .error)
      #expect(end.message.contains("somebody else's"), "\(end.message)")
      let keeper = OwnerKeeper(executor: fixture.executor)
      #expect(await keeper.told(keeping: []) == nil)
      await keeper.drop(["w1"], keeping: [])
      #expect(try await Self.claims(fixture).map { $0["metadata"]?["name"]?.stringValue } == [name])
      #expect(try await fixture.names("v1", "secrets").isEmpty)
    }
  }

  @Test("The inventory says what quotas leave to runs: without what others have, with what is ours")
  func quotas() async throws {
    try await KubernetesFixture.with { fixture in
      func told() async -> ResourceQuota? {
        _ = await fixture.executor.refreshInventory()
        return await fixture.executor.inventory().quota(of: "p")
      }
      #expect(await told() == nil)
      func pod(_ name: String) -> JSONValue {
        [
          "apiVersion": "v1", "kind": "Pod", "metadata": ["name": .string(name)],
          "spec": [
            "restartPolicy": "Never",
            "containers": [
              [
                "name": "main", "image": "debian:12", "command": ["sleep", "600"],
                "resources": ["requests": ["cpu": "1", "memory": "64Mi"]],
              ]
            ],
          ],
        ]
      }
      _ = try await fixture.admin.create(
        KubernetesPath.collection("v1", "resourcequotas", namespace: fixture.namespace),
        [
          "apiVersion": "v1", "kind": "ResourceQuota", "metadata": ["name": "team"],
          "spec": ["hard": ["requests.cpu": "4", "requests.memory": "1Gi", "pods": "10"]],
        ])
      // Until the quota's own count is there no pod is let in.
      let empty = ResourceQuota(cpuMillicores: 4000, memoryBytes: 1 << 30, runs: 10)
      try await waitUntil(timeout: .seconds(60)) { await told() == empty }
      _ = try await fixture.admin.create(
        KubernetesPath.collection("v1", "pods", namespace: fixture.namespace), pod("theirs"))
      let whole = ResourceQuota(cpuMillicores: 3000, memoryBytes: (1 << 30) - (64 << 20), runs: 9)
      try await waitUntil(timeout: .seconds(60)) { await told() == whole }
      try await fixture.submit(
        fixture.request(Self.id(1), "sleep 600") {
          $0.spec.resources = Resources(cpuMillicores: 2000, memory: .mebibytes(128))
        })
      try await fixture.wait(for: Self.id(1), "running") { $0.phase == .running }
      // The quota's own count has the run: what is told has not, because the control plane counts it.
      try await waitUntil(timeout: .seconds(60)) {
        let path = KubernetesPath.object("v1", "resourcequotas", namespace: fixture.namespace, name: "team")
        let used = try? await fixture.admin.get(path)["status"]?["used"]?["requests.cpu"]?.stringValue
        return used == "3"
      }
      #expect(await told() == whole)
      try await fixture.executor.cancel(Self.id(1), grace: .zero, signal: nil)
    }
  }
}
