import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Postgres
import Testing

extension Integration {
  @Suite("End to end: workflows through the command line and REST", .timeLimit(.minutes(5)))
  struct EndToEndTests {
    @Test("hello: submitted by the command line, run in a sandbox over mTLS, its log read back by both ways in")
    func hello() async throws {
      try await Federation.with { federation in
        let file = Integration.repositoryFile("examples/hello.yaml")
        let submitted = try await federation.fubini(["submit", "-f", file, "-p", "whom=Guido", "--name-only"])
        try #require(submitted.code == 0, "\(submitted.output)")
        let name = submitted.output.trimmingCharacters(in: .whitespacesAndNewlines)
        let client = try federation.client()
        let detail = try await client.finished(name)
        #expect(detail.summary.phase == .succeeded, "\(detail.summary.message)")
        let node = try #require(detail.nodes.first)
        #expect(node.exitCode == 0 && node.run?.cluster == "one" && node.run?.runsAs == "host" && node.run?.epoch == 1)
        #expect(try await client.log(name, node: node.name) == "hello Guido\n")
        let logs = try await federation.fubini(["logs", name])
        #expect(logs.code == 0 && logs.output.contains("hello Guido"), "\(logs.output)")
        let got = try await federation.fubini(["get", name, "-o", "json"])
        #expect(got.code == 0 && got.output.contains("\"Succeeded\""), "\(got.output)")
      }
    }

