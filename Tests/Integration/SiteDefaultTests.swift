import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import LocalSlurm
import TestSupport
import Testing

extension Integration {
  @Suite(
    "A Slurm site's defaults", .timeLimit(.minutes(3)),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
  struct SiteDefaultTests {
    static func workflow(_ name: String, labels: String = "", federation: String = "", limits: String = "") -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name), labels: {team: md}}
      spec:
        entrypoint: main
        templates:
        - name: main
          metadata: {labels: {\(labels)}}
          federation: {\(federation)}
          container:
            image: debian:12
            command: [sh, -c]
            args: ["echo $SLURM_JOB_PARTITION"]
            resources: {requests: {cpu: "1"\(limits)}}
      """
    }

    @Test("labels, class and GPUs of a task choose its partition on a real Slurm; what its author says counts before")
    func chosen() async throws {
      try await SlurmFixture.with(
        "hpc",
        configure: {
          $0.partitions = [.init("main", nodes: 1...1), .init("special", nodes: 2...2), .init("scavenge")]
          $0.gpusPerNode = 1
        }
      ) { slurm in
        var options = FederationOptions()
        options.agents = [
          SlurmMember.agent(
            "hpc", of: slurm.clusters[0], slurm,
            block: [
              "defaults":
                "[{when: {labels: {team: md, stage: fine}}, partition: special}, {when: {class: idle}, partition: scavenge}, "
                + "{when: {gpus: true}, partition: special, gpuType: a100}]"
            ])
        ]
        try await Federation.with(options) { federation in
          let client = try federation.client()
          let cases: [(name: String, document: String, partition: String)] = [
            ("plain", Self.workflow("plain"), "main"),
            ("labelled", Self.workflow("labelled", labels: "stage: fine"), "special"),
            ("idle", Self.workflow("idle", federation: "priorityClass: idle"), "scavenge"),
            ("gpu", Self.workflow("gpu", limits: ", nvidia.com/gpu: 1"), "special"),
            (
              "asked", Self.workflow("asked", federation: "priorityClass: idle, slurm: {partition: main}"), "main"
            ),
          ]
          for one in cases { _ = try await client.submit(one.document) }
          for one in cases {
            let detail = try await client.finished(one.name, timeout: .seconds(90))
            #expect(detail.summary.phase == .succeeded, "\(one.name): \(detail.nodes.map(\.message))")
            let (code, output) = try await federation.fubini(["logs", one.name])
            #expect(code == 0 && output.contains(one.partition), "\(one.name): \(output)")
          }
        }
      }
    }
  }
}
