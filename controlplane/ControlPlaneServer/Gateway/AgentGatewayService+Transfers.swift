import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FederationPKI
import FoundationEssentials
import GRPCCore
import SwiftProtobuf

extension AgentGatewayService {
  // MARK: Logs

  /// Appends chunks and acknowledges what is durable; an offset that does not follow is answered with the one that does.
  func logs(
    request: RPCAsyncSequence<Fubini_Agent_V1_LogChunk, any Error>, response: RPCWriter<Fubini_Agent_V1_LogAck>,
    context: ServerContext
  ) async throws {
    let cluster = try authenticated().cluster
    let owners = LogOwners(port: port, cluster: cluster)
    let answers = LogAnswers(response)
    let intake = LogIntake { [logs, store] run, chunk in
      let owner = try await owners.workflowUID(of: run)
      let position = try await logs.append(run, offset: chunk.offset, bytes: chunk.bytes, last: chunk.isLast)
      // Of nothing there is nothing to be found again.
      if position.isComplete, position.offset > 0 {
        try await store.recordLog(
          LogRecord(
            run: run, workflowUID: owner, location: "logs/\(run.hexadecimal)", size: ByteCount(position.offset),
            isComplete: true))
      }
      try await answers.write(
        .with {
          $0.runID = run.number
          $0.offset = position.offset
          $0.complete = position.isComplete
        })
    }
    do {
      try await intake.run(
        request.map { chunk in
          (RunID(chunk.runID), LogIntake.Chunk(offset: chunk.offset, bytes: Array(chunk.data), isLast: chunk.last))
        })
    } catch let error as FederationError {
      throw RPCError(error)
    }
  }

  // MARK: Artifacts

  /// Of a download's messages.
  private static var chunkBytes: Int { 32 << 10 }

  func getArtifact(
    request: Fubini_Agent_V1_GetArtifactRequest, response: RPCWriter<Fubini_Agent_V1_ArtifactChunk>,
    context: ServerContext
  ) async throws {
    let cluster = try authenticated().cluster
    do {
      let project = try await project(
        run: request.runID, or: request.project, .read, of: request.key, cluster)
      let download = try await download(
        try ArtifactKey(project: project, path: request.key), from: max(0, request.offset))
      do {
        while let bytes = try await download.next() {
          // A receiver whose disk is slow lets ten messages wait, whatever their size.
          for start in stride(from: 0, to: bytes.count, by: Self.chunkBytes) {
            let piece = Data(bytes[start..<min(bytes.count, start + Self.chunkBytes)])
            try await response.write(.with { $0.data = piece })
          }
        }
      } catch {
        await download.close()
        throw error
      }
      await download.close()
    } catch let error as FederationError {
      throw RPCError(error)
    }
  }

  func putArtifact(
    request: RPCAsyncSequence<Fubini_Agent_V1_PutArtifactMessage, any Error>, context: ServerContext
  ) async throws -> Fubini_Agent_V1_PutArtifactReply {
    let cluster = try authenticated().cluster
    var messages = request.makeAsyncIterator()
    do {
      guard case .start(let start)? = try await messages.next()?.message else {
        throw FederationError(.invalidArgument, "an upload begins with its start message")
      }
      let project = try await project(run: start.runID, or: start.project, .write, of: start.key, cluster)
      let key = try ArtifactKey(project: project, path: start.key)
      if DatasetManifest.isObject(start.key) { try await expectPack(start, of: project) }
      let upload =
        start.sha256.isEmpty
        ? try await artifacts.put(key)
        : try await artifacts.put(
          key, content: ArtifactStat(size: start.size, sha256: start.sha256), from: start.offset)
      do {
        while let message = try await messages.next() {
          switch message.message {
          case .data(let data): try await upload.write(Array(data))
          case .end(let end):
            let stat = try await upload.finish(size: end.size, sha256: end.sha256)
            return .with { ($0.size, $0.sha256) = (stat.size, stat.sha256) }
          case .start, nil: throw FederationError(.invalidArgument, "an upload has one start, its data, and one end")
          }
        }
        throw FederationError(.invalidArgument, "the upload was cut off before its end message")
      } catch {
        await upload.abort()
        throw error
      }
    } catch let error as FederationError {
      throw RPCError(error)
    }
  }

  /// What an agent brings for a data set is what its name says, and goes with what no version needs.
  private func expectPack(_ start: Fubini_Agent_V1_PutArtifactStart, of project: ProjectName) async throws {
    guard start.key == DatasetManifest.path(of: start.sha256), start.size >= 0 else {
      throw FederationError(.invalidArgument, "an object of a data set is named by its SHA-256")
    }
    let pack = DatasetManifest.Pack(key: start.key, sha256: start.sha256, size: start.size)
    try await store.seePacks([pack], of: project, at: now())
  }

  func findUpload(
    request: Fubini_Agent_V1_PutArtifactStart, context: ServerContext
  ) async throws -> Fubini_Agent_V1_UploadPosition {
    let cluster = try authenticated().cluster
    do {
      let project = try await project(run: request.runID, or: request.project, .write, of: request.key, cluster)
      // Who asks for a pack is about to need it: it must not be swept meanwhile.
      if request.runID == 0, DatasetManifest.isObject(request.key) { try await expectPack(request, of: project) }
      let offset = try await artifacts.position(
        of: try ArtifactKey(project: project, path: request.key),
        content: ArtifactStat(size: request.size, sha256: request.sha256))
      return .with { $0.offset = offset }
    } catch let error as FederationError {
      throw RPCError(error)
    }
  }

