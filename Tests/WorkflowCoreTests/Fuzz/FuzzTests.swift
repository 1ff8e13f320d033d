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

  @Test(
    "Inputs that once took too long are answered soon",
    arguments: [
      (FuzzTarget.cron, ", * ? * 0"), (.cron, "CRON_TZ=Europe/Berlin 30 2 * * ,"), (.cron, ", 0-6,12 1,15 JAN-jun mon"),
      (.expression, "reduce(1..101000, #acc + #, 0)"), (.expression, "map(1..2000, map(1..2000, #))"),
    ])
  func slowOnce(target: FuzzTarget, input: String) {
    let start = ContinuousClock.now
    target.run(input)
    #expect(ContinuousClock.now - start < .seconds(5))
  }
}
