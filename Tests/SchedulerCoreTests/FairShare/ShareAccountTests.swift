import FederationModel
import SchedulerCore
import Testing

@Suite("What a project has used")
struct ShareAccountTests {
  private static let decay = UsageDecay(halfLife: 3600)
  private static let core = Resources(cpuMillicores: 1000, memory: .gibibytes(2))

  private func moment(_ seconds: Double) -> Timestamp { Timestamp(milliseconds: Int64(seconds * 1000)) }

  @Test("After each half-life what was used counts half, and what is always held comes to the horizon")
  func halves() {
    let account = ShareAccount(ended: ResourceSeconds(cpu: 800, memory: 8, gpu: 4), at: moment(0))
    #expect(abs(account.used(at: moment(3600), Self.decay).cpu - 400) < 1e-9)
    #expect(abs(account.used(at: moment(3 * 3600), Self.decay).gpu - 0.5) < 1e-9)
    #expect(abs(Self.decay.held(for: 1e9) - Self.decay.horizon) < 1e-6)
    #expect(abs(Self.decay.held(for: 1) - 1) < 1e-3)
  }

  @Test("A run counts as it goes: the moment of its end changes nothing but what was expected of it")
  func asItGoes() {
    var account = ShareAccount(at: moment(0))
    account.place(Self.core, expecting: 100)
    #expect(account.used(at: moment(0), Self.decay) == .zero && account.charged(at: moment(0), Self.decay).cpu == 100)
    account.start(Self.core, at: moment(10), now: moment(10), Self.decay)
    let before = account.used(at: moment(5000), Self.decay)
    #expect(before.cpu > 3000 && abs(before.memory - 2 * before.cpu) < 1e-6)
    account.end(Self.core, startedAt: moment(10), expecting: 100, now: moment(5000), Self.decay)
    let after = account.used(at: moment(5000), Self.decay)
    #expect(abs(after.cpu - before.cpu) < 1e-6 && account.isIdle)
    #expect(account.charged(at: moment(5000), Self.decay) == after && account.endedAt == moment(5000))
  }

  @Test("An account that is rebuilt from what is durable is the one that was there", arguments: 0..<20)
  func rebuilt(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var account = ShareAccount(at: moment(0))
    var live: [(resources: Resources, start: Timestamp, expected: Double)] = []
    var now = 0.0
    for _ in 0..<200 {
      now += Double(random.next(upTo: 1000))
      if random.next(upTo: 2) == 0 || live.isEmpty {
        let resources = Resources(
          cpuMillicores: Int64(random.next(upTo: 8000)), memory: .mebibytes(Int64(random.next(upTo: 9000))),
          gpus: Int64(random.next(upTo: 3)))
        account.place(resources, expecting: 50)
        account.start(resources, at: moment(now), now: moment(now), Self.decay)
        live.append((resources, moment(now), 50))
      } else {
        let run = live.remove(at: random.next(upTo: live.count))
        account.end(run.resources, startedAt: run.start, expecting: run.expected, now: moment(now), Self.decay)
      }
      var copy = ShareAccount(ended: account.ended, at: account.endedAt)
      for run in live {
        copy.place(run.resources, expecting: run.expected)
        copy.start(run.resources, at: run.start, now: moment(now), Self.decay)
      }
      let (a, b) = (account.charged(at: moment(now + 77), Self.decay), copy.charged(at: moment(now + 77), Self.decay))
      #expect(abs(a.cpu - b.cpu) < 1e-6 * (1 + b.cpu), "seed \(seed)")
      #expect(abs(a.memory - b.memory) < 1e-6 * (1 + b.memory) && abs(a.gpu - b.gpu) < 1e-6 * (1 + b.gpu))
    }
  }
}
