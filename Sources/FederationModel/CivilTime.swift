/// A moment's parts on the proleptic Gregorian calendar, in UTC, by arithmetic: no formatter, no locale, no time zone data.
public struct CivilTime: Hashable, Sendable {
  public var year: Int64
  public var month: Int64
  public var day: Int64
  public var hour: Int64
  public var minute: Int64
  public var second: Int64
  public var millisecond: Int64

  /// Moments outside the years 0 to 9999 are held at the nearest end.
  public init(_ moment: Timestamp) {
    let clamped = min(max(moment.milliseconds, -62_167_219_200_000), 253_402_300_799_999)
    let days = Self.floorDivide(clamped, 86_400_000)
    let rest = clamped - days * 86_400_000
    (year, month, day) = Self.civil(days: days)
    (hour, minute, second, millisecond) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000)
  }

  /// 0 is Sunday.
  public var weekday: Int64 {
    let days = Self.days(year: year, month: month, day: day)
    return ((days % 7) + 11) % 7
  }

  /// From 1.
  public var dayOfYear: Int64 {
    Self.days(year: year, month: month, day: day) - Self.days(year: year, month: 1, day: 1) + 1
  }

  /// Whole seconds, rounded down.
  public var secondsSince1970: Int64 {
    ((Self.days(year: year, month: month, day: day) * 24 + hour) * 60 + minute) * 60 + second
  }

  /// `2026-11-21`.
  public var date: String { "\(Self.pad(year, 4))-\(Self.pad(month))-\(Self.pad(day))" }

  /// `02:06:00`.
  public var clock: String { "\(Self.pad(hour)):\(Self.pad(minute)):\(Self.pad(second))" }

  /// With leading zeros.
  public static func pad(_ number: Int64, _ width: Int = 2) -> String {
    let digits = String(max(0, number))
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  private static func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a >= 0 ? a / b : -((-(a + 1)) / b) - 1 }

  /// Days since 1970-01-01 of a date.
  /// - Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
  static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = floorDivide(shifted, 400)
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  /// The inverse of `days(year:month:day:)`.
  private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = days + 719_468
    let era = floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let index = (5 * dayOfYear + 2) / 153
    let month = index < 10 ? index + 3 : index - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * index + 2) / 5 + 1)
  }
}

/// RFC 3339 in UTC.
public enum RFC3339 {
  /// `2026-11-21T02:06:00Z`: whole seconds, rounded down, as Argo writes them. Years outside 0...9999 are held at the ends.
  public static func format(_ moment: Timestamp) -> String {
    let time = CivilTime(moment)
    return "\(time.date)T\(time.clock)Z"
  }

  /// `2026-11-21T02:06:00.250Z`.
  public static func formatMilliseconds(_ moment: Timestamp) -> String {
    let time = CivilTime(moment)
    return "\(time.date)T\(time.clock).\(CivilTime.pad(time.millisecond, 3))Z"
  }

  /// Reads a moment in UTC (`Z`), with or without a fraction of at most nine digits, cut to milliseconds; nil for anything else.
  public static func parse(_ text: some StringProtocol) -> Timestamp? {
    let bytes = Array(text.utf8)
    guard bytes.count >= 20, bytes.count <= 30, bytes[4] == 0x2d, bytes[7] == 0x2d, bytes[10] == 0x54,
      bytes[13] == 0x3a, bytes[16] == 0x3a, bytes.last == 0x5a
    else { return nil }
    func number(_ range: Range<Int>) -> Int64? {
      range.reduce(Int64?(0)) { sum, index in
        guard let sum, (0x30...0x39).contains(bytes[index]) else { return nil }
        return sum * 10 + Int64(bytes[index] - 0x30)
      }
    }
    guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10), let hour = number(11..<13),
      let minute = number(14..<16), let second = number(17..<19), (1...12).contains(month), (1...31).contains(day),
      hour < 24, minute < 60, second < 60
    else { return nil }
    var milliseconds: Int64 = 0
    if bytes.count > 20 {
      guard bytes[19] == 0x2e, bytes.count > 21, number(20..<bytes.count - 1) != nil else { return nil }
      for place in 0..<3 {
        let index = 20 + place
        milliseconds = milliseconds * 10 + (index < bytes.count - 1 ? Int64(bytes[index] - 0x30) : 0)
      }
    }
    let days = CivilTime.days(year: year, month: month, day: day)
    let moment = Timestamp(milliseconds: (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milliseconds)
    // 30 February would be 1 or 2 March.
    let civil = CivilTime(moment)
    return civil.month == month && civil.day == day ? moment : nil
  }
}
