internal import FederationModel
public import FederationPKI
internal import GRPCCore
public import GRPCNIOTransportHTTP2Posix
internal import HTTP2Framing
public import NIOCertificateReloading
internal import NIOCore
public import NIOSSL
internal import NIOTLS
internal import Synchronization

/// The certificate and key that the agent port presents. Replaced in place: connections made from then on see the new one.
public final class ServerCredentials: CertificateReloader, Sendable {
  private let current: Mutex<NIOSSLContextConfigurationOverride>

  /// - Throws: `FederationError` `.invalidArgument` when PEM cannot be read.
  ///
  /// - Parameter authorityPEM: the CA that signed the certificate, alone.
  public init(certificatePEM: String, authorityPEM: String, keyPEM: String) throws {
    current = Mutex(try Self.load(certificatePEM: certificatePEM, authorityPEM: authorityPEM, keyPEM: keyPEM))
  }

  public func replace(certificatePEM: String, authorityPEM: String, keyPEM: String) throws {
    let next = try Self.load(certificatePEM: certificatePEM, authorityPEM: authorityPEM, keyPEM: keyPEM)
    current.withLock { $0 = next }
  }

  public var sslContextConfigurationOverride: NIOSSLContextConfigurationOverride { current.withLock { $0 } }

  /// The CA goes into the chain: a joining agent knows only the hash of its key, and must see it to check that.
  private static func load(
    certificatePEM: String, authorityPEM: String, keyPEM: String
  ) throws -> NIOSSLContextConfigurationOverride {
    do {
      var override = NIOSSLContextConfigurationOverride()
      let chain = try NIOSSLCertificate.fromPEMBytes(Array((certificatePEM + authorityPEM).utf8))
      override.certificateChain = chain.map { .certificate($0) }
      override.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(keyPEM.utf8), format: .pem))
      return override
    } catch {
      // The cause is left out on purpose: nothing derived from a key may reach a log.
      throw FederationError(.invalidArgument, "The server's certificate or private key cannot be read.")
    }
  }
}

/// The agent port: TLS 1.3, a client certificate always, HTTP/2.
///
/// TLS proves that the peer holds its certificate's key; who it is and what it may do is decided for each call by
/// `AgentAuthenticator`, which can say why it refuses (docs/adr/0003-agent-identity.md).
public enum GatewayTransport {
  /// A half-open connection is noticed after at most `keepaliveTime` + `keepaliveTimeout`.
  public static let keepaliveTime: Duration = .seconds(8)
  public static let keepaliveTimeout: Duration = .seconds(8)
  /// The largest message that an agent may send, bytes.
  public static let messageSizeLimit = 8 << 20
  static let concurrentStreamLimit = 64

  /// What to bind: an IPv4 or IPv6 address (in brackets or not), `0.0.0.0`, `::` (both), or a name.
  public static func address(host: String, port: Int) throws -> GRPCNIOTransportHTTP2Posix.SocketAddress {
    let address = try Endpoint(host).resolved(port: port)
    guard let literal = address.ipAddress else {
      throw FederationError(.invalidArgument, "\(host) is no IPv4 or IPv6 address")
    }
    return address.protocol == .inet6 ? .ipv6(host: literal, port: port) : .ipv4(host: literal, port: port)
  }

  public static func make(
    address: GRPCNIOTransportHTTP2Posix.SocketAddress, credentials: ServerCredentials, bundle: TrustBundle
  ) throws -> HTTP2ServerTransport.Posix {
    let roots = try TLSConfig.CertificateSource.bytes(Array(bundle.pem().utf8), format: .pem)
    let security = try HTTP2ServerTransport.Posix.TransportSecurity.mTLS(certificateReloader: credentials) {
      // Only named to clients: the callback below takes the place of the library's own verification.
      $0.trustRoots = .certificates([roots])
      $0.clientCertificateVerification = .noHostnameVerification
      $0.requireALPN = true
      $0.customVerificationCallback = { chain, promise in
        promise.succeed(isAdmissible(chain) ? .certificateVerified(VerificationMetadata(nil)) : .failed)
      }
    }
    return HTTP2ServerTransport.Posix(address: address, transportSecurity: security, config: configuration)
  }

  private static func isAdmissible(_ chain: [NIOSSLCertificate]) -> Bool {
    guard chain.count == 1, let der = try? chain[0].toDERBytes() else { return false }
    return der.count <= PeerIdentity.sizeLimit
  }

  private static var configuration: HTTP2ServerTransport.Posix.Config {
    .defaults {
      $0.rpc.maxRequestPayloadSize = messageSizeLimit
      $0.http2.targetWindowSize = 1 << 20
      $0.http2.maxConcurrentStreams = concurrentStreamLimit
      $0.connection.keepalive.time = keepaliveTime
      $0.connection.keepalive.timeout = keepaliveTimeout
      $0.connection.keepalive.clientBehavior.allowWithoutCalls = true
      $0.connection.keepalive.clientBehavior.minPingIntervalWithoutCalls = .seconds(4)
      // A message waits for nothing: coalescing doubles the latency of a ping-pong.
      $0.connection.flushCoalescing = nil
      $0.channelDebuggingCallbacks.onAcceptTCPConnection = { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          let tls = try pipeline.handler(type: NIOSSLServerHandler.self)
          try pipeline.addHandler(WholeFramesHandler(isServer: true), position: .after(tls))
          try pipeline.addHandler(ConnectionGuard(), position: .after(tls))
          try pipeline.addHandler(IdleStateHandler(readTimeout: .seconds(16)), position: .after(tls))
        }
      }
    }
  }
}

/// Ends a connection whose handshake agreed on less than TLS 1.3 or brought no client certificate, and one that has fallen
/// silent: the keep-alives make a living peer send something every 8 s, and the transport's own answer to a missed one is to
/// say goodbye and wait for the peer, which is not there.
///
/// The transport itself allows TLS 1.2 and has no setting for it, so the guard looks right after the handshake, before a
/// single byte of HTTP/2 is answered.
private final class ConnectionGuard: ChannelInboundHandler, Sendable {
  typealias InboundIn = Any

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted = event as? TLSUserEvent {
      let tls = try? context.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self)
      guard let tls, tls.tlsVersion == .tlsv13, tls.peerCertificate != nil else {
        context.close(promise: nil)
        return
      }
    }
    if case .read = event as? IdleStateHandler.IdleStateEvent {
      context.close(promise: nil)
      return
    }
    context.fireUserInboundEventTriggered(event)
  }
}
