internal import CSupervisor
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

  /// Replaces the file in one step. The two files swap their names and keep their length, so that a lease can be renewed on a
  /// disk that has become full: runs must not be fenced because somebody filled it.
  public func write(in stateDirectory: String) throws(SystemFailure) {
    let digits = String(startNanoseconds)
    let text = String(repeating: "0", count: 20 - digits.utf8.count) + digits
    let path = Self.path(in: stateDirectory)
    let file = try Files.open(path + ".new", O_WRONLY | O_CREAT)
    defer { close(file) }
    try Files.writeAll(file, Array(text.utf8))
    // The first time there is nothing to swap with, and some file systems cannot swap.
    if csupervisor_exchange(path + ".new", path) == 0 { return }
    if rename(path + ".new", path) != 0 { throw SystemFailure("rename \(path)") }
  }
}
