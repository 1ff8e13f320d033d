internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// One connection to a daemon, for one request at a time. Its calls block: they belong on threads of their own.
///
/// - Source: RFC 9112 (HTTP/1.1), sections 2 to 7.
final class RcloneConnection {
  struct Head {
    var status: Int
    /// nil: in chunks.
    var length: Int64?
    var closes: Bool
  }
  static let headBytesMax = 64 << 10
  /// For so long nothing may come.
  static let silenceMax = Duration.seconds(120)

  private let address: RcloneDaemon.Address
  private let file: Int32
  private var buffer: [UInt8] = []
  private var position = 0
  /// Whether another request may follow.
  private(set) var isReusable = true
  /// Asked several times a second; true ends the request with a `CancellationError`.
  var isCancelled: () -> Bool = { false }

  /// - Throws: `.unavailable` when nobody listens.
  init(_ address: RcloneDaemon.Address) throws {
    self.address = address
    switch address.place {
    case .port(let port): file = try Self.dial(port: port)
    case .socket(let path): file = try Self.dial(path: path)
    }
  }

  func close() {
    guard isOpen else { return }
    isOpen = false
    _ = closeDescriptor(file)
  }
  private var isOpen = true
  deinit { close() }

  static func failure(_ code: Int32) -> FederationError {
    FederationError(
      .unavailable, "rclone cannot be asked: \(String(cString: strerror(code)))", retryAfter: .seconds(1))
  }

  private static func dial(port: Int) throws -> Int32 {
    let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard file >= 0 else { throw failure(errno) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return try connected(file, &address)
  }

  private static func dial(path: String) throws -> Int32 {
    let file = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard file >= 0 else { throw failure(errno) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8).prefix($0.count - 1)) }
    return try connected(file, &address)
  }

  private static func connected<Address>(_ file: Int32, _ address: inout Address) throws -> Int32 {
    let code = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(file, $0, socklen_t(MemoryLayout<Address>.size))
      }
    }
    guard code == 0 else {
      let error = failure(errno)
      _ = closeDescriptor(file)
      throw error
    }
    return file
  }

  // MARK: Requests

  /// Sends a request and reads the head of its answer.
  func send(_ method: String, _ target: String, headers: [(String, String)] = [], body: [UInt8] = []) throws -> Head {
    isReusable = false
    var text = "\(method) \(target) HTTP/1.1\r\nHost: localhost\r\nAuthorization: \(address.authorization)\r\n"
    for (name, value) in headers { text += "\(name): \(value)\r\n" }
    if method == "POST" { text += "Content-Length: \(body.count)\r\n" }
    try write(Array((text + "\r\n").utf8) + body)
    return try head()
  }

  /// Reads the body to its end, in pieces of at most 256 KiB.
  func read(_ head: Head, _ take: (ArraySlice<UInt8>) throws -> Void) throws {
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
  func body(_ head: Head, limit: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    try read(head) { more in
      guard bytes.count + more.count <= limit else {
        throw FederationError(.failedPrecondition, "rclone's answer is longer than \(limit >> 20) MiB")
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
    .unavailable, "rclone's answer cannot be understood", retryAfter: .seconds(5))

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

  // MARK: Bytes

  private func waitUntilReady(_ events: Int32) throws {
    let start = ContinuousClock.now
    while true {
      if isCancelled() { throw CancellationError() }
      var waiting = pollfd(fd: file, events: Int16(events), revents: 0)
      let code = poll(&waiting, 1, 200)
      if code > 0 { return }
      if code < 0, errno != EINTR { throw Self.failure(errno) }
      guard ContinuousClock.now - start < Self.silenceMax else { throw Self.failure(ETIMEDOUT) }
    }
  }

  private func fill() throws {
    while true {
      try waitUntilReady(POLLIN)
      var code: Int32 = 0
      buffer = [UInt8](unsafeUninitializedCapacity: 256 << 10) { space, used in
        let count = recv(file, space.baseAddress!, 256 << 10, 0)
        code = count < 0 ? errno : count == 0 ? ECONNRESET : 0
        used = max(0, count)
      }
      position = 0
      if code == EINTR || code == EAGAIN { continue }
      guard code == 0 else { throw Self.failure(code) }
      return
    }
  }

  private func write(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      try waitUntilReady(POLLOUT)
      let count = bytes.withUnsafeBytes {
        Glibc.send(file, $0.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
      }
      if count < 0, errno == EINTR || errno == EAGAIN { continue }
      guard count > 0 else { throw Self.failure(errno) }
      done += count
    }
  }
}

/// `close` of the C library, which a method of the same name would hide.
private func closeDescriptor(_ file: Int32) -> Int32 { close(file) }
