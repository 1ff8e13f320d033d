import FederationModel
import Foundation
import LocalProcess
import Testing

@testable import fubini

/// The processes that `up` starts, for real.
@Suite(.timeLimit(.minutes(2))) struct LocalSetupTests {
  private let environment = ["PATH": "/usr/bin:/bin"]

  @Test("PostgreSQL is made, started, found running, stopped, and started again with its data")
  func postgres() async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o755)
      let postgres = LocalPostgres(directory: directory + "/pg", log: directory + "/log")
      try await postgres.start()
      let first = try #require(postgres.postmaster())
      try await postgres.start()
      #expect(postgres.postmaster() == first)
      await postgres.stop()
      ChildProcess.reap(first)
      #expect(postgres.postmaster() == nil && !first.isAlive)
      try await postgres.start()
      let second = try #require(postgres.postmaster())
      #expect(second != first)
      await postgres.stop()
      #expect(!second.isAlive)
    }
  }

  @Test("a pid file that names a process of another start time harms nobody")
  func stalePidFile() async throws {
    try await withTemporaryDirectory { directory in
      let setup = LocalSetup(directory: directory)
      try setup.prepare()
      let bystander = try ChildProcess.spawn(
        ["/bin/sleep", "60"], environment: environment, log: directory + "/bystander")
      var stale = bystander
      stale.startTicks += 1
      for name in ["controlplane", "agent-a"] { try stale.save(to: setup.pidFile(name)) }
      await Down.sweep(setup, keepingPostgres: true)
      #expect(bystander.isAlive)
      #expect(!FileManager.default.fileExists(atPath: setup.pidFile("agent-a")))
      await bystander.end(grace: .seconds(5))
    }
  }

  @Test("a process that ignores the polite signal is ended by the other one")
  func stubborn() async throws {
    try await withTemporaryDirectory { directory in
      let log = directory + "/log"
      let child = try ChildProcess.spawn(
        ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"], environment: environment, log: log)
      #expect(await eventually { InputFile.read(log, limit: 100).map { $0.count > 0 } ?? false })
      await child.end(grace: .milliseconds(100))
      #expect(!child.isAlive)
      ChildProcess.reap(child)
    }
  }

  @Test("a command that fails is told with its last lines, and one that hangs is ended")
  func commands() async throws {
    try await withTemporaryDirectory { directory in
      do {
        try await ChildProcess.run(
          ["/bin/sh", "-c", "echo what went wrong; exit 3"], environment: environment, log: directory + "/a",
          timeout: .seconds(10))
        Issue.record("it did not fail")
      } catch let failure as FederationError { #expect(failure.publicMessage.contains("what went wrong")) }
      do {
        try await ChildProcess.run(
          ["/bin/sleep", "60"], environment: environment, log: directory + "/b", timeout: .milliseconds(100))
        Issue.record("it did not time out")
      } catch let failure as FederationError { #expect(failure.code == .deadlineExceeded) }
    }
  }

  /// `fubini up` itself, on a data directory whose name is not plain ASCII.
  @Test("a control plane that is killed comes back at the port that clients know, and client.env says so")
  func keepsItsPort() async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o755)
      let setup = LocalSetup(directory: directory + "/数据 x")
      let fubini = try LocalSetup.sibling("fubini")
      func run(_ words: [String]) async throws {
        try await ChildProcess.run(
          [fubini] + words + ["--data-dir", setup.directory], environment: environment, log: directory + "/log",
          timeout: .seconds(90))
      }
      try await run(["up", "--agents", "0", "--detach"])
      let first = try #require(setup.ready)
      let url = "export FUBINI_URL=http://127.0.0.1:\(first.httpPort)\n"
      kill(first.pid, SIGKILL)
      #expect(await eventually { setup.ready.map { $0.pid != first.pid } ?? false })
      #expect(setup.ready?.httpPort == first.httpPort && setup.ready?.gatewayPort == first.gatewayPort)
      func announced() -> String {
        String(decoding: InputFile.read(setup.path("client.env"), limit: 4096) ?? [], as: UTF8.self)
      }
      #expect(announced().hasPrefix(url))
      // The same over an orderly end.
      try await run(["down"])
      try await run(["up", "--agents", "0", "--detach"])
      #expect(announced().hasPrefix(url))
      // Asking for something else than what runs is no success.
      await #expect(throws: FederationError.self) { try await run(["up", "--agents", "3", "--detach"]) }
      try await run(["down"])
    }
  }

  @Test("a port that somebody else has taken is refused when asked for, and another is drawn when it was only kept")
  func takenPort() async throws {
    try await FakeServer.with({ _, _ in .json("{}") }) { _, url in
      try await withTemporaryDirectory { directory in
        let port = try #require(Int(url.split(separator: ":").last ?? ""))
        var setup = LocalSetup(directory: directory)
        try PrivateFile.write(
          #"{"httpPort":\#(port),"gatewayPort":1,"pid":1}"#, to: setup.path("controlplane.ready"))
        #expect(try setup.chosenHTTPPort() == 0)
        setup.httpPort = port
        #expect(throws: CommandFailure.self) { try setup.chosenHTTPPort() }
      }
    }
  }

  @Test("a directory that holds something else is left alone, and one of an `up` that died early is taken")
  func foreignDirectory() async throws {
    try await withTemporaryDirectory { directory in
      let setup = LocalSetup(directory: directory)
      try FileManager.default.createDirectory(atPath: setup.path("log"), withIntermediateDirectories: false)
      try setup.prepare()
      try setup.prepare()
      try PrivateFile.write("", to: directory + "/log/mine")
      #expect(throws: CommandFailure.self) { try LocalSetup(directory: directory + "/log").prepare() }
      #expect(throws: CommandFailure.self) { try LocalSetup(directory: directory + "/log/mine").prepare() }
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory + "/log") == ["mine"])
    }
  }

  @Test(
    "a data directory may have spaces and letters of any script, but nothing that ends a shell's quotes",
    arguments: [
      ("/a/数据 x", "/a/数据 x"), ("/a/b/", "/a/b"), ("/a/../b", "/b"), ("/a%20b", "/a%20b"), ("/a'b", nil), ("/a,b", nil),
      ("/a\"b", nil), ("/a$b", nil), ("/a\nb", nil), ("", nil),
    ] as [(String, String?)])
  func dataDirectories(given: String, path: String?) {
    #expect((try? LocalSetup.resolve(given)) == path)
  }

  @Test("a second `up` names each option that what runs does not have, and nothing where it asks for nothing")
  func differences() {
    let running = UpOptions(agents: [AgentSpecification(name: "a"), AgentSpecification(name: "b")])
    #expect(UpOptions().differences(from: running, port: 8080).isEmpty)
    #expect(running.differences(from: running, port: 8080).isEmpty)
    #expect(UpOptions(httpPort: 8080).differences(from: running, port: 8080).isEmpty)
    let other = UpOptions(
      agents: [AgentSpecification(name: "c")], httpPort: 80, agentHost: "::", advertised: ["x"], isSlurm: true)
    #expect(
      other.differences(from: running, port: 8080) == [
        "its agents are a, b, not c", "its HTTP port is 8080, not 80",
        "its agents' port listens at 127.0.0.1, not ::", "it advertises nothing more, not x", "it has no Slurm cluster",
      ])
  }

  @Test("restarts wait longer and longer, up to a bound; a long life starts afresh")
  func restarts() {
    let start = ContinuousClock.now
    var plan = RestartPlan(startedAt: start)
    #expect(!plan.isPlanned)
    let pauses = (0..<10).map { _ in plan.plan(start, random: 1) }
    #expect(pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30])
    #expect(!plan.isDue(start) && plan.isDue(start + .seconds(30)))
    plan.succeeded(start + .seconds(30))
    #expect(plan.plan(start + .seconds(40), random: 1) == 30)
    plan.succeeded(start + .seconds(70))
    #expect(plan.plan(start + .seconds(200), random: 1) == 0.5)
  }
}

