internal import ProcessExecutor
internal import Supervisor

/// The environment that an author gives a program, while it travels through programs that run outside of the sandbox: shells and `srun`.
///
/// There it must not mean anything: a `PATH` would choose their programs, an `LD_PRELOAD` or a `SLURM_*` what they do. So each variable
/// has another name until the sandbox is entered, and what is outside has the plain ones and Slurm's own. Values never are arguments.
/// Names that a shell cannot have are left out, as shells leave them out.
enum AuthorEnvironment {
  private static let prefix = "FUBINI_ENV_"
  /// Lists the variables. No author's variable can have this name on the way: theirs begin with the prefix.
  private static let names = "FUBINI_NAMES"

  /// A variable as it travels; nil for one that cannot.
  static func veiled(_ variable: String) -> String? { isName(variable) ? prefix + variable : nil }

  /// Veils all that a run has.
  ///
  /// - Parameter secrets: names of variables that come later, veiled already.
  static func veil(_ run: inout SupervisedRun, secrets: [String]) {
    var told = Set(secrets.filter(isName))
    var veiledLines: [String] = []
    for line in run.environment {
      let name = String(line.prefix { $0 != "=" })
      guard isName(name) else { continue }
      told.insert(name)
      if !secrets.contains(name) { veiledLines.append(prefix + line) }
    }
    run.environment =
      PlainEnvironment.values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
      + ["\(names)=\(told.sorted().joined(separator: " "))"] + veiledLines.sorted()
  }

  private static func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
    return text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      default: false
      }
    }
  }

  /// Shell functions: `enter BUBBLEWRAP ARGUMENTS...` becomes the sandbox, in which the author's variables have their names;
  /// `forget` drops them. The file has lost its name before it holds anything.
  static let functions = #"""
    enter() {
      bubblewrap=$1; shift
      file=$(umask 077; mktemp -p /dev/shm 2>/dev/null || mktemp) || exit 125
      exec 4<"$file"
      {
        rm -f "$file"
        for name in ${FUBINI_NAMES:-}; do
          case $name in *[!A-Za-z0-9_]*) exit 125 ;; esac
          eval "value=\${FUBINI_ENV_$name-}"
          printf '%s\0' --unsetenv "FUBINI_ENV_$name" --setenv "$name" "$value"
        done
        printf '%s\0' --unsetenv FUBINI_NAMES
      } >"$file" || exit 125
      exec "$bubblewrap" --args 4 "$@"
    }
    forget() {
      for name in ${FUBINI_NAMES:-}; do unset "FUBINI_ENV_$name"; done
      unset FUBINI_NAMES
    }

    """#
}
