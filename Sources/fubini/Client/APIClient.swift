internal import AsyncHTTPClient
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL

#if canImport(Glibc)
  internal import Glibc
#endif

/// The public REST API, as the commands use it.
struct APIClient: Sendable {
  let connection: Connection
  let http: HTTPClient
  var retry = RetryPolicy()
  /// Of one document that is read whole.
  static let responseSizeMax = 256 << 20

  /// Silence after which an answer is not waited for any longer.
  static let silenceMax = Duration.seconds(45)

  /// Opens a client, and closes it whatever happens.
  ///
  /// - Parameter silence: the longest that the server may say nothing.
  static func with<Result>(
    _ connection: Connection, silence: Duration = APIClient.silenceMax, _ body: (APIClient) async throws -> Result
  ) async throws -> Result {
    var configuration = HTTPClient.Configuration()
    configuration.timeout = .init(connect: .seconds(10), read: .milliseconds(silence.milliseconds))
    // The retry policy decides, not the pool: a refused connection is told at once.
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.redirectConfiguration = .disallow
    if connection.url.hasPrefix("https://") {
      var tls = TLSConfiguration.makeClientConfiguration()
      tls.minimumTLSVersion = .tlsv12
      if let file = connection.certificateAuthority { tls.trustRoots = .file(file) }
      configuration.tlsConfiguration = tls
    }
    let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    do {
      let result = try await body(APIClient(connection: connection, http: http))
      try await http.shutdown()
      return result
    } catch {
      try? await http.shutdown()
      throw error
    }
  }

  struct Request: Sendable {
    var method = HTTPMethod.GET
    var path: [String]
    var query: [(String, String)] = []
    var headers: [(String, String)] = []
    var body: [UInt8]?
    var contentType = "application/json"
    /// Names the document in the problems of a refusal.
    var file: String?
  }

  func get<Document: Decodable>(_ path: [String], _ query: [(String, String)] = []) async throws -> Document {
    try await decode(Request(path: path, query: query))
  }

  func post<Document: Decodable>(_ path: [String], body: (some Encodable)?, method: HTTPMethod = .POST) async throws
    -> Document
  {
    try await decode(Request(method: method, path: path, body: try body.map { Array(try JSONEncoder().encode($0)) }))
  }

  func decode<Document: Decodable>(_ request: Request) async throws -> Document {
    let response = try await response(request)
    let bytes: ByteBuffer
    do { bytes = try await response.body.collect(upTo: Self.responseSizeMax) } catch {
      throw unreachable(error)
    }
    do { return try JSONDecoder().decode(Document.self, from: Data(bytes.readableBytesView)) } catch {
      throw incomprehensible(error)
    }
  }

  func incomprehensible(_ error: any Error) -> CommandFailure {
    CommandFailure(
      .error,
      "\(connection.url) gave an answer that this fubini does not understand. Compare `fubini version`. (\(error))")
  }

  /// The answer's head, once it is a success; its body is still to be read. Repeats what may be repeated: a read, or a write
  /// under the one idempotency key that is made here.
  ///
  /// - Throws: the refusal, or `.unreachable`.
  func response(_ request: Request) async throws -> HTTPClientResponse {
    try Self.check(request)
    var outgoing = outgoing(request)
    if request.method != .GET { outgoing.headers.add(name: "Idempotency-Key", value: Self.newKey()) }
    for (name, value) in request.headers { outgoing.headers.add(name: name, value: value) }
    if let body = request.body {
      outgoing.headers.add(name: "Content-Type", value: request.contentType)
      outgoing.body = .bytes(body)
    }
    var attempt = 1
    while true {
      var failure = CommandFailure(.error, "")
      var retryAfter: Duration?
      do {
        let response = try await http.execute(outgoing, timeout: .hours(24 * 30))
        let status = Int(response.status.code)
        if (200..<300).contains(status) { return response }
        let document = try? await response.body.collect(upTo: 4 << 20)
        failure = Self.failure(status: status, body: document, file: request.file)
        guard RetryPolicy.isRetryable(status: status) else { throw failure }
        retryAfter = response.headers.first(name: "Retry-After").flatMap { Int64($0) }.map {
          .seconds(min(max(0, $0), 86_400))
        }
      } catch let error as CommandFailure { throw error } catch is CancellationError { throw CancellationError() } catch
      {
        if Task.isCancelled { throw CancellationError() }
        failure = unreachable(error)
      }
      guard let delay = retry.delay(afterAttempt: attempt, retryAfter: retryAfter, random: .random(in: 0...1)) else {
        throw failure
      }
      attempt += 1
      try await Task.sleep(for: delay)
    }
  }

  /// A path with an empty name would be that of a list.
  private static func check(_ request: Request) throws {
    guard !request.path.contains("") else { throw CommandFailure(.usage, "An empty name names nothing.") }
  }

  private func outgoing(_ request: Request) -> HTTPClientRequest {
    var outgoing = HTTPClientRequest(url: url(request.path, request.query))
    outgoing.method = request.method
    outgoing.headers.add(name: "User-Agent", value: "fubini/\(Fubini.version)")
    if let token = connection.token { outgoing.headers.add(name: "Authorization", value: "Bearer \(token)") }
    return outgoing
  }

