public import AsyncHTTPClient
public import FederationAPI
internal import FederationModel
public import Foundation
internal import NIOCore
internal import NIOHTTP1

/// A small client of the public REST API that shows statuses and headers as they are, and repeats nothing by itself.
public struct RESTClient: Sendable {
  public struct Response: Sendable {
    public var status: Int
    /// Names in lower case.
    public var headers: [String: String]
    public var body: Data
    public var text: String { String(decoding: body, as: UTF8.self) }

    public func decoded<Document: Decodable>(_ type: Document.Type = Document.self) throws -> Document {
      guard (200..<300).contains(status) else { throw RESTFailure(status: status, headers: headers, text: text) }
      do { return try JSONDecoder().decode(Document.self, from: body) } catch {
        throw HarnessError("not a \(Document.self): \(text.prefix(500)) (\(error))")
      }
    }
  }

  /// Base URL: `http://127.0.0.1:1234`.
  public var url: String
  public var token: String?
  public var project = "default"
  private let http: HTTPClient

  public init(url: String, token: String?, http: HTTPClient) {
    self.url = url
    self.token = token
    self.http = http
  }

  public static func makeHTTPClient() -> HTTPClient {
    var configuration = HTTPClient.Configuration()
    configuration.timeout = .init(connect: .seconds(2), read: .seconds(60))
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
    return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
  }

  public func send(
    _ method: String, _ path: String, body: Data? = nil, contentType: String = "application/json",
    headers: [String: String] = [:], timeout: Duration = .seconds(20)
  ) async throws -> Response {
    var request = HTTPClientRequest(url: url + path)
    request.method = .init(rawValue: method)
    if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
    for (name, value) in headers { request.headers.add(name: name, value: value) }
    if let body {
      request.headers.add(name: "Content-Type", value: contentType)
      request.body = .bytes(body)
    }
    let answer = try await http.execute(request, timeout: .milliseconds(Int64(timeout / .milliseconds(1))))
    let bytes = try await answer.body.collect(upTo: 256 << 20)
    var fields: [String: String] = [:]
    for (name, value) in answer.headers { fields[name.lowercased()] = value }
    return Response(status: Int(answer.status.code), headers: fields, body: Data(bytes.readableBytesView))
  }

  public func get<Document: Decodable>(_ path: String, as type: Document.Type = Document.self) async throws -> Document
  {
    try await send("GET", path).decoded()
  }

  public func post<Document: Decodable>(
    _ path: String, _ body: (any Encodable)? = nil, as type: Document.Type = Document.self
  ) async throws -> Document {
    try await send("POST", path, body: try body.map { try JSONEncoder().encode($0) }).decoded()
  }

  /// Submits a document. - Throws: `RESTFailure` when it was refused.
  public func submit(_ yaml: String, key: String? = nil, timeout: Duration = .seconds(20)) async throws
    -> SubmitResponse
  {
    try await send(
      "POST", "/v1/projects/\(project)/workflows", body: Data(yaml.utf8), contentType: "application/yaml",
      headers: key.map { ["Idempotency-Key": $0] } ?? [:], timeout: timeout
    ).decoded()
  }

  public func workflow(_ name: String) async throws -> WorkflowDetail {
    try await get("/v1/projects/\(project)/workflows/\(name)")
  }

  public func action(_ workflow: String, _ verb: String, _ body: WorkflowActionRequest = WorkflowActionRequest())
    async throws -> AcceptedDocument
  { try await post("/v1/projects/\(project)/workflows/\(workflow)/\(verb)", body) }

  /// Waits until a workflow has ended, and returns it.
  public func finished(_ name: String, timeout: Duration = .seconds(60)) async throws -> WorkflowDetail {
    let end = ContinuousClock.now + timeout
    while true {
      let detail = try await workflow(name)
      if detail.summary.phase.isTerminal { return detail }
      guard ContinuousClock.now < end else {
        let nodes = detail.nodes.map { "  \($0.displayName) \($0.type) \($0.phase.rawValue) \($0.message)" }
        throw HarnessError("\(name) is not over after \(timeout):\n" + nodes.prefix(40).joined(separator: "\n"))
      }
      try await Task.sleep(for: .milliseconds(25))
    }
  }

  public func log(_ workflow: String, node: String) async throws -> String {
    let name = node.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? node
    let answer = try await send("GET", "/v1/projects/\(project)/workflows/\(workflow)/logs?node=\(name)")
    guard answer.status == 200 else {
      throw RESTFailure(status: answer.status, headers: answer.headers, text: answer.text)
    }
    return answer.text
  }

  public func cluster(_ name: String) async throws -> ClusterDocument { try await get("/v1/clusters/\(name)") }
}

/// An answer that is not a success.
public struct RESTFailure: Error, CustomStringConvertible {
  public var status: Int
  public var headers: [String: String]
  public var text: String
  public var description: String { "HTTP \(status): \(text.prefix(1000))" }
  public var document: ErrorDocument? { try? JSONDecoder().decode(ErrorDocument.self, from: Data(text.utf8)) }
}
