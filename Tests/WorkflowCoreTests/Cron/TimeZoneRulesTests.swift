import FederationModel
import Foundation
import Testing

@testable import WorkflowCore

/// Zones made from a POSIX text, and the machine's own.
enum TestZones {
  /// A TZif file of version 2 without transitions, whose footer says everything.
  static func file(footer: String) -> [UInt8] {
    func block(version: UInt8) -> [UInt8] {
      var bytes = Array("TZif".utf8) + [version] + [UInt8](repeating: 0, count: 15)
      for count in [0, 0, 0, 0, 1, 4] as [UInt8] { bytes += [0, 0, 0, count] }
      return bytes + [0, 0, 0, 0, 0, 0] + Array("UTC\0".utf8)
    }
    return block(version: 0x32) + block(version: 0x32) + Array("\n\(footer)\n".utf8)
  }

  static func posix(_ text: String) throws -> TimeZoneRules { try TimeZoneRules(tzif: file(footer: text)) }

  static func system(_ name: String) throws -> TimeZoneRules? {
    let url = URL(filePath: "/usr/share/zoneinfo").appending(path: name)
    guard let data = try? Data(contentsOf: url) else { return nil }
    return try TimeZoneRules(tzif: Array(data))
  }

  static func known(_ name: String) throws -> TimeZoneRules? {
    switch name {
    case "Europe/Berlin": try posix("CET-1CEST,M3.5.0,M10.5.0/3")
    case "America/New_York": try posix("EST5EDT,M3.2.0,M11.1.0")
    case "Asia/Kolkata": try posix("IST-5:30")
    // Midnight is left out: clocks go from 23:59:59 to 01:00.
    case "Asia/Beirut": try posix("EET-2EEST,M3.5.0/0,M10.5.0/0")
    case "America/Santiago": try posix("<-04>4<-03>,M9.1.6/24,M4.1.6/24")
    case "Australia/Lord_Howe": try posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0")
    default: nil
    }
  }
}

@Suite("TimeZoneRules")
struct TimeZoneRulesTests {
  @Test(
    "A footer's rules hold for any year",
    arguments: [
      ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-01-15T12:00:00Z", 3600, "CET"),
      ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T00:59:59Z", 3600, "CET"),
      ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T01:00:00Z", 7200, "CEST"),
      ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T00:59:59Z", 7200, "CEST"),
      ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T01:00:00Z", 3600, "CET"),
      ("EST5EDT,M3.2.0,M11.1.0", "2099-07-01T00:00:00Z", -14_400, "EDT"),
      ("EST5EDT", "2026-03-08T07:00:00Z", -14_400, "EDT"),
      ("IST-5:30", "2026-03-08T07:00:00Z", 19_800, "IST"),
      // The south: summer spans the new year.
      ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-01-01T00:00:00Z", 39_600, "AEDT"),
      ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-07-01T00:00:00Z", 36_000, "AEST"),
      // Ireland counts winter as the exception; Nuuk's change falls on the day before.
      ("IST-1GMT0,M10.5.0,M3.5.0/1", "2026-12-24T00:00:00Z", 0, "GMT"),
      ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T01:00:00Z", -3600, "-01"),
      ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T00:59:59Z", -7200, "-02"),
      // Day 60 without, and with, a leap day before it.
      ("XXX0YYY,J60/0,J300/0", "2028-03-01T00:00:00Z", 3600, "YYY"),
      ("XXX0YYY,59/0,300/0", "2028-02-29T00:00:00Z", 3600, "YYY"),
    ])
  func footers(text: String, moment: String, offset: Int64, abbreviation: String) throws {
    let period = try TestZones.posix(text).period(at: #require(RFC3339.parse(moment)).wholeSeconds)
    #expect(period.offset == offset)
    #expect(period.abbreviation == abbreviation)
  }

  @Test("A period ends where the next begins, and offsets differ there", arguments: ["Europe/Berlin", "Asia/Beirut"])
  func periodsMeet(name: String) throws {
    let zone = try #require(try TestZones.known(name))
    var second: Int64 = 1_700_000_000
    for _ in 0..<40 {
      let period = zone.period(at: second)
      #expect(period.start <= second && second < period.end)
      #expect(zone.period(at: period.end - 1) == period)
      #expect(zone.period(at: period.end).start == period.end)
      #expect(zone.period(at: period.end).offset != period.offset)
      second = period.end
    }
  }

  @Test("A moment found from what a clock shows is shown by that clock, where it shows it at all")
  func localTimes() throws {
    let zone = try #require(try TestZones.known("Europe/Berlin"))
    for local in stride(from: Int64(1_774_000_000), to: 1_805_000_000, by: 1700) {
      let second = zone.second(ofLocal: local)
      let shown = second + zone.period(at: second).offset
      // In the hour that is left out the clock shows the hour after.
      #expect(shown == local || abs(shown - local) == 3600)
    }
  }

  @Test(
    "The files of this machine agree with history",
    arguments: [
      ("Europe/Berlin", "1945-06-01T12:00:00Z", 10_800), ("America/New_York", "1918-07-01T00:00:00Z", -14_400),
      ("Pacific/Apia", "2011-12-30T09:59:59Z", -36_000), ("Pacific/Apia", "2011-12-30T10:00:00Z", 50_400),
      ("Asia/Kathmandu", "2026-01-01T00:00:00Z", 20_700), ("America/Sao_Paulo", "2018-11-04T03:00:00Z", -7200),
      ("Etc/GMT+5", "2026-01-01T00:00:00Z", -18_000), ("UTC", "2026-01-01T00:00:00Z", 0),
    ])
  func systemZones(name: String, moment: String, offset: Int64) throws {
    let zone = try #require(try TestZones.system(name), "tzdata is not installed")
    #expect(zone.offset(at: try #require(RFC3339.parse(moment))) == offset)
  }

  @Test("Bytes that are no TZif file are refused, whole or cut short, and never crash")
  func malformed() throws {
    let good = TestZones.file(footer: "CET-1CEST,M3.5.0,M10.5.0/3")
    for length in 0..<good.count {
      #expect(throws: FederationError.self) { try TimeZoneRules(tzif: Array(good[..<length])) }
    }
    for footer in [
      "CET", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M3.6.0,M10.5.0", "C-1", "<CET-1",
      "CET-1CEST,M3.5.0,M10.5.0x",
    ] {
      #expect(throws: FederationError.self, "\(footer)") { try TestZones.posix(footer) }
    }
    var random = SeededGenerator(seed: 7)
    for _ in 0..<FuzzRounds.perSeed(2000, seeds: 1) {
      var bytes = good
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      guard let zone = try? TimeZoneRules(tzif: bytes) else { continue }
      for second in [Int64.min / 4, -1, 0, 1_800_000_000, Int64.max / 4] { _ = zone.period(at: second) }
    }
  }

  @Test(
    "A zone's name cannot lead out of its directory",
    arguments: [
      ("Europe/Berlin", true), ("Etc/GMT+5", true), ("America/Argentina/Buenos_Aires", true), ("UTC", true),
      ("", false), ("../etc/passwd", false), ("/etc/passwd", false), ("Europe//Berlin", false), ("a b", false),
      ("Europe/..", false), ("x\u{0}", false),
    ])
  func names(name: String, isName: Bool) { #expect(TimeZoneRules.isZoneName(name) == isName) }
}