  /// Why a body did not arrive.
  enum UploadFailure: Error {
    /// The connection broke, or the server cannot take it just now: it may go on where it was cut.
    case cut(CommandFailure)
    /// The server will not have it.
    case refused(CommandFailure)
  }

  /// Sends a body that is read as it goes, once.
  ///
  /// - Throws: `UploadFailure`, `CancellationError`, or what reading the body threw.
  func upload<Bytes: AsyncSequence & Sendable>(_ request: Request, _ bytes: Bytes, size: Int64) async throws
  where Bytes.Element == ByteBuffer {
    var outgoing = outgoing(request)
    outgoing.headers.add(name: "Content-Type", value: "application/octet-stream")
    outgoing.body = .stream(bytes, length: .known(size))
    let response: HTTPClientResponse
    do {
      response = try await http.execute(outgoing, timeout: .hours(24 * 30))
    } catch {
      if Task.isCancelled { throw CancellationError() }
      if let failure = error as? CommandFailure { throw failure }
      throw UploadFailure.cut(unreachable(error))
    }
    let status = Int(response.status.code)
    let document = try? await response.body.collect(upTo: 4 << 20)
    guard !(200..<300).contains(status) else { return }
    let failure = Self.failure(status: status, body: document, file: request.file)
    throw RetryPolicy.isRetryable(status: status) ? UploadFailure.cut(failure) : UploadFailure.refused(failure)
  }

  static func failure(status: Int, body: ByteBuffer?, file: String?) -> CommandFailure {
    if let body, let document = try? JSONDecoder().decode(ErrorDocument.self, from: Data(body.readableBytesView)) {
      return CommandFailure(document, file: file)
    }
    return CommandFailure(
      RetryPolicy.isRetryable(status: status) ? .unreachable : .error,
      "The server answered \(status) without saying why: is the URL that of a Fubini control plane?")
  }

  func unreachable(_ error: any Error) -> CommandFailure {
    CommandFailure(
      .unreachable,
      """
      Cannot reach \(connection.url): \(Self.describe(error)). Is the control plane running? \
      `fubini doctor` looks closer.
      """)
  }

  /// What a library's error says to people: the libraries' own words name their types and source files.
  static func describe(_ error: any Error) -> String {
    switch error {
    case let error as IOError: String(cString: strerror(error.errnoCode))
    case let error as NIOConnectionError:
      error.connectionErrors.first.map { describe($0.error) } ?? "the name \(error.host) has no address here"
    case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError:
      "no TLS connection came about; does it speak https there, and is its certificate authority known here (FUBINI_CA)"
    case let error as HTTPClientError where error == .connectTimeout: "no connection within 10 seconds"
    case let error as HTTPClientError where error == .readTimeout: "no answer in time"
    case let error as HTTPClientError where error == .remoteConnectionClosed: "it closed the connection"
    case let error as HTTPClientError: error.shortDescription
    case let error as ChannelError: "the connection failed (\(error))"
    default: "\(error)"
    }
  }

  func url(_ path: [String], _ query: [(String, String)]) -> String {
    var text = connection.url
    for segment in path { text += "/" + Self.encode(segment) }
    for (index, (name, value)) in query.enumerated() {
      text += (index == 0 ? "?" : "&") + Self.encode(name) + "=" + Self.encode(value)
    }
    return text
  }

  /// - Source: RFC 3986, section 2.3: everything but unreserved characters is percent-encoded.
  static func encode(_ text: String) -> String {
    var encoded = ""
    for byte in text.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: encoded.unicodeScalars.append(.init(byte))
      default: encoded += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    return encoded
  }

  static func newKey() -> String {
    (0..<2).map { _ in String(UInt64.random(in: UInt64.min...UInt64.max), radix: 16) }.joined(separator: "-")
  }

  /// A workflow with all of its nodes, however many pages they take. `workflow` is a name, a UID, or `@latest`.
  func detail(_ workflow: String) async throws -> WorkflowDetail {
    let path = self.workflow(connection.project, workflow)
    var detail: WorkflowDetail = try await get(path)
    guard detail.nodesTruncated else { return detail }
    // The UID: what `@latest` names may be another one by now.
    let pinned = self.workflow(connection.project, detail.summary.uid)
    detail.nodes = try await pages(limit: .max) { query in
      let page: NodeList = try await get(pinned + ["nodes"], query)
      return (page.items, page.next)
    }.items
    detail.nodesTruncated = false
    return detail
  }

  /// Reads pages until `limit` items are there or no more exist.
  ///
  /// - Returns: the items, and whether there are more.
  func pages<Item>(
    limit: Int, _ read: ([(String, String)]) async throws -> (items: [Item], next: String?)
  ) async throws -> (items: [Item], isCut: Bool) {
    var items: [Item] = []
    var next: String?
    repeat {
      var query = [("limit", String(min(Self.pageSize, limit - items.count)))]
      if let next { query.append(("continue", next)) }
      let page = try await read(query)
      items += page.items
      // A page that says "go on from where you were" would be read for ever.
      guard page.next != next else { return (items, false) }
      next = page.next
    } while next != nil && items.count < limit
    return (items, next != nil)
  }

  /// The largest that the server gives.
  static let pageSize = 500

  func workflow(_ project: String, _ name: String, _ rest: String...) -> [String] {
    ["v1", "projects", project, "workflows", name] + rest
  }
}
