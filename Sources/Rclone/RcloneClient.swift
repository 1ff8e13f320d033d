internal import Dispatch
internal import FederationModel
internal import FoundationEssentials
internal import Synchronization

/// What a daemon is asked: to know a store, to list it, and to read files of it.
public struct RcloneClient: Sendable {
  /// A file as the store tells of it.
  public struct Listed: Sendable, Hashable {
    /// Relative to what was listed.
    public var path: String
    public var size: Int64
    /// Milliseconds since 1970; nil when the store has no such thing.
    public var modified: Int64?
    /// Lower-case hexadecimal, where the store knows it.
    public var sha256: String?

    public init(path: String, size: Int64, modified: Int64?, sha256: String?) {
      self.path = path
      self.size = size
      self.modified = modified
      self.sha256 = sha256
    }
  }

  private let daemon: RcloneDaemon
  /// Values that no message may show.
  private let secrets: [String]

  public init(_ daemon: RcloneDaemon, hiding secrets: [String] = []) {
    self.daemon = daemon
    self.secrets = secrets.filter { $0.utf8.count >= 4 }.sorted { $0.utf8.count > $1.utf8.count }
  }

  /// Makes a store known under `name`, in the daemon's memory alone; it forgets all of them when it ends.
  ///
  /// - Parameter parameters: of rclone's backend, credentials as they are.
  @concurrent
  public func define(_ name: String, type: String, parameters: [String: String]) async throws {
    _ = try await call(
      "config/create",
      [
        "name": .string(name), "type": .string(type),
        "parameters": .object(parameters.mapValues { .string($0) }),
        "opt": ["nonInteractive": true, "obscure": true],
      ])
  }

  @concurrent
  public func forget(_ name: String) async { _ = try? await call("config/delete", ["name": .string(name)]) }

  /// Size and time of one file; nil when there is none. What is around it is not listed.
  @concurrent
  public func stat(_ root: String, _ path: String) async throws -> Listed? {
    let answer = try await call("operations/stat", Self.statParameters(root, path))
    return answer["item"].flatMap { Self.listed($0) }
  }

  static func statParameters(_ root: String, _ path: String) -> JSONValue {
    ["fs": .string(root), "remote": .string(path), "opt": ["filesOnly": true]]
  }

  /// Copies a file of this machine into a store; rclone verifies it by what the store knows of its bytes. A cancelled copy is stopped.
  @concurrent
  public func put(_ directory: String, _ file: String, to root: String, as path: String) async throws {
    let answer = try await call(
      "operations/copyfile",
      [
        "srcFs": .string(directory), "srcRemote": .string(file), "dstFs": .string(root), "dstRemote": .string(path),
        "_async": true,
      ])
    guard let job = answer["jobid"]?.integerValue else {
      throw FederationError(.internal, "rclone did not say which job it began")
    }
    var pause = Duration.milliseconds(20)
    do {
      while true {
        let status = try await call("job/status", ["jobid": .integer(job)])
        if status["finished"]?.boolValue == true {
          guard status["success"]?.boolValue != true else { return }
          throw failure(500, try [UInt8](JSONEncoder().encode(status)))
        }
        try await Task.sleep(for: pause)
        pause = min(pause * 2, .seconds(1))
      }
    } catch {
      if Task.isCancelled { _ = try? await Task { try await call("job/stop", ["jobid": .integer(job)]) }.value }
      throw error
    }
  }

  /// Every file below `root`, in no order, one at a time: the answer is never whole in memory.
  @concurrent
  public func list(_ root: String, _ body: @escaping @Sendable (Listed) throws -> Void) async throws {
    let request: JSONValue = [
      "fs": .string(root), "remote": "",
      "opt": ["recurse": true, "filesOnly": true, "noMimeType": true, "showHash": true, "hashTypes": ["sha256"]],
    ]
    let bytes = try [UInt8](JSONEncoder().encode(request))
    try await withConnection { connection in
      let head = try connection.send(
        "POST", "/operations/list", headers: [("Content-Type", "application/json")], body: bytes)
      guard head.status == 200 else { throw failure(head.status, try connection.body(head, limit: 1 << 20)) }
      var objects = JSONObjects(depth: 2)
      try connection.read(head) { piece in
        try objects.read(piece) { object in
          let value = try JSONDecoder().decode(JSONValue.self, from: Data(object))
          if let listed = Self.listed(value) { try body(listed) }
        }
      }
    }
  }

  /// Reads files of one store over one connection after another: see `RcloneReader`.
  @concurrent
  public func reading<Result: Sendable>(_ body: @escaping @Sendable (RcloneReader) throws -> Result) async throws
    -> Result
  {
    try await withConnection { try body(RcloneReader($0, self)) }
  }

  // MARK: Calls

  @concurrent
  func call(_ operation: String, _ parameters: JSONValue) async throws -> JSONValue {
    try await withConnection { try call(operation, parameters, over: $0) }
  }

  func call(_ operation: String, _ parameters: JSONValue, over connection: HTTPConnection) throws -> JSONValue {
    let bytes = try [UInt8](JSONEncoder().encode(parameters))
    let head = try connection.send(
      "POST", "/" + operation, headers: [("Content-Type", "application/json")], body: bytes)
    let answer = try connection.body(head, limit: 16 << 20)
    guard head.status == 200 else { throw failure(head.status, answer) }
    return try JSONDecoder().decode(JSONValue.self, from: Data(answer))
  }

