import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

extension Integration {
  @Suite("End to end: output that is large or no text", .timeLimit(.minutes(5)))
  struct OutputTests {
    /// All 256 bytes, a NUL, halves of characters, and a character that the log's end cuts off.
    static let octal = (0...255).map { "\\0\(String($0 + 512, radix: 8).dropFirst())" }.joined()
    static var bytes: Data { Data(0...255) + Data("\u{e9}\n".utf8) + Data([0xff, 0x00, 0x0a, 0xe2, 0x82]) }
    static let printing = "printf %b '\(octal)\\0303\\0251\\n\\0377\\0000\\n\\0342\\0202'"

    @Test("binary output comes back byte by byte through `fubini logs` and REST, and streams stay valid JSON")
    func binaryLogs() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        _ = try await client.submit(Integration.shell(Self.printing, name: "binary"))
        let detail = try await client.finished("binary")
        try #require(detail.summary.phase == .succeeded, "\(detail.nodes.first?.message ?? "")")

        let path = "/v1/projects/default/workflows/binary/logs?node=binary"
        let plain = try await client.send("GET", path)
        #expect(plain.status == 200 && plain.body == Self.bytes, "\(plain.body.map { $0 })")
        for arguments in [["logs", "binary/binary"], ["logs", "-f", "binary/binary"]] {
          let (code, output) = try await federation.fubiniBytes(arguments)
          #expect(code == 0 && output == Self.bytes, "\(arguments): \(output.map { $0 })")
        }
        let stream = try await client.send("GET", path, headers: ["Accept": "text/event-stream"])
        let events = try Self.events(stream.body)
        #expect(events.last?.name == "end" && events.count >= 2)
        var joined = Data()
        for event in events.dropLast() {
          let document = try JSONDecoder().decode(LogDocument.self, from: event.data)
          joined += document.base64.flatMap { Data(base64Encoded: $0) } ?? Data(document.content.utf8)
        }
        #expect(joined == Self.bytes)

