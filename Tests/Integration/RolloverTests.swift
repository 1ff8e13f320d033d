import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Postgres
import Testing

extension Integration {
  @Suite("End to end: replacing the CA under living agents", .timeLimit(.minutes(3)))
  struct RolloverTests {
    @Test("a new CA is staged, promoted, and the old one retired, while a run goes on over one session")
    func rollover() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        let go = federation.shared + "/go"
        let command = "while [ ! -e \(go) ]; do sleep 0.1; done; echo survived"
        _ = try await client.submit(Integration.shell(command, name: "long"))
        try await federation.node("long", "long", is: ["Running"])
        let old = try Self.trusted(by: "one", federation)

        let early = try await federation.controlPlaneCommand(["ca", "promote"])
        #expect(early.code != 0 && early.output.contains("No CA is staged"), "\(early.output)")
        let staged = try await federation.controlPlaneCommand(["ca", "stage"])
        try #require(staged.code == 0, "\(staged.output)")
        // Refused, with the cluster's name, until its agent has told its next certificate's owner of the new root.
        try await Self.untilDone(federation, ["ca", "promote"])
        #expect(try Self.trusted(by: "one", federation).count == 2, "it signs, and the agent did not know it before")
        try await Self.untilDone(federation, ["ca", "retire"])
        try await poll("the agent trusts the new CA alone", timeout: .seconds(30)) {
          let now = try Self.trusted(by: "one", federation)
          return now.count == 1 && now != old
        }
        let shown = try await federation.controlPlaneCommand(["ca", "show"])
        #expect(shown.code == 0 && shown.output.contains("signs") && shown.output.contains("1/1"), "\(shown.output)")

        // New calls of the old session: an artifact goes up, and comes down.
        _ = try await client.submit(EndToEndTests.roundTrip)
        let made = try await client.finished("round-trip")
        let message = made.nodes.map { "\($0.displayName): \($0.phase.rawValue) \($0.message)" }
        #expect(made.summary.phase == .succeeded, "\(message)")
        try Data().write(to: URL(fileURLWithPath: go))
        #expect(try await client.finished("long").summary.phase == .succeeded)
        #expect(try await client.log("long", node: "long") == "survived\n")
        let sessions = LogTail.of(federation.log("agent-one"), lines: 10_000).components(separatedBy: "established")
          .count
        #expect(sessions == 2, "the session was dropped")

