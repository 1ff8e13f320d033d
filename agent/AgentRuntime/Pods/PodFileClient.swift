internal import Execution
internal import FederationModel
internal import NIOSSL
internal import Rclone

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A pod's way to its files. Its calls block; a connection serves one request.
struct PodFileClient: Sendable {
  let run: RunID
  private let host: String
  private let port: Int
  private let token: String
  /// The pod's own UID.
  private let pod: String
  /// Of a member of a gang.
  private let rank: Int?
  private let context: NIOSSLContext
  /// Of an answer that says what is wrong.
  private static let refusalBytesMax = 64 << 10
  static let pieceBytes = 1 << 17

  /// - Parameter authority: PEM; whoever it vouches for by the host's name is the agent.
  init(run: RunID, url: String, authority: String, token: String, pod: String, rank: Int? = nil) throws {
    self.run = run
    self.token = token
    self.pod = pod
    self.rank = rank
    (host, port) = try ExportAccess.address(url)
    context = try Self.context(authority)
  }

  private static func context(_ authority: String) throws -> NIOSSLContext {
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authority.utf8)))
    configuration.minimumTLSVersion = .tlsv13
    return try NIOSSLContext(configuration: configuration)
  }

  /// A connection, for whoever speaks over it.
  static func stream(_ host: String, _ port: Int, authority: String) throws -> TLSByteStream {
    try TLSByteStream(host: host, port: port, context: try context(authority), peer: peer)
  }

  private static let peer = "the agent of this run"

  private func connect() throws -> HTTPConnection {
    HTTPConnection(
      try TLSByteStream(host: host, port: port, context: context, peer: Self.peer), authorization: "Bearer \(token)")
  }

  private var headers: [(String, String)] {
    [(PodExchange.podHeader, pod)] + (rank.map { [(PodExchange.rankHeader, String($0))] } ?? [])
  }

  private func target(_ name: String) -> String { "/v1/runs/\(run.hexadecimal)/\(name)" }

  /// - Throws: what the agent says; a code that is retryable where it makes sense to come again.
  private func check(_ head: HTTPConnection.Head, of connection: HTTPConnection) throws {
    guard !(200..<300).contains(head.status) else { return }
    let text = String(
      decoding: (try? connection.body(head, limit: Self.refusalBytesMax)) ?? [], as: UTF8.self
    ).split(separator: "\n").first.map(String.init)
    let isPassing = head.status >= 500 || head.status == 408 || head.status == 429
    let code: ErrorCode = isPassing ? .unavailable : head.status == 409 ? .alreadyExists : .failedPrecondition
    throw FederationError(code, text ?? "the agent answers \(head.status)")
  }

  /// Unpacks the run's inputs into an empty directory.
  func fetchInputs(into directory: String) throws {
    let connection = try connect()
    defer { connection.close() }
    let head = try connection.send("GET", target("inputs"), headers: headers)
    try check(head, of: connection)
    let pipe = try makePipe()
    let unpacking = BlockingWork.begin {
      defer { POSIXFile.close(pipe.read) }
      var writer = ArchiveWriter(into: try RootedTree(directory), limits: ArchiveLimits())
      try TarReader.unpack(from: pipe.read, into: &writer)
      _ = try writer.finish(exceptTop: nil)
    }
    var failure: (any Error)?
    do { try connection.read(head) { try POSIXFile.write(pipe.write, Array($0), "inputs") } } catch { failure = error }
    POSIXFile.close(pipe.write)
    // A stream that was cut short looks like a short archive to the unpacking, and a failed unpacking like a full pipe to the reading.
    do { try unpacking.wait() } catch {
      if failure == nil || (failure as? FederationError)?.code == .internal { failure = error }
    }
    // A volume of the pod's that is full stays so.
    if let error = failure as? FederationError, error.code == .resourceExhausted {
      throw FederationError(.failedPrecondition, error.publicMessage)
    }
    if let failure { throw failure }
  }

  /// Sends what is at these paths of this container, as a tar stream; what is not there is left out.
  func sendOutputs(_ paths: [String]) throws {
    try put("outputs") { take in
      let pipe = try makePipe()
      let packing = BlockingWork.begin {
        defer { POSIXFile.close(pipe.write) }
        try Self.pack(paths, to: pipe.write)
      }
      do {
        defer { POSIXFile.close(pipe.read) }
        while true {
          let bytes = try POSIXFile.read(pipe.read, upTo: Self.pieceBytes)
          if bytes.isEmpty { break }
          try take(bytes)
        }
      } catch {
        try? packing.wait()
        throw error
      }
      try packing.wait()
    }
  }

  /// Each output under its own path, without the slash at its beginning.
  private static func pack(_ paths: [String], to output: Int32) throws {
    let root = try RootedTree("/")
    let writer = TarWriter(to: output)
    for path in paths {
      let name = path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
      var top: String?
      _ = try TreeWalk.visit(root, path: path, limits: ArchiveLimits()) { found in
        var entry = found
        let own = top ?? found.name
        top = own
        entry.name = name + found.name.dropFirst(own.count)
        try writer.add(entry)
      }
    }
    try writer.finish()
  }

  func sendStandardOutput(_ bytes: [UInt8]) throws { try put("stdout") { try $0(bytes) } }

  private func put(_ name: String, _ body: (([UInt8]) throws -> Void) throws -> Void) throws {
    let connection = try connect()
    defer { connection.close() }
    let head = try connection.upload(target(name), headers: headers, body)
    try check(head, of: connection)
  }

  /// - Returns: milliseconds: since the agent's session was last known to be alive, and of the program's wall time that are held for it;
  ///   nil for what the agent cannot tell.
  func lease() throws -> (ageMs: UInt64?, sliceMs: UInt64?) {
    let connection = try connect()
    defer { connection.close() }
    let head = try connection.send("GET", target("lease"), headers: headers)
    if head.status == 404 { return (nil, nil) }
    try check(head, of: connection)
    let text = String(decoding: try connection.body(head, limit: 64), as: UTF8.self)
    let words = text.split { $0 == " " || $0 == "\n" }
    return (words.first.flatMap { UInt64($0) }, words.dropFirst().first.flatMap { UInt64($0) })
  }

  /// How the program has asked to be told that it must leave; nil: by SIGTERM, as at every other end.
  func farewell() throws -> PodCommand.Farewell? {
    let connection = try connect()
    defer { connection.close() }
    let head = try connection.send("GET", target("farewell"), headers: headers)
    try check(head, of: connection)
    if head.status == 204 { return nil }
    let text = String(decoding: try connection.body(head, limit: 64), as: UTF8.self)
    let words = text.split { $0 == " " || $0 == "\n" }
    guard words.count == 2, let signal = Int32(words[0]), let grace = UInt64(words[1]),
      PreemptionHook.Signal.allCases.contains(where: { $0.number == signal })
    else { return nil }
    return PodCommand.Farewell(signal: signal, graceMs: grace)
  }

  /// How many members of the run's gang have come.
  func members() throws -> Int {
    let connection = try connect()
    defer { connection.close() }
    let head = try connection.send("GET", target("members"), headers: headers)
    try check(head, of: connection)
    let text = String(decoding: try connection.body(head, limit: 64), as: UTF8.self)
    guard let count = Int(text.prefix { $0.isNumber }) else {
      throw FederationError(.unavailable, "the agent does not say how many members there are")
    }
    return count
  }

  // MARK: Again

  /// Tries until it works, it makes no sense any more, or the time is over.
  ///
  /// - Parameter milliseconds: for so long it begins anew.
  static func retrying<Result>(for milliseconds: UInt64, _ body: () throws -> Result) throws -> Result {
    let begin = SystemClock.boottimeNanoseconds
    var pause = 0.25
    while true {
      do { return try body() } catch {
        let isPassing = (error as? FederationError)?.isRetryable ?? false
        guard isPassing, (SystemClock.boottimeNanoseconds - begin) / 1_000_000 < milliseconds else { throw error }
        usleep(UInt32(pause * Double.random(in: 0.7...1.3) * 1_000_000))
        pause = min(10, pause * 2)
      }
    }
  }
}
