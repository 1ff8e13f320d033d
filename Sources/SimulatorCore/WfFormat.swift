public import FederationModel
import SchedulerCore

/// A task of an instance, whatever its version of the format.
private struct WfTask {
  var id: String
  /// What parents and children may call it.
  var names: [String]
  var parents: [String]
  var children: [String]
  var inputs: [String]
  var outputs: [String]
  var runtime: Double
}

/// Reads the versions of WfFormat into one shape. Up to 1.4 tasks carry their files and runtimes; since 1.5 an instance is
/// a specification (tasks by id, files in a list of their own) and an execution (runtimes by id).
///
/// - Source: https://github.com/wfcommons/WfFormat
private struct WfReader {
  let name: String
  var tasks: [WfTask] = []
  /// In order of first mention.
  var files: [(id: String, bytes: Double)] = []
  private var fileNumbers: [String: Int] = [:]

  init(_ json: JSONValue, name: String) throws {
    self.name = name
    if let specification = json["workflow"]?["specification"] {
      try readParts(specification, json["workflow"]?["execution"])
    } else if let list = json["workflow"]?["tasks"]?.arrayValue {
      for task in try bounded(list) { tasks.append(try readWhole(task)) }
    } else {
      throw wrong("is not WfFormat 1.3 to 1.6: it needs workflow.specification.tasks, or workflow.tasks as up to 1.4")
    }
  }

  func wrong(_ what: String) -> FederationError { FederationError(.invalidArgument, "\(name) \(what)") }

  func fileNumber(_ id: String) throws -> Int {
    guard let number = fileNumbers[id] else { throw wrong("names the file \(id), which it does not describe") }
    return number
  }

  private func bounded(_ list: [JSONValue]) throws -> [JSONValue] {
    guard !list.isEmpty, list.count <= Workload.tasksLimit else {
      throw wrong("has \(list.count) tasks; 1 to \(Workload.tasksLimit) are read")
    }
    return list
  }

  /// 1.5 and later.
  private mutating func readParts(_ specification: JSONValue, _ execution: JSONValue?) throws {
    guard let list = specification["tasks"]?.arrayValue, let executed = execution?["tasks"]?.arrayValue else {
      throw wrong("needs workflow.specification.tasks and workflow.execution.tasks")
    }
    var runtimes: [String: Double] = [:]
    for task in executed { runtimes[try text("id", of: task)] = task["runtimeInSeconds"]?.doubleValue }
    for file in specification["files"]?.arrayValue ?? [] {
      addFile(try text("id", of: file), file["sizeInBytes"]?.doubleValue)
    }
    for task in try bounded(list) {
      let id = try text("id", of: task)
      tasks.append(
        WfTask(
          id: id, names: [id], parents: try texts("parents", of: task), children: try texts("children", of: task),
          inputs: try texts("inputFiles", of: task), outputs: try texts("outputFiles", of: task),
          runtime: try runtime(runtimes[id], of: id)))
    }
  }

  /// Up to 1.4; before that `runtime` and `size` bore no units in their names.
  private mutating func readWhole(_ task: JSONValue) throws -> WfTask {
    let label = try text("name", of: task)
    var (inputs, outputs): ([String], [String]) = ([], [])
    for file in task["files"]?.arrayValue ?? [] {
      let id = (file["path"]?.stringValue ?? "") + (try text("name", of: file))
      addFile(id, (file["sizeInBytes"] ?? file["size"])?.doubleValue)
      if file["link"]?.stringValue == "input" { inputs.append(id) } else { outputs.append(id) }
    }
    return WfTask(
      id: label, names: [label] + [task["id"]?.stringValue].compactMap { $0 }, parents: try texts("parents", of: task),
      children: try texts("children", of: task), inputs: inputs, outputs: outputs,
      runtime: try runtime((task["runtimeInSeconds"] ?? task["runtime"])?.doubleValue, of: label))
  }

  private mutating func addFile(_ id: String, _ bytes: Double?) {
    guard fileNumbers[id] == nil else { return }
    fileNumbers[id] = files.count
    files.append((id, max(0, bytes ?? 0)))
  }

  private func runtime(_ seconds: Double?, of task: String) throws -> Double {
    guard let seconds, seconds >= 0, seconds.isFinite else { throw wrong("has no runtimeInSeconds for task \(task)") }
    return seconds
  }

  private func text(_ key: String, of json: JSONValue) throws -> String {
    guard let text = json[key]?.stringValue else { throw wrong("has a task or file without \(key)") }
    return text
  }

  private func texts(_ key: String, of json: JSONValue) throws -> [String] {
    try (json[key]?.arrayValue ?? []).map { member in
      guard let text = member.stringValue else { throw wrong("has \(key) that are no names") }
      return text
    }
  }
}

extension Workload {
  public static let tasksLimit = 200_000

  /// Reads a WfCommons instance, WfFormat 1.3 to 1.6: graph, files, and runtimes as they were measured.
  ///
  /// - Parameter dataScale: what sizes are multiplied by.
  /// - Throws: `invalidArgument` that says what is missing, unknown or circular.
  public init(wfFormat json: JSONValue, name: String, dataScale: Double = 1) throws {
    let read = try WfReader(json, name: name)
    var numbers: [String: Int] = [:]
    for (index, task) in read.tasks.enumerated() {
      for name in task.names where numbers[name] == nil { numbers[name] = index }
    }
    func number(_ reference: String) throws -> Int {
      guard let number = numbers[reference] else {
        throw read.wrong("names the task \(reference), which it does not describe")
      }
      return number
    }
    var made: Set<Int> = []
    var tasks = try read.tasks.map { task in
      // A file that two tasks write counts as the first one's.
      let outputs = try task.outputs.map(read.fileNumber).filter { made.insert($0).inserted }
      var seen = Set(outputs)
      let inputs = try task.inputs.map(read.fileNumber).filter { seen.insert($0).inserted }
      return TaskGraph.Task(
        inputs: inputs, outputs: outputs, runtime: task.runtime, parents: Set(try task.parents.map(number)).sorted())
    }
    for (index, task) in read.tasks.enumerated() {
      for child in try task.children.map(number) where !tasks[child].parents.contains(index) {
        tasks[child].parents.append(index)
      }
    }
    var graph = TaskGraph(tasks: tasks, data: read.files.map { TaskGraph.Datum(size: $0.bytes * dataScale) })
    graph.linkProducers()
    guard graph.isAcyclic else { throw read.wrong("has tasks that depend on each other") }
    self.init(name: name, graph: graph, runtimes: tasks.map(\.runtime), taskNames: read.tasks.map(\.id))
  }

  /// Standard deviations below which nine of ten of a normal distribution stay.
  static let upperTenth = 1.2816

  /// The same workflow, whose real runtimes differ from what is expected by `error` (a standard deviation, relative), by a seed.
  /// None is below a tenth of what is expected. Policies are told how far nine of ten runs stay below, as from a template's history.
  public func withRuntimeError(_ error: Double, seed: UInt64) -> Workload {
    var copy = self
    for task in runtimes.indices {
      var random = SplitMix64(seed: seed, stream: UInt64(task))
      copy.runtimes[task] = graph.tasks[task].runtime * max(0.1, 1 + error * random.normal())
      copy.graph.tasks[task].runtimeSpread = graph.tasks[task].runtime * error * Self.upperTenth
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
