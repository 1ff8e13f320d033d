/// How many bytes a second transfers may take, by the time of day. Pure.
///
/// Written as one rate (`50MB/s`), or as rclone's timetables are: `08:00,10MB/s 19:00,off`.
public struct BandwidthTimetable: Sendable, Hashable {
  struct Period: Sendable, Hashable {
    /// Of the day, local time.
    var startMinute: Int
    /// nil: no limit.
    var bytesPerSecond: Int64?
  }
  /// Ascending by start; the last one goes on past midnight. Never empty.
  let periods: [Period]

  init(bytesPerSecond: Int64?) { self.init(periods: [Period(startMinute: 0, bytesPerSecond: bytesPerSecond)]) }

  /// - Parameter rate: reads one rate; nil for what is none.
  /// - Returns: nil for what is no timetable.
  init?(_ text: String, rate: (String) -> Int64?) {
    guard text.contains(",") else {
      guard let bytes = rate(text) else { return nil }
      self.init(bytesPerSecond: bytes)
      return
    }
    var periods: [Period] = []
    for word in text.split(separator: " ") {
      let sides = word.split(separator: ",", omittingEmptySubsequences: false)
      guard sides.count == 2, let start = Self.minute(sides[0]) else { return nil }
      if sides[1] == "off" {
        periods.append(Period(startMinute: start, bytesPerSecond: nil))
      } else if let bytes = rate(String(sides[1])) {
        periods.append(Period(startMinute: start, bytesPerSecond: bytes))
      } else {
        return nil
      }
    }
    periods.sort { $0.startMinute < $1.startMinute }
    guard (1...48).contains(periods.count), Set(periods.map(\.startMinute)).count == periods.count else { return nil }
    self.init(periods: periods)
  }

  private init(periods: [Period]) { self.periods = periods }

  /// `08:00` or `8:00`.
  private static func minute(_ text: Substring) -> Int? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[1].utf8.count == 2, let hour = Int(parts[0]), let minute = Int(parts[1]),
      (0...23).contains(hour), (0...59).contains(minute)
    else { return nil }
    return hour * 60 + minute
  }

  /// As `rclone --bwlimit` takes it; nil: no limit at any time.
  var rclone: String? {
    guard periods.contains(where: { $0.bytesPerSecond != nil }) else { return nil }
    func rate(_ period: Period) -> String { period.bytesPerSecond.map { "\($0)B" } ?? "off" }
    guard periods.count > 1 else { return rate(periods[0]) }
    return periods.map { period in
      let (hour, minute) = (period.startMinute / 60, period.startMinute % 60)
      return "\(hour < 10 ? "0" : "")\(hour):\(minute < 10 ? "0" : "")\(minute),\(rate(period))"
    }.joined(separator: " ")
  }

  /// nil: no limit.
  func bytesPerSecond(atMinute minute: Int) -> Int64? {
    (periods.last { $0.startMinute <= minute } ?? periods.last!).bytesPerSecond
  }
}
