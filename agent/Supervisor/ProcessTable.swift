internal import Glibc

/// What /proc says about processes.
enum ProcessTable {
  struct Entry: Equatable {
    var pid: Int32
    var parent: Int32
    var session: Int32
    var startTicks: UInt64
    var state: UInt8
  }

  static func entry(_ pid: Int32) -> Entry? {
    guard let bytes = Files.read("/proc/\(pid)/stat", limit: 2048) else { return nil }
    // The command's name may hold anything, parentheses and spaces included: fields begin after the last one.
    guard let close = bytes.lastIndex(of: 0x29) else { return nil }
    let fields = bytes[(close + 1)...].split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
    guard fields.count > 19, let parent = Int32(fields[1]), let session = Int32(fields[3]),
      let start = UInt64(fields[19])
    else {
      return nil
    }
    return Entry(pid: pid, parent: parent, session: session, startTicks: start, state: fields[0].utf8.first ?? 0)
  }

  static func all() -> [Entry] { Files.names(in: "/proc").compactMap { Int32($0) }.compactMap { entry($0) } }

  static func children(of pid: Int32) -> [Int32] {
    if let bytes = Files.read("/proc/\(pid)/task/\(pid)/children", limit: 4096) {
      return bytes.split(separator: 0x20).compactMap { Int32(String(decoding: $0, as: UTF8.self)) }
    }
    return all().filter { $0.parent == pid }.map(\.pid)
  }

  /// Living processes of a run without a PID namespace: its session, and whoever still carries its mark in the environment.
  static func members(session: Int32, mark: String) -> [Int32] {
    let needle = Array(mark.utf8)
    return all().filter { entry in
      guard entry.state != 0x5a, entry.pid != getpid() else { return false }
      if entry.session == session, session > 1 { return true }
      guard let environment = Files.read("/proc/\(entry.pid)/environ", limit: 128 << 10) else { return false }
      return environment.split(separator: 0).contains { $0.elementsEqual(needle) }
    }.map(\.pid)
  }

  static func bootID() -> String {
    let bytes = Files.read("/proc/sys/kernel/random/boot_id", limit: 64) ?? []
    return String(decoding: bytes.filter { $0 > 0x20 }, as: UTF8.self)
  }
}
