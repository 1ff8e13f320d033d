internal import Execution
internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Supervisor
internal import Testing

@Suite("Several containers in one run", .timeLimit(.minutes(2)))
struct ContainerTests {
  private typealias Container = ContainerPlan.Container

  private func run(
    _ fixture: ExecutorFixture, _ id: Int64, _ containers: [Container], grace: UInt64 = 5000, retries: UInt32 = 0,
    isDaemon: Bool = false,
    change: (inout TaskSpec) -> Void = { _ in }
  ) async throws -> RunObservation {
    var spec = TaskSpec(image: "debian:12")
    // What the plan says is what runs; the spec says that there is one.
    spec.containers = RunContainers(
      list: containers.map { .init(name: $0.name, role: .main, image: "debian:12", command: $0.arguments) })
    change(&spec)
    var request = RunRequest(id: RunID(id), epoch: 1, project: "p", spec: spec)
    let plan = ContainerPlan(containers: containers, graceMs: grace, retries: retries, isDaemon: isDaemon)
    request.privateFiles = [RunFile(path: ContainerPlan.fileName, mode: 0o400, bytes: plan.bytes)]
    try await fixture.executor.submit(request)
    return try await fixture.end(of: id)
  }

  private func shell(
    _ name: String, _ role: ContainerPlan.Role, _ script: String, after: [String] = [], environment: [String] = [],
    isResult: Bool = false
  ) -> Container {
    Container(
      name: name, role: role, arguments: ["sh", "-c", script], environment: environment, dependencies: after,
      isResult: isResult)
  }

  @Test("init containers run first, sidecars see the main container's network and files, and end with it")
  func sidecars() async throws {
    let fixture = try await ExecutorFixture()
    let end = try await run(
      fixture, 1,
      [
        shell("first", .initial, "echo 1 > /tmp/order; echo begun"),
        shell("second", .initial, "echo 2 >> /tmp/order"),
        shell(
          "main", .main, "while [ ! -e /tmp/ready ]; do sleep 0.01; done; cat /tmp/order; echo \"$WHO ${SIDE-none}\"",
          environment: ["WHO=me"], isResult: true),
        shell(
          "side", .sidecar,
          "trap 'echo leaving; exit 0' TERM; echo \"$SIDE ${WHO-none}\"; touch /tmp/ready; while :; do sleep 0.05; done",
          environment: ["SIDE=beside"]),
      ]
    ) { $0.capturesResult = true }
    #expect(end.phase == .succeeded, "\(end) \(fixture.log(1))")
    // The result is the main container's alone; the log has everything, the others' lines behind their names.
    #expect(fixture.text(fixture.executor.workspace(for: RunID(1)).standardOutput) == "1\n2\nme none\n")
    for line in ["first: begun\n", "side: beside none\n", "side: leaving\n", "me none\n"] {
      #expect(fixture.log(1).contains(line), "\(fixture.log(1))")
    }
    await fixture.tearDown()
  }

  @Test("a sidecar that does not listen to SIGTERM is killed after the grace, and that is no failure")
  func stubborn() async throws {
    let fixture = try await ExecutorFixture()
    let start = ContinuousClock.now
    let end = try await run(
      fixture, 2,
      [
        shell("main", .main, "while [ ! -e /tmp/up ]; do sleep 0.01; done; true", isResult: true),
        shell("side", .sidecar, "trap '' TERM; touch /tmp/up; while :; do sleep 0.05; done"),
      ], grace: 300)
    #expect(end.phase == .succeeded && end.exitCode == 0, "\(end) \(fixture.log(2))")
    #expect(ContinuousClock.now - start >= .milliseconds(300))
    await fixture.tearDown()
  }

  @Test(
    "the run ends as its main container, or as what failed before it",
    arguments: [
      ("exit 0", "exit 7", 0 as Int32, "exit 3"), ("true", "true", 4, "exit 4"),
    ])
  func codes(initial: String, side: String, expected: Int32, main: String) async throws {
    let fixture = try await ExecutorFixture()
    let failed = try await run(
      fixture, 3,
      [shell("prepare", .initial, "exit 5"), shell("main", .main, "echo never", isResult: true)])
    #expect(failed.phase == .failed && failed.exitCode == 5 && !fixture.log(3).contains("never"))
    let ended = try await run(
      fixture, 4, [shell("prepare", .initial, initial), shell("main", .main, main, isResult: true)])
    #expect(ended.phase == .failed && ended.exitCode == (main == "exit 3" ? 3 : expected))
    await fixture.tearDown()
  }

