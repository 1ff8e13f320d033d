internal import AsyncHTTPClient
internal import Execution
public import FederationModel
public import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL
internal import Synchronization

/// How a patch is to be read. - Source: Kubernetes documentation, "Update API Objects in Place Using kubectl patch".
public enum PatchType: String, Sendable {
  case merge = "application/merge-patch+json"
  case json = "application/json-patch+json"
  case strategic = "application/strategic-merge-patch+json"
  /// Server-side apply: the object is made where there is none. Takes `fieldManager` in the query, and `force`.
  case apply = "application/apply-patch+yaml"
}

public struct KubernetesVersion: Sendable, Hashable {
  public var major: Int
  public var minor: Int
  /// As the server calls itself: `v1.31.4-gke.1`.
  public var gitVersion: String

  public init(major: Int, minor: Int, gitVersion: String) {
    self.major = major
    self.minor = minor
    self.gitVersion = gitVersion
  }
}

/// Requests to one API server.
///
/// What may pass is repeated until a deadline, with jittered pauses or those that the server asks for: reads after any
/// failure of connection or server; writes where repeating them changes nothing (a create with a name, a patch that is
/// no list of operations, a delete), and where the server refused to begin. A create that was repeated may so be told
/// that its own object exists. Bounded: requests at once, sizes of answers, time.
///
/// Errors are `FederationError` with a code by the status (401 `unauthenticated`, 403 `permissionDenied`, 404
/// `notFound`, 409 `alreadyExists` or `failedPrecondition`, 410 `failedPrecondition`, 400 and 422 `invalidArgument`,
/// 429 `resourceExhausted`, 5xx and no connection `unavailable`, no answer in time `deadlineExceeded`), whose public
/// message is the API server's; the status itself is `error.kubernetesStatus`.
public final class KubernetesClient: Sendable {
  public struct Settings: Sendable {
    /// For one answer, with its body.
    public var attemptTimeout = Duration.seconds(30)
    /// After which nothing is tried again.
    public var deadline = Duration.seconds(60)
    /// Requests at once; watches and logs do not count.
    public var concurrency = 16
    public var bodyMax = 32 << 20
    public var backOff = BackOff(first: .milliseconds(200), most: .seconds(10))
    public init() {}
  }

  public let connection: KubernetesConnection
  let settings: Settings
  let logger: Logger
  private let http: HTTPClient
  private let base: String
  private let limiter: Limiter
  private let requests = Atomic<Int>(0)

  /// - Throws: `.invalidArgument`, when a certificate or key is none, or a token would go over a line that anybody can
  ///   read.
  public init(_ connection: KubernetesConnection, settings: Settings = Settings(), logger: Logger)
    throws(FederationError)
  {
    self.connection = connection
    self.settings = settings
    self.logger = logger
    limiter = Limiter(limit: settings.concurrency)
    let (base, configuration) = try TransportConfiguration.make(connection)
    self.base = base
    http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
  }

  /// How many requests were sent, repeated ones counted each time.
  public var requestCount: Int { requests.load(ordering: .relaxed) }

  /// Once, after everything else; what is still under way fails.
  public func close() async { try? await http.shutdown() }

  /// Who forgot to close it leaves no connections behind.
  deinit {
    let http = http
    Task { try? await http.shutdown() }
  }

  // MARK: Objects

  public func version() async throws(FederationError) -> KubernetesVersion {
    let answer = try await get("/version")
    // `27+` is what some providers say.
    func number(_ key: String) -> Int? {
      answer[key]?.stringValue.flatMap { text in Int(text.prefix { $0.isASCII && $0.isNumber }) }
    }
    guard let major = number("major"), let minor = number("minor") else {
      throw FederationError(.unavailable, "\(connection.server) does not answer as an API server of Kubernetes does")
    }
    return KubernetesVersion(major: major, minor: minor, gitVersion: answer["gitVersion"]?.stringValue ?? "")
  }

  public func get(_ path: String, query: [(String, String)] = []) async throws(FederationError) -> JSONValue {
    try await object(Request(method: .GET, path: path, query: query))
  }

