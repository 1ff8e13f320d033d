internal import FoundationEssentials
internal import LocalProcess

#if canImport(Glibc)
  internal import Glibc
#endif

/// The steps of one cluster's jobs and everything that they started. They are nobody's children, and outlive the daemons.
///
/// A step is known by its title and by the cluster's configuration file in its environment. A job's process has that file
/// in its environment beside the name of its node, which only a step sets: a shell in which somebody set SLURM_CONF is
/// none. What a job's process started is its own as well, though a sandbox may have emptied its environment.
enum JobProcesses {
  /// Of all nodes, or of the one named. Steps come first: one that sees its job die would tell the controller.
  static func find(configuration: String, node: String? = nil) -> [ProcessIdentity] {
    let mark = Array("SLURM_CONF=\(configuration)".utf8)
    var parents: [Int32: Int32] = [:]
    var steps: Set<Int32> = []
    var found: Set<Int32> = []
    for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
      guard let pid = Int32(entry), pid > 1, pid != getpid() else { continue }
      parents[pid] = parent(of: pid)
      guard let variables = FileManager.default.contents(atPath: "/proc/\(pid)/environ")?.split(separator: 0),
        variables.contains(where: { $0.elementsEqual(mark) })
      else { continue }
      if isStep(pid) {
        steps.insert(pid)
      } else if let name = variables.first(where: { $0.starts(with: "SLURMD_NODENAME=".utf8) }),
        node.map({ name.elementsEqual("SLURMD_NODENAME=\($0)".utf8) }) ?? true
      {
        found.insert(pid)
      }
    }
    // A step does not say on which node it is; its job does.
    if node != nil { steps.formIntersection(found.compactMap { parents[$0] }) }
    found.formUnion(steps)
    // Parents have no order in /proc, so what is new may make more new; each round takes at least one more.
    var grows = true
    while grows {
      let more = parents.filter { !found.contains($0.key) && found.contains($0.value) }.keys
      found.formUnion(more)
      grows = !more.isEmpty
    }
    return (Array(steps) + found.subtracting(steps)).compactMap { ProcessIdentity(pid: $0) }
  }

  private static func isStep(_ pid: Int32) -> Bool {
    FileManager.default.contents(atPath: "/proc/\(pid)/cmdline")?.starts(with: "slurmstepd".utf8) ?? false
  }

  /// - Source: proc(5), field 4 of /proc/PID/stat.
  private static func parent(of pid: Int32) -> Int32? {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return nil }
    let text = String(decoding: data, as: UTF8.self)
    guard let close = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: close)...].split(separator: " ")
    return fields.count > 1 ? Int32(fields[1]) : nil
  }

  /// Kills all of them, again until none is left: one that was starting another may have been too early to be seen.
  static func end(configuration: String, node: String? = nil) async {
    let deadline = ContinuousClock.now + .seconds(10)
    while ContinuousClock.now < deadline {
      let processes = find(configuration: configuration, node: node)
      if processes.isEmpty { return }
      for process in processes { process.signal(SIGKILL) }
      try? await Task.sleep(for: .milliseconds(20))
    }
  }
}
