import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import Testing

extension Integration {
  @Suite("End to end: memory limits", .timeLimit(.minutes(3)))
  struct MemoryLimitTests {
    /// Asks for 64 MiB and takes 256.
    private func greedy(_ name: String, _ resources: String) -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        templates:
        - name: main
          container:
            image: debian:12
            command: [python3, -c]
            args: ["b = bytearray(256 << 20); print(len(b))"]
            resources: {\(resources)}
      """
    }

    @Test(
      "resources.limits.memory of a document ends a run that needs more, as OOMKilled in its node; a request does not")
    func outOfMemory() async throws {
      let group = "/fubini-integration-\(getpid())"
      var options = FederationOptions()
      options.agents[0].keys = ["cgroups": "\"\(group)\""]
      try await Federation.with(options) { federation in
        let client = try federation.client()
        let notices = try #require(try await client.cluster("one").live?.notices)
        _ = try await client.submit(greedy("free", "requests: {memory: 64Mi}"))
        let free = try await client.finished("free")
        #expect(free.summary.phase == .succeeded, "\(free.summary.message)")
        if let notice = notices.first(where: { $0.hasPrefix("memory ") }) {
          // Where the machine gives no control groups, the reason is what its users must read.
          #expect(notice.contains(" not enforced here: "))
          let shown = try await federation.fubini(["cluster", "get", "one"])
          #expect(shown.output.contains(notice), "\(shown.output)")
          print("skipped the limit itself: \(notice)")
          return
        }
        _ = try await client.submit(greedy("limited", "limits: {memory: 64Mi}"))
        let limited = try await client.finished("limited")
        #expect(limited.summary.phase == .failed)
        let node = try #require(limited.nodes.first)
        #expect(node.message.hasPrefix("OOMKilled: "), "\(node.message)")
        #expect(node.exitCode == 137, "\(String(describing: node.exitCode))")
        let got = try await federation.fubini(["get", "limited"])
        #expect(got.output.contains("OOMKilled"), "\(got.output)")
      }
      // Its supervisor was killed with the federation, and has left its groups: empty ones of this test's own name.
      for hierarchy in ["", "/memory", "/cpu", "/cpu,cpuacct", "/pids", "/unified"] {
        let top = "/sys/fs/cgroup\(hierarchy)\(group)"
        for name in (try? FileManager.default.subpathsOfDirectory(atPath: top))?.sorted().reversed() ?? [] {
          rmdir("\(top)/\(name)")
        }
        rmdir(top)
      }
    }
  }
}
