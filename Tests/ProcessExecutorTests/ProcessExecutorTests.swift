internal import CSupervisor
internal import Execution
internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Testing

@Suite("ProcessExecutor", .serialized, .timeLimit(.minutes(3)))
struct ProcessExecutorTests {
  private func with(
    _ configure: (inout ProcessExecutorConfiguration) -> Void = { _ in }, _ body: (ExecutorFixture) async throws -> Void
  ) async throws {
    let fixture = try await ExecutorFixture(configure: configure)
    do { try await body(fixture) } catch {
      await fixture.tearDown()
      throw error
    }
    await fixture.tearDown()
  }

  /// Each line tries one thing, and prints `REACHED` if it succeeds.
  private static let attempts = [
    "cat $STATE/agent.key", "ls $STATE", "ls $STATE/runs", "echo x > $STATE/lease", "ls /root", "ls /home", "ls /var",
    "ls /run",
    "ls /mnt", "ls /srv", "ls /opt", "cat /etc/shadow", "ls /etc/ssh", "ls /sys/fs", "kill -0 $OUTSIDE",
    "kill -9 $OUTSIDE",
    "test -e /proc/$OUTSIDE", "cat /proc/[0-9]*/cmdline | grep -q [f]ubini-outside", "touch /usr/x", "touch /usr/bin/x",
    "touch /etc/x", "mount -t tmpfs none /tmp", "unshare -Urm sh -c 'mount -o remount,rw,bind /usr && touch /usr/x'",
    "unshare -U true",
    "mknod /tmp/d c 1 3",
    "test -e /dev/vda", "test -e /dev/mem", "test -e /dev/kmsg", "su -c true", "chroot / true", "chown 0 /tmp",
    "test \"$(id -u)\" = 0", "grep -qE 'Cap(Prm|Eff|Bnd|Amb):.*[1-9a-f]' /proc/self/status",
    "grep -q 'NoNewPrivs:.0' /proc/self/status", "test \"$(ulimit -c)\" != 0",
    "dd if=/dev/zero of=/proc/sysrq-trigger count=1",
    "echo 1 > /proc/sys/vm/drop_caches", "hostname intruder",
    "python3 -c \"import ctypes,sys; sys.exit(ctypes.CDLL(None).ptrace(16, $OUTSIDE, 0, 0) != 0)\"",
    "python3 -c \"import socket; socket.create_connection(('169.254.169.254', 80), 2)\"",
  ]

  @Test("a run reaches nothing that is not its own: each way is tried")
  func containment() async throws {
    try await with { fixture in
      // One process: a child of its own would outlive it, and hold the test's output open.
      let outside = SpawnedCommand(["/usr/bin/python3", "-c", "import time; time.sleep(60)  # fubini-outside"])
      defer {
        kill(outside.pid, SIGKILL)
        _ = outside.wait()
      }
      let key = fixture.directory + "/agent.key"
      let file = csupervisor_open(key, O_CREAT | O_WRONLY, 0o600)
      write(file, "secret", 6)
      close(file)
      // Another run's file, to be looked for.
      _ = try await fixture.run(1, .shell("echo mine > /workspace/mine"))
      let tries = Self.attempts.enumerated().map { "(\($1)) >/dev/null 2>&1 && echo 'REACHED \($0)'" }
      var spec = TaskSpec.shell((tries + ["echo finished"]).joined(separator: "\n"))
      spec.environment = [
        .init(name: "STATE", value: fixture.directory), .init(name: "OUTSIDE", value: String(outside.pid)),
      ]
      let end = try await fixture.run(2, spec)
      #expect(end.phase == .succeeded, "\(end)")
      let log = fixture.log(2)
      for (index, attempt) in Self.attempts.enumerated() {
        #expect(!log.contains("REACHED \(index)\n"), "reached by: \(attempt)")
      }
      #expect(log.hasSuffix("finished\n"))
    }
  }

