import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import TestSupport
import Testing

extension Integration {
  @Suite("End to end: git repositories as artifacts", .timeLimit(.minutes(6)))
  struct GitArtifactTests {
    private static func workflow(_ name: String, _ git: String, _ script: String) -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        templates:
        - name: main
          inputs:
            artifacts:
            - {name: source, path: /tmp/source, git: {\(git)}}
          container: {image: debian:12, command: [sh, -c], args: ['\(script)'], workingDir: /tmp}
      """
    }

    private static func log(_ name: String, _ document: String, _ federation: Federation) async throws -> String {
      let client = try federation.client()
      _ = try await client.submit(document)
      let detail = try await client.finished(name, timeout: .seconds(90))
      try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message)) \(federation.logs())")
      var log = ""
      try await poll("\(name) has said something", timeout: .seconds(30)) {
        log = try await client.log(name, node: name)
        return !log.isEmpty
      }
      return log
    }

    private static func requests(_ git: GitService.Served) -> Int {
      (try? String(contentsOfFile: git.log, encoding: .utf8))?.split(separator: "\n").count ?? 0
    }

    @Test(
      "A revision, a tag, a branch and what is newest are checked out, with history, submodules and modes, once for all"
    )
    func revisions() async throws {
      try await GitService.with(password: nil) { git in
        var options = FederationOptions()
        options.agents = [.init("one"), .init("two")]
        try await Federation.with(options) { federation in
          let repo = "repo: \"\(git.url)/tool.git\""
          for (name, fields, said) in [
            ("newest", repo, "two\n"), ("tagged", "\(repo), revision: v1", "one\n"),
            ("commit", "\(repo), revision: \(git.first)", "one\n"),
            ("side", "\(repo), branch: side, singleBranch: true, depth: 1", "side\n"),
            ("shallow", "\(repo), depth: 1, revision: \(git.first)", "one\n"),
            (
              "fetched",
              "\(repo), branch: side, singleBranch: true, fetch: [\"refs/heads/main:refs/heads/other\"], revision: other",
              "two\n"
            ),
          ] {
            let text = try await Self.log(
              name, Self.workflow(name, fields, "cat source/VERSION; sh -c source/run.sh"), federation)
            #expect(text == said + "ran\n", "\(name)")
          }
          let history = "git -C source log --format=%s; git -C source status --porcelain; cat source/lib/lib.txt"
          #expect(
            try await Self.log("history", Self.workflow("history", repo, history), federation) == "two\none\nlibrary\n")
          let bare = "\(repo), disableSubmodules: true"
          #expect(try await Self.log("bare", Self.workflow("bare", bare, "ls source/lib | wc -l"), federation) == "0\n")
          // A whole hash says what is there: nobody is asked again, wherever the next run is.
          let before = Self.requests(git)
          let again = Self.workflow("again", "\(repo), revision: \(git.first)", "cat source/VERSION")
          #expect(try await Self.log("again", again, federation) == "one\n")
          #expect(Self.requests(git) == before)
        }
      }
    }

    @Test(
      "A password opens a repository, and is nowhere but in the secret (I9); without it the node ends in Error with git's words"
    )
    func credentials() async throws {
      let canary = "canary-\(UInt64.random(in: .min ... .max))"
      try await GitService.with(password: canary) { git in
        try await Federation.with { federation in
          for (key, text) in [("user", GitService.user), ("password", canary)] {
            try text.write(toFile: federation.path("git-\(key)"), atomically: true, encoding: .utf8)
          }
          let files = ["user", "password"].flatMap { ["--file", "\($0)=\(federation.path("git-\($0)"))"] }
          let (code, output) = try await federation.fubini(["secret", "set", "git"] + files)
          try #require(code == 0, "\(output)")
          let fields =
            "repo: \"\(git.url)/tool.git\", usernameSecret: {name: git, key: user}, passwordSecret: {name: git, key: password}"
          let open = Self.workflow("open", fields, "cat source/VERSION source/lib/lib.txt; cat source/.git/config")
          let text = try await Self.log("open", open, federation)
          #expect(text.hasPrefix("two\nlibrary\n"))
          let holders = try await federation.holders(of: canary)
          #expect(holders == [federation.path("git-password")], "\(holders)")
          let encoded = Data("\(GitService.user):\(canary)".utf8).base64EncodedString()
          #expect(try await federation.holders(of: encoded) == [])

          let client = try federation.client()
          _ = try await client.submit(Self.workflow("shut", "repo: \"\(git.url)/tool.git\"", "true"))
          let detail = try await client.finished("shut", timeout: .seconds(60))
          #expect(detail.summary.phase == .error)
          #expect(
            detail.nodes.contains {
              $0.message.contains("tool.git") && $0.message.contains("Authentication failed")
                || $0.message.contains("could not read Username")
            }, "\(detail.nodes.map(\.message))")
        }
      }
    }
  }
}
