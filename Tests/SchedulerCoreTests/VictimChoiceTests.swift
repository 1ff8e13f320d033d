import FederationModel
import SchedulerCore
import Testing

@Suite("The choice of victims")
struct VictimChoiceTests {
  private static let capacity = Resources(cpuMillicores: 16_000, memory: .gibibytes(64), gpus: 4)

  private func victim(
    _ id: Int64, _ priorityClass: PriorityClass = .offline, cores: Int64 = 1, gpus: Int64 = 0, work: Double = 10,
    restage: Double = 0, isProtected: Bool = false
  ) -> VictimView {
    VictimView(
      run: RunID(id), priorityClass: priorityClass, resources: Resources(cpuMillicores: cores * 1000, gpus: gpus),
      workSeconds: work, restageSeconds: restage, isProtected: isProtected)
  }

  private func choose(cores: Int64 = 0, gpus: Int64 = 0, slots: Int = 0, _ runs: [VictimView]) -> VictimChoice? {
    VictimChoice.choose(
      making: MissingRoom(resources: Resources(cpuMillicores: cores * 1000, gpus: gpus), slots: slots), from: runs,
      capacity: Self.capacity)
  }

  @Test("The least work times resources leaves, and the restaging counts")
  func cost() {
    #expect(choose(slots: 1, [victim(1, work: 100), victim(2, work: 5), victim(3, work: 50)])?.runs == [RunID(2)])
    #expect(choose(slots: 1, [victim(1, work: 100), victim(2, work: 5, restage: 60)])?.runs == [RunID(1)])
    #expect(choose(cores: 1, [victim(1, cores: 8, work: 10), victim(2, cores: 1, work: 20)])?.runs == [RunID(2)])
  }

  @Test(
    "A lower class leaves before a higher one, whatever it has done, and what was left alone before what was sent away")
  func classes() {
    #expect(choose(slots: 1, [victim(1, .offline, work: 0), victim(2, .idle, work: 9000)])?.runs == [RunID(2)])
    #expect(choose(slots: 1, [victim(1, work: 0, isProtected: true), victim(2, work: 9000)])?.runs == [RunID(2)])
    #expect(choose(slots: 1, [victim(1, work: 0, isProtected: true)])?.disturbsProtected == true)
  }

  @Test("One that does alone leaves instead of many that cost more together")
  func fewest() {
    let small = (1...8).map { victim($0, cores: 1, work: 10) }
    #expect(choose(cores: 8, small + [victim(9, cores: 8, work: 9)])?.runs == [RunID(9)])
    #expect(choose(cores: 8, small + [victim(9, cores: 8, work: 11)])?.runs.count == 8)
  }

  @Test("What cannot make the room sends nobody away; what does not help stays")
  func helps() {
    #expect(choose(gpus: 2, [victim(1), victim(2, gpus: 1)]) == nil)
    #expect(choose(gpus: 1, [victim(1, work: 0), victim(2, gpus: 1, work: 500)])?.runs == [RunID(2)])
  }

  @Test("Nobody leaves who is not needed", arguments: 0..<200)
  func minimal(seed: UInt64) throws {
    var random = SplitMix(state: seed)
    let runs = (1...12).map { id in
      victim(
        Int64(id), [.interruptible, .offline, .idle][Int(random.next() % 3)], cores: Int64(random.next() % 6),
        gpus: Int64(random.next() % 2), work: Double(random.next() % 1000), isProtected: random.next() % 4 == 0)
    }
    let missing = MissingRoom(
      resources: Resources(cpuMillicores: Int64(random.next() % 12) * 1000, gpus: Int64(random.next() % 3)),
      slots: Int(random.next() % 3))
    func lacks(_ leaving: [VictimView]) -> Bool {
      let cores = leaving.reduce(0) { $0 + $1.resources.cpuMillicores }
      let gpus = leaving.reduce(0) { $0 + $1.resources.gpus }
      return cores < missing.resources.cpuMillicores || gpus < missing.resources.gpus || leaving.count < missing.slots
    }
    guard let choice = VictimChoice.choose(making: missing, from: runs, capacity: Self.capacity) else {
      #expect(missing.isNone || lacks(runs), "seed \(seed)")
      return
    }
    let leaving = runs.filter { choice.runs.contains($0.run) }
    #expect(leaving.count == choice.runs.count && !lacks(leaving), "seed \(seed)")
    for one in leaving { #expect(lacks(leaving.filter { $0 != one }), "seed \(seed): \(one.run) need not leave") }
  }
}

private struct SplitMix {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