  public func create(
    _ path: String, _ object: JSONValue, query: [(String, String)] = []
  ) async throws(FederationError) -> JSONValue {
    var request = Request(method: .POST, path: path, query: query, body: Array(object.description.utf8))
    request.isRepeatable = object["metadata"]?["name"]?.stringValue != nil
    return try await self.object(request)
  }

  public func patch(
    _ path: String, _ object: JSONValue, type: PatchType, query: [(String, String)] = []
  ) async throws(FederationError) -> JSONValue {
    var request = Request(
      method: .PATCH, path: path, query: query, body: Array(object.description.utf8), contentType: type.rawValue)
    request.isRepeatable = type != .json
    return try await self.object(request)
  }

  /// Replaces an object, or a part of it (`status`). Its `resourceVersion` decides whether it may.
  public func replace(
    _ path: String, _ object: JSONValue, query: [(String, String)] = []
  ) async throws(FederationError) -> JSONValue {
    var request = Request(method: .PUT, path: path, query: query, body: Array(object.description.utf8))
    request.isRepeatable = object["metadata"]?["resourceVersion"] == nil
    return try await self.object(request)
  }

  /// - Parameter options: a `DeleteOptions` (`preconditions`, `propagationPolicy`, `gracePeriodSeconds`).
  /// - Returns: the object as it ends, or a `Status`.
  @discardableResult
  public func delete(_ path: String, options: JSONValue = [:]) async throws(FederationError) -> JSONValue {
    try await object(Request(method: .DELETE, path: path, body: Array(options.description.utf8)))
  }

  /// All objects of a collection, as they are in one moment, in pages. Never from the API server's cache, which may be
  /// behind.
  ///
  /// - Parameter each: is given one object after the other. When the list then fails, what it gave is no list.
  /// - Returns: the version from which a watch goes on.
  /// - Throws: with a status that is `isExpired`, when the moment was forgotten between two pages; `.internal`, when
  ///   `each` threw.
  public func list(
    _ path: String, query: [(String, String)] = [], page: Int = 250, each: (JSONValue) throws -> Void
  ) async throws(FederationError) -> String {
    var size = max(1, page)
    var rest: String?
    while true {
      var query = query + [("limit", String(size))]
      if let rest { query.append(("continue", rest)) }
      let bytes: [UInt8]
      do { bytes = try await perform(Request(method: .GET, path: path, query: query)) } catch {
        // Large objects: fewer at once.
        guard error.cause is TooLarge, size > 1 else { throw error }
        size = max(1, size / 4)
        continue
      }
      let document: JSONValue
      do { document = try JSONReader.list(bytes, each: each) } catch {
        throw FederationError(.internal, "A list of \(path) cannot be read", cause: error)
      }
      guard let version = document["metadata"]?["resourceVersion"]?.stringValue else {
        throw FederationError(.internal, "\(path) is no collection: it has no resourceVersion")
      }
      rest = document["metadata"]?["continue"]?.stringValue
      if rest?.isEmpty ?? true { return version }
    }
  }

  /// A text as it comes: a pod's log. Bounded by taking it: the next piece is read when `each` has returned.
  ///
  /// Repeated only before the first byte. Cancelling the task ends it.
  ///
  /// - Parameters:
  ///   - limit: bytes after which it returns.
  ///   - silence: the longest time without a byte; nil for a log that is followed.
  public func text(
    _ path: String, query: [(String, String)] = [], limit: Int = .max, silence: Duration? = nil,
    each: @Sendable @escaping ([UInt8]) async throws -> Void
  ) async throws(FederationError) {
    let count = Locked(0)
    let request = Request(method: .GET, path: path, query: query)
    let end = ContinuousClock.now + settings.deadline
    var failures = 0
    while true {
      do {
        return try await stream(request, silence: silence) { bytes in
          let taken = count.withLock { count in
            let taken = min(bytes.count, limit - count)
            count += taken
            return taken
          }
          if taken > 0 { try await each(taken == bytes.count ? bytes : Array(bytes[..<taken])) }
          return taken == bytes.count
        }
      } catch {
        guard count.withLock({ $0 }) == 0, mayRepeat(request, after: error) else { throw error }
        failures += 1
        try await pause(failures: failures, after: error, before: end)
      }
    }
  }

