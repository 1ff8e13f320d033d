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
