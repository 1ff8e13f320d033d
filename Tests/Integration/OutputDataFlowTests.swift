import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

extension Integration {
  /// `federation.stageOut`: outputs stay where they were made until somebody needs them elsewhere.
  @Suite("Data flow: outputs", .timeLimit(.minutes(4)))
  struct OutputDataFlowTests {
    static let size = 6 * DataFlow.mebibyte

    static func withTwo(_ body: @Sendable (DataFlow) async throws -> Void) async throws {
      var options = FederationOptions()
      options.agents = [.init("east", labels: ["side": "east"]), .init("west", labels: ["side": "west"])]
      try await Federation.with(options) { federation in try await body(try DataFlow(federation)) }
    }

    /// `make` writes a file, then `between`, if there is one, and then readers, each on a side, print its checksum.
    static func document(_ name: String, makeOn: String?, stageOut: String, readers: [String], gate: String? = nil)
      -> String
    {
      let after = gate == nil ? "make" : "gate"
      let tasks = readers.enumerated().map { number, side in
        "- {name: read\(number), template: \(side), dependencies: [make, \(after)], arguments: {artifacts: [{name: in, from: \"{{tasks.make.outputs.artifacts.out}}\"}]}}"
      }
      let place = makeOn.map { "nodeSelector: {side: \($0)}" } ?? "nodeSelector: {}"
      let waiting = gate.map { "while [ ! -e \($0) ]; do sleep 0.1; done" } ?? "true"
      return """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: \(name)}
        spec:
          entrypoint: main
          templates:
          - name: main
            dag:
              tasks:
              - {name: make, template: make}
              \(gate == nil ? "" : "- {name: gate, template: gate, dependencies: [make]}")
              \(tasks.joined(separator: "\n      "))
          - name: gate
            nodeSelector: {side: west}
            container: {image: debian:12, command: [sh, -c], args: ["\(waiting)"]}
          - name: make
            \(place)
            federation: {stageOut: \(stageOut)}
            container: {image: debian:12, command: [sh, -c], args: ["head -c \(size) /dev/urandom >/tmp/out; sha256sum </tmp/out"]}
            outputs: {artifacts: [{name: out, path: /tmp/out, archive: {none: {}}}]}
          - name: east
            nodeSelector: {side: east}
            inputs: {artifacts: [{name: in, path: /tmp/in}]}
            container: {image: debian:12, command: [sh, -c], args: ["sha256sum </tmp/in"]}
          - name: west
            nodeSelector: {side: west}
            inputs: {artifacts: [{name: in, path: /tmp/in}]}
            container: {image: debian:12, command: [sh, -c], args: ["sha256sum </tmp/in"]}
        """
    }

    /// Whether all readers saw what was made last.
    static func expectSame(_ flow: DataFlow, _ name: String, readers: Int) async throws {
      let made = try await flow.client.log(name, node: "\(name).make")
      #expect(made.count > 64, "\(made)")
      for number in 0..<readers {
        #expect(try await flow.client.log(name, node: "\(name).read\(number)") == made)
      }
    }

    @Test("a lazy output is read on its own cluster with zero bytes moved, and copied once for two readers elsewhere")
    func lazy() async throws {
      try await Self.withTwo { flow in
        _ = try await flow.client.submit(
          Self.document("home", makeOn: "east", stageOut: "lazy", readers: ["east", "east"]))
        let home = try await flow.succeeded("home")
        try await Self.expectSame(flow, "home", readers: 2)
        for reader in ["read0", "read1"] { #expect(try flow.run(of: home, reader).bytesIn == 0) }
        #expect(try flow.run(of: home, "make").bytesOut == 0)
        #expect(try await flow.transfers().isEmpty)

        _ = try await flow.client.submit(
          Self.document("away", makeOn: "east", stageOut: "lazy", readers: ["west", "west", "east"]))
        let away = try await flow.succeeded("away")
        try await Self.expectSame(flow, "away", readers: 3)
        let moved = try flow.run(of: away, "read0").bytesIn + flow.run(of: away, "read1").bytesIn
        #expect(moved == Self.size, "\(moved) bytes for two readers of \(Self.size)")
        let transfers = try await flow.transfers()
        #expect(transfers.count { $0.cause != "stage-out" } == 1, "\(transfers)")
        #expect(transfers.count { $0.cause == "stage-out" } == 1, "\(transfers)")
        #expect(transfers.allSatisfy { $0.phase == "done" }, "\(transfers)")
      }
    }

    @Test("stageOut: never is read at home, and copied only when a user asks for it")
    func never() async throws {
      try await Self.withTwo { flow in
        _ = try await flow.client.submit(
          Self.document("kept", makeOn: "east", stageOut: "never", readers: ["east"]))
        _ = try await flow.succeeded("kept")
        try await Self.expectSame(flow, "kept", readers: 1)
        #expect(try await flow.transfers().isEmpty)
        let copy = flow.federation.path("copy")
        try await flow.fubini("cp", "kept/make:out", copy)
        let size = try FileManager.default.attributesOfItem(atPath: copy)[.size] as? Int64
        #expect(size == Self.size)
        let transfers = try await flow.transfers()
        #expect(transfers.map(\.cause) == ["stage-out"] && transfers[0].phase == "done", "\(transfers)")
      }
    }

    /// How the only copy of an output is lost.
    enum Loss: String, Sendable, CaseIterable { case emptiedCache, forgottenCluster }

    @Test(
      "an output whose last replica is lost before it was copied is made again, and its reader sees the new bytes",
      arguments: Loss.allCases)
    func lost(_ loss: Loss) async throws {
      try await Self.withTwo { flow in
        let federation = flow.federation
        let gate = federation.shared + "/open"
        // Prefers the side that is then lost.
        try await flow.fubini("cluster", "cordon", "west")
        let document = Self.document("phoenix", makeOn: nil, stageOut: "lazy", readers: ["west"], gate: gate)
        _ = try await flow.client.submit(document)
        try await federation.node("phoenix", "make", is: ["Succeeded"])
        let first = try flow.run(of: try await flow.client.workflow("phoenix"), "make")
        #expect(first.cluster == "east" && first.epoch == 1)
        try await flow.fubini("cluster", "uncordon", "west")
        try await federation.node("phoenix", "gate", is: ["Running"])
        try await federation.agent("east").kill()
        try await federation.supervisor(of: "east")?.kill()
        switch loss {
        case .emptiedCache:
          try FileManager.default.removeItem(atPath: flow.cacheDirectory("east"))
          try federation.startAgent("east")
          try await federation.connected("east")
        case .forgottenCluster: try await flow.fubini("cluster", "forget", "east", "--confirm-stopped", "-y")
        }
        try Data().write(to: URL(fileURLWithPath: gate))
        let detail = try await flow.succeeded("phoenix")
        try await Self.expectSame(flow, "phoenix", readers: 1)
        let again = try flow.run(of: detail, "make")
        #expect(again.epoch == 2 && again.phase == "Succeeded", "\(again)")
        if loss == .forgottenCluster { #expect(again.cluster == "west") }
        let events: EventList = try await flow.client.get("/v1/projects/default/workflows/phoenix/events")
        #expect(events.items.contains { $0.reason == "OutputLost" }, "\(events.items.map(\.reason))")
      }
    }
  }
}
