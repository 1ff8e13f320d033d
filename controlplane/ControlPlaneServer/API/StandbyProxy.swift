import AsyncHTTPClient
import FederationAPI
import FederationModel
import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTP1
import NIOSSL

/// On a standby, sends to the leader what only the leader can answer: writes, and reads of what only its memory holds.
///
/// Bodies are streamed both ways at the pace of the slower end. A request is forwarded once: a process that is taken for the leader
/// and is not answers 503 instead of sending it on, so that no loop can arise while leadership moves. The leader authenticates.
struct StandbyProxy: RouterMiddleware {
  typealias Context = APIContext

  private let commands: any CommandPort
  private let client: HTTPClient

  /// - Parameter client: Made by `makeClient`; whoever made it shuts it down.
  init(commands: any CommandPort, client: HTTPClient) {
    self.commands = commands
    self.client = client
  }

  /// - Parameter certificate: The API's own certificate file, which the other replicas' are taken to descend from; nil: the system's
  ///   roots alone.
  static func makeClient(certificate: String?) throws -> HTTPClient {
    var configuration = HTTPClient.Configuration()
    configuration.redirectConfiguration = .disallow
    // The read limit is one of silence, not of length: an answer may take as long as it flows.
    // Each request has a limit of its own besides (`limit(of:)`).
    configuration.timeout = .init(
      connect: .seconds(3), read: .seconds(DatasetVersionRequest.answerLimit.components.seconds + 30),
      write: .seconds(30))
    if let certificate {
      var tls = TLSConfiguration.makeClientConfiguration()
      tls.additionalTrustRoots = [.certificates(try NIOSSLCertificate.fromPEMFile(certificate))]
      configuration.tlsConfiguration = tls
    }
    return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
  }

  @concurrent
  func handle(
    _ request: Request, context: APIContext, next: @concurrent (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    guard Self.needsLeader(request) else { return try await next(request, context) }
    let leadership = await commands.leadership
    if leadership.isLeader { return try await next(request, context) }
    guard request.headers[.forwardedByStandby] == nil, let leader = leadership.leaderURL else {
      throw FederationError(.unavailable, "nobody leads the control plane just now; try again", retryAfter: .seconds(1))
    }
    return try await forward(request, from: context.peer, to: leader)
  }

  /// Whether a standby cannot answer by itself from the database.
  static func needsLeader(_ request: Request) -> Bool {
    switch request.method {
    case .get, .head:
      let path = request.uri.path
      return path.hasSuffix("/explain") || path.hasSuffix("/fairshare") || path == "/v1/clusters"
        || path.hasPrefix("/v1/clusters/")
    case .options: return false
    default: return true
    }
  }

  // MARK: Forwarding

  private func forward(_ request: Request, from peer: SocketAddress?, to leader: String) async throws -> Response {
    var forwarded = try Self.request(request, to: leader)
    // A leader that trusts this replica (`http.trustedProxies`) knows by it who really asked.
    if let address = peer?.ipAddress {
      forwarded.headers.add(name: HTTPField.Name.forwardedFor.rawName, value: address)
    }
    let answer: HTTPClientResponse
    do {
      answer = try await client.execute(forwarded, timeout: Self.limit(of: request))
    } catch is CancellationError {
      throw CancellationError()
    } catch {
      throw Self.failure(error)
    }
    var headers = HTTPFields()
    for (name, value) in answer.headers where !Self.isDropped(name, answer.headers["Connection"]) {
      if let name = HTTPField.Name(name) { headers.append(HTTPField(name: name, value: value)) }
    }
    let length = headers[.contentLength].flatMap { Int($0) }
    return Response(
      status: .init(code: Int(answer.status.code), reasonPhrase: answer.status.reasonPhrase), headers: headers,
      body: ResponseBody(contentLength: length) { writer in
        for try await part in answer.body { try await writer.write(part) }
        try await writer.finish(nil)
      })
  }

  /// - Throws: `.invalidArgument` for a request target that is not a path: behind the leader's address it could name another host.
  static func request(_ request: Request, to leader: String) throws -> HTTPClientRequest {
    guard let target = request.head.path, target.first == "/" else {
      throw FederationError(.invalidArgument, "the request's target is a path that begins with /")
    }
    var base = leader[...]
    while base.last == "/" { base.removeLast() }
    var forwarded = HTTPClientRequest(url: base + target)
    forwarded.method = HTTPMethod(rawValue: request.method.rawValue)
    let connection = request.headers[values: .connection]
    for field in request.headers where !isDropped(field.name.rawName, connection) {
      // The length is said by the body below.
      if field.name != .contentLength { forwarded.headers.add(name: field.name.rawName, value: field.value) }
    }
    forwarded.headers.add(name: HTTPField.Name.forwardedByStandby.rawName, value: "1")
    if let length = request.headers[.contentLength].flatMap({ Int64($0) }) {
      if length > 0 { forwarded.body = .stream(request.body, length: .known(length)) }
    } else if request.headers[.transferEncoding] != nil {
      forwarded.body = .stream(request.body, length: .unknown)
    }
    return forwarded
  }

  /// Uploads take as long as they take, and a version of many packs as long as the leader looks at them; everything else is small.
  static func limit(of request: Request) -> TimeAmount {
    let path = request.uri.path
    if request.method == .put, path.contains("/artifacts/") || path.contains("/dataset-objects/") { return .hours(24) }
    if request.method == .post, path.contains("/datasets/"), path.hasSuffix("/versions") {
      return .seconds(DatasetVersionRequest.answerLimit.components.seconds + 20)
    }
    return .seconds(60)
  }

  /// Headers that concern one connection alone.
  ///
  /// - Source: RFC 9110, section 7.6.1.
  private static func isDropped(_ name: String, _ connection: [String]) -> Bool {
    let name = name.lowercased()
    if hopByHop.contains(name) { return true }
    return connection.contains { options in
      options.split(separator: ",").contains { $0.trimmingPrefix(while: \.isWhitespace).lowercased() == name }
    }
  }
  private static let hopByHop: Set<String> = [
    "connection", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
    "trailer",
    "transfer-encoding", "upgrade",
  ]

  /// What never reached the leader may be repeated as it is; of what may have reached it, the caller is told so.
  private static func failure(_ error: any Error) -> FederationError {
    switch error {
    case let error as HTTPClientError
    where [.readTimeout, .writeTimeout, .remoteConnectionClosed, .deadlineExceeded, .cancelled].contains(error):
      FederationError(
        .deadlineExceeded,
        "the leader did not answer, and may have carried this out: look, or repeat it with the same Idempotency-Key",
        cause: error, retryAfter: .seconds(1))
    default:
      FederationError(
        .unavailable, "the leader cannot be reached just now; try again", cause: error, retryAfter: .seconds(1))
    }
  }
}

extension HTTPField.Name {
  /// On a request that a standby has passed on.
  static let forwardedByStandby = HTTPField.Name("X-Fubini-Forwarded")!
}
