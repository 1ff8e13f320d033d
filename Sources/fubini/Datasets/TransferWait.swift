internal import FederationAPI
internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#endif

/// Waiting for a transfer, with a word on what it waits for.
enum TransferWait {
  /// Returns when an output is in the repository.
  ///
  /// - Parameter artifact: the path of its route.
  static func untilStored(_ artifact: [String], _ client: APIClient) async throws {
    let answer: MovementDocument
    do {
      answer = try await client.post(artifact + ["store"], body: [String: String]())
    } catch let failure as CommandFailure where failure.message.contains("there is no such route") {
      // A control plane of an earlier release keeps every output in the repository.
      return
    }
    guard let id = answer.transfer else { return }
    _ = try await finished(id, client) { "Waiting for the copy on cluster \($0.cluster)" }
  }

  /// Polls until a transfer is over; tells on standard error when what it waits for changes.
  ///
  /// - Throws: `.error` when it failed or was cancelled.
  static func finished(
    _ id: String, _ client: APIClient, pause: Duration = .milliseconds(500),
    title: (TransferDocument) -> String
  ) async throws -> TransferDocument {
    let isTerminal = isatty(STDERR_FILENO) == 1
    var said = ""
    // What follows the line that is drawn again and again begins a line of its own, also when it says what went wrong.
    defer { if isTerminal, !said.isEmpty { Terminal.write("\n", to: STDERR_FILENO) } }
    var saidAt = ContinuousClock.now - .seconds(60)
    while true {
      let path = ["v1", "projects", client.connection.project, "transfers", id]
      let transfer: TransferDocument = try await client.get(path)
      switch transfer.phase {
      case "done": return transfer
      case "failed", "cancelled":
        throw CommandFailure(
          .error, "\(title(transfer)): \(transfer.phase)\(transfer.message.isEmpty ? "" : ": \(transfer.message)").")
      default: break
      }
      let line = Terminal.printable("\(title(transfer)): \(TransferText.state(transfer))")
      if isTerminal {
        Terminal.write("\r\u{1b}[K" + line, to: STDERR_FILENO)
      } else if transfer.message != said || saidAt.duration(to: .now) >= .seconds(10) {
        Terminal.note(line)
        saidAt = .now
      }
      said = isTerminal ? line : transfer.message
      try await Task.sleep(for: pause)
    }
  }
}

/// Transfers and links as people are shown them.
enum TransferText {
  static func state(_ transfer: TransferDocument) -> String {
    var text = "\(ByteCount(transfer.movedBytes)) of \(ByteCount(transfer.bytes))"
    if let rate = transfer.bytesPerSecond { text += "  \(ByteCount(rate))/s" }
    if let seconds = transfer.etaSeconds { text += "  ETA \(Display.duration(seconds))" }
    if !transfer.message.isEmpty { text += "  \(transfer.message)" }
    return text
  }

  /// What moves, without the project that the command is about.
  static func subject(_ transfer: TransferDocument) -> String {
    if let origin = transfer.origin { return String(origin.prefix { $0 != "?" }) }
    let prefix = "dataset:\(transfer.project)/"
    if transfer.key.hasPrefix(prefix) { return String(transfer.key.dropFirst(prefix.count)) }
    return transfer.key.count > 24 ? transfer.key.prefix(20) + "..." : transfer.key
  }

  static func table(_ transfers: [TransferDocument], isWide: Bool) -> String {
    var table = Table(
      headings: ["ID", "WHAT", "FROM", "TO", "CAUSE", "PHASE", "MOVED", "SIZE", "RATE", "ETA"]
        + (isWide ? ["AGE", "TOOK"] : []) + ["MESSAGE"])
    for transfer in transfers {
      let isOut = transfer.cause == "stage-out" || transfer.cause == "archive"
      var row = [
        transfer.id, subject(transfer), isOut ? transfer.cluster : transfer.source.isEmpty ? "-" : transfer.source,
        isOut ? (transfer.cause == "archive" ? "archive" : "repository") : transfer.cluster, transfer.cause,
        transfer.phase,
        ByteCount(transfer.movedBytes).description, ByteCount(transfer.bytes).description,
        transfer.bytesPerSecond.map { "\(ByteCount($0))/s" } ?? "-",
        transfer.etaSeconds.map(Display.duration) ?? "-",
      ]
      if isWide {
        row += [
          Display.span(transfer.createdAt, nil, now: Display.now),
          Display.span(transfer.startedAt, transfer.finishedAt, now: Display.now),
        ]
      }
      table.rows.append(row + [transfer.message])
    }
    return table.render()
  }
}
