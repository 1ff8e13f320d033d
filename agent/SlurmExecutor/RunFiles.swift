internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Supervisor

/// What the executor itself keeps in the shared directory, beside the files of `BatchFiles`.
///
/// `runs/ID/job` says in which submission a run went to Slurm, and is written before `sbatch` is run. `jobs/KEY` is a submission:
/// `runs` lists its runs (the map of a job array), `job` has the job's id once Slurm has answered.
struct RunFiles: Sendable {
  /// A submission that was tried, and what Slurm said to it.
  struct Attempt: Hashable, Sendable {
    var name: JobName
    /// In its array.
    var index: Int?
    /// Whether tasks of that array take runs from each other.
    var isShared = false
    /// Whether it was made before the run's inputs were here.
    var isAhead = false
    /// nil: no answer, which may mean that there is such a job all the same.
    var jobID: UInt64?
  }

  let sharedDirectory: String
  let mark: String
  let trash: Trash

  func directory(_ id: RunID) -> String { "\(sharedDirectory)/runs/\(id.hexadecimal)" }
  func directory(_ name: JobName) -> String { "\(sharedDirectory)/jobs/\(name.key)" }
  func map(_ name: JobName) -> String { directory(name) + "/runs" }

  /// Notes what is about to be tried: the submission first, so that no run ever points to nothing.
  func noteAttempt(
    _ name: JobName, runs: [RunID], isShared: Bool = false, isAhead: Bool = false
  ) throws(FederationError) {
    let directory = directory(name)
    try HostFiles.makeDirectory(directory)
    // The answer to an earlier attempt under the same name is none to this one.
    unlink(directory + "/job")
    try HostFiles.write(map(name), runs.map(\.hexadecimal).joined(separator: "\n").utf8, mode: 0o600)
    for (index, run) in runs.enumerated() {
      let words =
        [name.key] + (runs.count == 1 ? [] : ["\(index)"]) + (isShared ? ["shared"] : []) + (isAhead ? ["ahead"] : [])
      try HostFiles.write(self.directory(run) + "/job", words.joined(separator: " ").utf8, mode: 0o600)
    }
  }

  /// Lost with a crash it is found again by the job's name.
  func noteAnswer(_ name: JobName, jobID: UInt64) throws(FederationError) {
    try HostFiles.write(directory(name) + "/job", "\(jobID)".utf8, mode: 0o600)
  }

  /// nil when the run was never submitted.
  func attempt(_ id: RunID) -> Attempt? {
    let words = attemptWords(id)
    guard let key = words.first, let name = JobName(key: key, mark: mark) else { return nil }
    let answer = HostFiles.read(directory(name) + "/job", limit: 32)
    return Attempt(
      name: name, index: words.count > 1 ? Int(words[1]) : nil, isShared: words.dropFirst().contains("shared"),
      isAhead: words.dropFirst().contains("ahead"),
      jobID: answer.flatMap { UInt64(String(decoding: $0, as: UTF8.self)) })
  }

  private func attemptWords(_ id: RunID) -> [Substring] {
    guard let bytes = HostFiles.read(directory(id) + "/job", limit: 64) else { return [] }
    return String(decoding: bytes, as: UTF8.self).split(separator: " ")
  }

  /// Whether a run is there still, and that submission carries it.
  func isPart(_ id: RunID, of name: JobName) -> Bool { attemptWords(id).first.map { $0 == name.key } ?? false }

  /// The run is in no submission any more, because its job came too early.
  func putBack(_ id: RunID) {
    try? HostFiles.write(directory(id) + "/put-back", "1".utf8, mode: 0o600)
    unlink(directory(id) + "/job")
  }

  func wasPutBack(_ id: RunID) -> Bool { HostFiles.exists(directory(id) + "/put-back") }

  /// The runs of a submission, by index; empty when there is none of that name.
  func runs(_ name: JobName) -> [RunID] {
    guard let bytes = HostFiles.read(map(name), limit: 4 << 20) else { return [] }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { RunID(hexadecimal: $0) }
  }

  /// Every run that has a directory here.
  func allRuns() -> [RunID] {
    (HostFiles.list(sharedDirectory + "/runs") ?? []).compactMap { RunID(hexadecimal: $0.name) }
  }

  /// Every submission that has a directory here.
  func allSubmissions() -> [JobName] {
    (HostFiles.list(sharedDirectory + "/jobs") ?? []).compactMap { JobName(key: $0.name, mark: mark) }
  }

  /// What really runs; nil before it is prepared.
  func runsAs(_ id: RunID) -> String? {
    HostFiles.read(directory(id) + "/runs-as", limit: 256).map { String(decoding: $0, as: UTF8.self) }
  }

  func logBytes(_ id: RunID) -> Int64 {
    var status = stat()
    return stat(directory(id) + "/output.log", &status) == 0 ? Int64(status.st_size) : 0
  }

  /// What Slurm and the batch step themselves said about a job, on one line: why it could not start.
  ///
  /// - Parameter index: of the task in its array.
  func complaint(_ name: JobName, index: Int?) -> String? {
    let path = directory(name) + "/" + (index.map { "\($0)" } ?? "job") + ".log"
    guard let bytes = HostFiles.read(path, limit: 4096), !bytes.isEmpty else { return nil }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").suffix(3)
    return String(lines.joined(separator: "; ").prefix(300))
  }

  /// Whether something else than a directory of ours is where a run's directory was. False while nobody can say.
  func isReplaced(_ id: RunID) -> Bool {
    var status = stat()
    guard lstat(directory(id), &status) == 0 else { return false }
    return status.st_mode & S_IFMT != S_IFDIR || status.st_uid != geteuid()
  }

  /// Deletes a run's files, by and by.
  func remove(_ id: RunID) { trash.take(directory(id)) }

  func remove(_ name: JobName) { HostFiles.remove(directory(name)) }
}
