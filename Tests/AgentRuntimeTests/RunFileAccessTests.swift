import Execution
import FederationModel
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
