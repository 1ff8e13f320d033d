internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import GRPCCore
internal import SwiftProtobuf
internal import Synchronization

/// The control plane's artifact repository as one run may use it.
protocol ArtifactRepository: Sendable {
  /// Streams an object's bytes from `offset` on.
  ///
  /// - Throws: `.unavailable` when it may work later; `.notFound`, `.permissionDenied` for good.
  func get(_ key: String, for run: RunID, from offset: Int64, _ receive: (Data) async throws -> Void) async throws
  /// Streams a file; it becomes visible only when whole and verified. Idempotent; what a key held before is replaced, because
  /// a node that is tried again stores under the same key.
  func put(_ file: PackedFile, as key: String, for run: RunID) async throws
}

/// The connection that the session holds at present; other calls share it.
final class ConnectionSlot: Sendable {
  private let client = Mutex<(any Wire.Client)?>(nil)

  func set(_ client: (any Wire.Client)?) { self.client.withLock { $0 = client } }

  /// - Throws: `.unavailable` while there is no session.
  func current() throws -> any Wire.Client {
    guard let client = client.withLock({ $0 }) else {
      throw FederationError(.unavailable, "There is no session with the control plane", retryAfter: .seconds(1))
    }
    return client
  }
}

/// The repository over the agent's gRPC connection, at the agent's transfer limit.
struct RemoteArtifactRepository: ArtifactRepository {
  static let chunkBytes = 256 << 10
  let connection: ConnectionSlot
  let meter: TransferMeter

  func get(_ key: String, for run: RunID, from offset: Int64, _ receive: (Data) async throws -> Void) async throws {
    let client = try connection.current()
    let request = Fubini_Agent_V1_GetArtifactRequest.with {
      $0.runID = run.number
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

  func put(_ file: PackedFile, as key: String, for run: RunID) async throws {
    let client = try connection.current()
    let meter = meter
    do {
      let reply = try await client.putArtifact { writer in
        try await writer.write(
          .with {
            $0.start = .with {
              $0.runID = run.number
              $0.key = key
            }
          })
        let descriptor = try POSIXFile.open(file.path, 0)
        defer { POSIXFile.close(descriptor) }
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
      guard reply.size == file.size, reply.sha256 == file.sha256 else {
        throw FederationError(
          .unavailable, "The artifact repository stored other bytes than were sent", retryAfter: .seconds(1))
      }
    } catch { throw GatewayErrors.translate(error) }
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
