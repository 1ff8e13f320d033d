internal import Execution
internal import FederationModel

/// Tells the executor which runs wait for their inputs, and for how long still, so that they may wait in the cluster's queue meanwhile
/// (docs/adr/0009-slurm.md). What it forgets with the agent is offered again, or submitted when everything is there.
struct QueueingAhead: Sendable {
  static let interval = Duration.seconds(2)
  /// Runs in one offer.
  static let batchMax = 1024

  let executor: any Executor
  let cache: DataCache
  /// Those whose inputs are on their way now.
  let staging: @Sendable () -> [RunRequest]

  /// Until the task is cancelled.
  func run() async {
    var settled: Set<RunID> = []
    while (try? await Task.sleep(for: Self.interval)) != nil {
      let waiting = staging()
      settled.formIntersection(waiting.map(\.id))
      var awaited: [AwaitedRun] = []
      for request in waiting where !settled.contains(request.id) && awaited.count < Self.batchMax {
        // What is here in a moment is submitted then.
        guard let left = await cache.timeLeft(for: request.wantedReplicas), left > Self.interval else { continue }
        awaited.append(AwaitedRun(request: request, inputsIn: left))
      }
      if !awaited.isEmpty { settled.formUnion(await executor.queueAhead(awaited)) }
    }
  }
}

extension DataCache {
  /// Until these replicas are expected to be here: what is missing, at the rate of their transfers so far. nil while nobody can say.
  func timeLeft(for wanted: [WantedReplica]) -> Duration? {
    var seen: Set<DataKey> = []
    var missing: Int64 = 0
    var rate = 0.0
    for one in wanted where entries[one.key] == nil && seen.insert(one.key).inserted {
      guard let flight = flights[one.key] else {
        missing += one.size
        continue
      }
      let reading = flight.gauge.reading
      missing += max(0, one.size - reading.bytesDone)
      let seconds = Double(SystemClock.boottimeNanoseconds - flight.startedNanoseconds) / 1e9
      if seconds >= 1 { rate += Double(reading.bytesMoved) / seconds }
    }
    guard missing > 0 else { return .zero }
    return rate > 0 ? .seconds(min(Double(missing) / rate, 1e9)) : nil
  }
}
