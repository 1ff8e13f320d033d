internal import FoundationEssentials
internal import LocalProcess

#if canImport(Glibc)
  internal import Glibc
#endif

/// The embedded set-up's private PostgreSQL: reachable through a unix socket alone, owned by this data directory.
struct LocalPostgres: Sendable {
  /// Absolute.
  var directory: String
  var log: String

  var data: String { directory + "/data" }
  /// A socket's path holds at most 107 bytes.
  var socket: String { directory + "/s" }
  /// libpq's words. The trust is the directory's: only its owner can reach the socket. Quoted, because a path may hold
  /// spaces; what could end the quotes is refused by `LocalSetup.resolve`.
  var conninfo: String { get throws { "host='\(socket)' port=5432 dbname=postgres user='\(try Self.owner)'" } }
  /// - Throws: usage, for a user id without a name: PostgreSQL's `initdb` refuses it.
  static var owner: String {
    get throws {
      if getuid() == 0 { return "postgres" }
      guard let entry = getpwuid(getuid()) else {
        throw CommandFailure(
          .usage,
          """
          The user id \(getuid()) has no name here, and PostgreSQL needs one: run as a user of /etc/passwd, or add a line \
          for this id (in a container: `useradd -u \(getuid()) fubini`).
          """)
      }
      return String(cString: entry.pointee.pw_name)
    }
  }

  /// The newest installed version's binaries.
  static func binaries() throws -> String {
    let base = "/usr/lib/postgresql"
    let versions = ((try? FileManager.default.contentsOfDirectory(atPath: base)) ?? []).compactMap(Int.init).sorted(
      by: >)
    for version in versions where FileManager.default.isExecutableFile(atPath: "\(base)/\(version)/bin/initdb") {
      return "\(base)/\(version)/bin"
    }
    throw CommandFailure(
      .error, "PostgreSQL is not installed: `apt-get install postgresql`, or run scripts/install-prerequisites.sh.")
  }

  /// PostgreSQL refuses root, so root becomes the postgres user for it.
  private func command(_ words: [String]) -> [String] {
    getuid() == 0 ? ["/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] + words : words
  }

  static let environment = ["PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"]

  /// Idempotent: an instance that runs already is left running.
  func start() async throws {
    let binaries = try Self.binaries()
    guard (socket + "/.s.PGSQL.5432").utf8.count <= 107 else {
      throw CommandFailure(.usage, "\(directory) is too long for a unix socket's path: choose a shorter --data-dir.")
    }
    for path in [directory, socket] {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      chmod(path, 0o700)
    }
    if getuid() == 0 {
      guard let user = getpwnam("postgres") else {
        throw CommandFailure(.error, "There is no user postgres; reinstall the package postgresql.")
      }
      for path in [directory, socket] { chown(path, user.pointee.pw_uid, user.pointee.pw_gid) }
    }
    if postmaster() != nil { return }
    if !FileManager.default.fileExists(atPath: data + "/PG_VERSION") {
      if getuid() == 0 { try await requireTraversable(binaries) }
      // A cluster that was half made by an initdb that died is made anew beside it, and moved when it is whole.
      let fresh = directory + "/data.new"
      try await ChildProcess.run(
        command(["/bin/rm", "-rf", fresh]), environment: Self.environment, log: log, timeout: .seconds(30))
      try await ChildProcess.run(
        command([
          "\(binaries)/initdb", "-D", fresh, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N", "-U",
          try Self.owner,
        ]),
        environment: Self.environment, log: log, timeout: .seconds(120))
      guard rename(fresh, data) == 0 else {
        throw CommandFailure(.error, "Cannot create \(data): \(String(cString: strerror(errno)))")
      }
    }
    // Only its own uid may pass the socket directory, so the control plane, which is root or the same user, and nobody else.
    try await ChildProcess.run(
      command([
        "\(binaries)/pg_ctl", "-D", data, "-l", directory + "/postgres.log", "-w", "-t", "60", "-o",
        "-c listen_addresses='' -c unix_socket_directories='\(socket)' -c unix_socket_permissions=0700 -c port=5432",
        "start",
      ]), environment: Self.environment, log: log, timeout: .seconds(90))
  }

  private func requireTraversable(_ binaries: String) async throws {
    do {
      try await ChildProcess.run(
        command(["/usr/bin/test", "-w", directory]), environment: Self.environment, log: log, timeout: .seconds(10))
    } catch {
      throw CommandFailure(
        .usage,
        "The user postgres cannot enter \(directory): choose a --data-dir below directories that others may pass (chmod o+x)."
      )
    }
  }

  /// The postmaster of this data directory, proven by its command's working directory.
  func postmaster() -> ProcessIdentity? {
    guard let text = FileManager.default.contents(atPath: data + "/postmaster.pid") else { return nil }
    let pid = String(decoding: text, as: UTF8.self).split(separator: "\n").first.flatMap { Int32($0) }
    guard let pid, let identity = ProcessIdentity(pid: pid),
      let cwd = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd"), cwd == data
    else { return nil }
    return identity
  }

  /// SIGINT is PostgreSQL's "fast" shutdown: sessions end, everything is flushed.
  func stop() async { await postmaster()?.end(SIGINT, grace: .seconds(60)) }
}
