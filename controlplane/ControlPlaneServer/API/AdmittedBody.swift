import HTTPTypes
import Hummingbird
import NIOCore

extension Response {
  /// The same, but for a body that asks before each part whether its reader may still read. It breaks off where that is not so.
  func asking(_ admit: @escaping @Sendable () async throws -> Void) -> Response {
    var response = self
    let body = self.body
    response.body = ResponseBody { writer in
      try await body.write(AdmittedWriter(writer: writer, admit: admit))
    }
    return response
  }
}

private struct AdmittedWriter: ResponseBodyWriter {
  var writer: any ResponseBodyWriter
  let admit: @Sendable () async throws -> Void

  @concurrent
  mutating func write(_ buffer: ByteBuffer) async throws {
    try await admit()
    try await writer.write(buffer)
  }

  @concurrent
  consuming func finish(_ trailers: HTTPFields?) async throws { try await writer.finish(trailers) }
}
