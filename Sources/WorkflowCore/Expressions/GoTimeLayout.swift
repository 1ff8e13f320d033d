import FederationModel

/// Go's layouts: what the moment 2006-01-02T15:04:05 -0700 MST would look like.
///
/// - Source: Go `time/format.go`.
enum GoTimeLayout {
  private enum Part: Equatable {
    case text(String)
    case longMonth, month, numberMonth, zeroMonth, longWeekday, weekday, day, underDay, zeroDay, underYearDay,
      zeroYearDay
    case hour, hour12, zeroHour12, minute, zeroMinute, second, zeroSecond, longYear, year, upperPM, lowerPM, zoneName
    /// `Z` for UTC?, a colon?, with minutes?
    case zone(z: Bool, colon: Bool, minutes: Bool, seconds: Bool)
    /// Digits of a fraction; those that are zero may be left out.
    case fraction(Int, separator: Character, isOptional: Bool)
  }

  static let months = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
  ]
  static let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

  /// The longest of those that begin alike first.
  private static let parts: [(String, Part)] = [
    ("January", .longMonth), ("Jan", .month), ("Monday", .longWeekday), ("Mon", .weekday), ("MST", .zoneName),
    ("2006", .longYear), ("002", .zeroYearDay), ("01", .zeroMonth), ("02", .zeroDay), ("03", .zeroHour12),
    ("04", .zeroMinute), ("05", .zeroSecond), ("06", .year), ("15", .hour), ("1", .numberMonth), ("__2", .underYearDay),
    ("_2", .underDay), ("2", .day), ("3", .hour12), ("4", .minute), ("5", .second), ("PM", .upperPM), ("pm", .lowerPM),
    ("-07:00:00", .zone(z: false, colon: true, minutes: true, seconds: true)),
    ("-070000", .zone(z: false, colon: false, minutes: true, seconds: true)),
    ("-07:00", .zone(z: false, colon: true, minutes: true, seconds: false)),
    ("-0700", .zone(z: false, colon: false, minutes: true, seconds: false)),
    ("-07", .zone(z: false, colon: false, minutes: false, seconds: false)),
    ("Z07:00:00", .zone(z: true, colon: true, minutes: true, seconds: true)),
    ("Z070000", .zone(z: true, colon: false, minutes: true, seconds: true)),
    ("Z07:00", .zone(z: true, colon: true, minutes: true, seconds: false)),
    ("Z0700", .zone(z: true, colon: false, minutes: true, seconds: false)),
    ("Z07", .zone(z: true, colon: false, minutes: false, seconds: false)),
  ]

  private static func parts(of layout: String) -> [Part] {
    var found: [Part] = []
    var text = ""
    var rest = Substring(layout)
    func isDigit(_ character: Character?) -> Bool { character.map { $0.isASCII && $0.isNumber } ?? false }
    while let first = rest.first {
      var match = parts.first { rest.hasPrefix($0.0) }
      // `Jan` is no month in `Janet`, as in Go.
      if let (name, _) = match, name == "Jan" || name == "Mon" {
        let after = rest.dropFirst(3).first
        if let after, after.isASCII, after.isLowercase { match = nil }
      }
      if match == nil, first == "." || first == "," {
        let digit = rest.dropFirst().first
        if digit == "0" || digit == "9" {
          let run = rest.dropFirst().prefix { $0 == digit }
          if !isDigit(rest.dropFirst(1 + run.count).first) {
            match = (
              String(rest.prefix(1 + run.count)),
              .fraction(min(run.count, 9), separator: first, isOptional: digit == "9")
            )
          }
        }
      }
      if let (name, part) = match {
        if !text.isEmpty { found.append(.text(text)) }
        text = ""
        found.append(part)
        rest = rest.dropFirst(name.count)
      } else {
        text.append(first)
        rest = rest.dropFirst()
      }
    }
    return text.isEmpty ? found : found + [.text(text)]
  }

  private static func pad(_ number: Int64, _ width: Int, _ with: Character = "0") -> String {
    let digits = String(number)
    return String(repeating: with, count: max(0, width - digits.count)) + digits
  }

  static func format(_ time: GoTime, _ layout: String) -> String {
    let civil = time.civil
    return parts(of: layout).map { text(of: $0, time, civil) }.joined()
  }

  private static func text(of part: Part, _ time: GoTime, _ civil: CivilTime) -> String {
    let hour12 = civil.hour % 12 == 0 ? 12 : civil.hour % 12
    switch part {
    case .text(let text): return text
    case .longMonth: return months[Int(civil.month) - 1]
    case .month: return String(months[Int(civil.month) - 1].prefix(3))
    case .numberMonth: return String(civil.month)
    case .zeroMonth: return pad(civil.month, 2)
    case .longWeekday: return weekdays[Int(civil.weekday)]
    case .weekday: return String(weekdays[Int(civil.weekday)].prefix(3))
    case .day: return String(civil.day)
    case .underDay: return pad(civil.day, 2, " ")
    case .zeroDay: return pad(civil.day, 2)
    case .underYearDay: return pad(civil.dayOfYear, 3, " ")
    case .zeroYearDay: return pad(civil.dayOfYear, 3)
    case .hour: return pad(civil.hour, 2)
    case .hour12: return String(hour12)
    case .zeroHour12: return pad(hour12, 2)
    case .minute: return String(civil.minute)
    case .zeroMinute: return pad(civil.minute, 2)
    case .second: return String(civil.second)
    case .zeroSecond: return pad(civil.second, 2)
    case .longYear: return pad(civil.year, 4)
    case .year: return pad(civil.year % 100, 2)
    case .upperPM: return civil.hour < 12 ? "AM" : "PM"
    case .lowerPM: return civil.hour < 12 ? "am" : "pm"
    case .zoneName: return time.abbreviation
    case .zone(let z, let colon, let minutes, let seconds):
      if z, time.offset == 0 { return "Z" }
      let (sign, size) = (time.offset < 0 ? "-" : "+", abs(time.offset))
      var text = sign + pad(size / 3600, 2)
      if minutes { text += (colon ? ":" : "") + pad(size / 60 % 60, 2) }
      if seconds { text += (colon ? ":" : "") + pad(size % 60, 2) }
      return text
    case .fraction(let width, let separator, let isOptional):
      var digits = pad(time.nanoseconds, 9).prefix(width)
      if isOptional { while digits.last == "0" { digits = digits.dropLast() } }
      return digits.isEmpty ? "" : String(separator) + digits
    }
  }

  // MARK: Parsing

  private struct Fields {
    var (year, month, day): (Int64, Int64, Int64) = (0, 1, 1)
    var (hour, minute, second, nanoseconds): (Int64, Int64, Int64, Int64) = (0, 0, 0, 0)
    var yearDay: Int64?
    var isAfternoon: Bool?
    var offset: Int64?
    var abbreviation: String?
  }

  /// nil when `text` does not look like `layout`, or is no moment.
  ///
  /// - Parameter zone: of the clock that shows it, where it does not say so itself.
  static func parse(_ text: String, _ layout: String, in zone: TimeZoneRules = .utc) -> GoTime? {
    guard text.utf8.count <= 512, layout.utf8.count <= 512 else { return nil }
    var fields = Fields()
    var rest = Substring(text)
    let parts = parts(of: layout)
    for (index, part) in parts.enumerated() {
      guard read(part, &fields, &rest) else { return nil }
      // A fraction after the seconds is taken even when the layout has none.
      if part == .zeroSecond || part == .second, rest.first == "." || rest.first == "," {
        if index + 1 < parts.count, case .fraction = parts[index + 1] { continue }
        if rest.dropFirst().first.map({ $0.isASCII && $0.isNumber }) ?? false { readFraction(&fields, &rest) }
      }
    }
    return rest.isEmpty ? time(fields, zone) : nil
  }

  private static func time(_ fields: Fields, _ zone: TimeZoneRules) -> GoTime? {
    var fields = fields
    if let isAfternoon = fields.isAfternoon {
      guard fields.hour <= 12 else { return nil }
      fields.hour = fields.hour % 12 + (isAfternoon ? 12 : 0)
    }
    var civil = CivilTime(.epoch)
    (civil.year, civil.month, civil.day) = (fields.year, fields.month, fields.day)
    (civil.hour, civil.minute, civil.second) = (fields.hour, fields.minute, fields.second)
    if let yearDay = fields.yearDay { (civil.month, civil.day) = (1, yearDay) }
    guard (1...12).contains(fields.month), fields.day >= 1, fields.hour < 24, fields.minute < 60, fields.second < 60
    else { return nil }
    let local = civil.secondsSince1970
    let shown = CivilTime(Timestamp(wholeSeconds: local))
    guard fields.yearDay != nil ? shown.year == civil.year : shown.day == civil.day else { return nil }
    if let offset = fields.offset {
      let name = fields.abbreviation ?? (offset == 0 ? "UTC" : "")
      return GoTime(seconds: local - offset, nanoseconds: fields.nanoseconds, offset: offset, abbreviation: name)
    }
    if let name = fields.abbreviation {
      return GoTime(seconds: local, nanoseconds: fields.nanoseconds, abbreviation: name)
    }
    return GoTime(seconds: zone.second(ofLocal: local), nanoseconds: fields.nanoseconds).shown(in: zone)
  }

  private static func number(_ rest: inout Substring, _ widths: ClosedRange<Int>) -> Int64? {
    let digits = rest.prefix(widths.upperBound).prefix { $0.isASCII && $0.isNumber }
    guard digits.count >= widths.lowerBound else { return nil }
    rest = rest.dropFirst(digits.count)
    return Int64(digits)
  }

  private static func readFraction(_ fields: inout Fields, _ rest: inout Substring) {
    rest = rest.dropFirst()
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    rest = rest.dropFirst(digits.count)
    let nine = digits.prefix(9)
    fields.nanoseconds = Int64(nine + String(repeating: "0", count: 9 - nine.count)) ?? 0
  }

  private static func name(_ rest: inout Substring, _ names: [String]) -> Int? {
    for (index, name) in names.enumerated() where rest.lowercased().hasPrefix(name.lowercased()) {
      rest = rest.dropFirst(name.count)
      return index
    }
    return nil
  }

  private static func set(_ field: WritableKeyPath<Fields, Int64>, _ fields: inout Fields, _ value: Int64?) -> Bool {
    guard let value else { return false }
    fields[keyPath: field] = value
    return true
  }

  private static func read(_ part: Part, _ fields: inout Fields, _ rest: inout Substring) -> Bool {
    switch part {
    case .text(let text):
      guard rest.hasPrefix(text) else { return false }
      rest = rest.dropFirst(text.count)
      return true
    case .longMonth: return set(\.month, &fields, name(&rest, months).map { Int64($0) + 1 })
    case .month: return set(\.month, &fields, name(&rest, months.map { String($0.prefix(3)) }).map { Int64($0) + 1 })
    case .longWeekday: return name(&rest, weekdays) != nil
    case .weekday: return name(&rest, weekdays.map { String($0.prefix(3)) }) != nil
    case .numberMonth: return set(\.month, &fields, number(&rest, 1...2))
    case .zeroMonth: return set(\.month, &fields, number(&rest, 2...2))
    case .underDay, .day:
      while part == .underDay, rest.first == " " { rest = rest.dropFirst() }
      return set(\.day, &fields, number(&rest, 1...2))
    case .zeroDay: return set(\.day, &fields, number(&rest, 2...2))
    case .underYearDay, .zeroYearDay:
      while part == .underYearDay, rest.first == " " { rest = rest.dropFirst() }
      fields.yearDay = number(&rest, 1...3)
      return fields.yearDay != nil
    case .hour: return set(\.hour, &fields, number(&rest, 1...2))
    case .hour12: return set(\.hour, &fields, number(&rest, 1...2))
    case .zeroHour12: return set(\.hour, &fields, number(&rest, 2...2))
    case .minute: return set(\.minute, &fields, number(&rest, 1...2))
    case .zeroMinute: return set(\.minute, &fields, number(&rest, 2...2))
    case .second: return set(\.second, &fields, number(&rest, 1...2))
    case .zeroSecond: return set(\.second, &fields, number(&rest, 2...2))
    case .longYear: return set(\.year, &fields, number(&rest, 4...4))
    case .year: return set(\.year, &fields, number(&rest, 2...2).map { $0 >= 69 ? 1900 + $0 : 2000 + $0 })
    case .upperPM, .lowerPM:
      guard let index = name(&rest, ["AM", "PM"]) else { return false }
      fields.isAfternoon = index == 1
      return true
    case .zoneName, .zone: return readZone(part, &fields, &rest)
    case .fraction(_, let separator, let isOptional):
      guard rest.first == separator, rest.dropFirst().first.map({ $0.isASCII && $0.isNumber }) ?? false else {
        return isOptional
      }
      readFraction(&fields, &rest)
      return true
    }
  }

  private static func readZone(_ part: Part, _ fields: inout Fields, _ rest: inout Substring) -> Bool {
    guard case .zone(let z, let colon, let minutes, let seconds) = part else {
      let letters = rest.prefix { $0.isASCII && $0.isUppercase }
      guard (3...5).contains(letters.count) else { return false }
      rest = rest.dropFirst(letters.count)
      fields.abbreviation = String(letters)
      return true
    }
    if z, rest.first == "Z" {
      rest = rest.dropFirst()
      fields.offset = 0
      return true
    }
    guard let sign = rest.popFirst(), sign == "+" || sign == "-", var total = number(&rest, 2...2).map({ $0 * 3600 })
    else { return false }
    for scale in [60, 1] as [Int64] where scale == 60 ? minutes : seconds {
      if colon {
        guard rest.popFirst() == ":" else { return false }
      }
      guard let value = number(&rest, 2...2), value < 60 else { return false }
      total += value * scale
    }
    guard total <= 24 * 3600 else { return false }
    fields.offset = sign == "-" ? -total : total
    return true
  }
}
