internal import CSupervisor
internal import Glibc

/// The files of one run: `started`, `spec`, `exit`, `output.log`, `stdout`.
///
/// Nothing here is fsynced, on purpose. The files must survive the death of any process, and page cache does. They need not
/// survive a loss of power: no run survives that either, so a missing `exit` is answered truthfully by "lost", and the agent's
/// journal, which is synced, remembers the ends that were already told. A torn `exit` fails its checksum and counts as missing.
struct RunDirectory {
  let path: String
  init(stateDirectory: String, id: UInt64) { path = "\(stateDirectory)/runs/\(Self.hexadecimal(id))" }

  static func hexadecimal(_ id: UInt64) -> String {
    let digits = String(id, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
  static func id(fromHexadecimal text: String) -> UInt64? {
    text.utf8.count == 16 ? UInt64(text, radix: 16) : nil
  }

  static let markPrefix = "FUBINI_RUN="

  /// What every process of the run has in its environment unless it takes it away. Of this run of this supervisor alone:
  /// another federation's agent beside it may count its runs as we do (I7).
  var environmentMark: String {
    let name = path[path.index(after: path.lastIndex(of: "/") ?? path.startIndex)...]
    return "\(Self.markPrefix)\(name)-\(Self.hexadecimal(Self.checksum(Array(path.utf8)[...])))"
  }

  var log: String { path + "/output.log" }
  var standardOutput: String { path + "/stdout" }
  var started: String { path + "/started" }
  private var exit: String { path + "/exit" }
  private var spec: String { path + "/spec" }

  /// What `started` says: who started the run, in which boot.
  struct Mark: Equatable {
    /// The run's leader; 0 when it has none yet, or when its supervisor's namespace is the proof of its death.
    var pid: Int32 = 0
    var startTicks: UInt64 = 0
    var bootID = ""
    var isSandboxed = true
    /// The supervisor, as the first process of its PID namespace is known outside; 0 when it was no such process.
    var enclosurePid: Int32 = 0
    var enclosureStartTicks: UInt64 = 0
    /// Node and job of a batch step, for people; empty on a process cluster.
    var place = ""
  }

  /// The fence of I1: creates `started`, or fails with EEXIST when any supervisor ever started this run.
  ///
  /// The descriptor holds an exclusive lock that the run's processes inherit: as long as one of them lives, nobody else gets it.
  func claim() throws(SystemFailure) -> Int32 {
    try Files.makeDirectory(path)
    let file = try Files.open(started, O_RDWR | O_CREAT | O_EXCL)
    if flock(file, LOCK_EX | LOCK_NB) != 0 { throw SystemFailure("lock \(started)") }
    return file
  }

  /// Takes the claim back. Only right after `claim`, by its caller, while nothing was spawned (I1).
  func abandonClaim() { unlink(started) }

  /// May be called again: every mark has the same length within one boot.
  func writeMark(_ mark: Mark, to file: Int32) throws(SystemFailure) {
    guard lseek(file, 0, SEEK_SET) == 0 else { throw SystemFailure("seek in \(started)") }
    var writer = WireWriter()
    writer.put(mark.pid)
    writer.put(mark.startTicks)
    writer.put(mark.bootID)
    writer.put(mark.isSandboxed)
    writer.put(mark.enclosurePid)
    writer.put(mark.enclosureStartTicks)
    writer.put(mark.place)
    try Files.writeAll(file, writer.bytes)
  }

  /// nil when the run was never started. Empty when the supervisor died right after claiming: then nothing was spawned.
  func readMark() -> Mark? {
    guard let bytes = Files.read(started, limit: 1024) else { return nil }
    var reader = WireReader(bytes[...])
    do {
      var mark = Mark(
        pid: try reader.number(), startTicks: try reader.number(), bootID: try reader.text(),
        isSandboxed: try reader.flag())
      // Supervisors of the first version ended here.
      if !reader.isAtEnd {
        mark.enclosurePid = try reader.number()
        mark.enclosureStartTicks = try reader.number()
      }
      if !reader.isAtEnd { mark.place = try reader.text() }
      return mark
    } catch { return Mark() }
  }

  /// Whether no process holds the lock that `claim` took.
  func lockIsFree() -> Bool {
    let file = csupervisor_open(started, O_RDWR, 0)
    guard file >= 0 else { return true }
    defer { close(file) }
    return flock(file, LOCK_EX | LOCK_NB) == 0
  }

  /// Kept for people and for post-mortems; without the environment, which may hold secrets.
  func writeSpec(_ run: SupervisedRun) throws(SystemFailure) {
    var copy = run
    copy.environment = []
    copy.privateFiles = []
    var writer = WireWriter()
    copy.encode(into: &writer)
    let file = try Files.open(spec, O_WRONLY | O_CREAT | O_TRUNC)
    defer { close(file) }
    try Files.writeAll(file, writer.bytes)
  }

  func writeEnd(_ end: RunEnd) throws(SystemFailure) {
    var writer = WireWriter()
    end.encode(into: &writer)
    let sum = Self.checksum(writer.bytes[...])
    writer.put(sum)
    try Files.replace(exit, with: writer.bytes)
  }

  func readEnd() -> RunEnd? {
    guard let bytes = Files.read(exit, limit: 16 << 10), bytes.count > 8 else { return nil }
    let body = bytes[..<(bytes.count - 8)]
    var tail = WireReader(bytes[(bytes.count - 8)...])
    var reader = WireReader(body)
    guard let sum = try? tail.number(UInt64.self), sum == Self.checksum(body) else { return nil }
    return try? RunEnd(from: &reader)
  }

  /// - Source: FNV-1a, 64 bits.
  static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
