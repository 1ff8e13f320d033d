internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalProcess
internal import LocalSlurm
internal import Synchronization
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// Where a socket is, once that is known.
private final class SocketPath: Sendable {
  private let path = Mutex<String?>(nil)
  var value: String? {
    get { path.withLock { $0 } }
    set { path.withLock { $0 = newValue } }
  }
}

/// A real slurmrestd on a unix socket.
@Suite(.serialized, .enabled(if: SlurmFixture.hasRest, "slurmrestd is not installed"))
struct SlurmRestTests {
  @Test("Runs are observed by slurmrestd alone; when it ends, squeue is asked and the notice says so (I2, I10)")
  func observation() async throws {
    let directory = try ScratchDirectory()
    chmod(directory.path, 0o755)
    let calls = directory.path + "/calls"
    // What Slurm foresees of the queue is asked of squeue all the same.
    let script = """
      #!/bin/sh
      case " $* " in *" --start "*) ;; *) echo >> \(calls) ;; esac
      exec squeue "$@"

      """
    try directory.write("squeue", script, mode: 0o755)
    let (program, socket) = (directory.path + "/squeue", SocketPath())
    try await SlurmExecutorFixture.with(
      configure: {
        $0.programs.squeue = program
        $0.restSocket = socket.value
      }
    ) { fixture in
      await fixture.executor.close()
      socket.value = try await fixture.cluster.startRest()
      try await fixture.start()
      try await fixture.submit(1, SlurmExecutorFixture.wait("exit 3"))
      try await fixture.running(1)
      // An array longer than what slurmrestd names of it, on nodes that take none.
      for node in 1...2 { try await fixture.cluster.drain(node: node) }
      let ids = (2...60).map { Int64($0) }
      try await fixture.submit(ids.map { SlurmExecutorFixture.request($0, "echo ran") })
      for id in ids {
        _ = try await fixture.observation(of: id, "reason") { $0.phase == .queued && $0.message.contains("Slurm: ") }
      }
      // Every second task is cancelled: what is left has gaps, more than fit into one text.
      for id in ids where id % 2 == 0 { try await fixture.executor.cancel(RunID(id), grace: .zero) }
      for id in ids where id % 2 == 0 { #expect(try await fixture.end(of: id).phase == .cancelled) }
      try await fixture.eventually("their jobs are gone") {
        try await !fixture.jobs().contains { $0.contains("_0 PENDING") || $0.contains("_58 PENDING") }
      }
      // A socket that failed once under load may have cost a question or two.
      let asked = fixture.read(calls)?.utf8.count ?? 0
      let notices = await fixture.executor.inventory().notices
      #expect(asked <= 2, "squeue was asked \(asked) times beside slurmrestd: \(notices)")
      #expect(ids.allSatisfy { $0 % 2 == 0 || fixture.observations(of: $0).last?.phase == .queued })
      try await fixture.cluster.killRest()
      try await fixture.eventually("the notice") {
        await fixture.executor.inventory().notices.contains { $0.contains("slurmrestd does not answer") }
      }
      for node in 1...2 { try await fixture.cluster.resume(node: node) }
      try fixture.go(1)
      #expect(try await fixture.end(of: 1).exitCode == 3)
      for id in ids where id % 2 == 1 {
        let end = try await fixture.end(of: id)
        #expect(end.phase == .succeeded, "\(end) after \(fixture.observations(of: id))")
      }
      #expect(access(calls, F_OK) == 0)
    }
  }
}
