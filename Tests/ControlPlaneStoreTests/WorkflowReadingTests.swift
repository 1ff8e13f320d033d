import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Testing
import WorkflowCore

@Suite("Parts of a workflow are read without reading all of it", .timeLimit(.minutes(2)))
struct WorkflowReadingTests {
  @Test(
    "what changed after a commit is exactly the rows it wrote, nodes whose runs it wrote, and parents of what it made")
  func changes() async throws {
    try await StoreFixture.use { fixture in
      var first = DurableDelta(now: Sample.now)
      first.workflows = [Sample.workflow(1), Sample.workflow(2)]
      first.nodes = (0..<4).map { Sample.bareNode(1, $0) } + [Sample.bareNode(2, 0)]
      first.runs = [Sample.run(11, 1, 1)]
      first.events = [
        EventRow(at: Sample.now, workflow: WorkflowID(1), reason: "Submitted", message: "one"),
        EventRow(at: Sample.now, workflow: WorkflowID(2), reason: "Submitted", message: "two"),
      ]
      try await fixture.commit(first)
      let store = fixture.store
      let all = try #require(try await store.changes(of: "uid-1", after: -1, event: 0))
      #expect(all.changed.map(\.ordinal) == [0, 1, 2, 3] && all.events.map(\.row.message) == ["one"])
      #expect(all.commit == fixture.position.sequence && all.head == WorkflowHead(first.workflows[0]))
      let none = try #require(try await store.changes(of: "uid-1", after: all.commit, event: all.events[0].sequence))
      #expect(none.changed.isEmpty && none.events.isEmpty)
      #expect(try await store.changes(of: "nobody", after: -1, event: 0) == nil)

      // Another workflow's commit is nothing to this one; a changed node does not concern its parents, a new one does.
      var second = DurableDelta(now: Sample.now)
      second.nodes = [Sample.bareNode(2, 0)]
      try await fixture.commit(second)
      #expect(try await store.changes(of: "uid-1", after: all.commit, event: 0)?.changed == [])
      var child = Sample.bareNode(1, 4)
      child.record.upstream = [NodeID(2)]
      var third = DurableDelta(now: Sample.now)
      third.nodes = [child]
      third.runs = [Sample.run(11, 1, 1, phase: .succeeded)]
      try await fixture.commit(third)
      #expect(try await store.changes(of: "uid-1", after: all.commit, event: 0)?.changed.map(\.ordinal) == [1, 2, 4])
      #expect(try await store.children(of: [NodeID(2), NodeID(3)], in: WorkflowID(1)) == [NodeID(2): [NodeID(4)]])
      let known = fixture.position.sequence
      try await fixture.commit(third)
      #expect(try await store.changes(of: "uid-1", after: known, event: 0)?.changed.map(\.ordinal) == [1, 4])
      child.record.isSuperseded = true
      third.nodes = [child]
      third.runs = []
      let before = fixture.position.sequence
      try await fixture.commit(third)
      #expect(try await store.changes(of: "uid-1", after: before, event: 0)?.changed.map(\.ordinal) == [2, 4])
    }
  }

  @Test("nodes come page by page, and one by number, full name, its end, or display name, unless several are called so")
  func nodes() async throws {
    try await StoreFixture.use { fixture in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1)]
      delta.nodes = (Int32(0)..<5).map { ordinal in
        var node = Sample.bareNode(1, ordinal)
        node.record.name = "wf.part.\(ordinal)"
        node.record.displayName = ordinal < 2 ? "same" : "other\(ordinal)"
        return node
      }
      delta.nodes[4].record.isSuperseded = true
      delta.runs = [
        Sample.run(11, 1, 1), Sample.bareRun(12, 1, 2, epoch: 1), Sample.bareRun(13, 1, 2, epoch: 2),
      ]
      try await fixture.commit(delta)
      let (store, id) = (fixture.store, WorkflowID(1))
      #expect(try await store.nodes(of: id, limit: 2).map(\.id.ordinal) == [0, 1])
      #expect(try await store.nodes(of: id, after: 1, limit: 9).map(\.id.ordinal) == [2, 3])
      #expect(try await store.nodes(of: id, numbered: [NodeID(3), NodeID(1), NodeID(4)]).map(\.id.ordinal) == [1, 3])
      for (name, ordinal) in [("2", 2), ("wf.part.0", 0), ("part.1", 1), ("other3", 3)] {
        #expect(try await store.node(of: id, named: name)?.id.ordinal == Int32(ordinal), "\(name)")
      }
      #expect(try await store.node(of: id, named: "wf.part.4") == nil)
      let error = await #expect(throws: FederationError.self) { try await store.node(of: id, named: "same") }
      #expect(error?.publicMessage.contains("wf.part.0, wf.part.1") == true)
      let latest = try await store.latestRuns(of: [NodeID(0), NodeID(1), NodeID(2)], in: id)
      #expect(latest == [NodeID(1): delta.runs[0], NodeID(2): delta.runs[2]])
      #expect(try await store.workflowHeads(WorkflowFilter()) == [WorkflowHead(delta.workflows[0])])
      #expect(try await store.document(of: id) == delta.workflows[0].document)
      #expect(
        try await store.totals(of: id).bytesMoved == delta.runs.reduce(0) { $0 + $1.bytesIn.bytes + $1.bytesOut.bytes })
    }
  }
}
