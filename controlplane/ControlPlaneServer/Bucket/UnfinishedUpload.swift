import Crypto
import FederationModel
import Foundation
import Synchronization

/// An upload in parts that nobody has finished yet: a small object under the hash of its key and content, which says where its parts
/// are. It is written before the first part and deleted after the record, so that whatever nobody finishes is found by it.
struct UnfinishedUpload: Codable, Hashable, Sendable {
  static let directory = "artifacts/uploads"

  var project: String
  var key: String
  var size: Int64
  var sha256: String
  var partBytes: Int64
  /// The directory of its parts, which no other upload has.
  var parts: String
  /// When it last went on, in seconds since 1970.
  var touchedAt: Int64

  init(_ key: ArtifactKey, _ content: ArtifactStat, partBytes: Int64) {
    project = key.project.text
    self.key = key.path
    (size, sha256) = (content.size, content.sha256)
    self.partBytes = partBytes
    let name = String.randomName()
    parts = "artifacts/parts/\(name.prefix(2))/\(name)"
    touchedAt = Self.now
  }

  static var now: Int64 { Int64(Date().timeIntervalSince1970) }

  static func path(_ key: ArtifactKey, _ content: ArtifactStat) -> String {
    directory + "/" + SHA256.hash(data: Array("\(key)\n\(content.sha256)\n\(content.size)".utf8)).hexadecimal
  }

  /// The name of a part, counted from 0.
  static func part(_ index: Int64, of directory: String) -> String { "\(directory)/\(index)" }

  static func read(_ key: ArtifactKey, _ content: ArtifactStat, _ bucket: ObjectBucket) async throws -> Self? {
    try await read(path(key, content), bucket)
  }

  /// nil also for an object that is none of ours.
  static func read(_ path: String, _ bucket: ObjectBucket) async throws -> Self? {
    guard let bytes = try await bucket.read(path, count: 8192),
      let found = try? JSONDecoder().decode(Self.self, from: Data(bytes)), found.partBytes > 0, found.size >= 0
    else { return nil }
    return found
  }

  func artifactKey() throws -> ArtifactKey { try ArtifactKey(project: ProjectName(project), path: key) }

  private func path() throws -> String { Self.path(try artifactKey(), ArtifactStat(size: size, sha256: sha256)) }

  func write(to bucket: ObjectBucket) async throws {
    try await bucket.put(try path(), Array(try JSONEncoder().encode(self)))
  }

  func delete(from bucket: ObjectBucket) async throws { try await bucket.delete(try path()) }

  /// How many bytes from the beginning are there in whole parts.
  func position(in bucket: ObjectBucket) async throws -> Int64 {
    let sizes = Dictionary(try await bucket.list(parts).map { ($0.name, $0.size) }, uniquingKeysWith: { $1 })
    var offset: Int64 = 0
    while offset < size {
      let wanted = min(partBytes, size - offset)
      guard sizes["\(offset / partBytes)"] == wanted else { break }
      offset += wanted
    }
    return offset
  }

  /// Deletes its parts, unless the object is there by now and made of them: then only the note was left.
  func discard(from bucket: ObjectBucket) async throws {
    if try await ArtifactRecord.read(try artifactKey(), bucket)?.data != parts {
      for part in try await bucket.list(parts) { try await bucket.delete("\(parts)/\(part.name)") }
    }
    try await delete(from: bucket)
  }
}

/// One at a time goes on with an upload.
final class UploadTurns: Sendable {
  private let taken = Mutex<Set<String>>([])

  final class Turn: Sendable {
    private let turns: UploadTurns
    private let name: String
    fileprivate init(_ turns: UploadTurns, _ name: String) { (self.turns, self.name) = (turns, name) }
    deinit { _ = turns.taken.withLock { $0.remove(name) } }
  }

  /// Until the turn is released.
  /// - Throws: `.unavailable` while somebody else has it.
  func take(_ name: String) throws(FederationError) -> Turn {
    guard taken.withLock({ $0.insert(name).inserted }) else {
      throw FederationError(
        .unavailable, "Another upload of this artifact is under way. Try again.", retryAfter: .seconds(1))
    }
    return Turn(self, name)
  }
}

extension BucketArtifactStore {
  /// Deletes the parts of uploads that nobody has gone on with for `age`.
  ///
  /// - Returns: how many uploads these were.
  func sweep(olderThan age: Duration) async throws -> Int {
    var count = 0
    for entry in try await bucket.list(UnfinishedUpload.directory) {
      try Task.checkCancellation()
      let path = "\(UnfinishedUpload.directory)/\(entry.name)"
      guard let upload = try await UnfinishedUpload.read(path, bucket),
        upload.touchedAt <= UnfinishedUpload.now - age.components.seconds, let turn = try? turns.take(path)
      else { continue }
      try await upload.discard(from: bucket)
      withExtendedLifetime(turn) { count += 1 }
    }
    return count
  }
}
