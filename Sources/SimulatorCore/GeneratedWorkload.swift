import SchedulerCore

/// Workflows made from a seed: runtimes of 10 to 300 s, files of 10 MB to 1 GB, before the data scale.
public enum GeneratedWorkload: String, Hashable, Sendable, CaseIterable {
  /// Chains side by side, each step reading what the one before has made.
  case chains
  /// A split, many workers that also share a reference, a merge; three times in a row.
  case forkJoin = "fork-join"
  /// The shape of Montage: projections, differences of neighbours, one fit, corrections, one sum.
  case montage
  /// Layers of random width; each task reads from one to three tasks of the layer before.
  case layered

  /// - Parameter size: about how wide it is; 1 to 10,000.
  public func workload(size: Int, dataScale: Double = 1, seed: UInt64) -> Workload {
    precondition((1...10_000).contains(size), "a generated workflow is 1 to 10,000 wide")
    var builder = WorkloadBuilder(random: SplitMix64(seed: seed), dataScale: dataScale)
    switch self {
    case .chains: builder.chains(size)
    case .forkJoin: builder.forkJoin(size)
    case .montage: builder.montage(size)
    case .layered: builder.layered(size)
    }
    builder.graph.linkProducers()
    return Workload(
      name: "\(rawValue)-\(size)-\(seed)", graph: builder.graph, runtimes: builder.graph.tasks.map(\.runtime),
      taskNames: builder.names)
  }
}

private struct WorkloadBuilder {
  var random: SplitMix64
  let dataScale: Double
  var graph = TaskGraph(tasks: [], data: [])
  var names: [String] = []

  init(random: SplitMix64, dataScale: Double) {
    self.random = random
    self.dataScale = dataScale
  }

  mutating func file(_ low: Double = 10e6, _ high: Double = 1e9) -> Int {
    // The square leans to small files, as real workflows do.
    let part = random.unit()
    graph.data.append(TaskGraph.Datum(size: (low + (high - low) * part * part) * dataScale))
    return graph.data.count - 1
  }

  /// Adds a task, and returns its one output.
  mutating func task(_ kind: String, _ inputs: [Int], _ low: Double = 10, _ high: Double = 300) -> Int {
    let output = file()
    names.append("\(kind)_\(graph.tasks.count)")
    graph.tasks.append(
      TaskGraph.Task(inputs: inputs, outputs: [output], runtime: random.uniform(low, high)))
    return output
  }

  mutating func chains(_ size: Int) {
    let steps = 8
    for _ in 0..<size {
      var last = file()
      for step in 0..<steps { last = task("step\(step)", [last]) }
    }
  }

  mutating func forkJoin(_ size: Int) {
    let reference = file(1e9, 3e9)
    var last = file()
    for round in 0..<3 {
      let split = task("split\(round)", [last], 5, 30)
      let parts = (0..<size).map { _ in task("work\(round)", [split, reference]) }
      last = task("merge\(round)", parts, 20, 60)
    }
  }

  mutating func montage(_ size: Int) {
    let header = file(1e3, 1e4)
    let images = (0..<size).map { _ in task("project", [file(), header]) }
    let differences = (0..<size).flatMap { index in
      [1, 2].map { task("difference", [images[index], images[(index + $0) % size]], 5, 30) }
    }
    let fit = task("fit", differences, 30, 100)
    let corrected = images.map { task("background", [$0, fit], 10, 60) }
    _ = task("add", corrected, 60, 200)
  }

  mutating func layered(_ size: Int) {
    var layer = (0..<size).map { _ in file() }
    for depth in 0..<6 {
      let width = 1 + Int(random.next() % UInt64(2 * size))
      layer = (0..<width).map { _ in
        let count = 1 + Int(random.next() % 3)
        let inputs = Set((0..<count).map { _ in layer[Int(random.next() % UInt64(layer.count))] })
        return task("layer\(depth)", inputs.sorted())
      }
    }
  }
}
