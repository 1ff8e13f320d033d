internal import CSupervisor
internal import Execution
internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Testing

/// Two projects on one machine, each with a Unix user of its own. Only root can become other users.
@Suite(
  "Mapped tenancy on a process cluster", .serialized, .timeLimit(.minutes(3)),
  .enabled(if: geteuid() == 0, "only root can become other users")
)
struct TenancyTests {
  static let alpha = RunIdentity(user: 61_001, group: 61_001)
  static let beta = RunIdentity(user: 61_002, group: 61_002)

  /// In a shell; `STATE` is the agent's directory, `OTHER` the other project's run, `PID` one of its processes. Each succeeds
  /// only if it reaches what it must not.
  static let attempts = [
    "cat $STATE/agent.key", "cat $STATE/journal.sqlite", "cat $STATE/agent.yaml", "ls $STATE/runs/$OTHER",
    "cat $STATE/runs/$OTHER/output.log", "cat $STATE/runs/$OTHER/root/workspace/mine",
    "cat $STATE/runs/$OTHER/root/mnt/out/result", "cat $STATE/runs/$OTHER/request", "ls $STATE/artifacts",
    "echo x > $STATE/runs/$OTHER/root/workspace/mine", "touch $STATE/runs/$OTHER/exit",
    "rm -rf $STATE/runs/$OTHER/root/workspace && ! test -e $STATE/runs/$OTHER/root/workspace && test -e $STATE/runs",
    "tr '\\0' '\\n' < /proc/$PID/environ | grep canary", "ls /proc/$PID/root/workspace", "kill -0 $PID",
    "ls /proc/$PID/fd",
    "python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect('$STATE/supervisor.sock')\"",
    "ls $STATE", "grep -rl canary /proc/[0-9]*/environ", "ln -s $STATE/agent.key k && cat k", "su -c true",
    "cat /etc/shadow",
  ]

  @Test("a run of one project reaches nothing of another's, nor of the agent's", arguments: [true, false])
  func separation(isSandboxed: Bool) async throws {
    let fixture = try await ExecutorFixture {
      $0.identities = ["alpha": Self.alpha, "beta": Self.beta]
      if !isSandboxed { $0.sandbox = .none }
    }
    do { try await separation(fixture, isSandboxed: isSandboxed) } catch {
      await fixture.tearDown()
      throw error
    }
    await fixture.tearDown()
  }

  private func separation(_ fixture: ExecutorFixture, isSandboxed: Bool) async throws {
    for name in ["agent.key", "journal.sqlite", "agent.yaml"] {
      let file = csupervisor_open(fixture.directory + "/" + name, O_CREAT | O_WRONLY, 0o600)
      write(file, "canary", 6)
      close(file)
    }
    mkdir(fixture.directory + "/artifacts", 0o700)
    // The other project's run lives meanwhile, with a secret in its environment.
    var other = TaskSpec.shell("id -u; echo mine > mine; sleep 300")
    other.outputArtifacts = [OutputArtifact(name: "out", path: "/mnt/out/result")]
    if !isSandboxed { other.outputArtifacts = [] }
    try await fixture.executor.submit(
      RunRequest(
        id: RunID(1), epoch: 1, project: "beta", spec: other, secrets: [.init(name: "SECRET", value: "canary")]))
    try await fixture.waitUntil("the other project's run has begun") { fixture.log(1).contains("61002\n") }
    let pid = try #require(Self.processes(of: Self.beta.user).first)
    let tries = Self.attempts.enumerated().map { "(\($1)) >/dev/null 2>&1 && echo 'REACHED \($0)'" }
    var spec = TaskSpec.shell((["id -u", "id -G"] + tries + ["echo finished"]).joined(separator: "\n"))
    spec.environment = [
      .init(name: "STATE", value: fixture.directory), .init(name: "OTHER", value: RunID(1).hexadecimal),
      .init(name: "PID", value: "\(pid)"),
    ]
    let end = try await fixture.run(2, spec) { $0.project = "alpha" }
    #expect(end.phase == .succeeded, "\(end)")
    let log = fixture.log(2)
    #expect(log.hasPrefix("61001\n61001\n"), "\(log)")
    for (index, attempt) in Self.attempts.enumerated() {
      #expect(!log.contains("REACHED \(index)\n"), "reached by: \(attempt)")
    }
    #expect(log.hasSuffix("finished\n"))
    // What was tried harmed nothing: the other run lives, and its file is as it was.
    #expect(fixture.observations(of: 1).allSatisfy { !$0.phase.isTerminal })
    try await fixture.executor.cancel(RunID(1), grace: .zero)
    #expect(try await fixture.end(of: 1).phase == .cancelled)
  }

  @Test("a project that is mapped to nobody has no run here")
  func unmapped() async throws {
    let fixture = try await ExecutorFixture { $0.identities = ["alpha": Self.alpha] }
    let end = try await fixture.run(1, .shell("true")) { $0.project = "beta" }
    #expect(end.phase == .error)
    #expect(end.message.contains("project beta has no Unix user"), "\(end.message)")
    await fixture.tearDown()
  }

  private static func processes(of user: UInt32) -> [Int32] {
    (HostFiles.list("/proc") ?? []).compactMap { Int32($0.name) }.filter { pid in
      var status = stat()
      return stat("/proc/\(pid)", &status) == 0 && status.st_uid == user
    }
  }
}
