public import FederationModel

/// When something recurs: five fields (minute, hour, day of month, month, day of week), a descriptor such as `@daily`, or
/// `@every 1h30m`; before each, `CRON_TZ=Europe/Berlin ` names the clock that it is read on.
///
/// A value made from text, next moments by arithmetic. What the clock skips is skipped, what it shows twice happens twice.
/// - Source: robfig/cron v3, `ParseStandard` and `SpecSchedule.Next`. One difference: on a day that has no midnight because
///   the clock is put forward then, the day begins at its first moment; there robfig/cron passes over the day east of Greenwich.
public struct CronSchedule: Sendable, Equatable {
  static let lengthLimitBytes = 1024
  /// Nothing that falls so seldom is looked for: 30 February never falls.
  static let horizonYears: Int64 = 5

  /// As it was written, with its time zone.
  public let text: String
  private let timing: Timing

  private enum Timing: Sendable, Equatable {
    /// Whole seconds.
    case every(Int64)
    case fields(CronFields, TimeZoneRules)
  }

  /// - Parameter zone: the rules of a named time zone; nil where there is no such zone. `UTC` is not asked for.
  /// - Throws: `FederationError` (`invalidArgument`) that says which field is wrong, and why.
  public init(_ text: String, zone: (String) throws -> TimeZoneRules?) throws {
    guard text.utf8.count <= Self.lengthLimitBytes else {
      throw Self.failure("is longer than \(Self.lengthLimitBytes) bytes", text)
    }
    self.text = text
    var rest = Substring(text)
    var rules = TimeZoneRules.utc
    for prefix in ["CRON_TZ=", "TZ="] where text.hasPrefix(prefix) {
      let name = text.dropFirst(prefix.count).prefix { $0 != " " }
      rules = try Self.rules(of: String(name), zone, text)
      rest = text.dropFirst(prefix.count + name.count)
      guard !rest.isEmpty else { throw Self.failure("names a time zone but no time", text) }
      break
    }
    let fields = rest.split { $0 == " " || $0 == "\t" || $0 == "\n" || $0 == "\r" }.map(String.init)
    guard let first = fields.first else { throw Self.failure("is empty", text) }
    if first.hasPrefix("@") {
      timing = try Self.descriptor(fields, rules, text)
    } else {
      timing = .fields(try CronFields(fields, of: text), rules)
    }
  }

  /// The first moment after `moment` at which it falls, a whole second; nil when there is none within five years.
  ///
  /// - Parameter start: `@every` falls one interval after it, two, and so on; the moment itself where it is left out.
  public func next(after moment: Timestamp, countingFrom start: Timestamp? = nil) -> Timestamp? {
    switch timing {
    case .every(let delay):
      let (from, after) = ((start ?? moment).wholeSeconds, moment.wholeSeconds)
      let rounds = after < from ? 0 : (after &- from) / delay
      return Timestamp(wholeSeconds: from) + .seconds(rounds * delay) + .seconds(delay)
    case .fields(let fields, let zone):
      var cursor = CronCursor(second: moment.wholeSeconds, zone: zone)
      cursor.toNextSecond()
      return fields.advance(&cursor) ? Timestamp(wholeSeconds: cursor.second) : nil
    }
  }

  /// The last moment after `moment` and not after `end` at which it falls.
  ///
  /// Looks back from `end` in stretches that double, so that a long outage costs no more than a short one.
  func last(after moment: Timestamp, through end: Timestamp, countingFrom start: Timestamp) -> Timestamp? {
    guard moment < end else { return nil }
    if case .every(let delay) = timing {
      let rounds = end < start ? 0 : (end.wholeSeconds &- start.wholeSeconds) / delay
      let found = Timestamp(wholeSeconds: start.wholeSeconds) + .seconds(rounds * delay)
      return rounds > 0 && found > moment ? found : nil
    }
    var stretch = Duration.seconds(120)
    while true {
      let from = max(moment, end + (.zero - stretch))
      if var found = next(after: from), found <= end {
        while let later = next(after: found), later <= end { found = later }
        return found
      }
      if from == moment { return nil }
      stretch = stretch * 2
    }
  }

