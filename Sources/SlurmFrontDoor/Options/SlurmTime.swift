public import FederationModel

/// Times as Slurm reads and writes them.
public enum SlurmTime {
  /// `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes`, `days-hours:minutes:seconds`, in
  /// seconds; nil for what is none of them. Seconds round up to a whole minute, as Slurm's limits are kept.
  ///
  /// - Returns: `unlimited` for `UNLIMITED`, `INFINITE`, `-1` and, as in Slurm, 0.
  public static func limit(_ text: String) -> Limit? {
    if ["unlimited", "infinite", "-1"].contains(text.lowercased()) { return .unlimited }
    guard let seconds = seconds(text) else { return nil }
    if seconds == 0 { return .unlimited }
    return .seconds((seconds + 59) / 60 * 60)
  }

  public enum Limit: Hashable, Sendable {
    case unlimited
    case seconds(Int64)
  }

  private static func seconds(_ text: String) -> Int64? {
    let halves = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    let parts = halves.last!.split(separator: ":", omittingEmptySubsequences: false)
    var numbers: [Int64] = []
    for part in parts {
      guard let number = number(part) else { return nil }
      numbers.append(number)
    }
    if halves.count == 2 {
      guard let days = number(halves[0]), numbers.count <= 3 else { return nil }
      let padded = numbers + [0, 0]
      return ((days * 24 + padded[0]) * 60 + padded[1]) * 60 + padded[2]
    }
    return switch numbers.count {
    case 1: numbers[0] * 60
    case 2: numbers[0] * 60 + numbers[1]
    case 3: (numbers[0] * 60 + numbers[1]) * 60 + numbers[2]
    default: nil
    }
  }

  private static func number(_ text: Substring) -> Int64? {
    guard !text.isEmpty, text.utf8.count <= 9, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int64(text)
  }

