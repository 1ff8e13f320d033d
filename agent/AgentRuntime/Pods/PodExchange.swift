internal import Execution
internal import FederationModel
internal import NIOCore
internal import NIOHTTP1

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// One request of a pod, and its answer.
struct PodExchange {
  typealias Parts = NIOAsyncChannelInboundStream<HTTPServerRequestPart>.AsyncIterator
  enum Route: String { case inputs, outputs, stdout, lease, members, farewell }

  let head: HTTPRequestHead
  let store: PodFileStore
  let authority: PodAuthority
  /// CLOCK_BOOTTIME.
  let leaseBegin: UInt64?
  let outbound: NIOAsyncChannelOutboundWriter<HTTPServerResponsePart>

  static let podHeader = "Fubini-Pod"
  /// Of a member of a gang.
  static let rankHeader = "Fubini-Rank"

  func answer(_ parts: inout Parts) async throws {
    do {
      let (run, route) = try admitted()
      let (pod, rank) = try pod()
      try await BlockingWork.run { [store] in try store.claim(run, for: pod, rank: rank) }
      switch (head.method, route) {
      case (.GET, .inputs): try await sendInputs(run)
      case (.GET, .lease): try await sendLease(run)
      case (.GET, .farewell):
        let text = try await BlockingWork.run { [store] in try store.farewell(of: run) }
        try await text == nil ? send(.noContent) : send(.ok, text!)
      case (.GET, .members):
        try await send(.ok, String(try await BlockingWork.run { [store] in try store.members(of: run) }))
      case (.PUT, .outputs):
        try await takeOutputs(run, rank, &parts)
        try await send(.noContent)
      case (.PUT, .stdout):
        let bytes = try await body(&parts, limit: PodFileStore.outputBytesMax)
        try await BlockingWork.run { [store] in try store.takeStandardOutput(bytes, of: run, rank: rank) }
        try await send(.noContent)
      default: try await send(.methodNotAllowed, "this is not done here")
      }
    } catch let error as FederationError {
      try await send(Self.status(of: error), error.publicMessage)
      // Closing on what is still on its way would take the answer from the pod.
      var rest = Self.refusedBytesMax
      while rest > 0, case .body(let buffer)? = try await parts.next(isolation: #isolation) {
        rest -= buffer.readableBytes
      }
    }
  }

  private static let refusedBytesMax = 4 << 20

  private static func status(of error: FederationError) -> HTTPResponseStatus {
    switch error.code {
    // A full disk of the agent's is for a pod to wait for.
    case .resourceExhausted: .insufficientStorage
    // 409 says that another pod was there first, and nothing else.
    case .failedPrecondition: .unprocessableEntity
    default: .init(statusCode: error.code.httpStatus)
    }
  }

  private func pod() throws(FederationError) -> (uid: String, rank: Int?) {
    guard let pod = head.headers.first(name: Self.podHeader), (1...128).contains(pod.utf8.count) else {
      throw FederationError(.invalidArgument, "the request does not say which pod it comes from")
    }
    guard let text = head.headers.first(name: Self.rankHeader) else { return (pod, nil) }
    guard let rank = Int(text) else {
      throw FederationError(.invalidArgument, "the rank \(text.prefix(20)) is no number")
    }
    return (pod, rank)
  }

  /// - Throws: `.unauthenticated` for a token that is not the run's, whether or not there is such a run.
  private func admitted() throws(FederationError) -> (RunID, Route) {
    let words = head.uri.split(separator: "/", omittingEmptySubsequences: false)
    guard words.count == 5, words[0].isEmpty, words[1] == "v1", words[2] == "runs",
      let run = RunID(hexadecimal: words[3]),
      let route = Route(rawValue: String(words[4]))
    else { throw FederationError(.notFound, "there is nothing here") }
    let value = head.headers.first(name: "Authorization") ?? ""
    guard value.hasPrefix("Bearer "), authority.accepts(String(value.dropFirst(7)), for: run) else {
      throw FederationError(.unauthenticated, "the token is not that of run \(run.hexadecimal)")
    }
    return (run, route)
  }

  // MARK: Answers

  private func send(_ status: HTTPResponseStatus, _ text: String = "") async throws {
    let bytes = ByteBuffer(string: text.isEmpty ? "" : text + "\n")
    var headers: HTTPHeaders = ["Connection": "close"]
    if status != .noContent { headers.add(name: "Content-Length", value: String(bytes.readableBytes)) }
    try await outbound.write(.head(.init(version: .http1_1, status: status, headers: headers)))
    if bytes.readableBytes > 0 { try await outbound.write(.body(.byteBuffer(bytes))) }
    try await outbound.write(.end(nil))
  }

