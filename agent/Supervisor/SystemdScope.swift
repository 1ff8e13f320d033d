internal import CSupervisor
internal import Glibc

/// A scope of systemd's: a control group beside the agent's service, delegated to whoever is started in it.
///
/// Under version 2 of control groups a group that holds processes cannot have children with controllers, and systemd must be
/// able to put a restarted agent into its service's group: so runs cannot be below that one. A scope of their own outlives
/// the service too, whatever its `KillMode` is.
struct SystemdScope {
  var isUser: Bool

  /// nil where there is no systemd, or where a scope would live shorter than the runs: an ordinary user's ends with the
  /// user's manager, which is right for a service of that manager and for nobody else.
  static func current(hierarchy: ControlGroupHierarchy = .current()) -> SystemdScope? {
    guard access("/run/systemd/system", F_OK) == 0 else { return nil }
    if geteuid() == 0 { return SystemdScope(isUser: false) }
    guard hierarchy.unifiedOwn?.contains("/user@\(geteuid()).service/") == true else { return nil }
    return SystemdScope(isUser: true)
  }

  /// The arguments of `systemd-run`; the words after them are run in the scope.
  var arguments: [String] {
    ["systemd-run"] + (isUser ? ["--user"] : []) + [
      "--scope", "--quiet", "--collect", "--unit=fubini-supervisor-\(String(csupervisor_boottime_ns(), radix: 36))",
      "--description=Fubini supervisor", "--property=Delegate=yes", "--property=TimeoutStopSec=20", "--",
    ]
  }

  /// Runs a short command in the scope, without a shell, and waits for its end: at most 15 s. Returns whether it succeeded.
  func run(_ words: [String], log: String) -> Bool {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, log, O_CREAT | O_APPEND | O_WRONLY | O_NOFOLLOW, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var vector = (arguments + words).map { strdup($0) }
    vector.append(nil)
    defer { for pointer in vector { free(pointer) } }
    var pid: pid_t = 0
    guard posix_spawnp(&pid, vector[0]!, &actions, nil, vector, environ) == 0 else { return false }
    let end = csupervisor_boottime_ns() + 15_000_000_000
    var status: Int32 = 0
    while waitpid(pid, &status, WNOHANG) == 0 {
      if csupervisor_boottime_ns() > end { kill(pid, SIGKILL) }
      usleep(5_000)
    }
    return status == 0
  }
}
