internal import FederationModel
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Which Unix user each run belongs to: one small file for each, in the agent's own directory, and all of them in memory.
///
/// As the supervisor's files, they must survive the death of processes and not a loss of power: they are not synced. After that a run
/// without an owner was either never begun, or is found again by its owner's broker.
final class RunOwners: Sendable {
  private let path: String
  private let users: Mutex<[RunID: String]>

  /// Makes the directory (0700) or reads what is there.
  init(path: String) throws {
    self.path = path
    try POSIXFile.makeDirectories(path)
    var users: [RunID: String] = [:]
    for name in try POSIXFile.entries(ofPath: path) {
      guard let id = RunID(hexadecimal: name), let file = try OpenedFile.open(path + "/" + name) else { continue }
      let user = String(decoding: try POSIXFile.readAll(file.descriptor, limit: 64), as: UTF8.self)
      // Torn by a crash: nothing had been made for it yet.
      if UnixUser.isPlainName(user) { users[id] = user }
    }
    self.users = Mutex(users)
  }

  func user(of run: RunID) -> String? { users.withLock { $0[run] } }
  func all() -> [RunID] { users.withLock { Array($0.keys) } }

  /// Durable before it returns. A run keeps the user that it was given first.
  func note(_ run: RunID, _ user: String) throws {
    guard self.user(of: run) == nil else { return }
    let name = path + "/" + run.hexadecimal
    let file = try POSIXFile.open(name + ".new", O_WRONLY | O_CREAT | O_TRUNC)
    defer { POSIXFile.close(file) }
    try POSIXFile.write(file, Array(user.utf8), name)
    guard rename(name + ".new", name) == 0 else { throw POSIXFile.failure("Cannot write \(name)") }
    users.withLock { if $0[run] == nil { $0[run] = user } }
  }

  func forget(_ runs: [RunID]) {
    users.withLock { users in for run in runs { users[run] = nil } }
    for run in runs { unlink(path + "/" + run.hexadecimal) }
  }
}
