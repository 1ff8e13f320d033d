import FederationModel
import FederationPKI
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization
import Testing

@Suite("The agent port's handshake", .timeLimit(.minutes(1)))
struct HandshakeTests {
  enum Certificates: Sendable { case none, one, two }

  @Test(
    "only TLS 1.3 with exactly one client certificate is answered",
    arguments: [
      (TLSVersion.tlsv13, Certificates.one, true), (.tlsv12, .one, false), (.tlsv13, .none, false),
      (.tlsv12, .none, false),
      (.tlsv13, .two, false),
    ])
  func handshake(version: TLSVersion, certificates: Certificates, isAnswered: Bool) async throws {
    try await withGateway { gateway in
      let received = try await Self.dial(gateway, version: version, certificates: certificates)
      #expect((received > 0) == isAnswered, "\(received) bytes received")
    }
  }

  /// How many bytes of HTTP/2 arrive until the server closes, or until the first ones.
  private static func dial(_ gateway: Gateway, version: TLSVersion, certificates: Certificates) async throws -> Int {
    var random = SystemRandomNumberGenerator()
    let key = AgentKey(using: &random)
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.minimumTLSVersion = version
    configuration.maximumTLSVersion = version
    configuration.certificateVerification = .none
    configuration.applicationProtocols = ["h2"]
    if certificates != .none {
      let issued = try gateway.authority.issueAgentCertificate(
        requestDER: key.request(), cluster: "edge-1", at: noon, using: &random)
      let pem = certificates == .two ? issued.pem + (try gateway.authority.bundle.pem()) : issued.pem
      configuration.certificateChain = try NIOSSLCertificate.fromPEMBytes(Array(pem.utf8)).map { .certificate($0) }
      configuration.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(key.pem.utf8), format: .pem))
    }
    let context = try NIOSSLContext(configuration: configuration)
    let count = CountBox()
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).channelInitializer {
      channel in
      channel.eventLoop.makeCompletedFuture {
        try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: context, serverHostname: nil))
        try channel.pipeline.syncOperations.addHandler(CountingHandler(count: count))
      }
    }.connect(host: "127.0.0.1", port: gateway.port).get()
    let deadline = channel.eventLoop.scheduleTask(in: .seconds(10)) {
      Issue.record("the server neither answered nor closed")
      channel.close(promise: nil)
    }
    try? await channel.closeFuture.get()
    deadline.cancel()
    return count.value
  }
}

private final class CountBox: Sendable {
  private let count = Mutex(0)
  var value: Int { count.withLock { $0 } }
  func add(_ more: Int) { count.withLock { $0 += more } }
}

/// Counts what arrives, and hangs up after the first of it.
private final class CountingHandler: ChannelInboundHandler, Sendable {
  typealias InboundIn = ByteBuffer
  private let count: CountBox
  init(count: CountBox) { self.count = count }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    count.add(unwrapInboundIn(data).readableBytes)
    context.close(promise: nil)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
