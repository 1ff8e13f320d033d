internal import FederationModel

/// What a `Reflector` does next: lists until a list was complete, then watches from that version; again from the last
/// version that was seen when a watch ends or breaks, and from a new list when the version is forgotten or an event
/// could not be read.
///
/// Pure: time and chance are given.
struct WatchState: Equatable, Sendable {
  enum Step: Equatable, Sendable {
    case list
    case watch(from: String)
  }

  enum End: Equatable, Sendable {
    /// The server ended it, as it was asked to.
    case finished
    case failed(String, retryAfter: Duration? = nil)
    /// The version is no longer kept.
    case expired
    /// Something was missed.
    case unreadable(String)
  }

  /// Failures in a row after which a version is no longer relied upon.
  static let failuresBeforeList = 8
  /// A watch that ends sooner without a word counts as a failure, or it would be begun again and again without a pause.
  static let shortest = Duration.seconds(1)

  private(set) var version: String?
  /// In a row, without an answer in between.
  private(set) var failures = 0
  /// Lists in a row that were followed by an expired watch or failed.
  private var fruitless = 0

  var step: Step { version.map { .watch(from: $0) } ?? .list }

  mutating func listed(_ version: String) {
    self.version = version
    failures = 0
  }

  /// An event or a bookmark arrived.
  mutating func advanced(to version: String?) {
    if let version { self.version = version }
    failures = 0
    fruitless = 0
  }

  /// - Returns: how many failures in a row a pause is to be for; 0 for none.
  mutating func ended(_ end: End, after duration: Duration) -> Int {
    switch end {
    case .finished where duration >= Self.shortest:
      failures = 0
      fruitless = 0
      return 0
    case .finished, .failed:
      failures += 1
      if failures >= Self.failuresBeforeList { version = nil }
      return failures
    case .expired:
      version = nil
      fruitless += 1
      // Once is what compaction does; again and again is a server that is behind itself.
      return fruitless - 1
    case .unreadable:
      version = nil
      fruitless += 1
      return fruitless
    }
  }
}
