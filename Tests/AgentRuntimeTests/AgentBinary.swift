import FoundationEssentials

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// The real `fubini-agent` of this build, as a process of its own.
final class AgentBinary {
  /// Beside the test bundle, whichever program loaded that.
  static let path: String = {
    let bundles = CommandLine.arguments.filter { $0.hasSuffix(".xctest") }
    for file in bundles + [AgentProcess.executablePath] {
      guard let slash = file.lastIndex(of: "/") else { continue }
      guard let path = realpath(String(file[..<slash]) + "/fubini-agent", nil) else { continue }
      defer { free(path) }
      if access(path, X_OK) == 0 { return String(cString: path) }
    }
    return "/nonexistent/fubini-agent"
  }()

  let processID: pid_t
  private var isReaped = false

  /// - Parameter log: gets what the program says.
  init(_ arguments: [String], log: String) throws {
    let file = try POSIXFile.open(log, O_WRONLY | O_CREAT | O_APPEND)
    defer { POSIXFile.close(file) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, file, 1)
    posix_spawn_file_actions_adddup2(&actions, file, 2)
    var words: [UnsafeMutablePointer<CChar>?] = ([Self.path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, Self.path, &actions, nil, &words, environ)
    guard code == 0 else { throw POSIXFile.failure("Cannot start \(Self.path)", code) }
    processID = child
  }

  deinit { end(SIGKILL) }

  /// Ends it, and waits for that. Its supervisor and runs go on.
  func end(_ signal: Int32) {
    guard !isReaped else { return }
    isReaped = true
    kill(processID, signal)
    var status: Int32 = 0
    while waitpid(processID, &status, 0) < 0, errno == EINTR {}
  }

  /// Ends the supervisor that listens in a state directory, and with it its runs.
  static func endSupervisor(of stateDirectory: String) {
    let client = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard client >= 0 else { return }
    defer { close(client) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: (stateDirectory + "/supervisor.sock").utf8) }
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(client, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    var peer = [Int32](repeating: 0, count: 3)  // struct ucred: process, user, group
    var size = socklen_t(12)
    guard connected == 0, getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0, peer[0] > 1 else { return }
    kill(peer[0], SIGKILL)
  }
}
