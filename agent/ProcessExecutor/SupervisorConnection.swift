internal import CSupervisor
internal import FederationModel
internal import Glibc
internal import Supervisor
internal import Synchronization

/// One connection to the supervisor: answers are matched to commands by tag, events go to `onEvent`.
///
/// A thread of its own reads, because the cooperative pool must not block.
final class SupervisorConnection: Sendable {
  struct Answer: Sendable {
    var reply: SupervisorReply
    var body: [UInt8]
  }
  enum Event: Sendable {
    case started(UInt64, logBytes: UInt64)
    case ended(UInt64, RunEnd)
    case logGrew(UInt64, logBytes: UInt64)
    /// The supervisor is gone. Always the last.
    case closed
  }

  private struct Batch {
    var remaining: Int
    var answers: [UInt32: [Answer]]
    var continuation: CheckedContinuation<[UInt32: [Answer]], any Error>
  }
  private struct State {
    var isOpen = true
    var nextTag: UInt32 = 1
    var batchByTag: [UInt32: UInt32] = [:]
    var batches: [UInt32: Batch] = [:]
  }

  private let state = Mutex(State())
  private let writing = Mutex(())
  private let socket: Int32
  private let onEvent: @Sendable (Event) -> Void

  private init(socket: Int32, onEvent: @escaping @Sendable (Event) -> Void) {
    self.socket = socket
    self.onEvent = onEvent
  }

  /// - Throws: `SystemFailure` when nobody listens.
  static func open(stateDirectory: String, onEvent: @escaping @Sendable (Event) -> Void) throws -> SupervisorConnection
  {
    let socket = try UnixSocket.connect(to: Supervisor.socketPath(in: stateDirectory))
    let uid = csupervisor_peer_uid(socket)
    guard uid == 0 || uid == Int64(getuid()) else {
      Glibc.close(socket)
      throw FederationError(.permissionDenied, "the supervisor of \(stateDirectory) belongs to another user")
    }
    let connection = SupervisorConnection(socket: socket, onEvent: onEvent)
    var thread = pthread_t()
    let retained = Unmanaged.passRetained(connection)
    let failure = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<SupervisorConnection>.fromOpaque(argument!).takeRetainedValue().readUntilClosed()
        return nil
      }, retained.toOpaque())
    guard failure == 0 else {
      retained.release()
      Glibc.close(socket)
      throw SystemFailure("start a thread", failure)
    }
    pthread_detach(thread)
    return connection
  }

  var isOpen: Bool { state.withLock { $0.isOpen } }

  /// Ends the reader, which closes the socket.
  func close() { shutdown(socket, Int32(SHUT_RDWR)) }

  /// Sends commands in one write and waits for every final answer, in order.
  /// - Throws: `.unavailable` when the supervisor goes away first.
  func send(_ commands: [(SupervisorCommand, [UInt8])]) async throws -> [[Answer]] {
    guard !commands.isEmpty else { return [] }
    var tags: [UInt32] = []
    let byTag = try await withCheckedThrowingContinuation { continuation in
      let first: UInt32? = state.withLock { state in
        guard state.isOpen else { return nil }
        let first = state.nextTag
        for offset in 0..<UInt32(commands.count) { state.batchByTag[first &+ offset] = first }
        state.nextTag &+= UInt32(commands.count)
        state.batches[first] = Batch(remaining: commands.count, answers: [:], continuation: continuation)
        return first
      }
      guard let first else { return continuation.resume(throwing: Self.gone) }
      tags = commands.indices.map { first &+ UInt32($0) }
      var bytes: [UInt8] = []
      for (tag, command) in zip(tags, commands) {
        bytes += SupervisorProtocol.frame(command.0.rawValue, tag: tag, command.1)
      }
      writeAll(bytes)
    }
    return tags.map { byTag[$0] ?? [] }
  }

  static var gone: FederationError {
    FederationError(.unavailable, "the supervisor is not there; it is being started again", retryAfter: .seconds(1))
  }

  private func writeAll(_ bytes: [UInt8]) {
    writing.withLock { _ in
      var done = 0
      while done < bytes.count {
        let put = bytes.withUnsafeBytes {
          Glibc.send(socket, $0.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
        }
        if put < 0, errno == EINTR { continue }
        // The reader notices too, and fails whoever waits.
        if put <= 0 { return close() }
        done += put
      }
    }
  }

  private func readUntilClosed() {
    var buffer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    reading: while true {
      let got = recv(socket, &chunk, chunk.count, 0)
      if got < 0, errno == EINTR { continue }
      guard got > 0 else { break }
      buffer += chunk[..<got]
      do {
        while let frame = try SupervisorProtocol.takeFrame(from: &buffer) {
          try dispatch(frame.kind, tag: frame.tag, frame.body)
        }
      } catch { break reading }
    }
    let abandoned = state.withLock { state in
      state.isOpen = false
      defer { state.batches = [:] }
      return state.batches.values.map(\.continuation)
    }
    Glibc.close(socket)
    for continuation in abandoned { continuation.resume(throwing: Self.gone) }
    onEvent(.closed)
  }

  private func dispatch(_ kind: UInt8, tag: UInt32, _ body: ArraySlice<UInt8>) throws {
    // What a newer supervisor adds is not for us.
    guard let reply = SupervisorReply(rawValue: kind) else { return }
    if tag == 0 {
      if let event = try Self.event(reply, body) { onEvent(event) }
      return
    }
    let isFinal = reply != .started && reply != .ended
    let finished: Batch? = state.withLock { state in
      guard let first = state.batchByTag[tag] else { return nil }
      state.batches[first]?.answers[tag, default: []].append(Answer(reply: reply, body: Array(body)))
      guard isFinal else { return nil }
      state.batchByTag[tag] = nil
      state.batches[first]?.remaining -= 1
      return state.batches[first]?.remaining == 0 ? state.batches.removeValue(forKey: first) : nil
    }
    if let finished { finished.continuation.resume(returning: finished.answers) }
  }

  static func event(_ reply: SupervisorReply, _ body: ArraySlice<UInt8>) throws -> Event? {
    var reader = WireReader(body)
    switch reply {
    case .started: return .started(try reader.number(), logBytes: try reader.number())
    case .logGrew: return .logGrew(try reader.number(), logBytes: try reader.number())
    case .ended: return .ended(try reader.number(), try RunEnd(from: &reader))
    default: return nil
    }
  }
}
