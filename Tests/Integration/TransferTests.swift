import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

extension Integration {
  @Suite("End to end: large artifacts between two clusters", .timeLimit(.minutes(10)))
  struct TransferTests {
    static let mebibyte: Int64 = 1 << 20

    /// Files of random bytes, made on `east` and read on `west`, each by a task of its own. Makers and readers print checksums.
    static func document(mebibytes: Int64, files: Int = 1) -> String {
      let readers = (0..<files).map {
        #"- {name: read\#($0), template: read, depends: make, arguments: "#
          + #"{artifacts: [{name: big, from: "{{tasks.make.outputs.artifacts.big\#($0)}}"}]}}"#
      }
      let outputs = (0..<files).map { "{name: big\($0), path: /tmp/big\($0), archive: {none: {}}}" }
      let numbers = (0..<files).map(String.init).joined(separator: " ")
      let making =
        "for n in \(numbers); do head -c \(mebibytes << 20) /dev/urandom >/tmp/big$n && sha256sum </tmp/big$n; done"
      return """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: large}
        spec:
          entrypoint: main
          templates:
          - name: main
            dag:
              tasks:
              - {name: make, template: make}
              \(readers.joined(separator: "\n      "))
          - name: make
            nodeSelector: {side: east}
            container: {image: debian:12, command: [sh, -c], args: ["\(making)"]}
            outputs: {artifacts: [\(outputs.joined(separator: ", "))]}
          - name: read
            nodeSelector: {side: west}
            inputs: {artifacts: [{name: big, path: /tmp/big}]}
            container: {image: debian:12, command: [sh, -c], args: ["sha256sum </tmp/big"]}
        """
    }

    /// Two agents, each behind a proxy of its own.
    static func withTwo(
      keys: [String: String] = [:],
      _ body: @Sendable (Federation, _ east: CuttingProxy, _ west: CuttingProxy) async throws -> Void
    ) async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        var proxies: [CuttingProxy] = []
        for name in ["east", "west"] {
          let proxy = try await CuttingProxy(to: federation.replicas[0].gatewayPort)
          var agent = FederationOptions.Agent(name, slots: 8, labels: ["side": name])
          agent.keys = keys.merging(["controlPlane": "[\"127.0.0.1:\(proxy.port)\"]"]) { $1 }
          try await federation.join(agent)
          try federation.startAgent(name)
          proxies.append(proxy)
        }
        for name in ["east", "west"] { try await federation.connected(name) }
        try await body(federation, proxies[0], proxies[1])
        for proxy in proxies { await proxy.close() }
      }
    }

    @Test("an agent that receives eight large files at once uses at most 32 MiB more than idle")
    func memory() async throws {
      try await Self.withTwo { federation, _, _ in
        let agent = try federation.agent("west")
        let idle = try #require(agent.anonymousMemory())
        let client = try federation.client()
        _ = try await client.submit(Self.document(mebibytes: 48, files: 8))
        let watch = Task {
          var most: Int64 = 0
          while !Task.isCancelled {
            most = max(most, agent.anonymousMemory() ?? 0)
            try? await Task.sleep(for: .milliseconds(5))
          }
          return most
        }
        let detail = try await client.finished("large", timeout: .seconds(400))
        watch.cancel()
        let most = await watch.value
        try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message))")
        print("anonymous memory of the receiving agent: \(idle >> 10) KiB idle, \(most >> 10) KiB at most")
        #expect(most - idle <= 32 * Self.mebibyte)
      }
    }

    @Test(
      "I4: an upload and a download go on after cut connections: of 256 MiB no more than 1.3 times go over each link")
    func resumed() async throws {
      let size = 256 * Self.mebibyte
      try await Self.withTwo { federation, east, west in
        let (sent, received) = (east.bytes(.sent), west.bytes(.received))
        east.cut(.sent, after: size * 3 / 4)
        west.cut(.received, after: size * 3 / 4)
        let client = try federation.client()
        _ = try await client.submit(Self.document(mebibytes: 256))
        let detail = try await client.finished("large", timeout: .seconds(300))
        try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message))")
        #expect(east.cuts == 1 && west.cuts == 1)
        let made = try await client.log("large", node: "large.make")
        #expect(made.count > 64)
        #expect(try await client.log("large", node: "large.read0") == made)
        // Had either begun again, three quarters of the file would have gone twice.
        for (way, bytes) in [("out", east.bytes(.sent) - sent), ("in", west.bytes(.received) - received)] {
          #expect(bytes >= size && bytes < size * 13 / 10, "\(bytes) bytes \(way) for a file of \(size)")
          print("of \(size) bytes \(Double(bytes) / Double(size)) times as many went \(way)")
        }
        let parts = try FileManager.default.contentsOfDirectory(atPath: federation.path("artifacts/partial"))
        #expect(parts.isEmpty, "what was cut is part of the object now: \(parts)")
      }
    }
  }
}