  // MARK: Requests

  struct Request: Sendable {
    var method: HTTPMethod
    var path: String
    var query: [(String, String)] = []
    var body: [UInt8]?
    var contentType = "application/json"
    /// Sent twice it does what it does once.
    var isRepeatable = true
  }

  private func object(_ request: Request) async throws(FederationError) -> JSONValue {
    let bytes = try await perform(request)
    do { return try JSONReader.value(bytes) } catch {
      throw FederationError(
        .unavailable, "\(request.path): the answer is no JSON; is \(connection.server) an API server of Kubernetes?",
        cause: error)
    }
  }

  private func perform(_ request: Request) async throws(FederationError) -> [UInt8] {
    let end = ContinuousClock.now + settings.deadline
    var failures = 0
    while true {
      let token = try bearer()
      do { return try await attempt(request, token: token) } catch {
        failures += 1
        // The file may have been renewed since it was read.
        if error.code == .unauthenticated, failures == 1, case .tokenFile = connection.credential, try bearer() != token
        {
          continue
        }
        guard mayRepeat(request, after: error) else { throw error }
        try await pause(failures: failures, after: error, before: end)
      }
    }
  }

  private func mayRepeat(_ request: Request, after error: FederationError) -> Bool {
    if error.cause is TooLarge { return false }
    if let status = error.kubernetesStatus {
      return status.isRefusalForNow || (request.isRepeatable && status.isPassing)
    }
    return request.isRepeatable && (error.code == .unavailable || error.code == .deadlineExceeded)
  }

  /// - Throws: the error itself, when waiting would pass the deadline; `.cancelled`.
  private func pause(failures: Int, after error: FederationError, before end: ContinuousClock.Instant)
    async throws(FederationError)
  {
    let pause = settings.backOff.pause(
      failures: failures, retryAfter: error.retryAfter, random: .random(in: 0...1))
    guard ContinuousClock.now + pause < end else { throw error }
    logger.debug("asking the API server again", metadata: ["in": "\(pause)", "after": "\(error)"])
    do { try await Task.sleep(for: pause) } catch { throw FederationError(.cancelled, "The request was given up") }
  }

  private func attempt(_ request: Request, token: String?) async throws(FederationError) -> [UInt8] {
    let outgoing = try outgoing(request, token: token)
    let (http, timeout, bodyMax) = (http, settings.attemptTimeout, settings.bodyMax)
    do {
      return try await limiter.run { [self] in
        try await withDeadline(timeout) { [self] in
          requests.add(1, ordering: .relaxed)
          let response = try await http.execute(outgoing, timeout: .nanoseconds(timeout.milliseconds * 1_000_000))
          let status = Int(response.status.code)
          guard (200..<300).contains(status) else { throw await Self.refusal(response) }
          return Array(buffer: try await response.body.collect(upTo: bodyMax))
        }
      }
    } catch { throw failure(error) }
  }