  @Test(
    "members start when those that they depend on have ended well; one that fails is tried again, and holds back the rest"
  )
  func members() async throws {
    let fixture = try await ExecutorFixture()
    let good = try await run(
      fixture, 5,
      [
        shell("c", .member, "cat /tmp/ab", after: ["a", "b"]), shell("a", .member, "echo a >> /tmp/ab"),
        shell("b", .member, "sleep 0.2; echo b >> /tmp/ab"),
      ])
    #expect(good.phase == .succeeded && fixture.log(5).contains("c: a\nc: b\n"), "\(good) \(fixture.log(5))")
    let again = try await run(
      fixture, 6, [shell("main", .member, "echo x >> /tmp/n; [ $(wc -l < /tmp/n) = 3 ]", isResult: true)], retries: 2)
    #expect(again.phase == .succeeded, "\(again) \(fixture.log(6))")
    let bad = try await run(
      fixture, 7, [shell("a", .member, "exit 9"), shell("b", .member, "echo never", after: ["a"])])
    #expect(bad.phase == .failed && bad.exitCode == 9 && !fixture.log(7).contains("never"))
    let ends = { (id: Int64) in
      fixture.text(fixture.executor.workspace(for: RunID(id)).root + ContainerPlan.endsPath)
    }
    #expect(ends(5) == "a 0\nb 0\nc 0\n" && ends(7) == "a 9\n", "\(ends(5)) \(ends(7))")
    await fixture.tearDown()
  }

  @Test("a run of several that is cancelled asks all of them to end")
  func cancelled() async throws {
    let fixture = try await ExecutorFixture()
    let task = Task {
      try await run(
        fixture, 8,
        [
          shell(
            "main", .main, "trap 'echo main leaves; exit 0' TERM; touch /tmp/up; while :; do sleep 0.05; done",
            isResult: true),
          shell("side", .sidecar, "trap 'echo side leaves; exit 0' TERM; while :; do sleep 0.05; done"),
        ])
    }
    let root = fixture.executor.workspace(for: RunID(8)).root
    try await fixture.waitUntil("it runs") { access(root + "/tmp/up", F_OK) == 0 }
    try await fixture.executor.cancel(RunID(8), grace: .seconds(10))
    let end = try await task.value
    #expect(end.phase == .cancelled)
    #expect(fixture.log(8).contains("main leaves") && fixture.log(8).contains("side: side leaves"), "\(fixture.log(8))")
    await fixture.tearDown()
  }

  @Test("a daemon is ready when its probe is affirmed and everything beside it runs, and not before")
  func readiness() async throws {
    let fixture = try await ExecutorFixture()
    var server = shell(
      "main", .main, "touch /tmp/begun; while [ ! -e /tmp/open ]; do sleep 0.02; done; touch /tmp/up; exec sleep 600",
      isResult: true)
    server.probes = [
      ContainerPlan.Probe(kind: .readiness, arguments: ["test", "-e", "/tmp/up"], periodMs: 50, failureThreshold: 1)
    ]
    let task = Task { [server] in try await run(fixture, 9, [server], isDaemon: true) }
    let root = fixture.executor.workspace(for: RunID(9)).root
    try await fixture.waitUntil("it runs") { access(root + "/tmp/begun", F_OK) == 0 }
    try await Task.sleep(for: .milliseconds(300))
    #expect(await fixture.executor.isReady(RunID(9)) == false)
    close(open(root + "/tmp/open", O_CREAT | O_WRONLY, 0o644))
    try await fixture.waitUntil("it is ready") { access(root + ContainerPlan.readyPath, F_OK) == 0 }
    #expect(await fixture.executor.isReady(RunID(9)))
    try await fixture.executor.cancel(RunID(9), grace: .seconds(10))
    #expect(try await task.value.phase == .cancelled)
    await fixture.tearDown()
  }

