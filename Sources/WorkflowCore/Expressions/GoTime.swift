import FederationModel

/// Go's `time.Time`: a moment, and the clock that it is shown on.
struct GoTime: Sendable {
  /// Since 1970, UTC.
  var seconds: Int64
  /// 0 to 999,999,999.
  var nanoseconds: Int64
  /// Of the clock that shows it, seconds east.
  var offset: Int64 = 0
  var abbreviation = "UTC"

  /// The year 1, as Go's zero time.
  static let zero = GoTime(seconds: -62_135_596_800, nanoseconds: 0)

  init(seconds: Int64, nanoseconds: Int64, offset: Int64 = 0, abbreviation: String = "UTC") {
    // The years 0 to 9999.
    self.seconds = min(max(seconds, -62_167_219_200), 253_402_300_799)
    self.nanoseconds = nanoseconds
    self.offset = offset
    self.abbreviation = abbreviation
  }

  init(_ moment: Timestamp) {
    let seconds = moment.wholeSeconds
    self.init(
      seconds: seconds,
      nanoseconds: moment.milliseconds == .max ? 0 : (moment.milliseconds - seconds * 1000) * 1_000_000)
  }

  /// What the clock shows.
  var civil: CivilTime { CivilTime(Timestamp(wholeSeconds: seconds + offset)) }

  func isSameMoment(as other: GoTime) -> Bool { seconds == other.seconds && nanoseconds == other.nanoseconds }
  func isBefore(_ other: GoTime) -> Bool { (seconds, nanoseconds) < (other.seconds, other.nanoseconds) }

  /// Saturates, as Go's `Sub`.
  func nanoseconds(since other: GoTime) -> Int64 {
    let (scaled, overflow) = (seconds - other.seconds).multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, overflowed) = scaled.addingReportingOverflow(nanoseconds - other.nanoseconds)
    return overflow || overflowed ? (isBefore(other) ? .min : .max) : sum
  }

  func adding(_ duration: Int64) -> GoTime {
    var total = nanoseconds + duration % 1_000_000_000
    var sum = seconds + duration / 1_000_000_000
    if total < 0 {
      total += 1_000_000_000
      sum -= 1
    } else if total >= 1_000_000_000 {
      total -= 1_000_000_000
      sum += 1
    }
    return GoTime(seconds: sum, nanoseconds: total, offset: offset, abbreviation: abbreviation)
  }

  func shown(in zone: TimeZoneRules) -> GoTime {
    let period = zone.period(at: seconds)
    return GoTime(
      seconds: seconds, nanoseconds: nanoseconds, offset: period.offset, abbreviation: period.abbreviation)
  }

  /// As `json.Marshal` writes it.
  var rfc3339: String { GoTimeLayout.format(self, "2006-01-02T15:04:05.999999999Z07:00") }
  /// As `%v` prints it.
  var description: String { GoTimeLayout.format(self, "2006-01-02 15:04:05.999999999 -0700 MST") }

  func adding(years: Int64, months: Int64, days: Int64) throws -> GoTime {
    guard [years, months, days].allSatisfy({ abs($0) <= 10_000_000 }) else {
      throw ExpressionProblem("AddDate leads out of the calendar")
    }
    var civil = civil
    let month = civil.month - 1 + months
    let shift = month >= 0 ? month / 12 : -((11 - month) / 12)
    (civil.year, civil.month) = (civil.year + years + shift, month - shift * 12 + 1)
    civil.day += days
    return GoTime(
      seconds: civil.secondsSince1970 - offset, nanoseconds: nanoseconds, offset: offset, abbreviation: abbreviation)
  }

  func method(_ arguments: ExpressionArguments) throws -> ExprValue {
    if let value = field(arguments.name) {
      try arguments.expect(0...0)
      return value
    }
    func other() throws -> GoTime {
      guard case .time(let time) = try arguments.value(0) else { throw arguments.failure("needs a time") }
      return time
    }
    func duration() throws -> Int64 {
      guard case .duration(let nanoseconds) = try arguments.value(0) else {
        throw arguments.failure("needs a duration")
      }
      return nanoseconds
    }
    switch arguments.name {
    case "Format":
      let layout = try arguments.string(0)
      guard layout.utf8.count <= 4096 else { throw arguments.failure("the layout is longer than 4096 bytes") }
      return .string(GoTimeLayout.format(self, layout))
    case "Add": return .time(adding(try duration()))
    case "Sub": return .duration(nanoseconds(since: try other()))
    case "Before": return .bool(isBefore(try other()))
    case "After": return .bool(try other().isBefore(self))
    case "Equal": return .bool(isSameMoment(as: try other()))
    case "Compare": return .integer(try other().isBefore(self) ? 1 : isBefore(try other()) ? -1 : 0)
    case "AddDate":
      return .time(
        try adding(
          years: Int64(arguments.integer(0)), months: Int64(arguments.integer(1)), days: Int64(arguments.integer(2))))
    case "Truncate", "Round":
      let since = nanoseconds(since: .zero)
      guard since != .max, since != .min else {
        return .time(rounded(to: try duration(), up: arguments.name == "Round"))
      }
      let unit = try duration()
      let moved =
        arguments.name == "Round" ? GoDurationText.rounded(since, to: unit) : GoDurationText.truncated(since, to: unit)
      return .time(adding(moved - since))
    case "In":
      guard case .zone(_, let rules) = try arguments.value(0) else { throw arguments.failure("needs a time zone") }
      return .time(shown(in: rules))
    default: throw ExpressionProblem("time.Time has no method \(arguments.name.prefix(100))")
    }
  }

  /// The year 1 is more nanoseconds away than 64 bits count: what is cut is counted within 128 bits.
  private func rounded(to unit: Int64, up: Bool) -> GoTime {
    guard unit > 0 else { return self }
    let total = Int128(seconds - GoTime.zero.seconds) * 1_000_000_000 + Int128(nanoseconds)
    let rest = Int64(total % Int128(unit))
    return adding(up && rest >= unit - rest ? unit - rest : -rest)
  }

  private func field(_ name: String) -> ExprValue? {
    switch name {
    case "Unix": .integer(seconds)
    case "UnixMilli": .integer(seconds * 1000 + nanoseconds / 1_000_000)
    case "UnixMicro": .integer(seconds * 1_000_000 + nanoseconds / 1000)
    case "UnixNano": .integer(seconds &* 1_000_000_000 &+ nanoseconds)
    case "Year": .integer(civil.year)
    case "Month": .integer(civil.month)
    case "Day": .integer(civil.day)
    case "Hour": .integer(civil.hour)
    case "Minute": .integer(civil.minute)
    case "Second": .integer(civil.second)
    case "Nanosecond": .integer(nanoseconds)
    case "Weekday": .integer(civil.weekday)
    case "YearDay": .integer(civil.dayOfYear)
    case "IsZero": .bool(isSameMoment(as: .zero))
    case "UTC", "Local": .time(GoTime(seconds: seconds, nanoseconds: nanoseconds))
    case "String": .string(description)
    default: nil
    }
  }
}
