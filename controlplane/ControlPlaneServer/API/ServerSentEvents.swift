import FederationAPI
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// Writes a stream of server-sent events.
///
/// - Source: WHATWG HTML, section 9.2 "Server-sent events".
struct EventStreamWriter {
  private var writer: any ResponseBodyWriter
  private let encoder = JSONEncoder()

  init(_ writer: any ResponseBodyWriter) {
    self.writer = writer
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  }

  @concurrent
  mutating func send(_ event: String, id: String? = nil, _ data: some Encodable) async throws {
    var buffer = ByteBuffer()
    buffer.writeString("event: \(event)\n")
    if let id { buffer.writeString("id: \(id)\n") }
    buffer.writeString("data: ")
    // One line: JSON has no raw line breaks.
    buffer.writeBytes(try encoder.encode(data))
    buffer.writeString("\n\n")
    try await writer.write(buffer)
  }

  /// Keeps proxies and clients from taking silence for death.
  @concurrent
  mutating func comment() async throws { try await writer.write(ByteBuffer(string: ": still here\n\n")) }

  @concurrent
  mutating func end(_ reason: String) async throws {
    try await send("end", StreamEndDocument(reason: reason))
    try await writer.finish(nil)
  }

  /// Writes a whole stream.
  typealias Body = @concurrent @Sendable (inout EventStreamWriter) async throws -> Void

  static func response(_ body: @escaping Body) -> Response {
    Response(
      status: .ok, headers: [.contentType: "text/event-stream", .cacheControl: "no-store"],
      body: ResponseBody { writer in
        var events = EventStreamWriter(writer)
        try await body(&events)
      })
  }
}