  @Test("scripts, inputs, and outputs at any absolute path, below /usr and /etc too")
  func files() async throws {
    try await with { fixture in
      let given = fixture.directory + "/given"
      let file = csupervisor_open(given, O_CREAT | O_WRONLY, 0o600)
      write(file, "given", 5)
      close(file)
      chmod(given, 0o644)
      let paths = ["/mnt/out/a", "/tmp/x/y.txt", "/usr/local/made/b", "/etc/made", "/deep/er/c", "/workspace/d"]
      var spec = TaskSpec.shell(
        paths.map { "cat /mnt/in/given /raw > \($0)" }.joined(separator: " && ") + " && which python3")
      spec.outputArtifacts = paths.map { OutputArtifact(name: $0, path: $0) }
      spec.inputs = [InputArtifact(name: "raw", path: "/raw", source: .raw("raw"))]
      let request = RunRequest(
        id: RunID(3), epoch: 1, project: "p", spec: spec, inputs: [StagedInput(hostPath: given, path: "/mnt/in/given")])
      let workspace = try await fixture.executor.prepare(request)
      let raw = csupervisor_open(workspace.root + "/raw", O_CREAT | O_WRONLY, 0o644)
      write(raw, "raw", 3)
      close(raw)
      try await fixture.executor.submit(request)
      let end = try await fixture.end(of: 3)
      #expect(end.phase == .succeeded, "\(end) \(fixture.log(3))")
      #expect(end.runsAs == "host")
      for path in paths {
        let output = try #require(try OutputFile.open(path, in: workspace), "\(path)")
        #expect(ExecutorFixture.text(of: output) == "givenraw", "\(path)")
        close(output)
      }
      #expect(try OutputFile.open("/mnt/none", in: workspace) == nil)
    }
  }

  @Test("an output that leads out of the run's root, or is no file, is not collected")
  func escapes() async throws {
    try await with { fixture in
      let end = try await fixture.run(
        4,
        .shell(
          "ln -s /etc/shadow a; ln -s ../../../../../../../etc/shadow b; ln -s / c; mkfifo d; ln -s /proc/1/root/etc/shadow e"
        ))
      #expect(end.phase == .succeeded)
      let workspace = fixture.executor.workspace(for: RunID(4))
      #expect(try OutputFile.open("/workspace/a", in: workspace) == nil)
      #expect(try OutputFile.open("/workspace/b", in: workspace) == nil)
      #expect(try OutputFile.open("/workspace/c/etc/shadow", in: workspace) == nil)
      #expect(try OutputFile.open("/../../../../etc/shadow", in: workspace) == nil)
      #expect(try OutputFile.open("/workspace/e", in: workspace) == nil)
      #expect(throws: FederationError.self) { try OutputFile.open("/workspace/d", in: workspace) }
    }
  }

  @Test("ends are told as what they are")
  func ends() async throws {
    try await with({ $0.images = [ImageRule(pattern: "any", runsAs: "host")] }) { fixture in
      var end = try await fixture.run(5, TaskSpec(image: "any", command: ["no-such-command", "x"]))
      #expect(
        end.phase == .failed && end.exitCode == 127
          && end.message == #"exec: "no-such-command": executable file not found in $PATH"#, "\(end)")
      end = try await fixture.run(6, .shell("exit 127"))
      #expect(end.phase == .failed && end.exitCode == 127)
      end = try await fixture.run(7, .shell("kill -9 $$"))
      #expect(end.phase == .failed && end.exitCode == 137 && end.message.contains("signal 9"), "\(end)")
      end = try await fixture.run(8, .shell("exit 1"))
      #expect(end.phase == .failed && end.exitCode == 1)
      end = try await fixture.run(9, TaskSpec(image: "other", command: ["true"]))
      #expect(end.phase == .error && end.message.contains("image other"))
      end = try await fixture.run(10, TaskSpec(image: "any"))
      #expect(end.phase == .error && end.message.contains("no command"))
      // Meant for an image's entry point, which nobody has here.
      end = try await fixture.run(12, TaskSpec(image: "any", arguments: ["-c", "true"]))
      #expect(end.phase == .error && end.message.contains("no command"), "\(end)")
      end = try await fixture.run(11, .shell("sleep 100")) { $0.walltime = .milliseconds(200) }
      #expect(end.phase == .failed && end.message.contains("walltime"))
    }
  }

