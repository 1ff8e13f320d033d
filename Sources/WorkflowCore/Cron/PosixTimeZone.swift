import FederationModel

/// The `TZ` text of POSIX, which says what holds after the last transition of a TZif file: `CET-1CEST,M3.5.0,M10.5.0/3`.
///
/// - Source: POSIX.1-2017 section 8.3, with the wider hours of RFC 8536 section 3.3.1.
struct PosixTimeZone: Sendable, Equatable {
  /// A day of the year, and seconds after its midnight (which may lie outside the day).
  struct Rule: Sendable, Equatable {
    enum Day: Sendable, Equatable {
      /// 1...365; 29 February is never counted.
      case julian(Int64)
      /// 0...365.
      case ordinal(Int64)
      /// `week` 5 is the last one; `weekday` 0 is Sunday.
      case month(Int64, week: Int64, weekday: Int64)
    }
    var day: Day
    var time: Int64
  }
  struct Daylight: Sendable, Equatable {
    var offset: Int64
    var abbreviation: String
    var begins: Rule
    var ends: Rule
  }
  var offset: Int64
  var abbreviation: String
  var daylight: Daylight?

  /// - Throws: `FederationError` (`invalidArgument`) when the text is malformed.
  init(_ text: String) throws {
    var scanner = Scanner(rest: Array(text.utf8)[...])
    abbreviation = try scanner.name()
    offset = -(try scanner.time(limitHours: 24))
    guard !scanner.rest.isEmpty else { return }
    let name = try scanner.name()
    let shift: Int64 =
      scanner.rest.isEmpty || scanner.rest.first == 0x2c
      ? offset + 3600 : -(try scanner.time(limitHours: 24))
    if scanner.rest.isEmpty { scanner.rest = Array(",M3.2.0,M11.1.0".utf8)[...] }
    let begins = try scanner.rule()
    daylight = Daylight(offset: shift, abbreviation: name, begins: begins, ends: try scanner.rule())
    guard scanner.rest.isEmpty else { throw TimeZoneRules.failure("has a malformed footer") }
  }

  /// What holds at `second` (since 1970, UTC), at least from `start` up to `end`.
  func period(at second: Int64) -> TimeZoneRules.Period {
    guard let daylight else {
      return TimeZoneRules.Period(offset: offset, abbreviation: abbreviation, start: .min, end: .max)
    }
    let year = CivilTime(Timestamp(wholeSeconds: second + offset)).year
    // The changes of three years, in order: the one before and the one after `second` are among them.
    var changes: [(second: Int64, isDaylight: Bool)] = []
    for year in (year - 1)...(year + 1) {
      changes.append((Self.second(of: daylight.begins, in: year) - offset, true))
      changes.append((Self.second(of: daylight.ends, in: year) - daylight.offset, false))
    }
    changes.sort { ($0.second, $0.isDaylight ? 1 : 0) < ($1.second, $1.isDaylight ? 1 : 0) }
    let following = changes.firstIndex { $0.second > second }
    let current = changes[..<(following ?? changes.count)].last
    let isDaylight = current?.isDaylight ?? !(changes[0].isDaylight)
    return TimeZoneRules.Period(
      offset: isDaylight ? daylight.offset : offset,
      abbreviation: isDaylight ? daylight.abbreviation : abbreviation,
      start: current?.second ?? .min, end: following.map { changes[$0].second } ?? .max)
  }

  /// Local seconds since 1970 at which `rule` falls in `year`.
  private static func second(of rule: Rule, in year: Int64) -> Int64 {
    var civil = CivilTime(.epoch)
    (civil.year, civil.month, civil.day) = (year, 1, 1)
    let newYear = civil.secondsSince1970
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    switch rule.day {
    case .julian(let day): return newYear + (day - 1 + (isLeap && day >= 60 ? 1 : 0)) * 86_400 + rule.time
    case .ordinal(let day): return newYear + day * 86_400 + rule.time
    case .month(let month, let week, let weekday):
      civil.month = month
      let first = civil.secondsSince1970
      let length: Int64 = month == 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
      var day = (weekday - civil.weekday + 7) % 7 + (week - 1) * 7
      while day >= length { day -= 7 }
      return first + day * 86_400 + rule.time
    }
  }

  private struct Scanner {
    var rest: ArraySlice<UInt8>

    private var malformed: FederationError { TimeZoneRules.failure("has a malformed footer") }

    mutating func name() throws -> String {
      let isQuoted = rest.first == UInt8(ascii: "<")
      if isQuoted { rest.removeFirst() }
      let name = rest.prefix { byte in
        isQuoted
          ? byte != UInt8(ascii: ">")
          : (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
      }
      rest = rest.dropFirst(name.count)
      if isQuoted, rest.popFirst() != UInt8(ascii: ">") { throw malformed }
      guard (3...16).contains(name.count) else { throw malformed }
      return String(decoding: name, as: UTF8.self)
    }

    mutating func number(_ limits: ClosedRange<Int64>) throws -> Int64 {
      let digits = rest.prefix { (0x30...0x39).contains($0) }
      rest = rest.dropFirst(digits.count)
      guard (1...3).contains(digits.count), let value = Int64(String(decoding: digits, as: UTF8.self)),
        limits.contains(value)
      else { throw malformed }
      return value
    }

    mutating func take(_ sign: Unicode.Scalar) -> Bool {
      guard rest.first == UInt8(ascii: sign) else { return false }
      rest.removeFirst()
      return true
    }

    /// `[+-]hh[:mm[:ss]]` in seconds.
    mutating func time(limitHours: Int64) throws -> Int64 {
      let isNegative = take("-")
      if !isNegative { _ = take("+") }
      var seconds = try number(0...limitHours) * 3600
      if take(":") { seconds += try number(0...59) * 60 }
      if take(":") { seconds += try number(0...59) }
      return isNegative ? -seconds : seconds
    }

    mutating func rule() throws -> Rule {
      guard take(",") else { throw malformed }
      let day: Rule.Day
      if take("J") {
        day = .julian(try number(1...365))
      } else if take("M") {
        let month = try number(1...12)
        guard take(".") else { throw malformed }
        let week = try number(1...5)
        guard take(".") else { throw malformed }
        day = .month(month, week: week, weekday: try number(0...6))
      } else {
        day = .ordinal(try number(0...365))
      }
      return Rule(day: day, time: take("/") ? try time(limitHours: 167) : 2 * 3600)
    }
  }
}
