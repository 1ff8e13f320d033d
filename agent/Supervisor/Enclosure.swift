internal import CSupervisor
internal import Glibc

/// The PID namespace whose first process this supervisor is.
///
/// It makes "a run does not outlive its supervisor" (I1) the kernel's business: when the first process of a PID namespace
/// dies, of whatever, the kernel kills all others in it and in the namespaces below, before the death can be observed from
/// outside. A parent-death signal is no substitute, because changes of credentials clear it and a child may die before it
/// is set.
struct Enclosure {
  /// This process as it is known outside.
  let pid: Int32
  let startTicks: UInt64
  /// The processes of the namespace around.
  let outside: ProcessTable

  /// Where `csupervisor_daemonise` leaves the outer /proc.
  private static let outerProc: Int32 = 3

  /// nil when this process is not the first of its namespace, or cannot look out of it.
  init?() {
    guard getpid() == 1 else { return nil }
    let table = ProcessTable(root: "/proc/self/fd/\(Self.outerProc)")
    guard let entry = table.entry(named: "self"), csupervisor_set_close_on_exec(Self.outerProc) == 0 else {
      return nil
    }
    (pid, startTicks, outside) = (entry.pid, entry.startTicks, table)
  }
}
