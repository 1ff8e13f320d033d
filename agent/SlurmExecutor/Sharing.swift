/// Which runs of a job array its tasks may take from each other (docs/adr/0009-slurm.md). Pure.
///
/// Every run has a task of its own in Slurm's queue. A task that is done with its run takes the next one of its chain that nobody
/// has claimed, as long as it is young: so the cost of a job is shared by as many short runs as would have waited, and none ever
/// waits for another while a node is free.
enum Sharing {
  /// Chains are at most so long where all tasks might start at once: each looks through the whole of its own.
  static let chainMax = 8

  /// The distance between two runs of a chain in an array of `count` runs; nil: all may start at once, so that none is to be taken.
  ///
  /// - Parameters:
  ///   - slots: tasks of that shape that the partition can run at once, if nobody else were there.
  ///   - taken: how many of them have our own jobs, running and waiting.
  static func stride(count: Int, slots: Int, taken: Int) -> Int? {
    guard slots > 0 else { return nil }
    let distance = count > slots ? slots : max(slots - taken, (count + chainMax - 1) / chainMax)
    return distance < count ? distance : nil
  }
}
