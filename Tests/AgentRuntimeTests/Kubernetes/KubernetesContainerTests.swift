import Execution
import FederationModel
import FoundationEssentials
import KubernetesAPI
import KubernetesSupport
import Supervisor
import Testing

@testable import AgentRuntime
@testable import KubernetesExecutor

/// Container sets and daemons on a real API server.
@Suite(
  .serialized, .timeLimit(.minutes(20)),
  .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
struct KubernetesContainerTests {
  private static func id(_ counter: UInt32) -> RunID { RunID(incarnation: 5, counter: counter) }

  private static func request(
    _ counter: UInt32, _ fixture: KubernetesFixture, _ containers: RunContainers,
    _ change: (inout RunRequest) -> Void = { _ in }
  ) -> RunRequest {
    var request = fixture.request(id(counter), "") {
      $0.spec.command = []
      $0.spec.arguments = []
      $0.spec.scratchPaths = ["/shared"]
      $0.spec.containers = containers
    }
    request.privateFiles = [
      RunFile(
        path: ContainerPlan.fileName,
        bytes: ContainerPlan(
          containers: containers.list.map {
            ContainerPlan.Container(
              name: $0.name, role: $0.role == .main ? .main : $0.role == .sidecar ? .sidecar : .member,
              arguments: $0.command, dependencies: $0.dependencies, isResult: $0.name == "main")
          }
        ).bytes)
    ]
    change(&request)
    return request
  }

  private static func member(_ name: String, _ script: String, after: [String] = []) -> RunContainers.Container {
    .init(name: name, role: .member, image: "debian:12", command: ["sh", "-c", script], dependencies: after)
  }

  @Test(
    "The containers of a set start in order, a failing one again; what main leaves comes back, and what all of them say is the log"
  )
  func set() async throws {
    try await KubernetesFixture.with { fixture in
      let request = Self.request(
        1, fixture,
        RunContainers(
          list: [
            Self.member("main", "cat /shared/a /shared/b | tee /tmp/out; echo result", after: ["a", "b"]),
            Self.member("a", "sleep 1; echo from a >/shared/a; echo a speaks; printf cut"),
            Self.member("b", "test -e /shared/tried || { touch /shared/tried; exit 7; }; echo from b >/shared/b"),
            Self.member("late", "sleep 2; echo late", after: ["a"]),
          ], retries: 1, retryPause: .milliseconds(200))
      ) {
        $0.spec.outputArtifacts = [OutputArtifact(name: "out", path: "/tmp/out")]
        $0.spec.capturesResult = true
      }
      try await fixture.submit(request)
      let end = try await fixture.end(of: request.id)
      let log = fixture.log(request.id)
      #expect(end.phase == .succeeded && end.exitCode == 0, "\(end) \(log)")
      for line in ["a: a speaks", "a: cut", "from a", "from b", "result", "late: late"] {
        #expect(log.split(separator: "\n").filter { $0 == line }.count == 1, "\(line) in \(log)")
      }
      let workspace = fixture.executor.workspace(for: request.id)
      #expect(try String(contentsOfFile: workspace.root + "/tmp/out", encoding: .utf8) == "from a\nfrom b\n")
      #expect(try String(contentsOfFile: workspace.standardOutput, encoding: .utf8) == "from a\nfrom b\nresult\n")
      let ends = try String(contentsOfFile: workspace.root + ContainerPlan.endsPath, encoding: .utf8)
      #expect(ends.split(separator: "\n").sorted() == ["a 0", "b 0", "late 0", "main 0"])
    }
  }

  @Test(
    "What depends on a container that failed is not started, and the set fails by that one; time and cancellation end all of it"
  )
  func failures() async throws {
    try await KubernetesFixture.with { fixture in
      let failing = Self.request(
        1, fixture,
        RunContainers(
          list: [
            Self.member("a", "exit 3"), Self.member("main", "echo never", after: ["a"]), Self.member("b", "true"),
          ],
          retries: 1))
      let late = Self.request(
        2, fixture,
        RunContainers(list: [Self.member("a", "exec sleep 600"), Self.member("main", "true", after: ["a"])])
      ) { $0.walltime = .seconds(3) }
      let cancelled = Self.request(
        3, fixture,
        RunContainers(list: [Self.member("a", "echo up; exec sleep 600"), Self.member("main", "true", after: ["a"])]))
      try await fixture.submit(failing, late, cancelled)
      let end = try await fixture.end(of: failing.id)
      #expect(end.phase == .failed && end.exitCode == 3, "\(end)")
      #expect(!fixture.log(failing.id).contains("never"))
      let root = fixture.executor.workspace(for: failing.id).root
      let ends = try String(contentsOfFile: root + ContainerPlan.endsPath, encoding: .utf8)
      #expect(ends.split(separator: "\n").sorted() == ["a 3", "b 0"])
      let slow = try await fixture.end(of: late.id)
      #expect(slow.phase == .failed && slow.message.contains("the walltime has passed"), "\(slow)")
      try await fixture.wait(for: cancelled.id, "its first line") { $0.phase == .running && $0.logBytes > 0 }
      try await fixture.executor.cancel(cancelled.id, grace: .seconds(1))
      #expect(try await fixture.end(of: cancelled.id).phase == .cancelled)
    }
  }

  @Test("A daemon is ready when its pod is, has the pod's address, and ends when it is asked to")
  func daemon() async throws {
    try await KubernetesFixture.with { fixture in
      var main = RunContainers.Container(
        name: "main", role: .main, image: "debian:12", command: ["sh", "-c", "sleep 2; touch /tmp/up; exec sleep 600"])
      var probe = RunProbe(.exec(["test", "-e", "/tmp/up"]))
      probe.period = .seconds(1)
      main.probes = RunProbes(readiness: probe)
      let request = Self.request(1, fixture, RunContainers(list: [main], isDaemon: true))
      try await fixture.submit(request)
      try await fixture.wait(for: request.id, "its start") { $0.phase == .running }
      #expect(await fixture.executor.isReady(request.id) == false)
      try await waitUntil(timeout: .seconds(30)) { await fixture.executor.isReady(request.id) }
      #expect(await fixture.executor.address(of: request.id) == "127.0.0.1")
      #expect(await fixture.executor.inventory().features?.contains(.daemons) == true)
      try await fixture.executor.cancel(request.id, grace: .seconds(1))
      #expect(try await fixture.end(of: request.id).phase == .cancelled)
      #expect(await fixture.executor.isReady(request.id) == false)
    }
  }
}
