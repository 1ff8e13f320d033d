public import FederationModel
import SchedulerCore

extension Workload {
  public static let tasksLimit = 200_000

  /// Reads a WfCommons instance, WfFormat 1.4 or 1.5: the graph and the files from its specification, runtimes from its execution.
  ///
  /// - Parameter dataScale: what sizes are multiplied by.
  /// - Throws: `invalidArgument` that says what is missing, unknown or circular.
  /// - Source: https://github.com/wfcommons/WfFormat
  public init(wfFormat json: JSONValue, name: String, dataScale: Double = 1) throws {
    guard let workflow = json["workflow"], let specification = workflow["specification"],
      let tasks = specification["tasks"]?.arrayValue, let executed = workflow["execution"]?["tasks"]?.arrayValue
    else {
      throw FederationError(
        .invalidArgument,
        "\(name) is not WfFormat 1.4 or 1.5: it needs workflow.specification.tasks and workflow.execution.tasks")
    }
    guard !tasks.isEmpty, tasks.count <= Self.tasksLimit else {
      throw FederationError(.invalidArgument, "\(name) has \(tasks.count) tasks; 1 to \(Self.tasksLimit) are read")
    }
    var numbers: [String: Int] = [:]
    for (index, task) in tasks.enumerated() { numbers[try Self.text("id", of: task, name)] = index }
    var runtimes: [String: Double] = [:]
    for task in executed { runtimes[try Self.text("id", of: task, name)] = task["runtimeInSeconds"]?.doubleValue }
    var data: [TaskGraph.Datum] = []
    var files: [String: Int] = [:]
    for file in specification["files"]?.arrayValue ?? [] {
      files[try Self.text("id", of: file, name)] = data.count
      data.append(TaskGraph.Datum(size: max(0, file["sizeInBytes"]?.doubleValue ?? 0) * dataScale))
    }
    func numbered(_ key: String, _ table: [String: Int], of task: JSONValue) throws -> [Int] {
      var seen: Set<Int> = []
      return try (task[key]?.arrayValue ?? []).compactMap { member in
        guard let id = member.stringValue, let number = table[id] else {
          throw FederationError(.invalidArgument, "\(name): \(key) names \(member), which it does not describe")
        }
        return seen.insert(number).inserted ? number : nil
      }
    }
    var made: Set<Int> = []
    let graphTasks = try tasks.map { task in
      guard let runtime = runtimes[try Self.text("id", of: task, name)], runtime >= 0 else {
        throw FederationError(.invalidArgument, "\(name): a task has no runtimeInSeconds in the execution part")
      }
      // A file that two tasks write counts as the first one's.
      let outputs = try numbered("outputFiles", files, of: task).filter { made.insert($0).inserted }
      let inputs = try numbered("inputFiles", files, of: task).filter { !outputs.contains($0) }
      return TaskGraph.Task(
        inputs: inputs, outputs: outputs, runtime: runtime, parents: try numbered("parents", numbers, of: task))
    }
    var graph = TaskGraph(tasks: graphTasks, data: data)
    graph.linkProducers()
    guard graph.isAcyclic else { throw FederationError(.invalidArgument, "\(name): its tasks depend on each other") }
    self.init(
      name: name, graph: graph, runtimes: graphTasks.map(\.runtime),
      taskNames: tasks.map { $0["id"]?.stringValue ?? "" })
  }

  private static func text(_ key: String, of json: JSONValue, _ name: String) throws -> String {
    guard let text = json[key]?.stringValue else {
      throw FederationError(.invalidArgument, "\(name): a task or file has no \(key)")
    }
    return text
  }

  /// The same workflow, whose real runtimes differ from what is expected by `error` (a standard deviation, relative), by a seed.
  /// None is below a tenth of what is expected.
  public func withRuntimeError(_ error: Double, seed: UInt64) -> Workload {
    var copy = self
    for task in runtimes.indices {
      var random = SplitMix64(seed: seed, stream: UInt64(task))
      copy.runtimes[task] = graph.tasks[task].runtime * max(0.1, 1 + error * random.normal())
    }
    return copy
  }
}

extension TaskGraph {
  /// Adds to each task's parents whoever makes what it reads.
  mutating func linkProducers() {
    var producers: [Int?] = data.map { _ in nil }
    for (task, entry) in tasks.enumerated() { for output in entry.outputs { producers[output] = task } }
    for task in tasks.indices {
      var parents = Set(tasks[task].parents)
      for input in tasks[task].inputs {
        if let producer = producers[input], producer != task { parents.insert(producer) }
      }
      tasks[task].parents = parents.sorted()
    }
  }

  var isAcyclic: Bool {
    var open = tasks.map(\.parents.count)
    var children: [[Int]] = tasks.map { _ in [] }
    for (task, entry) in tasks.enumerated() { for parent in entry.parents { children[parent].append(task) } }
    var order = tasks.indices.filter { open[$0] == 0 }
    var next = 0
    while next < order.count {
      for child in children[order[next]] {
        open[child] -= 1
        if open[child] == 0 { order.append(child) }
      }
      next += 1
    }
    return order.count == tasks.count
  }
}
