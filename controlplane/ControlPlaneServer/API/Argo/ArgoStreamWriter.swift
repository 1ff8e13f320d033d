import FederationModel
import HTTPTypes
import Hummingbird
import NIOCore

/// Writes a stream as Argo's server does: server-sent events without names, or one JSON object a line for clients that do not ask for
/// events; either way each object stands in a `result`.
struct ArgoStreamWriter {
  private var writer: any ResponseBodyWriter
  private let isEventStream: Bool

  @concurrent
  mutating func send(_ result: JSONValue) async throws {
    var text = isEventStream ? "data: {\"result\":" : "{\"result\":"
    result.write(to: &text)
    text += isEventStream ? "}\n\n" : "}\n"
    try await writer.write(ByteBuffer(string: text))
  }

  /// Keeps proxies and clients from taking silence for death.
  @concurrent
  mutating func comment() async throws {
    try await writer.write(ByteBuffer(string: isEventStream ? ": still here\n\n" : "\n"))
  }

  static func response(
    to request: Request, _ body: @escaping @concurrent @Sendable (inout ArgoStreamWriter) async throws -> Void
  ) -> Response {
    let isEventStream = request.wantsEventStream
    return Response(
      status: .ok,
      headers: [.contentType: isEventStream ? "text/event-stream" : "application/json", .cacheControl: "no-store"],
      body: ResponseBody { writer in
        var stream = ArgoStreamWriter(writer: writer, isEventStream: isEventStream)
        try await body(&stream)
        try await stream.writer.finish(nil)
      })
  }
}

extension Response {
  static func json(_ value: JSONValue, _ status: HTTPResponse.Status = .ok) -> Response {
    Response(
      status: status, headers: [.contentType: "application/json; charset=utf-8"],
      body: .init(byteBuffer: ByteBuffer(string: value.description)))
  }
}
