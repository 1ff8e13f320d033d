import FederationModel
import SchedulerCore
import SimulatorCore
import Testing

@Suite("Decision session")
struct DecisionSessionTests {
  private static let graph: JSONValue = [
    "data": [["bytes": 1_000_000, "clusters": ["store"]], ["bytes": 5]],
    "tasks": [
      ["inputs": [0], "outputs": [1], "runtimeSeconds": 60], ["inputs": [1], "runtimeSeconds": 30],
    ],
  ]

  private static func session(_ options: CoSchedulingOptions = CoSchedulingOptions()) -> DecisionSession {
    DecisionSession(
      Platform(
        name: "two",
        sites: [
          SimulationTests.site("store", slots: 0, holdsInputs: true), SimulationTests.site("fast", slots: 1),
        ]), options)
  }

  @Test("where money counts, a price moves what is bound after it")
  func prices() {
    var session = DecisionSession(
      Platform(
        name: "two",
        sites: [
          SimulationTests.site("a", slots: 1, price: 0.01, holdsInputs: true),
          SimulationTests.site("b", slots: 1, speed: 0.9, price: 0.01, holdsInputs: true),
        ]), CoSchedulingOptions(weights: ScoringWeights(lambda: 10)))
    let graph: JSONValue = ["tasks": [["runtimeSeconds": 60, "runtimeP90Seconds": 90], ["runtimeSeconds": 60]]]
    func ask(_ line: String) -> [String] { session.answer(line) { _ in graph } }
    #expect(ask("submitted {}") + ask("ready 0") == [])
    #expect(ask("now 0") == ["bind 0 a 63.333333333333336", "done"])
    #expect(ask("started 0") + ask("finished 0") + ask("ready 1") + ask("price a 3600 0") == [])
    #expect(ask("now 60") == ["bind 1 b 63.333333333333336", "done"])
  }

  @Test("a workflow goes through the protocol from its submission to its end")
  func protocolGoesThrough() {
    var session = Self.session()
    func ask(_ line: String) -> [String] { session.answer(line) { _ in Self.graph } }
    #expect(ask("submitted {}") == [])
    #expect(ask("ready 0") == [])
    #expect(ask("now 0") == ["stage 0 store fast", "bind 0 fast 90.0", "done"])
    #expect(ask("transferred 0 fast") == [])
    #expect(ask("started 0") == [])
    #expect(ask("now 1") == ["done"])
    #expect(ask("finished 0") == [])
    #expect(ask("ready 1") == [])
    #expect(ask("now 61") == ["bind 1 fast 30.0", "done"])
    #expect(ask("lost 1") == [])
    #expect(ask("down fast") == [])
    #expect(ask("now 62") == ["done"])
    #expect(ask("up fast") == [])
    #expect(ask("now 70") == ["bind 1 fast 30.0", "done"])
  }

  @Test(
    "a line that means nothing is refused with a sentence and changes nothing",
    arguments: [
      "jump", "ready", "ready 2", "ready -1", "ready x", "started 0", "finished 0", "lost 0", "now", "now -1",
      "now later", "transferred 0", "transferred 9 fast", "transferred 0 nowhere", "down nowhere", "submitted {}",
      "price fast", "price nowhere 1 1", "price fast -1 0",
    ])
  func refused(line: String) {
    var session = Self.session()
    _ = session.answer("submitted {}") { _ in Self.graph }
    // What a second submission has wrong: a task that reads what the workflow does not have.
    let answer = session.answer(line) { _ in ["tasks": [["inputs": [7], "runtimeSeconds": 1]]] }
    #expect(answer.count == 1 && answer[0].hasPrefix("error "), "\(line): \(answer)")
    _ = session.answer("ready 0") { _ in nil }
    #expect(session.answer("now 0") { _ in nil } == ["stage 0 store fast", "bind 0 fast 90.0", "done"])
  }
}
