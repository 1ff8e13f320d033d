internal import Execution
internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Supervisor
internal import Testing

@Suite("Limits of a process cluster", .serialized, .timeLimit(.minutes(2)))
struct LimitTests {
  @Test("a task over its memory limit fails as OOMKilled; a request limits nothing; without groups that is said")
  func memory() async throws {
    let group = "/fubini-executor-tests-\(getpid())"
    let fixture = try await ExecutorFixture { $0.controlGroups = .group(group) }
    let notices = await fixture.executor.inventory().notices
    if notices.contains(where: { $0.hasPrefix("memory ") }) {
      // Where the machine gives no groups the reason is all there is to test.
      #expect(notices.contains { $0.hasPrefix("memory ") && $0.contains(" not enforced here: ") })
      print("skipped the limit itself: \(notices)")
    } else {
      let program = "python3 -c 'b = bytearray(256 << 20); print(len(b))'"
      var spec = TaskSpec.shell(program)
      spec.resources.memory = .mebibytes(64)
      let free = try await fixture.run(1, spec)
      #expect(free.phase == .succeeded, "\(free)")
      spec.limits = Resources(memory: .mebibytes(64))
      let limited = try await fixture.run(2, spec)
      #expect(limited.phase == .failed && limited.cause == .outOfMemory && free.cause == nil)
      #expect(limited.message.hasPrefix("OOMKilled: "), "\(limited)")
    }
    try await fixture.executor.shutdownSupervisorWhenIdle()
    try await fixture.waitUntil("the supervisor has removed its groups") {
      access(fixture.directory + "/control-groups", F_OK) != 0
    }
    await fixture.tearDown()
    for hierarchy in ["", "/memory", "/cpu", "/cpu,cpuacct", "/pids", "/unified"] {
      rmdir("/sys/fs/cgroup\(hierarchy)\(group)")
    }
  }

  @Test("without control groups the inventory says why no limit holds")
  func notice() async throws {
    let fixture = try await ExecutorFixture { $0.controlGroups = .none }
    let notices = await fixture.executor.inventory().notices
    #expect(
      notices.contains("memory and CPU limits are not enforced here: the agent's configuration says `cgroups: none`"))
    await fixture.tearDown()
  }
}
