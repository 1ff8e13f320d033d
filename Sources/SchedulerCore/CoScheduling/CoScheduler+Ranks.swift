extension CoScheduler {
  /// Clusters up to which the tail of a task is computed for each of them: the effort grows with the square.
  static let tailSitesLimit = 64

  /// Upward ranks, and the tails by cluster.
  ///
  /// The tail of a task that ends on a cluster is the longest chain of descendants with the transfers that it takes from here on. A
  /// cluster that is fast but sits behind a thin link thereby loses to a slower one when the output is large. PEFT's optimistic cost
  /// table puts each descendant on its best cluster, the upward rank of HEFT takes the mean over all; as slots of the best one are
  /// few, the truth is between the two, and so is this. The rank of a task is its mean runtime and its mean tail.
  ///
  /// - Complexity: O(edges x clusters^2).
  /// - Source: Arabnejad and Barbosa, "List scheduling algorithm for heterogeneous systems by an optimistic cost table", IEEE TPDS
  ///   25 (3), 2014; Topcuoglu, Hariri and Wu, IEEE TPDS 13 (3), 2002, for the upward rank.
  mutating func rankTasks(from first: Int) {
    let compute = sites.indices.filter { sites[$0].slots > 0 }
    let slots = compute.reduce(0.0) { $0 + Double(sites[$1].slots) }
    let meanSlowness = compute.reduce(0.0) { $0 + Double(sites[$1].slots) / sites[$1].speed } / max(1, slots)
    let hasTails = compute.count <= Self.tailSitesLimit
    var rows: [[Double]] = Array(repeating: [], count: graph.tasks.count - first)
    ranks += Array(repeating: 0, count: graph.tasks.count - first)
    tails += Array(repeating: [], count: graph.tasks.count - first)
    for task in orderFromLeaves(first) {
      var mean = 0.0
      if hasTails {
        var row = Array(repeating: 0.0, count: sites.count)
        for child in children[task] { accumulate(child, of: task, rows[child - first], compute, &row) }
        mean = compute.reduce(0.0) { $0 + Double(sites[$1].slots) * row[$1] } / max(1, slots)
        tails[task] = blocks(row.map { Float($0) })
        rows[task - first] = row
      } else {
        mean = children[task].reduce(0.0) { max($0, ranks[$1]) }
      }
      ranks[task] = graph.tasks[task].runtime * meanSlowness + mean
    }
  }

  /// Raises `row` to what a child takes after a task on each cluster: halfway between its best cluster and the mean over all.
  private func accumulate(
    _ child: Int, of task: Int, _ childRow: [Double], _ compute: [Int], _ row: inout [Double]
  ) {
    let outputs = Set(graph.tasks[task].outputs)
    let bytes = graph.tasks[child].inputs.reduce(0.0) { outputs.contains($1) ? $0 + graph.data[$1].size : $0 }
    for site in compute {
      var (least, sum, throughput) = (Double.infinity, 0.0, 0.0)
      for target in compute {
        var cost = childRow[target] + graph.tasks[child].runtime / sites[target].speed
        if target != site { cost += bytes / fair.alone(from: site, to: target) }
        let weight = Double(sites[target].slots) * sites[target].speed
        least = min(least, cost)
        sum += weight * cost
        throughput += weight
      }
      row[site] = max(row[site], (least + sum / throughput) / 2)
    }
  }

  /// Tasks from `first` on, each after all of its children.
  private func orderFromLeaves(_ first: Int) -> [Int] {
    var open = graph.tasks.indices.map { children[$0].count }
    var order = (first..<graph.tasks.count).filter { open[$0] == 0 }
    var next = 0
    while next < order.count {
      for parent in graph.tasks[order[next]].parents {
        open[parent] -= 1
        if open[parent] == 0 { order.append(parent) }
      }
      next += 1
    }
    return order
  }

  private func blocks(_ values: [Float]) -> [ClusterColumns.Block] {
    var blocks = Array(repeating: ClusterColumns.Block.zero, count: (values.count + 7) / 8)
    for (index, value) in values.enumerated() { blocks[index >> 3][index & 7] = value }
    return blocks
  }
}
