internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import GRPCCore
internal import SwiftProtobuf
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// In whose name the repository is asked.
struct RepositoryAsker: Sendable, Hashable {
  /// nil: by an order of the control plane.
  var run: RunID?
  var project: ProjectName
}

/// The control plane's artifact repository, as runs and orders may use it.
protocol ArtifactRepository: Sendable {
  /// Streams an object's bytes from `offset` on.
  ///
  /// - Throws: `.unavailable` when it may work later; `.notFound`, `.permissionDenied` for good.
  func get(
    _ key: String, for asker: RepositoryAsker, from offset: Int64, _ receive: (Data) async throws -> Void
  ) async throws
  /// Streams a file; it becomes visible only when whole and verified. Idempotent; what a key held before is replaced, because
  /// a node that is tried again stores under the same key. What an earlier call brought of the same file before it was cut is not
  /// sent again, where the control plane can keep it.
  func put(_ file: PackedFile, as key: String, for asker: RepositoryAsker) async throws
  /// Whether an object that is named by its content is there, whole; false where the control plane cannot say.
  func holds(_ pack: DatasetManifest.Pack, for asker: RepositoryAsker) async throws -> Bool
}

extension ArtifactRepository {
  func holds(_ pack: DatasetManifest.Pack, for asker: RepositoryAsker) async throws -> Bool { false }
}

/// The connection that the session holds at present; other calls share it.
final class ConnectionSlot: Sendable {
  struct Connection: Sendable {
    var client: any Wire.Client
    /// Capability `resumableUploads` of the session.
    var resumesUploads: Bool
    /// Capability `data`.
    var keepsUnstored = false
  }
  private let connection = Mutex<Connection?>(nil)

  func set(_ connection: Connection?) { self.connection.withLock { $0 = connection } }

  /// Whether a session that goes on, or went on last, can order outputs into the repository later.
  var keepsUnstored: Bool { connection.withLock { $0?.keepsUnstored } ?? false }

  /// - Throws: `.unavailable` while there is no session.
  func current() throws -> Connection {
    guard let connection = connection.withLock({ $0 }) else {
      throw FederationError(.unavailable, "There is no session with the control plane", retryAfter: .seconds(1))
    }
    return connection
  }
}

/// The repository over the agent's gRPC connection, at the agent's transfer limit.
struct RemoteArtifactRepository: ArtifactRepository {
  static let chunkBytes = 256 << 10
  let connection: ConnectionSlot
  let meter: TransferMeter

  func get(
    _ key: String, for asker: RepositoryAsker, from offset: Int64, _ receive: (Data) async throws -> Void
  ) async throws {
    let client = try connection.current().client
    let request = Fubini_Agent_V1_GetArtifactRequest.with {
      $0.runID = asker.run?.number ?? 0
      if asker.run == nil { $0.project = asker.project.text }
      $0.key = key
      $0.offset = offset
    }
    // The handler must be Sendable and escaping; the chunks are handed over one at a time through a rendezvous of depth one.
    let (chunks, continuation) = AsyncThrowingStream.makeStream(of: (Data, CheckedContinuation<Void, Never>).self)
    let meter = meter
    let transfer = Task {
      do {
        try await client.getArtifact(request) { response in
          for try await chunk in response.messages {
            try await meter.take(chunk.data.count)
            await withCheckedContinuation { taken in
              if case .terminated = continuation.yield((chunk.data, taken)) { taken.resume() }
            }
            try Task.checkCancellation()
          }
        }
        continuation.finish()
      } catch { continuation.finish(throwing: GatewayErrors.translate(error)) }
    }
    defer { transfer.cancel() }
    for try await (data, taken) in chunks {
      defer { taken.resume() }
      try await receive(data)
    }
    try Task.checkCancellation()
  }

  func put(_ file: PackedFile, as key: String, for asker: RepositoryAsker) async throws {
    let connection = try connection.current()
    do {
      var start = Fubini_Agent_V1_PutArtifactStart.with {
        $0.runID = asker.run?.number ?? 0
        if asker.run == nil { $0.project = asker.project.text }
        $0.key = key
      }
      if connection.resumesUploads {
        start.size = file.size
        start.sha256 = file.sha256
        start.offset = min(file.size, max(0, try await connection.client.findUpload(start).offset))
      }
      let reply = try await send(file, start, connection.client)
      guard reply.size == file.size, reply.sha256 == file.sha256 else {
        throw FederationError(
          .unavailable, "The artifact repository stored other bytes than were sent", retryAfter: .seconds(1))
      }
    } catch { throw GatewayErrors.translate(error) }
  }

  func holds(_ pack: DatasetManifest.Pack, for asker: RepositoryAsker) async throws -> Bool {
    let connection = try connection.current()
    guard connection.resumesUploads else { return false }
    do {
      return try await connection.client.findUpload(
        .with {
          $0.runID = asker.run?.number ?? 0
          if asker.run == nil { $0.project = asker.project.text }
          ($0.key, $0.size, $0.sha256) = (pack.key, pack.size, pack.sha256)
        }
      ).offset == pack.size
    } catch { throw GatewayErrors.translate(error) }
  }

  private func send(
    _ file: PackedFile, _ start: Fubini_Agent_V1_PutArtifactStart, _ client: any Wire.Client
  ) async throws -> Fubini_Agent_V1_PutArtifactReply {
    let meter = meter
    return try await client.putArtifact { writer in
      try await writer.write(.with { $0.start = start })
      let descriptor = try POSIXFile.open(file.path, O_RDONLY)
      defer { POSIXFile.close(descriptor) }
      guard lseek(descriptor, off_t(start.offset), SEEK_SET) >= 0 else {
        throw POSIXFile.failure("Cannot read \(file.path)")
      }
      while true {
        let bytes = try await BlockingWork.run { try POSIXFile.read(descriptor, upTo: Self.chunkBytes) }
        if bytes.isEmpty { break }
        try await meter.take(bytes.count)
        try await writer.write(.with { $0.data = Data(bytes) })
      }
      try await writer.write(
        .with {
          $0.end = .with {
            $0.size = file.size
            $0.sha256 = file.sha256
          }
        })
    }
  }
}

/// gRPC's errors in the one vocabulary.
enum GatewayErrors {
  static func translate(_ error: any Error) -> any Error {
    if error is CancellationError || error is FederationError { return error }
    guard let error = error as? RPCError else {
      return FederationError(.unavailable, "The connection to the control plane failed", cause: error)
    }
    var failure = FederationError(error)
    // A cut stream comes as any of these: the transport's state, not the federation's word.
    if error.code == .unknown || error.code == .internalError || error.code == .cancelled {
      failure.code = .unavailable
    }
    // A limit that time does not lift: the control plane names a delay whenever waiting helps.
    if error.code == .resourceExhausted, failure.retryAfter == nil { failure.code = .failedPrecondition }
    if failure.publicMessage.isEmpty { failure.publicMessage = "the control plane answered \(error.code)" }
    return failure
  }
}
