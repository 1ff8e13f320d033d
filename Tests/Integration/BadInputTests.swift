import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Postgres
import Testing

extension Integration {
  @Suite("End to end: bad input gets a clear error and nothing is lost", .timeLimit(.minutes(5)))
  struct BadInputTests {
    /// One document, and what its author must be told.
    struct Refusal: Sendable, CustomTestStringConvertible {
      var name: String
      var document: String
      /// In the message of one problem.
      var message: String
      /// Of that problem; nil where the document as a whole is refused.
      var line: Int?
      var path = ""
      var suggestion: String?
      var testDescription: String { name }
    }

    static let refusals: [Refusal] = [
      Refusal(
        name: "malformed", document: "kind: Workflow\nspec:\n  templates: [a\n", message: "not readable as YAML",
        line: 4),
      Refusal(
        name: "deeply nested",
        document: "kind: Workflow\nspec: " + String(repeating: "[", count: 10_000), message: "nested deeper than 64",
        line: 2),
      Refusal(
        name: "an alias bomb",
        document: "a0: &a0 [x]\n"
          + (1...9).map {
            "a\($0): &a\($0) [" + Array(repeating: "*a\($0 - 1)", count: 9).joined(separator: ",") + "]\n"
          }
          .joined(), message: "more than 500000 values", line: 7),
      Refusal(
        name: "an unknown field", document: main("container: {image: i, comand: [true]}"), message: "unknown field",
        line: 7, path: "spec.templates[0].container.comand", suggestion: "command"),
      Refusal(
        name: "a cycle in a dag",
        document: main(
          "dag: {tasks: [{name: a, template: leaf, depends: b}, {name: b, template: leaf, depends: a}]}"),
        message: "cycle", line: 7),
      Refusal(
        name: "a missing template", document: main("steps: [[{name: a, template: leef}]]"), message: "leef", line: 7,
        path: "spec.templates[0].steps[0][0].template", suggestion: "leaf"),
      Refusal(
        name: "an unresolvable tag",
        document: main("container: {image: i, args: [\"{{inputs.parameters.nothing}}\"]}"),
        message: "inputs.parameters.nothing", line: 7),
      Refusal(
        name: "a text with NUL", document: main("container: {image: i, args: [\"a\\0b\"]}"), message: "NUL", line: 7),
    ]

