/// One message of an event stream.
struct ServerSentEvent: Equatable, Sendable {
  var event = "message"
  var id: String?
  var data = ""
}

/// Cuts a byte stream into messages, however the bytes are split.
///
/// - Source: WHATWG HTML, "Server-sent events", section "Interpreting an event stream".
struct ServerSentEventParser: Sendable {
  struct TooLarge: Error {}

  private var line: [UInt8] = []
  private var event = ServerSentEvent()
  private var hasData = false
  private var lastID: String?
  private var skipLineFeed = false
  let sizeMax: Int

  init(sizeMax: Int = 64 << 20) { self.sizeMax = sizeMax }

  /// - Throws: `TooLarge` when a message grows beyond the bound.
  mutating func append(_ bytes: some Sequence<UInt8>) throws -> [ServerSentEvent] {
    var messages: [ServerSentEvent] = []
    for byte in bytes {
      if skipLineFeed, byte == 0x0a {
        skipLineFeed = false
        continue
      }
      skipLineFeed = byte == 0x0d
      guard byte == 0x0a || byte == 0x0d else {
        line.append(byte)
        guard line.count + event.data.utf8.count <= sizeMax else { throw TooLarge() }
        continue
      }
      if let message = endLine() { messages.append(message) }
    }
    return messages
  }

  private mutating func endLine() -> ServerSentEvent? {
    defer { line.removeAll(keepingCapacity: true) }
    guard !line.isEmpty else {
      defer {
        event = ServerSentEvent()
        hasData = false
      }
      event.id = lastID
      return hasData ? event : nil
    }
    let colon = line.firstIndex(of: 0x3a) ?? line.endIndex
    let field = String(decoding: line[..<colon], as: UTF8.self)
    var value = colon < line.endIndex ? line[(colon + 1)...] : []
    if value.first == 0x20 { value = value.dropFirst() }
    let text = String(decoding: value, as: UTF8.self)
    switch field {
    case "event": event.event = text
    case "id": lastID = text
    case "data":
      event.data += hasData ? "\n" + text : text
      hasData = true
    default: break
    }
    return nil
  }
}
