import SchedulerCore
import Testing

@Suite("Eviction order")
struct EvictionOrderTests {
  @Test("replicas leave in order of value, whatever was updated and removed before", arguments: 1...50)
  func order(seed: Int) {
    var state = UInt64(seed)
    func next() -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 40)
    }
    var order = EvictionOrder()
    var values: [Int: Double] = [:]
    for _ in 0..<400 {
      let replica = next() % 100
      if next() % 4 == 0 {
        order.remove(replica)
        values[replica] = nil
      } else {
        let value = Double(next() % 50)
        order.update(replica, value: value)
        values[replica] = value
      }
    }
    #expect(order.count == values.count, "seed \(seed)")
    let expected = values.sorted { ($0.value, $0.key) < ($1.value, $1.key) }.map(\.key)
    var evicted: [Int] = []
    while let replica = order.evict() { evicted.append(replica) }
    #expect(evicted == expected, "seed \(seed)")
  }

  @Test("a value that changes with time alone leaves its replica as old as it was", arguments: [(0.0, 0), (4.0, 2)])
  func shift(change: Double, first: Int) {
    var order = EvictionOrder()
    order.update(0, value: 10)
    order.update(1, value: 8)
    #expect(order.evict() == 1)
    order.update(2, value: 5)
    order.shift(0, by: change)
    order.shift(1, by: 1)
    #expect(order.least == first)
    #expect(order.evict() == first)
    #expect(order.count == 1)
  }

  @Test("a dear replica that nobody touches goes in the end")
  func ageing() {
    var order = EvictionOrder()
    order.update(0, value: 10)
    var evicted: [Int] = []
    for replica in 1...20 {
      order.update(replica, value: 1)
      if order.count > 2 { evicted.append(order.evict()!) }
    }
    #expect(evicted.contains(0))
    #expect(evicted.first != 0)
  }
}
