internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalProcess
internal import LocalSlurm
internal import SlurmExecutor
internal import TestSupport
internal import Testing

/// What a run of one project can reach of another's, and of the agent's, on a real Slurm whose runs are sandboxed.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SeparationTests {
  /// In a shell; `SHARED` is the shared directory, `OTHER` the other project's run, `STATE` the agent's own directory and
  /// `PID` a process of the other run. Each succeeds only if it reaches what it must not.
  private static let attempts = [
    "ls $SHARED", "ls $SHARED/runs", "ls $SHARED/runs/$OTHER", "cat $SHARED/runs/$OTHER/output.log",
    "cat $SHARED/runs/$OTHER/root/workspace/mine", "cat $SHARED/runs/$OTHER/request", "cat $SHARED/lease",
    "touch $SHARED/runs/$OTHER/exit", "echo x > $SHARED/lease", "touch $SHARED/events/$OTHER.ended",
    "ls $SHARED/jobs", "cat $STATE/agent.key", "cat $STATE/journal.sqlite", "cat $STATE/agent.yaml", "ls $STATE",
    "kill -0 $PID", "cat /proc/$PID/environ", "ls /proc/$PID/root", "grep -rl canary /proc/[0-9]*/environ",
    "timeout 3 scancel --user=root", "timeout 3 squeue", "cat /etc/shadow", "ls /root", "ls /tmp/f*", "su -c true",
  ]

  @Test("a run of one project reaches nothing of another's, nor the agent's key, journal and configuration")
  func separation() async throws {
    var template = Array("/tmp/fubini-agent-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let state = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let names = ["agent.key", "journal.sqlite", "agent.yaml"].map { state + "/" + $0 }
    defer {
      for name in names { unlink(name) }
      rmdir(state)
    }
    for name in names {
      let file = creat(name, 0o600)
      write(file, "canary", 6)
      close(file)
    }
    try await SlurmExecutorFixture.with(configure: { $0.sandbox = .bubblewrap }) { fixture in
      try await fixture.submit(1, SlurmExecutorFixture.wait("cat mine")) {
        $0.project = "beta"
        $0.spec.script = nil
        $0.secrets = [EnvironmentVariable(name: "SECRET", value: "canary")]
      }
      try await fixture.running(1)
      let mine = creat(fixture.executor.workspace(for: RunID(1)).root + "/workspace/mine", 0o644)
      write(mine, "mine\n", 5)
      close(mine)
      let pid = try #require(fixture.cluster.jobProcesses.last?.pid)
      let tries = Self.attempts.enumerated().map { "(\($1)) >/dev/null 2>&1 && echo 'REACHED \($0)'" }
      try await fixture.submit(2, (tries + ["echo finished"]).joined(separator: "\n")) {
        $0.project = "alpha"
        $0.spec.environment = [
          .init(name: "SHARED", value: fixture.shared), .init(name: "STATE", value: state),
          .init(name: "OTHER", value: RunID(1).hexadecimal), .init(name: "PID", value: "\(pid)"),
        ]
      }
      let end = try await fixture.end(of: 2)
      #expect(end.phase == .succeeded, "\(end)")
      let log = fixture.log(of: 2)
      for (index, attempt) in Self.attempts.enumerated() {
        #expect(!log.contains("REACHED \(index)\n"), "reached by: \(attempt)")
      }
      #expect(log.hasSuffix("finished\n"), "\(log)")
      // The other one was not harmed by any of it.
      try fixture.go(1)
      #expect(try await fixture.end(of: 1).phase == .succeeded)
      #expect(fixture.log(of: 1) == "mine\n")
    }
  }
}
