internal import Glibc
internal import ProcessExecutor
internal import Testing

@Suite("Trash", .timeLimit(.minutes(1)))
struct TrashTests {
  private func with(_ body: (String) async throws -> Void) async throws {
    var template = Array("/tmp/fubini-trash-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { HostFiles.remove(path) }
    try await body(path)
  }

  private func makeRun(_ path: String) throws {
    for directory in ["", "/root", "/root/tmp"] { try HostFiles.makeDirectory(path + directory) }
    for file in ["/started", "/exit", "/root/tmp/x"] { try HostFiles.write(path + file, "x".utf8, mode: 0o600) }
  }

  private func becomesEmpty(_ directory: String) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while HostFiles.list(directory)?.isEmpty == false, ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(2))
    }
    #expect(HostFiles.list(directory)?.isEmpty == true)
  }

  @Test("what is taken is gone at once, and deleted soon")
  func taken() async throws {
    try await with { path in
      let trash = try Trash(directory: path + "/trash")
      for number in 0..<50 {
        try makeRun("\(path)/run\(number)")
        trash.take("\(path)/run\(number)")
        #expect(!HostFiles.exists("\(path)/run\(number)"))
      }
      try await becomesEmpty(path + "/trash")
    }
  }

  @Test("what an agent that ended could not delete any more, the next one deletes")
  func left() async throws {
    try await with { path in
      try HostFiles.makeDirectory(path + "/trash")
      try makeRun(path + "/trash/17-1")
      _ = try Trash(directory: path + "/trash")
      try await becomesEmpty(path + "/trash")
    }
  }

  @Test("a link in the place of a run goes, and what it leads to stays; without a place to move to it is deleted there")
  func odd() async throws {
    try await with { path in
      let trash = try Trash(directory: path + "/trash")
      try makeRun(path + "/other")
      #expect(symlink(path + "/other", path + "/link") == 0)
      trash.take(path + "/link")
      trash.take(path + "/nothing")
      try await becomesEmpty(path + "/trash")
      #expect(HostFiles.exists(path + "/other/root/tmp/x"))
      #expect(rmdir(path + "/trash") == 0)
      #expect(symlink(path + "/other", path + "/link") == 0)
      trash.take(path + "/link")
      #expect(HostFiles.exists(path + "/other/root/tmp/x"))
      trash.take(path + "/other")
      #expect(!HostFiles.exists(path + "/other") && !HostFiles.exists(path + "/link"))
    }
  }
}
