internal import CSupervisor
internal import Glibc

/// What an earlier supervisor left behind.
extension Server {
  func recover() {
    for name in Files.names(in: stateDirectory + "/runs") {
      if let id = RunDirectory.id(fromHexadecimal: name) { adopt(id) }
    }
    if !unproven.isEmpty { nextDeadline = 0 }
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
    guard isGone(mark, id: id, directory: directory) else {
      unproven.insert(id)
      return
    }
    unproven.remove(id)
    var status = stat()
    let logBytes = stat(directory.log, &status) == 0 ? UInt64(max(0, status.st_size)) : 0
    let reason = mark.bootID == bootID ? "the supervisor died, and the run with it" : "the machine was restarted"
    record(RunEnd(reason: .lost, logBytes: logBytes, message: reason), of: id)
  }

  /// The proof: another boot; or the leader (told from a later process of the same number by its start time) is gone and
  /// the lock, which the sandbox's init holds as long as it lives, is free.
  private func isGone(_ mark: RunDirectory.Mark, id: UInt64, directory: RunDirectory) -> Bool {
    if !mark.bootID.isEmpty, mark.bootID != bootID { return true }
    if mark.pid > 0, let entry = ProcessTable.entry(mark.pid), entry.startTicks == mark.startTicks, entry.state != 0x5a
    {
      // PR_SET_PDEATHSIG has told it to die; it may have refused (a set-uid program), so it is told again.
      kill(mark.pid, SIGKILL)
      return false
    }
    if mark.isSandboxed, directory.lockIsFree() { return true }
    // A sandbox's init may have missed its parent's death: the mark in its environment finds it.
    LiveRun.killMembers(session: mark.pid, id: id)
    return directory.lockIsFree()
  }
}
