internal import FederationModel
internal import Testing

@testable internal import SlurmExecutor

@Suite struct WaitHistoryTests {
  @Test("Waits are estimated for each partition and size, and by Slurm's forecast where none of ours is known")
  func estimates() {
    var history = WaitHistory()
    history.forecast(in: "batch", cpus: 1, wait: .seconds(40))
    #expect(history.estimates(of: "batch") == [.init(cpus: 1, median: .seconds(40), upper: .seconds(40), samples: 0)])
    for wait in [10, 30, 20] { history.started(in: "batch", cpus: 1, after: .seconds(wait)) }
    history.started(in: "batch", cpus: 100, after: .seconds(500))
    #expect(
      history.estimates(of: "batch") == [
        .init(cpus: 1, median: .seconds(20), upper: .seconds(30), samples: 3),
        .init(cpus: 512, median: .seconds(500), upper: .seconds(500), samples: 1),
      ])
    #expect(history.estimates(of: "other").isEmpty)
  }

  @Test(
    "What Slurm plans for the jobs that wait seeds their sizes, until a job of ours has waited; a later plan takes its place"
  )
  func planned() {
    let lines = [
      "Job=1|State=PENDING|Start=1100|Partition=batch|Cpus=4|Name=a",
      "Job=2|State=PENDING|Start=1300|Partition=batch|Cpus=8|Name=b",
      "Job=3|State=PENDING|Start=4600|Partition=batch|Cpus=2|Name=c",
      "Job=4|State=PENDING|Start=N/A|Partition=batch|Cpus=1|Name=held",
      "Job=5|State=RUNNING|Start=900|Partition=batch|Cpus=1|Name=d",
      "Job=6|State=PENDING|Start=990|Partition=batch,debug|Cpus=64|Name=e",
      "Job=7|State=PENDING|Start=2000|Partition=foreign|Cpus=64|Name=f",
    ]
    var history = WaitHistory()
    history.forecast(in: "batch", cpus: 1, wait: .seconds(77))
    let jobs = SlurmJob.parse(lines.joined(separator: "\n")).jobs
    #expect(history.planned(jobs, in: ["batch", "debug", "idle"], now: 1000) == ["batch", "debug"])
    let wide = WaitHistory.Estimate(cpus: 64, median: .zero, upper: .zero, samples: 0)
    #expect(
      history.estimates(of: "batch") == [
        .init(cpus: 8, median: .seconds(300), upper: .seconds(3600), samples: 0), wide,
      ])
    #expect(history.estimates(of: "debug") == [wide])
    #expect(history.estimates(of: "foreign").isEmpty && !history.hasOwnWaits(in: "batch"))
    #expect(history.shortWait(in: "batch", cpus: 3) == .seconds(300) && history.shortWait(in: "batch", cpus: 1) == nil)
    for wait in [40, 10, 30, 20] { history.started(in: "batch", cpus: 3, after: .seconds(wait)) }
    #expect(history.shortWait(in: "batch", cpus: 3) == .seconds(20) && history.hasOwnWaits(in: "batch"))
    #expect(history.planned([], in: ["debug"], now: 1000).isEmpty)
    #expect(history.estimates(of: "debug").isEmpty)
  }

  @Test("Memory is bounded")
  func bounded() {
    var history = WaitHistory()
    for wait in 0..<10_000 { history.started(in: "p", cpus: 1, after: .seconds(wait % 7)) }
    #expect(history.estimates(of: "p")[0].samples == WaitHistory.samplesMax)
  }

  @Test("A queue that has changed makes the past forgotten")
  func regimes() {
    var history = WaitHistory()
    for _ in 0..<200 { history.started(in: "p", cpus: 1, after: .seconds(1)) }
    for _ in 0..<3 { history.started(in: "p", cpus: 1, after: .seconds(1000)) }
    #expect(history.estimates(of: "p") == [.init(cpus: 1, median: .seconds(1000), upper: .seconds(1000), samples: 3)])
  }

  @Test("Fewer than 29 waits give no bound but the longest; with 29 the longest is one, and with more an earlier one")
  func boundIndex() {
    #expect(WaitHistory.boundIndex(count: 1) == 0)
    #expect(WaitHistory.boundIndex(count: 28) == 27)
    #expect(WaitHistory.boundIndex(count: 29) == 28)
    #expect(WaitHistory.boundIndex(count: 46) == 44)
    #expect(WaitHistory.boundIndex(count: 256) < 250)
  }

  @Test("The bound is above the 90 % quantile in at least 95 % of samples", arguments: [40, 100, 256])
  func coverage(_ count: Int) {
    var random = SeededGenerator(seed: UInt64(count))
    let trials = 2000
    let above = (0..<trials).count { _ in
      let sorted = (0..<count).map { _ in Double.random(in: 0..<1, using: &random) }.sorted()
      return sorted[WaitHistory.boundIndex(count: count)] >= 0.9
    }
    #expect(Double(above) / Double(trials) >= 0.935, "seed \(count)")
  }

  @Test("A controller that answers is asked each interval; one that is slow or silent less often, within bounds")
  func backoff() {
    var backoff = Backoff(interval: .seconds(5))
    #expect(backoff.pause(jitter: 0.5) == .seconds(5))
    backoff.succeeded(in: .seconds(2))
    #expect(backoff.pause(jitter: 0.5) == .seconds(20))
    backoff.failed()
    #expect(backoff.pause(jitter: 0.5) == .seconds(5))
    for _ in 0..<100 { backoff.failed() }
    // What only Slurm can tell is never more than a minute late.
    #expect(backoff.pause(jitter: 1) == .seconds(60) && backoff.pause(jitter: 0.5) == .seconds(30))
    backoff.succeeded(in: .seconds(29))
    #expect(backoff.pause(jitter: 1) == .seconds(60))
    #expect(Backoff(interval: .seconds(600)).pause(jitter: 1) == .seconds(600))
    backoff.succeeded(in: .milliseconds(10))
    #expect(backoff.pause(jitter: 1) == .seconds(5))
  }
}