    @Test("a name that an ended workflow holds is refused as a conflict, a repetition is answered, and no session ends")
    func nameTaken() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        let first = try await client.submit(Integration.shell("true", name: "taken"), key: "first")
        #expect(try await client.finished("taken").summary.phase == .succeeded)
        let term = try await federation.query("SELECT term FROM leadership")[0].int(0)
        for key in ["second", nil] {
          await #expect { _ = try await client.submit(Integration.shell("true", name: "taken"), key: key) } throws: {
            "\($0)".contains("exists already")
          }
        }
        let again = try await client.submit(Integration.shell("true", name: "taken"), key: "first")
        #expect(again.uid == first.uid)
        #expect(try await federation.query("SELECT term FROM leadership")[0].int(0) == term)
        _ = try await client.submit(Integration.shell("true", name: "next"))
        #expect(try await client.finished("next").summary.phase == .succeeded)
      }
    }

    @Test("a fan-out over two clusters moves its artifacts, and their bytes arrive as they were made")
    func artifacts() async throws {
      var options = FederationOptions()
      options.agents = [
        .init("east", labels: ["side": "east"], coreHour: 100), .init("west", labels: ["side": "west"], coreHour: 100),
      ]
      try await Federation.with(options) { federation in
        let client = try federation.client()
        let name = try await client.submit(Self.fanOut).name
        let detail = try await client.finished(name)
        let message = detail.nodes.map { "\($0.displayName): \($0.phase.rawValue) \($0.message)" }
        try #require(detail.summary.phase == .succeeded, "\(message)")
        let makers = detail.nodes.filter { $0.templateName == "make" && $0.type == "Pod" }
        let readers = detail.nodes.filter { $0.templateName == "read" && $0.type == "Pod" }
        #expect(makers.count == 1 && makers.allSatisfy { $0.run?.cluster == "east" })
        #expect(readers.count == 4 && readers.allSatisfy { $0.run?.cluster == "west" })
        // The checksum of what the first printed, made again from what the others were given.
        let made = try await client.log(name, node: try #require(makers.first).name)
        #expect(made.count > 64)
        for reader in readers { #expect(try await client.log(name, node: reader.name) == made) }
        // One of them fetched it; the others found it in the cluster's cache.
        #expect(readers.contains { ($0.run?.bytesIn ?? 0) > 0 }, "no reader on the other cluster moved a byte")
      }
    }

    /// One task makes a file, the next one reads it.
    static let roundTrip = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: round-trip}
      spec:
        entrypoint: main
        templates:
        - name: main
          steps:
          - - {name: make, template: make}
          - - name: read
              template: read
              arguments: {artifacts: [{name: file, from: "{{steps.make.outputs.artifacts.file}}"}]}
        - name: make
          container: {image: "debian:12", command: [sh, -c], args: ["sleep 2; seq 1 1000 >/tmp/file"]}
          outputs: {artifacts: [{name: file, path: /tmp/file}]}
        - name: read
          inputs: {artifacts: [{name: file, path: /tmp/file}]}
          container: {image: "debian:12", command: [sh, -c], args: ["test $(wc -l </tmp/file) = 1000"]}
      """

    /// One task on `east` makes a file; four on `west` read it.
    static let fanOut = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: fan-out}
      spec:
        entrypoint: main
        templates:
        - name: main
          dag:
            tasks:
            - {name: make, template: make}
            - name: read
              template: read
              depends: make
              withSequence: {count: "4"}
              arguments: {artifacts: [{name: numbers, from: "{{tasks.make.outputs.artifacts.numbers}}"}]}
        - name: make
          federation: {clusters: {labels: {side: east}}}
          script:
            image: debian:12
            command: [sh]
            source: seq 1 200000 > /tmp/numbers; sha256sum < /tmp/numbers
          outputs: {artifacts: [{name: numbers, path: /tmp/numbers}]}
        - name: read
          federation: {clusters: {labels: {side: west}}}
          inputs: {artifacts: [{name: numbers, path: /tmp/in}]}
          script: {image: debian:12, command: [sh], source: sha256sum < /tmp/in}
      """

    @Test("retry: two failures and a success, each attempt with a log of its own")
    func retries() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        let name = try await client.submit(try Integration.example("retry.yaml")).name
        let detail = try await client.finished(name)
        #expect(detail.summary.phase == .succeeded)
        let attempts = detail.nodes.filter { $0.type == "Pod" }
        #expect(attempts.map(\.phase) == [.failed, .failed, .succeeded])
        #expect(attempts.map(\.exitCode) == [1, 1, 0])
        for (number, attempt) in attempts.enumerated() {
          #expect(try await client.log(name, node: attempt.name) == "attempt \(number)\n")
        }
      }
    }

    @Test("suspend waits for a person, and `fubini resume` lets it go on")
    func suspend() async throws {
      try await Federation.with { federation in
        let file = Integration.repositoryFile("examples/suspend.yaml")
        let name = try await federation.fubini(["submit", "-f", file, "--name-only"]).output
          .trimmingCharacters(in: .whitespacesAndNewlines)
        try await federation.node(name, "approve", is: ["Running"])
        let resumed = try await federation.fubini(["resume", name])
        try #require(resumed.code == 0, "\(resumed.output)")
        let detail = try await federation.client().finished(name)
        #expect(detail.summary.phase == .succeeded)
        #expect(detail.nodes.contains { $0.displayName == "after" && $0.phase == .succeeded })
      }
    }

    @Test("a failed workflow runs its exit handler, and `submit --wait` ends with 6")
    func exitHandler() async throws {
      try await Federation.with { federation in
        let file = Integration.repositoryFile("examples/exit-handler.yaml")
        let submitted = try await federation.fubini(["submit", "-f", file, "--wait"])
        #expect(submitted.code == 6, "\(submitted.output)")
        let detail = try await federation.client().workflow("@latest")
        #expect(detail.summary.phase == .failed)
        let handler = try #require(detail.nodes.first { $0.templateName == "tell" })
        #expect(
          try await federation.client().log(detail.summary.name, node: handler.name) == "the workflow ended as Failed\n"
        )
      }
    }

    @Test("a document with mistakes is refused with every place, and nothing is stored")
    func refused() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        let bad = try Integration.example("hello.yaml").replacing("entrypoint: hello", with: "entrypont: hello")
        let failure = await #expect(throws: RESTFailure.self) { try await client.submit(bad) }
        #expect(failure?.status == 400)
        let problems = failure?.document?.problems ?? []
        #expect(problems.contains { $0.suggestion == "entrypoint" && $0.line != nil }, "\(problems)")
        #expect(try await federation.query("SELECT count(*) FROM workflows")[0].int(0) == 0)
      }
    }
  }
}
