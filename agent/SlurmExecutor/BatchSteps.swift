internal import Execution
internal import FederationModel
internal import ProcessExecutor
internal import Supervisor

/// A batch script over several nodes: it starts once, in its sandbox, on the first node of its job, and starts programs on all of them
/// by `srun` (ADR 32).
///
/// A sandbox has neither Slurm's configuration nor its keys, and what `srun` starts would be outside of it. So the sandbox has a door:
/// a named pipe, into which the `srun` inside writes the options of a step. A shell outside checks them, starts the site's `srun`,
/// and that starts the same sandbox on each node, around the step's program. Whatever is written into the sandbox's files is
/// only read and opened inside a sandbox: the pipes of a step end in one, which passes on its output.
enum BatchSteps {
  /// In the sandbox; also the value of `FUBINI_STEPS`.
  static let directory = "/fubini/steps"
  static let variable = "FUBINI_STEPS"

  /// The run with the directory of the door among what it writes in.
  static func opening(_ request: RunRequest) -> RunRequest {
    var request = request
    request.spec.scratchPaths.append(directory)
    request.spec.environment.append(EnvironmentVariable(name: variable, value: directory))
    return request
  }

  /// Puts the door around a run, and its files beside it where it has not been started.
  ///
  /// - Parameters:
  ///   - program: `srun` as the nodes have it.
  ///   - secrets: names of the variables that the run gets besides, which `AuthorEnvironment.veiled` has renamed.
  /// - Throws: `.failedPrecondition` where steps would run as root; `.unplaceable` without a sandbox.
  static func spread(
    _ run: inout SupervisedRun, in workspace: RunWorkspace, program: String, secrets: [String] = []
  ) throws(FederationError) {
    guard run.user == nil else { throw FederationError(.failedPrecondition, Gang.rootNotice) }
    guard run.isSandboxed, let end = run.arguments.firstIndex(of: "--") else {
      throw FederationError(
        .unplaceable, "a batch script over several nodes runs in a sandbox, and this image runs in none of the agent's")
    }
    let enter = workspace.directory + "/enter"
    if !HostFiles.exists(workspace.directory + "/started") {
      try HostFiles.write(workspace.root + directory + "/srun", inside.utf8, mode: 0o755)
      try HostFiles.write(enter, entering(Array(run.arguments[...end])).utf8, mode: 0o700)
    }
    AuthorEnvironment.veil(&run, secrets: secrets)
    run.isSandboxed = false
    run.arguments =
      ["/bin/sh", "-c", outside, "sh", workspace.root + directory, workspace.directory + "/steps", program, enter]
      + run.arguments[(end + 1)...]
  }

  /// A program of its own, because a step of any node starts it. Descriptor 3 is what a sandbox is told to keep.
  private static func entering(_ sandbox: [String]) -> String {
    """
    #!/bin/sh
    case ${PMI_FD:-} in 3) exec 9<&3; PMI_FD=9; export PMI_FD ;; esac
    exec 3</dev/null
    \(AuthorEnvironment.functions)
    enter \(sandbox.map(BatchScript.quoted).joined(separator: " ")) "$@"

    """
  }

