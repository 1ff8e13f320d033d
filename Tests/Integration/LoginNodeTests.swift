import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import Postgres
import Testing

extension Integration {
  /// A cluster with several login nodes, each of which starts an agent.
  @Suite("End to end: one agent acts per cluster", .timeLimit(.minutes(5)))
  struct LoginNodeTests {
    private func said(_ federation: Federation, _ name: String) -> String {
      String(decoding: FileManager.default.contents(atPath: federation.log("agent-\(name)")) ?? Data(), as: UTF8.self)
    }

    @Test("a second agent on the same state directory and machine is refused, and told who acts")
    func sameMachine() async throws {
      try await Federation.with(FederationOptions()) { federation in
        let second = try await federation.agentCommand(["run"], of: "one")
        let first = try federation.agent("one")
        #expect(second.code != 0)
        #expect(
          second.output.contains("Another agent acts for \(federation.agentState("one")): process \(first.pid) on "))
        try await federation.awaitAgents()
      }
    }

    @Test(
      "an agent of another login node waits on the shared state directory, and goes on with the runs of the one that died",
      .enabled(if: geteuid() == 0, "only root can pose as another machine"))
    func otherMachine() async throws {
      try await Federation.with(FederationOptions()) { federation in
        let first = try federation.agent("one")
        let client = try federation.client()
        _ = try await client.submit(Integration.shell("sleep 8; echo went on", name: "long"))
        try await federation.node("long", "long", is: ["Running"])
        federation.surround(
          "one",
          with: .init(prefix: ["/usr/bin/unshare", "--uts", "sh", "-c", "hostname login2 && exec \"$@\"", "sh"]))
        try federation.startAgent("one")
        try await poll("it waits", timeout: .seconds(30)) { said(federation, "one").contains("waiting to take over") }
        #expect(said(federation, "one").contains("holder=process \(first.pid) on "))
        try await first.kill()
        let detail = try await client.finished("long")
        #expect(detail.summary.phase == .succeeded)
        #expect(try await federation.query("SELECT count(*) FROM runs")[0].int(0) == 1)
        #expect(try await client.log("long", node: "long") == "went on\n")
        #expect(try await federation.agentCommand(["status"], of: "one").output.contains("established"))
      }
    }

    @Test(
      "two agents with one identity and directories of their own: the second is refused with the reason until the first ends"
    )
    func twins() async throws {
      try await Federation.with(FederationOptions()) { federation in
        let (state, twin) = (federation.agentState("one"), federation.agentState("twin"))
        try FileManager.default.createDirectory(atPath: twin, withIntermediateDirectories: true)
        try FileManager.default.copyItem(atPath: state + "/identity", toPath: twin + "/identity")
        let yaml = try String(contentsOfFile: federation.agentConfigurationPath("one"), encoding: .utf8)
        try yaml.replacingOccurrences(of: state, with: twin)
          .write(toFile: federation.agentConfigurationPath("twin"), atomically: true, encoding: .utf8)
        try federation.startAgent("twin")
        try await poll("it is refused", timeout: .seconds(30)) {
          said(federation, "twin").contains("another agent acts for cluster one")
        }
        let status = try await federation.agentCommand(["status"], of: "twin").output
        #expect(!status.contains("established"), "\(status)")
        let client = try federation.client()
        _ = try await client.submit(Integration.shell("echo once", name: "work"))
        #expect(try await client.finished("work").summary.phase == .succeeded)
        try await federation.agent("one").kill()
        try await poll("it takes over", timeout: .seconds(60)) {
          try await federation.agentCommand(["status"], of: "twin").output.contains("established")
        }
      }
    }
  }
}
