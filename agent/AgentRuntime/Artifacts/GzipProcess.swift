internal import Dispatch
internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// `gzip` as a filter between two descriptors. It sees no file names, inherits no other descriptor and no environment.
struct GzipProcess: Sendable {
  private let processID: pid_t

  static let usualLevel: Int32 = 6

  static let path: String? = ["/usr/bin/gzip", "/bin/gzip"].first { access($0, X_OK) == 0 }

  /// Writing to a filter that died must be an error, not the agent's end.
  private static let ignoreBrokenPipes: Void = { _ = signal(SIGPIPE, SIG_IGN) }()

  /// - Parameter level: 1 to 9; nil: it decompresses.
  /// - Throws: `.failedPrecondition` when this machine has no gzip.
  init(compressingBy level: Int32?, from input: Int32, to output: Int32) throws {
    Self.ignoreBrokenPipes
    guard let path = Self.path else {
      throw FederationError(.failedPrecondition, "This machine has no gzip: install it, artifacts are packed with it")
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Its own SIGPIPE and mask: the agent ignores what a filter must die of.
    var defaults = sigset_t()
    sigemptyset(&defaults)
    sigaddset(&defaults, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
    let arguments = ["gzip", level == nil ? "-dc" : "-nc", level.map { "-\(min(9, max(1, $0)))" } ?? "-q"]
    var vector: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for pointer in vector { free(pointer) } }
    var environment: [UnsafeMutablePointer<CChar>?] = [nil]
    var processID: pid_t = 0
    let code = posix_spawn(&processID, path, &actions, &attributes, &vector, &environment)
    guard code == 0 else { throw POSIXFile.failure("Cannot start gzip", code) }
    self.processID = processID
  }

  /// Waits for its end.
  ///
  /// - Returns: whether it said that all went well.
  func wait() -> Bool {
    var status: Int32 = 0
    while waitpid(processID, &status, 0) < 0 { if errno != EINTR { return false } }
    return status == 0
  }

  /// Waits for its end in the background, when only the end of its output matters.
  func reapLater() {
    let filter = self
    DispatchQueue.global(qos: .utility).async { _ = filter.wait() }
  }

  func kill() { _ = Glibc.kill(processID, SIGKILL) }
}

/// Two ends of a one-way stream; close each once. A socket pair, because that closes on exec from its first moment on.
func makePipe() throws -> (read: Int32, write: Int32) {
  var ends: [Int32] = [0, 0]
  let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
  guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { throw POSIXFile.failure("Cannot make a pipe") }
  return (ends[0], ends[1])
}
