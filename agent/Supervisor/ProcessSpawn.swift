internal import CSupervisor
internal import Glibc

/// Starts one process as a run is started, without a run around it: for the supervisor, and for the agent's probes.
public enum ProcessSpawn {
  /// The child is in a session of its own and dies with the calling thread.
  /// - Parameters:
  ///   - groups: at most three opened `cgroup.procs` files, to which it writes itself first.
  ///   - report: a pipe's end. With it the call does not wait for the child to become its program: one that cannot writes the step
  ///     and errno there.
  /// - Returns: its pid, or -errno with the step that failed.
  public static func start(
    _ run: SupervisedRun, input: Int32, output: Int32, error: Int32, kept: Int32,
    groups: [Int32] = [], directory: String? = nil, report: Int32 = -1
  ) -> (pid: Int32, step: Int32) {
    // What the author names is for the program: bubblewrap itself runs outside of the sandbox, where an `LD_PRELOAD` would be one's way
    // out. It is told by a descriptor, because arguments can be seen by everybody on the machine.
    guard run.isSandboxed, kept >= 0, let bubblewrap = run.arguments.first else {
      return start(run, input, output, error, kept: kept, told: -1, groups, directory, report)
    }
    var bytes: [UInt8] = []
    for line in run.environment {
      guard let equals = line.utf8.firstIndex(of: UInt8(ascii: "=")), equals > line.startIndex else { continue }
      for word in ["--setenv"[...], line[..<equals], line[line.utf8.index(after: equals)...]] {
        bytes += Array(word.utf8) + [0]
      }
    }
    let told = bytes.withUnsafeBytes { csupervisor_memory_file($0.baseAddress, $0.count) }
    guard told >= 0 else { return (told, Int32(CSUPERVISOR_DESCRIPTORS.rawValue)) }
    defer { close(told) }
    var entering = run
    entering.arguments = [bubblewrap, "--args", "4"] + run.arguments.dropFirst()
    entering.environment =
      PlainEnvironment.values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
      + run.environment.filter { $0.hasPrefix(RunDirectory.markPrefix) }
    return start(entering, input, output, error, kept: kept, told: told, groups, directory, report)
  }

  private static func start(
    _ run: SupervisedRun, _ input: Int32, _ output: Int32, _ error: Int32, kept: Int32, told: Int32,
    _ groups: [Int32], _ directory: String?, _ report: Int32
  ) -> (pid: Int32, step: Int32) {
    withCStrings(run.arguments) { arguments in
      withCStrings(run.environment) { environment in
        withCStrings(run.mounts) { mounts in
          withCStrings([run.stage, directory ?? ""]) { texts in
            var spawn = csupervisor_spawn()
            spawn.arguments = arguments
            spawn.environment = environment
            spawn.directory = directory == nil ? nil : texts[1]
            spawn.mounts = mounts
            spawn.stage = texts[0]
            (spawn.standard_input, spawn.standard_output, spawn.standard_error) = (input, output, error)
            spawn.kept = kept
            spawn.told = told
            let group = groups + [-1, -1, -1]
            spawn.cgroup_procs = (group[0], group[1], group[2])
            spawn.user = run.user.map { Int64($0) } ?? -1
            spawn.group = run.group.map { Int64($0) } ?? -1
            // A setuid bubblewrap needs its privilege to begin with, and sets the flag itself.
            spawn.no_new_privileges = run.isSandboxed ? 0 : 1
            spawn.failure_report = report
            var step: Int32 = 0
            return (csupervisor_spawn(&spawn, &step), step)
          }
        }
      }
    }
  }
}