  private func sendLease(_ run: RunID) async throws {
    let slice = try await BlockingWork.run { [store] in try store.slice(of: run) }
    guard leaseBegin != nil || slice != nil else {
      throw FederationError(.notFound, "the agent's session has not been alive yet")
    }
    let now = SystemClock.boottimeNanoseconds
    let age = leaseBegin.map { String((now - min(now, $0)) / 1_000_000) } ?? "-"
    try await send(.ok, age + (slice.map { " \($0)" } ?? ""))
  }

  /// A connection that is cut before the end says that not all has come.
  private func sendInputs(_ run: RunID) async throws {
    // What cannot begin is told with a status of its own.
    _ = try await BlockingWork.run { [store] in try store.files(of: run) }
    let pipe = try makePipe()
    async let packed: Void = BlockingWork.run { [store] in
      defer { POSIXFile.close(pipe.write) }
      try store.writeInputs(of: run, to: pipe.write)
    }
    do {
      defer { POSIXFile.close(pipe.read) }
      try await outbound.write(
        .head(
          .init(
            version: .http1_1, status: .ok,
            headers: ["Connection": "close", "Transfer-Encoding": "chunked", "Content-Type": "application/x-tar"])))
      while true {
        let bytes = try await BlockingWork.run { try POSIXFile.read(pipe.read, upTo: 1 << 18) }
        if bytes.isEmpty { break }
        try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: bytes))))
      }
    }
    do { try await packed } catch {
      // The head has gone: an answer cannot be taken back, only not ended.
      throw CutShort(cause: error)
    }
    try await outbound.write(.end(nil))
  }

  private struct CutShort: Error { var cause: any Error }

  // MARK: Bodies

  /// Outputs count only when all of them have come.
  private func takeOutputs(_ run: RunID, _ rank: Int?, _ parts: inout Parts) async throws {
    let scratch = try await BlockingWork.run { [store] in try store.makeScratch(of: run) }
    do {
      try await invite()
      try await unpack(run, &parts, into: scratch)
      try await BlockingWork.run { [store] in try store.putOutputs(of: run, from: scratch, rank: rank) }
    } catch {
      try? await BlockingWork.run { POSIXFile.removeTree(scratch) }
      throw error
    }
    try? await BlockingWork.run { POSIXFile.removeTree(scratch) }
  }

  private func unpack(_ run: RunID, _ parts: inout Parts, into scratch: String) async throws {
    let pipe = try makePipe()
    async let unpacked: Void = BlockingWork.run { [store] in
      defer { POSIXFile.close(pipe.read) }
      try store.unpackOutputs(from: pipe.read, into: scratch)
    }
    var failure: (any Error)?
    do {
      try await read(&parts, limit: store.bodyBytesMax) { buffer in
        try await BlockingWork.run { try POSIXFile.write(pipe.write, Array(buffer.readableBytesView), "outputs") }
      }
    } catch {
      failure = error
    }
    POSIXFile.close(pipe.write)
    // A body that was cut short looks like a short archive: the connection's error comes before what the unpacking says. When it was
    // the unpacking that has ended the reading, its reason counts.
    do { try await unpacked } catch {
      if failure == nil || (failure as? FederationError)?.code == .internal { failure = error }
    }
    if let failure { throw failure }
  }

  private func body(_ parts: inout Parts, limit: Int) async throws -> [UInt8] {
    try await invite()
    var bytes: [UInt8] = []
    try await read(&parts, limit: Int64(limit)) { bytes += $0.readableBytesView }
    return bytes
  }

  /// Says to a pod that waits for it that its body is wanted.
  private func invite() async throws {
    guard head.headers[canonicalForm: "Expect"].contains(where: { $0.lowercased() == "100-continue" }) else { return }
    try await outbound.write(.head(.init(version: .http1_1, status: .continue)))
  }

  private func read(_ parts: inout Parts, limit: Int64, _ take: (ByteBuffer) async throws -> Void) async throws {
    var count: Int64 = 0
    while let part = try await parts.next(isolation: #isolation) {
      switch part {
      case .head: throw FederationError(.invalidArgument, "one request is answered for each connection")
      case .body(let buffer):
        count += Int64(buffer.readableBytes)
        guard count <= limit else {
          throw FederationError(.invalidArgument, "more than \(ByteCount(limit)) are not taken")
        }
        try await take(buffer)
      case .end: return
      }
    }
    throw CutShort(cause: ChannelError.eof)
  }
}
