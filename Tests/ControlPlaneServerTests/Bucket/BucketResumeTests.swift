import Crypto
import FederationModel
import Foundation
import Testing

@testable import ControlPlaneServer

/// Uploads in parts, and what becomes of them when they are cut.
extension BucketStoreTests {
  private static let partBytes: Int64 = 1_000_000
  private static let bytes = (0..<3_500_000).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
  private static let content = ArtifactStat(
    size: Int64(bytes.count), sha256: SHA256.hash(data: bytes).hexadecimal)

  private static func send(_ upload: any ArtifactUpload, _ range: Range<Int>, _ bytes: [UInt8] = bytes) async throws {
    for start in stride(from: range.lowerBound, to: range.upperBound, by: 65_536) {
      try await upload.write(Array(bytes[start..<min(range.upperBound, start + 65_536)]))
    }
  }

  /// Every object of the store.
  private static func objects(_ bucket: ObjectBucket, _ upload: UnfinishedUpload?) async throws -> [String] {
    var found = try await bucket.list(UnfinishedUpload.directory).map(\.name)
    if let upload { found += try await bucket.list(upload.parts).map(\.name) }
    return found
  }

  @Test(
    "an upload that was cut goes on behind its last whole part, on another control plane, and is read from anywhere")
  func resumed() async throws {
    let key = try key("w/large")
    try await withBucket { bucket, _, _ in
      let first = BucketArtifactStore(bucket, partBytesMin: Self.partBytes)
      #expect(try await first.position(of: key, content: Self.content) == 0)
      let upload = try await first.put(key, content: Self.content, from: 0)
      try await Self.send(upload, 0..<2_400_000)
      await #expect { _ = try await first.put(key, content: Self.content, from: 0) } throws: {
        ($0 as? FederationError)?.code == .unavailable
      }
      await upload.abort()
      #expect(try await first.stat(key) == nil)

      let second = BucketArtifactStore(bucket, partBytesMin: Self.partBytes)
      #expect(try await second.position(of: key, content: Self.content) == 2_000_000)
      // Other bytes of the same key have brought nothing.
      let other = ArtifactStat(size: Self.content.size, sha256: String(repeating: "0", count: 64))
      #expect(try await second.position(of: key, content: other) == 0)
      for offset in [2_000_001, 3_000_000, 1] as [Int64] {
        await #expect { _ = try await second.put(key, content: Self.content, from: offset) } throws: {
          ($0 as? FederationError)?.code == .unavailable
        }
      }
      let rest = try await second.put(key, content: Self.content, from: 2_000_000)
      try await Self.send(rest, 2_000_000..<3_500_000)
      #expect(try await second.stat(key) == nil)
      #expect(try await rest.finish(size: nil, sha256: nil) == Self.content)
      #expect(try await second.position(of: key, content: Self.content) == Self.content.size)
      for offset in [0, 999_999, 1_000_000, 1_500_000, 3_499_999, 3_500_000] {
        let read = try await Self.collect(try await second.get(key, from: Int64(offset)))
        #expect(read == Array(Self.bytes[offset...]), "from \(offset)")
      }
      // The answer to its end was lost: the agent asks again.
      let again = try await second.put(key, content: Self.content, from: Self.content.size)
      #expect(try await again.finish(size: Self.content.size, sha256: Self.content.sha256) == Self.content)
      // A replacement, and a deletion, leave no part.
      let record = try #require(try await ArtifactRecord.read(key, bucket))
      let small = try await second.put(key)
      try await small.write([1])
      _ = try await small.finish(size: 1, sha256: nil)
      #expect(try await bucket.list(record.data).isEmpty)
      #expect(try await bucket.list(UnfinishedUpload.directory).isEmpty)
    }
  }

  @Test("parts that have changed since, or were wrong as a whole, are no beginning")
  func changedParts() async throws {
    let key = try key("w/changed")
    try await withBucket { bucket, _, _ in
      let store = BucketArtifactStore(bucket, partBytesMin: Self.partBytes)
      let upload = try await store.put(key, content: Self.content, from: 0)
      try await Self.send(upload, 0..<1_200_000)
      await upload.abort()
      let unfinished = try #require(try await UnfinishedUpload.read(key, Self.content, bucket))
      try await bucket.put(UnfinishedUpload.part(0, of: unfinished.parts), [UInt8](repeating: 0, count: 1_000_000))
      let rest = try await store.put(key, content: Self.content, from: 1_000_000)
      try await Self.send(rest, 1_000_000..<3_500_000)
      await #expect { _ = try await rest.finish(size: nil, sha256: nil) } throws: {
        ($0 as? FederationError)?.isRetryable == true
      }
      #expect(try await store.stat(key) == nil)
      #expect(try await store.position(of: key, content: Self.content) == 0)
      #expect(try await Self.objects(bucket, unfinished).isEmpty)
      let wrong = try await store.put(key, content: Self.content, from: 0)
      try await Self.send(wrong, 0..<3_500_000, [UInt8](repeating: 7, count: 3_500_000))
      await #expect { _ = try await wrong.finish(size: nil, sha256: nil) } throws: {
        ($0 as? FederationError)?.code == .invalidArgument
      }
      #expect(try await bucket.list(UnfinishedUpload.directory).isEmpty)
    }
  }

  @Test("what nobody goes on with is swept, and what is young, under way or finished is not")
  func sweep() async throws {
    let key = try key("w/swept")
    try await withBucket { bucket, _, _ in
      let store = BucketArtifactStore(bucket, partBytesMin: Self.partBytes)
      let upload = try await store.put(key, content: Self.content, from: 0)
      try await Self.send(upload, 0..<1_200_000)
      let unfinished = try #require(try await UnfinishedUpload.read(key, Self.content, bucket))
      #expect(try await store.sweep(olderThan: .zero) == 0, "it is under way")
      await upload.abort()
      #expect(try await store.sweep(olderThan: .seconds(3600)) == 0, "it is young")
      #expect(try await Self.objects(bucket, unfinished).count == 2)
      #expect(try await store.sweep(olderThan: .zero) == 1)
      #expect(try await Self.objects(bucket, unfinished).isEmpty)

      // A control plane that died right after the object had appeared.
      let whole = try await store.put(key, content: Self.content, from: 0)
      try await Self.send(whole, 0..<3_500_000)
      let note = try #require(try await UnfinishedUpload.read(key, Self.content, bucket))
      _ = try await whole.finish(size: nil, sha256: nil)
      try await note.write(to: bucket)
      #expect(try await store.sweep(olderThan: .zero) == 1)
      #expect(try await Self.collect(try await store.get(key, from: 0)) == Self.bytes)
      // The same when the same bytes come again.
      try await note.write(to: bucket)
      let same = try await store.put(key, content: Self.content, from: 0)
      await same.abort()
      #expect(try await Self.collect(try await store.get(key, from: 0)) == Self.bytes)
      #expect(try await bucket.list(UnfinishedUpload.directory).isEmpty)
    }
  }
}
