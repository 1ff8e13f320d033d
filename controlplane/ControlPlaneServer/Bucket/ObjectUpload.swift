import FederationModel
import NIOCore
import Synchronization

/// An object of unknown length on its way into a bucket: `send` hands each piece to the request in flight and waits until that has
/// taken it. Used by one task at a time; ends with `finish` or `cancel`.
final class ObjectUpload: Sendable {
  let path: String
  private let bucket: ObjectBucket
  private let pipe = UploadPipe()
  private let sent = Mutex<Int64>(0)
  private let request: Task<Void, any Error>

  init(_ bucket: ObjectBucket, _ path: String) {
    self.bucket = bucket
    self.path = path
    request = Task { [bucket, path, pipe] in
      do {
        try await bucket.put(path, stream: pipe)
        pipe.end()
      } catch {
        pipe.fail(error)
        throw error
      }
    }
  }

  deinit { request.cancel() }

  func send(_ bytes: some Sequence<UInt8>) async throws {
    let buffer = ByteBuffer(bytes: bytes)
    guard buffer.readableBytes > 0 else { return }
    sent.withLock { $0 += Int64(buffer.readableBytes) }
    try await pipe.send(buffer)
  }

  /// Returns when the object is in the bucket, as long as what was sent; else nothing is left of it.
  func finish() async throws {
    do {
      pipe.finish()
      try await request.value
      guard try await bucket.size(path) == sent.withLock({ $0 }) else {
        throw FederationError(
          .unavailable, "The bucket did not keep the artifact whole. Send it again.", retryAfter: .seconds(1))
      }
    } catch {
      await cancel()
      throw error
    }
  }

  func cancel() async {
    request.cancel()
    pipe.fail(CancellationError())
    _ = try? await request.value
    try? await bucket.delete(path)
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
