internal import FederationModel

/// HTTP over a stream of bytes: one request at a time. Its calls block.
///
/// - Source: RFC 9112 (HTTP/1.1), sections 2 to 7.
public final class HTTPConnection {
  public struct Head {
    public var status: Int
    /// nil: in chunks.
    public var length: Int64?
    var closes: Bool
  }
  static let headBytesMax = 64 << 10

  private let stream: any ByteStream
  private let authorization: String
  private var buffer: [UInt8] = []
  private var position = 0
  /// Whether another request may follow.
  private(set) var isReusable = true
  /// Asked several times a second; true ends the request with a `CancellationError`.
  public var isCancelled: () -> Bool = { false }

  /// - Parameter authorization: value of the header.
  public init(_ stream: any ByteStream, authorization: String) {
    self.stream = stream
    self.authorization = authorization
  }

  public func close() { stream.close() }

  // MARK: Requests

  /// Sends a request and reads the head of its answer.
  public func send(_ method: String, _ target: String, headers: [(String, String)] = [], body: [UInt8] = []) throws
    -> Head
  {
    isReusable = false
    var text = "\(method) \(target) HTTP/1.1\r\nHost: localhost\r\nAuthorization: \(authorization)\r\n"
    for (name, value) in headers { text += "\(name): \(value)\r\n" }
    if method == "POST" { text += "Content-Length: \(body.count)\r\n" }
    try stream.send(Array((text + "\r\n").utf8) + body, isCancelled)
    return try head()
  }

  /// Sends a request whose body comes in pieces, once the other side has said that it wants it, and reads the head of its answer. One that
  /// comes before the body has gone ends the sending.
  public func upload(
    _ target: String, headers: [(String, String)] = [], _ body: (([UInt8]) throws -> Void) throws -> Void
  ) throws -> Head {
    isReusable = false
    var text =
      "PUT \(target) HTTP/1.1\r\nHost: localhost\r\nAuthorization: \(authorization)\r\n"
      + "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
    for (name, value) in headers { text += "\(name): \(value)\r\n" }
    try stream.send(Array((text + "\r\n").utf8), isCancelled)
    let first = try head()
    guard first.status == 100 else { return first }
    var isCut = false
    do {
      try body { piece in
        guard !piece.isEmpty else { return }
        do {
          try stream.send(Array("\(String(piece.count, radix: 16))\r\n".utf8) + piece + [13, 10], isCancelled)
        } catch {
          isCut = true
          throw error
        }
      }
      do { try stream.send(Array("0\r\n\r\n".utf8), isCancelled) } catch {
        isCut = true
        throw error
      }
    } catch {
      // Who does not want the rest says why before the connection ends.
      if isCut, let answer = try? head() { return answer }
      throw error
    }
    return try head()
  }

  /// Reads the body to its end, in pieces of at most 256 KiB.
  public func read(_ head: Head, _ take: (ArraySlice<UInt8>) throws -> Void) throws {
    if let length = head.length {
      try read(count: length, take)
    } else {
      while true {
        let line = try line()
        guard let size = Int64(line.prefix { $0 != ";" }.filter { $0 != " " }, radix: 16), size >= 0 else {
          throw Self.malformed
        }
        if size == 0 { break }
        try read(count: size, take)
        guard try isAtEmptyLine() else { throw Self.malformed }
      }
      while try !isAtEmptyLine() {}
    }
    isReusable = !head.closes
  }

  /// The whole body, of at most `limit` bytes.
  public func body(_ head: Head, limit: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    try read(head) { more in
      guard bytes.count + more.count <= limit else {
        throw FederationError(.failedPrecondition, "the answer is longer than \(limit >> 20) MiB")
      }
      bytes += more
    }
    return bytes
  }

  private func read(count: Int64, _ take: (ArraySlice<UInt8>) throws -> Void) throws {
    var rest = count
    while rest > 0 {
      if position == buffer.count { try fill() }
      let piece = buffer[position..<min(buffer.count, position + Int(min(rest, 1 << 20)))]
      position += piece.count
      rest -= Int64(piece.count)
      try take(piece)
    }
  }

  private static let malformed = FederationError(
    .unavailable, "the answer cannot be understood", retryAfter: .seconds(5))

  private func head() throws -> Head {
    let words = try line().split(separator: " ")
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else { throw Self.malformed }
    var head = Head(status: status, length: nil, closes: false)
    var isChunked = false
    while true {
      let line = try line()
      if line.isEmpty { break }
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { continue }
      let value = parts[1].drop { $0 == " " }.lowercased()
      switch parts[0].lowercased() {
      case "content-length": head.length = Int64(value).flatMap { $0 >= 0 ? $0 : nil }
      case "transfer-encoding": isChunked = value == "chunked"
      case "connection": head.closes = value == "close"
      default: break
      }
    }
    // Neither has a body (RFC 9110, sections 15.2 and 15.3.5).
    if status < 200 || status == 204 { head.length = 0 }
    guard isChunked || head.length != nil else { throw Self.malformed }
    if isChunked { head.length = nil }
    return head
  }

  private func isAtEmptyLine() throws -> Bool { try line().isEmpty }

  private func line() throws -> String {
    var bytes: [UInt8] = []
    while true {
      if position == buffer.count { try fill() }
      if let end = buffer[position...].firstIndex(of: 10) {
        bytes += buffer[position..<end]
        position = end + 1
        if bytes.last == 13 { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
      }
      bytes += buffer[position...]
      position = buffer.count
      guard bytes.count <= Self.headBytesMax else { throw Self.malformed }
    }
  }

  private func fill() throws {
    buffer = try stream.receive(isCancelled)
    position = 0
    guard !buffer.isEmpty else {
      throw FederationError(.unavailable, "the connection to the store was cut", retryAfter: .seconds(1))
    }
  }
}
