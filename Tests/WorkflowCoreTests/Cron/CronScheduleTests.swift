import FederationModel
import Testing

@testable import WorkflowCore

@Suite("CronSchedule")
struct CronScheduleTests {
  private func next(_ text: String, _ moment: String) throws -> String? {
    let schedule = try CronSchedule(text, zone: TestZones.known)
    return schedule.next(after: try #require(RFC3339.parse(moment))).map(RFC3339.format)
  }

  @Test(
    "The next moment follows the fields",
    arguments: [
      ("* * * * *", "2026-11-22T08:00:00Z", "2026-11-22T08:01:00Z"),
      ("* * * * *", "2026-11-22T08:00:59.999Z", "2026-11-22T08:01:00Z"),
      ("*/15 * * * *", "2026-11-22T08:45:00Z", "2026-11-22T09:00:00Z"),
      ("5/20 * * * *", "2026-11-22T08:05:00Z", "2026-11-22T08:25:00Z"),
      ("20-35/15 * * * *", "2026-11-22T23:45:00Z", "2026-11-23T00:20:00Z"),
      ("30 8-10,14 * * *", "2026-11-22T10:30:00Z", "2026-11-22T14:30:00Z"),
      ("0 0 1 1 *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
      ("0 0 31 * *", "2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"),
      ("0 0 29 feb ?", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
      ("0 12 * JAN,Jun mon-Fri", "2026-02-01T00:00:00Z", "2026-06-01T12:00:00Z"),
      ("59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"),
      // Step of a name: from Monday to Saturday by two.
      ("0 0 * * Mon/2", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
      ("0 0 * * Mon/2", "2026-11-23T00:00:00Z", "2026-11-25T00:00:00Z"),
    ])
  func fields(text: String, moment: String, expected: String) throws {
    #expect(try next(text, moment) == expected)
  }

  @Test(
    "Either day field will do when neither is a star, else both must",
    arguments: [
      // 22 November 2026 is a Sunday.
      ("0 0 13 * Fri", "2026-11-08T00:00:00Z", "2026-11-13T00:00:00Z"),
      ("0 0 15 * Fri", "2026-11-14T00:00:00Z", "2026-11-15T00:00:00Z"),
      ("0 0 15 * Fri", "2026-11-15T00:00:00Z", "2026-11-20T00:00:00Z"),
      ("0 0 * * Fri", "2026-11-15T00:00:00Z", "2026-11-20T00:00:00Z"),
      ("0 0 ? * Fri", "2026-11-15T00:00:00Z", "2026-11-20T00:00:00Z"),
      // A star with a step of its own is no star.
      ("0 0 */10 * Sun", "2026-11-15T00:00:00Z", "2026-11-21T00:00:00Z"),
      // With the step 1 it stays one.
      ("0 0 */1 * Sun", "2026-11-15T00:00:00Z", "2026-11-22T00:00:00Z"),
    ])
  func days(text: String, moment: String, expected: String) throws {
    #expect(try next(text, moment) == expected)
  }

  @Test(
    "Descriptors",
    arguments: [
      ("@yearly", "2027-01-01T00:00:00Z"), ("@annually", "2027-01-01T00:00:00Z"), ("@monthly", "2026-12-01T00:00:00Z"),
      ("@weekly", "2026-11-29T00:00:00Z"), ("@daily", "2026-11-23T00:00:00Z"), ("@midnight", "2026-11-23T00:00:00Z"),
      ("@hourly", "2026-11-22T09:00:00Z"), ("@every 1h30m", "2026-11-22T10:00:10Z"),
      ("@every 10ms", "2026-11-22T08:30:11Z"), ("@every 1.5s", "2026-11-22T08:30:11Z"),
      ("CRON_TZ=Asia/Kolkata @daily", "2026-11-22T18:30:00Z"),
    ])
  func descriptors(text: String, expected: String) throws {
    #expect(try next(text, "2026-11-22T08:30:10.500Z") == expected)
  }

  @Test(
    "What the clock leaves out is left out, and what it shows twice happens twice",
    arguments: [
      // New York, 8 March 2026: 02:00 EST becomes 03:00 EDT.
      ("America/New_York", "30 2 * * *", "2026-03-08T05:00:00Z", "2026-03-09T06:30:00Z"),
      ("America/New_York", "30 2 8 3 *", "2026-01-01T00:00:00Z", "2027-03-08T07:30:00Z"),
      ("America/New_York", "0 * * * *", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"),
      // 1 November 2026: 02:00 EDT becomes 01:00 EST.
      ("America/New_York", "30 1 * * *", "2026-11-01T04:00:00Z", "2026-11-01T05:30:00Z"),
      ("America/New_York", "30 1 * * *", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
      ("America/New_York", "30 1 * * *", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"),
      ("America/New_York", "0 2 * * *", "2026-11-01T04:00:00Z", "2026-11-01T07:00:00Z"),
      ("America/New_York", "0 * * * *", "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"),
      ("Europe/Berlin", "0 9 * * 1-5", "2026-03-27T08:00:00Z", "2026-03-30T07:00:00Z"),
      // Days without a midnight: Beirut 29 March 2026, Santiago 6 September 2026.
      ("Asia/Beirut", "0 9 29 3 *", "2026-01-01T00:00:00Z", "2026-03-29T06:00:00Z"),
      ("America/Santiago", "0 9 6 9 *", "2026-01-01T00:00:00Z", "2026-09-06T12:00:00Z"),
      ("America/Santiago", "0 0 6 9 *", "2026-01-01T00:00:00Z", "2027-09-06T03:00:00Z"),
      // Half an hour, 5 April 2026: 02:00 becomes 01:30.
      ("Australia/Lord_Howe", "45 1 5 4 *", "2026-01-01T00:00:00Z", "2026-04-04T14:45:00Z"),
      ("Australia/Lord_Howe", "45 1 5 4 *", "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"),
    ])
  func daylightSaving(zone: String, text: String, moment: String, expected: String) throws {
    #expect(try next("CRON_TZ=\(zone) \(text)", moment) == expected)
    #expect(try next("TZ=\(zone) \(text)", moment) == expected)
  }

  @Test("A day that a country left out is passed over, and does not hold up the search")
  func skippedDay() throws {
    let schedule = try CronSchedule("TZ=Pacific/Apia 0 12 30,31 12 *", zone: TestZones.system)
    let found = schedule.next(after: try #require(RFC3339.parse("2011-12-29T00:00:00Z")))
    // Noon of 31 December at +14 hours; there was no 30th.
    #expect(found.map(RFC3339.format) == "2011-12-30T22:00:00Z")
  }

  @Test("What never falls is given up", arguments: ["0 0 30 2 *", "0 0 31 4 *", "0 0 31 2,4,6,9,11 ?", "* , * * *"])
  func never(text: String) throws { #expect(try next(text, "2026-11-22T08:00:00Z") == nil) }

  @Test(
    "A malformed schedule is refused with its reason",
    arguments: [
      ("", "is empty"), ("* * * *", "has 4 fields; expected exactly 5"), ("* * * * * *", "has 6 fields"),
      ("60 * * * *", "minute '60' that is outside 0 to 59"), ("* 24 * * *", "hour '24'"),
      ("* * 0 * *", "day of month '0'"), ("* * * 13 *", "month '13'"), ("* * * * 7", "day of week '7'"),
      ("5-1 * * * *", "ends before it begins"), ("*/0 * * * *", "has the step 0"),
      ("1-2-3 * * * *", "too many hyphens"),
      ("1/2/3 * * * *", "too many slashes"), ("a * * * *", "is no number"), ("-1 * * * *", "is no number"),
      ("* * * * mondays", "is no number"), ("@sometimes", "is no descriptor"), ("@every", "is no descriptor"),
      ("@every 5", "has no duration"), ("@every x", "has no duration"), ("TZ=UTC", "names a time zone but no time"),
      ("TZ=Nowhere/Land * * * * *", "unknown time zone 'Nowhere/Land'"),
      ("CRON_TZ=../../etc/passwd * * * * *", "unknown time zone"), ("99999999999999999999 * * * *", "is no number"),
    ])
  func malformed(text: String, reason: String) {
    let error = #expect(throws: FederationError.self) { try CronSchedule(text, zone: TestZones.known) }
    #expect(error?.publicMessage.contains(reason) == true, "\(error?.publicMessage ?? "")")
  }

  @Test("The last moment of a stretch is what stepping through it finds", arguments: 0..<40 as Range<UInt64>)
  func last(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    func field(_ range: ClosedRange<Int>) -> String {
      switch Int.random(in: 0..<4, using: &random) {
      case 0: "*"
      case 1: "*/\(Int.random(in: 1...9, using: &random))"
      default: "\(Int.random(in: range, using: &random))"
      }
    }
    let text = "\(field(0...59)) \(field(0...23)) \(field(1...28)) * \(field(0...6))"
    let zone = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"][Int(seed % 4)]
    let schedule = try CronSchedule("TZ=\(zone) \(text)", zone: TestZones.known)
    let start = Timestamp(milliseconds: Int64.random(in: 1_700_000_000...1_800_000_000, using: &random) * 1000)
    let end = start + .seconds(Int64.random(in: 60...2_000_000, using: &random))
    var stepped: Timestamp?
    while let later = schedule.next(after: stepped ?? start), later <= end {
      #expect(later > stepped ?? start)
      stepped = later
    }
    #expect(schedule.last(after: start, through: end, countingFrom: start) == stepped, "\(zone) \(text)")
  }

  @Test("Every moment found satisfies its fields, and none between does", arguments: 0..<20 as Range<UInt64>)
  func nextIsTheFirst(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let zone = try #require(try TestZones.known(seed % 2 == 0 ? "Europe/Berlin" : "America/New_York"))
    let (minute, hour) = (Int64.random(in: 0...59, using: &random), Int64.random(in: 0...4, using: &random))
    let schedule = try CronSchedule("TZ=X \(minute) \(hour) * * *") { _ in zone }
    // Around the change of clocks in spring and in autumn.
    for base in [1_774_700_000, 1_792_900_000, 1_772_900_000, 1_793_500_000] as [Int64] {
      var expected: [Int64] = []
      for second in stride(from: base / 60 * 60, to: base / 60 * 60 + 200_000, by: 60) {
        let local = CivilTime(Timestamp(milliseconds: (second + zone.period(at: second).offset) * 1000))
        if local.minute == minute, local.hour == hour { expected.append(second) }
      }
      var found: [Int64] = []
      var moment = Timestamp(milliseconds: (base / 60 * 60 - 1) * 1000)
      while let later = schedule.next(after: moment), later.wholeSeconds < base / 60 * 60 + 200_000 {
        found.append(later.wholeSeconds)
        moment = later
      }
      #expect(found == expected, "\(minute) \(hour) around \(base)")
    }
  }
}
