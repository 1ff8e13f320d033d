public import FederationModel

/// Writes moments as RFC 3339 in UTC, by arithmetic: no formatter, no locale, no time zone data.
public enum RFC3339 {
  /// A moment's parts on the proleptic Gregorian calendar, in UTC.
  struct Parts: Equatable {
    var year: Int64, month: Int64, day: Int64, hour: Int64, minute: Int64, second: Int64
    /// From 1.
    var dayOfYear: Int64
    /// 0 is Sunday.
    var weekday: Int64
  }

  /// `2026-11-21T02:06:00Z`: whole seconds, rounded down. Years outside 0...9999 are held at the ends.
  public static func format(_ moment: Timestamp) -> String {
    let parts = parts(moment)
    return
      "\(pad(parts.year, 4))-\(pad(parts.month))-\(pad(parts.day))T\(pad(parts.hour)):\(pad(parts.minute)):\(pad(parts.second))Z"
  }

  /// - Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
  static func parts(_ moment: Timestamp) -> Parts {
    let lowest: Int64 = -62_167_219_200
    let highest: Int64 = 253_402_300_799
    let seconds = min(max(floorDivide(moment.milliseconds, 1000), lowest), highest)
    let days = floorDivide(seconds, 86_400)
    let second = seconds - days * 86_400
    let shifted = days + 719_468
    let era = floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfMarchYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfMarchYear + 2) / 153
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    let before: [Int64] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334]
    let day = dayOfMarchYear - (153 * marchMonth + 2) / 5 + 1
    return Parts(
      year: year, month: month, day: day, hour: second / 3600, minute: second / 60 % 60, second: second % 60,
      dayOfYear: before[Int(month - 1)] + day + (isLeap && month > 2 ? 1 : 0), weekday: ((days % 7) + 11) % 7)
  }

  /// The forms of `workflow.creationTimestamp` that Argo offers, by what follows that name: RFC 3339, seconds, strftime letters.
  static func creationTimestamps(_ moment: Timestamp) -> [(suffix: String, text: String)] {
    let p = parts(moment)
    let months = [
      "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
      "December",
    ]
    let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    let hour12 = p.hour % 12 == 0 ? 12 : p.hour % 12
    let month = months[Int(p.month - 1)]
    let weekday = weekdays[Int(p.weekday)]
    return [
      ("", format(moment)), (".RFC3339", format(moment)), (".s", String(floorDivide(moment.milliseconds, 1000))),
      (".Y", pad(p.year, 4)), (".y", pad(p.year % 100)), (".m", pad(p.month)), (".d", pad(p.day)), (".H", pad(p.hour)),
      (".I", pad(hour12)), (".M", pad(p.minute)), (".S", pad(p.second)), (".j", pad(p.dayOfYear, 3)),
      (".B", month), (".b", String(month.prefix(3))), (".A", weekday), (".a", String(weekday.prefix(3))),
      (".p", p.hour < 12 ? "AM" : "PM"), (".w", String(p.weekday)), (".Z", "UTC"), (".z", "+0000"),
      (".F", "\(pad(p.year, 4))-\(pad(p.month))-\(pad(p.day))"),
      (".T", "\(pad(p.hour)):\(pad(p.minute)):\(pad(p.second))"),
    ]
  }

  private static func pad(_ number: Int64, _ width: Int = 2) -> String {
    let digits = String(max(0, number))
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  private static func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a >= 0 ? a / b : -((-(a + 1)) / b) - 1 }
}
