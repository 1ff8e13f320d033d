internal import FederationModel
internal import ProcessExecutor
internal import Supervisor

/// A gang is one job, which Slurm starts when all that it asks for is there. Its step starts every copy of the program with
/// `srun`, which ends all of them when one fails (I6). Pure.
enum Gang {
  /// Why an agent of the user root starts none: `srun` must be the job's user, so that copies could not become another one.
  static let rootNotice = "an agent of the user root starts no gangs: run the agent as an ordinary user"

  /// Around each copy: the first that fails writes its exit code down, for `srun` tells the greatest one, which is that of the
  /// copies it has killed. It stays while the program ends in its grace. Descriptor 3 is what a sandbox is told to keep;
  /// beyond the first node nobody holds it.
  private static let aroundCopy = """
    note=$1; shift; trap : TERM INT USR1 USR2; "$@" 3</dev/null; code=$?
    [ $code = 0 ] || (set -C; echo $code >"$note") 2>/dev/null
    exit $code
    """
  private static let aroundAll = """
    note=$1; shift; trap : TERM INT USR1 USR2; "$@"; code=$?
    [ $code = 0 ] || [ ! -s "$note" ] || read -r code <"$note"
    exit $code
    """

  /// - Parameters:
  ///   - program: `srun` as the nodes have it.
  ///   - note: a file that all copies can make, and that is not there.
  ///   - secrets: names of the variables that the run gets besides, which `AuthorEnvironment.veiled` has renamed.
  /// - Throws: `.failedPrecondition` where copies would run as root.
  static func spread(
    _ run: inout SupervisedRun, shape: JobShape, program: String, note: String, secrets: [String] = []
  ) throws(FederationError) {
    guard run.user == nil else { throw FederationError(.failedPrecondition, rootNotice) }
    // Each line of the log begins with the number of its copy. `srun` takes the allocation from its environment, but not the
    // cores of a task.
    var arguments = [
      program, "--ntasks=\(shape.gangSize)", "--cpus-per-task=\(shape.cpus)", "--label", "--kill-on-bad-exit=1",
      "--input=none",
    ]
    if let nodes = shape.nodes { arguments.append("--nodes=\(nodes)") }
    if let tasks = shape.tasksPerNode { arguments.append("--ntasks-per-node=\(tasks)") }
    var copy = run.arguments
    if run.isSandboxed {
      AuthorEnvironment.veil(&run, secrets: secrets)
      copy = ["/bin/sh", "-c", AuthorEnvironment.functions + #"enter "$@""#, "sh"] + copy
    }
    run.isSandboxed = false
    run.arguments =
      ["/bin/sh", "-c", aroundAll, "sh", note] + arguments + ["/bin/sh", "-c", aroundCopy, "sh", note] + copy
  }

  /// Where nodes have `srun`: beside `sbatch`, if the operator says where that is, else as this machine's `PATH` has it. Runs
  /// get a short `PATH` of their own, in which a site's Slurm need not be.
  static func program(_ programs: SlurmExecutorConfiguration.Programs, path: String) -> String {
    if let named = programs.srun { return named }
    if let slash = programs.sbatch.lastIndex(of: "/") { return programs.sbatch[...slash] + "srun" }
    return HostFiles.find("srun", path: path) ?? "srun"
  }
}
