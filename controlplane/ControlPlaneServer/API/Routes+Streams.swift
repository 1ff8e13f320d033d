import ControlPlaneCore
import ControlPlaneStore
import DequeModule
import FederationAPI
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore
import WorkflowCore

extension APIServer {
  var streamRoutes: [Route] {
    let workflow = "/v1/projects/:p/workflows/:w"
    return [
      Route(.get, "\(workflow)/events", .project(.read, .workflow), "A workflow's history, or its changes as a stream.")
      {
        request, context in
        guard request.wantsEventStream else { return try await history(request, context) }
        let uid = try await self.workflow(context).uid
        return EventStreamWriter.response(watch(uid, lastEventID: request.headers[.lastEventID]))
      },
      Route(.get, "\(workflow)/logs", .project(.read, .workflow), "The output of a node's run.") {
        try await logs($0, $1)
      },
      Route(
        .get, "\(workflow)/nodes/:node/artifacts/:name", .project(.read, .artifact),
        "An output artifact's stored bytes."
      ) {
        try await artifact($0, $1)
      },
      Route(
        .post, "\(workflow)/nodes/:node/artifacts/:name/store", .project(.update, .artifact),
        "Has an output copied into the repository that is in a cluster's cache alone."
      ) { try await storeArtifact($0, $1) },
      Route(
        .put, "/v1/projects/:p/artifacts/**", .project(.create, .artifact), "Uploads an artifact for workflows to use."
      ) {
        try await upload($0, $1)
      },
    ]
  }

  // MARK: Events

  private func history(_ request: Request, _ context: APIContext) async throws -> Response {
    let head = try await workflow(context)
    let limit = try request.limit()
    let after = try request.query("continue").map { try Cursor.number($0) } ?? 0
    let rows = try await services.store.events(of: head.id, after: after, limit: limit)
    return try .json(
      EventList(
        items: rows.map { EventDocument($0.sequence, $0.row) },
        next: rows.count == limit ? rows.last.map { String($0.sequence) } : nil))
  }

  // MARK: Logs

  /// A run's output. With `follow` it goes on to the end; a node that has no run yet is waited for, as long as the workflow
  /// lasts, with comments that keep the connection alive.
  private func logs(_ request: Request, _ context: APIContext) async throws -> Response {
    let head = try await workflow(context)
    // A stream that broke goes on after the last byte that came; a query says more exactly what is wanted.
    let offset =
      try (request.query("offset") ?? (request.wantsEventStream ? request.headers[.lastEventID] : nil))
      .map { try Cursor.number($0) } ?? 0
    let isFollowing = request.query("follow") == "true"
    let choice = try RunChoice(request)
    let found = try await choice.run(in: head, services.store)
    guard found != nil || isFollowing else {
      throw FederationError(
        .failedPrecondition, "this node has no run yet; ask again when it has been placed, or follow",
        retryAfter: .seconds(1))
    }
    let services = services
    guard request.wantsEventStream else {
      return Response(
        status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
        body: ResponseBody { writer in
          try services.changes.enter()
          defer { services.changes.leave() }
          if let run = try await awaited(found, choice, head, idle: {}) {
            let source = LogSource(services: services, run: run, isFollowing: isFollowing)
            _ = try await source.read(from: offset) {
              try await writer.write(ByteBuffer(bytes: $0.bytes))
            } idle: {
            }
          }
          try await writer.finish(nil)
        })
    }
    return EventStreamWriter.response { events in
      try services.changes.enter()
      defer { services.changes.leave() }
      var stream = events
      guard let run = try await awaited(found, choice, head, idle: { try await stream.comment() }) else {
        return try await stream.end(services.changes.isClosed ? "shutdown" : "finished")
      }
      var cut = IncompleteCharacter()
      let source = LogSource(services: services, run: run, isFollowing: isFollowing)
      let reason = try await source.read(from: offset) { slice in
        let (start, bytes) = cut.join(slice.bytes, at: slice.offset)
        guard !bytes.isEmpty else { return }
        try await stream.send("log", id: String(start + Int64(bytes.count)), LogDocument(bytes, at: start))
      } idle: {
        try await stream.comment()
      }
      // A character that the log's end cut off is told as it is; a log that goes on tells it whole when the reader is back.
      if reason == "finished", let (start, bytes) = cut.rest {
        try await stream.send("log", id: String(start + Int64(bytes.count)), LogDocument(bytes, at: start))
      }
      try await stream.end(reason)
    }
  }

