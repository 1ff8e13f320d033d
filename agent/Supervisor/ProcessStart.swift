internal import CSupervisor

/// What every process of the agent's binary does first, before it has a second thread.
public enum ProcessStart {
  /// Bounds the C library's heaps (two, not eight for each core; large freed blocks go back to the system at once), and keeps a
  /// statically linked binary from loading name-service modules, which belong to the C library of the machine it runs on.
  public static func prepare() {
    csupervisor_bound_heaps()
    csupervisor_use_builtin_name_services()
  }
}