  /// On a thread of its own, until it returns or the task is cancelled.
  private func withConnection<Result: Sendable>(
    _ body: @escaping @Sendable (HTTPConnection) throws -> Result
  ) async throws -> Result {
    let address = try await daemon.address()
    let isCancelled = CancellationFlag()
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global().async {
          continuation.resume(
            with: Swift.Result {
              let connection = HTTPConnection(try SocketStream(address.place), authorization: address.authorization)
              defer { connection.close() }
              connection.isCancelled = { isCancelled.value.load(ordering: .relaxed) }
              return try body(connection)
            })
        }
      }
    } onCancel: {
      isCancelled.value.store(true, ordering: .relaxed)
    }
  }

  private final class CancellationFlag: Sendable { let value = Atomic(false) }

  static func listed(_ value: JSONValue) -> Listed? {
    guard value["IsDir"]?.boolValue != true, let path = value["Path"]?.stringValue,
      let size = value["Size"]?.integerValue
    else { return nil }
    return Listed(
      path: path, size: size, modified: value["ModTime"]?.stringValue.flatMap { RFC3339.parse($0)?.milliseconds },
      sha256: value["Hashes"]?["sha256"]?.stringValue)
  }

  /// What went wrong at the store, without what the call was given.
  func failure(_ status: Int, _ body: [UInt8]) -> FederationError {
    let answer = try? JSONDecoder().decode(JSONValue.self, from: Data(body))
    var text = answer?["error"]?.stringValue ?? "status \(status)"
    for secret in secrets { text = text.replacing(secret, with: "***") }
    if status == 404 || text.contains("directory not found") || text.contains("object not found")
      || text.contains("is a file not a directory")
    {
      return FederationError(.notFound, "it is not there")
    }
    let words = String(text.prefix(300))
    guard Self.isRefusal(text) else { return FederationError(.unavailable, words, retryAfter: .seconds(5)) }
    return FederationError(
      .permissionDenied, "the store refuses access (\(words)): look at its secret, and at what it may do there")
  }

  /// Whether a store has said no for good, in the words of rclone's backends: asking again does not help.
  private static func isRefusal(_ text: String) -> Bool {
    let signs = [
      "403 Forbidden", "401 Unauthorized", "status code: 403", "status code: 401", "StatusCode: 403", "StatusCode: 401",
      "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ssh: unable to authenticate",
    ]
    // Some say "forbidden" to those who ask too often.
    guard signs.contains(where: { text.contains($0) }) else { return false }
    let lower = text.lowercased()
    // And a clock that is wrong is set right.
    let passing = ["rate limit", "ratelimit", "too many", "throttl", "slowdown", "requesttimetooskewed"]
    return !passing.contains { lower.contains($0) }
  }
}

/// Reads files over one connection. Its calls block.
public final class RcloneReader {
  private let connection: HTTPConnection
  private let client: RcloneClient

  init(_ connection: HTTPConnection, _ client: RcloneClient) {
    self.connection = connection
    self.client = client
  }

  /// Streams a file's bytes from `offset` on.
  ///
  /// - Parameter root: the store's name with a colon, and the directory in it.
  /// - Throws: `.notFound`, `.unavailable`, `CancellationError`, or what `take` threw; after any but `.notFound` the reader is spent.
  public func read(_ root: String, _ path: String, from offset: Int64, _ take: (ArraySlice<UInt8>) throws -> Void)
    throws
  {
    let headers = offset > 0 ? [("Range", "bytes=\(offset)-")] : []
    let head = try connection.send("GET", "/%5B\(Self.escaped(root))%5D/\(Self.escaped(path))", headers: headers)
    guard head.status == (offset > 0 ? 206 : 200) else {
      let body = try connection.body(head, limit: 1 << 20)
      // Nothing comes after the end.
      if head.status == 416 { return }
      if head.status == 200 {
        throw FederationError(.failedPrecondition, "the store cannot send part of a file")
      }
      throw client.failure(head.status, body)
    }
    try connection.read(head, take)
  }

  /// What the store tells of a file now; nil when there is none.
  ///
  /// - Throws: as `read`.
  public func stat(_ root: String, _ path: String) throws -> RcloneClient.Listed? {
    let answer = try client.call("operations/stat", RcloneClient.statParameters(root, path), over: connection)
    return answer["item"].flatMap { RcloneClient.listed($0) }
  }

  public static func escaped(_ text: String) -> String {
    var escaped = ""
    for byte in text.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e, 0x2f:
        escaped.append(Character(Unicode.Scalar(byte)))
      default: escaped += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
    }
    return escaped
  }
}

/// Cuts a JSON text into the objects that lie at one depth, as its bytes come.
struct JSONObjects {
  /// Of the objects that are wanted: those in the list of `{"list":[{},{}]}` have depth 2.
  let depth: Int
  private var level = 0
  private var isText = false
  private var isEscaped = false
  private var object: [UInt8] = []
  static let objectBytesMax = 1 << 20

  init(depth: Int) { self.depth = depth }

  mutating func read(_ bytes: ArraySlice<UInt8>, _ body: ([UInt8]) throws -> Void) throws {
    for byte in bytes {
      let isInside = level > depth
      if isText {
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isText = false
        }
      } else {
        switch byte {
        case UInt8(ascii: "\""): isText = true
        case UInt8(ascii: "{"), UInt8(ascii: "["): level += 1
        case UInt8(ascii: "}"), UInt8(ascii: "]"): level -= 1
        default: break
        }
      }
      guard isInside || level > depth else { continue }
      object.append(byte)
      guard object.count <= Self.objectBytesMax else {
        throw FederationError(.unavailable, "rclone lists a file with too long a name")
      }
      if level == depth {
        try body(object)
        object.removeAll(keepingCapacity: true)
      }
    }
  }
}
