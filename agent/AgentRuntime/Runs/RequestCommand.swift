internal import AsyncHTTPClient
internal import FederationModel
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL
internal import ProcessExecutor
internal import WorkflowCore

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Makes the request of an `http` template, in the run's sandbox: the cluster's rules for the network of runs hold for it. The body of the
/// answer is its output, and so the run's result.
public enum RequestCommand {
  /// Of an answer's body: what a result may have.
  static let bodyBytesMax = 256 << 10
  /// Of all that it writes: the body, and a line behind it.
  static let logBytesMax = bodyBytesMax + (16 << 10)
  /// Before what it says itself.
  static let prefix = "fubini: "
  /// As many as Go's client follows.
  private static let redirectsMax = 10

  /// - Returns: the exit code: 0 when the answer is what is wanted, 1 when it is not or there is none, 126 when nobody said what to ask.
  public static func main() async -> Int32 {
    guard let bytes = HostFiles.read(RequestProgram.path, limit: 8 << 20) else {
      say("there is no request to be made")
      return 126
    }
    if let listing = try? JSONDecoder().decode(NamesToTransform.self, from: Data(bytes)) { return transform(listing) }
    guard let request = try? JSONDecoder().decode(RunHTTP.self, from: Data(bytes)) else {
      say("there is no request to be made")
      return 126
    }
    do {
      let answer = try await ask(request)
      FileOutput.put(answer.body, to: STDOUT_FILENO)
      if let refusal = try refusal(of: answer, to: request) {
        say(refusal)
        return 1
      }
      return 0
    } catch let error as FederationError {
      say(error.publicMessage)
    } catch {
      say("\(request.method) \(request.url): \(reason(error))")
    }
    return 1
  }

  /// Of a `data` template: what its expressions make of the names of files.
  private static func transform(_ listing: NamesToTransform) -> Int32 {
    do {
      let text = try DataTransformation.result(of: listing.names, listing.transformations)
      guard text.utf8.count <= bodyBytesMax else {
        throw FederationError(
          .failedPrecondition,
          "the names come to more than \(ByteCount(Int64(bodyBytesMax))), the most that a result has: filter them")
      }
      FileOutput.put(Array(text.utf8), to: STDOUT_FILENO)
      return 0
    } catch {
      say((error as? FederationError)?.publicMessage ?? "\(error)")
      return 1
    }
  }

  struct Answer: Sendable {
    var status: Int
    var headers: [(name: String, value: String)]
    var body: [UInt8]
  }

  static func ask(_ request: RunHTTP) async throws -> Answer {
    var tls = TLSConfiguration.makeClientConfiguration()
    if request.skipsVerification { tls.certificateVerification = .none }
    var configuration = HTTPClient.Configuration(
      tlsConfiguration: tls, redirectConfiguration: .follow(max: redirectsMax, allowCycles: true))
    configuration.connectionPool.retryConnectionEstablishment = false
    let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    do {
      let answer = try await ask(request, by: client)
      try await client.shutdown()
      return answer
    } catch {
      try? await client.shutdown()
      throw error
    }
  }

  private static func ask(_ wanted: RunHTTP, by client: HTTPClient) async throws -> Answer {
    var request = HTTPClientRequest(url: wanted.url)
    request.method = HTTPMethod(rawValue: wanted.method)
    for header in wanted.headers { request.headers.add(name: header.name, value: header.value) }
    if !wanted.body.isEmpty { request.body = .bytes(Array(wanted.body.utf8)) }
    let response = try await client.execute(request, timeout: .milliseconds(wanted.timeout.milliseconds))
    let body: ByteBuffer
    do { body = try await response.body.collect(upTo: bodyBytesMax) } catch is NIOTooManyBytesError {
      throw FederationError(
        .failedPrecondition,
        "the answer of \(wanted.url) has more than \(ByteCount(Int64(bodyBytesMax))), the most that a result has")
    }
    return Answer(
      status: Int(response.status.code), headers: response.headers.map { ($0.name, $0.value) },
      body: Array(body.readableBytesView))
  }

  /// Why an answer is no success; nil when it is one.
  ///
  /// - Throws: what `ResponseCondition` throws.
  static func refusal(of answer: Answer, to request: RunHTTP) throws -> String? {
    guard let condition = request.successCondition else {
      return (200..<300).contains(answer.status) ? nil : "received non-2xx response code: \(answer.status)"
    }
    func headers(_ all: [(name: String, value: String)]) -> JSONValue {
      var lists: [String: [JSONValue]] = [:]
      for (name, value) in all { lists[canonical(name), default: []].append(.string(value)) }
      return .object(lists.mapValues { .array($0) })
    }
    let isMet = try ResponseCondition.holds(
      condition,
      response: [
        "statusCode": .integer(Int64(answer.status)), "body": .string(String(decoding: answer.body, as: UTF8.self)),
        "headers": headers(answer.headers),
      ],
      request: [
        "method": .string(request.method), "url": .string(request.url), "body": .string(request.body),
        "headers": headers(request.headers.map { ($0.name, $0.value) }),
      ])
    return isMet ? nil : "successCondition '\(condition)' evaluated false"
  }

  /// As Go's library writes the names of headers, and so Argo's documents: `Content-Type`.
  static func canonical(_ name: String) -> String {
    name.split(separator: "-", omittingEmptySubsequences: false)
      .map { $0.prefix(1).uppercased() + $0.dropFirst().lowercased() }.joined(separator: "-")
  }

  private static func reason(_ error: any Error) -> String {
    (error as? HTTPClientError)?.description ?? "\(error)"
  }

  private static func say(_ text: String) { FileOutput.put(Array("\n\(prefix)\(text)\n".utf8), to: STDERR_FILENO) }
}

private enum FileOutput {
  static func put(_ bytes: [UInt8], to file: Int32) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let put = rest.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
      if put < 0, errno == EINTR { continue }
      guard put > 0 else { return }
      rest = rest.dropFirst(put)
    }
  }
}
