import FederationModel
import Testing

@testable import WorkflowCore

@Suite("ArgoStatus")
struct ArgoStatusTests {
  @Test(
    "Moments are written as RFC 3339",
    arguments: [
      (0, "1970-01-01T00:00:00Z"), (951_827_696_999, "2000-02-29T12:34:56Z"),
      (1_700_000_000_000, "2023-11-14T22:13:20Z"),
      (-1, "1969-12-31T23:59:59Z"), (4_107_542_400_000, "2100-03-01T00:00:00Z"), (Int64.max, "9999-12-31T23:59:59Z"),
      (Int64.min, "0000-01-01T00:00:00Z"),
    ] as [(Int64, String)])
  func moments(milliseconds: Int64, expected: String) {
    #expect(RFC3339.format(Timestamp(milliseconds: milliseconds)) == expected)
  }

  @Test("Node ids are Argo's")
  func nodeIDs() {
    #expect(ArgoNames.nodeID(workflow: "wf", node: "wf") == "wf")
    // FNV-1a, 32 bits, of "foobar" is 0xbf9cf968 (the algorithm's published test vector).
    #expect(ArgoNames.nodeID(workflow: "w", node: "foobar") == "w-3214735720")
  }

  @Test("A workflow is shown in Argo's shape")
  func shape() throws {
    var driver = try MachineDriver(spec: SampleWorkflows.all[0])
    driver.send(.start)
    driver.send(.taskStarted(driver.open[0], cluster: "edge-1", runsAs: "host"))
    driver.run()
    let object = ArgoStatus.render(driver.machine)
    #expect(object["metadata"]?["namespace"] == "science")
    #expect(object["spec"]?["entrypoint"] == "main")
    #expect(object["status"]?["phase"] == "Succeeded")
    #expect(object["status"]?["startedAt"] == "2023-11-14T22:13:20Z")
    let nodes = try #require(object["status"]?["nodes"])
    let root = try #require(nodes["wf"])
    #expect(root["type"] == "Steps")
    #expect(root["children"] == [.string(ArgoNames.nodeID(workflow: "wf", node: "wf[0]"))])
    let first = try #require(nodes[ArgoNames.nodeID(workflow: "wf", node: "wf[0].a(0:x)")])
    #expect(first["hostNodeName"] == "edge-1")
    #expect(first["boundaryID"] == "wf")
    #expect(first["displayName"] == "a(0:x)")
    #expect(root["outboundNodes"]?.arrayValue?.isEmpty == false)
    #expect(nodes[ArgoNames.nodeID(workflow: "wf", node: "wf[0].b")]?["phase"] == "Skipped")
  }
}