  /// Whose an object is that a cluster may read or write: by a run that it was given, or (run 0) by an order.
  private func project(
    run: Int64, or project: String, _ use: ObjectUse, of key: String, _ cluster: ClusterName
  ) async throws -> ProjectName {
    if run == 0, !project.isEmpty {
      let project = ProjectName(project.told(253))
      guard await port.mayUse(object: key, of: project, use, on: cluster) else {
        throw FederationError(.permissionDenied, "no order of cluster \(cluster) names the object \(key)")
      }
      return project
    }
    guard let access = await port.access(of: RunID(run), on: cluster) else { throw Self.notYours(RunID(run), cluster) }
    return access.project
  }

  /// What is still in a cache alone is on its way here: whoever asks waits, and is told for what.
  private func download(_ key: ArtifactKey, from offset: Int64) async throws -> any ArtifactDownload {
    do {
      return try await artifacts.get(key, from: offset)
    } catch let error as FederationError where error.code == .notFound {
      guard let holder = await port.unstoredHolder(of: key.path, in: key.project) else {
        // Nobody has it alone any more: it may have come between the two questions.
        return try await artifacts.get(key, from: offset)
      }
      throw FederationError(
        .unavailable, "\(key.path) is on cluster \(holder) alone; waiting for it to be copied into the repository",
        retryAfter: .seconds(1))
    }
  }

  // MARK: Secrets

  /// The values of a secret, for the cluster that needs them at this moment and for no other (invariant I9).
  func getSecret(
    request: Fubini_Agent_V1_GetSecretRequest, context: ServerContext
  ) async throws -> Fubini_Agent_V1_SecretReply {
    let cluster = try authenticated().cluster
    do {
      if !request.exportOf.isEmpty {
        let neighbour = ClusterName(request.exportOf.told(253))
        // Its own: what it lets others in with.
        var isAllowed = neighbour == cluster
        if !isAllowed { isAllowed = await port.mayReadExport(of: neighbour, on: cluster) }
        guard isAllowed else {
          // It may be on its way there.
          throw FederationError(
            .unavailable, "cluster \(neighbour) has nothing now that cluster \(cluster) fetches",
            retryAfter: .seconds(2))
        }
        let values = try await secrets.exportValues(of: neighbour, at: now())
        return .with { $0.values = values }
      }
      if request.runID != 0 { return try await object(of: request, for: cluster) }
      let access = await port.secretAccess(
        of: DataKey(request.dataKey.told(1024)), named: request.name.told(253), on: cluster)
      guard let access else {
        throw FederationError(
          .permissionDenied, "no order of cluster \(cluster) names the secret \(request.name.told(253))")
      }
      let known = try await secrets.values(of: access.secret, in: access.project)
      let values = try access.named(known)
      return .with { $0.values = values }
    } catch let error as FederationError {
      throw RPCError(error)
    }
  }

  /// An object that a run's template names. What the workflow's author wrote decides, and not what an agent asks for.
  private func object(
    of request: Fubini_Agent_V1_GetSecretRequest, for cluster: ClusterName
  ) async throws -> Fubini_Agent_V1_SecretReply {
    let object = ProjectObject(request.configMap ? .configMap : .secret, request.name.told(253))
    let run = RunID(request.runID)
    guard let project = await port.mayRead(object, by: run, on: cluster) else {
      throw FederationError(
        .permissionDenied, "run \(run.hexadecimal) of cluster \(cluster) names no such object as \(object.name)")
    }
    switch object.kind {
    case .secret:
      let values = try await secrets.values(of: object.name, in: project)
      return .with { $0.values = values }
    case .configMap:
      let known = try await store.configMapValues(object.name, of: project)
      return .with {
        $0.values = known.texts
        $0.binary = known.binary.compactMapValues { Data(base64Encoded: $0) }
      }
    }
  }

  /// The same answer whether the run is another cluster's or nobody's: a cluster learns nothing of the others.
  fileprivate static func notYours(_ run: RunID, _ cluster: ClusterName) -> FederationError {
    FederationError(.permissionDenied, "run \(run.hexadecimal) was not given to cluster \(cluster)")
  }
}

/// Whose run a log belongs to, asked once for each run of a stream.
private actor LogOwners {
  private let port: any AgentPort
  private let cluster: ClusterName
  private var known: [RunID: String] = [:]

  init(port: any AgentPort, cluster: ClusterName) {
    self.port = port
    self.cluster = cluster
  }

  /// - Throws: `.permissionDenied` when the run is not of this cluster.
  func workflowUID(of run: RunID) async throws -> String {
    if let uid = known[run] { return uid }
    guard let access = await port.access(of: run, on: cluster) else {
      throw AgentGatewayService.notYours(run, cluster)
    }
    // Bounded: a stream that serves very many runs asks again.
    if known.count >= 10_000 { known.removeAll() }
    known[run] = access.workflowUID
    return access.workflowUID
  }
}

/// Writes one answer after the other.
private actor LogAnswers {
  private let writer: RPCWriter<Fubini_Agent_V1_LogAck>
  private var last: Task<Void, any Error>?
  init(_ writer: RPCWriter<Fubini_Agent_V1_LogAck>) { self.writer = writer }

  func write(_ answer: Fubini_Agent_V1_LogAck) async throws {
    let task = Task { [last, writer] in
      _ = await last?.result
      try await writer.write(answer)
    }
    last = task
    try await task.value
  }
}
