import Crypto
import FederationModel
import NIOCore

/// An upload whose parts are objects of their own; see `UnfinishedUpload`. Used by one task at a time.
actor PartedUpload: ArtifactUpload {
  /// An upload that goes on says so at least so often, in seconds: far more often than the sweep's age.
  private static let touchSeconds: Int64 = 3600

  private let bucket: ObjectBucket
  private let key: ArtifactKey
  private let content: ArtifactStat
  /// Until it has ended.
  private var turn: UploadTurns.Turn?
  private var upload: UnfinishedUpload
  private var size: Int64 = 0
  private var hash = SHA256()
  private var part: ObjectUpload?
  private var isResumed = false
  private var isEnded = false

  init(
    _ bucket: ObjectBucket, _ key: ArtifactKey, _ content: ArtifactStat, _ upload: UnfinishedUpload,
    _ turn: UploadTurns.Turn
  ) async throws {
    self.bucket = bucket
    self.key = key
    self.content = content
    self.turn = turn
    self.upload = upload
    self.upload.touchedAt = UnfinishedUpload.now
    try await self.upload.write(to: bucket)
  }

  /// The checksum goes over the whole, so what is there already is read once.
  func readBack(to offset: Int64) async throws {
    isResumed = true
    while size < offset {
      let path = UnfinishedUpload.part(size / upload.partBytes, of: upload.parts)
      guard let body = try await bucket.open(path, from: 0) else { throw ArtifactStat.missing(offset) }
      let chunks = ByteChunks(body)
      var count: Int64 = 0
      while let buffer = try await chunks.next() {
        hash.update(data: Array(buffer: buffer))
        count += Int64(buffer.readableBytes)
      }
      guard count == min(upload.partBytes, content.size - size) else { throw ArtifactStat.missing(offset) }
      size += count
    }
  }

  func write(_ bytes: [UInt8]) async throws {
    guard !isEnded else { throw ArtifactStat.uploadEnded }
    guard Int64(bytes.count) <= content.size - size else {
      throw FederationError(.invalidArgument, "The upload goes on behind the end of its artifact.")
    }
    hash.update(data: bytes)
    var rest = bytes[...]
    while !rest.isEmpty {
      let piece = rest.prefix(Int(clamping: upload.partBytes - size % upload.partBytes))
      let part =
        self.part ?? ObjectUpload(bucket, UnfinishedUpload.part(size / upload.partBytes, of: upload.parts))
      self.part = part
      try await part.send(piece)
      size += Int64(piece.count)
      rest = rest.dropFirst(piece.count)
      if size % upload.partBytes == 0 { try await endPart() }
    }
  }

  private func endPart() async throws {
    guard let part else { return }
    self.part = nil
    try await part.finish()
    if UnfinishedUpload.now - upload.touchedAt >= Self.touchSeconds {
      upload.touchedAt = UnfinishedUpload.now
      try await upload.write(to: bucket)
    }
  }

  func finish(size: Int64?, sha256: String?) async throws -> ArtifactStat {
    guard !isEnded else { throw ArtifactStat.uploadEnded }
    isEnded = true
    defer { turn = nil }
    // What is whole stays for the next call when the bucket fails here.
    try await endPart()
    let stat = ArtifactStat(size: self.size, sha256: hash.finalize().hexadecimal)
    do throws(FederationError) { try stat.check(size: content.size, sha256: content.sha256) } catch {
      // What is wrong as a whole is no beginning.
      try? await upload.discard(from: bucket)
      guard isResumed else { throw error }
      throw FederationError(
        .unavailable, "What was there of the artifact had changed. Send it from the beginning.", cause: error,
        retryAfter: .seconds(1))
    }
    guard try await upload.position(in: bucket) == stat.size else { throw ArtifactStat.missing(stat.size) }
    try await ArtifactRecord(
      key: key.description, data: upload.parts, size: stat.size, sha256: stat.sha256, partBytes: upload.partBytes
    ).publish(key, bucket)
    // Left behind, it is found by the sweep, which sees that the object is there.
    try? await upload.delete(from: bucket)
    return stat
  }

  func abort() async {
    guard !isEnded else { return }
    isEnded = true
    defer { turn = nil }
    let isEmpty = size < upload.partBytes
    await part?.cancel()
    part = nil
    if isEmpty { try? await upload.delete(from: bucket) }
  }
}