  private static func rules(of name: String, _ zone: (String) throws -> TimeZoneRules?, _ text: String) throws
    -> TimeZoneRules
  {
    if name == "UTC" || name.isEmpty || name == "Local" { return .utc }
    guard TimeZoneRules.isZoneName(name), let rules = try zone(name) else {
      throw failure("names the unknown time zone '\(name.prefix(64))'", text)
    }
    return rules
  }

  private static func descriptor(_ fields: [String], _ zone: TimeZoneRules, _ text: String) throws -> Timing {
    let known = [
      "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
      "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
    ]
    if fields.count == 1, let spelt = known[fields[0]] {
      return .fields(try CronFields(spelt.split(separator: " ").map(String.init), of: text), zone)
    }
    guard fields.count == 2, fields[0] == "@every" else {
      throw failure("is no descriptor that is known: \(known.keys.sorted().joined(separator: ", ")), @every", text)
    }
    guard fields[1].utf8.last.map({ !(0x30...0x39).contains($0) }) ?? false, !fields[1].contains("d"),
      let delay = GoDuration.parse(fields[1])
    else { throw failure("has no duration after @every, such as 1h30m", text) }
    return .every(max(1, delay.milliseconds / 1000))
  }

  static func failure(_ what: String, _ text: String) -> FederationError {
    FederationError(.invalidArgument, "cron schedule '\(text.prefix(200))' is malformed: it \(what)")
  }
}

/// The five fields as sets of numbers: bit n stands for n.
struct CronFields: Sendable, Equatable {
  private var minutes: UInt64
  private var hours: UInt64
  private var days: UInt64
  private var months: UInt64
  private var weekdays: UInt64
  /// A day must satisfy both fields when either is `*`, else one of them.
  private var isAnyDay: Bool

  private struct Bounds {
    var name: String
    var range: ClosedRange<Int>
    var names: [String] = []
  }

