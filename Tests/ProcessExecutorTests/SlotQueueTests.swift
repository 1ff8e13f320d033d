internal import Execution
internal import FederationModel
internal import Testing

@testable internal import ProcessExecutor

@Suite("SlotQueue")
struct SlotQueueTests {
  private func request(_ id: Int64) -> RunRequest {
    RunRequest(id: RunID(id), epoch: 1, project: "p", spec: TaskSpec(image: "any", command: ["true"]))
  }

  @Test("without a limit everything is ready, and nothing is remembered")
  func unlimited() {
    var queue = SlotQueue(slots: nil)
    #expect(queue.submitted((1...100).map(request)).ready.count == 100)
    #expect(queue.submitted([request(1)]).ready.map(\.id) == [RunID(1)])
    #expect(!queue.isWaiting(RunID(1)))
  }

  @Test("what could not be started waits before all others, in its order")
  func returned() {
    var queue = SlotQueue(slots: 2)
    let (ready, queued) = queue.submitted((1...5).map(request))
    #expect(ready.map(\.id) == [RunID(1), RunID(2)] && queued == [RunID(3), RunID(4), RunID(5)])
    queue.returned(ready)
    #expect(queue.takeReady().map(\.id) == [RunID(1), RunID(2)])
    queue.accepted([RunID(1), RunID(2)])
    queue.released(RunID(1))
    #expect(queue.takeReady().map(\.id) == [RunID(3)])
  }

  @Test("a run that ends before it is known to be accepted holds no slot")
  func endedEarly() {
    var queue = SlotQueue(slots: 1)
    _ = queue.submitted([request(1), request(2)])
    queue.released(RunID(1))
    queue.accepted([RunID(1)])
    #expect(queue.takeReady().map(\.id) == [RunID(2)])
  }

  @Test(
    "whatever happens, never more runs than slots, none twice, and in the end all, in order",
    arguments: 1...40 as ClosedRange<UInt64>)
  func property(seed: UInt64) {
    var state = seed
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(bound))
    }
    let slots = 1 + random(5)
    var queue = SlotQueue(slots: slots)
    var alive: [RunID] = []
    var begun: [RunID] = []
    var submitted: Int64 = 0
    func begin(_ ready: [RunRequest]) {
      for run in ready { #expect(!begun.contains(run.id), "seed \(seed): twice") }
      alive += ready.map(\.id)
      begun += ready.map(\.id)
      queue.accepted(ready.map(\.id))
      #expect(alive.count <= slots, "seed \(seed)")
    }
    while submitted < 200 || !alive.isEmpty {
      switch random(4) {
      case 0 where submitted < 200:
        let count = Int64(1 + random(9))
        begin(queue.submitted((submitted..<submitted + count).map(request)).ready)
        submitted += count
      case 1: queue.resynchronised(live: Set(alive))
      case 2 where !alive.isEmpty: queue.released(alive.remove(at: random(alive.count)))
      default: begin(queue.takeReady())
      }
      if alive.isEmpty, submitted >= 200 { begin(queue.takeReady()) }
    }
    #expect(begun == (0..<submitted).map { RunID($0) }, "seed \(seed)")
  }
}
