internal import FederationAPI
internal import FederationModel

/// A workflow and its nodes as people are shown them.
struct WorkflowTree: Sendable {
  var summary: WorkflowSummary
  /// By ordinal.
  private(set) var nodes: [Int32: NodeDocument] = [:]

  init(_ detail: WorkflowDetail) {
    summary = detail.summary
    for node in detail.nodes { nodes[node.id] = node }
  }

  /// Takes a change; answers with the nodes that are news.
  mutating func apply(_ change: WatchDocument) -> [NodeDocument] {
    summary = change.workflow
    return change.nodes.filter { node in
      let isNews = Self.isNews(node, after: nodes[node.id])
      nodes[node.id] = node
      return isNews
    }
  }

  /// Another phase, another run, or another reason to wait.
  static func isNews(_ node: NodeDocument, after before: NodeDocument?) -> Bool {
    guard let before else { return true }
    return before.phase != node.phase || before.run?.id != node.run?.id
      || (node.phase == .pending && before.message != node.message)
  }

  /// Whether `node` is, or is part of, a node that `text` names: `flaky` stands for its attempts `flaky(0)`, `flaky(1)` too.
  func isPart(_ node: NodeDocument, of text: String) -> Bool {
    var current: NodeDocument? = node
    // Parents are older, so this ends; a document that says otherwise ends it too.
    while let here = current {
      if Target.matches(here, text) { return true }
      current = here.parent.flatMap { $0 < here.id ? nodes[$0] : nil }
    }
    return false
  }

  var tasks: [NodeDocument] { nodes.values.filter { $0.type == "Pod" }.sorted { $0.id < $1.id } }

  /// Complexity: O(n log n). Depth is bounded by the walk's own stack, not by recursion.
  func lines(terminal: Terminal, now: Timestamp) -> [String] {
    var children: [Int32: [Int32]] = [:]
    var roots: [Int32] = []
    for node in nodes.values.sorted(by: { $0.id < $1.id }) where node.id != 0 {
      if let parent = node.parent, parent < node.id, nodes[parent] != nil {
        children[parent, default: []].append(node.id)
      } else {
        roots.append(node.id)
      }
    }
    let word = summary.isSuspended ? "Suspended" : summary.phase.rawValue
    var head =
      "\(Self.mark(summary.phase, terminal)) \(summary.name)  \(word)  \(Display.progress(summary.tasks)) tasks"
    head += "  \(Display.span(summary.startedAt, summary.finishedAt, now: now))"
    if !summary.message.isEmpty { head += "  \(Terminal.printable(summary.message))" }
    var lines = [head]
    // The root stands for the workflow itself, which the head shows; unless it is all there is, or ran something.
    let isRootShown = nodes[0].map { $0.type == "Pod" || (children[0] ?? []).isEmpty } ?? false
    let top = (isRootShown ? [0] : children[0] ?? []) + roots
    var stack: [(id: Int32, prefix: String, isLast: Bool)] = top.reversed().map { ($0, "", $0 == top.last) }
    while let (id, prefix, isLast) = stack.popLast() {
      guard let node = nodes[id] else { continue }
      lines.append(line(node, prefix: prefix, isLast: isLast, terminal, now))
      let deeper = prefix + (isLast ? "   " : terminal.usesUnicode ? "│  " : "|  ")
      let below = children[id] ?? []
      stack += below.reversed().map { ($0, deeper, $0 == below.last) }
    }
    return lines
  }

  private func line(_ node: NodeDocument, prefix: String, isLast: Bool, _ terminal: Terminal, _ now: Timestamp)
    -> String
  {
    let branch = terminal.usesUnicode ? (isLast ? "└─ " : "├─ ") : (isLast ? "`- " : "|- ")
    var text = "\(prefix)\(branch)\(Self.mark(node.phase, terminal)) \(Terminal.printable(node.displayName))"
    if let run = node.run { text += "  \(Terminal.printable(run.cluster))" }
    if node.startedAt != nil { text += "  \(Display.span(node.startedAt, node.finishedAt, now: now))" }
    if let restarts = node.restarts { text += "  restarts: \(restarts)" }
    if !node.message.isEmpty, node.phase != .succeeded {
      text += "  " + Terminal.printable(node.message).replacing("\n", with: " ")
    }
    return text
  }

  static func mark(_ phase: NodePhase, _ terminal: Terminal) -> String {
    let (unicode, plain, colour): (String, String, Terminal.Colour) =
      switch phase {
      case .pending: ("◷", ".", .yellow)
      case .running: ("●", "*", .blue)
      case .succeeded: ("✔", "+", .green)
      case .skipped, .omitted: ("○", "-", .grey)
      case .failed: ("✖", "x", .red)
      case .error: ("⚠", "!", .red)
      }
    return terminal.paint(terminal.usesUnicode ? unicode : plain, colour)
  }
}

/// Draws a tree again and again in the same place.
struct TreeScreen {
  var terminal: Terminal
  private var drawn = 0
  init(terminal: Terminal) { self.terminal = terminal }

  /// What does not fit is left out from the top, because news is at the bottom.
  mutating func frame(_ tree: WorkflowTree, now: Timestamp) -> String {
    var plain = terminal
    plain.usesColour = false
    let all = tree.lines(terminal: plain, now: now)
    let room = max(2, terminal.rows - 2)
    var shown = all.count <= room ? all : [all[0], "   ... \(all.count - room + 1) more above"] + all.suffix(room - 2)
    shown = shown.map { String($0.prefix(max(10, terminal.columns - 1))) }
    let text = (drawn > 0 ? "\u{1b}[\(drawn)A\u{1b}[J" : "") + shown.map { $0 + "\n" }.joined()
    drawn = shown.count
    return text
  }
}
