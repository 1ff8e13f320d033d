import FederationAPI
import FederationModel
import Testing

@testable import fubini

@Suite struct DiagnosisTests {
  private static let now = Timestamp(milliseconds: 1_790_000_000_000)

  @Test(
    "a clock that is off warns from 5 s and fails from 300 s, either way",
    arguments: [
      (4.9, FindingDocument.Level.ok), (-4.9, .ok), (5, .warning), (-299, .warning), (300, .failed), (-301, .failed),
    ])
  func clock(seconds: Double, level: FindingDocument.Level) {
    #expect(Diagnosis.clock(.seconds(seconds), "c").level == level)
  }

  @Test(
    "a cluster's state is judged, and what fails says what to do",
    arguments: [
      ("Ready", FindingDocument.Level.ok), ("Cordoned", .warning), ("Draining", .warning), ("Offline", .failed),
      ("NeverJoined", .failed), ("Revoked", .failed), ("Adopting", .failed),
    ])
  func states(state: String, level: FindingDocument.Level) throws {
    let finding = try #require(Diagnosis.judge(cluster(state, live: nil), version: "1.0.0").first)
    #expect(finding.level == level)
    if level == .failed { #expect(finding.message.contains("`fubini"), "\(finding.message)") }
  }

  @Test("another version, a wrong clock and an agent's notices are told for a connected cluster")
  func live() {
    var live = ClusterLiveDocument(
      isConnected: true, agentVersion: "0.9.0", activeRuns: 0, cpuMillicores: 1, memoryBytes: 1, gpus: 0, gpuTypes: [],
      slots: nil, measuredBandwidth: nil, notices: ["limits are not enforced"], agentProtocol: 1,
      clockSkewMilliseconds: -400_000)
    let found = Diagnosis.judge(cluster("Ready", live: live), version: "1.0.0")
    #expect(found.map(\.level) == [.ok, .warning, .failed, .warning])
    live.clockSkewMilliseconds = 10
    live.agentVersion = "1.0.0"
    live.notices = []
    #expect(Diagnosis.judge(cluster("Ready", live: live), version: "1.0.0").map(\.level) == [.ok])
  }

  @Test("a control plane of another version warns; one that does not say its time is not judged by it")
  func versions() {
    var version = VersionDocument(
      version: "1.0.0", federationID: "f", agentProtocolMin: 1, agentProtocolMax: 2, isLeader: true, leaderURL: nil)
    #expect(Diagnosis.compare(version, ours: "1.0.0", now: Self.now).map(\.level) == [.ok])
    version.time = WireTime(Self.now + .seconds(600))
    #expect(Diagnosis.compare(version, ours: "1.1.0", now: Self.now).map(\.level) == [.warning, .failed])
  }

  @Test("missing tools fail only where no control plane is configured")
  func tools() {
    #expect(Diagnosis.tools(isRemote: true).allSatisfy { $0.level != .failed })
  }

  private func cluster(_ state: String, live: ClusterLiveDocument?) -> ClusterDocument {
    ClusterDocument(
      name: "edge", kind: .process, labels: [:], prices: nil, project: nil, createdAt: WireTime(Self.now), state: state,
      reason: "", cordonReason: nil, isDraining: false, isAdopting: false, revokedAt: nil, live: live)
  }
}
