internal import Glibc

/// What a /proc says about processes.
struct ProcessTable {
  struct Entry: Equatable {
    var pid: Int32
    var parent: Int32
    var session: Int32
    var startTicks: UInt64
    var state: UInt8
    /// It has died, and so has everything of a PID namespace whose first process it was: the kernel makes that one a zombie
    /// only after it has killed and reaped the others.
    var isZombie: Bool { state == UInt8(ascii: "Z") || state == UInt8(ascii: "X") }
  }

  /// Of the PID namespace in which this process lives.
  static let own = ProcessTable(root: "/proc")

  let root: String

  func entry(_ pid: Int32) -> Entry? { entry(named: String(pid)) }

  /// - Parameter name: a number, or `self`, which is this process under the number that this table gives it.
  func entry(named name: String) -> Entry? {
    guard let bytes = Files.read("\(root)/\(name)/stat", limit: 2048) else { return nil }
    // The command's name may hold anything, parentheses and spaces included: fields begin after the last one.
    guard let open = bytes.firstIndex(of: UInt8(ascii: " ")), let close = bytes.lastIndex(of: UInt8(ascii: ")")) else {
      return nil
    }
    let fields = bytes[(close + 1)...].split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
    guard fields.count > 19, let pid = Int32(String(decoding: bytes[..<open], as: UTF8.self)),
      let parent = Int32(fields[1]), let session = Int32(fields[3]), let start = UInt64(fields[19])
    else {
      return nil
    }
    return Entry(pid: pid, parent: parent, session: session, startTicks: start, state: fields[0].utf8.first ?? 0)
  }

  /// Whether the process of that number which started then still lives.
  func isAlive(_ pid: Int32, startTicks: UInt64) -> Bool {
    guard let entry = entry(pid) else { return false }
    return entry.startTicks == startTicks && !entry.isZombie
  }

  func all() -> [Entry] { Files.names(in: root).compactMap { Int32($0) }.compactMap { entry($0) } }

  func children(of pid: Int32) -> [Int32] {
    if let bytes = Files.read("\(root)/\(pid)/task/\(pid)/children", limit: 4096) {
      return bytes.split(separator: 0x20).compactMap { Int32(String(decoding: $0, as: UTF8.self)) }
    }
    return all().filter { $0.parent == pid }.map(\.pid)
  }

  /// Living processes of a run: its session, and whoever still carries its mark in the environment.
  func members(session: Int32, mark: String) -> [Int32] {
    let needle = Array(mark.utf8)
    let own = entry(named: "self")?.pid
    return all().filter { entry in
      guard !entry.isZombie, entry.pid != own else { return false }
      if entry.session == session, session > 1 { return true }
      guard let environment = Files.read("\(root)/\(entry.pid)/environ", limit: 128 << 10) else { return false }
      return environment.split(separator: 0).contains { $0.elementsEqual(needle) }
    }.map(\.pid)
  }

  static func bootID() -> String {
    let bytes = Files.read("/proc/sys/kernel/random/boot_id", limit: 64) ?? []
    return String(decoding: bytes.filter { $0 > 0x20 }, as: UTF8.self)
  }
}
