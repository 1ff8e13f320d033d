import FederationModel
import Testing

@testable import SlurmExecutor

@Suite("Whether Slurm answers")
struct ControllerHealthTests {
  private let start = ContinuousClock.now

  private func after(_ seconds: Int64) -> ContinuousClock.Instant { start + .seconds(seconds) }

  @Test("One that is slow, or fails once, is not silent")
  func slow() {
    var health = ControllerHealth()
    #expect(!health.hasAnswered && !health.isSilent(now: after(100)))
    health.answered()
    // A question that has taken 29 s and is answered, and then a long pause.
    #expect(health.hasAnswered && !health.isSilent(now: after(29 + 60)))
    health.failed("refused", askedAt: after(90), now: after(91))
    #expect(!health.isSilent(now: after(91)) && !health.isSilent(now: after(120)) && health.problem == "refused")
    health.answered()
    #expect(health.problem == nil)
  }

  @Test("One that refuses for longer than 15 s is silent, and so is one that lets a question wait for longer")
  func silent() {
    var health = ControllerHealth()
    health.answered()
    health.failed("refused", askedAt: after(0), now: after(1))
    health.failed("refused", askedAt: after(10), now: after(11))
    #expect(!health.isSilent(now: after(11)) && health.isSilent(now: after(16)))
    health.answered()
    #expect(!health.isSilent(now: after(16)))
    health.failed("no answer in 30 s", askedAt: after(20), now: after(50))
    #expect(health.isSilent(now: after(50)))
  }
}
