internal import Glibc

/// Where a stream of a log goes to, from the log's beginning: what is there already is skipped.
protocol LogSink: AnyObject, Sendable {
  func write(_ bytes: [UInt8])
  /// Of the run's whole log.
  var size: Int64 { get }
  /// The stream has ended by itself.
  ///
  /// - Parameter isLast: nothing can come any more.
  /// - Returns: whether all that came is written.
  func finish(isLast: Bool) -> Bool
}

/// The file of a log. What comes is what the log has from its beginning: what the file has already is skipped.
final class LogFile: LogSink, @unchecked Sendable {
  private let descriptor: Int32
  private var skip: Int64
  private(set) var size: Int64
  private let limit: Int64
  private let notice: String

  /// Used by one stream at a time.
  init?(_ path: String, limit: Int64, notice: String) {
    descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { return nil }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      Glibc.close(descriptor)
      return nil
    }
    size = Int64(status.st_size)
    skip = size
    self.limit = limit
    self.notice = notice
  }
  deinit { Glibc.close(descriptor) }

  func write(_ bytes: [UInt8]) {
    var rest = bytes[...]
    if skip > 0 {
      let known = min(skip, Int64(rest.count))
      skip -= known
      rest = rest.dropFirst(Int(known))
    }
    guard !rest.isEmpty, size < limit else { return }
    if size + Int64(rest.count) > limit {
      rest = rest.prefix(Int(limit - size))
      put(rest)
      return put(Array(notice.utf8)[...])
    }
    put(rest)
  }

  private func put(_ bytes: ArraySlice<UInt8>) { size += Self.put(bytes, descriptor) }

  func finish(isLast: Bool) -> Bool { true }

  /// - Returns: how many bytes the file has taken.
  static func put(_ bytes: ArraySlice<UInt8>, _ descriptor: Int32) -> Int64 {
    var rest = bytes
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      rest = rest.dropFirst(count)
    }
    return Int64(bytes.count - rest.count)
  }
}

/// Tells the growth of a log a few times a second at most.
actor LogGrowth {
  private let file: any LogSink
  private let tell: @Sendable (Int64) async -> Void
  private var told: Int64
  private var toldAt: ContinuousClock.Instant?
  private static let pause = Duration.milliseconds(300)

  init(_ file: any LogSink, _ tell: @Sendable @escaping (Int64) async -> Void) {
    self.file = file
    self.tell = tell
    told = file.size
  }

  func take(_ bytes: [UInt8]) async {
    file.write(bytes)
    let now = ContinuousClock.now
    if let toldAt, now - toldAt < Self.pause { return }
    toldAt = now
    await flush()
  }

  /// The stream has ended by itself.
  ///
  /// - Parameter isLast: nothing can come any more.
  /// - Returns: whether the log has all of it.
  func finish(isLast: Bool) async -> Bool {
    let isWhole = file.finish(isLast: isLast)
    await flush()
    return isWhole
  }

  func flush() async {
    guard file.size > told else { return }
    told = file.size
    await tell(told)
  }
}
