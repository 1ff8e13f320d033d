internal import AsyncHTTPClient
internal import FederationModel
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The HTTP client's side of a connection.
enum TransportConfiguration {
  /// Each watch and each log that is followed has a connection of its own (HTTP/1.1), so this bounds nothing that is
  /// bounded elsewhere.
  static let connectionsMax = 1024

  /// - Returns: with the address that requests begin with.
  static func make(_ connection: KubernetesConnection) throws(FederationError) -> (String, HTTPClient.Configuration) {
    var configuration = HTTPClient.Configuration()
    configuration.httpVersion = .http1Only
    configuration.redirectConfiguration = .disallow
    configuration.timeout = .init(connect: .seconds(10))
    // Whether to try again is decided in one place, which is not the pool.
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = connectionsMax
    configuration.connectionPool.idleTimeout = .seconds(60)
    configuration.http1_1ConnectionDebugInitializer = keepAlive
    guard connection.server.hasPrefix("https://") else {
      try requireLoopback(connection)
      return (connection.server, configuration)
    }
    configuration.tlsConfiguration = try tls(connection)
    guard let name = connection.serverName, let authority = Authority(connection.server) else {
      return (connection.server, configuration)
    }
    configuration.dnsOverride = [name: authority.host]
    return ("https://" + name + authority.rest, configuration)
  }

  /// A connection whose other side is gone without a word is noticed after half a minute, and not when the next byte is
  /// due.
  private static let keepAlive: @Sendable (any Channel) -> EventLoopFuture<Void> = { channel in
    let options: [(ChannelOptions.Types.SocketOption, SocketOptionValue)] = [
      (.init(level: .socket, name: .so_keepalive), 1),
      (.init(level: .tcp, name: .init(rawValue: TCP_KEEPIDLE)), 15),
      (.init(level: .tcp, name: .init(rawValue: TCP_KEEPINTVL)), 5),
      (.init(level: .tcp, name: .init(rawValue: TCP_KEEPCNT)), 3),
    ]
    return EventLoopFuture.andAllSucceed(
      options.map { channel.setOption($0.0, value: $0.1) }, on: channel.eventLoop
    ).flatMapErrorThrowing { _ in
      // A kind of connection without them is one all the same.
    }
  }

  private static func tls(_ connection: KubernetesConnection) throws(FederationError) -> TLSConfiguration {
    var tls = TLSConfiguration.makeClientConfiguration()
    tls.minimumTLSVersion = .tlsv12
    do {
      if let authority = connection.certificateAuthority {
        tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(authority))
      }
    } catch {
      throw FederationError(
        .invalidArgument, "The certificate authority for \(connection.server) is no certificate (PEM)", cause: error)
    }
    if !connection.verifiesServer { tls.certificateVerification = .none }
    guard case .certificate(let chain, let key) = connection.credential else { return tls }
    do {
      tls.certificateChain = try NIOSSLCertificate.fromPEMBytes(chain).map { .certificate($0) }
      tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: key, format: .pem))
    } catch {
      throw FederationError(
        .invalidArgument,
        "The client certificate for \(connection.server) or its key cannot be read (PEM, not encrypted)",
        cause: error)
    }
    return tls
  }

  /// What `kubectl proxy` serves is on the loopback; elsewhere everybody on the way could take the token.
  private static func requireLoopback(_ connection: KubernetesConnection) throws(FederationError) {
    switch connection.credential {
    case .none, .certificate: return
    case .token, .tokenFile: break
    }
    let host = Authority(connection.server)?.host ?? ""
    guard host.hasPrefix("127.") || host == "localhost" || host == "::1" else {
      throw FederationError(
        .invalidArgument, "\(connection.server) is no https address: the token would go over it for everybody to read")
    }
  }

  /// The parts of an address: `https://HOST:PORT/path` is HOST and `:PORT/path`.
  struct Authority: Equatable {
    var host: String
    var rest: String

    init?(_ address: String) {
      guard let start = address.firstRange(of: "://") else { return nil }
      let text = address[start.upperBound...]
      if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
        host = String(text[text.index(after: text.startIndex)..<end])
        rest = String(text[text.index(after: end)...])
      } else {
        let end = text.firstIndex { $0 == ":" || $0 == "/" } ?? text.endIndex
        host = String(text[..<end])
        rest = String(text[end...])
      }
      if host.isEmpty { return nil }
    }
  }
}

/// What a library's error says to people.
enum Unreachable {
  static func why(_ error: any Error) -> String {
    switch error {
    case let error as IOError: return String(cString: strerror(error.errnoCode))
    case let error as NIOConnectionError:
      if let first = error.connectionErrors.first { return why(first.error) }
      return "the name \(error.host) has no address here"
    case let error as NIOSSLError:
      if case .handshakeFailed(let cause) = error { return "no TLS connection: \(cause)" }
      return "the TLS connection broke: \(error)"
    case is NIOSSLExtraError, is BoringSSLError: return "no TLS connection: \(error)"
    case let error as HTTPClientError where error == .connectTimeout: return "no connection within 10 s"
    case let error as HTTPClientError where error == .remoteConnectionClosed: return "it closed the connection"
    case let error as HTTPClientError: return error.shortDescription
    case is ChannelError: return "the connection broke"
    default: return "\(error)"
    }
  }
}