  /// `found`, or the first run that the node gets; nil when it never will, or this process ends.
  private func awaited(
    _ found: RunID?, _ choice: RunChoice, _ head: WorkflowHead,
    idle: @concurrent () async throws -> Void
  ) async throws -> RunID? {
    if let found { return found }
    while true {
      let version = services.changes.version
      guard !services.changes.isClosed, let head = try await services.store.workflowHead(uid: head.uid) else {
        return nil
      }
      if let run = try await choice.run(in: head, services.store) { return run }
      if try await choice.isOver(in: head, services.store) { return nil }
      // A busy federation commits all the time; there are at most five looks a second.
      try await Task.sleep(for: .milliseconds(200))
      let waited = ContinuousClock.now
      await services.changes.wait(after: version, timeout: .seconds(10))
      if .now - waited >= .seconds(10) { try await idle() }
    }
  }

  // MARK: Artifacts

  private func storedArtifact(of head: WorkflowHead, _ context: APIContext) async throws -> StoredArtifact {
    let nodeName = try context.parameter("node")
    let name = try context.parameter("name")
    guard let node = try await services.store.node(of: head.id, named: nodeName),
      let artifact = node.outputs.artifacts[name]
    else {
      throw FederationError(.notFound, "node \(nodeName) has no output artifact \(name)")
    }
    return artifact
  }

  /// Has an output copied into the repository that is in a cluster's cache alone.
  private func storeArtifact(_ request: Request, _ context: APIContext) async throws -> Response {
    let head = try await workflow(context)
    let artifact = try await storedArtifact(of: head, context)
    guard artifact.isUnstored == true else { return try .json(MovementDocument()) }
    let reply = try await services.commands.perform(
      .storeArtifact(repositoryKey: artifact.key, head.project), as: try context.signedIn().principal,
      idempotency: try Self.idempotency(request, []))
    guard case .transfer(let id) = reply else { return try .json(MovementDocument()) }
    return try .json(MovementDocument(transfer: id.hexadecimal))
  }

  /// Why an artifact is not in the repository; nil: nobody knows.
  private func missing(
    _ artifact: StoredArtifact, named name: String, of project: ProjectName
  ) async throws -> FederationError? {
    if artifact.isUnstored == true {
      return FederationError(
        .unavailable,
        "artifact \(name) is on cluster \(artifact.producedOn?.text ?? "-") alone; `fubini cp` has it copied into the repository",
        retryAfter: .seconds(2))
    }
    guard let deleted = try await services.store.artifactDeletion(artifact.key, of: project) else { return nil }
    let moment = RFC3339.format(deleted.at)
    if deleted.isByDocument {
      return FederationError(
        .notFound,
        "artifact \(name) was deleted at \(moment), when its workflow was over: its document says so "
          + "(`artifactGC: {strategy: OnWorkflowCompletion}`). Submit the workflow again, without that, to keep it")
    }
    return FederationError(
      .notFound,
      "artifact \(name) was deleted at \(moment): artifacts are kept for as long as `retention.artifactDays` of the "
        + "control plane says. Submit the workflow again to make it anew")
  }

  private func artifact(_ request: Request, _ context: APIContext) async throws -> Response {
    let head = try await workflow(context)
    let artifact = try await storedArtifact(of: head, context)
    let offset = try request.query("offset").map { try Cursor.number($0, "offset") } ?? 0
    return try await download(artifact, named: try context.parameter("name"), of: head.project, from: offset)
  }

  /// Why the bytes of an artifact are not to be had here.
  static func elsewhere(_ name: String, _ origin: DataOrigin) -> FederationError {
    FederationError(
      .failedPrecondition,
      "artifact \(name) lies elsewhere, and is fetched from there: \(origin.uri.prefix { $0 != "?" })")
  }

