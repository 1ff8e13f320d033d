public import FederationModel
public import FederationPKI
internal import GRPCCore
public import GRPCNIOTransportHTTP2Posix
internal import HTTP2Framing
public import NIOCertificateReloading
internal import NIOCore
public import NIOSSL
internal import NIOTLS
internal import Synchronization

/// What an agent believes about the control plane's certificate.
public enum ControlPlaneTrust: Sendable, Hashable {
  /// While joining: the token's pin.
  case pin(CAPin)
  /// Ever after: the federation's CAs.
  case bundle(TrustBundle)
}

/// What the agent presents and whom it trusts. Replaced in place: open connections go on, new ones use the new values.
public final class AgentCredentials: CertificateReloader, Sendable {
  private struct State {
    var presented: NIOSSLContextConfigurationOverride
    var trust: ControlPlaneTrust
    var lastRefusal: FederationError?
  }
  private let state: Mutex<State>

  /// - Throws: `FederationError` `.invalidArgument` when PEM cannot be read.
  public init(certificatePEM: String, keyPEM: String, trust: ControlPlaneTrust) throws {
    state = Mutex(State(presented: try Self.load(certificatePEM: certificatePEM, keyPEM: keyPEM), trust: trust))
  }

  public func replace(certificatePEM: String, keyPEM: String, trust: ControlPlaneTrust) throws {
    let presented = try Self.load(certificatePEM: certificatePEM, keyPEM: keyPEM)
    state.withLock {
      $0.presented = presented
      $0.trust = trust
    }
  }

  /// Why the last control plane that was dialled was not believed; nil after one that was. A failed call alone says only
  /// that nobody could be reached.
  public var lastRefusal: FederationError? { state.withLock { $0.lastRefusal } }

  public var sslContextConfigurationOverride: NIOSSLContextConfigurationOverride { state.withLock { $0.presented } }

  fileprivate func admits(_ chain: [NIOSSLCertificate], at now: Timestamp) -> Bool {
    let trust = state.withLock { $0.trust }
    var refusal: FederationError?
    do {
      let ders = chain.prefix(8).map { (try? $0.toDERBytes()) ?? [] }
      switch trust {
      case .pin(let pin): try ServerVerification.verify(chain: ders, pin: pin, at: now)
      case .bundle(let bundle): try ServerVerification.verify(chain: ders, bundle: bundle, at: now)
      }
    } catch {
      refusal = error
    }
    note(refusal)
    return refusal == nil
  }

  fileprivate func note(_ refusal: FederationError?) { state.withLock { $0.lastRefusal = refusal } }

  private static func load(certificatePEM: String, keyPEM: String) throws -> NIOSSLContextConfigurationOverride {
    do {
      var override = NIOSSLContextConfigurationOverride()
      override.certificateChain = try NIOSSLCertificate.fromPEMBytes(Array(certificatePEM.utf8)).map {
        .certificate($0)
      }
      override.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(keyPEM.utf8), format: .pem))
      return override
    } catch {
      // The cause is left out on purpose: nothing derived from a key may reach a log.
      throw FederationError(.invalidArgument, "The agent's certificate or private key cannot be read. Join anew.")
    }
  }
}

/// The agent's side of the agent port: TLS 1.3 both ways, keep-alives, bounded messages.
public enum ControlPlaneTransport {
  /// A half-open connection is noticed after at most `keepaliveTime` + `keepaliveTimeout`.
  public static let keepaliveTime: Duration = .seconds(8)
  public static let keepaliveTimeout: Duration = .seconds(8)

  /// A transport to one address. It dials, and dials again, by itself; which address comes next is `AddressCycle`'s business.
  ///
  /// - Parameter now: the wall clock, for the validity of the server's certificate.
  public static func make(
    to address: ControlPlaneAddress, credentials: AgentCredentials, now: @escaping @Sendable () -> Timestamp
  ) throws -> HTTP2ClientTransport.Posix {
    let security = try HTTP2ClientTransport.Posix.TransportSecurity.mTLS(certificateReloader: credentials) {
      // No root is needed: the callback takes the place of the library's own verification.
      $0.trustRoots = .certificates([])
      $0.serverCertificateVerification = .noHostnameVerification
      $0.customVerificationCallback = { chain, promise in
        promise.succeed(
          credentials.admits(chain, at: now()) ? .certificateVerified(VerificationMetadata(nil)) : .failed)
      }
    }
    let configuration = HTTP2ClientTransport.Posix.Config.defaults {
      $0.http2.targetWindowSize = 1 << 20
      if address.proxy != nil { $0.http2.authority = address.description }
      $0.connection.maxIdleTime = nil
      $0.connection.keepalive = .init(time: keepaliveTime, timeout: keepaliveTimeout, allowWithoutCalls: true)
      $0.connection.flushCoalescing = nil
      $0.backoff.initial = .milliseconds(250)
      $0.backoff.max = .seconds(10)
      $0.channelDebuggingCallbacks.onCreateTCPConnection = { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          let tls = try pipeline.handler(type: NIOSSLClientHandler.self)
          try pipeline.addHandler(WholeFramesHandler(isServer: false), position: .after(tls))
          try pipeline.addHandler(HandshakeGuard(credentials: credentials), position: .after(tls))
          guard let proxy = address.proxy else { return }
          let connect = ProxyConnectHandler(proxy: proxy, target: address.description) { credentials.note($0) }
          try pipeline.addHandler(connect, position: .first)
        }
      }
    }
    return try HTTP2ClientTransport.Posix(target: address.target, transportSecurity: security, config: configuration)
  }
}

/// Ends a connection whose handshake agreed on less than TLS 1.3, before anything is sent on it.
private final class HandshakeGuard: ChannelInboundHandler, Sendable {
  typealias InboundIn = Any
  private let credentials: AgentCredentials

  init(credentials: AgentCredentials) { self.credentials = credentials }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted = event as? TLSUserEvent {
      let tls = try? context.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
      guard tls?.tlsVersion == .tlsv13 else {
        credentials.note(
          FederationError(.permissionDenied, "The control plane does not speak TLS 1.3. Check the address."))
        context.close(promise: nil)
        return
      }
    }
    context.fireUserInboundEventTriggered(event)
  }
}