  private static let bounds = [
    Bounds(name: "minute", range: 0...59), Bounds(name: "hour", range: 0...23),
    Bounds(name: "day of month", range: 1...31),
    Bounds(
      name: "month", range: 1...12,
      names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    Bounds(name: "day of week", range: 0...6, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
  ]

  init(_ fields: [String], of text: String) throws {
    guard fields.count == 5 else {
      throw CronSchedule.failure("has \(fields.count) fields; expected exactly 5", text)
    }
    var sets: [(bits: UInt64, isStar: Bool)] = []
    for (field, bounds) in zip(fields, Self.bounds) { sets.append(try Self.parse(field, bounds, text)) }
    (minutes, hours, days, months, weekdays) = (sets[0].bits, sets[1].bits, sets[2].bits, sets[3].bits, sets[4].bits)
    isAnyDay = sets[2].isStar || sets[4].isStar
  }

  /// Ranges joined by commas.
  private static func parse(_ field: String, _ bounds: Bounds, _ text: String) throws -> (bits: UInt64, isStar: Bool) {
    var bits: UInt64 = 0
    var isStar = false
    for part in field.split(separator: ",") {
      let (range, step, star) = try self.range(part, bounds, text)
      var number = range.lowerBound
      while number <= range.upperBound {
        bits |= 1 << UInt64(number)
        number += step
      }
      isStar = isStar || star
    }
    return (bits, isStar)
  }

  private static func range(_ part: Substring, _ bounds: Bounds, _ text: String) throws -> (
    ClosedRange<Int>, step: Int, isStar: Bool
  ) {
    func failure(_ what: String) -> FederationError {
      CronSchedule.failure("has a \(bounds.name) '\(part.prefix(40))' that \(what)", text)
    }
    let pieces = part.split(separator: "/", omittingEmptySubsequences: false)
    let ends = pieces[0].split(separator: "-", omittingEmptySubsequences: false)
    guard pieces.count <= 2 else { throw failure("has too many slashes") }
    func number(_ text: Substring, named: Bool = true) throws -> Int {
      if named, let index = bounds.names.firstIndex(of: text.lowercased()) { return bounds.range.lowerBound + index }
      guard (1...9).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
        let value = Int(text)
      else { throw failure("is no number") }
      return value
    }
    var (low, high) = (bounds.range.lowerBound, bounds.range.upperBound)
    let isWhole = ends[0] == "*" || ends[0] == "?"
    if !isWhole {
      guard ends.count <= 2 else { throw failure("has too many hyphens") }
      low = try number(ends[0])
      high = ends.count == 2 ? try number(ends[1]) : low
    }
    var step = 1
    if pieces.count == 2 {
      step = try number(pieces[1], named: false)
      // `5/10` is short for `5-59/10`.
      if ends.count == 1 { high = bounds.range.upperBound }
    }
    guard low >= bounds.range.lowerBound, high <= bounds.range.upperBound else {
      throw failure("is outside \(bounds.range.lowerBound) to \(bounds.range.upperBound)")
    }
    guard low <= high else { throw failure("ends before it begins") }
    guard step > 0 else { throw failure("has the step 0") }
    return (low...high, min(step, 64), isWhole && step == 1)
  }

  private static func has(_ set: UInt64, _ number: Int64) -> Bool { set >> UInt64(number) & 1 == 1 }

  private func isDay(_ local: CivilTime) -> Bool {
    let (day, weekday) = (Self.has(days, local.day), Self.has(weekdays, local.weekday))
    return isAnyDay ? day && weekday : day || weekday
  }

  /// Moves `cursor` to the first moment from where it is that all fields allow; false when there is none near.
  ///
  /// Field by field from the greatest. Whenever one wraps around, the greater ones are looked at again.
  func advance(_ cursor: inout CronCursor) -> Bool {
    // A field of commas alone allows nothing, and is not looked for through five years of minutes.
    guard minutes != 0, hours != 0, months != 0, isAnyDay ? days != 0 && weekdays != 0 : days | weekdays != 0 else {
      return false
    }
    let lastYear = cursor.local.year + CronSchedule.horizonYears
    fromTheTop: while cursor.local.year <= lastYear {
      while !Self.has(months, cursor.local.month) {
        cursor.toNextMonth()
        if cursor.local.month == 1 { continue fromTheTop }
      }
      while !isDay(cursor.local) {
        cursor.toNextDay()
        if cursor.local.day == 1 { continue fromTheTop }
      }
      while !Self.has(hours, cursor.local.hour) {
        cursor.toNextHour()
        if cursor.local.hour == 0 { continue fromTheTop }
      }
      while !Self.has(minutes, cursor.local.minute) || cursor.local.second != 0 {
        cursor.toNextMinute()
        if cursor.local.minute == 0 { continue fromTheTop }
      }
      return true
    }
    return false
  }
}

/// A moment, and what a local clock shows at it.
struct CronCursor {
  private(set) var second: Int64
  private(set) var local: CivilTime
  private let zone: TimeZoneRules

  init(second: Int64, zone: TimeZoneRules) {
    // The years 1 to 9000, far from where the calendar's arithmetic ends.
    self.second = min(max(second, -62_100_000_000), 221_845_000_000)
    self.zone = zone
    local = CivilTime(.epoch)
    read()
  }

  private mutating func read() {
    local = CivilTime(Timestamp(wholeSeconds: second + zone.period(at: second).offset))
  }

  private mutating func move(to civil: CivilTime) {
    second = zone.second(ofLocal: civil.secondsSince1970)
    read()
  }

  mutating func toNextSecond() {
    second += 1
    read()
  }

  mutating func toNextMonth() {
    var civil = local
    (civil.year, civil.month) = local.month == 12 ? (local.year + 1, 1) : (local.year, local.month + 1)
    (civil.day, civil.hour, civil.minute, civil.second) = (1, 0, 0, 0)
    move(toStartOfDay: civil)
  }

  mutating func toNextDay() {
    var civil = local
    civil.day += 1
    (civil.hour, civil.minute, civil.second) = (0, 0, 0)
    move(toStartOfDay: civil)
  }

  /// A clock that is put forward at midnight shows 23 hours or 1 hour for it: the day begins when the new offset does.
  /// Where a whole day is left out (Samoa, 30 December 2011), the next one begins then.
  private mutating func move(toStartOfDay civil: CivilTime) {
    let before = second
    move(to: civil)
    if second <= before {
      let end = zone.period(at: before).end
      second = end == .max ? before + 86_400 : end
    } else if local.hour != 0 {
      let period = zone.period(at: second)
      second = local.hour > 12 ? period.end : period.start
    }
    read()
  }

  mutating func toNextHour() {
    second += 3600 - (local.minute * 60 + local.second)
    read()
  }

  mutating func toNextMinute() {
    second += 60 - local.second
    read()
  }
}
