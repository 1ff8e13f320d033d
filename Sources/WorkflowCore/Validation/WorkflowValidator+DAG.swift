import FederationModel

extension WorkflowValidator {
  /// The tasks of one dag and what they wait for.
  struct TaskGraph {
    let tasks: [WorkflowStep]
    let positions: [String: Int]
    /// `parents[i]`: positions of the tasks that task i names; unknown ones and repetitions left out.
    var parents: [[Int]]
    /// Parents before children; shorter than `tasks` when there is a cycle.
    private(set) var order: [Int] = []

    init(_ tasks: [WorkflowStep], parents: [[Int]], positions: [String: Int]) {
      self.tasks = tasks
      self.parents = parents
      self.positions = positions
      var children = [[Int]](repeating: [], count: tasks.count)
      var openCount = parents.map(\.count)
      for (task, names) in parents.enumerated() { for parent in names { children[parent].append(task) } }
      order = openCount.indices.filter { openCount[$0] == 0 }
      var next = 0
      while next < order.count {
        for child in children[order[next]] {
          openCount[child] -= 1
          if openCount[child] == 0 { order.append(child) }
        }
        next += 1
      }
    }

    /// One cycle, its first task repeated at the end; nil when there is none. O(tasks).
    var cycle: [Int]? {
      guard order.count < tasks.count else { return nil }
      let sorted = Set(order)
      guard var task = tasks.indices.first(where: { !sorted.contains($0) }) else { return nil }
      // Every task that is left waits for another that is left, so walking from parent to parent must come round.
      var seenAt: [Int: Int] = [:]
      var walk: [Int] = []
      while seenAt[task] == nil {
        seenAt[task] = walk.count
        walk.append(task)
        guard let parent = parents[task].first(where: { !sorted.contains($0) }) else { return nil }
        task = parent
      }
      return Array(walk[seenAt[task]!...]) + [task]
    }
  }

  mutating func validateDAG(
    _ dag: DAGTemplate, of template: WorkflowTemplate, _ scope: TagScope, at path: DocumentPath
  ) {
    var scope = scope
    scope.siblings = TagScope.Siblings(prefix: "tasks")
    scope.siblings?.all = Set(dag.tasks.map(\.name))
    for task in dag.tasks { scope.siblings?.visible[task.name] = outputNames(of: task) }
    let tasks = path / "dag" / "tasks"
    let graph = readGraph(dag.tasks, at: tasks)
    if let cycle = graph.cycle {
      let names = cycle.map { dag.tasks[$0].name }.joined(separator: " -> ")
      let key = dag.tasks[cycle[0]].depends == nil ? "dependencies" : "depends"
      report("the tasks wait for each other in a cycle: \(names)", at: tasks / cycle[0] / key)
    }
    for (index, task) in dag.tasks.enumerated() { validateStep(task, scope, at: tasks / index) }
    // In a cycle everything is its own ancestor; saying so for every tag would bury the cycle itself.
    if graph.cycle == nil { validateAncestry(graph, at: tasks) }
    validateOutputSources(template, scope, at: path / "outputs")
    if let target = dag.target { validateTarget(target, graph, scope, at: path / "dag" / "target") }
  }

