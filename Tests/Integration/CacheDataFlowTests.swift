import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

extension Integration {
  @Suite("Data flow: room in a cache", .timeLimit(.minutes(4)))
  struct CacheDataFlowTests {
    static let size = 8 * DataFlow.mebibyte

    @Test(
      "a full cache gives up what is worth least, never what is pinned; when all is pinned, staging waits and says why")
    func eviction() async throws {
      var options = FederationOptions()
      // Three of four fit.
      options.agents[0].keys = ["cache": "{capacity: 28Mi}"]
      try await Federation.with(options) { federation in
        let flow = try DataFlow(federation)
        for name in ["pinned", "idle", "used", "fresh"] { try await flow.put(name, bytes: Self.size) }
        // The pinned one is the one that was used longest ago.
        for name in ["pinned", "idle", "used"] { try await flow.prefetch(name, to: "one") }
        try await flow.fubini("dataset", "pin", "pinned", "--cluster", "one")
        _ = try await flow.client.submit(DataFlow.reader(of: "used", name: "user"))
        _ = try await flow.succeeded("user")
        try await flow.prefetch("fresh", to: "one")
        #expect(try await flow.caches(of: "idle").isEmpty, "nobody ever read it")
        for name in ["pinned", "used", "fresh"] { #expect(try await flow.caches(of: name) == ["one"], "\(name)") }

        for name in ["used", "fresh"] { try await flow.fubini("dataset", "pin", name, "--cluster", "one") }
        _ = try await flow.client.submit(DataFlow.reader(of: "idle", name: "waits"))
        for command in [["get", "waits"], ["explain", "waits/waits"]] {
          try await Self.isTold("of its cache can be made free now", by: command, flow)
        }
        for name in ["pinned", "used", "fresh"] { #expect(try await flow.caches(of: name) == ["one"], "\(name)") }
        #expect(try await flow.caches(of: "idle").isEmpty)
        try await flow.fubini("dataset", "unpin", "fresh", "--cluster", "one")
        _ = try await flow.succeeded("waits")
        #expect(try await flow.caches(of: "fresh").isEmpty)
        #expect(try await flow.caches(of: "pinned") == ["one"])
        let usage = try await flow.client.cluster("one")
        #expect(usage.live?.isConnected == true)
      }
    }

    @Test("I10: a full disk pauses staging with a reason that its user reads; when there is room it goes on by itself")
    func fullDisk() async throws {
      guard FullDiskTests.makesNamespaces else {
        print("skipped: a full disk needs root, who may mount a small one")
        return
      }
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let flow = try DataFlow(federation)
        let disk = try await FullDiskTests.SmallDisk(federation, megabytes: 96)
        federation.surround("one", with: .init(prefix: disk.enter))
        try await flow.join([.init("one")])
        try await flow.put("water", bytes: 24 * DataFlow.mebibyte, files: 4)
        // More than an agent keeps free for itself, and less than the data set takes.
        try await disk.fill(leaving: 20 << 10)
        _ = try await flow.client.submit(DataFlow.reader(of: "water", name: "reader"))
        try await Self.isTold("the disk of the cache is full", by: ["get", "reader"], flow)
        try await Self.isTold("the disk of the cache is full", by: ["transfer", "list", "--active"], flow)
        #expect(try await flow.caches(of: "water").isEmpty)
        try await disk.free()
        let run = try flow.run(of: try await flow.succeeded("reader", timeout: .seconds(90)))
        #expect(run.epoch == 1)
        #expect(
          try await flow.client.log("reader", node: "reader") == flow.digest(federation.path("put-water")))
        #expect(try await flow.inward("water").map(\.phase) == ["done"])
      }
    }

    static func isTold(_ text: String, by arguments: [String], _ flow: DataFlow) async throws {
      var seen = ""
      try await poll(
        "`fubini \(arguments.joined(separator: " "))` says \"\(text)\", not\n\(seen)", timeout: .seconds(30),
        every: .milliseconds(200)
      ) {
        seen = try await flow.federation.fubini(arguments).output
        return seen.contains(text)
      }
    }
  }
}