  /// An artifact's stored bytes as an answer.
  ///
  /// - Parameter isAttachment: with the name of a file, as browsers and Argo's clients take it.
  func download(
    _ artifact: StoredArtifact, named name: String, of project: ProjectName, from offset: Int64 = 0,
    isAttachment: Bool = false
  ) async throws -> Response {
    if let origin = artifact.origin { throw Self.elsewhere(name, origin) }
    let key = try ArtifactKey(project: project, path: artifact.key)
    let download: any ArtifactDownload
    do { download = try await services.artifacts.get(key, from: offset) } catch let error as FederationError
      where error.code == .notFound
    {
      throw try await missing(artifact, named: name, of: project) ?? error
    }
    var headers: HTTPFields = [
      .contentType: "application/octet-stream", .artifactSHA256: artifact.sha256,
      .artifactArchive: artifact.archive.rawValue,
    ]
    if isAttachment {
      let ending = artifact.archive == .none ? "" : artifact.archive == .tar ? ".tgz" : ".zip"
      let file = (artifact.key.split(separator: "/").last.map(String.init) ?? name).filter { $0 != "\"" && $0 != "\\" }
      headers[.contentDisposition] =
        "attachment; filename=\"\(file.hasSuffix(ending) ? file : file + ending)\""
    }
    return Response(
      status: .ok, headers: headers,
      body: ResponseBody { writer in
        do {
          while let bytes = try await download.next() { try await writer.write(ByteBuffer(bytes: bytes)) }
        } catch {
          await download.close()
          throw error
        }
        await download.close()
        try await writer.finish(nil)
      })
  }

  private func upload(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("p"))
    let path = context.parameters.getCatchAll().compactMap { String($0).percentDecoded }.joined(separator: "/")
    guard !path.hasPrefix(DatasetManifest.prefix) else {
      throw FederationError(
        .invalidArgument,
        "artifacts cannot be below \(DatasetManifest.prefix), where data sets are; use another key, or `fubini dataset put`"
      )
    }
    let upload = try await services.artifacts.put(try ArtifactKey(project: project, path: path))
    do {
      for try await buffer in request.body { try await upload.write(Array(buffer: buffer)) }
      let stat = try await upload.finish(size: nil, sha256: request.headers[.artifactSHA256])
      return try .json(
        ArtifactDocument(name: "", key: path, size: stat.size, sha256: stat.sha256, archive: .none), .created)
    } catch {
      await upload.abort()
      throw error
    }
  }
}

extension Request {
  var wantsEventStream: Bool { headers[.accept]?.contains("text/event-stream") == true }
}

extension EventDocument {
  init(_ sequence: Int64, _ row: EventRow) {
    self.init(
      id: sequence, at: row.at.wire, node: row.node?.ordinal, cluster: row.cluster?.text, reason: row.reason,
      message: row.message)
  }
}

/// Which run's log is asked for.
private struct RunChoice: Sendable {
  private var runText: String?
  private var node = ""

  init(_ request: Request) throws {
    runText = request.query("run")
    guard runText == nil else { return }
    guard let name = request.query("node"), !name.isEmpty else {
      throw FederationError(.invalidArgument, "say which node: ?node=NAME")
    }
    node = name
  }

  /// nil: the node has none yet.
  ///
  /// - Throws: `.notFound` when there is no such run or node.
  func run(in head: WorkflowHead, _ store: ControlPlaneStore) async throws -> RunID? {
    if let runText {
      guard let id = RunID(hexadecimal: runText), try await store.run(id)?.task.workflow == head.id else {
        throw FederationError(.notFound, "the workflow has no run \(runText.prefix(32))")
      }
      return id
    }
    guard let node = try await store.node(of: head.id, named: node) else {
      throw FederationError(.notFound, "the workflow has no node \(node.prefix(200))")
    }
    return try await store.latestRuns(of: [node.id], in: head.id)[node.id]?.id
  }

  /// The node has ended without a run, and will not get one.
  func isOver(in head: WorkflowHead, _ store: ControlPlaneStore) async throws -> Bool {
    if head.status.phase.isTerminal { return true }
    return try await store.node(of: head.id, named: node)?.phase.isTerminal == true
  }
}

/// One run's log as a reader sees it: what is stored, then what arrives, to its end.
struct LogSource: Sendable {
  let services: APIServices
  let run: RunID
  let isFollowing: Bool

