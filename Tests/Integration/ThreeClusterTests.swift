import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import LocalSlurm
import TestSupport
import Testing

extension Integration {
  @Suite(
    "Two Slurm clusters and an edge", .timeLimit(.minutes(10)),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
  struct ThreeClusterTests {
    /// Bytes of the large file, and more than an agent through which it streams may ever use of memory.
    static let size: Int64 = 256 << 20

    @Test(
      "I4: one workflow runs on Slurm A, Slurm B and the edge; a large file, through cut connections, and a tree of odd names follow it"
    )
    func follows() async throws {
      try await SlurmFixture.with("alpha", "beta") { slurm in
        var options = FederationOptions()
        options.agents = [.init("edge", labels: ["site": "edge"])]
        try await Federation.with(options) { federation in
          let gateway = federation.replicas[0].gatewayPort
          var proxies: [String: CuttingProxy] = [:]
          for cluster in slurm.clusters {
            let name = cluster.configuration.name
            let proxy = try await CuttingProxy(to: gateway)
            let agent = SlurmMember.agent(
              name, of: cluster, slurm, labels: ["site": name],
              keys: ["controlPlane": "[\"127.0.0.1:\(proxy.port)\"]"])
            try await federation.join(agent)
            try federation.startAgent(name)
            proxies[name] = proxy
          }
          for name in proxies.keys { try await federation.connected(name) }
          let (alpha, beta) = (try #require(proxies["alpha"]), try #require(proxies["beta"]))
          let before = beta.bytes(.received)
          // In the middle of the file's way out of one cluster, and of its way into the other.
          alpha.cut(.sent, after: Self.size / 2)
          beta.cut(.received, after: Self.size / 2)

          let client = try federation.client()
          let name = try await client.submit(Self.document).name
          let detail = try await client.finished(name, timeout: .seconds(400))
          let message = detail.nodes.map { "\($0.displayName): \($0.phase.rawValue) \($0.message)" }
          try #require(detail.summary.phase == .succeeded, "\(message)")

          var seen: [String: String] = [:]
          for (step, cluster) in [("make", "alpha"), ("relay", "beta"), ("check", "edge")] {
            let node = try #require(detail.nodes.first { $0.displayName == step })
            #expect(node.run?.cluster == cluster, "\(step) ran on \(node.run?.cluster ?? "nothing")")
            seen[step] = try await client.log(name, node: node.name)
          }
          let made = try #require(seen["make"])
          #expect(made.contains("line\\nbreak") && made.contains("größe 数据"), "\(made)")
          #expect(seen["relay"] == made)
          #expect(seen["check"] == made)

          #expect(alpha.cuts == 1 && beta.cuts == 1)
          #expect(alpha.connections >= 2 && beta.connections >= 2)
          // Had it begun again, half of the file would have come twice.
          let received = beta.bytes(.received) - before
          #expect(received < Self.size + Self.size / 4, "\(received) bytes came for a file of \(Self.size)")
          // The file streams out of it. What an agent takes in is not held to a bound here.
          let peak = try federation.agent("alpha").memory()?.peak ?? .max
          #expect(peak < Self.size / 2, "agent alpha used \(peak) bytes at most")
          for proxy in proxies.values { await proxy.close() }
        }
      }
    }

    /// Prints type, mode, link target and checksum of everything in `/tmp/tree`, and the checksum of `/tmp/big`.
    static let fingerprint = """
      cd /tmp/tree
      find . -printf '%P|%y|%m|%l\\0' | sort -z | tr '\\n\\0' '~\\n' | sed 's/~/\\\\n/g'
      find . -type f -print0 | sort -z | xargs -0 sha256sum
      sha256sum </tmp/big
      """

    /// A script of a template, indented as its place in `document` wants it.
    static func script(_ text: String) -> String {
      (text + "\n" + fingerprint).split(separator: "\n", omittingEmptySubsequences: false)
        .joined(separator: "\n        ")
    }

    static let document = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: three-clusters}
      spec:
        entrypoint: main
        templates:
        - name: main
          dag:
            tasks:
            - {name: make, template: make}
            - name: relay
              template: relay
              depends: make
              arguments:
                artifacts:
                - {name: big, from: "{{tasks.make.outputs.artifacts.big}}"}
                - {name: tree, from: "{{tasks.make.outputs.artifacts.tree}}"}
            - name: check
              template: check
              depends: relay
              arguments:
                artifacts:
                - {name: big, from: "{{tasks.make.outputs.artifacts.big}}"}
                - {name: tree, from: "{{tasks.relay.outputs.artifacts.tree}}"}
        - name: make
          federation: {clusters: {kinds: [slurm], labels: {site: alpha}}}
          script:
            image: debian:12
            command: [bash, -eu]
            source: |
              \(script(make))
          outputs:
            artifacts:
            - {name: big, path: /tmp/big, archive: {none: {}}}
            - {name: tree, path: /tmp/tree}
        - name: relay
          federation: {clusters: {kinds: [slurm], labels: {site: beta}}}
          inputs: {artifacts: [{name: big, path: /tmp/big}, {name: tree, path: /tmp/tree}]}
          script:
            image: debian:12
            command: [bash, -eu]
            source: |
              \(script("test \"$(sh /tmp/tree/bin/run.sh)\" = ran"))
          outputs: {artifacts: [{name: tree, path: /tmp/tree, archive: {zip: {}}}]}
        - name: check
          federation: {clusters: {kinds: [process]}}
          inputs: {artifacts: [{name: big, path: /tmp/big}, {name: tree, path: /tmp/tree}]}
          script:
            image: debian:12
            command: [bash, -eu]
            source: |
              \(script("test -x /tmp/tree/bin/run.sh"))
      """

    static let make = """
      head -c \(size) /dev/urandom >/tmp/big
      mkdir -p "/tmp/tree/with space/deep" /tmp/tree/bin /tmp/tree/private /tmp/tree/closed
      cd /tmp/tree
      : >empty
      echo one >./-rf
      echo two >'größe 数据'
      echo three >$'line\\nbreak'
      echo four >"with space/deep/\\"quoted\\" and 'single'"
      echo five >closed/inside
      seq 1 200000 >numbers
      echo 'echo ran' >bin/run.sh
      ln -s 'with space/deep' link
      ln -s /nonexistent/target dangling
      ln -s ../big outside
      ln numbers hard
      chmod 750 bin/run.sh
      chmod 600 empty
      chmod 700 private
      chmod 500 closed
      chmod 751 .
      """
  }
}
