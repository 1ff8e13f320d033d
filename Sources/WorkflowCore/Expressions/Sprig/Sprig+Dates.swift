import FederationModel

/// Moments. `Local` is UTC here, and so is a time zone that is not known, as in sprig.
extension ExpressionEvaluator {
  func sprigDate(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "now": return .time(GoTime(scope.now))
    case "date": return .string(try shown(try a.value(1), try a.string(0), "UTC"))
    case "dateInZone", "date_in_zone": return .string(try shown(try a.value(1), try a.string(0), try a.string(2)))
    case "htmlDate": return .string(try shown(try a.value(0), "2006-01-02", "UTC"))
    case "htmlDateInZone": return .string(try shown(try a.value(0), "2006-01-02", try a.string(1)))
    case "dateModify", "date_modify", "mustDateModify", "must_date_modify":
      guard case .time(let time) = try a.value(1) else { throw a.failure("needs a time") }
      if let duration = GoDurationText.parse(try a.string(0)) { return .time(time.adding(duration)) }
      if name.hasPrefix("must") { throw a.failure("invalid duration") }
      return .time(time)
    case "ago":
      let elapsed = GoTime(scope.now).nanoseconds(since: moment(try a.value(0)))
      return .string(GoDurationText.format(GoDurationText.rounded(elapsed, to: 1_000_000_000)))
    case "duration":
      let seconds: Int64 =
        switch try a.value(0) {
        case .string(let text): Int64(text) ?? 0
        case .integer(let number): number
        default: 0
        }
      return .string(GoDurationText.format(seconds.multipliedReportingOverflow(by: 1_000_000_000).partialValue))
    case "durationRound": return .string(try Self.roughly(length(try a.value(0))))
    case "toDate", "mustToDate":
      let time = GoTimeLayout.parse(try a.string(1), try a.string(0))
      if time == nil, name == "mustToDate" { throw a.failure("invalid date \(try a.string(1).prefix(100))") }
      return .time(time ?? .zero)
    case "unixEpoch":
      guard case .time(let time) = try a.value(0) else { throw a.failure("needs a time") }
      return .string(String(time.seconds))
    default: return nil
    }
  }

  private func moment(_ value: ExprValue) -> GoTime {
    switch value {
    case .time(let time): time
    case .integer(let seconds): GoTime(seconds: seconds, nanoseconds: 0)
    default: GoTime(scope.now)
    }
  }

  private func shown(_ value: ExprValue, _ layout: String, _ zone: String) throws -> String {
    guard layout.utf8.count <= 4096 else { throw ExpressionProblem("the layout is longer than 4096 bytes") }
    return GoTimeLayout.format(moment(value).shown(in: (try? Self.zone(zone)) ?? .utc), layout)
  }

  private func length(_ value: ExprValue) -> Int64 {
    switch value {
    case .string(let text): GoDurationText.parse(text) ?? 0
    case .integer(let nanoseconds), .duration(let nanoseconds): nanoseconds
    case .time(let time): GoTime(scope.now).nanoseconds(since: time)
    default: 0
    }
  }

  /// In the greatest unit that it is longer than.
  private static func roughly(_ nanoseconds: Int64) throws -> String {
    let hour: UInt64 = 3_600_000_000_000
    let units: [(UInt64, String)] = [
      (hour * 24 * 365, "y"), (hour * 24 * 30, "mo"), (hour * 24, "d"), (hour, "h"), (hour / 60, "m"),
      (hour / 3600, "s"),
    ]
    for (unit, name) in units where nanoseconds.magnitude > unit { return "\(nanoseconds.magnitude / unit)\(name)" }
    return "0s"
  }
}
