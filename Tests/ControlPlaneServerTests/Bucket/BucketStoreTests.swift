import AsyncHTTPClient
import Crypto
import FederationModel
import Foundation
import Logging
import Rclone
import TestSupport
import Testing

@testable import ControlPlaneServer

@Suite("Artifacts and logs in a bucket", .timeLimit(.minutes(3)))
struct BucketStoreTests {
  func withBucket(
    _ change: @Sendable @escaping (inout BucketConfiguration) -> Void = { _ in },
    _ body: @Sendable @escaping (ObjectBucket, RcloneDaemon, String) async throws -> Void
  ) async throws {
    try await S3Service.with { url in
      try await withScratchDirectory { directory in
        let keys = try S3Service.configuration(at: url, prefix: "a/b", directory: directory)
        var configuration = BucketConfiguration(bucket: S3Service.bucket)
        (configuration.prefix, configuration.endpoint) = (keys["prefix"], url)
        configuration.region = keys["region"]
        configuration.accessKeyIDFile = keys["accessKeyIdFile"]
        configuration.secretAccessKeyFile = keys["secretAccessKeyFile"]
        change(&configuration)
        let daemon = RcloneDaemon(configuration.rcloneSettings, logger: Logger(label: "test"))
        let client = ObjectBucket.makeClient()
        let running = Task { try await daemon.run() }
        do { try await body(ObjectBucket(configuration, daemon: daemon, client: client), daemon, url) } catch {
          running.cancel()
          _ = await running.result
          try await client.shutdown()
          throw error
        }
        running.cancel()
        _ = await running.result
        try await client.shutdown()
      }
    }
  }

  func key(_ path: String) throws -> ArtifactKey { try ArtifactKey(project: "demo", path: path) }

  static func collect(_ download: any ArtifactDownload) async throws -> [UInt8] {
    var all: [UInt8] = []
    while let bytes = try await download.next() { all += bytes }
    await download.close()
    return all
  }

  @Test(
    "I4: an object is visible only when whole and verified, and is read from any offset",
    arguments: [0, 1, 100_000, 7_000_000])
  func roundTrip(size: Int) async throws {
    let key = try key("w/ä b+c%2F.tgz")
    try await withBucket { bucket, _, _ in
      let store = BucketArtifactStore(bucket)
      let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
      let digest = SHA256.hash(data: bytes).hexadecimal
      let upload = try await store.put(key)
      for start in stride(from: 0, to: size, by: 65_536) {
        try await upload.write(Array(bytes[start..<min(size, start + 65_536)]))
      }
      #expect(try await store.stat(key) == nil)
      let stat = try await upload.finish(size: Int64(size), sha256: digest)
      #expect(stat == ArtifactStat(size: Int64(size), sha256: digest))
      #expect(try await store.stat(key) == stat)
      #expect(try await Self.collect(try await store.get(key, from: 0)) == bytes)
      let middle = Int64(size / 2)
      #expect(try await Self.collect(try await store.get(key, from: middle)) == Array(bytes[Int(middle)...]))
      await #expect(throws: FederationError.self) { _ = try await store.get(key, from: Int64(size) + 1) }
      try await store.delete(key)
      try await store.delete(key)
      #expect(try await store.stat(key) == nil)
    }
  }