  /// Beside the script, outside: arguments are the door's directory, one of its own, `srun`, and what enters the sandbox; then the script.
  private static let outside =
    AuthorEnvironment.functions + #"""
      steps=$1 private=$2 program=$3 enter=$4
      shift 4
      set -f
      trap : TERM INT USR1 USR2
      mkdir "$private" && mkfifo "$steps/door" && exec 5<>"$steps/door" || exit 125
      relay='cd "/fubini/steps/$1" || exit
      cat <&6 >out 7<&- 9>&- & a=$!
      cat <&7 >err 6<&- 9>&- & b=$!
      cat <in >&9 2>/dev/null 6<&- 7<&- & c=$!
      exec 6<&- 7<&- 9>&-
      wait $a $b
      read -r code <&8
      kill $c 2>/dev/null
      echo "${code:-1}" >code'
      step() {
        d=$private/$1
        mkdir "$d" && mkfifo "$d/in" "$d/out" "$d/err" "$d/code" || exit
        # In a group of its own: what passes on the end of a step outlives the signals that the step gets.
        setsid "$enter" /bin/sh -c "$relay" sh "$1" 9>"$d/in" 6<"$d/out" 7<"$d/err" 8<>"$d/code" </dev/null >/dev/null 2>&1 &
        id=$1; shift
        "$@" "$enter" /bin/sh "/fubini/steps/$id/run" <"$d/in" >"$d/out" 2>"$d/err" &
        child=$!
        trap 'kill -TERM $child 2>/dev/null' TERM
        trap : INT USR1 USR2
        while :; do wait $child; code=$?; kill -0 $child 2>/dev/null || break; done
        echo $code >"$d/code"
        wait
        rm -rf "$d"
      }
      serve() {
        # What the script asked for it says with each step.
        unset SLURM_NTASKS SLURM_NPROCS SLURM_NTASKS_PER_NODE SLURM_CPUS_PER_TASK SLURM_TASKS_PER_NODE
        forget
        # A signal to the job is none to whoever starts its steps: the script may start more until its end.
        trap : TERM INT USR1 USR2
        while :; do
          # Steps that are over are taken leave of.
          jobs >/dev/null 2>&1
          read -r line <&5 || continue
          set -- $line
          [ $# -ge 2 ] || continue
          verb=$1 id=$2
          shift 2
          case $id in *[!A-Za-z0-9]*) continue ;; esac
          if [ "$verb" = stop ]; then
            eval "child=\${step_$id:-}"
            [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
            continue
          fi
          [ ! -e "$private/$id" ] || continue
          bad=
          for word; do
            case $word in
            # With a slash a list of nodes would be a file's name.
            --nodelist=* | --exclude=*) case ${word#--*=} in *[!][A-Za-z0-9_.,-]*) bad=$word ;; esac ;;
            *[!A-Za-z0-9_.,:=+@*-]*) bad=$word ;;
            --ntasks=* | --nodes=* | --ntasks-per-node=* | --cpus-per-task=* | --relative=*) ;;
            --mem=* | --mem-per-cpu=* | --gres=* | --gpus=* | --gpus-per-task=* | --gpus-per-node=* | --cpu-bind=*) ;;
            --mpi=* | --distribution=* | --hint=* | --threads-per-core=* | --time=* | --wait=* | --kill-on-bad-exit=*) ;;
            --exact | --exclusive | --overlap | --label | --unbuffered | --overcommit | --job-name=*) ;;
            *) bad=$word ;;
            esac
          done
          if [ -z "$bad" ]; then step "$id" "$program" "$@" 5<&- &
          else step "$id" /bin/sh -c 'echo "srun: error: $1 cannot be passed on to a step here" >&2; exit 1' sh "$bad" 5<&- &
          fi
          eval "step_$id=$!"
        done
      }
      serve &
      server=$!
      setsid "$enter" "$@" 5<&- &
      main=$!
      # The sandbox's own process would die of it; what it holds is told.
      tell() { for p in $(ps -o pid= --ppid $main); do kill -s $1 -- -$p 2>/dev/null; done; }
      for signal in TERM INT USR1 USR2; do trap "tell $signal" $signal; done
      while :; do wait $main; code=$?; kill -0 $main 2>/dev/null || break; done
      kill -KILL $server 2>/dev/null
      exit $code
      """#

  /// What the script calls: the options of `srun`, each one word, and a program. `\(directory)/srun` in the sandbox.
  private static let inside = #"""
    #!/bin/sh
    # Starts a program on the nodes of the job: options of srun, each one word, and the program.
    steps=/fubini/steps options=
    while :; do
      case ${1:-} in
      --) shift; break ;;
      --*) options="$options $1"; shift ;;
      *) break ;;
      esac
    done
    [ $# -gt 0 ] || { echo "srun: fatal: No command given to execute." >&2; exit 1; }
    d=$(mktemp -d "$steps/XXXXXXXXXX") && mkfifo "$d/in" "$d/out" "$d/err" "$d/code" || exit 1
    own='^export (SLURM_(PROCID|LOCALID|NODEID|GTIDS|NTASKS|NPROCS|NNODES|TASK_PID|TASKS_PER_NODE|CPUS_ON_NODE|DISTRIBUTION'
    own="$own"'|CPU_BIND[A-Z_]*|LAUNCH_[A-Z_]*|SRUN_[A-Z_]*|STEP[A-Z_]*|GPUS[A-Z_]*)|SLURMD_NODENAME|PMI[A-Z0-9_]*|OMPI_[A-Z0-9_]*'
    own="$own"'|CUDA_VISIBLE_DEVICES|GPU_DEVICE_ORDINAL|ROCR_VISIBLE_DEVICES|ZE_AFFINITY_MASK)='
    {
      echo "own=\$(export -p | grep -E '$own')"
      export -p | grep -vE "$own"
      echo 'eval "$own"; unset own'
      echo "umask $(umask)"
      printf 'cd \\\n'
      printf '%s\n' "$PWD" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/' || exit 1/"
      printf 'exec \\\n'
      for word; do printf '%s\n' "$word" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/' \\\\/"; done
      echo
    } >"$d/run"
    exec 3<&0
    trap 'echo "stop ${d##*/}" >"$steps/door"' TERM INT
    echo "start ${d##*/}$options" >"$steps/door"
    cat <"$d/out" 3<&- & a=$!
    cat <"$d/err" >&2 3<&- & b=$!
    cat <&3 >"$d/in" 2>/dev/null & c=$!
    until { read -r code <"$d/code"; } 2>/dev/null; do :; done
    wait $a $b
    kill $c 2>/dev/null
    rm -rf "$d"
    exit "$code"

    """#
}
