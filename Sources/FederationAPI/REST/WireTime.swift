public import FederationModel

/// A moment as the REST documents write it: RFC 3339, UTC, milliseconds (`2026-03-01T12:00:00.250Z`).
public struct WireTime: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  public var timestamp: Timestamp
  public init(_ timestamp: Timestamp) { self.timestamp = timestamp }

  public static func < (a: Self, b: Self) -> Bool { a.timestamp < b.timestamp }

  /// Reads RFC 3339 in UTC (`Z`), with or without a fraction of at most nine digits; nil for anything else.
  public init?(_ text: some StringProtocol) {
    let bytes = Array(text.utf8)
    guard bytes.count >= 20, bytes.count <= 30, bytes[4] == 0x2d, bytes[7] == 0x2d, bytes[10] == 0x54,
      bytes[13] == 0x3a,
      bytes[16] == 0x3a, bytes.last == 0x5a
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
    let days = Self.days(year: year, month: month, day: day)
    let civil = Self.civil(days: days)
    guard civil.month == month, civil.day == day else { return nil }
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    timestamp = Timestamp(milliseconds: seconds * 1000 + milliseconds)
  }

  /// Moments outside the years 0 to 9999 are shown as the nearest one inside.
  public var description: String {
    let clamped = min(max(timestamp.milliseconds, -62_167_219_200_000), 253_402_300_799_999)
    let days = Self.floorDivide(clamped, 86_400_000)
    let rest = clamped - days * 86_400_000
    let (year, month, day) = Self.civil(days: days)
    func pad(_ value: Int64, _ width: Int) -> String {
      let digits = String(value)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    let clock =
      "\(pad(rest / 3_600_000, 2)):\(pad(rest / 60_000 % 60, 2)):\(pad(rest / 1000 % 60, 2)).\(pad(rest % 1000, 3))"
    return "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))T\(clock)Z"
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let value = WireTime(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "\"\(text)\" is no RFC 3339 moment in UTC")
    }
    self = value
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }

  private static func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { (a - (a % b + b) % b) / b }

  /// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
  /// - Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
  private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
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

extension Timestamp {
  public var wire: WireTime { WireTime(self) }
}