  @Test("I3: a run outlives its first slice when it is extended; another one is ended there though its agent is gone")
  func slices() async throws {
    try await with { fixture in
      #expect(await fixture.executor.canExtend())
      for (id, script) in [(41 as Int64, "sleep 3; exit 4"), (42, "sleep 300")] {
        try await fixture.executor.submit(
          RunRequest(
            id: RunID(id), epoch: 1, project: "p", spec: .shell(script), walltime: .seconds(300), slice: .seconds(2)))
      }
      try await fixture.executor.extend([RunID(41): .seconds(60), RunID(77): .seconds(60)])
      // The agent dies, and its next process finds both ended.
      await fixture.executor.close()
      try await Task.sleep(for: .seconds(3))
      let next = try await ProcessExecutor(
        configuration: .init(stateDirectory: fixture.directory, supervisorExecutable: ExecutorFixture.supervisor))
      fixture.watch(next)
      var found: [RunObservation] = []
      try await fixture.waitUntil("both are over") {
        found = try await next.reattach(known: [RunID(41), RunID(42)])
        return found.allSatisfy(\.phase.isTerminal)
      }
      #expect(found[0].exitCode == 4 && !found[0].isUnpaid && found[0].wallTime! >= .seconds(3), "\(found[0])")
      #expect(found[1].isUnpaid && found[1].phase == .failed, "\(found[1])")
      #expect(found[1].wallTime! >= .seconds(2) && found[1].message.contains("used up"), "\(found[1])")
      await next.close()
    }
  }

  @Test("I1: a run that is submitted twice, also by the agent's next process, runs once and its exit code is exact")
  func reattach() async throws {
    try await with { fixture in
      let request = RunRequest(
        id: RunID(12), epoch: 1, project: "p",
        spec: .shell("echo x >> /workspace/marker; until test -e go; do sleep 0.02; done; exit 42"))
      try await fixture.executor.submit(request)
      await fixture.executor.close()
      let next = try await ProcessExecutor(
        configuration: .init(stateDirectory: fixture.directory, supervisorExecutable: ExecutorFixture.supervisor))
      fixture.watch(next)
      let known = try await next.reattach(known: [RunID(12), RunID(99)])
      #expect(known.map(\.phase) == [.running, .bound])
      try await next.submit(request)
      close(csupervisor_open(next.workspace(for: RunID(12)).root + "/workspace/go", O_CREAT | O_WRONLY, 0o644))
      let end = try await fixture.end(of: 12)
      #expect(end.phase == .failed && end.exitCode == 42)
      #expect(fixture.text(next.workspace(for: RunID(12)).root + "/workspace/marker") == "x\n")
      #expect(try await next.reattach(known: [RunID(12)]).first?.exitCode == 42)
      try await next.forget(RunID(12))
      #expect(access(next.workspace(for: RunID(12)).directory, F_OK) != 0)
      #expect(try await next.reattach(known: [RunID(12)]).first?.phase == .bound)
      try await next.shutdownSupervisorWhenIdle()
      await next.close()
    }
  }