@Suite(.timeLimit(.minutes(2))) struct ArtifactArchiveTests {
  /// Packs what `script` makes in an empty directory.
  private func pack(_ script: String, format: String, in directory: String) async throws -> ArtifactArchive {
    let command =
      format == "zip"
      ? "cd \"$1\" && mkdir in && cd in && \(script) && zip -q -r -y ../a ."
      : "cd \"$1\" && mkdir in && cd in && \(script)"
    try await ChildProcess.run(
      ["/bin/sh", "-c", command, "sh", directory], environment: ["PATH": "/usr/bin:/bin"], log: directory + "/log",
      timeout: .seconds(20))
    return ArtifactArchive(path: directory + (format == "zip" ? "/a.zip" : "/a"), format: format)
  }

  @Test("one packed file becomes the destination, and a directory takes it under its own name")
  func unpacks() async throws {
    try await withTemporaryDirectory { directory in
      let archive = try await pack("echo hi > f && tar -czf ../a f", format: "tar", in: directory)
      #expect(try await archive.unpack(to: directory + "/out", intoDirectory: false) == [directory + "/out"])
      #expect(FileManager.default.contents(atPath: directory + "/out") == Data("hi\n".utf8))
      // A file replaces a file, as with cp.
      #expect(try await archive.unpack(to: directory + "/out", intoDirectory: false) == [directory + "/out"])
      #expect(try await archive.unpack(to: directory, intoDirectory: true) == [directory + "/f"])
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: directory).sorted() == ["a", "f", "in", "log", "out"])
    }
  }

  @Test(
    "what leads out of its directory is refused, and nothing of it stays",
    arguments: [
      "ln -s /etc/passwd l && tar -cf ../a l", "mkdir d && ln -s ../../x d/l && tar -cf ../a d",
      "echo x > f && tar -cPf ../a ../in/f", "mkfifo p && tar -cf ../a p",
    ])
  func escapes(script: String) async throws {
    try await withTemporaryDirectory { directory in
      let archive = try await pack(script, format: "tar", in: directory)
      await #expect(throws: CommandFailure.self) {
        _ = try await archive.unpack(to: directory + "/out", intoDirectory: false)
      }
      let left = try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
      #expect(left == ["a", "in", "log"])
    }
  }

  @Test(
    "links stay inside as long as no step of theirs leaves",
    arguments: [
      ("a/b", 0, true), ("../a", 1, true), ("../a", 0, false), ("a/../../b", 0, false), ("/a", 3, false),
      ("./..", 1, true),
    ])
  func links(target: String, depth: Int, expected: Bool) {
    #expect(ArtifactArchive.staysInside(target, depth: depth) == expected)
  }

  @Test("a directory is never replaced")
  func inTheWay() async throws {
    try await withTemporaryDirectory { directory in
      let archive = try await pack("mkdir d && echo x > d/f && tar -cf ../a d", format: "tar", in: directory)
      try FileManager.default.createDirectory(atPath: directory + "/d", withIntermediateDirectories: false)
      await #expect(throws: CommandFailure.self) { _ = try await archive.unpack(to: directory, intoDirectory: true) }
    }
  }

  @Test("a download goes on where it broke, and one whose checksum is wrong is not kept")
  func resumes() async throws {
    // SHA-256 of "hello world".
    let digest = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    try await FakeServer.with({ request, _ in
      let start = Int(request.query("offset") ?? "0") ?? 0
      let rest = Array("hello world".utf8.dropFirst(start))
      let headers = [("X-Artifact-SHA256", digest), ("X-Artifact-Archive", "none")]
      return start == 0
        ? .init(headers: headers, body: Array(rest.prefix(4)), ending: .cut) : .init(headers: headers, body: rest)
    }) { server, url in
      try await withTemporaryDirectory { directory in
        try await withClient(url) { client in
          let file = directory + "/x.part"
          let stored = try await ArtifactDownload(client: client, path: ["a"]).fetch(to: file)
          #expect(stored == .init(size: 11, archive: "none"))
          #expect(server.requests.last?.query("offset") == "4")
          // Left by another artifact: found out by the checksum, and fetched again from the start.
          try Data("HELL".utf8).write(to: URL(filePath: file))
          _ = try await ArtifactDownload(client: client, path: ["a"]).fetch(to: file)
          #expect(FileManager.default.contents(atPath: file) == Data("hello world".utf8))
        }
      }
    }
  }
}
