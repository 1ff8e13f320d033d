internal import CSupervisor
internal import Glibc

/// Starts one run's process. Everything that it opens is closed again unless it becomes part of the `LiveRun`.
struct Launch {
  let run: SupervisedRun
  let directory: RunDirectory
  let bootID: String
  /// See `RunDirectory.Mark.place`.
  let place: String
  let groups: ControlGroups
  let enclosure: Enclosure?

  /// Why the run cannot start although it was claimed. It ends with this message.
  struct Failure: Error {
    var message: String
    /// The disk is full, and nothing was spawned: the same run may be tried again.
    var isPassing = false
  }

  /// - Parameter lock: what `RunDirectory.claim` returned. The caller closes it.
  func start(lock: Int32, now: UInt64) throws(Failure) -> LiveRun {
    var opened: [Int32] = []
    var kept: [Int32] = []
    defer { for file in opened where !kept.contains(file) { close(file) } }
    var privateFiles: PrivateFiles?
    do throws(SystemFailure) {
      // Before anything is spawned, so that whoever finds the mark knows how to prove the run's death.
      var mark = RunDirectory.Mark(
        bootID: bootID, isSandboxed: run.isSandboxed, enclosurePid: enclosure?.pid ?? 0,
        enclosureStartTicks: enclosure?.startTicks ?? 0, place: place)
      try directory.writeMark(mark, to: lock)
      // A batch step has been asked by a file that says the same.
      if place.isEmpty { try directory.writeSpec(run) }
      if !run.privateDirectory.isEmpty { privateFiles = try PrivateFiles.make(run) }
      let log = try Files.open(directory.log, O_WRONLY | O_CREAT | O_APPEND)
      opened.append(log)
      let null = try Files.open("/dev/null", O_RDONLY)
      opened.append(null)
      let output = try makePipe(&opened)
      let error = run.capturesStandardOutput ? try makePipe(&opened) : output
      let group = try groups.open(run)
      opened += group
      // Mounts are made beside us: they take long where many runs start at once.
      let report = run.mounts.isEmpty ? nil : try makePipe(&opened)
      let (pid, step) = spawn(
        input: null, output: output.write, error: error.write, lock: lock, groups: group, report: report?.write)
      guard pid > 0 else { throw SystemFailure(Self.explain(step, run, directory), -pid) }
      if enclosure == nil {
        // If this cannot be written the lock alone still proves whether the run lives.
        (mark.pid, mark.startTicks) = (pid, ProcessTable.own.entry(pid)?.startTicks ?? 0)
        try? directory.writeMark(mark, to: lock)
      }
      let pipes = run.capturesStandardOutput ? [output.read, error.read] : [output.read]
      kept = pipes + [log] + (report.map { [$0.read] } ?? [])
      // What has been written need not be remembered.
      var written = run
      written.privateFiles = []
      let live = LiveRun(
        run: written, directory: directory, pid: pid, startedAt: now, log: log, pipes: pipes, report: report?.read)
      live.privateFiles = privateFiles
      return live
    } catch {
      privateFiles?.remove()
      // Whatever is thrown above is thrown before there is a process, or because there is none.
      throw Failure(message: "\(error)", isPassing: error.isFullDisk)
    }
  }

  private func makePipe(_ opened: inout [Int32]) throws(SystemFailure) -> (read: Int32, write: Int32) {
    var ends: [Int32] = [0, 0]
    let result = csupervisor_pipe(&ends)
    guard result == 0 else { throw SystemFailure("pipe", -result) }
    opened += ends
    // Ours alone: the program's end blocks as programs expect.
    csupervisor_set_nonblocking(ends[0])
    return (ends[0], ends[1])
  }

  private func spawn(
    input: Int32, output: Int32, error: Int32, lock: Int32, groups: [Int32], report: Int32?
  ) -> (pid: Int32, step: Int32) {
    var marked = run
    marked.environment.append(directory.environmentMark)
    // A sandbox changes into the run's directory by itself, as another user who may not enter this one.
    let start = run.isSandboxed ? nil : run.workingDirectory ?? directory.path
    return ProcessSpawn.start(
      marked, input: input, output: output, error: error, kept: lock, groups: groups, directory: start,
      report: report ?? -1)
  }

  /// What could not be done, for people.
  static func explain(_ step: Int32, _ run: SupervisedRun, _ directory: RunDirectory) -> String {
    switch csupervisor_step(UInt32(bitPattern: step)) {
    case CSUPERVISOR_FORK: "cannot make a process"
    case CSUPERVISOR_CGROUP: "cannot enter the control group"
    case CSUPERVISOR_MOUNT: "cannot bind the run's files"
    case CSUPERVISOR_IDENTITY: "cannot become the run's user"
    case CSUPERVISOR_DESCRIPTORS: "cannot place descriptors"
    case CSUPERVISOR_DIRECTORY: "cannot enter the working directory \(run.workingDirectory ?? directory.path)"
    default: "cannot execute \(run.arguments[0])"
    }
  }
}
