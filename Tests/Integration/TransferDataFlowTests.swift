import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import TestSupport
import Testing

extension Integration {
  @Suite("Data flow: one transfer, whatever happens", .timeLimit(.minutes(4)))
  struct TransferDataFlowTests {
    static let size = 24 * DataFlow.mebibyte

    /// Two agents behind proxies that count, and cut on demand.
    static func withTwo(
      keys: [String: String] = [:], _ body: @Sendable (DataFlow, _ proxies: [String: CuttingProxy]) async throws -> Void
    ) async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let flow = try DataFlow(federation)
        var proxies: [String: CuttingProxy] = [:]
        var agents: [FederationOptions.Agent] = []
        for name in ["east", "west"] {
          let proxy = try await CuttingProxy(to: federation.replicas[0].gatewayPort)
          var agent = FederationOptions.Agent(name, slots: 4, labels: ["side": name])
          agent.keys = keys.merging(["controlPlane": "[\"127.0.0.1:\(proxy.port)\"]"]) { $1 }
          proxies[name] = proxy
          agents.append(agent)
        }
        try await flow.join(agents)
        try await body(flow, proxies)
        for proxy in proxies.values { await proxy.close() }
      }
    }

    @Test("I5: ten workflows that want one data set cause one transfer; an eleventh, later, moves zero bytes")
    func ten() async throws {
      // Slow enough that all ten are there before it is.
      try await Self.withTwo(keys: ["transferLimit": "10MB/s"]) { flow, proxies in
        try await flow.put("water", bytes: Self.size, files: 6)
        let digest = try await flow.digest(flow.federation.path("put-water"))
        let before = proxies["west"]!.bytes(.received)
        for number in 0..<10 {
          _ = try await flow.client.submit(
            DataFlow.reader(of: "water", name: "reader-\(number)", selector: ["side": "west"]))
        }
        var moved: Int64 = 0
        for number in 0..<10 {
          let name = "reader-\(number)"
          moved += try flow.run(of: try await flow.succeeded(name)).bytesIn
          #expect(try await flow.client.log(name, node: name) == digest)
        }
        let transfers = try await flow.inward("water", to: "west")
        #expect(transfers.count == 1 && transfers.first?.phase == "done", "\(transfers)")
        #expect(moved <= Self.size, "the ten runs moved \(moved) bytes")
        // What a prefetch had brought is no run's.
        #expect(moved == Self.size || transfers.first?.cause != "run", "the ten runs moved \(moved) bytes")
        let received = proxies["west"]!.bytes(.received) - before
        #expect(received >= Self.size && received < Self.size * 12 / 10, "\(received) bytes came for \(Self.size)")

        let after = proxies["west"]!.bytes(.received)
        _ = try await flow.client.submit(
          DataFlow.reader(of: "water", name: "second", selector: ["side": "west"]))
        let run = try flow.run(of: try await flow.succeeded("second"))
        #expect(run.bytesIn == 0, "\(run.bytesIn) bytes moved for what was there")
        #expect(try await flow.inward("water").count == 1, "nothing else was moved, neither here nor elsewhere")
        let more = proxies["west"]!.bytes(.received) - after
        #expect(more < 256 << 10, "\(more) bytes came for a run whose data was there")
      }
    }

    /// What breaks a transfer in its middle.
    enum Fault: String, Sendable, CaseIterable { case killedAgent, cutLink }

    @Test(
      "I4, I5: an agent killed, or a link cut, amid a transfer: verified data, one transfer, nothing left over",
      arguments: Fault.allCases)
    func interrupted(_ fault: Fault) async throws {
      // Eight seconds: whatever breaks it comes in its middle.
      try await Self.withTwo(keys: ["transferLimit": "3MB/s"]) { flow, proxies in
        let west = try #require(proxies["west"])
        try await flow.put("water", bytes: Self.size, files: 3)
        let digest = try await flow.digest(flow.federation.path("put-water"))
        let before = west.bytes(.received)
        if fault == .cutLink { west.cut(.received, after: Self.size / 2) }
        _ = try await flow.client.submit(DataFlow.reader(of: "water", name: "reader", selector: ["side": "west"]))
        if fault == .killedAgent {
          try await poll("a third of the bytes have come", timeout: .seconds(60)) {
            west.bytes(.received) - before >= Self.size / 3
          }
          try await flow.federation.agent("west").kill()
          try await Self.requireAmid(flow, "water", to: "west")
          try flow.federation.startAgent("west")
        }
        let run = try flow.run(of: try await flow.succeeded("reader"))
        #expect(run.epoch == 1, "the run was not lost: it waited in staging")
        #expect(try await flow.client.log("reader", node: "reader") == digest)
        if fault == .cutLink { #expect(west.cuts == 1) }
        let received = west.bytes(.received) - before
        print("\(fault): \(Double(received) / Double(Self.size)) times the bytes came over the link")
        #expect(received < Self.size * 15 / 10, "\(received) bytes came for \(Self.size)")
        try await Self.checkEnd(flow, "water", on: "west")
      }
    }

    @Test("I4, I5: kill -9 of an agent whose rclone fetches from an origin: it goes on, and no rclone is left behind")
    func killedWithRclone() async throws {
      try await Self.withTwo(keys: ["transferLimit": "3MB/s"]) { flow, _ in
        let tree = try await flow.makeTree("www", bytes: Self.size, files: 3)
        let port = try FreePort.next()
        let server = try OwnedProcess.spawn(
          ["/usr/bin/rclone", "serve", "webdav", tree, "--config", "", "--addr", "127.0.0.1:\(port)", "--read-only"],
          log: flow.federation.log("webdav"))
        try await FreePort.answers(port, of: server, log: flow.federation.log("webdav"))
        try await flow.list("web", origin: "webdav://127.0.0.1:\(port)/", via: "east")
        _ = try await flow.client.submit(DataFlow.reader(of: "web", name: "reader", selector: ["side": "west"]))
        try await flow.moved("web", to: "west", atLeast: Self.size / 3)
        let daemons = Self.daemons(of: try flow.federation.agent("west"))
        #expect(!daemons.isEmpty, "an origin is read by rclone")
        try await flow.federation.agent("west").kill()
        try await Self.requireAmid(flow, "web", to: "west")
        try await poll("the killed agent's rclone is gone", timeout: .seconds(10)) {
          daemons.allSatisfy { !$0.isAlive }
        }
        try flow.federation.startAgent("west")
        let run = try flow.run(of: try await flow.succeeded("reader"))
        #expect(run.epoch == 1)
        #expect(try await flow.client.log("reader", node: "reader") == flow.digest(tree))
        try await Self.checkEnd(flow, "web", on: "west")
        await server.end()
      }
    }

    /// The transfer that was just cut had begun and was not over.
    static func requireAmid(_ flow: DataFlow, _ dataset: String, to cluster: String) async throws {
      let phases = try await flow.inward(dataset, to: cluster).map(\.phase)
      try #require(phases == ["running"] || phases == ["waiting"], "it was not amid the transfer: \(phases)")
    }

    /// What an agent has started to read origins.
    static func daemons(of agent: OwnedProcess) -> [OwnedProcess] {
      let children = Set(agent.children())
      return OwnedProcess.all(withCommandLineContaining: "--rc-serve").map(\.process).filter(children.contains)
    }

    /// One transfer, which is done; one replica; no partial file.
    static func checkEnd(_ flow: DataFlow, _ dataset: String, on cluster: String) async throws {
      let transfers = try await flow.inward(dataset, to: cluster)
      #expect(transfers.map(\.phase) == ["done"], "\(transfers)")
      #expect(try await flow.caches(of: dataset) == [cluster])
      try await poll("nothing partial is left; there is \(flow.leftovers(cluster))", timeout: .seconds(10)) {
        flow.leftovers(cluster).isEmpty
      }
    }
  }
}
