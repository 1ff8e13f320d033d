import AsyncHTTPClient
import FederationModel
import Foundation
import NIOCore
import NIOHTTP1
import Rclone

/// The few things that our stores do with a bucket, each repeated when what failed may pass.
///
/// Bounded: at most `concurrency` requests at once, whoever asks.
final class ObjectBucket: Sendable {
  struct Entry: Sendable, Hashable {
    /// Without the directory.
    var name: String
    var size: Int64
  }

  static let concurrency = 64
  static let attempts = 4

  private let remote: String
  private let daemon: RcloneDaemon
  private let client: HTTPClient

  init(_ configuration: BucketConfiguration, daemon: RcloneDaemon, client: HTTPClient) {
    remote = configuration.remote
    self.daemon = daemon
    self.client = client
  }

  static func makeClient() -> HTTPClient {
    var configuration = HTTPClient.Configuration()
    configuration.redirectConfiguration = .disallow
    configuration.timeout = .init(connect: .seconds(3), read: .seconds(90), write: .seconds(90))
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = concurrency
    return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
  }

  /// Whether the bucket answers; its error says what the operator has wrong.
  func check() async throws { _ = try await list("fubini-check") }

  /// Size of an object; nil when there is none.
  func size(_ path: String) async throws -> Int64? {
    struct Answer: Decodable {
      struct Item: Decodable { var Size: Int64 }
      var item: Item?
    }
    return try await call("operations/stat", Answer.self, ["remote": path])?.item?.Size
  }

  /// The objects directly in a directory, in no order.
  func list(_ directory: String) async throws -> [Entry] {
    struct Answer: Decodable {
      struct Item: Decodable {
        var Name: String
        var Size: Int64
        var IsDir: Bool
      }
      var list: [Item]?
    }
    let answer = try await call(
      "operations/list", Answer.self, ["remote": directory], options: ["noModTime": true, "noMimeType": true])
    return (answer?.list ?? []).filter { !$0.IsDir }.map { Entry(name: $0.Name, size: $0.Size) }
  }

  /// Deleting what is not there is success.
  func delete(_ path: String) async throws {
    struct Answer: Decodable {}
    _ = try await call("operations/deletefile", Answer.self, ["remote": path])
  }

  /// A small object, whole. Replaces what is there, in one step.
  func put(_ path: String, _ bytes: [UInt8]) async throws {
    try await repeated { [self] in
      try await upload(path, length: Int64(bytes.count)) { .bytes(ByteBuffer(bytes: bytes)) }
    }
  }

  /// Streams an object of unknown length. Not repeated: its bytes come once.
  func put(_ path: String, stream: some AsyncSequence<ByteBuffer, any Error> & Sendable) async throws {
    try await upload(path, length: nil) { .stream(stream, length: .unknown) }
  }

  /// At most `count` bytes from `offset`; nil when there is no such object. For small reads.
  func read(_ path: String, from offset: Int64 = 0, count: Int) async throws -> [UInt8]? {
    guard count > 0 else { return try await size(path) == nil ? nil : [] }
    return try await repeated { [self] in
      guard let body = try await get(path, range: "bytes=\(offset)-\(offset + Int64(count) - 1)") else { return nil }
      return Array(buffer: try await body.collect(upTo: count))
    }
  }

  /// From `offset` to the end; nil when there is no such object.
  func open(_ path: String, from offset: Int64) async throws -> HTTPClientResponse.Body? {
    try await repeated { [self] in try await get(path, range: offset > 0 ? "bytes=\(offset)-" : nil) }
  }

  // MARK: Requests

  private func request(_ address: RcloneDaemon.Address, _ path: String, _ method: HTTPMethod) -> HTTPClientRequest {
    var request = HTTPClientRequest(url: (address.url ?? "") + "/" + path)
    request.method = method
    request.headers.add(name: "Authorization", value: address.authorization)
    return request
  }

  private static func escaped(_ text: String) -> String {
    text.addingPercentEncoding(withAllowedCharacters: .alphanumerics.union(CharacterSet(charactersIn: "-._~/"))) ?? text
  }

  /// nil when the object or directory is not there.
  private func call<Answer: Decodable & Sendable>(
    _ operation: String, _ type: Answer.Type, _ parameters: [String: String], options: [String: Bool]? = nil
  ) async throws -> Answer? {
    let body = try JSONEncoder().encode(CallBody(fs: remote, remote: parameters["remote"] ?? "", opt: options))
    return try await repeated { [self] in
      var request = request(try await daemon.address(), operation, .POST)
      request.headers.add(name: "Content-Type", value: "application/json")
      request.body = .bytes(body)
      let answer = try await execute(request, limit: .seconds(120))
      let bytes = try await answer.body.collect(upTo: 32 << 20)
      if answer.status == .notFound { return nil }
      guard answer.status == .ok else { throw Self.failure(Array(buffer: bytes)) }
      return try JSONDecoder().decode(Answer.self, from: Data(Array(buffer: bytes)))
    }
  }

