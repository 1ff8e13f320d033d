internal import Glibc
internal import Testing

@testable internal import Supervisor

/// A shared directory of a test's own, and steps as a batch system would start them.
final class BatchStepFixture {
  let directory: String
  let files: BatchFiles

  init() throws {
    var template = Array("/tmp/fubini-batch-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    files = BatchFiles(sharedDirectory: directory)
    try files.makeDirectories()
  }

  deinit { SupervisorFixture.remove(directory) }

  func request(_ id: UInt64, _ script: String, _ change: (inout SupervisedRun) -> Void = { _ in }) throws {
    var run = SupervisedRun(
      id: id, arguments: ["/bin/sh", "-c", script], environment: ["PATH=/usr/bin:/bin"], graceMs: 10_000)
    change(&run)
    try Files.makeDirectory(files.path(id))
    try files.writeRequest(run)
  }

  func start(_ id: UInt64) -> Int32 { start(["--run", RunDirectory.hexadecimal(id)], []) }

  /// - Returns: the pid of the step.
  func start(_ arguments: [String], _ environment: [String]) -> Int32 {
    let all = [SupervisorFixture.executable, "batch-step", "--state-dir", directory] + arguments
    var pid: pid_t = 0
    return withCStrings(all) { arguments in
      withCStrings(environment + ["SLURM_JOB_ID=4711"]) { environment in
        let list = UnsafeMutablePointer(
          mutating: UnsafeRawPointer(arguments).assumingMemoryBound(to: UnsafeMutablePointer<CChar>?.self))
        let variables = UnsafeMutablePointer(
          mutating: UnsafeRawPointer(environment).assumingMemoryBound(to: UnsafeMutablePointer<CChar>?.self))
        return posix_spawn(&pid, SupervisorFixture.executable, nil, nil, list, variables) == 0 ? pid : -1
      }
    }
  }

  /// The exit code of a step, 128 + n if signal n ended it.
  func wait(_ pid: Int32) throws -> Int32 {
    var status: Int32 = 0
    try waitUntil("the step has ended") { waitpid(pid, &status, WNOHANG) == pid }
    return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + status & 0x7f
  }

  func text(_ id: UInt64, _ name: String) -> String {
    String(decoding: Files.read(files.path(id) + "/" + name, limit: 1 << 20) ?? [], as: UTF8.self)
  }
}
