internal import Execution
internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Testing

@Suite("Roots of ended runs", .serialized, .timeLimit(.minutes(3)))
struct RootPoolTests {
  private func with(_ body: (ExecutorFixture) async throws -> Void) async throws {
    let fixture = try await ExecutorFixture()
    do { try await body(fixture) } catch {
      await fixture.tearDown()
      throw error
    }
    await fixture.tearDown()
  }

  /// Says everything that is in its root, with kinds, modes, targets and attributes, but not what is mounted there.
  private static let look = """
    find / -maxdepth 1 -printf '%p %y %m %l\\n' | sort; find /tmp /workspace | sort
    python3 -c "import os; print([os.listxattr(x) for x in ('/', '/workspace', '/tmp')])"
    """

  private func inode(_ path: String) throws -> UInt {
    var status = stat()
    try #require(lstat(path, &status) == 0, "there is no \(path)")
    return status.st_ino
  }

  /// Runs `script`, forgets it, and returns the inode of the root that it had.
  private func ended(_ id: Int64, _ script: String, _ fixture: ExecutorFixture) async throws -> UInt {
    let end = try await fixture.run(id, .shell(script))
    #expect(end.phase == .succeeded, "\(end) \(fixture.log(id))")
    let root = try inode(fixture.executor.workspace(for: RunID(id)).root)
    try await fixture.executor.forget([RunID(id)])
    #expect(access(fixture.executor.workspace(for: RunID(id)).directory, F_OK) != 0)
    return root
  }

  @Test("the next run of a project gets an ended run's root, and finds it as if it were new")
  func reused() async throws {
    try await with { fixture in
      let first = try await ended(1, "true", fixture)
      let fresh = try await fixture.run(2, .shell(Self.look)) { $0.project = "other" }
      #expect(fresh.phase == .succeeded)
      let untouched = fixture.log(2)
      #expect(try inode(fixture.executor.workspace(for: RunID(2)).root) != first, "another project's root")
      let again = try await fixture.run(3, .shell(Self.look))
      #expect(again.phase == .succeeded, "\(again) \(fixture.log(3))")
      #expect(try inode(fixture.executor.workspace(for: RunID(3)).root) == first)
      #expect(fixture.log(3) == untouched)
    }
  }

  @Test(
    "whatever a run leaves behind or changes in its root, the next one sees nothing of it",
    arguments: [
      "touch /left /tmp/left /workspace/left /dev/left 2>/dev/null; mkdir -p /a/b/c && echo x > /a/b/c/d",
      "chmod 777 /tmp; chmod 700 /workspace; chmod 755 /",
      "chmod 500 /workspace; mkdir /locked && touch /locked/x && chmod 000 /locked",
      "rm /bin && ln -s /tmp /bin", "rmdir /workspace && ln -s /etc /workspace; cd /",
      "rmdir /tmp && echo file > /tmp", "mv /tmp /elsewhere",
      "python3 -c \"import os; open(b'/tmp/\\xff\\xfe', 'w'); open(b'/\\xff\\n', 'w'); os.mkfifo('/fifo')\"",
      "python3 -c \"import os; os.setxattr('/workspace', 'user.note', b'from the last run')\" || true",
      "ln -s /usr/share /tmp/link; ln -s / /workspace/root",
    ])
  func mischief(script: String) async throws {
    try await with { fixture in
      let end = try await fixture.run(1, .shell(Self.look)) { $0.project = "other" }
      #expect(end.phase == .succeeded)
      _ = try await ended(2, script, fixture)
      let after = try await fixture.run(3, .shell(Self.look))
      #expect(after.phase == .succeeded, "\(after) \(fixture.log(3))")
      #expect(fixture.log(3) == fixture.log(1))
    }
  }

  @Test("a root that is discarded while its run is forgotten is taken away once: the next run finds all of its own")
  func discardedAndForgotten() async throws {
    try await with { fixture in
      let executor = fixture.executor
      for id in Int64(1)...30 {
        let end = try await fixture.run(id, .shell("cd /workspace && test -d /tmp && ls /bin/sh && touch left"))
        #expect(end.phase == .succeeded, "\(id): \(end) \(fixture.log(id))")
        // As when a log that is not stored yet is the last thing that is wanted of a run, and then is stored.
        let discarding = Task { await executor.discardRoot(of: RunID(id)) }
        if id.isMultiple(of: 2) { await discarding.value }
        try await executor.forget([RunID(id)])
        _ = try await executor.prepare(RunRequest(id: RunID(id + 1), epoch: 1, project: "p", spec: .shell("true")))
        await discarding.value
        #expect(access(executor.workspace(for: RunID(id)).directory, F_OK) != 0)
      }
    }
  }

  @Test("a discarded root is the next run's, and the log of the run that had it stays")
  func discarded() async throws {
    try await with { fixture in
      let end = try await fixture.run(1, .shell("echo said"))
      #expect(end.phase == .succeeded)
      let workspace = fixture.executor.workspace(for: RunID(1))
      let root = try inode(workspace.root)
      await fixture.executor.discardRoot(of: RunID(1))
      #expect(access(workspace.root, F_OK) != 0)
      #expect(fixture.log(1) == "said\n")
      let next = try await fixture.run(2, .shell("true"))
      #expect(next.phase == .succeeded)
      #expect(try inode(fixture.executor.workspace(for: RunID(2)).root) == root)
    }
  }

  @Test("what a run writes below directories of the host goes with it")
  func opened() async throws {
    try await with { fixture in
      var spec = TaskSpec.shell("echo x > /usr/local/made/b && echo y > /mnt/out")
      spec.outputParameters = [.init(name: "b", path: "/usr/local/made/b"), .init(name: "out", path: "/mnt/out")]
      let end = try await fixture.run(1, spec)
      #expect(end.phase == .succeeded, "\(end) \(fixture.log(1))")
      try await fixture.executor.forget([RunID(1)])
      let after = try await fixture.run(2, .shell("ls / /usr/local"))
      #expect(after.phase == .succeeded)
      #expect(!fixture.log(2).contains("made") && !fixture.log(2).contains("mnt"), "\(fixture.log(2))")
    }
  }
}