  @Test("I1: a supervisor that is killed is replaced, and its run is told lost")
  func supervisorKilled() async throws {
    try await with { fixture in
      let request = RunRequest(id: RunID(13), epoch: 1, project: "p", spec: .shell("sleep 300"))
      try await fixture.executor.submit(request)
      try await fixture.waitUntil("it runs") { !fixture.observations(of: 13).isEmpty }
      #expect(await fixture.executor.inventory().canFence)
      kill(try #require(fixture.supervisorPID), SIGKILL)
      #expect(try await fixture.end(of: 13).phase == .lost)
      // The list that is asked for after a reconnection and the supervisor's own event may both tell it.
      #expect(fixture.observations(of: 13).filter { $0.phase.isTerminal }.allSatisfy { $0.phase == .lost })
    }
  }

  @Test("I9: a secret reaches the program and no file or command line")
  func secrets() async throws {
    try await with { fixture in
      let word = "s3cr3t-\(UInt64.random(in: 0 ... .max))"
      let end = try await fixture.run(14, .shell("echo ${#TOKEN}; tr '\\0' '\\n' < /proc/1/cmdline | grep -c s3cr3t")) {
        $0.secrets = [.init(name: "TOKEN", value: word)]
      }
      #expect(end.phase == .failed)
      #expect(fixture.log(14) == "\(word.utf8.count)\n0\n")
      #expect(SpawnedCommand(["/bin/grep", "-rqF", word, fixture.directory]).wait() != 0)
    }
  }

  @Test("without a sandbox the cluster says so, offers no fence, and still limits and collects")
  func unsandboxed() async throws {
    try await with({ $0.sandbox = .none }) { fixture in
      let inventory = await fixture.executor.inventory()
      #expect(!inventory.canFence)
      #expect(inventory.notices.contains { $0.contains("not sandboxed") })
      let end = try await fixture.run(15, .shell("pwd; exit 5"))
      #expect(end.exitCode == 5)
      #expect(fixture.log(15) == fixture.executor.workspace(for: RunID(15)).root + "/workspace\n")
    }
  }

  @Test("without a sandbox a private empty directory is refused with the reason, and root's runs are not root")
  func unsandboxedLimits() async throws {
    try await with({ $0.sandbox = .none }) { fixture in
      var spec = TaskSpec.shell("true")
      spec.scratchPaths = ["/scratch"]
      let refused = try await fixture.run(16, spec)
      #expect(refused.phase == .error && refused.message.contains("/scratch"), "\(refused)")
      let end = try await fixture.run(17, .shell("id -u; id -g; id -G; touch made && ls made; ls $STATE $STATE/runs")) {
        $0.spec.environment = [.init(name: "STATE", value: fixture.directory)]
      }
      #expect(end.exitCode == 2, "a run may list the agent's directories: \(end)")
      let user = geteuid() == 0 ? RunIdentity.nobody : RunIdentity(user: geteuid(), group: getegid())
      #expect(fixture.log(17).hasPrefix("\(user.user)\n\(user.group)\n\(user.group)\nmade\n"), "\(fixture.log(17))")
    }
  }

  @Test("I1: no fence is offered where the supervisor is no first process of a namespace")
  func noEnclosure() async throws {
    var template = Array("/tmp/fubini-plain-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let plain = SpawnedCommand([ExecutorFixture.supervisor, "supervisor", "--state-dir", directory])
    defer {
      kill(plain.pid, SIGKILL)
      _ = plain.wait()
      _ = SpawnedCommand(["/bin/rm", "-rf", directory]).wait()
    }
    while access(directory + "/supervisor.sock", F_OK) != 0 { try await Task.sleep(for: .milliseconds(3)) }
    let executor = try await ProcessExecutor(
      configuration: .init(stateDirectory: directory, supervisorExecutable: ExecutorFixture.supervisor))
    let inventory = await executor.inventory()
    await executor.close()
    #expect(!inventory.canFence)
    #expect(inventory.notices.contains { $0.contains("PID namespace") })
  }

  @Test("a supervisor that was asked to leave is gone, and nobody starts another")
  func dismissal() async throws {
    try await with { fixture in
      let pid = try #require(fixture.supervisorPID)
      try await fixture.executor.shutdownSupervisorWhenIdle()
      try await fixture.waitUntil("it is gone") { kill(pid, 0) != 0 }
      // The socket goes with it; a successor would have made its own by the time that the executor could be used again.
      #expect(access(fixture.directory + "/supervisor.sock", F_OK) != 0)
      #expect(fixture.supervisorPID == pid)
      #expect(try await fixture.run(18, .shell("exit 3")).exitCode == 3)
      #expect(fixture.supervisorPID != pid)
    }
  }

  @Test("with 2 slots, 2 programs run at a time, the others wait in order, and staging holds none")
  func slots() async throws {
    try await with({ $0.slots = 2 }) { fixture in
      let script = "touch up; until test -e go; do sleep 0.01; done"
      let requests = (20...25).map { RunRequest(id: RunID($0), epoch: 1, project: "p", spec: .shell(script)) }
      try await fixture.executor.submit(Array(requests[..<4]))
      try await fixture.executor.submit(Array(requests[3...]))
      func workspace(_ id: Int64) -> String { fixture.executor.workspace(for: RunID(id)).root + "/workspace" }
      func isUp(_ id: Int64) -> Bool { access(workspace(id) + "/up", F_OK) == 0 }
      func go(_ id: Int64) { close(csupervisor_open(workspace(id) + "/go", O_CREAT | O_WRONLY, 0o644)) }
      try await fixture.waitUntil("two are up") { isUp(20) && isUp(21) }
      _ = try await fixture.executor.prepare(
        RunRequest(id: RunID(26), epoch: 1, project: "p", spec: .shell("true")))
      let told = try await fixture.executor.reattach(known: [RunID(25), RunID(26)])
      #expect(told.map(\.phase) == [.running, .running, .queued, .bound])
      try await fixture.executor.cancel(RunID(23), grace: .seconds(30))
      for (ended, next) in [(21, 22), (20, 24), (24, 25)] as [(Int64, Int64)] {
        #expect(!isUp(next))
        go(ended)
        try await fixture.waitUntil("\(next) is up") { isUp(next) }
        #expect(fixture.observations(of: ended).last?.phase == .succeeded)
      }
      for id in [22, 25] as [Int64] { go(id) }
      for id in [20, 21, 22, 24, 25] as [Int64] { #expect(try await fixture.end(of: id).phase == .succeeded) }
      for id in [20, 21] as [Int64] { #expect(!fixture.observations(of: id).contains { $0.phase == .queued }) }
      for id in [22, 23, 24, 25] as [Int64] { #expect(fixture.observations(of: id).first?.phase == .queued, "\(id)") }
      #expect(try await fixture.end(of: 23).phase == .cancelled)
      #expect(access(fixture.executor.workspace(for: RunID(23)).directory + "/started", F_OK) != 0)
    }
  }

  @Test("slots that are taken are known to the agent's next process")
  func slotsAfterRestart() async throws {
    try await with({ $0.slots = 1 }) { fixture in
      let script = "until test -e go; do sleep 0.01; done"
      try await fixture.executor.submit(RunRequest(id: RunID(30), epoch: 1, project: "p", spec: .shell(script)))
      await fixture.executor.close()
      let next = try await ProcessExecutor(
        configuration: .init(
          stateDirectory: fixture.directory, supervisorExecutable: ExecutorFixture.supervisor, slots: 1))
      fixture.watch(next)
      try await next.submit(RunRequest(id: RunID(31), epoch: 1, project: "p", spec: .shell("true")))
      try await fixture.waitUntil("31 waits") { fixture.observations(of: 31).last?.phase == .queued }
      close(csupervisor_open(next.workspace(for: RunID(30)).root + "/workspace/go", O_CREAT | O_WRONLY, 0o644))
      #expect(try await fixture.end(of: 31).phase == .succeeded)
      #expect(try await fixture.end(of: 30).phase == .succeeded)
      await next.close()
    }
  }

  /// The figure is asserted only where nothing else competes for the processors: `FUBINI_BENCH=1`.
  @Test("real tasks a second are at least half of what bare bubblewrap reaches beside it")
  func throughput() async throws {
    let isBenchmark = getenv("FUBINI_BENCH") != nil
    try await with { fixture in
      let count = isBenchmark ? 800 : 100
      let clock = ContinuousClock()
      let bare = clock.measure {
        let script =
          "seq \(count) | xargs -P 4 -I{} bwrap --unshare-user --unshare-pid --unshare-ipc --unshare-uts --ro-bind / / --proc /proc --dev /dev true"
        _ = SpawnedCommand(["/bin/sh", "-c", script]).wait()
      }
      let requests = (0..<count).map {
        RunRequest(id: RunID(1000 + Int64($0)), epoch: 1, project: "p", spec: TaskSpec(image: "any", command: ["true"]))
      }
      let start = clock.now
      for first in stride(from: 0, to: count, by: 8) {
        try await fixture.executor.submit(Array(requests[first..<min(count, first + 8)]))
      }
      for request in requests { #expect(try await fixture.end(of: request.id.number).phase == .succeeded) }
      let ours = clock.now - start
      let rates = (bare: Double(count) / bare.seconds, ours: Double(count) / ours.seconds)
      print("bare bwrap: \(Int(rates.bare))/s, through the supervisor: \(Int(rates.ours))/s")
      #expect(!isBenchmark || rates.ours >= rates.bare / 2, "\(rates)")
    }
  }
}
