import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Fuzz")
struct FuzzTests {
  @Test("No input crashes, hangs or blows up what reads it", arguments: FuzzTarget.allCases)
  func inputs(target: FuzzTarget) {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<FuzzRounds.perSeed(1500, seeds: 1) {
      let input = target.input(using: &random)
      let start = ContinuousClock.now
      target.run(input)
      // A debug build beside others: `make fuzz` counts 50 ms of the processor's time in a release build.
      #expect(ContinuousClock.now - start < .seconds(10), "\(target) \(input.debugDescription)")
    }
  }
}
