import Crypto
import FederationModel
import Foundation
import NIOCore
import Synchronization

/// An artifact repository in a bucket.
///
/// As in a directory, an object is two: its bytes under a name of their own, and a small record under its key's hash that names
/// them. The record's replacement, which S3 does in one step, is the one moment at which the object appears or changes; so an
/// upload that was cut off is never seen.
///
/// The bytes of a large one whose size and checksum are known beforehand are many objects, its parts: those that an upload which was
/// cut has brought whole are there for the next one, on any control plane; see `UnfinishedUpload`.
struct BucketArtifactStore: ArtifactStore {
  /// What is not larger goes as one object, and again from its beginning.
  static let partBytesMin: Int64 = 16 << 20
  static let partsMax: Int64 = 1000

  let bucket: ObjectBucket
  let turns = UploadTurns()
  private let partBytesMin: Int64

  /// - Parameter partBytesMin: of a part; those of objects with more than `partsMax` of them are larger.
  init(_ bucket: ObjectBucket, partBytesMin: Int64 = Self.partBytesMin) {
    self.bucket = bucket
    self.partBytesMin = partBytesMin
  }

  func put(_ key: ArtifactKey) async throws -> any ArtifactUpload { BucketUpload(bucket, key) }

  func position(of key: ArtifactKey, content: ArtifactStat) async throws -> Int64 {
    if try await stat(key) == content { return content.size }
    return try await UnfinishedUpload.read(key, content, bucket)?.position(in: bucket) ?? 0
  }

  func put(_ key: ArtifactKey, content: ArtifactStat, from offset: Int64) async throws -> any ArtifactUpload {
    guard content.size >= 0, (0...content.size).contains(offset), content.sha256.utf8.count == 64 else {
      throw FederationError(
        .invalidArgument, "An upload goes on at an offset of an artifact with a size and a SHA-256.")
    }
    if offset == content.size, offset > 0, try await stat(key) == content { return StoredUpload(stat: content) }
    guard content.size > partBytesMin else {
      guard offset == 0 else { throw ArtifactStat.missing(offset) }
      return try await put(key)
    }
    let turn = try turns.take(UnfinishedUpload.path(key, content))
    let old = try await UnfinishedUpload.read(key, content, bucket)
    guard offset > 0 else {
      try await old?.discard(from: bucket)
      let partBytes = max(partBytesMin, (content.size + Self.partsMax - 1) / Self.partsMax)
      let fresh = UnfinishedUpload(key, content, partBytes: partBytes)
      return try await PartedUpload(bucket, key, content, fresh, turn)
    }
    guard let old, offset % old.partBytes == 0 || offset == content.size, try await old.position(in: bucket) >= offset
    else { throw ArtifactStat.missing(offset) }
    let upload = try await PartedUpload(bucket, key, content, old, turn)
    try await upload.readBack(to: offset)
    return upload
  }

  func stat(_ key: ArtifactKey) async throws -> ArtifactStat? { try await ArtifactRecord.read(key, bucket)?.stat }

  func get(_ key: ArtifactKey, from offset: Int64) async throws -> any ArtifactDownload {
    // A replacement between the record and its bytes removes the bytes: then the record has changed, too.
    for _ in 0..<16 {
      guard let record = try await ArtifactRecord.read(key, bucket) else { break }
      let stat = record.stat
      guard (0...stat.size).contains(offset) else {
        throw FederationError(
          .invalidArgument, "The artifact has \(stat.size) bytes; offset \(offset) is not among them.")
      }
      if offset == stat.size { return BucketDownload(stat: stat, offset: offset, body: nil) }
      let place = record.place(of: offset)
      if let body = try await bucket.open(place.path, from: place.offset) {
        return BucketDownload(stat: stat, offset: offset, body: ByteChunks(body)) { offset in
          // Where a part ends the next one begins.
          let place = record.place(of: offset)
          guard record.partBytes != nil, place.offset == 0 else { return nil }
          return try await bucket.open(place.path, from: 0).map { ByteChunks($0) }
        }
      }
    }
    throw FederationError(.notFound, "There is no artifact \(key.path) in project \(key.project).")
  }

