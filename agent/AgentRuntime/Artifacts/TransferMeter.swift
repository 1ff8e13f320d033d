internal import FederationModel
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's one allowance for what it fetches and uploads, all transfers together (`transferLimit`), or one link's within it
/// (`linkLimits`). What other clusters fetch from its export is sent by rclone, which has as much again.
final class TransferMeter: Sendable {
  /// What time it is.
  struct Clock: Sendable {
    /// Since some moment; never goes back.
    var nanoseconds: @Sendable () -> UInt64 = { SystemClock.boottimeNanoseconds }
    /// Of the day, local time: what an operator reads on the wall.
    var minuteOfDay: @Sendable () -> Int = {
      var now = time(nil)
      var local = tm()
      localtime_r(&now, &local)
      return Int(local.tm_hour) * 60 + Int(local.tm_min)
    }
  }

  private struct State {
    /// nil: no limit now.
    var bucket: TokenBucket?
    /// When the timetable was looked at last.
    var checkedNanoseconds: UInt64
  }
  private let timetable: BandwidthTimetable
  private let state: Mutex<State>
  private static let checkNanoseconds: UInt64 = 1_000_000_000
  private let clock: Clock
  /// The allowance of which this is a part.
  private let whole: TransferMeter?

  /// - Parameter whole: what may be moved must be allowed there as well.
  init(_ timetable: BandwidthTimetable, within whole: TransferMeter? = nil, clock: Clock = Clock()) {
    self.timetable = timetable
    self.whole = whole
    self.clock = clock
    let now = clock.nanoseconds()
    state = Mutex(
      State(
        bucket: timetable.bytesPerSecond(atMinute: clock.minuteOfDay())
          .map { TokenBucket(bytesPerSecond: $0, nowNanoseconds: now) }, checkedNanoseconds: now))
  }

  /// - Parameter bytesPerSecond: nil for no limit.
  convenience init(bytesPerSecond: Int64?) { self.init(BandwidthTimetable(bytesPerSecond: bytesPerSecond)) }

  /// nil: no limit.
  var bytesPerSecond: Int64? { timetable.bytesPerSecond(atMinute: clock.minuteOfDay()) }

  /// How long `bytes` have to wait; they count as moved.
  func delay(_ bytes: Int) -> Duration {
    let now = clock.nanoseconds()
    let own = state.withLock { state in
      if now - state.checkedNanoseconds > Self.checkNanoseconds {
        state.checkedNanoseconds = now
        let rate = bytesPerSecond
        if rate != state.bucket?.bytesPerSecond {
          state.bucket = rate.map { TokenBucket(bytesPerSecond: $0, nowNanoseconds: now) }
        }
      }
      return state.bucket?.take(bytes, nowNanoseconds: now) ?? .zero
    }
    return max(own, whole?.delay(bytes) ?? .zero)
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

/// What each link may carry: all of them together `transferLimit`, and some of them less (`linkLimits`).
struct LinkMeters: Sendable {
  let all: TransferMeter
  private let links: [String: TransferMeter]

  /// - Parameter links: by source: `repository`, `origin`, `archive`, or a cluster's name.
  init(_ all: TransferMeter, links: [String: BandwidthTimetable] = [:], clock: TransferMeter.Clock = .init()) {
    self.all = all
    self.links = links.mapValues { TransferMeter($0, within: all, clock: clock) }
  }

  var repository: TransferMeter { links["repository"] ?? all }

  subscript(_ source: DataSource) -> TransferMeter {
    let name =
      switch source {
      case .repository: "repository"
      case .origin: "origin"
      case .archive: "archive"
      case .export(let cluster, _): cluster.text
      }
    return links[name] ?? all
  }
}
