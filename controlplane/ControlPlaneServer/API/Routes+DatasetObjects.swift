import ControlPlaneStore
import FederationAPI
import FederationModel
import HTTPTypes
import Hummingbird
import NIOCore

/// The bytes of uploaded data sets.
extension APIServer {
  var datasetObjectRoutes: [Route] {
    let objects = "/v1/projects/:p/dataset-objects"
    return [
      Route(
        .post, objects, .project(.create, .dataset), "Which packs and manifests of data sets are there, and how far."
      ) {
        try await positions($0, $1)
      },
      Route(
        .put, "\(objects)/:sha256", .project(.create, .dataset), "Uploads a pack or a manifest, or goes on with it."
      ) {
        try await putObject($0, $1)
      },
      Route(
        .get, "\(objects)/:sha256", .project(.read, .dataset), "The bytes of a pack or a manifest, or a part of them."
      ) {
        try await getObject($0, $1)
      },
    ]
  }

  private func positions(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("p"))
    let body = try await request.document(ObjectsRequest.self)
    guard body.objects.count <= 1000 else {
      throw FederationError(.invalidArgument, "at most 1000 objects are asked for at once, not \(body.objects.count)")
    }
    let packs = try body.objects.map { object in
      guard (0...DatasetRepository.objectBytesMax).contains(object.size) else { throw Self.tooLarge(object.size) }
      let key = try DatasetRepository.key(object.sha256, of: project)
      return DatasetManifest.Pack(key: key.path, sha256: object.sha256, size: object.size)
    }
    let offsets = try await services.datasets.positions(of: packs, in: project, at: .wallClock)
    return try .json(ObjectsDocument(offsets: offsets))
  }

  private static func tooLarge(_ size: Int64) -> FederationError {
    FederationError(
      .invalidArgument, "an object has at most \(ByteCount(DatasetRepository.objectBytesMax)), not \(size) bytes")
  }

  /// `size` and `offset` are in the query: the checksum in the path is that of all bytes, wherever this upload begins.
  private func putObject(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("p"))
    let sha256 = try context.parameter("sha256")
    let key = try DatasetRepository.key(sha256, of: project)
    guard let size = try request.query("size").map({ try Cursor.number($0, "size") }) else {
      throw FederationError(.invalidArgument, "say how many bytes the object has: ?size=BYTES")
    }
    guard size <= DatasetRepository.objectBytesMax else { throw Self.tooLarge(size) }
    let offset = try request.query("offset").map { try Cursor.number($0, "offset") } ?? 0
    let pack = DatasetManifest.Pack(key: key.path, sha256: sha256, size: size)
    try await services.store.seePacks([pack], of: project, at: .wallClock)
    let upload = try await services.artifacts.put(key, content: ArtifactStat(size: size, sha256: sha256), from: offset)
    do {
      var position = offset
      for try await buffer in request.body {
        position += Int64(buffer.readableBytes)
        guard position <= size else {
          throw FederationError(.invalidArgument, "more bytes came than the \(size) that were announced")
        }
        try await upload.write(Array(buffer: buffer))
      }
      let stat = try await upload.finish(size: size, sha256: sha256)
      return try .json(ObjectDocument(sha256: stat.sha256, size: stat.size), .created)
    } catch {
      await upload.abort()
      throw error
    }
  }

  private func getObject(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("p"))
    let sha256 = try context.parameter("sha256")
    let offset = try request.query("offset").map { try Cursor.number($0, "offset") } ?? 0
    let length = try request.query("length").map { try Cursor.number($0, "length") }
    let download = try await services.artifacts.get(try DatasetRepository.key(sha256, of: project), from: offset)
    let rest = min(length ?? .max, download.stat.size - offset)
    return Response(
      status: .ok, headers: [.contentType: "application/octet-stream", .artifactSHA256: sha256],
      body: ResponseBody(contentLength: Int(rest)) { writer in
        var left = rest
        do {
          while left > 0, let bytes = try await download.next() {
            let part = bytes.prefix(Int(min(left, Int64(bytes.count))))
            try await writer.write(ByteBuffer(bytes: part))
            left -= Int64(part.count)
          }
        } catch {
          await download.close()
          throw error
        }
        await download.close()
        try await writer.finish(nil)
      })
  }
}
