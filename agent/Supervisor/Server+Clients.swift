internal import CSupervisor
internal import Glibc

/// One connection.
final class Client {
  let socket: Int32
  var input: [UInt8] = []
  var output: [UInt8] = []
  var hasGreeted = false
  var isSubscribed = false
  var waitsForRoom = false
  var isBroken = false
  init(socket: Int32) { self.socket = socket }

  func answer(_ reply: SupervisorReply, tag: UInt32, _ body: [UInt8] = []) {
    output += SupervisorProtocol.frame(reply.rawValue, tag: tag, body)
  }
}

/// Why a command was not carried out.
struct Refusal: Error {
  var code: RefusalCode
  var message: String
  init(_ code: RefusalCode, _ message: String) {
    self.code = code
    self.message = message
  }
}

extension Server {
  static func body(_ id: UInt64, _ end: RunEnd) -> [UInt8] {
    var writer = WireWriter()
    writer.put(id)
    end.encode(into: &writer)
    return writer.bytes
  }

  func tellSubscribers(_ event: SupervisorReply, _ body: [UInt8]) {
    for client in clients.values where client.isSubscribed { client.answer(event, tag: 0, body) }
  }

  func serve(_ client: Client) {
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    let got = read(client.socket, &chunk, chunk.count)
    guard got > 0 else {
      client.isBroken = got == 0 || (errno != EAGAIN && errno != EINTR)
      return
    }
    client.input += chunk[..<got]
    do { try obey(client) } catch { client.isBroken = true }
  }

  private func obey(_ client: Client) throws(WireReader.Malformed) {
    var consumed = 0
    defer { if consumed > 0 { client.input.removeFirst(consumed) } }
    while let frame = try SupervisorProtocol.nextFrame(in: client.input, consumed: &consumed) {
      var reader = WireReader(frame.body)
      do {
        try obey(frame.kind, tag: frame.tag, &reader, for: client)
      } catch {
        let refusal = error as? Refusal ?? Refusal(.malformed, "malformed command \(frame.kind)")
        var writer = WireWriter()
        writer.put(refusal.code.rawValue)
        writer.put(refusal.message)
        client.answer(.refused, tag: frame.tag, writer.bytes)
      }
    }
  }

  private func obey(_ kind: UInt8, tag: UInt32, _ reader: inout WireReader, for client: Client) throws {
    guard let command = SupervisorCommand(rawValue: kind) else { throw Refusal(.malformed, "unknown command \(kind)") }
    guard client.hasGreeted || command == .hello else { throw Refusal(.version, "say hello first") }
    switch command {
    case .hello: try greet(client, tag: tag, &reader)
    case .start:
      let wasStarted = try start(try SupervisedRun(from: &reader))
      client.answer(.accepted, tag: tag, [wasStarted ? 1 : 0])
    case .cancel:
      let (id, grace) = (try reader.number(UInt64.self), try reader.number(UInt64.self))
      cancel(id, graceMs: grace, signal: (try? reader.number(UInt32.self)).map { Int32(clamping: $0) })
      client.answer(.done, tag: tag)
    case .forget:
      let id = try reader.number(UInt64.self)
      guard live[id] == nil, !unproven.contains(id) else { throw Refusal(.alive, "the run is alive") }
      ended[id] = nil
      client.answer(.done, tag: tag)
    case .list:
      for (id, run) in live { client.answer(.started, tag: tag, Self.body(id, run.logBytes)) }
      for id in unproven { client.answer(.started, tag: tag, Self.body(id, 0)) }
      for (id, end) in ended { client.answer(.ended, tag: tag, Self.body(id, end)) }
      client.answer(.done, tag: tag)
    case .subscribe:
      client.isSubscribed = true
      client.answer(.done, tag: tag)
    case .status:
      var writer = WireWriter()
      writer.put(UInt32(live.count + unproven.count))
      writer.put(UInt32(ended.count))
      writer.put(groups.notices)
      writer.put(enclosure != nil)
      writer.put(true)
      client.answer(.status, tag: tag, writer.bytes)
    case .extend:
      extend(try reader.number(), toMs: try reader.number())
      client.answer(.done, tag: tag)
    case .shutdownWhenIdle:
      isLeaving = true
      client.answer(.done, tag: tag)
    }
  }

  private func greet(_ client: Client, tag: UInt32, _ reader: inout WireReader) throws {
    let range = (low: try reader.number(UInt16.self), high: try reader.number(UInt16.self))
    guard range.low <= SupervisorProtocol.version, SupervisorProtocol.version <= range.high else {
      throw Refusal(.version, "this supervisor speaks version \(SupervisorProtocol.version)")
    }
    client.hasGreeted = true
    var writer = WireWriter()
    writer.put(SupervisorProtocol.version)
    writer.put(UInt32(bitPattern: enclosure?.pid ?? getpid()))
    client.answer(.hello, tag: tag, writer.bytes)
  }

  /// Sends what fits. A client that does not read is dropped, because the truth is on disk and it can ask again.
  func flushClients() {
    for client in Array(clients.values) {
      if !client.output.isEmpty, !client.isBroken {
        let put = send(client.socket, client.output, client.output.count, Int32(MSG_NOSIGNAL))
        if put > 0 { client.output.removeFirst(put) } else if put < 0, errno != EAGAIN { client.isBroken = true }
        if client.output.count > Self.clientBacklogBytesMax { client.isBroken = true }
      }
      if client.isBroken {
        clients[client.socket] = nil
        close(client.socket)
      } else if client.waitsForRoom != !client.output.isEmpty {
        client.waitsForRoom = !client.output.isEmpty
        try? watch(client.socket, writing: client.waitsForRoom, again: true)
      }
    }
  }
}