    static func main(_ template: String) -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: bad}
      spec:
        entrypoint: main
        templates:
        - {name: main, \(template)}
        - {name: leaf, container: {image: i, command: ["true"]}}
      """
    }

    @Test("each bad document is refused by REST and by the command line with its place, and nothing is stored")
    func documents() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        for refusal in Self.refusals {
          let failure = await #expect(throws: RESTFailure.self, "\(refusal.name)") {
            try await client.submit(refusal.document)
          }
          #expect(
            failure?.status == 400 && failure?.document?.reason == .invalidArgument, "\(refusal.name): \(failure!)")
          let problems = failure?.document?.problems ?? []
          let problem = problems.first { $0.message.contains(refusal.message) && $0.path.hasPrefix(refusal.path) }
          #expect(problem != nil && problem?.line == refusal.line, "\(refusal.name): \(problems)")
          #expect(problem?.suggestion == refusal.suggestion, "\(refusal.name): \(problems)")

          let file = federation.path("\(refusal.name).yaml")
          try refusal.document.write(toFile: file, atomically: true, encoding: .utf8)
          let (code, output) = try await federation.fubini(["submit", "-f", file])
          #expect(code == 2, "\(refusal.name): \(output)")
          let place = "\(file):\(refusal.line ?? 0):"
          #expect(output.contains(place) && output.contains(refusal.message), "\(refusal.name): \(output)")
          if let suggestion = refusal.suggestion {
            #expect(output.contains("did you mean \"\(suggestion)\"?"), "\(refusal.name): \(output)")
          }
        }
        #expect(try await federation.query("SELECT count(*) FROM workflows")[0].int(0) == 0)
        #expect(try await client.get("/v1/version", as: VersionDocument.self).isLeader, "it still serves")
      }
    }

    @Test("a document of just 2 MiB is taken, one byte more is refused, by REST and by the command line")
    func huge() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        let limit = 2 << 20
        // Quotes and line ends, because the command line wraps the document in JSON, where both grow.
        func document(_ name: String, bytes: Int) -> String {
          let text = Integration.shell("true", name: name) + "\n"
          let line = "# \"\"\"\"\"\"\"\"\"\"\"\"\"\n"
          let rest = bytes - text.utf8.count
          return text + String(repeating: line, count: rest / line.utf8.count)
            + String(repeating: "#", count: rest % line.utf8.count)
        }
        #expect(document("large-rest", bytes: limit).utf8.count == limit)
        _ = try await client.submit(document("large-rest", bytes: limit))
        let failure = await #expect(throws: RESTFailure.self) {
          try await client.submit(document("too-large", bytes: limit + 1))
        }
        #expect(failure?.status == 400 && failure?.text.contains("2 MiB") == true, "\(failure!)")

        let file = federation.path("large.yaml")
        try document("large-cli", bytes: limit).write(toFile: file, atomically: true, encoding: .utf8)
        let taken = try await federation.fubini(["submit", "-f", file, "--name-only"])
        #expect(taken.code == 0 && taken.output == "large-cli\n", "\(taken.output.suffix(500))")
        try document("too-large", bytes: limit + 1).write(toFile: file, atomically: true, encoding: .utf8)
        let refused = try await federation.fubini(["submit", "-f", file])
        #expect(refused.code == 2 && refused.output.contains("larger than 2 MiB"), "\(refused.output.suffix(500))")
        for name in ["large-rest", "large-cli"] {
          #expect(try await client.finished(name).summary.phase == .succeeded)
        }
      }
    }

    @Test("an unknown field passes with --strict=false and with ?strict=false, and the workflow runs")
    func lenient() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        let document = Integration.shell("echo ran", name: "lenient").replacing(
          "image:", with: "imagePullPolcy: x\n      image:")
        let file = federation.path("lenient.yaml")
        try document.write(toFile: file, atomically: true, encoding: .utf8)
        let strict = try await federation.fubini(["submit", "-f", file])
        #expect(strict.code == 2 && strict.output.contains("did you mean \"imagePullPolicy\"?"), "\(strict.output)")
        let taken = try await federation.fubini(["submit", "-f", file, "--strict=false", "--wait"])
        #expect(taken.code == 0, "\(taken.output)")
        let answer = try await client.send(
          "POST", "/v1/projects/default/workflows?strict=false",
          body: Data(document.replacing("name: lenient", with: "name: lenient-rest").utf8),
          contentType: "application/yaml")
        #expect(answer.status == 201, "\(answer.text)")
        #expect(try await client.finished("lenient-rest").summary.phase == .succeeded)
      }
    }

    @Test("a template that calls itself without end is stopped at the depth limit, and the workflow says so")
    func recursion() async throws {
      try await Federation.with { federation in
        let file = federation.path("recursion.yaml")
        try Self.main("steps: [[{name: again, template: main}]]").write(
          toFile: file, atomically: true, encoding: .utf8)
        let (code, output) = try await federation.fubini(["submit", "-f", file, "--wait"])
        #expect(code == 6, "\(output)")
        let detail = try await federation.client().workflow("bad")
        #expect(detail.summary.phase == .error || detail.summary.phase == .failed)
        let stopped = detail.nodes.filter { $0.message.hasPrefix("Maximum recursion depth exceeded") }
        #expect(stopped.count == 1 && detail.nodes.count < 1000, "\(detail.nodes.count) nodes")
        let shown = try await federation.fubini(["get", "bad"])
        #expect(shown.output.contains("Maximum recursion depth exceeded"), "\(shown.output.suffix(1000))")
      }
    }

    @Test("a wrong token: 401 with the reason, and the command line says what to set")
    func token() async throws {
      try await Federation.with { federation in
        var client = try federation.client()
        for token in ["wrong", String(try federation.adminToken().dropLast(1)), "", nil] {
          client.token = token
          let answer = try await client.send("GET", "/v1/projects/default/workflows")
          let document = try JSONDecoder().decode(ErrorDocument.self, from: answer.body)
          #expect(answer.status == 401 && document.reason == .unauthenticated, "\(token ?? "none"): \(answer.text)")
        }
        let (code, output) = try await federation.fubini(["list"], environment: ["FUBINI_TOKEN": "wrong"])
        #expect(code == 1 && output.contains("Set FUBINI_TOKEN"), "\(output)")
        #expect(!output.contains(try federation.adminToken()))
      }
    }

    @Test("a command that does not exist, and a program that is killed: the node says what happened")
    func commands() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        let missing = Integration.shell("true", name: "missing").replacing(
          "command: [sh, -c]", with: "command: [/usr/bin/no-such-program]")
        _ = try await client.submit(missing)
        let node = try #require(try await client.finished("missing").nodes.first)
        #expect(node.phase == .error || node.phase == .failed)
        #expect(node.message.contains("no-such-program"), "\(node.phase): \(node.message)")

        // Killed from outside, as the out-of-memory killer would.
        let mark = federation.shared + "/killed"
        _ = try await client.submit(Integration.shell("sleep 600 # \(mark)\ntrue", name: "killed"))
        try await federation.node("killed", "killed", is: ["Running"])
        var victims: [OwnedProcess] = []
        try await poll("its shell is there", timeout: .seconds(10)) {
          victims = OwnedProcess.all(withCommandLineContaining: mark).filter { $0.words.first == "sh" }.map(\.process)
          return !victims.isEmpty
        }
        for victim in victims { victim.signal(SIGKILL) }
        let killed = try #require(try await client.finished("killed").nodes.first)
        #expect(killed.phase == .failed && killed.exitCode == 137, "\(killed.phase): \(killed.message)")
        #expect(killed.message.contains("137") || killed.message.lowercased().contains("kill"), "\(killed.message)")
        let got = try await federation.fubini(["get", "killed"])
        #expect(got.code == 0 && got.output.contains(killed.message), "\(got.output)")
        #expect(try await federation.query("SELECT count(*) FROM runs")[0].int(0) == 2, "neither ran twice")
      }
    }
  }
}