  private func get(_ path: String, range: String?) async throws -> HTTPClientResponse.Body? {
    var request = request(try await daemon.address(), "%5B\(Self.escaped(remote))%5D/\(Self.escaped(path))", .GET)
    if let range { request.headers.add(name: "Range", value: range) }
    let answer = try await execute(request, limit: .hours(24))
    if answer.status == .ok || answer.status == .partialContent { return answer.body }
    let bytes = Array(buffer: try await answer.body.collect(upTo: 1 << 20))
    if answer.status == .notFound { return nil }
    throw Self.failure(bytes)
  }

  private func upload(_ path: String, length: Int64?, body: () -> Part) async throws {
    let slash = path.lastIndex(of: "/")
    let directory = slash.map { String(path[..<$0]) } ?? ""
    let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
    let boundary = "fubini-\(String(UInt64.random(in: .min ... .max), radix: 16))"
    let query = "fs=\(Self.escaped(remote))&remote=\(Self.escaped(directory))"
    var request = request(try await daemon.address(), "operations/uploadfile?\(query)", .POST)
    request.headers.add(name: "Content-Type", value: "multipart/form-data; boundary=\(boundary)")
    let head =
      "--\(boundary)\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\(name)\"\r\n"
      + "Content-Type: application/octet-stream\r\n\r\n"
    let tail = "\r\n--\(boundary)--\r\n"
    switch body() {
    case .bytes(var bytes):
      var whole = ByteBuffer(string: head)
      whole.writeBuffer(&bytes)
      whole.writeString(tail)
      request.body = .bytes(whole)
    case .stream(let stream, _):
      request.body = .stream(
        Framed(head: ByteBuffer(string: head), body: stream, tail: ByteBuffer(string: tail)), length: .unknown)
    }
    let answer = try await execute(request, limit: length == nil ? .hours(24) : .seconds(120))
    let bytes = Array(buffer: try await answer.body.collect(upTo: 1 << 20))
    guard answer.status == .ok else { throw Self.failure(bytes) }
  }

  private enum Part {
    case bytes(ByteBuffer)
    case stream(any AsyncSequence<ByteBuffer, any Error> & Sendable, length: HTTPClientRequest.Body.Length)
  }

  private func execute(_ request: HTTPClientRequest, limit: TimeAmount) async throws -> HTTPClientResponse {
    do { return try await client.execute(request, timeout: limit) } catch is CancellationError {
      throw CancellationError()
    } catch {
      throw FederationError(
        .unavailable, "The bucket could not be reached. Try again.", internalContext: "\(error)",
        retryAfter: .seconds(2))
    }
  }

  /// The one place that repeats.
  private func repeated<Value>(_ body: () async throws -> Value) async throws -> Value {
    var pause = Duration.milliseconds(100)
    for attempt in 1... {
      do { return try await body() } catch let error as FederationError
        where error.isRetryable && attempt < Self.attempts && !Task.isCancelled
      {
        try await Task.sleep(for: pause * Double.random(in: 0.5...1.5))
        pause = pause * 3
      }
    }
    preconditionFailure("the loop ends by returning or throwing")
  }

  /// What rclone says, told apart by what an operator or a caller must do.
  private static func failure(_ body: [UInt8]) -> FederationError {
    struct Answer: Decodable { var error: String? }
    let text =
      (try? JSONDecoder().decode(Answer.self, from: Data(body)))?.error ?? String(decoding: body, as: UTF8.self)
    let context = "rclone: \(text.prefix(500))"
    for word in ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden", "status code: 403"]
    where text.contains(word) {
      return FederationError(
        .failedPrecondition, "The bucket refuses the control plane's credentials. Ask its operator to look at its log.",
        internalContext: context)
    }
    if text.contains("NoSuchBucket") || text.contains("directory not found") {
      return FederationError(
        .failedPrecondition, "The bucket does not exist. Ask the control plane's operator to make it.",
        internalContext: context)
    }
    return FederationError(
      .unavailable, "The bucket could not be used. Try again.", internalContext: context, retryAfter: .seconds(2))
  }
}

private struct CallBody: Encodable {
  var fs: String
  var remote: String
  var opt: [String: Bool]?
}

/// A multipart body around a stream.
private struct Framed: AsyncSequence, Sendable {
  typealias Element = ByteBuffer
  let head: ByteBuffer
  let body: any AsyncSequence<ByteBuffer, any Error> & Sendable
  let tail: ByteBuffer

  struct Iterator: AsyncIteratorProtocol {
    private enum Stage { case head, body, over }
    private let framed: Framed
    private var inner: any AsyncIteratorProtocol<ByteBuffer, any Error>
    private var stage = Stage.head

    init(_ framed: Framed) {
      self.framed = framed
      inner = framed.body.makeAsyncIterator()
    }

    mutating func next() async throws -> ByteBuffer? {
      switch stage {
      case .head:
        stage = .body
        return framed.head
      case .body:
        if let part = try await inner.next(isolation: nil) { return part }
        stage = .over
        return framed.tail
      case .over: return nil
      }
    }
  }

  func makeAsyncIterator() -> Iterator { Iterator(self) }
}