  @Test("a container whose livenessProbe fails is ended, and no question is asked before its startupProbe is affirmed")
  func liveness() async throws {
    let fixture = try await ExecutorFixture()
    var main = shell(
      "main", .main, "trap 'echo asked to end; exit 9' TERM; sleep 0.4; touch /tmp/up; while :; do sleep 0.02; done",
      isResult: true)
    main.probes = [
      ContainerPlan.Probe(
        kind: .startup, arguments: ["test", "-e", "/tmp/up"], periodMs: 50, failureThreshold: 200),
      ContainerPlan.Probe(
        kind: .liveness, arguments: ["sh", "-c", "[ -e /tmp/up ] || exit 0; echo x >> /tmp/asked; exit 1"],
        periodMs: 50, failureThreshold: 3, graceMs: 5000),
    ]
    let end = try await run(fixture, 10, [main])
    #expect(end.phase == .failed && end.exitCode == 9, "\(end) \(fixture.log(10))")
    #expect(fixture.log(10).contains("asked to end") && fixture.log(10).contains("livenessProbe"))
    let asked = fixture.text(fixture.executor.workspace(for: RunID(10)).root + "/tmp/asked")
    #expect(asked == "x\nx\nx\n", "\(asked)")
    var slow = shell("main", .main, "exec sleep 600", isResult: true)
    slow.probes = [
      ContainerPlan.Probe(
        kind: .startup, arguments: ["sleep", "600"], periodMs: 50, timeoutMs: 50, failureThreshold: 2, graceMs: 5000)
    ]
    let late = try await run(fixture, 11, [slow])
    #expect(late.phase == .failed && late.exitCode == 143, "one that does not answer in time has failed: \(late)")
    await fixture.tearDown()
  }

  @Test("a probe over the network is good for whoever listens, and for an answer of 200 to 399")
  func network() async throws {
    let fixture = try await ExecutorFixture { $0.network = .host }
    let server = """
      perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0, Listen => 5) or die;
      open(F, ">", "/tmp/port"); print F $s->sockport; close F;
      while ($c = $s->accept) { $l = <$c>; while (<$c>) { last if /^\\r?$/ }
      print $c ($l =~ m{ /good } ? "HTTP/1.1 204 Fine" : "HTTP/1.1 503 Busy"), "\\r\\n\\r\\n"; close $c }'
      """
    let end = try await run(
      fixture, 12,
      [
        shell(
          "main", .main,
          """
          while [ ! -s /tmp/port ]; do sleep 0.05; done; p=$(cat /tmp/port)
          say() { "$@" && echo good || echo bad; }
          say /.fubini/agent probe tcp 127.0.0.1 $p; say /.fubini/agent probe tcp 127.0.0.1 1
          say /.fubini/agent probe http 127.0.0.1 $p /good X-A b; say /.fubini/agent probe http 127.0.0.1 $p /bad
          """, isResult: true),
        shell("server", .sidecar, server),
      ]
    ) { $0.capturesResult = true }
    #expect(end.phase == .succeeded, "\(fixture.log(12))")
    #expect(
      fixture.text(fixture.executor.workspace(for: RunID(12)).standardOutput) == "good\nbad\ngood\nbad\n",
      "\(fixture.log(12))")
    await fixture.tearDown()
  }

  @Test("a plan reads back as it was written, and what is no plan is refused")
  func plan() throws {
    let plan = ContainerPlan(
      containers: [
        Container(
          name: "a", role: .member, arguments: ["x", ""], environment: ["A=b"], workingDirectory: "/w",
          dependencies: ["b"], isResult: true),
        Container(
          name: "b", role: .sidecar, arguments: ["y"],
          probes: [
            ContainerPlan.Probe(
              kind: .liveness, arguments: ["p", "q"], initialDelayMs: 1, periodMs: 2, timeoutMs: 3, successThreshold: 4,
              failureThreshold: 5, graceMs: 6)
          ]),
      ], graceMs: 7, retries: 3, retryPauseMs: 9, isDaemon: true)
    #expect(try ContainerPlan(bytes: plan.bytes) == plan)
    for count in 0..<plan.bytes.count {
      #expect(throws: WireReader.Malformed.self) { try ContainerPlan(bytes: Array(plan.bytes[..<count])) }
    }
  }
}
