internal import CSupervisor
internal import Dispatch
internal import FederationModel
internal import FoundationEssentials
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The running agent answers whoever may open its socket (0600) with one JSON document, and hangs up.
struct StatusSocket {
  private let listener: Int32
  private let path: String
  private let source: any DispatchSourceRead

  /// - Throws: `.invalidArgument` for a path of more than 107 bytes.
  init(path: String, report: @escaping @Sendable () async -> StatusReport) throws {
    self.path = path
    unlink(path)
    let listener = socket(
      AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard listener >= 0 else { throw POSIXFile.failure("Cannot make the status socket") }
    self.listener = listener
    let mask = umask(0o177)
    let bound = try Self.withAddress(path) { bind(listener, $0, $1) }
    umask(mask)
    guard bound == 0, listen(listener, 8) == 0 else { throw POSIXFile.failure("Cannot listen on \(path)") }
    source = DispatchSource.makeReadSource(fileDescriptor: listener, queue: .global(qos: .utility))
    source.setEventHandler {
      let client = accept(listener, nil, nil)
      guard client >= 0 else { return }
      _ = fcntl(client, F_SETFD, FD_CLOEXEC)
      // Whoever does not read does not hold us up.
      var timeout = timeval(tv_sec: 2, tv_usec: 0)
      setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
      Task {
        let document = (try? JSONEncoder().encode(await report())) ?? Data()
        try? await BlockingWork.run {
          defer { POSIXFile.close(client) }
          try POSIXFile.write(client, document, "the status")
        }
      }
    }
    source.setCancelHandler { POSIXFile.close(listener) }
    source.activate()
  }

  func close() {
    source.cancel()
    unlink(path)
  }

  /// Asks the agent that holds `path`.
  ///
  /// - Throws: `.unavailable` when none answers.
  static func ask(_ path: String) throws -> StatusReport {
    let client = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard client >= 0 else { throw POSIXFile.failure("Cannot make a socket") }
    defer { POSIXFile.close(client) }
    var timeout = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    guard try withAddress(path, { connect(client, $0, $1) }) == 0 else {
      throw FederationError(.unavailable, "No agent answers at \(path): is it running? (`fubini-agent run`)")
    }
    let bytes = try POSIXFile.readAll(client, limit: 4 << 20)
    guard let report = try? JSONDecoder().decode(StatusReport.self, from: Data(bytes)) else {
      throw FederationError(.unavailable, "The agent at \(path) did not answer in time")
    }
    return report
  }

  private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) throws -> Int32
  {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw FederationError(.invalidArgument, "\(path) is too long for a socket: use a shorter state directory")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
  }
}
