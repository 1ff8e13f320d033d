import FederationModel
import Testing

@testable import ControlPlaneCore

@Suite("Who may ask for the room of others")
struct PreemptionStateTests {
  @Test("Of more groups than may ask at once all have their turn, higher classes first")
  func turns() {
    var state = PreemptionState()
    state.began(.idle)
    for group in 1...10 as ClosedRange<Int64> { state.waits(group, .interruptible, isGuaranteed: false) }
    state.waits(99, .realtime, isGuaranteed: false)
    var asked: [Int64] = []
    for _ in 0..<3 {
      let turn = state.askers(limit: 5) { _ in true }
      #expect(turn.count == 5 && turn.first == 99)
      asked += turn.dropFirst()
    }
    #expect(Set(asked) == Set(1...10), "\(asked)")
    #expect(state.askers(limit: 5) { $0 == 7 } == [7], "those that have gone are passed over")
  }
}
