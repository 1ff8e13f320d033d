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
    change: (inout TaskSpec) -> Void = { _ in }
  ) async throws -> RunObservation {
    var spec = TaskSpec(image: "debian:12")
    // What the plan says is what runs; the spec says that there is one.
    spec.containers = RunContainers(
      list: containers.map { .init(name: $0.name, role: .main, image: "debian:12", command: $0.arguments) })
    change(&spec)
    var request = RunRequest(id: RunID(id), epoch: 1, project: "p", spec: spec)
    let plan = ContainerPlan(containers: containers, graceMs: grace, retries: retries)
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

  @Test("a plan reads back as it was written, and what is no plan is refused")
  func plan() throws {
    let plan = ContainerPlan(
      containers: [
        Container(
          name: "a", role: .member, arguments: ["x", ""], environment: ["A=b"], workingDirectory: "/w",
          dependencies: ["b"], isResult: true),
        Container(name: "b", role: .sidecar, arguments: ["y"]),
      ], graceMs: 7, retries: 3, retryPauseMs: 9)
    #expect(try ContainerPlan(bytes: plan.bytes) == plan)
    for count in 0..<plan.bytes.count {
      #expect(throws: WireReader.Malformed.self) { try ContainerPlan(bytes: Array(plan.bytes[..<count])) }
    }
  }
}
