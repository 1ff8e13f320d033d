internal import Execution
internal import FederationModel

/// Which of the submitted runs may start, where a cluster has fewer slots than it was given runs. Pure.
///
/// A run is in one of three states. *Waiting*: nobody but this value knows it; it starts in the order of submission.
/// *Starting*: on its way to the supervisor, holds a slot. *Started*: holds a slot until its end is told.
struct SlotQueue {
  /// nil: no limit, and nothing is remembered.
  let slots: Int?
  private var waiting: [RunID: RunRequest] = [:]
  /// Submission order of `waiting`, from `head` on; ids that no longer wait are skipped.
  private var order: [RunID] = []
  private var head = 0
  private var starting: Set<RunID> = []
  private var started: Set<RunID> = []

  init(slots: Int?) { self.slots = slots }

  func isWaiting(_ id: RunID) -> Bool { waiting[id] != nil }

  /// Runs that hold a slot are handed on again: the supervisor knows that they are there.
  /// - Returns: what must be started now, in order, and what has begun to wait.
  mutating func submitted(_ runs: [RunRequest]) -> (ready: [RunRequest], queued: [RunID]) {
    guard slots != nil else { return (runs, []) }
    var repeated: [RunRequest] = []
    var new: [RunID] = []
    for run in runs where waiting[run.id] == nil {
      if started.contains(run.id) || starting.contains(run.id) {
        repeated.append(run)
      } else {
        waiting[run.id] = run
        order.append(run.id)
        new.append(run.id)
      }
    }
    let ready = takeReady()
    return (repeated + ready, new.filter { waiting[$0] != nil })
  }

  /// The next runs for which there is a slot. They hold it from now on.
  mutating func takeReady() -> [RunRequest] {
    guard let slots else { return [] }
    var ready: [RunRequest] = []
    while head < order.count, starting.count + started.count < slots {
      if let run = waiting.removeValue(forKey: order[head]) {
        starting.insert(run.id)
        ready.append(run)
      }
      head += 1
    }
    // Moved only now and then, so that each id is moved a bounded number of times.
    if head > 64, head * 2 > order.count {
      order.removeFirst(head)
      head = 0
    }
    return ready
  }

  /// The supervisor has them. An end that was told in the meantime stands.
  mutating func accepted(_ ids: some Sequence<RunID>) {
    for id in ids where starting.remove(id) != nil { started.insert(id) }
  }

  /// They are not on their way any more. If one lives all the same, `resynchronised` says so.
  mutating func abandoned(_ ids: some Sequence<RunID>) { for id in ids { starting.remove(id) } }

  /// The supervisor could not take them at present: they wait again, before all others.
  mutating func returned(_ runs: [RunRequest]) {
    guard slots != nil else { return }
    for run in runs {
      released(run.id)
      waiting[run.id] = run
    }
    order.replaceSubrange(..<head, with: runs.map(\.id))
    head = 0
  }

  /// The run holds no slot any more, or does not wait any more.
  /// - Returns: whether it was waiting.
  @discardableResult
  mutating func released(_ id: RunID) -> Bool {
    starting.remove(id)
    started.remove(id)
    return waiting.removeValue(forKey: id) != nil
  }

  /// The supervisor has said what lives. What is on its way is not in that list yet.
  mutating func resynchronised(live: Set<RunID>) {
    guard slots != nil else { return }
    started = live.subtracting(starting)
    for id in live { waiting[id] = nil }
  }
}
