import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

@Suite("Admission by class")
struct AdmissionTests {
  @Test("A class with more waiting than is served in its time takes no more, says when, and others are not touched")
  func refuses() throws {
    var federation = Federation(
      seed: 4, clusters: ["a"], configuration: CoreConfiguration(backlogLimits: [.realtime: .seconds(60)]))
    _ = try federation.submit("flood", classTasks("realtime", 1100))
    federation.settle()
    // Four slots, and runs of about two seconds.
    for _ in 0..<20 {
      federation.plan()
      federation.settle()
      while !federation.agents["a"]!.inbox.isEmpty { federation.deliver("a") }
      for id in federation.agents["a"]!.runs.filter({ !$0.value.phase.isTerminal }).keys.sorted() {
        federation.agents["a"]!.step(id, using: &federation.random, world: &federation.world)
      }
      federation.report("a")
      federation.clock = federation.clock + .seconds(1)
      federation.apply(.tick(silence: [:]))
      federation.settle()
    }
    let refused = try federation.submit("more", classTasks("realtime", 1))
    let other = try federation.submit("other", classTasks("offline", 1))
    federation.settle()
    guard case .failure(let error)? = federation.replies[refused] else { return #expect(Bool(false), "it was taken") }
    #expect(error.code == .resourceExhausted && error.publicMessage.contains("of class realtime"))
    // About a thousand wait, and about two are placed in a second.
    let seconds = try #require(error.retryAfter).seconds
    #expect((120...900).contains(seconds), "\(seconds) s")
    guard case .success? = federation.replies[other] else { return #expect(Bool(false), "offline was refused") }
  }
}
