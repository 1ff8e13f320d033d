internal import Glibc

/// When a lease that is known in some way runs out.
protocol LeaseView {
  /// CLOCK_BOOTTIME of this machine, in nanoseconds, at which a run with this limit must be dead; 0 for at once.
  func expiry(limitMs: UInt64, now: UInt64) -> UInt64
}

/// The agent's lease file: the CLOCK_BOOTTIME, in nanoseconds, at which the last lease began.
///
/// Pure but for `read` and `write`. CLOCK_BOOTTIME counts time asleep and is not set by anybody, so neither suspend nor a
/// changed wall clock stretches a lease.
public struct Lease: Hashable, Sendable, LeaseView {
  /// 0 when there never was one.
  public var startNanoseconds: UInt64
  public init(startNanoseconds: UInt64) { self.startNanoseconds = startNanoseconds }

  /// When a run with this limit must be dead. A lease from the future belongs to an earlier boot and is worth nothing.
  public func expiry(limitMs: UInt64, now: UInt64) -> UInt64 {
    guard startNanoseconds <= now else { return 0 }
    let (limit, overflow) = limitMs.multipliedReportingOverflow(by: 1_000_000)
    let (sum, overflowed) = startNanoseconds.addingReportingOverflow(limit)
    return overflow || overflowed ? .max : sum
  }

  public static func path(in stateDirectory: String) -> String { stateDirectory + "/lease" }

  /// A file that is missing or unreadable is no lease.
  public static func read(in stateDirectory: String) -> Lease {
    let bytes = Files.read(path(in: stateDirectory), limit: 32) ?? []
    let text = String(decoding: bytes.filter { $0 > 0x20 }, as: UTF8.self)
    return Lease(startNanoseconds: UInt64(text) ?? 0)
  }

  public func write(in stateDirectory: String) throws(SystemFailure) {
    try Files.replace(Self.path(in: stateDirectory), with: Array(String(startNanoseconds).utf8))
  }
}
