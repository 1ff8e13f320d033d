import FederationAPI
import FederationModel
import Testing

@testable import fubini

@Suite("plans as people read them")
struct PlanTests {
  private static func plan(_ outcome: String, clusters: [String: Int]) -> PlanDocument {
    let near = CandidateDocument(
      cluster: "near", chosen: !clusters.isEmpty, rejected: clusters.isEmpty ? "TooLarge" : nil,
      reason: clusters.isEmpty ? "2 GiB asked for, 1 GiB in all" : nil, finishSeconds: 30)
    return PlanDocument(
      project: "default", at: WireTime(Timestamp(milliseconds: 0)), outcome: outcome,
      makespanSeconds: QuantityDocument(expected: 65, p50: 64, p90: 130),
      money: [
        PlannedMoneyDocument(currency: "CNY", minorUnits: QuantityDocument(expected: 1250, p50: 1200, p90: 2400))
      ],
      groups: [
        PlannedGroupDocument(
          name: "map", template: "map", tasks: 3, runtimeSeconds: QuantityDocument(expected: 20, p50: 20, p90: 40),
          runtimeFrom: "history", samples: 12, clusters: clusters, startSeconds: 10, endSeconds: 65,
          bytesMoved: 1 << 30, candidates: [near])
      ], groupCount: 4, tasks: [], taskCount: 3,
      transfers: (0..<25).map {
        PlannedTransferDocument(
          key: $0 == 0 ? "dataset:default/water@1" : nil, source: "outside", cluster: "near", bytes: 1 << 30,
          startSeconds: 0, seconds: 10, speculative: $0 == 1)
      },
      criticalPath: [
        PlannedStepDocument(
          name: "w.map(0)", cluster: "near", waitSeconds: 0, stageSeconds: 10, runSeconds: 20, endSeconds: 30)
      ],
      improvements: [
        ImprovementDocument(
          message: "1.5x faster (20.0 s instead of 30.0 s) if water@1 were pinned on near",
          condition: "water@1 were pinned on near", cluster: "near", makespanSeconds: 20, money: [:])
      ], unknowns: ["how many items map of template main has: 4 assumed (--fan-out)"])
  }

  @Test("the sum comes first, then steps, transfers, the critical path, what would be better, and what is not known")
  func complete() throws {
    let text = PlanText.text(Self.plan("Complete", clusters: ["near": 2, "far": 1]), isWide: false)
    let places = [
      "It would take 1m05s (p50 1m04s, p90 2m10s)", "It would cost 12.5000 CNY (p50 12.0000 CNY, p90 24.0000 CNY)",
      "Nothing was submitted.", "near x2, far x1", "12 runs", "and 3 more steps",
      "dataset:default/water@1", "and 5 more transfers",
      "CRITICAL PATH", "Cheaper or faster\n  - 1.5x faster", "Not known\n  - how many items",
    ].map { text.ranges(of: $0).first?.lowerBound }
    #expect(places.allSatisfy { $0 != nil }, "\(text)")
    #expect(places.compactMap(\.self) == places.compactMap(\.self).sorted())
    #expect(!text.contains("where it could go"))
    #expect(
      PlanText.text(Self.plan("Complete", clusters: ["near": 3]), isWide: true).contains("map: where it could go"))
  }

  @Test("what finds no place shows each cluster's reason")
  func stuck() {
    let text = PlanText.text(Self.plan("Stuck", clusters: [:]), isWide: false)
    #expect(text.hasPrefix("It would not end: some of its tasks find no place"))
    #expect(text.contains("map finds no place") && text.contains("2 GiB asked for, 1 GiB in all"))
  }
}
