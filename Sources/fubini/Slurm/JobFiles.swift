internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess
internal import SlurmFrontDoor
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#endif

/// Brings what jobs have written to the directories that they were submitted in.
///
/// A record beside the person's other state says which jobs of this machine's submissions are still owed files. Whoever tells a
/// person or a program that a job has ended fetches them first: what has ended has its files.
struct JobFiles: Sendable {
  var client: APIClient

  /// What is kept of a submission until all of its files are here.
  struct Record: Codable, Sendable {
    var url: String
    var project: String
    var number: Int64
    /// Tasks whose files have come; of a job that is no array, 0.
    var done: Set<Int32> = []
    /// Where they are brought; nil: where it was submitted.
    var directory: String?
  }

  private static var directory: String {
    let environment = SlurmHost.environment
    let base = environment["XDG_STATE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
    return (base ?? (environment["HOME"] ?? "/root") + "/.local/state") + "/fubini/jobs"
  }

  private func path(_ number: Int64) -> String {
    let host = client.connection.url.filter { $0.isLetter || $0.isNumber || $0 == "." || $0 == "-" }
    return "\(Self.directory)/\(host)-\(number).json"
  }

  func remember(_ number: Int64, project: String, directory: String? = nil) throws {
    try FileManager.default.createDirectory(atPath: Self.directory, withIntermediateDirectories: true)
    let record = Record(url: client.connection.url, project: project, number: number, directory: directory)
    try PrivateFile.write(String(decoding: try JSONEncoder().encode(record), as: UTF8.self), to: path(number))
  }

  private func records() -> [Record] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: Self.directory)) ?? []
    return names.filter { $0.hasSuffix(".json") }.compactMap { name in
      guard let bytes = InputFile.read("\(Self.directory)/\(name)", limit: 1 << 20),
        let record = try? JSONDecoder().decode(Record.self, from: Data(bytes)), record.url == client.connection.url
      else { return nil }
      return record
    }
  }

  /// Fetches the files of every task that has ended and is owed some.
  ///
  /// - Returns: of how many tasks.
  @discardableResult func fetchEnded() async throws -> Int {
    let records = records()
    guard !records.isEmpty else { return 0 }
    let jobs = try await JobReading(client: client).jobs(numbered: records.map(\.number))
    var count = 0
    for record in records {
      guard let job = jobs.first(where: { $0.number == record.number }) else {
        // Nobody knows it any more, so nothing of it will come.
        unlink(path(record.number))
        continue
      }
      count += try await fetch(job)
    }
    return count
  }

  /// The same of one job, under a lock: another command may be at it.
  func fetch(_ job: FederationAPI.JobDocument) async throws -> Int {
    let path = path(job.number)
    let lock = open(path, O_RDWR | O_CLOEXEC)
    guard lock >= 0 else { return 0 }
    defer { close(lock) }
    while flock(lock, LOCK_EX | LOCK_NB) != 0 {
      guard errno == EWOULDBLOCK || errno == EINTR else { throw ArtifactDownload.cannotWrite(path) }
      try await Task.sleep(for: .milliseconds(50))
    }
    // It may have been finished while we waited.
    guard let bytes = InputFile.read(path, limit: 1 << 20),
      var record = try? JSONDecoder().decode(Record.self, from: Data(bytes))
    else { return 0 }
    var count = 0
    var job = job
    if let directory = record.directory { job.details.directory = directory }
    for (line, task) in zip(JobLine.of(job), job.tasks) where !line.state.isOpen {
      let key = task.task ?? 0
      guard !record.done.contains(key) else { continue }
      try await fetch(task, of: job, line)
      record.done.insert(key)
      count += 1
      // In the place of what is there, so that the lock stays on this file.
      try Self.rewrite(lock, record)
    }
    if record.done.count == job.tasks.count { unlink(path) }
    return count
  }

  /// Brings what the ended tasks of a job have written to `directory`, whoever has submitted it and from where.
  ///
  /// - Returns: of how many tasks.
  func bring(_ job: FederationAPI.JobDocument, to directory: String) async throws -> Int {
    var moved = job
    moved.details.directory = directory
    var count = 0
    for (line, task) in zip(JobLine.of(moved), moved.tasks) where !line.state.isOpen {
      try await fetch(task, of: moved, line)
      count += 1
    }
    return count
  }

  private static func rewrite(_ descriptor: Int32, _ record: Record) throws {
    let bytes = Array(try JSONEncoder().encode(record))
    guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, bytes, bytes.count, 0) == bytes.count else {
      throw ArtifactDownload.cannotWrite("the record of job \(record.number)")
    }
  }

  private func fetch(
    _ task: JobTaskDocument, of job: FederationAPI.JobDocument, _ line: JobLine
  ) async throws {
    var connection = client.connection
    connection.project = job.project
    let here = APIClient(connection: connection, http: client.http, retry: client.retry)
    // What the job has written there by itself stays. It could not where there is a log.
    let isDirect = job.details.isDirect == true && task.run != nil
    let output = try OutputFile(line.output, appends: job.details.appends, waitsForContent: isDirect)
    defer { output.close() }
    if let node = task.node, let run = task.run {
      let reader = LogReader(client: here, workflow: job.workflowUID, write: { output.write($0) })
      // The run is over, and who asks then gets its log whole; following would wait a minute for one that has no line.
      try await reader.read(RunLog(node: node, run: run, prefix: ""), follow: false)
      try output.check()
    } else if !task.message.isEmpty {
      output.write(Array("fubini: \(task.message)\n".utf8))
    }
    if line.state == .cancelled || line.state == .timeout {
      // As Slurm writes it into the same file.
      let reason = line.state == .timeout ? "DUE TO TIME LIMIT " : ""
      let time = SlurmTime.moment(line.finishedAt, offset: SlurmHost.moment.offset) ?? "N/A"
      let words = "slurmstepd: error: *** JOB \(line.number) ON \(line.cluster) CANCELLED AT \(time) \(reason)***\n"
      // The cluster's user may have made the file, and then nobody else need be allowed to write into it.
      let end = isDirect && !output.isOpen ? try? OutputFile(line.output, appends: true) : output
      end?.write(Array(words.utf8))
      if !(end === output) { end?.close() }
    }
    guard task.hasResults, let node = task.node else { return }
    try FileManager.default.createDirectory(atPath: Self.directory, withIntermediateDirectories: true)
    let scratch = "\(Self.directory)/.results-\(UInt64.random(in: 0 ... .max)).tar"
    defer { unlink(scratch) }
    let path = here.workflow(
      job.project, job.workflowUID, "nodes", "\(node)", "artifacts", SlurmFrontDoor.JobDocument.resultsArtifact)
    try await TransferWait.untilStored(path, here)
    _ = try await ArtifactDownload(client: here, path: path).fetch(to: scratch)
    try await JobResults(directory: job.details.directory, error: line.error, appends: job.details.appends)
      .unpack(scratch)
  }
}

