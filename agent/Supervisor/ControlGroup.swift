internal import Glibc

/// A control group, version 2, that was delegated to the supervisor: where memory and CPU limits of runs are set.
///
/// Never guessed: the operator names it (systemd: `Delegate=yes`), and `init` only believes files that it can write.
struct ControlGroup {
  let path: String

  /// nil when the directory does not offer the memory and cpu controllers to children that we may make.
  init?(delegated path: String) {
    guard let bytes = Files.read(path + "/cgroup.subtree_control", limit: 512) else { return nil }
    let controllers = Set(String(decoding: bytes, as: UTF8.self).split { $0 == " " || $0 == "\n" })
    guard controllers.contains("memory"), controllers.contains("cpu"), access(path + "/cgroup.procs", W_OK) == 0 else {
      return nil
    }
    self.path = path
  }

  private func directory(_ id: UInt64) -> String { path + "/fubini-" + RunDirectory.hexadecimal(id) }

  /// Makes the run's group; the child enters it by writing to the returned descriptor.
  func open(_ run: SupervisedRun) throws(SystemFailure) -> Int32 {
    let group = directory(run.id)
    try Files.makeDirectory(group, mode: 0o755)
    if run.memoryBytesMax > 0 {
      try set(group + "/memory.max", String(run.memoryBytesMax))
      // The whole run ends, not a process at random.
      try set(group + "/memory.oom.group", "1")
    }
    if run.cpuMillicoresMax > 0 { try set(group + "/cpu.max", "\(run.cpuMillicoresMax * 100) 100000") }
    return try Files.open(group + "/cgroup.procs", O_WRONLY)
  }

  private func set(_ file: String, _ value: String) throws(SystemFailure) {
    let descriptor = try Files.open(file, O_WRONLY)
    defer { close(descriptor) }
    try Files.writeAll(descriptor, Array(value.utf8))
  }

  func ranOutOfMemory(_ id: UInt64) -> Bool {
    guard let bytes = Files.read(directory(id) + "/memory.events", limit: 1024) else { return false }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").contains {
      $0.hasPrefix("oom_kill ") && $0 != "oom_kill 0"
    }
  }

  func remove(_ id: UInt64) { rmdir(directory(id)) }
}
