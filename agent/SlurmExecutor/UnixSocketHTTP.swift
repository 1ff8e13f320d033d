internal import Dispatch
internal import FederationModel
internal import Glibc

/// HTTP/1.1 `GET` over a unix socket, one connection for each question: all that slurmrestd is needed for.
struct UnixSocketHTTP: Sendable {
  struct Answer: Hashable, Sendable {
    var status: Int
    var body: [UInt8]
  }
  static let headBytesMax = 64 << 10

  var path: String

  /// - Parameters:
  ///   - target: the path of the request, of visible ASCII.
  ///   - limit: bytes of the body beyond which an answer is no use.
  /// - Throws: `.unavailable` when nobody listens, the answer is none of HTTP, too long, or not there in time.
  @concurrent
  func get(_ target: String, limit: Int, timeout: Duration) async throws -> Answer {
    let deadline = ContinuousClock.now + timeout
    // Its own thread waits; the ones that tasks share must not.
    return try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global().async {
        continuation.resume(with: Result { try self.exchange(target, limit: limit, deadline: deadline) })
      }
    }
  }

  private func exchange(_ target: String, limit: Int, deadline: ContinuousClock.Instant) throws -> Answer {
    let file = try connected()
    defer { close(file) }
    // `Connection: close` lets the end of the stream end the answer where no length is told.
    let request = "GET \(target) HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    let bytes = Array(request.utf8)
    guard send(file, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else { throw failure(errno) }
    var received: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 256 << 10)
    while try !Self.isWhole(received) {
      let count = try receive(file, &chunk, deadline: deadline)
      if count == 0 { break }
      received += chunk[..<count]
      guard received.count <= limit + Self.headBytesMax else {
        throw FederationError(.unavailable, "its answer is longer than \(limit >> 20) MiB", retryAfter: .seconds(60))
      }
    }
    return try Self.answer(received)
  }

  private func connected() throws -> Int32 {
    let file = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard file >= 0 else { throw failure(errno) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8).prefix($0.count - 1)) }
    // A listener that takes nobody any more must not hold whoever calls.
    var limit = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let code = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(file, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard code == 0 else {
      let error = failure(errno)
      close(file)
      throw error
    }
    return file
  }

  private func receive(_ file: Int32, _ chunk: inout [UInt8], deadline: ContinuousClock.Instant) throws -> Int {
    while true {
      let left = (deadline - ContinuousClock.now).components
      let milliseconds = left.seconds * 1000 + left.attoseconds / 1_000_000_000_000_000
      guard milliseconds > 0 else { throw failure(ETIMEDOUT) }
      var waiting = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
      guard poll(&waiting, 1, Int32(clamping: milliseconds)) > 0 else { continue }
      let count = read(file, &chunk, chunk.count)
      if count >= 0 { return count }
      guard errno == EINTR || errno == EAGAIN else { throw failure(errno) }
    }
  }

  private func failure(_ code: Int32) -> FederationError {
    FederationError(.unavailable, "\(path): \(String(cString: strerror(code)))", retryAfter: .seconds(5))
  }

  // MARK: The text of an answer

  private static let headEnd: [UInt8] = [13, 10, 13, 10]

  /// Whether head and body are all there; false while no length is known.
  static func isWhole(_ bytes: [UInt8]) throws -> Bool {
    guard let (head, body) = try parts(bytes), let length = length(head) else { return false }
    return bytes.count - body >= length
  }

  /// - Source: RFC 9112, sections 4 and 6.3.
  static func answer(_ bytes: [UInt8]) throws -> Answer {
    func malformed(_ what: String) -> FederationError {
      FederationError(.unavailable, "its answer is no HTTP that is understood here: \(what)", retryAfter: .seconds(60))
    }
    guard let (head, start) = try parts(bytes) else { throw malformed("it has no head") }
    let words = (head.first ?? "").split(separator: " ")
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]), (100...599).contains(status)
    else {
      throw malformed("its first line is no status")
    }
    if head.contains(where: { $0.lowercased().hasPrefix("transfer-encoding:") }) { throw malformed("it is encoded") }
    guard let length = length(head) else { return Answer(status: status, body: Array(bytes[start...])) }
    guard bytes.count - start >= length else { throw malformed("it ends early") }
    return Answer(status: status, body: Array(bytes[start..<(start + length)]))
  }

  /// The lines of the head, and where the body begins; nil while the head is not whole.
  private static func parts(_ bytes: [UInt8]) throws -> ([Substring], Int)? {
    let limit = min(bytes.count, headBytesMax)
    var index = 0
    while index + 4 <= limit {
      if bytes[index] == 13, bytes[index..<(index + 4)].elementsEqual(headEnd) {
        // "\r\n" is one character to Swift.
        let text = String(decoding: bytes[..<index], as: UTF8.self)
        return (text.split(separator: "\r\n"), index + 4)
      }
      index += 1
    }
    guard bytes.count < headBytesMax else {
      throw FederationError(.unavailable, "the head of its answer is too long", retryAfter: .seconds(60))
    }
    return nil
  }

  private static func length(_ head: [Substring]) -> Int? {
    for line in head.dropFirst() {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2, parts[0].lowercased() == "content-length" else { continue }
      return Int(parts[1].filter { $0 != " " }).flatMap { $0 >= 0 ? $0 : nil }
    }
    return nil
  }
}
