/// What runs around a job's script: it unpacks the submit directory, sets the variables that are known only there, starts the
/// script by its own `#!`, and packs what the script has made or changed.
///
/// It is a shell script without a single doubled brace, so no tag of a workflow can be in it; names and values come to it as
/// variables. It needs a POSIX shell, and GNU's tar and find.
public enum JobWrapper {
  /// Where the submission lies, an archive with the names below and the submit directory's files.
  public static let submissionPath = "/fubini/submission.tar"
  public static let resultsPath = "/fubini/out/results.tar"
  /// In the submission and the results, beside the files.
  public static let scriptName = ".fubini-script"
  public static let environmentName = ".fubini-env"
  public static let errorName = ".fubini-stderr"

  public static let text = #"""
    umask 0022
    home=/fubini/out
    mkdir -p "$home/bin" || exit 125
    if [ -n "$FUBINI_IN_PLACE" ]; then
      # A directory that is shared: nothing is put into it, and it is there already.
      from=$home
    else
      mkdir -p "$FUBINI_DIR" || exit 125
      from=$FUBINI_DIR
    fi
    cd "$FUBINI_DIR" || exit 125
    tar -xf /fubini/submission.tar --no-same-owner -C "$from" || exit 125
    mv "$from/.fubini-script" "$home/slurm_script" && chmod 755 "$home/slurm_script" || exit 125
    path=$PATH
    if [ -f "$from/.fubini-env" ]; then . "$from/.fubini-env"; rm -f "$from/.fubini-env"; fi
    umask "${SLURM_UMASK:-0022}"
    PATH=${PATH:+$PATH:}$path
    [ -d "$HOME" ] || HOME=$FUBINI_DIR
    # On a cluster of Slurm the site's own number stays known, and so do its nodes.
    if [ -n "${SLURM_JOB_ID:-}" ]; then export SITE_SLURM_JOB_ID="$SLURM_JOB_ID"; fi
    node=${SLURMD_NODENAME:-$(hostname 2>/dev/null || uname -n)}
    SLURM_JOB_ID=$((FUBINI_JOB + FUBINI_ORDINAL)) SLURM_JOBID=$((FUBINI_JOB + FUBINI_ORDINAL))
    if [ -n "$FUBINI_TASK" ]; then
      SLURM_ARRAY_JOB_ID=$FUBINI_JOB SLURM_ARRAY_TASK_ID=$FUBINI_TASK
      export SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID
    fi
    SLURMD_NODENAME=$node SLURM_JOB_NODELIST=${SLURM_JOB_NODELIST:-$node} SLURM_TASK_PID=$$
    SLURM_NODELIST=$SLURM_JOB_NODELIST
    export PATH HOME SLURM_JOB_ID SLURM_JOBID SLURMD_NODENAME SLURM_JOB_NODELIST SLURM_NODELIST SLURM_TASK_PID
    cat >"$home/names" <<'NAMES'
    \#(StepPrograms.names)
    NAMES
    cat >"$home/task" <<'TASK'
    \#(StepPrograms.task)
    TASK
    cat >"$home/bin/srun" <<'SRUN'
    \#(StepPrograms.srun)
    SRUN
    cat >"$home/bin/scontrol" <<'SCONTROL'
    \#(StepPrograms.scontrol)
    SCONTROL
    chmod 755 "$home/task" "$home/bin/srun" "$home/bin/scontrol"
    PATH=$home/bin:$PATH
    touch "$home/mark"
    # The clock of the files is coarse: what is made from here on is newer than the mark.
    sleep 0.02 2>/dev/null || sleep 1
    if [ -z "$FUBINI_IN_PLACE" ] && [ -f "$home/results.tar" ]; then
      # Its last run had to leave: what that had made and changed is where the script left it.
      tar -xf "$home/results.tar" --no-same-owner -C "$FUBINI_DIR" && rm -f "$home/results.tar" .fubini-stderr || exit 125
    fi
    direct=
    if [ -n "$FUBINI_OUTPUT" ]; then
      # In a directory that is shared output goes where it belongs at once, unless the cluster's user may not write there.
      . "$home/names"
      SLURM_STEP_ID=batch
      expand "$FUBINI_OUTPUT" 0 0
      output=$name
      expand "$FUBINI_ERROR" 0 0
      unset SLURM_STEP_ID
      if [ -z "$FUBINI_APPENDS" ]; then true >"$output"; [ -z "$name" ] || true >"$name"; fi 2>/dev/null
      if (true >>"$output" && true >>"${name:-$output}") 2>/dev/null; then
        exec >>"$output" 2>&1
        [ -z "$name" ] || exec 2>>"$name"
        FUBINI_STDERR= direct=1
      fi
    fi
    input=${FUBINI_INPUT:-/dev/null}
    if [ -n "$direct" ]; then
      "$home/slurm_script" "$@" <"$input" &
    elif [ -n "$FUBINI_STDERR" ]; then
      "$home/slurm_script" "$@" <"$input" 2>"$home/stderr" &
    else
      "$home/slurm_script" "$@" <"$input" 2>&1 &
    fi
    child=$!
    killer=
    # Who does not listen leaves its files behind all the same: they are packed in what is left of the grace, of 30 s.
    ending() {
      kill -TERM $child 2>/dev/null
      [ -z "$killer" ] || return 0
      (sleep 20; kill -KILL $child) >/dev/null 2>&1 &
      killer=$!
    }
    trap ending TERM
    trap 'kill -INT $child 2>/dev/null' INT
    timer=
    if [ -n "$FUBINI_SIGNAL" ]; then
      (sleep "$FUBINI_SIGNAL_AFTER"
        if [ "$FUBINI_SIGNAL_SHELL" = 1 ]; then kill -s "$FUBINI_SIGNAL" $child
        else for p in $(ps -o pid= --ppid $child 2>/dev/null); do kill -s "$FUBINI_SIGNAL" "$p"; done; fi) >/dev/null 2>&1 &
      timer=$!
    fi
    code=0
    while :; do
      wait $child 2>/dev/null
      code=$?
      kill -0 $child 2>/dev/null || break
    done
    for helper in $timer $killer; do kill "$helper" 2>/dev/null; done
    if [ -n "$FUBINI_IN_PLACE" ]; then
      [ -n "$FUBINI_STDERR" ] || exit $code
      mv "$home/stderr" "$home/.fubini-stderr" && tar -C "$home" -cf "$home/results.tar" .fubini-stderr || code=125
      exit $code
    fi
    cd "$FUBINI_DIR" || exit $code
    if [ -n "$FUBINI_OUT" ]; then
      # By their names, each a pattern of the shell; one that names nothing is told.
      printf '%s\n' "$FUBINI_OUT" | while IFS= read -r pattern; do (
        IFS=
        found=
        for file in $pattern; do
          if [ -e "$file" ] || [ -L "$file" ]; then
            found=1
            find "./$file" \( -type f -o -type l -o -type d -empty \) -print0
          fi
        done
        [ -n "$found" ] || echo "fubini: the job left no file $pattern" >&2
      ); done >"$home/list"
    else
      find . -mindepth 1 \( -type f -o -type l -o -type d -empty \) -cnewer "$home/mark" -print0 >"$home/list"
    fi
    if [ -n "$FUBINI_STDERR" ]; then
      cp "$home/stderr" .fubini-stderr && printf '%s\0' ./.fubini-stderr >>"$home/list"
    fi
    if [ -s "$home/list" ]; then tar --null --no-recursion -T "$home/list" -cf "$home/results.tar" || code=125; fi
    exit $code
    """#
}
