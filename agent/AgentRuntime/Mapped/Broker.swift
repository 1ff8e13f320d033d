internal import ArgumentParser
internal import Execution
internal import FederationModel
internal import SlurmExecutor
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Started through `sudo` by an agent that serves several Unix users: everything that touches one user's files or jobs is done here,
/// with that user's rights and no others. Ends with its agent; jobs go on.
struct BrokerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "broker", abstract: "Submits as this user, for the agent at the other end of standard input.",
    shouldDisplay: false)

  func run() async throws {
    umask(0o077)
    signal(SIGPIPE, SIG_IGN)
    let socket = fcntl(0, F_DUPFD_CLOEXEC, 3)
    guard socket >= 0 else { throw POSIXFile.failure("Cannot use standard input") }
    POSIXFile.close(0)
    // An agent begins at once. `doctor` says nothing, and learns from the answer that the rule is right.
    if await !Broker.serve(socket) { CommandOutput.say(Self.answer(user: getuid())) }
  }

  static func answer(user: UInt32) -> String { "broker of user \(user)" }
}

/// The user's side of a broker: an ordinary Slurm executor of an ordinary user, whose caller is the agent.
final class Broker: Sendable {
  private let executor: SlurmExecutor
  private let files: LocalRunFiles
  private let directory: String

  /// Serves until the agent lets go of the socket.
  ///
  /// - Returns: whether anything was asked.
  static func serve(_ socket: Int32) async -> Bool {
    var wasAsked = false
    let (frames, continuation) = AsyncStream.makeStream(of: BrokerChannel.Frame.self)
    let channel = BrokerChannel(
      socket: socket, received: { continuation.yield($0) }, closed: { _ in continuation.finish() })
    channel.start()
    var broker: Broker?
    for await frame in frames {
      wasAsked = true
      guard case .request(let tag, let request) = try? BrokerMessage.decoded(frame.bytes) else { break }
      if case .begin(let configuration) = request {
        guard broker == nil else { break }
        do {
          let new = try await Broker(configuration)
          broker = new
          Task { for await observation in new.executor.observe() { channel.send(.observation(observation)) } }
          channel.send(.reply(tag, .done))
        } catch { channel.send(.reply(tag, .failed(BrokerFailure(error)))) }
      } else if let broker {
        Task {
          let (reply, file) = await broker.answer(request, frame.file)
          channel.send(.reply(tag, reply), file: file)
        }
      } else {
        break
      }
    }
    channel.close()
    await broker?.executor.close()
    return wasAsked
  }

  private init(_ configuration: SlurmExecutorConfiguration) async throws {
    directory = configuration.sharedDirectory
    if mkdir(directory, 0o700) != 0, errno != EEXIST { throw POSIXFile.failure("Cannot make \(directory)") }
    var status = stat()
    guard lstat(directory, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid() else {
      throw FederationError(.failedPrecondition, "\(directory) is not a directory of user \(geteuid())")
    }
    chmod(directory, 0o700)
    try await Self.takeTurn(directory + "/broker.lock")
    executor = try await SlurmExecutor(configuration: configuration)
    files = LocalRunFiles(executor: executor)
    try POSIXFile.makeDirectories(directory + "/packed")
    for name in (try? POSIXFile.entries(ofPath: directory + "/packed")) ?? [] {
      POSIXFile.removeTree(directory + "/packed/" + name)
    }
  }

  /// The broker of an agent that has just died may still be at its last command. The lock is held for as long as this process lives.
  private static func takeTurn(_ path: String) async throws {
    let lock = try POSIXFile.open(path, O_RDWR | O_CREAT)
    for _ in 0..<200 {
      // Without locks on this file system the fence beside each run is what keeps it from starting twice.
      if flock(lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK { return }
      try await Task.sleep(for: .milliseconds(100))
    }
    POSIXFile.close(lock)
    throw FederationError(.unavailable, "an earlier broker of this user has not ended yet", retryAfter: .seconds(5))
  }

  private func answer(_ request: BrokerRequest, _ file: OpenedFile?) async -> (BrokerReply, OpenedFile?) {
    do {
      switch request {
      case .begin: throw FederationError(.failedPrecondition, "the broker has begun")
      case .prepare(let run): _ = try await executor.prepare(run)
      case .place(let input, let run):
        guard let file else { throw FederationError(.invalidArgument, "no input came") }
        try await files.place(file, as: input, in: run)
      case .submit(var runs, let secrets, let files):
        for (index, values) in zip(runs.indices, secrets) { runs[index].secrets = values }
        for (index, values) in zip(runs.indices, files) { runs[index].privateFiles = values }
        try await executor.submit(runs)
      case .queueAhead(let runs): return (.runs(await executor.queueAhead(runs)), nil)
      case .cancel(let run, let grace, let signal):
        try await executor.cancel(run, grace: .milliseconds(grace), signal: signal)
      case .extend(let slices): try await executor.extend(slices)
      case .reattach(let known): return (.observations(try await executor.reattach(known: known)), nil)
      case .forget(let runs): try await executor.forget(runs)
      case .inventory: return (.inventory(await executor.inventory()), nil)
      case .openLog(let run): return (.done, try await files.openLog(of: run))
      case .openResult(let run): return (.done, try await files.openResult(of: run))
      case .openOutput(let path, let run): return (.done, try await files.openOutput(path, of: run))
      case .pack(let path, let archive, let level, let run):
        return (.done, try await pack(path, archive, level, of: run))
      case .discardRoot(let run): await executor.discardRoot(of: run)
      }
      return (.done, nil)
    } catch { return (.failed(BrokerFailure(error)), nil) }
  }

  /// A file goes as it is; an archive through a file without a name, which is gone with the last descriptor.
  private func pack(
    _ path: String, _ archive: ArchiveFormat, _ level: Int32?, of run: RunID
  ) async throws -> OpenedFile? {
    if archive == .none {
      do { return try await files.openOutput(path, of: run) } catch let error as FederationError
        where error.code == .failedPrecondition
      { throw ArtifactPacking.notAFile(path) }
    }
    let directory = directory + "/packed"
    guard let packed = try await files.pack(path, archive: archive, level: level, of: run, into: directory) else {
      return nil
    }
    return try await BlockingWork.run {
      defer { unlink(packed.path) }
      return try OpenedFile.open(packed.path)
    }
  }
}

extension BrokerChannel {
  /// What cannot be encoded closes the channel: the other side would wait for it.
  func send(_ message: BrokerMessage, file: OpenedFile? = nil) {
    guard let bytes = try? message.encoded() else { return close() }
    send(bytes, file: file)
  }
}
