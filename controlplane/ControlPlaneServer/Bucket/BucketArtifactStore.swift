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
struct BucketArtifactStore: ArtifactStore {
  private let bucket: ObjectBucket

  init(_ bucket: ObjectBucket) { self.bucket = bucket }

  func put(_ key: ArtifactKey) async throws -> any ArtifactUpload { BucketUpload(bucket, key) }

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
      if let body = try await bucket.open(record.data, from: offset) {
        return BucketDownload(stat: stat, offset: offset, body: ByteChunks(body))
      }
    }
    throw FederationError(.notFound, "There is no artifact \(key.path) in project \(key.project).")
  }

  func delete(_ key: ArtifactKey) async throws {
    guard let record = try await ArtifactRecord.read(key, bucket) else { return }
    try await bucket.delete(ArtifactRecord.path(key))
    try await bucket.delete(record.data)
  }
}

/// What the record of an object says.
struct ArtifactRecord: Codable, Hashable, Sendable {
  var key: String
  /// Path of the bytes in the bucket.
  var data: String
  var size: Int64
  var sha256: String

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
}

/// One upload: `write` hands each part to the request in flight and waits until that has taken it.
private final class BucketUpload: ArtifactUpload {
  private struct State {
    var size: Int64 = 0
    var hash = SHA256()
    var request: Task<Void, any Error>?
  }

  private let bucket: ObjectBucket
  private let key: ArtifactKey
  private let data: String
  private let pipe = UploadPipe()
  private let state = Mutex(State())

  init(_ bucket: ObjectBucket, _ key: ArtifactKey) {
    self.bucket = bucket
    self.key = key
    let name = String(UInt64.random(in: .min ... .max), radix: 16) + String(UInt64.random(in: .min ... .max), radix: 16)
    data = "artifacts/data/\(name.prefix(2))/\(name)"
    let request = Task { [bucket, data, pipe] in
      do {
        try await bucket.put(data, stream: pipe)
        pipe.end()
      } catch {
        pipe.fail(error)
        throw error
      }
    }
    state.withLock { $0.request = request }
  }

  deinit { state.withLock { $0.request }?.cancel() }

  func write(_ bytes: [UInt8]) async throws {
    guard !bytes.isEmpty else { return }
    state.withLock { state in
      state.size += Int64(bytes.count)
      state.hash.update(data: bytes)
    }
    try await pipe.send(ByteBuffer(bytes: bytes))
  }

  func finish(size: Int64?, sha256: String?) async throws -> ArtifactStat {
    let (stat, request) = state.withLock { state in
      let request = state.request
      state.request = nil
      return (ArtifactStat(size: state.size, sha256: state.hash.finalize().hexadecimal), request)
    }
    guard let request else { throw FederationError(.failedPrecondition, "This upload has ended. Begin it again.") }
    do {
      try stat.check(size: size, sha256: sha256)
      pipe.finish()
      try await request.value
      guard try await bucket.size(data) == stat.size else {
        throw FederationError(
          .unavailable, "The bucket did not keep the artifact whole. Send it again.", retryAfter: .seconds(1))
      }
      let old = try await ArtifactRecord.read(key, bucket)
      let record = ArtifactRecord(key: key.description, data: data, size: stat.size, sha256: stat.sha256)
      try await bucket.put(ArtifactRecord.path(key), Array(try JSONEncoder().encode(record)))
      if let old { try? await bucket.delete(old.data) }
      return stat
    } catch {
      request.cancel()
      pipe.fail(CancellationError())
      try? await bucket.delete(data)
      throw error
    }
  }

  func abort() async {
    let request = state.withLock { state in
      defer { state.request = nil }
      return state.request
    }
    guard let request else { return }
    request.cancel()
    pipe.fail(CancellationError())
    _ = try? await request.value
    try? await bucket.delete(data)
  }
}

/// Hands buffers from one task to another, one at a time: the sender waits until the receiver asks for the next.
private final class UploadPipe: AsyncSequence, Sendable {
  typealias Element = ByteBuffer
  typealias Failure = any Error

  private struct State {
    var waiting: (buffer: ByteBuffer, sender: CheckedContinuation<Void, any Error>)?
    var receiver: CheckedContinuation<ByteBuffer?, any Error>?
    var isFinished = false
    var failure: (any Error)?
  }
  private let state = Mutex(State())

  func send(_ buffer: ByteBuffer) async throws {
    try await withCheckedThrowingContinuation { (sender: CheckedContinuation<Void, any Error>) in
      let (receiver, failure): (CheckedContinuation<ByteBuffer?, any Error>?, (any Error)?) = state.withLock { state in
        if let failure = state.failure { return (nil, failure) }
        if let receiver = state.receiver {
          state.receiver = nil
          return (receiver, nil)
        }
        state.waiting = (buffer, sender)
        return (nil, nil)
      }
      if let failure { sender.resume(throwing: failure) }
      if let receiver {
        receiver.resume(returning: buffer)
        sender.resume()
      }
    }
  }

  /// Nothing follows.
  func finish() {
    let receiver = state.withLock { state in
      state.isFinished = true
      defer { state.receiver = nil }
      return state.receiver
    }
    receiver?.resume(returning: nil)
  }

  /// The receiver has what it needs.
  func end() { fail(FederationError(.unavailable, "The bucket ended the upload early. Send the artifact again.")) }

  func fail(_ error: any Error) {
    let (sender, receiver) = state.withLock { state in
      state.failure = state.failure ?? error
      defer { (state.waiting, state.receiver) = (nil, nil) }
      return (state.waiting?.sender, state.receiver)
    }
    sender?.resume(throwing: error)
    receiver?.resume(throwing: error)
  }

  private func receive() async throws -> ByteBuffer? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (receiver: CheckedContinuation<ByteBuffer?, any Error>) in
        enum Now { case value(ByteBuffer, CheckedContinuation<Void, any Error>), over, failed(any Error), later }
        let now: Now = state.withLock { state in
          if let failure = state.failure { return .failed(failure) }
          if let waiting = state.waiting {
            state.waiting = nil
            return .value(waiting.buffer, waiting.sender)
          }
          if state.isFinished { return .over }
          state.receiver = receiver
          return .later
        }
        switch now {
        case .value(let buffer, let sender):
          receiver.resume(returning: buffer)
          sender.resume()
        case .over: receiver.resume(returning: nil)
        case .failed(let error): receiver.resume(throwing: error)
        case .later: break
        }
      }
    } onCancel: {
      fail(CancellationError())
    }
  }

  struct Iterator: AsyncIteratorProtocol {
    let pipe: UploadPipe
    mutating func next() async throws -> ByteBuffer? { try await pipe.receive() }
  }
  func makeAsyncIterator() -> Iterator { Iterator(pipe: self) }
}
