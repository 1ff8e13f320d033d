/// The programs that a job's script finds in its `PATH` beside those of the machine: `srun`, and `scontrol show hostnames`.
///
/// Shell scripts without a doubled brace, as `JobWrapper`, which writes them into the run.
enum StepPrograms {
  /// What `%j`, `%t` and the others stand for in names of files of a step. Read by the others with `.`.
  ///
  /// - Source: srun(1), "filename pattern".
  static let names = #"""
    expand() { # PATTERN TASK NODE
      rest=$1 name=
      case $rest in none) name=/dev/null; return ;; esac
      while :; do
        case $rest in *%*) ;; *) break ;; esac
        name=$name${rest%%\%*} rest=${rest#*%} digits=
        while :; do
          case $rest in [0-9]*) first=${rest#?} digits=$digits${rest%"$first"} rest=$first ;; *) break ;; esac
        done
        first=${rest#?}
        case ${rest%"$first"} in
        %) value=% ;;
        A) value=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID} ;;
        a) value=${SLURM_ARRAY_TASK_ID:-4294967294} ;;
        J) value=$SLURM_JOB_ID.${SLURM_STEP_ID:-0} ;;
        j) value=$SLURM_JOB_ID ;;
        N) value=${SLURMD_NODENAME%%.*} ;;
        n) value=$3 ;;
        s) value=${SLURM_STEP_ID:-0} ;;
        t) value=$2 ;;
        u) value=$SLURM_JOB_USER ;;
        x) value=$SLURM_JOB_NAME ;;
        *) name=$name%$digits; continue ;;
        esac
        rest=$first
        case $value in *[!0-9]*) ;; *) [ -z "$digits" ] || value=$(printf "%0"$digits"d" "$value") ;; esac
        name=$name$value
      done
      name=$name$rest
    }
    """#

  /// Around each task of a step.
  static let task = #"""
    #!/bin/sh
    . "${0%/*}/names"
    cd "${FUBINI_STEP_DIR:-.}" || exit 1
    if [ -n "${FUBINI_STEP_IN:-}" ]; then expand "$FUBINI_STEP_IN" "$SLURM_PROCID" "$SLURM_NODEID"; exec <"$name" || exit 1; fi
    if [ -n "${FUBINI_STEP_OUT:-}" ]; then expand "$FUBINI_STEP_OUT" "$SLURM_PROCID" "$SLURM_NODEID"; exec >"$name" || exit 1; fi
    case ${FUBINI_STEP_ERR:-} in
    '') ;;
    "&1") exec 2>&1 ;;
    *) expand "$FUBINI_STEP_ERR" "$SLURM_PROCID" "$SLURM_NODEID"; exec 2>"$name" || exit 1 ;;
    esac
    unset FUBINI_STEP_DIR FUBINI_STEP_IN FUBINI_STEP_OUT FUBINI_STEP_ERR
    exec "$@"
    """#

  /// Tasks are started through the door of the cluster's agent where the job has several nodes, else on this one.
  static let srun = #"""
    #!/bin/sh
    home=${0%/*}/..
    . "$home/names"
    fatal() { echo "srun: $*" >&2; exit 1; }
    idle() { echo "srun: --$1 has no effect here: a step has what its job has, and its tasks end by themselves" >&2; }
    n= nodes= each= cpus= out= err= in= dir= label= pass=
    while [ $# -gt 0 ]; do
      case $1 in
      --) shift; break ;;
      --*=*) option=${1%%=*} value=${1#*=} given=1; option=${option#--}; shift ;;
      --*) option=${1#--} value= given=; shift ;;
      -?*)
        rest=${1#-?} value= given=
        letter=${1%"$rest"}; letter=${letter#-}
        case $letter in
        n) option=ntasks ;; N) option=nodes ;; c) option=cpus-per-task ;; J) option=job-name ;; o) option=output ;;
        e) option=error ;; i) option=input ;; l) option=label ;; u) option=unbuffered ;; D) option=chdir ;; t) option=time ;;
        K) option=kill-on-bad-exit ;; W) option=wait ;; m) option=distribution ;; w) option=nodelist ;; x) option=exclude ;;
        G) option=gpus ;; r) option=relative ;; Q) option=quiet ;; v) option=verbose ;; s) option=oversubscribe ;;
        O) option=overcommit ;; k) option=no-kill ;; p) option=partition ;; A) option=account ;; q) option=qos ;;
        C) option=constraint ;;
        *) fatal "unrecognized option '-$letter'" ;;
        esac
        shift
        case $letter in
        l | u | Q | v | s | O | k) [ -z "$rest" ] || set -- "-$rest" "$@" ;;
        K) value=$rest given=${rest:+1} ;;
        *) if [ -n "$rest" ]; then value=${rest#=} given=1; fi ;;
        esac ;;
      *) break ;;
      esac
      case $option in
      label | unbuffered | quiet | verbose | oversubscribe | overcommit | no-kill | overlap | exact | exclusive) ;;
      kill-on-bad-exit | multi-prog | whole | contiguous | spread-job | pty) ;;
      *)
        if [ -z "$given" ]; then
          [ $# -gt 0 ] || fatal "option requires an argument -- '$option'"
          value=$1; shift
        fi ;;
      esac
      case $option in
      ntasks) n=$value ;;
      nodes) nodes=${value%%-*} ;;
      ntasks-per-node) each=$value ;;
      cpus-per-task) cpus=$value pass="$pass --cpus-per-task=$value" ;;
      output) out=$value ;;
      error) err=$value ;;
      input) in=$value ;;
      chdir) dir=$value ;;
      label) label=1 ;;
      job-name | unbuffered | quiet | verbose | overlap) case $option in overlap) pass="$pass --overlap" ;; esac ;;
      export)
        case $value in ALL | '') ;; NONE) fatal "error: --export=NONE is not supported here: a step has its job's environment" ;; esac
        while [ -n "$value" ]; do
          word=${value%%,*}
          case $word in *=*) export "$word" ;; esac
          case $value in *,*) value=${value#*,} ;; *) value= ;; esac
        done ;;
      multi-prog | pty) fatal "error: --$option is not supported here" ;;
      kill-on-bad-exit) pass="$pass --kill-on-bad-exit=${value:-1}" late="${late:-} $option" ;;
      exact | exclusive | overcommit) pass="$pass --$option" late="${late:-} $option" ;;
      mpi | cpu-bind | mem-bind | mem | mem-per-cpu | gres | gpus | gpus-per-task | gpus-per-node | distribution | hint | time | wait \
        | threads-per-core | nodelist | exclude | relative)
        case $value in *[[:space:]]*) fatal "error: Invalid --$option specification" ;; esac
        pass="$pass --$option=$value" late="${late:-} $option" ;;
      oversubscribe | no-kill | partition | account | qos | constraint | cpus-per-gpu | ntasks-per-gpu | mem-per-gpu | gpu-bind \
        | gpu-freq | cpu-freq | acctg-freq | propagate | comment | reservation | licenses | network | profile | ntasks-per-core \
        | ntasks-per-socket | open-mode | bcast | compress | het-group | whole | contiguous | spread-job) late="${late:-} $option" ;;
      *) fatal "unrecognized option '--$option'" ;;
      esac
    done
    [ $# -gt 0 ] || fatal "fatal: No command given to execute."
    all=${SLURM_NNODES:-1}
    [ -n "$n" ] || { [ -z "$each" ] || n=$((each * ${nodes:-$all})); }
    [ -n "$n" ] || { [ -z "$nodes" ] || [ "$nodes" = "$all" ] || n=$nodes; }
    [ -n "$n" ] || n=${SLURM_NTASKS:-$all}
    case $n in '' | *[!0-9]* | 0) fatal "error: Invalid numeric value \"$n\" for --ntasks." ;; esac
    SLURM_STEP_ID=0
    while step=$home/step.$SLURM_STEP_ID; [ -e "$step" ] || ! mkdir "$step" 2>/dev/null; do
      [ -d "$step" ] || fatal "error: $step cannot be made"
      SLURM_STEP_ID=$((SLURM_STEP_ID + 1))
    done
    SLURM_STEPID=$SLURM_STEP_ID SLURM_STEP_NUM_TASKS=$n
    export SLURM_STEP_ID SLURM_STEPID SLURM_STEP_NUM_TASKS
    [ -z "$cpus" ] || export SLURM_CPUS_PER_TASK="$cpus"
    [ -z "$dir" ] || export FUBINI_STEP_DIR="$dir"
    # A file for each task is opened by the task; one for all of them here.
    many() { case $1 in *%*[tnN]*) true ;; *) false ;; esac }
    # Tasks beside each other read the file each for itself: a shell gives what it does not wait for no input.
    if [ -n "$in" ]; then
      if many "$in"; then export FUBINI_STEP_IN="$in"
      elif [ "$n" -gt 1 ] || [ -n "$label" ]; then
        case $in in /* | none) ;; *) in=$PWD/$in ;; esac
        export FUBINI_STEP_IN="$in"
      else expand "$in" 0 0; exec <"$name" || exit 1; fi
    fi
    if [ -n "$out" ] && [ -z "$err" ]; then err="&1"; fi
    if [ -n "$out" ]; then
      if many "$out"; then export FUBINI_STEP_OUT="$out"; else expand "$out" 0 0; exec >"$name" || exit 1; fi
    fi
    if [ "$err" = "&1" ]; then if many "$out"; then export FUBINI_STEP_ERR="$err"; else exec 2>&1; fi
    elif [ -n "$err" ]; then
      if many "$err"; then export FUBINI_STEP_ERR="$err"; else expand "$err" 0 0; exec 2>"$name" || exit 1; fi
    fi
    if [ -n "${FUBINI_STEPS:-}" ]; then
      [ -n "$nodes" ] || { nodes=$all; [ "$n" -ge "$nodes" ] || nodes=$n; }
      [ -z "$each" ] || pass="$pass --ntasks-per-node=$each"
      [ -z "$label" ] || pass="$pass --label"
      set -f
      exec "$FUBINI_STEPS/srun" --ntasks="$n" --nodes="$nodes" $pass -- "$home/task" "$@"
    fi
    for option in ${late:-}; do idle "$option"; done
    [ "${nodes:-1}" -le 1 ] || idle nodes
    SLURM_NTASKS=$n SLURM_NPROCS=$n SLURM_STEP_NUM_NODES=1 SLURM_STEP_TASKS_PER_NODE=$n SLURM_STEP_NODELIST=$SLURM_JOB_NODELIST
    export SLURM_NTASKS SLURM_NPROCS SLURM_STEP_NUM_NODES SLURM_STEP_TASKS_PER_NODE SLURM_STEP_NODELIST
    if [ "$n" = 1 ] && [ -z "$label" ]; then SLURM_PROCID=0 SLURM_LOCALID=0 exec "$home/task" "$@"; fi
    i=0 pids= labels=
    while [ $i -lt "$n" ]; do
      if [ -n "$label" ]; then
        mkfifo "$step/$i" || exit 1
        sed "s/^/$i: /" <"$step/$i" &
        labels="$labels $!"
        SLURM_PROCID=$i SLURM_LOCALID=$i "$home/task" "$@" >"$step/$i" 2>&1 &
      else
        SLURM_PROCID=$i SLURM_LOCALID=$i "$home/task" "$@" &
      fi
      pids="$pids $!" i=$((i + 1))
    done
    trap 'kill -TERM $pids 2>/dev/null' TERM INT
    code=0
    for p in $pids; do wait "$p"; c=$?; [ $c -le $code ] || code=$c; done
    [ -z "$labels" ] || wait $labels
    exit $code
    """#

  /// What scripts make of `SLURM_JOB_NODELIST`: no controller is asked for it.
  static let scontrol = #"""
    #!/bin/sh
    case "${1:-} ${2:-}" in
    "show hostnames" | "show hostname") ;;
    *) echo "scontrol: error: only \"show hostnames\" is known inside a job here" >&2; exit 1 ;;
    esac
    printf '%s\n' "${3:-$SLURM_JOB_NODELIST}" | awk '
      function told(word, start, shut, list, count, k, ends, number, form) {
        if (word == "") return
        start = index(word, "["); shut = index(word, "]")
        if (!start) { print word; return }
        count = split(substr(word, start + 1, shut - start - 1), list, ",")
        for (k = 1; k <= count; k++) {
          if (split(list[k], ends, "-") < 2) ends[2] = ends[1]
          form = "%s%0" length(ends[1]) "d%s\n"
          for (number = ends[1] + 0; number <= ends[2] + 0; number++)
            printf form, substr(word, 1, start - 1), number, substr(word, shut + 1)
        }
      }
      {
        depth = 0; word = ""
        for (i = 1; i <= length($0); i++) {
          letter = substr($0, i, 1)
          if (letter == "[") depth++
          if (letter == "]") depth--
          if (letter == "," && depth == 0) { told(word); word = "" } else word = word letter
        }
        told(word)
      }'
    """#
}
