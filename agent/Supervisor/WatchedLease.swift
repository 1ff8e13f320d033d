/// A lease whose file another machine writes: what counts is that it changes, because that machine's clock says nothing here.
///
/// Pure. The file is looked at every `interval`; a change that is seen may have happened right after the look before, so the
/// lease is counted from there. A file system that shows changes late makes it run out earlier, never later.
struct WatchedLease: Hashable, LeaseView {
  private(set) var value: [UInt8]?
  /// The look before the last change (CLOCK_BOOTTIME); nil until a change has been seen.
  private(set) var renewedAt: UInt64?
  private var lookedAt: UInt64

  /// - Parameter value: the file's content at the first look. Whether that is old nobody can tell, so it is no lease.
  init(value: [UInt8]?, now: UInt64) {
    self.value = value
    lookedAt = now
  }

  mutating func look(_ value: [UInt8]?, now: UInt64) {
    // A look that saw nothing was none: what it would have seen is seen by the next one.
    guard let value else { return }
    if value != self.value {
      if self.value != nil { renewedAt = lookedAt }
      self.value = value
    }
    lookedAt = now
  }

  func expiry(limitMs: UInt64, now: UInt64) -> UInt64 {
    guard let renewedAt else { return 0 }
    return Lease(startNanoseconds: renewedAt).expiry(limitMs: limitMs, now: now)
  }
}
