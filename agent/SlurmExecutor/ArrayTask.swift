/// A task of a job array, as Slurm and the batch steps call it: `1230_5`.
struct ArrayTask: Hashable, Sendable {
  var arrayID: UInt64
  var index: Int

  /// In `scancel`'s arguments. Never the id of the task's own job: that of the last task is the array's, and means all of it.
  var target: String { "\(arrayID)_\(index)" }

  init(arrayID: UInt64, index: Int) {
    self.arrayID = arrayID
    self.index = index
  }

  /// nil for a job outside of arrays.
  init?(_ job: SlurmJob) {
    guard let index = job.index else { return nil }
    self.init(arrayID: job.arrayID, index: index)
  }

  /// From where a step says that it is, `node7 job 1230_5`; nil when that was no task of an array.
  init?(place: String) {
    guard let job = place.split(separator: " ").last else { return nil }
    let numbers = job.split(separator: "_", maxSplits: 1)
    guard numbers.count == 2, let array = UInt64(numbers[0]), let index = Int(numbers[1]) else { return nil }
    self.init(arrayID: array, index: index)
  }
}
