import CPQ
import Dispatch

/// COPY FROM STDIN. It needs a connection without pipeline mode, so other units wait until it is over.
extension PostgresConnection {
  enum CopyState {
    case starting(CheckedContinuation<Void, any Error>)
    case open
    /// A chunk or the end could not be written yet.
    case blocked(chunk: [UInt8]?, CheckedContinuation<Void, any Error>)
    case draining(CheckedContinuation<Void, any Error>)
    case ending(CheckedContinuation<Int, any Error>, PostgresError?, count: Int)
    /// The statement was refused before a row was asked for; the answer's end is still to come.
    case refused
  }

  /// Streams `chunks` (whole or partial lines of the statement's format) into a table, with back-pressure: the next chunk is
  /// asked for when the socket has taken the last one.
  ///
  /// - Returns: the number of rows.
  /// - Throws: `PostgresError`; nothing was written. `.misuse` when other units are on this connection.
  public func copyIn<Chunks: AsyncSequence>(_ sql: String, _ chunks: Chunks) async throws -> Int
  where Chunks.Element == [UInt8] {
    try await withCheckedThrowingContinuation { continuation in queue.async { self.beginCopy(sql, continuation) } }
    var abortReason: String?
    var cause: (any Error)?
    do {
      for try await chunk in chunks {
        try await withCheckedThrowingContinuation { continuation in queue.async { self.put(chunk, continuation) } }
      }
    } catch let error as PostgresError {
      // The server ended it; what it says comes as the answer below.
      cause = error
      abortReason = "the sender stopped"
    } catch {
      cause = error
      abortReason = "the source of the rows failed"
    }
    do {
      let reason = abortReason
      let count = try await withCheckedThrowingContinuation { continuation in
        queue.async { self.endCopy(reason, continuation) }
      }
      if let cause { throw cause }
      return count
    } catch {
      throw cause.map { $0 is PostgresError ? error : $0 } ?? error
    }
  }

  private func beginCopy(_ sql: String, _ continuation: CheckedContinuation<Void, any Error>) {
    guard !isClosed else { return continuation.resume(throwing: PostgresError.lost("")) }
    guard onWire.isEmpty, held.isEmpty, copy == nil, !isCancelling else {
      return continuation.resume(throwing: PostgresError(.misuse, "COPY needs a connection without other units"))
    }
    guard PQexitPipelineMode(handle) == 1, PQsendQuery(handle, sql) == 1 else {
      let error = PostgresError.lost(lastMessage)
      continuation.resume(throwing: error)
      return end(error)
    }
    copy = .starting(continuation)
    flush()
  }

  private func put(_ chunk: [UInt8]?, _ continuation: CheckedContinuation<Void, any Error>) {
    guard case .open = copy else { return continuation.resume(throwing: PostgresError.lost("the COPY is over")) }
    guard let chunk, !chunk.isEmpty else { return continuation.resume() }
    let accepted = chunk.withUnsafeBytes {
      PQputCopyData(handle, $0.bindMemory(to: CChar.self).baseAddress, Int32(clamping: chunk.count))
    }
    switch accepted {
    case 1:
      copy = .draining(continuation)
      flush()
    case 0:
      copy = .blocked(chunk: chunk, continuation)
      flush()
    default:
      continuation.resume(throwing: PostgresError.lost(lastMessage))
    }
  }

  /// The output buffer is empty: room for the next chunk.
  func copyDrained() {
    switch copy {
    case .draining(let continuation):
      copy = .open
      continuation.resume()
    case .blocked(let chunk, let continuation):
      copy = .open
      put(chunk, continuation)
    default: break
    }
  }

  private func endCopy(_ reason: String?, _ continuation: CheckedContinuation<Int, any Error>) {
    guard case .open = copy else { return continuation.resume(throwing: PostgresError.lost("the COPY is over")) }
    copy = .ending(continuation, nil, count: 0)
    guard PQputCopyEnd(handle, reason) == 1 else { return end(PostgresError.lost(lastMessage)) }
    flush()
    // The whole answer may have been read while rows still flowed: then the socket will say nothing more.
    copyReadable()
  }

  /// Answers of a COPY: the go-ahead, an early error, the count at the end.
  func copyReadable() {
    while copy != nil, PQisBusy(handle) == 0, PQstatus(handle) == CONNECTION_OK {
      // While rows flow nothing is to be read. An error that the server has sent meanwhile is answered at the end: until then
      // it throws the rows away, as the protocol wants.
      switch copy {
      case .open, .draining, .blocked: return
      default: break
      }
      guard let result = PQgetResult(handle) else { return copyFinished() }
      defer { PQclear(result) }
      switch PQresultStatus(result) {
      case PGRES_COPY_IN:
        guard case .starting(let continuation) = copy else { return }
        copy = .open
        continuation.resume()
        return
      case PGRES_COMMAND_OK:
        if case .ending(let continuation, let error, _) = copy {
          copy = .ending(continuation, error, count: Int(String(cString: PQcmdTuples(result))) ?? 0)
        }
      default:
        note(PostgresError(result: result))
      }
    }
  }

  private func note(_ error: PostgresError) {
    switch copy {
    case .starting(let continuation):
      copy = .refused
      continuation.resume(throwing: error)
    case .ending(let continuation, _, _): copy = .ending(continuation, error, count: 0)
    default: break
    }
  }

  private func copyFinished() {
    guard PQenterPipelineMode(handle) == 1 else { return end(PostgresError.lost(lastMessage)) }
    switch copy {
    case .ending(let continuation, let error, let count):
      copy = nil
      if let error { continuation.resume(throwing: error) } else { continuation.resume(returning: count) }
    default: copy = nil
    }
    releaseHeld()
  }

  func copyEnded(_ error: PostgresError) {
    switch copy {
    case .starting(let continuation), .blocked(_, let continuation), .draining(let continuation):
      continuation.resume(throwing: error)
    case .ending(let continuation, let first, _): continuation.resume(throwing: first ?? error)
    default: break
    }
    copy = nil
  }
}
