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
    var owners: [RunID: String] = [:]
    do {
      for try await chunk in request {
        let run = RunID(chunk.runID)
        if owners[run] == nil {
          guard let access = await port.access(of: run, on: cluster) else { throw notYours(run, cluster) }
          // Bounded: a stream that serves very many runs asks again.
          if owners.count >= 10_000 { owners.removeAll() }
          owners[run] = access.workflowUID
        }
        let position = try await logs.append(run, offset: chunk.offset, bytes: Array(chunk.data), last: chunk.last)
        if position.isComplete {
          try await store.recordLog(
            LogRecord(
              run: run, workflowUID: owners[run]!, location: "logs/\(run.hexadecimal)",
              size: ByteCount(position.offset),
              isComplete: true))
        }
        try await response.write(
          .with {
            $0.runID = chunk.runID
            $0.offset = position.offset
            $0.complete = position.isComplete
          })
      }
    } catch let error as FederationError {
      throw RPCError(error)
    }
  }

  // MARK: Artifacts

  func getArtifact(
    request: Fubini_Agent_V1_GetArtifactRequest, response: RPCWriter<Fubini_Agent_V1_ArtifactChunk>,
    context: ServerContext
  ) async throws {
    let cluster = try authenticated().cluster
    do {
      let access = try await access(to: RunID(request.runID), cluster)
      let download = try await artifacts.get(
        try ArtifactKey(project: access.project, path: request.key), from: max(0, request.offset))
      do {
        while let bytes = try await download.next() {
          try await response.write(.with { $0.data = Data(bytes) })
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
      let access = try await access(to: RunID(start.runID), cluster)
      let upload = try await artifacts.put(try ArtifactKey(project: access.project, path: start.key))
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

  private func access(to run: RunID, _ cluster: ClusterName) async throws -> RunAccess {
    guard let access = await port.access(of: run, on: cluster) else { throw notYours(run, cluster) }
    return access
  }

  /// The same answer whether the run is another cluster's or nobody's: a cluster learns nothing of the others.
  private func notYours(_ run: RunID, _ cluster: ClusterName) -> FederationError {
    FederationError(.permissionDenied, "run \(run.hexadecimal) was not given to cluster \(cluster)")
  }
}
