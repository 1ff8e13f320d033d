import Foundation
import Glibc
public import Postgres
import Synchronization

/// A private PostgreSQL for the tests of one process: a temporary directory, a unix socket, no network.
///
/// It ends with the test process, however that ends (``Watchdog``).
public final class PostgresServer: Sendable {
  private struct State {
    var watchdog: Watchdog?
    var databases = 0
  }

  public let directory: String
  private let settings: [String]
  private let state = Mutex(State())
  private static let binaries = "/usr/lib/postgresql/15/bin"
  private static let one = Mutex<Result<PostgresServer, any Error>?>(nil)

  /// The server that all suites of this process share; started at first use.
  public static func shared() throws -> PostgresServer {
    try one.withLock { server in
      if let server { return try server.get() }
      let fresh = Result { try PostgresServer() }
      server = fresh
      return try fresh.get()
    }
  }

  /// A server of its own, for suites that kill it.
  ///
  /// - Parameter settings: `name=value`, beside those that every test's server has.
  public init(settings: [String] = []) throws {
    self.settings = settings
    directory = "/tmp/fubini-pg-\(ProcessInfo.processInfo.processIdentifier)-\(UInt32.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    if getuid() == 0 { try Self.run("/bin/chown", ["postgres:postgres", directory]) }
    let stop = Self.command("pg_ctl", ["-D", data, "-m", "immediate", "-w", "stop"])
    let watchdog = try Watchdog(directory, ending: .command(stop))
    state.withLock { $0.watchdog = watchdog }
    try asOwner("initdb", ["-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N"])
    try start()
  }

  private var data: String { directory + "/data" }

  /// A connection string of a database on this server.
  public func connectionString(database: String) -> String { "host=\(directory) user=postgres dbname=\(database)" }

  public func configuration(database: String = "postgres") -> PostgresConfiguration {
    PostgresConfiguration(connectionString(database: database))
  }

  /// A new, empty database.
  public func createDatabase(template: String = "template0") async throws -> PostgresConfiguration {
    let name = state.withLock { state in
      state.databases += 1
      return "test\(state.databases)"
    }
    let connection = try await PostgresConnection.connect(configuration())
    try await connection.script(["CREATE DATABASE \(name) TEMPLATE \(template)"])
    await connection.close()
    return configuration(database: name)
  }

  public func start() throws {
    try asOwner(
      "pg_ctl",
      [
        "-D", data, "-l", directory + "/log", "-w", "-o",
        (["listen_addresses=''", "max_connections=64"] + settings).map { "-c \($0)" }.joined(separator: " ")
          + " -k \(directory)", "start",
      ])
  }

  public func stopImmediately() throws { try asOwner("pg_ctl", ["-D", data, "-m", "immediate", "-w", "stop"]) }

  /// `kill -9` of the postmaster; its children notice and end. `start` recovers.
  public func kill() async throws {
    let file = try String(contentsOfFile: data + "/postmaster.pid", encoding: .utf8)
    guard let line = file.split(separator: "\n").first, let identifier = pid_t(line) else {
      throw PostgresError(.misuse, "no postmaster.pid")
    }
    _ = Foundation.kill(identifier, SIGKILL)
    // A new postmaster refuses to start while a child still holds the shared memory.
    try await waitUntil("the postmaster's children end") { Self.children(of: self.data).isEmpty }
    // Where nobody reaps the dead postmaster at once, its locks look alive.
    for lock in [data + "/postmaster.pid", directory + "/.s.PGSQL.5432.lock"] {
      try? FileManager.default.removeItem(atPath: lock)
    }
  }

  /// Processes whose working directory is the data directory.
  private static func children(of data: String) -> [String] {
    let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return all.filter { name in
      Int(name) != nil && (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(name)/cwd")) == data
    }
  }

  /// Postgres refuses to run as root; as anybody else it runs as that user.
  private static func command(_ program: String, _ arguments: [String]) -> [String] {
    let path = "\(binaries)/\(program)"
    guard getuid() == 0 else { return [path] + arguments }
    return ["/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", path] + arguments
  }

  private func asOwner(_ program: String, _ arguments: [String]) throws {
    let words = Self.command(program, arguments)
    try Self.run(words[0], Array(words.dropFirst()))
  }

  private static func run(_ program: String, _ arguments: [String]) throws {
    let child = try spawn(program, arguments)
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0, errno == EINTR {}
    guard status == 0 else {
      throw PostgresError(.misuse, "\(program) \(arguments.joined(separator: " ")) ended with wait status \(status)")
    }
  }

  /// Foundation's `Process` waits until every descendant has closed a socket that it hands down, and a server never does.
  private static func spawn(_ program: String, _ arguments: [String]) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    for output: Int32 in [1, 2] { posix_spawn_file_actions_addopen(&actions, output, "/dev/null", O_WRONLY, 0) }
    // The server's user may not be able to enter our working directory.
    let all = ["/bin/sh", "-c", "cd / && exec \"$@\"", "sh", program] + arguments
    var words: [UnsafeMutablePointer<CChar>?] = all.map { strdup($0) } + [nil]
    let variables: [String] = ["PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/tmp"]
    var environment: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
    defer { for text in words + environment { free(text) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, "/bin/sh", &actions, nil, &words, &environment)
    guard code == 0 else { throw PostgresError(.misuse, "\(program) could not be started: \(code)") }
    return child
  }
}

/// Polls until `condition` holds.
///
/// - Throws: `WaitTimeout` with `what` when it does not within `timeout`.
public func waitUntil(
  _ what: String, timeout: Duration = .seconds(20), _ condition: () async throws -> Bool
) async throws {
  let end = ContinuousClock.now + timeout
  while !(try await condition()) {
    guard ContinuousClock.now < end else { throw WaitTimeout(what: what) }
    try await Task.sleep(for: .milliseconds(5))
  }
}

public struct WaitTimeout: Error, CustomStringConvertible {
  public var what: String
  public var description: String { "waited in vain until \(what)" }
}
