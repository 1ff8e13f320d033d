import Execution
import FederationModel
import ProcessExecutor
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// What a program may put in the place of a file that the agent reads.
@Suite struct RunFileAccessTests {
  private let directory: TemporaryDirectory
  private let files: LocalRunFiles
  private let run: String
  private let id = RunID(7)

  init() throws {
    directory = try TemporaryDirectory()
    files = LocalRunFiles(executor: NullExecutor(capacity: .zero, directory: directory.path))
    run = directory.path + "/" + id.hexadecimal
    try POSIXFile.makeDirectories(run + "/root")
    try directory.write("the agent's key", to: "secret")
  }

  @Test(
    "a log or result that has become a link, a FIFO or a directory is not read", arguments: ["output.log", "stdout"])
  func replaced(name: String) async throws {
    let path = run + "/" + name
    func opened() async throws -> OpenedFile? {
      name == "stdout" ? try await files.openResult(of: id) : try await files.openLog(of: id)
    }
    #expect(try await opened() == nil)
    #expect(symlink(directory.path + "/secret", path) == 0)
    await #expect(throws: FederationError.self) { _ = try await opened() }
    unlink(path)
    // Opening it would wait for a writer that never comes.
    #expect(mkfifo(path, 0o600) == 0)
    await #expect(throws: FederationError.self) { _ = try await opened() }
    unlink(path)
    #expect(mkdir(path, 0o700) == 0)
    await #expect(throws: FederationError.self) { _ = try await opened() }
    rmdir(path)
    try directory.write("said", to: "\(id.hexadecimal)/\(name)")
    let file = try #require(try await opened())
    #expect(file.size == 4)
    #expect(try POSIXFile.readAll(file.descriptor, limit: 100) == Array("said".utf8))
  }

  /// Puts the file of a cache into the run, and tells what it is there.
  private func place(_ object: String, _ name: String, mode: Int32?, mayLink: Bool) async throws -> stat {
    let source = try #require(try OpenedFile.open(object))
    try await LocalRunFiles(executor: files.executor, mayLink: mayLink).place(
      source, as: PlacedInput(path: name, archive: .none, mode: mode, index: 0), in: id)
    var status = stat()
    #expect(lstat(run + "/root" + name, &status) == 0)
    return status
  }

  @Test(
    "an unpacked input is another name of the cache's file where the run has a user of its own, and a file of its own elsewhere",
    arguments: [true, false])
  func linked(mayLink: Bool) async throws {
    try directory.write("cached bytes", to: "object")
    let object = directory.path + "/object"
    var cached = stat()
    #expect(stat(object, &cached) == 0)
    for _ in 0..<2 {
      // One that is put again replaces the first.
      let placed = try await place(object, "/in", mode: nil, mayLink: mayLink)
      #expect((placed.st_ino == cached.st_ino) == mayLink)
      // Nobody may write what two have; what the run has alone is the run's.
      #expect((placed.st_mode & 0o222 == 0) == mayLink)
    }
    // A mode of its own needs a file of its own.
    #expect(try await place(object, "/own", mode: 0o755, mayLink: mayLink).st_ino != cached.st_ino)
    #expect(try POSIXFile.readAll(try POSIXFile.open(object, O_RDONLY), limit: 100) == Array("cached bytes".utf8))
  }

  @Test(
    "a run's user can neither write a file that the cache has, too, nor give it another mode",
    .enabled(if: geteuid() == 0, "only root can start a program as another user"))
  func protected() async throws {
    try directory.write("cached bytes", to: "object")
    let object = directory.path + "/object"
    _ = try await place(object, "/in", mode: nil, mayLink: true)
    // The run's root is given to its user; the cache's file is not.
    HostFiles.give(run + "/root", to: .nobody)
    for path in [directory.path, run] { chmod(path, 0o755) }
    let attempts =
      "echo x >>\(run)/root/in || chmod u+w \(run)/root/in || truncate -s 0 \(run)/root/in || echo refused; cat \(run)/root/in"
    let (status, output) = try StepRunner.execute(
      ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", attempts])
    #expect(status == 0 && output.contains("refused") && output.contains("cached bytes"), "\(output)")
    #expect(try POSIXFile.readAll(try POSIXFile.open(object, O_RDONLY), limit: 100) == Array("cached bytes".utf8))
  }

  @Test("an output that is a link out of the run's root is looked for inside of it")
  func output() async throws {
    #expect(symlink(directory.path + "/secret", run + "/root/out") == 0)
    #expect(try await files.openOutput("/out", of: id) == nil)
    #expect(mkfifo(run + "/root/pipe", 0o600) == 0)
    await #expect(throws: FederationError.self) { _ = try await files.openOutput("/pipe", of: id) }
    try directory.write("inside", to: "\(id.hexadecimal)/root/real")
    let file = try #require(try await files.openOutput("/real", of: id))
    #expect(file.size == 6)
  }

  @Test("a log that cannot be reached at present is postponed, and goes on from the same byte")
  func postponed() {
    var queue = LogQueue()
    queue.grew(id, to: 100, isFinal: true, acknowledged: 0)
    queue.streamOpened()
    let read = queue.next()
    #expect(read == .init(run: id, offset: 0, count: 100, isLast: true))
    queue.postponed(read!)
    #expect(queue.next() == nil)
    queue.resumed(id)
    #expect(queue.next() == read)
  }
}
