import FederationAPI
import FederationModel
import Testing

@Suite struct WireTimeTests {
  @Test(
    "a moment is written as RFC 3339 with milliseconds",
    arguments: [
      (0, "1970-01-01T00:00:00.000Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
      (4_107_542_399_001, "2100-02-28T23:59:59.001Z"), (Int64.max, "9999-12-31T23:59:59.999Z"),
    ])
  func writing(milliseconds: Int64, text: String) {
    #expect(Timestamp(milliseconds: milliseconds).wire.description == text)
  }

  @Test("what was written reads back")
  func roundTrip() throws {
    let seed: UInt64 = 0x51ce
    var state = seed
    for _ in 0..<2000 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let moment = Timestamp(milliseconds: Int64(state >> 18))
      let bounded = Timestamp(milliseconds: moment.milliseconds % 253_402_300_799_999)
      #expect(WireTime(bounded.wire.description)?.timestamp == bounded, "seed \(seed)")
    }
  }

  @Test(
    "what is no moment in UTC is refused",
    arguments: [
      "", "2026-01-01", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z",
      "2026-01-01T00:00:00+01:00",
      "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1234567890Z", "2026-01-01t00:00:00Z",
    ])
  func refusal(text: String) { #expect(WireTime(text) == nil) }
}
