internal import CSupervisor
internal import Execution
internal import FederationModel
internal import Subprocess
internal import Synchronization
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// One process of a broker, and the requests that it has not answered yet.
final class BrokerConnection: Sendable {
  struct Answer: Sendable {
    var reply: BrokerReply
    var file: OpenedFile?
  }

  private struct State {
    var isOpen = true
    var lastTag: UInt64 = 0
    var waiting: [UInt64: CheckedContinuation<Answer, any Error>] = [:]
    var channel: BrokerChannel?
    /// What `sudo` or the broker said on standard error, once the process has ended.
    var lastWords: String?
    var hasEnded = false
  }

  private let user: BrokerClient.User
  private let state = Mutex(State())
  private let observed: @Sendable (RunObservation) -> Void
  private let closed: @Sendable (BrokerConnection, _ reason: String) -> Void

  /// Starts `command` with a socket as its standard input.
  init(
    user: BrokerClient.User, command: [String], rate: Double,
    observed: @escaping @Sendable (RunObservation) -> Void,
    closed: @escaping @Sendable (BrokerConnection, _ reason: String) -> Void
  ) throws {
    self.user = user
    self.observed = observed
    self.closed = closed
    var ends: [Int32] = [-1, -1]
    let code = csupervisor_socket_pair(&ends)
    guard code == 0 else { throw POSIXFile.failure("Cannot make a socket", -code) }
    // The kernel says of each message who sent it: not sudo's word is taken, but that.
    let channel = BrokerChannel(
      socket: ends[0], peer: user.number, limits: .init(framesPerSecond: rate),
      received: { [weak self] in try self?.received($0) },
      closed: { [weak self] in self?.hasClosed($0) })
    state.withLock { $0.channel = channel }
    let theirs = FileDescriptor(rawValue: ends[1])
    Task { [self] in
      let words = await Self.execute(command, theirs)
      state.withLock { ($0.lastWords, $0.hasEnded) = (words, true) }
      close()
    }
    channel.start()
  }

  /// - Returns: what it said on standard error, when it has ended.
  @concurrent
  private static func execute(_ command: [String], _ input: FileDescriptor) async -> String {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    do {
      let result = try await Subprocess.run(
        .name(command[0]), arguments: Arguments(Array(command.dropFirst())),
        environment: .custom(["PATH": path, "LANG": "C"]),
        input: .fileDescriptor(input, closeAfterSpawningProcess: true), output: .discarded,
        error: .string(limit: 16 << 10))
      let words = result.standardError.split(separator: "\n").suffix(3).joined(separator: "; ")
      return words.isEmpty ? "\(command[0]) ended with \(result.terminationStatus)" : String(words.prefix(400))
    } catch let error as SubprocessError where error.code == .executableNotFound {
      return "there is no program \(command[0]) here"
    } catch { return "\(command[0]) could not be run: \(error)" }
  }

  /// Why the process ended, waited for a moment; nil while it lives.
  func lastWords() async -> String? {
    for _ in 0..<20 {
      if let words = state.withLock({ $0.hasEnded ? $0.lastWords : nil }) { return words }
      try? await Task.sleep(for: .milliseconds(50))
    }
    return nil
  }

  /// - Throws: `.unavailable` when it goes away first, or takes longer than `timeout`: then it is given up.
  func ask(_ request: BrokerRequest, file: OpenedFile? = nil, timeout: Duration) async throws -> Answer {
    let tag = state.withLock { state in
      state.lastTag += 1
      return state.lastTag
    }
    let timer = Task { [weak self] in
      if (try? await Task.sleep(for: timeout)) != nil { self?.expired(tag, timeout) }
    }
    defer { timer.cancel() }
    let answer: Answer = try await withCheckedThrowingContinuation { continuation in
      let channel = state.withLock { state -> BrokerChannel? in
        guard state.isOpen else { return nil }
        state.waiting[tag] = continuation
        return state.channel
      }
      guard let channel else { return continuation.resume(throwing: gone("it is not there")) }
      channel.send(.request(tag, request), file: file)
    }
    if case .failed(let failure) = answer.reply { throw failure.error(of: user.name) }
    return answer
  }

  private func expired(_ tag: UInt64, _ timeout: Duration) {
    guard state.withLock({ $0.waiting[tag] != nil }) else { return }
    hasClosed("no answer within \(timeout)")
    close()
  }

  func close() { state.withLock { $0.channel }?.close() }

  private func gone(_ reason: String) -> FederationError {
    FederationError(.unavailable, "the broker of \(user.name): \(reason)", retryAfter: .seconds(2))
  }

  private func hasClosed(_ reason: String) {
    let waiting = state.withLock { state -> [CheckedContinuation<Answer, any Error>]? in
      guard state.isOpen else { return nil }
      state.isOpen = false
      defer { state.waiting = [:] }
      return Array(state.waiting.values)
    }
    guard let waiting else { return }
    for continuation in waiting { continuation.resume(throwing: gone(reason)) }
    closed(self, reason)
  }

  private struct Unasked: Error {}

  private func received(_ frame: BrokerChannel.Frame) throws {
    switch try BrokerMessage.decoded(frame.bytes) {
    case .request: throw Unasked()
    case .observation(let observation): observed(observation)
    case .reply(let tag, let reply):
      let continuation = state.withLock { $0.waiting.removeValue(forKey: tag) }
      guard let continuation else { throw Unasked() }
      continuation.resume(returning: Answer(reply: reply, file: frame.file))
    }
  }
}
