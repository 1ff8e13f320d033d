import FederationAPI
import FederationModel
import Testing

@testable import fubini

@Suite struct WorkflowTreeTests {
  private func tree(_ phase: NodePhase = .running) -> WorkflowTree {
    var tree = WorkflowTree(
      Documents.detail(
        phase,
        [
          Documents.node(0, "wf", type: "DAG", .running, parent: nil),
          Documents.node(1, "a", .succeeded, run: "r1"),
          Documents.node(2, "b", type: "Retry", .running),
          Documents.node(3, "b(0)", .failed, parent: 2, run: "r2", message: "exit code 1"),
          Documents.node(4, "b(1)", .pending, parent: 2, message: "edge: all slots are taken"),
          Documents.node(5, "c", .error, message: "evil\u{1b}[2J\nname"),
        ]))
    tree.summary.tasks = ["Succeeded": 1, "Failed": 1, "Pending": 1, "Error": 1]
    return tree
  }

  @Test("a tree is drawn with its branches, clusters, times, and the reason of what waits (I10)")
  func unicode() {
    let terminal = Terminal(isTerminal: true, usesColour: false, usesUnicode: true)
    let lines = tree().lines(terminal: terminal, now: Documents.moment(90).timestamp)
    #expect(
      lines == [
        "● wf  Running  1/4 tasks  1m30s",
        "├─ ✔ a  edge  5.0s",
        "├─ ● b  1m30s",
        "│  ├─ ✖ b(0)  edge  5.0s  exit code 1",
        "│  └─ ◷ b(1)  edge: all slots are taken",
        "└─ ⚠ c  5.0s  evil?[2J name",
      ])
  }

  @Test("where the locale has no Unicode the same tree is drawn with ASCII, and colours only where they are wanted")
  func ascii() {
    var terminal = Terminal(isTerminal: true, usesColour: false, usesUnicode: false)
    let plain = tree().lines(terminal: terminal, now: Documents.moment(90).timestamp)
    #expect(plain[3] == "|  |- x b(0)  edge  5.0s  exit code 1")
    #expect(plain.joined().utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f })
    terminal.usesColour = true
    #expect(tree().lines(terminal: terminal, now: Documents.moment(90).timestamp)[1].contains("\u{1b}[32m+\u{1b}[0m"))
  }

  @Test("a tree that does not fit keeps its head and its newest lines, and is drawn over the one before")
  func screen() {
    var terminal = Terminal(isTerminal: true, usesColour: false, usesUnicode: true)
    terminal.rows = 6
    terminal.columns = 24
    var screen = TreeScreen(terminal: terminal)
    let first = screen.frame(tree(), now: Documents.moment(90).timestamp)
    #expect(
      first == """
        ● wf  Running  1/4 task
           ... 3 more above
        │  └─ ◷ b(1)  edge: all
        └─ ⚠ c  5.0s  evil?[2J\u{20}

        """)
    #expect(screen.frame(tree(), now: Documents.moment(91).timestamp).hasPrefix("\u{1b}[4A\u{1b}[J"))
  }

  @Test("news are changes of phase, of run, and of the reason to wait; nothing else")
  func news() {
    let before = Documents.node(1, "a", .pending, message: "x")
    #expect(WorkflowTree.isNews(before, after: nil))
    #expect(!WorkflowTree.isNews(before, after: before))
    #expect(WorkflowTree.isNews(Documents.node(1, "a", .pending, message: "y"), after: before))
    #expect(WorkflowTree.isNews(Documents.node(1, "a", .running, run: "r"), after: before))
    let running = Documents.node(1, "a", .running, run: "r")
    #expect(WorkflowTree.isNews(Documents.node(1, "a", .running, run: "s"), after: running))
    #expect(!WorkflowTree.isNews(Documents.node(1, "a", .running, run: "r", message: "z"), after: running))
  }

  @Test("two thousand nodes in one chain are drawn without recursion")
  func depth() {
    let nodes = (Int32(0)..<2000).map { Documents.node($0, "n", .running, parent: $0 == 0 ? nil : $0 - 1) }
    let terminal = Terminal(isTerminal: false, usesColour: false, usesUnicode: false)
    var shallow = WorkflowTree(Documents.detail(.running, Array(nodes.prefix(3))))
    #expect(shallow.lines(terminal: terminal, now: Documents.moment(0).timestamp).count == 4)
    _ = shallow.apply(WatchDocument(workflow: Documents.summary(.running), nodes: nodes, events: []))
    #expect(shallow.lines(terminal: terminal, now: Documents.moment(0).timestamp).count == 2001)
  }
}
