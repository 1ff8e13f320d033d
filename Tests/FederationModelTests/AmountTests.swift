import FederationModel
import Testing

@Suite("Amounts")
struct AmountTests {
  @Test(
    "An amount is read and written to a millionth",
    arguments: [
      ("5000", 5_000_000_000, "5000.00"), ("12.5", 12_500_000, "12.50"), ("0.000001", 1, "0.000001"),
      ("0.1230", 123_000, "0.123"), ("1000000000000", 1_000_000_000_000_000_000, "1000000000000.00"),
    ])
  func reads(text: String, micros: Int64, written: String) {
    #expect(Amount(text)?.micros == micros)
    #expect(Amount(micros: micros).description == written)
  }

  @Test(
    "What is no amount is not read",
    arguments: ["", ".", "1.", ".5", "-1", "+1", "1e3", "1.0000001", "1000000000001", "1000000000000.000001", "1,5"])
  func refuses(text: String) { #expect(Amount(text) == nil) }

  @Test("The same use costs at most what was held for it, and never a millionth more than its price")
  func rounds() {
    for price in [0, 0.00001, 0.3333333, 2.5, 12_345.678912, 1e30, .infinity, .nan] {
      #expect(Amount(charging: price) <= Amount(reserving: price))
    }
    #expect(Amount(charging: 2.50009) == Amount(micros: 25_000))
    #expect(Amount(reserving: 2.50009) == Amount(micros: 25_001))
    // 61.5 s at 3600 minor units an hour.
    #expect(Amount(charging: 61.5 / 3600 * 3600) == Amount(reserving: 61.5 / 3600 * 3600))
    #expect(Amount(charging: .infinity) == .max && Amount(charging: -3) == .zero)
  }

  @Test(
    "A period is a calendar month or quarter in UTC",
    arguments: [
      (BudgetPeriod.monthly, "2026-11-21T02:06:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
      (.monthly, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
      (.quarterly, "2026-11-21T02:06:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"),
      (.quarterly, "2026-03-31T02:06:00Z", "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"),
    ])
  func periods(period: BudgetPeriod, moment: String, start: String, end: String) throws {
    let bounds = period.bounds(containing: try #require(RFC3339.parse(moment)))
    #expect(RFC3339.format(bounds.start) == start)
    #expect(bounds.end.map { RFC3339.format($0) } == end)
  }
}
