internal import Synchronization

/// The agent's one allowance for artifact bytes, both directions together (`transferLimit`).
final class TransferMeter: Sendable {
  private let bucket: Mutex<TokenBucket?>

  /// - Parameter bytesPerSecond: nil for no limit.
  init(bytesPerSecond: Int64?) {
    let now = SystemClock.boottimeNanoseconds
    bucket = Mutex(bytesPerSecond.map { TokenBucket(bytesPerSecond: $0, nowNanoseconds: now) })
  }

  /// Waits until `bytes` may be moved.
  func take(_ bytes: Int) async throws {
    let now = SystemClock.boottimeNanoseconds
    let wait = bucket.withLock { $0?.take(bytes, nowNanoseconds: now) ?? .zero }
    if wait > .zero { try await Task.sleep(for: wait) }
  }
}
