import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

extension Integration {
  @Suite("Data flow: shared caches, and what an unreachable cluster has", .timeLimit(.minutes(4)))
  struct UpkeepDataFlowTests {
    @Test("I5: clusters that share a cache have one writer: a data set comes once, and both read it")
    func sharedCache() async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let flow = try DataFlow(federation)
        let directory = federation.path("cache")
        var agents = ["writer", "reader"].map { FederationOptions.Agent($0, labels: ["side": $0]) }
        agents[0].keys = ["cache": "{directory: \(directory), name: both}"]
        agents[1].keys = ["cache": "{directory: \(directory), name: both, writer: false}"]
        try await flow.join(agents)
        try await flow.put("water", bytes: 8 * DataFlow.mebibyte, files: 4)
        let digest = try await flow.digest(federation.path("put-water"))
        for side in ["reader", "writer"] {
          _ = try await flow.client.submit(
            DataFlow.reader(of: "water", name: "on-\(side)", selector: ["side": side]))
          _ = try await flow.succeeded("on-\(side)")
          #expect(try await flow.client.log("on-\(side)", node: "on-\(side)") == digest)
        }
        #expect(try await flow.caches(of: "water") == ["both"])
        #expect(try await flow.inward("water").map(\.phase) == ["done"])
      }
    }

    @Test(
      "I10: fubini cp of an output that an unreachable cluster alone has names the cluster, and goes on when it answers"
    )
    func unreachable() async throws {
      try await OutputDataFlowTests.withTwo { flow in
        _ = try await flow.client.submit(
          OutputDataFlowTests.document("made", makeOn: "east", stageOut: "never", readers: []))
        _ = try await flow.succeeded("made")
        try await flow.federation.agent("east").kill()
        try await poll("east is known to be away", timeout: .seconds(30)) {
          try await flow.client.cluster("east").live?.isConnected != true
        }
        let copy = flow.federation.path("copy")
        async let copied = flow.federation.fubini(["cp", "made/make:out", copy], timeout: .seconds(120))
        try await CacheDataFlowTests.isTold("waits for cluster east", by: ["transfer", "list", "--active"], flow)
        #expect(!FileManager.default.fileExists(atPath: copy))
        try flow.federation.startAgent("east")
        let (code, output) = try await copied
        #expect(code == 0 && output.contains("waits for cluster east"), "\(output)")
        #expect(
          try FileManager.default.attributesOfItem(atPath: copy)[.size] as? Int64 == OutputDataFlowTests.size)
      }
    }
  }
}
