internal import FederationModel
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// How long the agent lets a pod's command run, asked for again and again on a thread of its own: the agent's lease, and what is held for
/// the run.
///
/// An age is counted from the moment at which it was asked for, so that a slow network makes a lease run out earlier, never later.
final class PodLease: Sendable {
  /// nil: the command needs no lease.
  let limitMs: UInt64?
  private let moment: Atomic<UInt64>
  /// 0: nothing is held apart from its bounds.
  private let sliceMs: Atomic<UInt64>
  private let begin = Atomic<UInt64>(0)
  private static let pauseMaxMs: UInt64 = 60_000
  private static let leasePauseMaxMs: UInt64 = 10_000

  /// CLOCK_BOOTTIME at which the command must be dead; 0 while there is no lease.
  var expiry: UInt64 { moment.load(ordering: .relaxed) }

  /// CLOCK_BOOTTIME at which the command is to end, unless more is held until then.
  var sliceEnd: UInt64 {
    let (begin, slice) = (begin.load(ordering: .relaxed), sliceMs.load(ordering: .relaxed))
    guard begin > 0, slice > 0 else { return .max }
    let (length, isLong) = slice.multipliedReportingOverflow(by: 1_000_000)
    let (end, isLater) = begin.addingReportingOverflow(length)
    return isLong || isLater ? .max : end
  }

  /// - Parameter sliceMs: of its wall time, held at first; nil: as long as its bounds allow.
  init(limitMs: UInt64?, sliceMs: UInt64?, client: PodFileClient) {
    self.limitMs = limitMs
    moment = Atomic(limitMs == nil ? .max : 0)
    self.sliceMs = Atomic(sliceMs ?? 0)
    _ = BlockingWork.begin { [self] in
      while true {
        let asked = SystemClock.boottimeNanoseconds
        if let answer = try? client.lease() {
          if let age = answer.ageMs { renew(asked: asked, ageMs: age) }
          if let slice = answer.sliceMs { extend(toMs: slice) }
        }
        usleep(UInt32(pauseMs) * 1000)
      }
    }
  }

  /// What is held is asked for the more often the less is left of it.
  private var pauseMs: UInt64 {
    var pause = limitMs.map { min(Self.leasePauseMaxMs, max(100, $0 / 10)) } ?? Self.pauseMaxMs
    let slice = sliceMs.load(ordering: .relaxed)
    if slice > 0 {
      let (end, now) = (sliceEnd, SystemClock.boottimeNanoseconds)
      let left = end == .max ? slice : end > now ? (end - now) / 1_000_000 : 0
      pause = min(pause, max(200, left / 4))
    }
    return pause
  }

  /// The command has begun, at that moment (CLOCK_BOOTTIME): its slice counts from there.
  func began(at moment: UInt64) { begin.store(moment, ordering: .relaxed) }

  /// An end only moves later.
  private func extend(toMs milliseconds: UInt64) {
    let held = sliceMs.load(ordering: .relaxed)
    if held > 0, milliseconds > held { sliceMs.store(milliseconds, ordering: .relaxed) }
  }

  private func renew(asked: UInt64, ageMs: UInt64) {
    guard let limitMs else { return }
    let (age, isOld) = ageMs.multipliedReportingOverflow(by: 1_000_000)
    let (limit, isLong) = limitMs.multipliedReportingOverflow(by: 1_000_000)
    guard !isOld, age < asked else { return }
    let (end, isLater) = (asked - age).addingReportingOverflow(limit)
    let expiry = isLong || isLater ? .max : end
    moment.store(max(expiry, self.expiry), ordering: .relaxed)
  }
}
