import FederationAPI
import FederationModel
import Testing

@testable import ControlPlaneServer

@Suite struct WatchMemoryTests {
  private func node(_ id: Int32, _ message: String) throws -> NodeDocument {
    var node = Self.template
    node.id = id
    node.message = message
    return node
  }

  private static let template = NodeDocument(
    id: 0, name: "n", displayName: "n", type: "Pod", templateName: "t", phase: .running, message: "", parent: nil,
    boundary: nil, children: [], startedAt: nil, finishedAt: nil, exitCode: nil, inputs: [], outputs: OutputsDocument(),
    run: nil)

  private static let summary = WorkflowSummary(
    project: "p", name: "w", uid: "u", phase: .running, message: "", labels: [:], isSuspended: false,
    createdAt: WireTime(Timestamp(milliseconds: 0)), createdBy: "me", startedAt: nil, finishedAt: nil, tasks: [:])

  /// Tells what there is, and returns the event's id and the nodes in it.
  private func tell(_ state: WatchState, _ nodes: [NodeDocument], reached: Int64) -> (id: String, nodes: [Int32])? {
    state.news(nodes, Self.summary, reached: reached, commit: 100).map { ($0.id, $0.nodes.map(\.id)) }
  }

  @Test("a stream tells each change once, and nothing when there is none")
  func once() throws {
    let (state, isResumed) = WatchMemory().begin("u", lastEventID: nil)
    #expect(!isResumed)
    let (a, b) = (try node(1, "a"), try node(2, "b"))
    #expect(tell(state, [a, b], reached: 5)?.nodes == [1, 2])
    #expect(tell(state, [a, b], reached: 5) == nil)
    #expect(tell(state, [a, try node(2, "c")], reached: 5)?.nodes == [2])
    #expect(tell(state, [a, try node(2, "c")], reached: 6)?.nodes == [], "an event of the history alone is news")
    #expect(state.lastEvent == 6)
  }

  @Test("whoever comes back gets what later events carried and what has changed since, and nothing else")
  func resumes() throws {
    let memory = WatchMemory()
    let first = memory.begin("u", lastEventID: nil).state
    let one = try #require(tell(first, [try node(1, "a"), try node(2, "a"), try node(3, "a")], reached: 5))
    let two = try #require(tell(first, [try node(1, "a"), try node(2, "b"), try node(3, "a")], reached: 6))
    memory.end(first)
    // The second event was lost on the way.
    let (again, isResumed) = memory.begin("u", lastEventID: one.id)
    #expect(isResumed && again.lastEvent == 5)
    let now = [try node(1, "a"), try node(2, "b"), try node(3, "c"), try node(4, "new")]
    #expect(tell(again, now, reached: 7)?.nodes == [2, 3, 4])
    // From the second one on only the third and fourth are news; also while the first stream has not been seen to end.
    let (later, _) = memory.begin("u", lastEventID: two.id)
    #expect(later.lastEvent == 6)
    #expect(tell(later, now, reached: 7)?.nodes == [3, 4])
  }

  @Test("what is not known is not gone on from: another workflow, another process, too long ago, or rubbish")
  func unknown() throws {
    let memory = WatchMemory()
    let state = memory.begin("u", lastEventID: nil).state
    let old = try #require(tell(state, [try node(1, "0")], reached: 1))
    for id in ["", "7", "a-b", "1-2-3-4", "100-\(state.token)-99", "100-\(state.token)-0", "100-\(state.token)-x"] {
      #expect(!memory.begin("u", lastEventID: id).isResumed, "\(id)")
    }
    #expect(!memory.begin("other", lastEventID: old.id).isResumed)
    #expect(!WatchMemory().begin("u", lastEventID: old.id).isResumed)
    for number in 1...WatchState.depth { _ = tell(state, [try node(1, "\(number)")], reached: Int64(number + 1)) }
    #expect(!memory.begin("u", lastEventID: old.id).isResumed, "too many events ago")
  }

  @Test("ended streams are forgotten by age and by number")
  func bounded() {
    let memory = WatchMemory()
    let now = ContinuousClock.now
    for index in 0..<(WatchMemory.streamsMax * 2) {
      memory.end(memory.begin("u\(index)", lastEventID: nil).state, at: now)
    }
    #expect(memory.count == WatchMemory.streamsMax)
    memory.end(memory.begin("last", lastEventID: nil).state, at: now + WatchMemory.keptFor + .seconds(1))
    #expect(memory.count == 1)
  }
}
