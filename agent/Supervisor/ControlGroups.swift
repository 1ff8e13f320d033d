internal import CSupervisor
internal import Glibc

/// What an operator decides about control groups.
public enum ControlGroupSetting: Hashable, Sendable, CustomStringConvertible {
  /// Below the group in which the supervisor lives, where that is allowed.
  case auto
  case none
  /// Below this group, named as `/proc/PID/cgroup` names it (`/fubini`), in every hierarchy. It is made if it is missing.
  case group(String)

  /// nil for what is neither `auto`, `none`, nor an absolute path without `.`, `..` or control characters.
  public init?(_ text: String) {
    switch text {
    case "auto": self = .auto
    case "none": self = .none
    default:
      let parts = text.split(separator: "/", omittingEmptySubsequences: false)
      guard text.hasPrefix("/"), parts.count > 1, text.utf8.count <= 1024,
        text.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }),
        parts.dropFirst().allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." })
      else { return nil }
      self = .group(text)
    }
  }

  public var description: String {
    switch self {
    case .auto: "auto"
    case .none: "none"
    case .group(let path): path
    }
  }
}

/// The control groups of runs: one for each run that has a limit, entered before the program begins, gone with it.
///
/// Every group lies in `<parent>/fubini-<hash of the state directory>/run-<id>`; that name is the mark by which the next
/// supervisor of the same directory knows what it may empty and remove (I7). Version 2 wants the parent for us alone (a group
/// with processes has no children with controllers), which a scope of systemd's gives; version 1 does not care.
final class ControlGroups {
  typealias Controller = ControlGroupHierarchy.Controller

  let isUnified: Bool
  /// By controller: the group below which ours are made. Empty: nothing is enforced, and `notices` says why.
  let parents: [Controller: String]
  let notices: [String]
  private let name: String
  private let record: String
  /// Directories of each run that has any.
  private var directories: [UInt64: [Controller: String]] = [:]
  /// Of ended runs: not empty yet.
  private(set) var leaving: Set<String> = []
  private var pauseNs: UInt64 = ControlGroups.shortestPauseNs
  private var made: Set<String> = []

  private static let shortestPauseNs: UInt64 = 10_000_000
  private static let longestPauseNs: UInt64 = 1_000_000_000
  private static let cpuPeriodUs: UInt64 = 100_000
  /// The kernel takes no quota below a millisecond.
  private static let cpuQuotaUsMin: UInt64 = 1000

  init(_ setting: ControlGroupSetting, stateDirectory: String, hierarchy: ControlGroupHierarchy? = nil) {
    name = "fubini-" + RunDirectory.hexadecimal(RunDirectory.checksum(Array(stateDirectory.utf8)[...]))
    record = stateDirectory + "/control-groups"
    // A batch step uses none, and starts for every run: it need not read what is mounted.
    let hierarchy = setting == .none ? ControlGroupHierarchy(mountinfo: "", groups: "") : hierarchy ?? .current()
    var site = ControlGroupSite.find(setting, in: hierarchy)
    site.occupy()
    isUnified = site.isUnified
    parents = site.parents
    notices = site.notices
  }

  /// Makes the run's groups, sets its limits, and opens what its first process must write itself to: at most three
  /// descriptors, which the caller closes. None when the run has no limit that can be enforced here.
  func open(_ run: SupervisedRun) throws(SystemFailure) -> [Int32] {
    var wanted: [Controller] = []
    if run.memoryBytesMax > 0, parents[.memory] != nil { wanted.append(.memory) }
    if run.cpuMillicoresMax > 0, parents[.cpu] != nil { wanted.append(.cpu) }
    if run.processesMax > 0, parents[.pids] != nil { wanted.append(.pids) }
    guard !wanted.isEmpty else { return [] }
    try makeOwn(wanted)
    var own: [Controller: String] = [:]
    for controller in wanted {
      let directory = "\(parents[controller] ?? "")/\(name)/run-\(RunDirectory.hexadecimal(run.id))"
      try Files.makeDirectory(directory, mode: 0o755)
      // An attempt that a full disk stopped may have left it; it is this run's again.
      leaving.remove(directory)
      own[controller] = directory
      directories[run.id] = own
    }
    if let directory = own[.memory] { try limitMemory(run.memoryBytesMax, in: directory) }
    if let directory = own[.cpu] { try limitCPU(run.cpuMillicoresMax, in: directory) }
    if let directory = own[.pids] { try set(directory + "/pids.max", String(run.processesMax)) }
    var opened: [Int32] = []
    do throws(SystemFailure) {
      for directory in Set(own.values) { opened.append(try Files.open(directory + "/cgroup.procs", O_WRONLY)) }
    } catch {
      for file in opened { Glibc.close(file) }
      throw error
    }
    return opened
  }

  private func limitMemory(_ bytes: UInt64, in directory: String) throws(SystemFailure) {
    guard !isUnified else {
      try set(directory + "/memory.max", String(bytes))
      // Swap is memory too. Kernels without swap accounting have no such file.
      try? set(directory + "/memory.swap.max", "0")
      // The whole run ends, not a process at random.
      return try set(directory + "/memory.oom.group", "1")
    }
    try set(directory + "/memory.limit_in_bytes", String(bytes))
    if access(directory + "/memory.memsw.limit_in_bytes", F_OK) == 0 {
      try set(directory + "/memory.memsw.limit_in_bytes", String(bytes))
    }
  }

