import FederationModel
import Synchronization
import Testing

@testable import AgentRuntime

/// What links may carry, by a clock that the test turns.
@Suite("Limits of links by the time of day")
struct LinkMetersTests {
  private final class Wall: Sendable {
    let state: Mutex<(nanoseconds: UInt64, minute: Int)>
    init(minute: Int) { state = Mutex((1_000_000_000_000, minute)) }
    var clock: TransferMeter.Clock {
      TransferMeter.Clock(
        nanoseconds: { self.state.withLock { $0.nanoseconds } }, minuteOfDay: { self.state.withLock { $0.minute } })
    }
    func pass(_ duration: Duration) {
      let (seconds, attoseconds) = duration.components
      state.withLock { $0.nanoseconds += UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000) }
    }
    func turn(to minute: Int) {
      state.withLock { $0.minute = minute }
      // A limit is looked at once a second.
      pass(.seconds(2))
    }
  }

  /// Bytes per second over ten seconds of moving 64 KiB after another.
  private func rate(_ meter: TransferMeter, _ wall: Wall) -> Double {
    let piece = 64 << 10
    var (moved, waited) = (0, Duration.zero)
    while waited < .seconds(10), moved < 1 << 30 {
      let wait = meter.delay(piece)
      wall.pass(wait)
      waited += wait
      moved += piece
    }
    let seconds = Double(waited.components.seconds) + Double(waited.components.attoseconds) * 1e-18
    return seconds > 0 ? Double(moved) / seconds : .infinity
  }

  private func timetable(_ text: String) throws -> BandwidthTimetable {
    try #require(BandwidthTimetable(text) { ConfigurationParser.bytesPerSecond($0) })
  }

  @Test(
    "A change of hour counts for what moves already, within a second; off is no limit, and the last period goes on past midnight"
  )
  func changesOfHour() throws {
    let wall = Wall(minute: 7 * 60 + 59)
    let meter = TransferMeter(try timetable("08:00,1MB/s 12:30,4MB/s 19:00,off 23:00,2MB/s"), clock: wall.clock)
    for (minute, expected) in [(479, 2e6), (480, 1e6), (749, 1e6), (750, 4e6), (1380, 2e6), (0, 2e6), (481, 1e6)] {
      wall.turn(to: minute)
      let seen = rate(meter, wall)
      #expect(abs(seen - expected) < expected * 0.05, "at minute \(minute): \(seen) bytes/s")
    }
    wall.turn(to: 19 * 60)
    #expect(rate(meter, wall) == .infinity)
  }

  @Test("Each link has a limit of its own, within that of all: by what bytes come from")
  func links() throws {
    let wall = Wall(minute: 600)
    let all = TransferMeter(try timetable("8MB/s"), clock: wall.clock)
    let meters = LinkMeters(
      all, links: ["origin": try timetable("08:00,1MB/s 19:00,4MB/s"), "hpc": try timetable("20MB/s")],
      clock: wall.clock)
    let origin = DataSource.origin(DataOrigin(uri: "s3://b/"))
    for (source, expected) in [
      (origin, 1e6), (.export("hpc", url: "https://h:1"), 8e6), (.export("edge", url: "https://e:1"), 8e6),
      (.repository(key: nil), 8e6), (.archive(DataOrigin(uri: "s3://cold/")), 8e6),
    ] {
      wall.turn(to: 600)
      let seen = rate(meters[source], wall)
      #expect(abs(seen - expected) < expected * 0.05, "\(source): \(seen) bytes/s")
    }
    wall.turn(to: 20 * 60)
    #expect(abs(rate(meters[origin], wall) - 4e6) < 2e5)
    // What one link moves, the others lack.
    wall.pass(.seconds(10))
    _ = meters[origin].delay(8_000_000)
    #expect(meters.repository.delay(1) > .milliseconds(700))
  }

  @Test("The mover obeys: a transfer under way speeds up when its hour comes", .timeLimit(.minutes(2)))
  func mover() async throws {
    let directory = try TemporaryDirectory()
    let layout = CacheLayout(directory: directory.path + "/cache")
    try layout.make()
    let sample = SampleDataset(files: [("large", (0..<(6 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 5 >> 2) })])
    try sample.write(below: directory.path + "/origin")
    let repository = MemoryRepository()
    let wanted = try sample.listed(in: repository, at: DataOrigin(uri: "file://edge-1\(directory.path)/origin"))
    let minute = Mutex(11 * 60)
    let clock = TransferMeter.Clock(minuteOfDay: { minute.withLock { $0 } })
    let meters = LinkMeters(
      TransferMeter(bytesPerSecond: nil), links: ["origin": try timetable("08:00,100kB/s 19:00,off")], clock: clock)
    let fetcher = try StoreFixture.fetcher(repository, directory, meters: meters)
    let gauge = TransferGauge()
    let began = ContinuousClock.now
    let transfer = Task { try await fetcher.fetch(wanted, for: nil, into: layout, gauge) }
    try await waitUntil { ContinuousClock.now - began > .seconds(2) }
    // A burst of a quarter of a second, and the piece that is on its way.
    let moved = gauge.reading.bytesMoved
    let took = ContinuousClock.now - began
    #expect(Double(moved) < 100_000 * (Double(took.components.seconds) + 1.5) + 300_000, "\(moved) bytes in \(took)")
    minute.withLock { $0 = 19 * 60 }
    // A minute is what the rest would take at the old rate.
    try await transfer.value
    #expect(ContinuousClock.now - began < .seconds(30))
    try sample.expectEqual(layout.mountSource(wanted.key))
  }
}
