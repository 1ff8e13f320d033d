internal import FederationModel
internal import Supervisor

/// A gang is one job: its step starts every copy of the program with `srun`, which ends all when one fails (I6). Pure.
enum Gang {
  /// - Throws: `.failedPrecondition` where copies cannot be made to see their files.
  static func spread(_ run: inout SupervisedRun, shape: JobShape) throws(FederationError) {
    guard run.mounts.isEmpty else {
      throw FederationError(
        .failedPrecondition,
        "an agent of the user root starts no gangs in sandboxes: run the agent as an ordinary user, or set `slurm.sandbox: none`"
      )
    }
    var arguments = [
      "srun", "--ntasks=\(shape.gangSize)", "--nodes=\(shape.nodes)", "--kill-on-bad-exit=1", "--input=none",
    ]
    if run.isSandboxed {
      // Beyond this node nobody holds the descriptor that the sandbox is told to keep.
      arguments += ["/bin/sh", "-c", "exec \"$@\" 3</dev/null", "sh"]
      run.isSandboxed = false
    }
    // `srun` is a client of Slurm's: another user than the job's would be turned away.
    run.user = nil
    run.group = nil
    run.arguments = arguments + run.arguments
  }
}