  func delete(_ key: ArtifactKey) async throws {
    guard let record = try await ArtifactRecord.read(key, bucket) else { return }
    try await bucket.delete(ArtifactRecord.path(key))
    try await record.deleteBytes(from: bucket)
  }
}

/// What the record of an object says.
struct ArtifactRecord: Codable, Hashable, Sendable {
  var key: String
  /// Path of the bytes in the bucket; with `partBytes` of the directory of their parts.
  var data: String
  var size: Int64
  var sha256: String
  /// Of each part but the last; nil: the bytes are one object.
  var partBytes: Int64?

  var stat: ArtifactStat { ArtifactStat(size: size, sha256: sha256) }

  static func path(_ key: ArtifactKey) -> String {
    let hash = SHA256.hash(data: Array(key.description.utf8)).hexadecimal
    return "artifacts/records/\(hash.prefix(2))/\(hash)"
  }

  static func read(_ key: ArtifactKey, _ bucket: ObjectBucket) async throws -> ArtifactRecord? {
    guard let bytes = try await bucket.read(path(key), count: 8192) else { return nil }
    guard let record = try? JSONDecoder().decode(ArtifactRecord.self, from: Data(bytes)), record.key == key.description
    else {
      throw FederationError(
        .internal, "The artifact repository is damaged. Ask the control plane's operator to look at its log.",
        internalContext: "record \(path(key)) is not one of ours")
    }
    return record
  }

  /// The object that holds a byte, and where in it.
  func place(of offset: Int64) -> (path: String, offset: Int64) {
    guard let partBytes else { return (data, offset) }
    return (UnfinishedUpload.part(offset / partBytes, of: data), offset % partBytes)
  }

  /// The moment at which the object appears, or is another one.
  func publish(_ key: ArtifactKey, _ bucket: ObjectBucket) async throws {
    let old = try await Self.read(key, bucket)
    try await bucket.put(Self.path(key), Array(try JSONEncoder().encode(self)))
    if let old, old.data != data { try? await old.deleteBytes(from: bucket) }
  }

  func deleteBytes(from bucket: ObjectBucket) async throws {
    guard let partBytes else { return try await bucket.delete(data) }
    for part in 0..<((size + partBytes - 1) / partBytes) {
      try await bucket.delete(UnfinishedUpload.part(part, of: data))
    }
  }
}

/// One upload that cannot be gone on with: its bytes are one object.
private final class BucketUpload: ArtifactUpload {
  private struct State {
    var size: Int64 = 0
    var hash = SHA256()
    var object: ObjectUpload?
  }

  private let bucket: ObjectBucket
  private let key: ArtifactKey
  private let state: Mutex<State>

  init(_ bucket: ObjectBucket, _ key: ArtifactKey) {
    self.bucket = bucket
    self.key = key
    let name = String.randomName()
    state = Mutex(State(object: ObjectUpload(bucket, "artifacts/data/\(name.prefix(2))/\(name)")))
  }

  func write(_ bytes: [UInt8]) async throws {
    let object = state.withLock { state in
      state.size += Int64(bytes.count)
      state.hash.update(data: bytes)
      return state.object
    }
    guard let object else { throw ArtifactStat.uploadEnded }
    try await object.send(bytes)
  }

  func finish(size: Int64?, sha256: String?) async throws -> ArtifactStat {
    let (stat, ended) = state.withLock { state in
      defer { state.object = nil }
      return (ArtifactStat(size: state.size, sha256: state.hash.finalize().hexadecimal), state.object)
    }
    guard let object = ended else { throw ArtifactStat.uploadEnded }
    do { try stat.check(size: size, sha256: sha256) } catch {
      await object.cancel()
      throw error
    }
    try await object.finish()
    do {
      try await ArtifactRecord(key: key.description, data: object.path, size: stat.size, sha256: stat.sha256).publish(
        key, bucket)
      return stat
    } catch {
      try? await bucket.delete(object.path)
      throw error
    }
  }

  func abort() async {
    let object = state.withLock { state in
      defer { state.object = nil }
      return state.object
    }
    await object?.cancel()
  }
}

extension String {
  /// 128 bits that nobody else draws.
  static func randomName() -> String {
    (0..<2).map { _ in
      let digits = String(UInt64.random(in: .min ... .max), radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }
}
