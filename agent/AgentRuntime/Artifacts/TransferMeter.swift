internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's one allowance for what it fetches and uploads, all transfers together (`transferLimit`). What other clusters fetch from
/// its export is sent by rclone, which has as much again.
final class TransferMeter: Sendable {
  private struct State {
    /// nil: no limit now.
    var bucket: TokenBucket?
    /// When the timetable was looked at last.
    var checkedNanoseconds: UInt64
  }
  private let timetable: BandwidthTimetable
  private let state: Mutex<State>
  private static let checkNanoseconds: UInt64 = 5_000_000_000

  init(_ timetable: BandwidthTimetable) {
    self.timetable = timetable
    let now = SystemClock.boottimeNanoseconds
    state = Mutex(
      State(
        bucket: timetable.bytesPerSecond(atMinute: Self.minuteOfDay)
          .map { TokenBucket(bytesPerSecond: $0, nowNanoseconds: now) }, checkedNanoseconds: now))
  }

  /// - Parameter bytesPerSecond: nil for no limit.
  convenience init(bytesPerSecond: Int64?) { self.init(BandwidthTimetable(bytesPerSecond: bytesPerSecond)) }

  /// nil: no limit.
  var bytesPerSecond: Int64? { timetable.bytesPerSecond(atMinute: Self.minuteOfDay) }

  /// Local time: what an operator reads on the wall.
  private static var minuteOfDay: Int {
    var now = time(nil)
    var local = tm()
    localtime_r(&now, &local)
    return Int(local.tm_hour) * 60 + Int(local.tm_min)
  }

  private func delay(_ bytes: Int) -> Duration {
    let now = SystemClock.boottimeNanoseconds
    return state.withLock { state in
      if now - state.checkedNanoseconds > Self.checkNanoseconds {
        state.checkedNanoseconds = now
        let rate = bytesPerSecond
        if rate != state.bucket?.bytesPerSecond {
          state.bucket = rate.map { TokenBucket(bytesPerSecond: $0, nowNanoseconds: now) }
        }
      }
      return state.bucket?.take(bytes, nowNanoseconds: now) ?? .zero
    }
  }

  /// Waits until `bytes` may be moved.
  func take(_ bytes: Int) async throws {
    let wait = delay(bytes)
    if wait > .zero { try await Task.sleep(for: wait) }
  }

  /// The same for threads that block anyway.
  func takeBlocking(_ bytes: Int) {
    let wait = delay(bytes).components
    guard wait.seconds > 0 || wait.attoseconds > 0 else { return }
    var time = timespec(tv_sec: Int(wait.seconds), tv_nsec: Int(wait.attoseconds / 1_000_000_000))
    var rest = timespec()
    while nanosleep(&time, &rest) != 0, errno == EINTR { time = rest }
  }
}
