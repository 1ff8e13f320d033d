internal import CSupervisor
internal import Glibc

/// What an earlier supervisor left behind.
extension Server {
  func recover() {
    groups.recover()
    PrivateFiles.sweep()
    for name in Files.names(in: stateDirectory + "/runs") {
      if let id = RunDirectory.id(fromHexadecimal: name) { adopt(id) }
    }
    if !unproven.isEmpty || !groups.leaving.isEmpty { nextDeadline = 0 }
  }

  /// Learns a run from its files: its end, or that it is lost. Lost is said only with proof that nothing of it lives.
  func adopt(_ id: UInt64) {
    guard live[id] == nil, ended[id] == nil else { return }
    let directory = RunDirectory(stateDirectory: stateDirectory, id: id)
    if let end = directory.readEnd() {
      unproven.remove(id)
      ended[id] = end
      return
    }
    guard let mark = directory.readMark() else {
      unproven.remove(id)
      return
    }
    guard isGone(mark, directory: directory) else {
      unproven.insert(id)
      return
    }
    unproven.remove(id)
    var status = stat()
    let logBytes = stat(directory.log, &status) == 0 ? UInt64(max(0, status.st_size)) : 0
    let reason = mark.bootID == bootID ? "the supervisor died, and the run with it" : "the machine was restarted"
    record(RunEnd(reason: .lost, logBytes: logBytes, message: reason), of: id)
  }

  /// The proof: another boot; or the run's supervisor was the first process of a PID namespace and is gone, and with it, by
  /// the kernel's hand, whatever lived in there. The lock, which the run inherits, must be free besides.
  private func isGone(_ mark: RunDirectory.Mark, directory: RunDirectory) -> Bool {
    if !mark.bootID.isEmpty, mark.bootID != bootID { return true }
    let outside = enclosure?.outside ?? .own
    if mark.enclosurePid > 0 {
      return !outside.isAlive(mark.enclosurePid, startTicks: mark.enclosureStartTicks) && directory.lockIsFree()
    }
    return isGoneWithoutEnclosure(mark, directory: directory, outside: outside)
  }

  /// Where there was no namespace: the leader (told from a later process of the same number by its start time) is gone, the
  /// lock is free, and nobody carries the mark any more. Who still lives is told again to die, if it can be reached.
  private func isGoneWithoutEnclosure(
    _ mark: RunDirectory.Mark, directory: RunDirectory, outside: ProcessTable
  ) -> Bool {
    if mark.pid > 0, outside.isAlive(mark.pid, startTicks: mark.startTicks) {
      if enclosure == nil { kill(mark.pid, SIGKILL) }
      return false
    }
    if mark.isSandboxed, directory.lockIsFree() { return true }
    // While a process of the session lives its number is not given to another; but it may have been, afterwards.
    let session = outside.entry(mark.pid).map { $0.startTicks == mark.startTicks } ?? true ? mark.pid : 0
    if enclosure == nil { LiveRun.killMembers(session: session, mark: directory.environmentMark) }
    return directory.lockIsFree() && outside.members(session: session, mark: directory.environmentMark).isEmpty
  }
}