  /// - Parameters:
  ///   - timeout: for the whole of it; with one the answer must begin as soon as any other.
  ///   - silence: the longest time without a byte.
  ///   - each: whether to go on.
  /// - Throws: also what `each` threw, where that is a `FederationError`.
  func stream(
    _ request: Request, timeout: Duration? = nil, silence: Duration? = nil,
    each: @Sendable @escaping ([UInt8]) async throws -> Bool
  ) async throws(FederationError) {
    let outgoing = try outgoing(request, token: try bearer())
    // An API server sends the head of a log with its first byte, which may be hours away.
    let http = http, patience = timeout == nil ? .seconds(365 * 86_400) : settings.attemptTimeout
    let heard = Locked(ContinuousClock.now)
    let end = timeout.map { ContinuousClock.now + $0 }
    do {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { [self] in
          requests.add(1, ordering: .relaxed)
          let response = try await http.execute(outgoing, timeout: .nanoseconds(patience.milliseconds * 1_000_000))
          guard (200..<300).contains(Int(response.status.code)) else { throw await Self.refusal(response) }
          heard.withLock { $0 = .now }
          for try await bytes in response.body {
            heard.withLock { $0 = .now }
            guard try await each(Array(buffer: bytes)) else { return }
          }
        }
        if silence != nil || end != nil {
          group.addTask {
            while true {
              let quiet = silence.map { silence in heard.withLock { $0 } + silence }
              let next = [quiet, end].compactMap { $0 }.min() ?? .now
              guard next > .now else { throw NoAnswer() }
              try await Task.sleep(until: next)
            }
          }
        }
        defer { group.cancelAll() }
        try await group.next()
      }
    } catch { throw failure(error) }
  }

  private static func refusal(_ response: HTTPClientResponse) async -> any Error {
    let body = try? await response.body.collect(upTo: 1 << 20)
    return KubernetesStatus(
      code: Int(response.status.code), body: body.map { Array(buffer: $0) } ?? [],
      retryAfter: response.headers.first(name: "Retry-After"))
  }

  private func bearer() throws(FederationError) -> String? {
    switch connection.credential {
    case .token(let token): return token
    case .tokenFile(let path): return try SmallFile.text(path)
    case .none, .certificate: return nil
    }
  }

  private func outgoing(_ request: Request, token: String?) throws(FederationError) -> HTTPClientRequest {
    var outgoing = HTTPClientRequest(url: try KubernetesPath.url(base, request.path, request.query))
    outgoing.method = request.method
    outgoing.headers.add(name: "User-Agent", value: "fubini-agent/\(ProductVersion.current)")
    outgoing.headers.add(name: "Accept", value: "application/json, */*;q=0.5")
    if let token {
      guard token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
        throw FederationError(
          .failedPrecondition, "The token for \(connection.server) has characters that no token has")
      }
      outgoing.headers.add(name: "Authorization", value: "Bearer \(token)")
    }
    if let body = request.body {
      outgoing.headers.add(name: "Content-Type", value: request.contentType)
      outgoing.body = .bytes(ByteBuffer(bytes: body))
    }
    return outgoing
  }

  private static func isLate(_ error: any Error) -> Bool {
    if let error = error as? HTTPClientError { return error == .deadlineExceeded || error == .readTimeout }
    return error is NoAnswer
  }

  private func failure(_ error: any Error) -> FederationError {
    switch error {
    case let error as FederationError: return error
    case let status as KubernetesStatus: return status.error
    case is CancellationError: return FederationError(.cancelled, "The request was given up")
    case is NIOTooManyBytesError:
      return FederationError(
        .resourceExhausted, "An answer of the API server is larger than \(settings.bodyMax >> 20) MiB",
        cause: TooLarge())
    case _ where Self.isLate(error):
      return FederationError(
        .deadlineExceeded, "The API server at \(connection.server) did not answer in time", cause: error)
    default:
      if Task.isCancelled { return FederationError(.cancelled, "The request was given up") }
      return FederationError(
        .unavailable, "The API server at \(connection.server) cannot be reached: \(Unreachable.why(error))",
        cause: error)
    }
  }
}

/// An answer was longer than is read.
struct TooLarge: Error {}
/// Nothing came for too long.
struct NoAnswer: Error {}

/// A value that several tasks hold.
final class Locked<Value: Sendable>: Sendable {
  private let mutex: Mutex<Value>
  init(_ value: Value) { mutex = Mutex(value) }
  func withLock<Result: Sendable>(_ body: (inout Value) -> Result) -> Result {
    mutex.withLock { value in body(&value) }
  }
}

/// - Throws: `NoAnswer` after `limit`; then `body` has been cancelled, and has ended.
private func withDeadline<Result: Sendable>(
  _ limit: Duration, _ body: @Sendable @escaping () async throws -> Result
) async throws -> Result {
  try await withThrowingTaskGroup(of: Result.self) { group in
    group.addTask { try await body() }
    group.addTask {
      try await Task.sleep(for: limit)
      throw NoAnswer()
    }
    defer { group.cancelAll() }
    guard let result = try await group.next() else { throw NoAnswer() }
    return result
  }
}
