internal import FederationModel
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's lease, as a pod sees it: asked for again and again on a thread of its own.
///
/// An age is counted from the moment at which it was asked for, so that a slow network makes a lease run out earlier, never later.
final class PodLease: Sendable {
  let limitMs: UInt64
  private let moment = Atomic<UInt64>(0)

  /// CLOCK_BOOTTIME at which the command must be dead; 0 while there is no lease.
  var expiry: UInt64 { moment.load(ordering: .relaxed) }

  init(limitMs: UInt64, client: PodFileClient) {
    self.limitMs = limitMs
    let pause = UInt32(min(10_000, max(100, limitMs / 10))) * 1000
    _ = BlockingWork.begin { [self] in
      while true {
        let asked = SystemClock.boottimeNanoseconds
        if let age = try? client.leaseAge() { renew(asked: asked, ageMs: age) }
        usleep(pause)
      }
    }
  }

  private func renew(asked: UInt64, ageMs: UInt64) {
    let (age, isOld) = ageMs.multipliedReportingOverflow(by: 1_000_000)
    let (limit, isLong) = limitMs.multipliedReportingOverflow(by: 1_000_000)
    guard !isOld, age < asked else { return }
    let (end, isLater) = (asked - age).addingReportingOverflow(limit)
    let expiry = isLong || isLater ? .max : end
    moment.store(max(expiry, self.expiry), ordering: .relaxed)
  }
}
