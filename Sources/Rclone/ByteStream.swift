internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Bytes both ways. Its calls block: they belong on threads of their own.
public protocol ByteStream: AnyObject {
  /// - Parameter isCancelled: asked several times a second; true ends the call with a `CancellationError`.
  /// - Returns: what has come; empty at the end.
  func receive(_ isCancelled: () -> Bool) throws -> [UInt8]
  func send(_ bytes: [UInt8], _ isCancelled: () -> Bool) throws
  func close()
}

/// A connection to a daemon on this machine.
final class SocketStream: ByteStream {
  /// For so long nothing may come.
  static let silenceMax = Duration.seconds(120)
  private let file: Int32
  private var isOpen = true

  /// - Throws: `.unavailable` when nobody listens.
  init(_ place: RcloneDaemon.Address.Place) throws {
    switch place {
    case .port(let port): file = try Self.dial(port: port)
    case .socket(let path): file = try Self.dial(path: path)
    }
  }

  func close() {
    guard isOpen else { return }
    isOpen = false
    _ = closeDescriptor(file)
  }
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
    // A listener that takes nobody any more must not hold whoever calls.
    var limit = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
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

  // MARK: Bytes

  private func waitUntilReady(_ events: Int32, _ isCancelled: () -> Bool) throws {
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

  func receive(_ isCancelled: () -> Bool) throws -> [UInt8] {
    while true {
      try waitUntilReady(POLLIN, isCancelled)
      var code: Int32 = 0
      let bytes = [UInt8](unsafeUninitializedCapacity: 256 << 10) { space, used in
        let count = recv(file, space.baseAddress!, 256 << 10, 0)
        code = count < 0 ? errno : 0
        used = max(0, count)
      }
      if code == EINTR || code == EAGAIN { continue }
      guard code == 0 else { throw Self.failure(code) }
      return bytes
    }
  }

  func send(_ bytes: [UInt8], _ isCancelled: () -> Bool) throws {
    var done = 0
    while done < bytes.count {
      try waitUntilReady(POLLOUT, isCancelled)
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