/// A file that a job's output is written to, as Slurm would have.
final class OutputFile: Sendable {
  private let path: String
  private let flags: Int32
  /// -1: not open yet; -2: it could not be opened.
  private let descriptor: Mutex<Int32>

  /// - Parameter waitsForContent: what is there stays until something is written.
  init(_ path: String, appends: Bool, waitsForContent: Bool = false) throws {
    self.path = path
    flags = O_WRONLY | O_CREAT | O_CLOEXEC | (appends ? O_APPEND : O_TRUNC)
    descriptor = Mutex(-1)
    if !waitsForContent {
      open()
      try check()
    }
  }

  @discardableResult private func open() -> Int32 {
    descriptor.withLock { descriptor in
      guard descriptor == -1 else { return descriptor }
      // Opened by its name, a file behind it would be emptied.
      descriptor = path == "/dev/stdout" ? dup(STDOUT_FILENO) : Glibc.open(path, flags, 0o666)
      if descriptor < 0 { descriptor = -2 }
      return descriptor
    }
  }

  var isOpen: Bool { descriptor.withLock { $0 >= 0 } }

  /// - Throws: where it could not be opened.
  func check() throws {
    if descriptor.withLock({ $0 == -2 }) { throw ArtifactDownload.cannotWrite(path) }
  }

  func write(_ bytes: [UInt8]) {
    let descriptor = open()
    guard descriptor >= 0 else { return }
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }

  func close() {
    descriptor.withLock { descriptor in
      if descriptor >= 0 { _ = Glibc.close(descriptor) }
      descriptor = -1
    }
  }
}

/// The files that a job has made or changed, on their way into the directory that it was submitted in.
struct JobResults: Sendable {
  var directory: String
  /// Where its standard error goes; empty: it is with the output.
  var error: String
  var appends: Bool

  /// Unpacked beside the directory first: what a job wrote is not trusted with where it goes.
  func unpack(_ archive: String) async throws {
    let staging = "\(directory)/.fubini-\(UInt64.random(in: 0 ... .max))"
    guard mkdir(staging, 0o700) == 0 else { throw ArtifactDownload.cannotWrite(staging) }
    defer { try? FileManager.default.removeItem(atPath: staging) }
    try await ChildProcess.run(
      [
        "/usr/bin/tar", "--extract", "--file", archive, "--directory", staging, "--no-same-owner",
        "--no-same-permissions",
      ], environment: ["PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"], log: staging + "/.log",
      timeout: .seconds(24 * 3600))
    unlink(staging + "/.log")
    let errors = staging + "/" + JobWrapper.errorName
    if !error.isEmpty, access(errors, F_OK) == 0 {
      let file = try OutputFile(error, appends: appends)
      defer { file.close() }
      let reader = FileReader([FileBytes.Part(location: errors, size: Self.size(errors))], from: 0)
      while let (_, bytes) = try reader.next() { file.write(bytes) }
    }
    unlink(errors)
    try merge(staging)
  }

  private static func size(_ path: String) -> Int64 {
    var status = stat()
    return stat(path, &status) == 0 ? Int64(status.st_size) : 0
  }

  private func merge(_ staging: String) throws {
    var stack = [(path: "", depth: 0)]
    while let (relative, depth) = stack.popLast() {
      guard depth < 1024 else {
        throw CommandFailure(.error, "The job has made directories that are nested too deeply.")
      }
      for name in try FileManager.default.contentsOfDirectory(atPath: staging + relative) {
        let part = "\(relative)/\(name)"
        let (source, target) = (staging + part, directory + part)
        var status = stat()
        guard lstat(source, &status) == 0 else { throw ArtifactDownload.cannotWrite(source) }
        switch status.st_mode & S_IFMT {
        case S_IFDIR:
          guard mkdir(target, 0o777) == 0 || errno == EEXIST else { throw ArtifactDownload.cannotWrite(target) }
          stack.append((part, depth + 1))
        case S_IFLNK:
          let destination = try FileManager.default.destinationOfSymbolicLink(atPath: source)
          guard ArtifactArchive.staysInside(destination, depth: depth) else {
            Terminal.note("\(Terminal.printable(part)) is a link that leads out of the directory: it was left out.")
            continue
          }
          fallthrough
        default:
          guard rename(source, target) == 0 else { throw ArtifactDownload.cannotWrite(target) }
        }
      }
    }
  }
}
