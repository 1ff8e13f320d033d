import AsyncHTTPClient
import FederationModel
import NIOCore
import Synchronization

/// The bytes of an answer, one buffer at a time. Used by one task at a time.
final class ByteChunks: @unchecked Sendable {
  // The iterator is no Sendable value; `ArtifactDownload` is used by one task at a time.
  private var iterator: HTTPClientResponse.Body.AsyncIterator
  init(_ body: HTTPClientResponse.Body) { iterator = body.makeAsyncIterator() }
  func next() async throws -> ByteBuffer? { try await iterator.next() }
}

final class BucketDownload: ArtifactDownload {
  private struct State {
    var offset: Int64
    var chunks: ByteChunks?
    var rest = ByteBuffer()
  }
  let stat: ArtifactStat
  private let state: Mutex<State>
  private let following: @Sendable (Int64) async throws -> ByteChunks?

  /// - Parameter following: what is to be read at an offset where an answer has ended; nil when nothing begins there.
  init(
    stat: ArtifactStat, offset: Int64, body: ByteChunks?,
    following: @escaping @Sendable (Int64) async throws -> ByteChunks? = { _ in nil }
  ) {
    self.stat = stat
    self.following = following
    state = Mutex(State(offset: offset, chunks: body))
  }

  func next() async throws -> [UInt8]? {
    while true {
      let (ready, chunks, offset) = state.withLock { state -> ([UInt8]?, ByteChunks?, Int64) in
        let count = min(state.rest.readableBytes, 262_144)
        guard count > 0, let bytes = state.rest.readBytes(length: count) else {
          return (nil, state.chunks, state.offset)
        }
        state.offset += Int64(count)
        return (bytes, nil, state.offset)
      }
      if let ready { return ready }
      guard let chunks else { return nil }
      let buffer: ByteBuffer?
      do { buffer = try await chunks.next() } catch {
        throw FederationError(
          .unavailable, "The bucket stopped in the middle of the artifact. Read it again from \(offset).",
          internalContext: "\(error)", retryAfter: .seconds(1))
      }
      guard let buffer else {
        if offset < stat.size, let next = try await following(offset) {
          state.withLock { $0.chunks = next }
          continue
        }
        guard offset == stat.size else {
          throw FederationError(
            .unavailable, "The bucket gave \(offset) of \(stat.size) bytes. Read the rest again.",
            retryAfter: .seconds(1))
        }
        state.withLock { $0.chunks = nil }
        return nil
      }
      state.withLock { $0.rest = buffer }
    }
  }

  func close() async {
    state.withLock { state in
      state.chunks = nil
      state.rest = ByteBuffer()
    }
  }
}