  private mutating func readGraph(_ tasks: [WorkflowStep], at path: DocumentPath) -> TaskGraph {
    let positions = Dictionary(tasks.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    var parents: [[Int]] = []
    parents.reserveCapacity(tasks.count)
    for (index, task) in tasks.enumerated() {
      var names = task.dependencies
      if let depends = task.depends {
        do {
          names = try DependsExpression(parsing: depends).taskNames
        } catch {
          let reason = (error as? FederationError)?.publicMessage ?? "\(error)"
          report("not a valid depends expression: \(reason)", at: path / index / "depends")
        }
      }
      var found: [Int] = []
      var seen: Set<Int> = []
      for (position, name) in names.enumerated() {
        guard let parent = positions[name] else {
          let place = task.depends == nil ? path / index / "dependencies" / position : path / index / "depends"
          report(
            "there is no task \"\(name)\" to depend on", at: place,
            suggestion: NearestName.find(name, among: tasks.lazy.map(\.name)))
          continue
        }
        if seen.insert(parent).inserted { found.append(parent) }
      }
      parents.append(found)
    }
    return TaskGraph(tasks, parents: parents, positions: positions)
  }

  private mutating func validateTarget(_ target: String, _ graph: TaskGraph, _ scope: TagScope, at path: DocumentPath) {
    if target.contains("{{") { return check(target, scope, at: path) }
    for name in target.split(separator: " ") where graph.positions[String(name)] == nil {
      report(
        "there is no task \"\(name)\" to reach", at: path,
        suggestion: NearestName.find(String(name), among: graph.tasks.map(\.name)))
    }
  }

  // MARK: Only ancestors may be referred to

  /// A task's mention of another one that is not its direct parent.
  private struct Mention {
    var task: Int
    var source: Int
  }

  private mutating func validateAncestry(_ graph: TaskGraph, at path: DocumentPath) {
    var mentions: [Mention] = []
    for (index, task) in graph.tasks.enumerated() {
      let direct = graph.parents[index]
      for name in task.mentionedTasks {
        guard let source = graph.positions[name], !direct.contains(source) else { continue }
        mentions.append(Mention(task: index, source: source))
      }
    }
    for mention in unreachable(mentions, in: graph) {
      let (task, source) = (graph.tasks[mention.task].name, graph.tasks[mention.source].name)
      report(
        "task \"\(task)\" refers to task \"\(source)\" but does not wait for it: name it in depends",
        at: path / mention.task)
    }
  }

  /// Those whose source does not come before their task. One pass over the graph for each 64 distinct sources.
  private func unreachable(_ mentions: [Mention], in graph: TaskGraph) -> [Mention] {
    let sources = Array(Set(mentions.map(\.source))).sorted()
    let bySource = Dictionary(grouping: mentions, by: \.source)
    var result: [Mention] = []
    for start in stride(from: 0, to: sources.count, by: 64) {
      let batch = sources[start..<min(start + 64, sources.count)]
      var own = [UInt64](repeating: 0, count: graph.tasks.count)
      for (bit, source) in batch.enumerated() { own[source] = 1 << UInt64(bit) }
      // ancestors[i]: which of the batch come before task i.
      var ancestors = [UInt64](repeating: 0, count: graph.tasks.count)
      for task in graph.order {
        for parent in graph.parents[task] { ancestors[task] |= ancestors[parent] | own[parent] }
      }
      for source in batch {
        for mention in bySource[source] ?? [] where ancestors[mention.task] & own[source] == 0 {
          result.append(mention)
        }
      }
    }
    return result.sorted { ($0.task, $0.source) < ($1.task, $1.source) }
  }
}

extension WorkflowStep {
  /// Names of the tasks that its texts mention by `tasks.<name>.`, without repetitions. Its own exit hook may mention
  /// itself.
  var mentionedTasks: Set<String> {
    var names: Set<String> = []
    func scan(_ text: String?) {
      guard let text, text.hasTags else { return }
      for tag in DocumentTag.scan(text).tags where !tag.isExpression {
        let parts = tag.text.split(separator: ".", omittingEmptySubsequences: false)
        if parts.count > 2, parts[0] == "tasks" { names.insert(String(parts[1])) }
      }
    }
    func scan(_ arguments: WorkflowArguments) {
      for parameter in arguments.parameters { scan(parameter.value) }
      for artifact in arguments.artifacts {
        ([artifact.from, artifact.raw, artifact.key, artifact.subPath] + (artifact.foreign?.texts ?? [])).forEach {
          scan($0)
        }
      }
    }
    scan(when)
    scan(arguments)
    switch loop {
    case .param(let text): scan(text)
    case .sequence(let sequence): [sequence.count, sequence.start, sequence.end].forEach { scan($0) }
    case .items(let items): items.forEach { item in item.texts.forEach { scan($0) } }
    case nil: break
    }
    return names
  }
}
