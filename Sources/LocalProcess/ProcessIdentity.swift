internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#endif

/// A process by its id and start time: ids are used again, the pair is not.
public struct ProcessIdentity: Codable, Hashable, Sendable {
  public var pid: Int32
  /// Clock ticks since boot. - Source: proc(5), field 22 of /proc/PID/stat.
  public var startTicks: UInt64
  /// Ticks count from this boot alone.
  public var bootID: String

  public static var currentBoot: String {
    (FileManager.default.contents(atPath: "/proc/sys/kernel/random/boot_id")).map {
      String(decoding: $0, as: UTF8.self).split(whereSeparator: \.isWhitespace).first.map(String.init) ?? ""
    } ?? ""
  }

  /// nil when no such process lives.
  public init?(pid: Int32) {
    guard pid > 1, let ticks = Self.startTicks(pid: pid) else { return nil }
    self.pid = pid
    startTicks = ticks
    bootID = Self.currentBoot
  }

  /// nil for a dead process, and for a zombie, which is dead but for its exit code.
  public static func startTicks(pid: Int32) -> UInt64? {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return nil }
    return parse(stat: String(decoding: data, as: UTF8.self))
  }

  /// The name in parentheses may itself hold spaces and parentheses.
  public static func parse(stat: String) -> UInt64? {
    guard let close = stat.lastIndex(of: ")") else { return nil }
    let fields = stat[stat.index(after: close)...].split(separator: " ")
    guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
    return UInt64(fields[19])
  }

  public var isAlive: Bool { bootID == Self.currentBoot && Self.startTicks(pid: pid) == startTicks }

  /// Signals exactly this process; never one that took its id. - Returns: whether it was there.
  @discardableResult
  public func signal(_ number: Int32) -> Bool { isAlive && kill(pid, number) == 0 }

  /// Asks it to end by a signal (SIGTERM, which is 15 everywhere), and ends it when it has not after `grace`.
  public func end(_ number: Int32 = 15, grace: Duration) async {
    guard signal(number) else { return }
    let deadline = ContinuousClock.now + grace
    while isAlive, ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(20)) }
    if signal(SIGKILL) {
      let last = ContinuousClock.now + .seconds(5)
      while isAlive, ContinuousClock.now < last { try? await Task.sleep(for: .milliseconds(20)) }
    }
  }

  /// - Throws: `internal`, when the file cannot be written.
  public func save(to path: String) throws {
    try PrivateFile.write(String(decoding: JSONEncoder().encode(self), as: UTF8.self), to: path)
  }

  public static func load(from path: String) -> ProcessIdentity? {
    FileManager.default.contents(atPath: path).flatMap { try? JSONDecoder().decode(ProcessIdentity.self, from: $0) }
  }
}