  private func limitCPU(_ millicores: UInt64, in directory: String) throws(SystemFailure) {
    let (product, overflow) = millicores.multipliedReportingOverflow(by: Self.cpuPeriodUs / 1000)
    guard !overflow else { return }
    let quota = max(Self.cpuQuotaUsMin, product)
    if isUnified { return try set(directory + "/cpu.max", "\(quota) \(Self.cpuPeriodUs)") }
    try set(directory + "/cpu.cfs_period_us", String(Self.cpuPeriodUs))
    try set(directory + "/cpu.cfs_quota_us", String(quota))
  }

  /// The groups of this state directory, each once, when the first run needs it.
  private func makeOwn(_ wanted: [Controller]) throws(SystemFailure) {
    for parent in Set(wanted.compactMap { parents[$0] }).subtracting(made) {
      // Noted first, so that a later supervisor that lives elsewhere still finds what is left here.
      let noted = Set(recordedParents()).union([parent])
      try Files.replace(record, with: Array(noted.sorted().map { $0 + "\n" }.joined().utf8))
      try Files.makeDirectory("\(parent)/\(name)", mode: 0o755)
      if isUnified {
        for controller in parents.keys {
          try set("\(parent)/\(name)/cgroup.subtree_control", "+\(controller.rawValue)")
        }
      }
      made.insert(parent)
    }
  }

  private func set(_ file: String, _ value: String) throws(SystemFailure) { try Self.set(file, value) }

  static func set(_ file: String, _ value: String) throws(SystemFailure) {
    let descriptor = try Files.open(file, O_WRONLY)
    defer { Glibc.close(descriptor) }
    do throws(SystemFailure) { try Files.writeAll(descriptor, Array(value.utf8)) } catch {
      throw SystemFailure("write \(value) to \(file)", error.code)
    }
  }

  // MARK: The end

  /// Whether the kernel killed a process of the run because the run was over its memory limit. An exit code of 137 alone is
  /// no proof: anybody may send SIGKILL.
  func ranOutOfMemory(_ id: UInt64, wasKilled: Bool) -> Bool {
    guard let directory = directories[id]?[.memory] else { return false }
    let counters = Files.read(directory + (isUnified ? "/memory.events" : "/memory.oom_control"), limit: 4096) ?? []
    if let kills = Self.counter("oom_kill", in: counters) { return kills > 0 }
    // Version 1 before Linux 4.13 counts no kills, only how often memory was refused.
    let refused = Files.read(directory + "/memory.failcnt", limit: 64) ?? []
    return wasKilled && (Int(String(decoding: refused.filter { $0 > 0x20 }, as: UTF8.self)) ?? 0) > 0
  }

  static func counter(_ name: String, in bytes: [UInt8]) -> UInt64? {
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.count == 2, words[0] == name { return UInt64(words[1]) }
    }
    return nil
  }

  /// SIGKILL to whatever of the run is left, wherever it went.
  func kill(_ id: UInt64) {
    for directory in Set((directories[id] ?? [:]).values) { Self.kill(everythingIn: directory) }
  }

  /// Empties and removes the groups of a run that has ended. What the kernel does not let go of at once is tried again by
  /// `sweep`.
  func release(_ id: UInt64) {
    for directory in Set((directories.removeValue(forKey: id) ?? [:]).values) { remove(directory) }
  }

  private func remove(_ directory: String) {
    guard rmdir(directory) != 0, errno != ENOENT else { return }
    Self.kill(everythingIn: directory)
    if rmdir(directory) != 0, errno != ENOENT { leaving.insert(directory) }
  }

  /// Tries again. Returns after how many nanoseconds it must be called again; nil when nothing is left.
  func sweep() -> UInt64? {
    for directory in leaving {
      Self.kill(everythingIn: directory)
      if rmdir(directory) == 0 || errno == ENOENT {
        leaving.remove(directory)
        pauseNs = Self.shortestPauseNs
      }
    }
    guard !leaving.isEmpty else { return nil }
    // A process that waits in the kernel (a dead file server) may take for ever.
    defer { pauseNs = min(2 * pauseNs, Self.longestPauseNs) }
    return pauseNs
  }

  /// What an earlier supervisor of this directory left: its runs have ended or must.
  func recover() {
    for parent in Set(parents.values).union(recordedParents()) {
      let own = "\(parent)/\(name)"
      for entry in Files.names(in: own) where entry.hasPrefix("run-") {
        if RunDirectory.id(fromHexadecimal: String(entry.dropFirst(4))) != nil { remove("\(own)/\(entry)") }
      }
      rmdir(own)
    }
    if leaving.isEmpty { unlink(record) }
  }

  /// Takes the groups of this state directory away. Waits for the kernel to let go of ended runs, a second at most.
  func close() {
    let end = csupervisor_boottime_ns() + 1_000_000_000
    while let pause = sweep(), csupervisor_boottime_ns() < end { usleep(UInt32(pause / 1000)) }
    for parent in made { rmdir("\(parent)/\(name)") }
    if leaving.isEmpty { unlink(record) }
  }

  private func recordedParents() -> [String] {
    String(decoding: Files.read(record, limit: 64 << 10) ?? [], as: UTF8.self).split(separator: "\n").map(String.init)
      .filter { $0.hasPrefix("/") }
  }

  private static func kill(everythingIn directory: String) {
    if (try? set(directory + "/cgroup.kill", "1")) != nil { return }
    // Repeated, because a process may fork while the list is read.
    for _ in 0..<64 {
      let members = String(decoding: Files.read(directory + "/cgroup.procs", limit: 1 << 20) ?? [], as: UTF8.self)
        // 0 stands for a process of another PID namespace, which died with its supervisor or cannot be named here.
        .split(separator: "\n").compactMap { Int32($0) }.filter { $0 > 1 && $0 != getpid() }
      if members.isEmpty { return }
      for member in members { Glibc.kill(member, SIGKILL) }
    }
  }
}