        // What was learned is kept: both start again, and find each other by the new CA.
        _ = try await federation.agent("one").end()
        _ = try await federation.controlPlane(0).end()
        try federation.startControlPlane(0)
        try federation.startAgent("one")
        try await federation.awaitReady()
        try await federation.awaitAgents()
        let audit = try await federation.query("SELECT action FROM audit WHERE action LIKE 'ca.%' ORDER BY seq").rows
          .map { try $0.text(0) }
        #expect(audit == ["ca.stage", "ca.promote", "ca.retire"])
      }
    }

    @Test("a cluster that is away when the CA is replaced is named, and promotion waits for it")
    func away() async throws {
      try await Federation.with { federation in
        _ = try await federation.agent("one").end()
        let staged = try await federation.controlPlaneCommand(["ca", "stage"])
        try #require(staged.code == 0, "\(staged.output)")
        let refused = try await federation.controlPlaneCommand(["ca", "promote"])
        #expect(refused.code != 0 && refused.output.contains("one") && refused.output.contains("--force"))
        try federation.startAgent("one")
        try await Self.untilDone(federation, ["ca", "promote"])
        let again = try await federation.controlPlaneCommand(["ca", "stage"])
        #expect(again.code == 0, "a further one may follow: \(again.output)")
        let taken = try await federation.controlPlaneCommand(["ca", "retire", "--staged"])
        #expect(taken.code == 0, "\(taken.output)")
      }
    }

    @Test("an operator's own CA by file signs agents, and is replaced by replacing its files")
    func operatorsFiles() async throws {
      let directory = "/tmp/fubini-ca-\(UInt32.random(in: 0 ... .max))"
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
      defer { try? FileManager.default.removeItem(atPath: directory) }
      for name in ["a", "b"] { try await Self.makeAuthority(name, in: directory) }
      @Sendable func install(_ name: String, bundle: [String]) throws {
        var pem = ""
        for other in bundle { pem += try String(contentsOfFile: "\(directory)/\(other).crt", encoding: .utf8) }
        try pem.write(toFile: "\(directory)/bundle.pem", atomically: true, encoding: .utf8)
        for kind in ["crt", "key"] {
          let text = try String(contentsOfFile: "\(directory)/\(name).\(kind)", encoding: .utf8)
          try text.write(toFile: "\(directory)/ca.\(kind)", atomically: true, encoding: .utf8)
        }
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: directory + "/ca.key")
      }
      try install("a", bundle: [])
      var options = FederationOptions()
      options.federationKeys =
        ", ca: {certificate: \(directory)/ca.crt, key: \(directory)/ca.key, bundle: \(directory)/bundle.pem}"
      try await Federation.with(options) { federation in
        let own = try await federation.controlPlaneCommand(["ca", "stage"])
        #expect(own.code != 0 && own.output.contains("bundle.pem"), "\(own.output)")
        try install("a", bundle: ["b"])
        try await poll("the agent trusts the next CA", timeout: .seconds(30)) {
          try Self.trusted(by: "one", federation).count == 2
        }
        try install("b", bundle: ["a"])
        try await poll("the agent has a certificate of the next CA", timeout: .seconds(30)) {
          let shown = try await federation.controlPlaneCommand(["ca", "show"])
          return shown.code == 0 && shown.output.contains("CN=b") && !shown.output.contains("still has")
        }
        try install("b", bundle: [])
        try await poll("the agent trusts the next CA alone", timeout: .seconds(30)) {
          try Self.trusted(by: "one", federation).count == 1
        }
        #expect(try await federation.client().cluster("one").live?.isConnected == true)
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: directory + "/ca.key")
        let open = try await federation.controlPlaneCommand(["ca", "show"])
        #expect(open.code != 0 && open.output.contains("chmod 600"), "\(open.output)")
      }
    }

    /// The CA certificates that an agent has kept.
    static func trusted(by name: String, _ federation: Federation) throws -> [String] {
      let pem = try String(contentsOfFile: federation.agentState(name) + "/identity/ca.pem", encoding: .utf8)
      return pem.components(separatedBy: "-----END CERTIFICATE-----").dropLast().map { String($0) }
    }

    /// Repeats a step that refuses to leave a cluster behind until it does not.
    static func untilDone(_ federation: Federation, _ words: [String]) async throws {
      var output = ""
      try await poll("\(words) succeeds; it said \(output)", timeout: .seconds(40)) {
        let answer = try await federation.controlPlaneCommand(words)
        output = answer.output
        guard answer.code != 0 else { return true }
        guard output.contains("one") else { throw HarnessError("\(words) is refused for another reason: \(output)") }
        return false
      }
    }

    /// A P-256 CA as an operator makes it.
    static func makeAuthority(_ name: String, in directory: String) async throws {
      let base = "\(directory)/\(name)"
      let commands = [
        ["ecparam", "-name", "prime256v1", "-genkey", "-out", "\(base).key"],
        [
          "req", "-x509", "-new", "-key", "\(base).key", "-sha256", "-days", "30", "-subj", "/CN=\(name)", "-out",
          "\(base).crt", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0", "-addext",
          "keyUsage=critical,keyCertSign,cRLSign",
        ],
      ]
      for words in commands {
        let code = try await OwnedProcess.run(["/usr/bin/openssl"] + words, log: "\(base).log")
        guard code == 0 else { throw HarnessError("openssl \(words[0]): \(LogTail.of("\(base).log"))") }
      }
    }
  }
}
