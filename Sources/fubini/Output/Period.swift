/// A length of time as people type it: `30d`, `12h`, `45m`, `90s`, `2w`.
enum Period {
  private static let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800]
  /// A hundred years.
  private static let secondsMax: Int64 = 3_155_760_000

  /// nil for a text that is none.
  static func parse(_ text: String) -> Int64? {
    guard let unit = text.last.flatMap({ units[$0] }), let count = Int64(text.dropLast()), count > 0 else { return nil }
    let (seconds, overflow) = count.multipliedReportingOverflow(by: unit)
    return overflow || seconds > secondsMax ? nil : seconds
  }

  /// - Throws: usage.
  static func seconds(_ text: String) throws -> Int64 {
    guard let seconds = parse(text) else {
      throw CommandFailure(.usage, "A period is like 30d, 12h, 45m or 90s, not \"\(text)\".")
    }
    return seconds
  }
}
