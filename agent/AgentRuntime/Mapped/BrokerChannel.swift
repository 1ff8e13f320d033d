internal import CSupervisor
internal import Dispatch
internal import FederationModel
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Frames and descriptors over one end of a socket pair. Nothing that the other side does blocks a caller or grows without bound.
///
/// A frame is its length (four bytes, little-endian; the highest bit says that a descriptor came with the first byte) and so many
/// bytes. A thread of its own reads; a serial queue writes.
final class BrokerChannel: Sendable {
  struct Frame: Sendable {
    var bytes: [UInt8]
    /// Regular files alone pass.
    var file: OpenedFile?
  }

  /// What is read at once, and how many frames a second the other side may send in the long run.
  struct Limits: Sendable {
    var frameBytesMax = 32 << 20
    /// nil: as many as it likes.
    var framesPerSecond: Double?
  }

  private static let fileFlag: UInt32 = 1 << 31
  private static let unsentBytesMax = 128 << 20
  private static let burstFrames = 20_000.0
  private static let sendTimeoutSeconds = 20

  private struct State {
    var isClosed = false
    var unsentBytes = 0
  }

  private let socket: Int32
  /// Who must have sent what comes; nil: whoever holds the other end.
  private let peer: UInt32?
  private let limits: Limits
  private let state = Mutex(State())
  private let writing = DispatchQueue(label: "fubini.broker")
  private let received: @Sendable (Frame) throws -> Void
  private let closed: @Sendable (_ reason: String) -> Void

  /// Takes the socket over. `closed` is called once, after the last `received`.
  init(
    socket: Int32, peer: UInt32? = nil, limits: Limits = Limits(),
    received: @escaping @Sendable (Frame) throws -> Void, closed: @escaping @Sendable (_ reason: String) -> Void
  ) {
    self.socket = socket
    self.peer = peer
    self.limits = limits
    self.received = received
    self.closed = closed
    var timeout = timeval(tv_sec: Self.sendTimeoutSeconds, tv_usec: 0)
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
  }

  // The reader holds a reference until it ends, so nobody uses the socket any more.
  deinit { POSIXFile.close(socket) }

  /// Begins to read.
  func start() {
    var thread = pthread_t()
    let retained = Unmanaged.passRetained(self)
    let failure = pthread_create(
      &thread, nil,
      { argument in
        #if canImport(Musl)
          let channel = Unmanaged<BrokerChannel>.fromOpaque(argument!).takeRetainedValue()
        #else
          let channel = Unmanaged<BrokerChannel>.fromOpaque(argument!).takeRetainedValue()
        #endif
        channel.closed(channel.readUntilClosed())
        return nil
      }, retained.toOpaque())
    guard failure == 0 else {
      retained.release()
      close()
      return closed("no thread could be started")
    }
    pthread_detach(thread)
  }

  /// Ends the reader, which tells.
  func close() {
    state.withLock { $0.isClosed = true }
    shutdown(socket, Int32(SHUT_RDWR))
  }

  /// Queues a frame; the file is closed once it is sent. What cannot be sent closes the channel.
  func send(_ bytes: [UInt8], file: OpenedFile? = nil) {
    let fits = state.withLock { state in
      guard !state.isClosed, state.unsentBytes + bytes.count <= Self.unsentBytesMax else { return false }
      state.unsentBytes += bytes.count
      return true
    }
    guard fits, bytes.count <= limits.frameBytesMax else { return close() }
    writing.async { [self] in
      var header = UInt32(bytes.count) | (file == nil ? 0 : Self.fileFlag)
      let frame = withUnsafeBytes(of: &header) { Array($0) } + bytes
      if !write(frame, file?.descriptor ?? -1) { close() }
      state.withLock { $0.unsentBytes -= bytes.count }
    }
  }

  private func write(_ frame: [UInt8], _ file: Int32) -> Bool {
    var done = 0
    while done < frame.count {
      let sent = frame.withUnsafeBytes {
        csupervisor_send(socket, $0.baseAddress! + done, frame.count - done, done == 0 ? file : -1)
      }
      guard sent > 0 else { return false }
      done += sent
    }
    return true
  }

  /// - Returns: why it ended.
  private func readUntilClosed() -> String {
    var buffer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    var waiting: OpenedFile?
    var allowance = Self.burstFrames
    var countedAt = ContinuousClock.now
    while true {
      var descriptor: Int32 = -1
      var user: Int64 = -1
      let got = csupervisor_receive(socket, &chunk, chunk.count, &descriptor, &user)
      var file: OpenedFile?
      if descriptor >= 0 {
        file = try? OpenedFile(owning: descriptor, "what was sent")
        guard file != nil, waiting == nil else {
          return "it sent a descriptor that is no regular file, or one too many"
        }
      }
      if got == 0 { return "it ended" }
      guard got > 0 else { return "it cannot be read: \(String(cString: strerror(Int32(-got))))" }
      if let peer, user != Int64(peer) { return "it is user \(user), not \(peer)" }
      buffer += chunk[..<got]
      if let file { waiting = file }
      do {
        while let frame = try takeFrame(from: &buffer, &waiting) {
          if let rate = limits.framesPerSecond {
            let now = ContinuousClock.now
            allowance = min(Self.burstFrames, allowance + (now - countedAt) / .seconds(1) * rate) - 1
            countedAt = now
            guard allowance > 0 else { return "it sends more than \(Int(rate)) messages a second" }
          }
          try received(frame)
        }
      } catch { return "it sent what is no message" }
    }
  }

  private struct Malformed: Error {}

  private func takeFrame(from buffer: inout [UInt8], _ waiting: inout OpenedFile?) throws -> Frame? {
    guard buffer.count >= 4 else { return nil }
    let header = buffer[..<4].enumerated().reduce(UInt32(0)) { $0 | UInt32($1.element) << (8 * UInt32($1.offset)) }
    let count = Int(header & ~Self.fileFlag)
    guard count <= limits.frameBytesMax else { throw Malformed() }
    guard buffer.count >= 4 + count else { return nil }
    var frame = Frame(bytes: Array(buffer[4..<4 + count]))
    if header & Self.fileFlag != 0 {
      guard let file = waiting else { throw Malformed() }
      frame.file = file
      waiting = nil
    }
    buffer.removeFirst(4 + count)
    return frame
  }
}
