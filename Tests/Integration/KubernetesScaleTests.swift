import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import KubernetesAPI
import KubernetesSupport
import TestSupport
import Testing

extension Integration {
  /// `FUBINI_TEST_JOBS` says how many; `FUBINI_TEST_BINARIES` names released programs, whose memory counts.
  @Suite(
    "End to end: many Jobs of one agent", .serialized, .timeLimit(.minutes(20)),
    .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
  struct KubernetesScaleTests {
    @Test("An agent with many Jobs at once stays within 64 MiB, a debug build within 32 MiB of what it had before")
    func memory() async throws {
      let count = Int(ProcessInfo.processInfo.environment["FUBINI_TEST_JOBS"] ?? "") ?? 100
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        try await LocalKubernetes.with(configure: {
          // Long enough that all of them are there at once.
          $0.kubelet = .instant(seconds: 20)
          $0.nodes = [.init(name: "node-1", capacity: ["cpu": "4000", "memory": "4000Gi", "pods": "100000"])]
        }) { cluster in
          try await KubernetesMember.join("k8s", image: "fubini-test/agent", to: federation, cluster)
          try await federation.connected("k8s")
          let client = try federation.client()
          _ = try await client.submit(
            """
            apiVersion: argoproj.io/v1alpha1
            kind: Workflow
            metadata: {name: many}
            spec:
              entrypoint: main
              templates:
              - name: main
                steps: [[{name: one, template: one, withSequence: {count: "\(count)"}}]]
              - name: one
                container: {image: "debian:12", command: ["true"], resources: {requests: {cpu: 100m}}}
            """)
          let agent = try federation.agent("k8s")
          let before = agent.memory()?.resident ?? 0
          let began = ContinuousClock.now
          let detail = try await client.finished("many", timeout: .seconds(900))
          #expect(detail.summary.phase == .succeeded, "\(detail.summary)")
          let memory = try #require(agent.memory())
          print(
            "\(count) Jobs in \(ContinuousClock.now - began): agent \(before >> 20) MiB before, \(memory.peak >> 20) MiB at most"
          )
          // A debug build is larger from the beginning.
          let isReleased = ProcessInfo.processInfo.environment["FUBINI_TEST_BINARIES"] != nil
          #expect(memory.peak <= (isReleased ? 64 << 20 : before + (32 << 20)))
        }
      }
    }
  }
}
