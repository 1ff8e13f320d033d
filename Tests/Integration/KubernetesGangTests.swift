import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import KubernetesAPI
import KubernetesSupport
import TestSupport
import Testing

extension Integration {
  @Suite(
    "End to end: gangs on Kubernetes", .serialized, .timeLimit(.minutes(10)),
    .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
  struct KubernetesGangTests {
    private static func with(
      _ options: [String], _ body: @Sendable (Federation, KubernetesClient) async throws -> Void
    ) async throws {
      var federationOptions = FederationOptions()
      federationOptions.agents = []
      try await Federation.with(federationOptions) { federation in
        let image = "fubini-test/agent"
        try await LocalKubernetes.with(configure: {
          $0.programs[image] = "\(federation.binaries)/fubini-agent:/usr/local/bin/fubini-agent"
        }) { cluster in
          let admin = try cluster.client()
          try await KubernetesMember.join("k8s", image: image, to: federation, cluster, options: options)
          try await federation.connected("k8s")
          try await body(federation, admin)
          await admin.close()
        }
      }
    }

    @Test("I6, I10: without Kueue a gang waits with the reason; with it the gang that runs on Slurm runs in pods")
    func gangs() async throws {
      // Each writes into the working directory, as on Slurm, where it is one for all of them.
      let script = """
        mkdir -p /workspace; echo "$SLURM_PROCID of $SLURM_NTASKS" >/workspace/rank.$SLURM_PROCID
        echo "I am $SLURM_PROCID"
        """
      try await Self.with([]) { federation, _ in
        let client = try federation.client()
        _ = try await client.submit(GangTests.gang("alone", size: 3, script))
        try await poll("it says what is missing", timeout: .seconds(60)) {
          let explained: ExplanationDocument = try await client.get(
            "/v1/projects/default/workflows/alone/explain?node=alone")
          return "\(explained)".contains("that takes Kueue, which its operator declares")
        }
      }
      try await Self.with(["--kueue-queue", "team"]) { federation, admin in
        let version = try await admin.version()
        guard version.minor >= 24 else {
          try Test.cancel("\(version.gitVersion) has no Indexed Jobs that may be suspended")
        }
        let client = try federation.client()
        let name = try await client.submit(GangTests.gang("ranks", size: 3, script)).name
        try await poll("it waits in Kueue's queue", timeout: .seconds(60)) {
          try await client.workflow(name).nodes.first?.message.contains("it waits in Kueue's queue team") == true
        }
        // Kueue's part.
        var jobs: [String] = []
        _ = try await admin.list(KubernetesPath.collection("batch/v1", "jobs", namespace: "fubini-default")) {
          if let job = $0["metadata"]?["name"]?.stringValue { jobs.append(job) }
        }
        try #require(jobs.count == 1)
        _ = try await admin.patch(
          KubernetesPath.object("batch/v1", "jobs", namespace: "fubini-default", name: jobs[0]),
          ["spec": ["suspend": false]], type: .merge)
        let detail = try await client.finished(name, timeout: .seconds(120))
        let node = try #require(detail.nodes.first)
        try #require(detail.summary.phase == .succeeded, "\(node.message)")
        let lines = try await client.log(name, node: node.name).split(separator: "\n").map(String.init)
        #expect(lines.sorted() == (0..<3).map { "\($0): I am \($0)" })
        let copied = try await federation.fubini(["cp", "\(name)/\(node.displayName):ranks", federation.path("ranks")])
        try #require(copied.code == 0, "\(copied.output)")
        for rank in 0..<3 {
          let text = try String(contentsOfFile: federation.path("ranks/rank.\(rank)"), encoding: .utf8)
          #expect(text == "\(rank) of 3\n")
        }
      }
    }
  }
}
