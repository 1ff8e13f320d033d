import FederationModel
import Glibc

/// Ends what a test started and removes its directory, however the test process ends: a shell beside it holds the reading
/// end of a pipe whose writing end only the test process has, and acts when that closes.
public final class Watchdog: Sendable {
  /// What the shell ends before it removes the directory.
  public enum Ending: Sendable {
    /// Every process that has this text in its environment.
    case environment(String)
    /// Every process that has this text in its command line.
    case commandLine(String)
    /// What this command ends.
    case command([String])

    fileprivate var script: String {
      switch self {
      case .environment:
        Self.killing(#"tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -qF -- "$2" && kill -9 "${p#/proc/}""#)
      case .commandLine:
        // The shell's own command line has the text too.
        Self.killing(
          #"[ "${p#/proc/}" = "$$" ] || { tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -qF -- "$2" && kill -9 "${p#/proc/}"; }"#
        )
      case .command: #"(shift; "$@") >/dev/null 2>&1"#
      }
    }

    /// More than once: who is about to be killed may just have started another.
    private static func killing(_ one: String) -> String {
      "for round in 1 2 3; do for p in /proc/[0-9]*; do \(one); done; done"
    }

    fileprivate var arguments: [String] {
      switch self {
      case .environment(let text), .commandLine(let text): [text]
      case .command(let words): words
      }
    }
  }

  private let lifeline: Int32

  public init(_ directory: String, ending: Ending) throws {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw FederationError(.unavailable, "There is no pipe for a watchdog: \(errno).") }
    // No child but the watchdog may hold an end, or the pipe would never close.
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    // Texts are passed as arguments and never become part of the script.
    let script = "trap '' INT TERM HUP; cat >/dev/null; cd /; \(ending.script); rm -rf \"$1\""
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
    for output: Int32 in [1, 2] { posix_spawn_file_actions_addopen(&actions, output, "/dev/null", O_WRONLY, 0) }
    let words = (["/bin/sh", "-c", script, "sh", directory] + ending.arguments).map { strdup($0) } + [nil]
    let variables = [strdup("PATH=/usr/bin:/bin"), nil]
    defer { for text in words + variables { free(text) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, "/bin/sh", &actions, nil, words, variables)
    close(ends[0])
    guard code == 0 else {
      close(ends[1])
      throw FederationError(.unavailable, "There is no watchdog: \(code).")
    }
    lifeline = ends[1]
  }

  /// Whoever has ended everything lets go of it; it then finds nothing to end, and removes the directory.
  deinit { close(lifeline) }
}
