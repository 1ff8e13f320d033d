extension CoScheduler {
  /// Tells a datum's value anew wherever it is in a bounded cache. It is pinned where a bound task reads it (I4), and everywhere
  /// when it is the last replica.
  mutating func revalue(_ datum: Int) {
    let there = ledger.copies[datum].filter { $0.isThere && !ledger.isDown[$0.site] }.count
    for copy in ledger.copies[datum] where sites[copy.site].cacheCapacity != nil {
      if !copy.isThere || there < 2 || pins[copy.site][datum] != nil {
        eviction[copy.site].remove(datum)
      } else {
        let size = graph.data[datum].size
        let seconds = size / sites[copy.site].bandwidthIn
        eviction[copy.site].update(
          datum,
          value: EvictionOrder.value(
            usesExpected: Double(usesToCome[datum]) * shares[copy.site], refetchSeconds: seconds, size: size))
      }
    }
  }

  /// Bytes that a task lacks on a cluster, those on their way not counted.
  func missingBytes(_ task: Int, at site: Int) -> Double {
    graph.tasks[task].inputs.reduce(0.0) { sum, input in
      ledger.copies[input].contains { $0.site == site } ? sum : sum + graph.data[input].size
    }
  }

  /// Whether the whole input set of a task can be reserved at once (I4), if need be by evicting all that may be evicted.
  func canReserve(_ task: Int, at site: Int) -> Bool {
    guard let capacity = sites[site].cacheCapacity else { return true }
    let missing = missingBytes(task, at: site)
    guard cacheUsed[site] + missing > capacity else { return true }
    let inputs = Set(graph.tasks[task].inputs)
    let evictable = eviction[site].members.reduce(0.0) { inputs.contains($1) ? $0 : $0 + graph.data[$1].size }
    return cacheUsed[site] + missing - evictable <= capacity
  }

  /// Evicts the least valuable replicas until `bytes` more fit.
  mutating func makeRoom(_ bytes: Double, at site: Int, _ actions: inout [SchedulingAction]) {
    guard let capacity = sites[site].cacheCapacity else { return }
    while cacheUsed[site] + bytes > capacity, let datum = eviction[site].evict() {
      ledger.copies[datum].removeAll { $0.site == site }
      cacheUsed[site] -= graph.data[datum].size
      actions.append(.evict(datum: datum, at: site))
      revalue(datum)
    }
  }
}
