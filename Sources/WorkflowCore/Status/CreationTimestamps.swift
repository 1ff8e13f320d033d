import FederationModel

extension RFC3339 {
  /// The forms of `workflow.creationTimestamp` that Argo offers, by what follows that name: RFC 3339, seconds, strftime letters.
  static func creationTimestamps(_ moment: Timestamp) -> [(suffix: String, text: String)] {
    let p = CivilTime(moment)
    func pad(_ number: Int64, _ width: Int = 2) -> String { CivilTime.pad(number, width) }
    let months = [
      "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
      "December",
    ]
    let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    let hour12 = p.hour % 12 == 0 ? 12 : p.hour % 12
    let month = months[Int(p.month - 1)]
    let weekday = weekdays[Int(p.weekday)]
    return [
      ("", format(moment)), (".RFC3339", format(moment)), (".s", String(p.secondsSince1970)),
      (".Y", pad(p.year, 4)), (".y", pad(p.year % 100)), (".m", pad(p.month)), (".d", pad(p.day)), (".H", pad(p.hour)),
      (".I", pad(hour12)), (".M", pad(p.minute)), (".S", pad(p.second)), (".j", pad(p.dayOfYear, 3)),
      (".B", month), (".b", String(month.prefix(3))), (".A", weekday), (".a", String(weekday.prefix(3))),
      (".p", p.hour < 12 ? "AM" : "PM"), (".w", String(p.weekday)), (".Z", "UTC"), (".z", "+0000"),
      (".F", p.date),
      (".T", p.clock),
    ]
  }
}