  @Test("bytes that are not those that were meant, and uploads that are given up, are never seen and leave nothing")
  func refused() async throws {
    let key = try key("x")
    try await withBucket { bucket, _, _ in
      let store = BucketArtifactStore(bucket)
      let first = try await store.put(key)
      try await first.write([1, 2, 3])
      _ = try await first.finish(size: 3, sha256: nil)
      for (size, digest) in [(4 as Int64?, nil as String?), (nil, String(repeating: "0", count: 64))] {
        let upload = try await store.put(key)
        try await upload.write([4, 5, 6])
        await #expect(throws: FederationError.self) { _ = try await upload.finish(size: size, sha256: digest) }
      }
      let given = try await store.put(key)
      try await given.write([UInt8](repeating: 7, count: 300_000))
      await given.abort()
      #expect(try await Self.collect(try await store.get(key, from: 0)) == [1, 2, 3])
      let second = try await store.put(key)
      try await second.write([8])
      _ = try await second.finish(size: 1, sha256: nil)
      #expect(try await Self.collect(try await store.get(key, from: 0)) == [8])
      await #expect { _ = try await store.get(try self.key("nothing"), from: 0) } throws: {
        ($0 as? FederationError)?.code == .notFound
      }
    }
  }

  @Test("I2: an acknowledged chunk is there for another control plane; a repeated or overlapping one changes nothing")
  func logs() async throws {
    let run = RunID(incarnation: 7, counter: 42)
    try await withBucket { bucket, _, _ in
      let store = BucketLogStore(bucket)
      #expect(try await store.position(run) == nil)
      #expect(try await store.append(run, offset: 0, bytes: Array("hello ".utf8), last: false).offset == 6)
      #expect(try await store.append(run, offset: 0, bytes: Array("hello ".utf8), last: false).offset == 6)
      #expect(try await store.append(run, offset: 3, bytes: Array("lo world".utf8), last: false).offset == 11)
      let other = BucketLogStore(bucket)
      #expect(try await other.read(run, from: 0, count: 100).bytes == Array("hello world".utf8))
      #expect(try await other.read(run, from: 4, count: 4).bytes == Array("o wo".utf8))
      #expect(try await other.read(run, from: 50, count: 3).bytes.isEmpty)
      await #expect { _ = try await other.append(run, offset: 12, bytes: [4], last: false) } throws: {
        ($0 as? FederationError)?.publicMessage.contains("Send from 11") == true
      }
      #expect(
        try await other.append(run, offset: 11, bytes: [], last: true) == LogPosition(offset: 11, isComplete: true))
      #expect(try await other.append(run, offset: 0, bytes: [0x68], last: true).isComplete)
      await #expect(throws: FederationError.self) {
        _ = try await other.append(run, offset: 11, bytes: [1], last: false)
      }
      try await other.delete(run)
      #expect(try await BucketLogStore(bucket).position(run) == nil)
    }
  }

  @Test("a log of many segments becomes one, and its followers see every byte")
  func joined() async throws {
    let run = RunID(incarnation: 7, counter: 43)
    try await withBucket { bucket, _, _ in
      let store = BucketLogStore(bucket)
      let part = [UInt8](repeating: 0x61, count: BucketLogStore.segmentBytes)
      let follower = Task {
        var position = LogPosition(offset: 0, isComplete: false)
        while !(position.isComplete) {
          let slice = try await store.read(run, from: position.offset, count: logChunkBytesMax)
          position.offset += Int64(slice.bytes.count)
          if slice.position.isComplete, slice.position.offset == position.offset { break }
          if slice.bytes.isEmpty { try await store.waitForMore(run, than: slice.position, timeout: .seconds(5)) }
        }
        return position.offset
      }
      let count = BucketLogStore.segmentsMax + 4
      for index in 0..<count {
        _ = try await store.append(
          run, offset: Int64(index * part.count), bytes: part, last: index == count - 1)
      }
      #expect(try await follower.value == Int64(count * part.count))
      var names: [String] = []
      for _ in 0..<200 where names.count != 1 {
        names = try await bucket.list(BucketLogStore.directory(run)).map(\.name).filter { $0 != "times" }
        try await Task.sleep(for: .milliseconds(50))
      }
      #expect(names == [LogSegment(start: 0, end: Int64(count * part.count), isLast: true).name])
      // When each piece came is known as before.
      let times = try await BucketLogStore(bucket).times(run)
      #expect(times.marks.map(\.end) == (1...count).map { Int64($0 * part.count) })
      #expect(times.moment(of: 0).map { $0 <= .wallClock } == true)
      let end = try await BucketLogStore(bucket).read(run, from: Int64(count * part.count) - 3, count: 10)
      #expect(end.bytes == [0x61, 0x61, 0x61] && end.position.isComplete)
    }
  }

  @Test("I9: the daemon's credentials are on no command line, and it ends with its owner")
  func secrets() async throws {
    try await withBucket { bucket, daemon, _ in
      try await bucket.check()
      _ = try await daemon.address()
      var found = 0
      for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") where Int(name) != nil {
        let line = (try? String(contentsOfFile: "/proc/\(name)/cmdline", encoding: .utf8)) ?? ""
        if line.contains("rcd") { found += 1 }
        #expect(!line.contains("s3cr3t-key"))
      }
      #expect(found > 0)
    }
  }

  @Test("a bucket that is not there, or not reachable, is told so")
  func failures() async throws {
    try await withBucket({ $0.bucket = "no-such-bucket" }) { bucket, _, _ in
      await #expect { try await bucket.put("x", [1]) } throws: {
        ($0 as? FederationError)?.publicMessage.contains("does not exist") == true
      }
    }
    try await withBucket({ $0.endpoint = "http://127.0.0.1:9" }) { bucket, _, _ in
      await #expect { try await bucket.put("x", [1]) } throws: { ($0 as? FederationError)?.isRetryable == true }
    }
  }
}

@Suite("Segments of a log")
struct LogSegmentTests {
  @Test("names tell what they hold, and others are nobody's")
  func names() {
    for moment in [nil, Timestamp(milliseconds: 1_795_000_000_000)] {
      let segment = LogSegment(start: 7, end: 70_000_000_000, isLast: true, moment: moment)
      #expect(LogSegment(name: segment.name) == segment)
    }
    for name in ["", "a", "1-2.3", "2-1", "-1-2", "1-2.last.x", "1-2-x", "1-2-3-4"] {
      #expect(LogSegment(name: name) == nil)
    }
  }

  @Test("overlapping segments make one log; what lies behind a gap was never acknowledged")
  func overlap() {
    var log = SegmentedLog()
    for (start, end, isLast) in [(5, 9, false), (0, 3, false), (2, 6, false), (20, 30, true)] as [(Int64, Int64, Bool)]
    {
      log.add(LogSegment(start: start, end: end, isLast: isLast))
    }
    #expect(log.position == LogPosition(offset: 9, isComplete: false))
    log.add(LogSegment(start: 0, end: 30, isLast: true))
    #expect(log.position == LogPosition(offset: 30, isComplete: true))
    #expect(log.segment(at: 4)?.end == 30)
  }
}