  /// As `squeue` has it in `%M` and `%l`: `0:05`, `59:00`, `1:02:03`, `2-00:00:00`.
  public static func short(_ seconds: Int64) -> String {
    let seconds = max(0, seconds)
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60)
    func two(_ number: Int64) -> String { CivilTime.pad(number) }
    if days > 0 { return "\(days)-\(two(hours)):\(two(minutes)):\(two(seconds % 60))" }
    if hours > 0 { return "\(hours):\(two(minutes)):\(two(seconds % 60))" }
    return "\(minutes):\(two(seconds % 60))"
  }

  /// As `sacct` has it: `00:00:05`, `1-02:03:04`.
  public static func long(_ seconds: Int64) -> String {
    let seconds = max(0, seconds)
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60)
    let clock = "\(CivilTime.pad(hours)):\(CivilTime.pad(minutes)):\(CivilTime.pad(seconds % 60))"
    return days > 0 ? "\(days)-\(clock)" : clock
  }

  /// `2026-03-01T12:00:00` in the reader's zone.
  ///
  /// - Parameter offset: seconds east of UTC.
  public static func moment(_ time: Timestamp?, offset: Int64) -> String? {
    guard let time else { return nil }
    let civil = CivilTime(time + .seconds(offset))
    return "\(civil.date)T\(civil.clock)"
  }

  /// A moment for `--begin` or `sacct -S`: `now`, `now+1hour`, `today`, `midnight`, `noon`, `fika`, `teatime`, `elevenses`, `tomorrow`, `HH:MM[:SS]`,
  /// `MMDD[YY]`, `MM/DD[/YY]`, `YYYY-MM-DD[THH:MM[:SS]]`, `uts` seconds. nil for what is none of them.
  ///
  /// - Parameters:
  ///   - isForward: whether a bare time of day that has passed is tomorrow's.
  ///   - offset: seconds east of UTC.
  public static func moment(_ text: String, now: Timestamp, offset: Int64, isForward: Bool) -> Timestamp? {
    let lower = text.lowercased()
    if lower.hasPrefix("now") { return relative(lower.dropFirst(3), to: now) }
    if lower.hasPrefix("uts") {
      return Int64(lower.dropFirst(3)).map { Timestamp(milliseconds: $0 * 1000) }
    }
    let local = (now + .seconds(offset)).milliseconds
    let midnight = (local - ((local % 86_400_000) + 86_400_000) % 86_400_000) / 1000
    let named: [String: Int64] = [
      "today": 0, "midnight": isForward ? 86_400 : 0, "tomorrow": 86_400, "noon": 43_200, "fika": 54_000,
      "teatime": 57_600,
      "elevenses": 39_600,
    ]
    func at(_ seconds: Int64) -> Timestamp { Timestamp(milliseconds: (seconds - offset) * 1000) }
    func next(_ seconds: Int64) -> Timestamp {
      let moment = at(midnight + seconds)
      return isForward && moment < now ? at(midnight + seconds + 86_400) : moment
    }
    if let seconds = named[lower] {
      return ["today", "midnight", "tomorrow"].contains(lower) ? at(midnight + seconds) : next(seconds)
    }
    let halves = text.split(separator: "T", maxSplits: 1, omittingEmptySubsequences: false)
    if halves.count == 1, let clock = clock(halves[0]) { return next(clock) }
    guard let day = day(halves[0], near: midnight) else { return nil }
    guard halves.count == 2 else { return at(day) }
    return clock(halves[1]).map { at(day + $0) }
  }

  private static func relative(_ text: Substring, to now: Timestamp) -> Timestamp? {
    guard let sign = text.first else { return now }
    guard sign == "+" || sign == "-" else { return nil }
    let digits = text.dropFirst().prefix { $0.isASCII && $0.isNumber }
    guard let count = number(digits) else { return nil }
    var unit = text.dropFirst(1 + digits.count)
    if unit.hasSuffix("s"), unit.count > 1 { unit.removeLast() }
    let sizes: [Substring: Int64] = [
      "": 1, "s": 1, "second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800,
    ]
    guard let size = sizes[unit] else { return nil }
    return now + .seconds(sign == "-" ? -count * size : count * size)
  }

  private static func clock(_ text: Substring) -> Int64? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map { number($0) }
    guard (2...3).contains(parts.count), let hour = parts[0], let minute = parts[1], hour < 24, minute < 60 else {
      return nil
    }
    guard parts.count == 3 else { return hour * 3600 + minute * 60 }
    guard let second = parts[2], second < 60 else { return nil }
    return hour * 3600 + minute * 60 + second
  }

  /// Seconds since 1970 in local time.
  private static func day(_ text: Substring, near midnight: Int64) -> Int64? {
    let thisYear = CivilTime(Timestamp(milliseconds: midnight * 1000)).year
    var numbers: [Int64] = []
    let separator: Character? = text.contains("-") ? "-" : text.contains("/") ? "/" : text.contains(".") ? "." : nil
    if let separator {
      for part in text.split(separator: separator, omittingEmptySubsequences: false) {
        guard let number = number(part) else { return nil }
        numbers.append(number)
      }
      if separator == "-" {
        guard numbers.count == 3 else { return nil }
        numbers = [numbers[1], numbers[2], numbers[0]]
      } else if numbers.count == 3, numbers[2] < 100 {
        numbers[2] += 2000
      }
    } else {
      guard text.count == 4 || text.count == 6, let whole = number(text) else { return nil }
      numbers = text.count == 4 ? [whole / 100, whole % 100] : [whole / 10_000, whole / 100 % 100, 2000 + whole % 100]
    }
    guard (2...3).contains(numbers.count), (1...12).contains(numbers[0]), (1...31).contains(numbers[1]) else {
      return nil
    }
    let year = numbers.count == 3 ? numbers[2] : thisYear
    guard (1970...9999).contains(year) else { return nil }
    var time = CivilTime(.epoch)
    (time.year, time.month, time.day) = (year, numbers[0], numbers[1])
    return time.secondsSince1970
  }
}
