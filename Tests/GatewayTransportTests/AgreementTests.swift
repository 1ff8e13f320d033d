import FederationAPI
import Testing

@Suite struct AgreementTests {
  struct Case: Sendable {
    var offered: (lowest: UInt32, highest: UInt32)
    var supported: ClosedRange<UInt32>
    var version: UInt32?
  }

  @Test(
    "both sides use the highest common version; without one there is no agreement",
    arguments: [
      Case(offered: (1, 1), supported: 1...2, version: 1), Case(offered: (1, 2), supported: 1...1, version: 1),
      Case(offered: (1, 2), supported: 1...2, version: 2), Case(offered: (2, 3), supported: 1...2, version: 2),
      Case(offered: (1, 9), supported: 2...3, version: 3), Case(offered: (1, 1), supported: 2...2, version: nil),
      Case(offered: (3, 4), supported: 1...2, version: nil), Case(offered: (2, 1), supported: 1...2, version: nil),
      Case(offered: (0, 0), supported: 1...2, version: nil),
      Case(offered: (0, .max), supported: 1...2, version: 2),
    ])
  func versions(row: Case) {
    let agreement = AgentProtocol.Agreement(offered: row.offered, names: ["clock"], supported: row.supported)
    #expect(agreement?.version == row.version)
  }

  @Test("capabilities that one side does not know are left out, and version 1 has none")
  func capabilities() {
    let names = ["teleport", "clock", ""]
    #expect(AgentProtocol.Agreement(offered: (1, 2), names: names)?.capabilities == [.clock])
    #expect(AgentProtocol.Agreement(offered: (1, 1), names: names)?.capabilities == [])
    #expect(AgentProtocol.Agreement(offered: (1, 2), names: [])?.capabilities == [])
    let flood = Array(repeating: "x", count: AgentProtocol.capabilityCountMax) + ["clock"]
    #expect(AgentProtocol.Agreement(offered: (1, 2), names: flood)?.capabilities == [])
  }

  @Test("a release speaks its newest version and the one before")
  func range() {
    #expect(AgentProtocol.versions.count == 2)
    #expect(AgentProtocol.versions.contains(AgentProtocol.capabilitiesVersion))
  }
}