        // Argo's shape: one JSON object a line.
        let argo = try await client.send(
          "GET", "/api/v1/workflows/default/binary/log?logOptions.container=main&logOptions.follow=false")
        #expect(argo.status == 200 && !argo.body.isEmpty, "\(argo.status)")
        for line in argo.body.split(separator: UInt8(ascii: "\n"))
        where line.starts(with: Data("data: ".utf8)) || line.first == 0x7b {
          let json = line.first == 0x7b ? line : line.dropFirst(6)
          #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(json)) }
        }
      }
    }

    static func events(_ body: Data) throws -> [(name: String, data: Data)] {
      let text = try #require(String(validating: body, as: UTF8.self), "a stream of events is UTF-8")
      return text.components(separatedBy: "\n\n").compactMap { block in
        let lines = block.split(separator: "\n")
        guard let name = lines.first(where: { $0.hasPrefix("event: ") })?.dropFirst(7),
          let data = lines.first(where: { $0.hasPrefix("data: ") })?.dropFirst(6)
        else { return nil }
        return (String(name), Data(data.utf8))
      }
    }

    @Test("what a program writes under a relative name is the output below /, as where an image begins there")
    func relativeNames() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        func document(_ name: String, _ directory: String) -> String {
          """
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: \(name)}
          spec:
            entrypoint: main
            templates:
            - name: main
              steps:
              - - {name: make, template: make}
              - - {name: read, template: read, arguments: {artifacts: [{name: made, from: "{{steps.make.outputs.artifacts.made}}"}]}}
            - name: make
              script: {image: any, command: [sh], \(directory)source: "echo there > result.txt; echo 7 > number"}
              outputs:
                artifacts: [{name: made, path: /result.txt}]
                parameters: [{name: number, valueFrom: {path: /number}}]
            - name: read
              inputs: {artifacts: [{name: made, path: /tmp/in}]}
              container: {image: any, command: [cat, /tmp/in]}
          """
        }
        _ = try await client.submit(document("relative", ""))
        let detail = try await client.finished("relative")
        try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message))")
        #expect(detail.nodes.first { $0.displayName == "make" }?.outputs.parameters.first?.value == "7")
        #expect(try await client.log("relative", node: "relative[1].read") == "there\n")
        // An author who chose the directory is taken at his word.
        _ = try await client.submit(document("chosen", "workingDir: /tmp, "))
        let chosen = try await client.finished("chosen")
        #expect(chosen.summary.phase == .failed)
        #expect(
          chosen.nodes.contains { $0.message.contains("/number does not exist") || $0.message.contains("/result.txt") })
      }
    }

    @Test("a result and a parameter with NUL and bytes that are no text: U+FFFD for each, told and passed on the same")
    func binaryResults() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        let document = """
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: values}
          spec:
            entrypoint: main
            templates:
            - name: main
              steps:
              - - {name: make, template: make}
              - - name: read
                  template: read
                  arguments:
                    parameters:
                    - {name: result, value: "{{steps.make.outputs.result}}"}
                    - {name: file, value: "{{steps.make.outputs.parameters.file}}"}
            - name: make
              script:
                image: debian:12
                command: [sh]
                source: |
                  printf %b 'a\\0000b\\0377c\\n' | tee /tmp/file
              outputs: {parameters: [{name: file, valueFrom: {path: /tmp/file}}]}
            - name: read
              inputs: {parameters: [{name: result}, {name: file}]}
              container:
                image: debian:12
                command: [printf, "%s|%s"]
                args: ["{{inputs.parameters.result}}", "{{inputs.parameters.file}}"]
          """
        _ = try await client.submit(document)
        let detail = try await client.finished("values")
        let messages = detail.nodes.map { "\($0.displayName): \($0.phase.rawValue) \($0.message)" }
        try #require(detail.summary.phase == .succeeded, "\(messages)")
        let make = try #require(detail.nodes.first { $0.displayName == "make" })
        let expected = "a\u{fffd}b\u{fffd}c"
        #expect(make.outputs.result == expected)
        #expect(make.outputs.parameters.first { $0.name == "file" }?.value == expected)
        let read = try #require(detail.nodes.first { $0.displayName == "read" })
        #expect(try await client.log("values", node: read.name) == "\(expected)|\(expected)")
      }
    }

    @Test("a log above its limit is cut and marked; a result keeps its end; a parameter above its limit is an error")
    func limits() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        let limit = 64 << 20
        _ = try await client.submit(
          Integration.shell("head -c \(limit + 1000) /dev/zero | tr '\\0' x; exit 3", name: "loud"))
        let loud = try #require(try await client.finished("loud", timeout: .seconds(120)).nodes.first)
        #expect(loud.phase == .failed && loud.exitCode == 3, "the program was not held up: \(loud.message)")
        // Followed, because what is not asked to its end is answered with what is there.
        let path = "/v1/projects/default/workflows/loud/logs?node=loud&follow=true"
        let log = try await client.send("GET", path, timeout: .seconds(60)).body
        let mark = "\n[fubini: 1000 bytes of output beyond the limit were dropped]\n"
        #expect(log.count == limit + mark.utf8.count && log.suffix(mark.utf8.count) == Data(mark.utf8), "\(log.count)")

        let document = """
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: wide}
          spec:
            entrypoint: main
            templates:
            - name: main
              steps:
              - - {name: result, template: result}
              - - name: use
                  template: use
                  arguments: {parameters: [{name: r, value: "{{steps.result.outputs.result}}"}]}
              - - {name: parameter, template: parameter}
            - name: result
              script: {image: i, command: [sh], source: "seq 1 100000"}
            - name: use
              inputs: {parameters: [{name: r}]}
              script: {image: i, command: [sh], source: "echo used"}
            - name: parameter
              script: {image: i, command: [sh], source: "head -c 300000 /dev/zero > /tmp/p"}
              outputs: {parameters: [{name: p, valueFrom: {path: /tmp/p}}]}
          """
        _ = try await client.submit(document)
        let detail = try await client.finished("wide")
        let result = try #require(detail.nodes.first { $0.displayName == "result" })
        let text = try #require(result.outputs.result)
        #expect(text.utf8.count == 256 << 10 && text.hasSuffix("\n100000"))
        let parameter = try #require(detail.nodes.first { $0.displayName == "parameter" })
        #expect(parameter.phase == .error, "\(parameter.message)")
        #expect(parameter.message.contains("at most 256 KiB") && parameter.message.contains("use an artifact"))
      }
    }
  }
}