  /// Where the last lines of what is there now begin.
  func beginning(ofLast lines: Int) async throws -> Int64 {
    var starts: Deque<Int64> = [0]
    var offset: Int64 = 0
    while true {
      let slice = try await services.logs.read(run, from: offset, count: 64 << 10)
      guard !slice.bytes.isEmpty else { break }
      for (index, byte) in slice.bytes.enumerated() where byte == UInt8(ascii: "\n") {
        starts.append(slice.offset + Int64(index) + 1)
        if starts.count > lines + 1 { starts.removeFirst() }
      }
      offset = slice.offset + Int64(slice.bytes.count)
    }
    // A line that has ended is followed by the beginning of one that is not there yet.
    if starts.last == offset { starts.removeLast() }
    return starts.suffix(lines).first ?? offset
  }

  /// Returns why it ended: `finished`, `shutdown`, or (without following) `finished` at what is there now.
  ///
  /// A log is over when the agent has sealed it. Where that never comes (the cluster was lost with it), it is over when the run is.
  @concurrent
  func read(
    from start: Int64, _ write: @concurrent (LogSlice) async throws -> Void, idle: @concurrent () async throws -> Void
  ) async throws -> String {
    var offset = start
    let started = ContinuousClock.now
    while true {
      let position = try await services.logs.position(run)
      if let position, position.offset > offset {
        let slice = try await services.logs.read(run, from: offset, count: 64 << 10)
        if !slice.bytes.isEmpty {
          try await write(slice)
          offset = slice.offset + Int64(slice.bytes.count)
          continue
        }
      }
      if position?.isComplete == true { return "finished" }
      if !isFollowing, try await !isArriving(since: started) { return "finished" }
      if services.changes.isClosed { return "shutdown" }
      if try await isLost() { return "finished" }
      let waited = ContinuousClock.now
      try await services.logs.waitForMore(
        run, than: LogPosition(offset: offset, isComplete: false), timeout: .seconds(5))
      if .now - waited > .seconds(4) { try await idle() }
    }
  }

  /// The output of a run that has just ended follows its end by a moment: who asks right then wants it whole.
  private func isArriving(since started: ContinuousClock.Instant) async throws -> Bool {
    guard .now - started < .seconds(5), let row = try await services.store.run(run) else { return false }
    guard row.phase.isTerminal, row.phase != .lost, row.startedAt != nil, let end = row.finishedAt else { return false }
    return Timestamp.wallClock - end <= Self.lateness
  }

  /// The last chunks follow the end of the run by a moment; a cluster that is gone sends none.
  private static let lateness = Duration.seconds(60)

  private func isLost() async throws -> Bool {
    guard let row = try await services.store.run(run) else { return true }
    guard row.phase.isTerminal, let end = row.finishedAt else { return false }
    return row.phase == .lost || Timestamp.wallClock - end > Self.lateness
  }
}

extension LogDocument {
  fileprivate init(_ bytes: [UInt8], at offset: Int64) {
    if let text = String(validating: bytes, as: UTF8.self) {
      self.init(offset: offset, content: text)
    } else {
      self.init(
        offset: offset, content: String(decoding: bytes, as: UTF8.self), base64: Data(bytes).base64EncodedString())
    }
  }
}

/// Holds back the first bytes of a UTF-8 character whose rest is in the next slice.
private struct IncompleteCharacter {
  private var held: [UInt8] = []
  private var end: Int64 = 0

  /// What is still held, and the offset of its first byte; nil when that is nothing.
  var rest: (offset: Int64, bytes: [UInt8])? { held.isEmpty ? nil : (end - Int64(held.count), held) }

  /// What was held and `bytes`, without an unfinished character at the end, and the offset of its first byte.
  mutating func join(_ bytes: [UInt8], at offset: Int64) -> (offset: Int64, bytes: [UInt8]) {
    var all = held + bytes
    let start = offset - Int64(held.count)
    end = offset + Int64(bytes.count)
    held = []
    // At most three bytes of a character can be there without its last.
    for length in 1...3 where length <= all.count {
      let byte = all[all.count - length]
      guard byte & 0xc0 != 0x80 else { continue }
      let needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
      if needed > length {
        held = Array(all.suffix(length))
        all.removeLast(length)
      }
      break
    }
    return (start, all)
  }
}
