import Execution
import FederationModel
import Foundation
import KubernetesAPI
import KubernetesSupport
import Synchronization
import Testing

@testable import AgentRuntime
@testable import KubernetesExecutor

/// Plays Kueue for the Jobs that carry its label: lets a Job go once the quota has room for all of its pods, says why it waits, and takes its
/// leave back by suspending it.
private final class LittleKueue: Sendable {
  static let queue = "team"
  private let client: KubernetesClient
  private let namespace: String
  /// Of pods.
  private let quota: Mutex<Int>
  private let held = Mutex<Set<String>>([])

  init(_ fixture: KubernetesFixture, quota: Int) {
    client = fixture.admin
    namespace = fixture.namespace
    self.quota = Mutex(quota)
  }

  func setQuota(_ pods: Int) { quota.withLock { $0 = pods } }

  private func suspend(_ name: String, _ value: Bool) async throws {
    _ = try await client.patch(
      KubernetesPath.object("batch/v1", "jobs", namespace: namespace, name: name), ["spec": ["suspend": .bool(value)]],
      type: .merge)
  }

  /// Takes its leave back, and does not give it again.
  func preempt(_ name: String) async throws {
    held.withLock { _ = $0.insert(name) }
    try await suspend(name, true)
  }

  func serve() async {
    while !Task.isCancelled {
      try? await pass()
      try? await Task.sleep(for: .milliseconds(200))
    }
  }

  private func pass() async throws {
    var jobs: [JSONValue] = []
    _ = try await client.list(
      KubernetesPath.collection("batch/v1", "jobs", namespace: namespace),
      query: [("labelSelector", "\(ObjectName.queueLabel)=\(Self.queue)")]
    ) { jobs.append($0) }
    func pods(_ job: JSONValue) -> Int { Int(job["spec"]?["parallelism"]?.integerValue ?? 1) }
    func isOver(_ job: JSONValue) -> Bool {
      job["metadata"]?["deletionTimestamp"] != nil
        || job["status"]?["conditions"]?.arrayValue?.contains {
          ["Complete", "Failed"].contains($0["type"]?.stringValue) && $0["status"]?.stringValue == "True"
        } ?? false
    }
    let living = jobs.filter { !isOver($0) }
    var free =
      quota.withLock { $0 }
      - living.filter { $0["spec"]?["suspend"]?.boolValue != true }.map(pods).reduce(0, +)
    for job in living where job["spec"]?["suspend"]?.boolValue == true {
      guard let name = job["metadata"]?["name"]?.stringValue, !held.withLock({ $0.contains(name) }) else { continue }
      guard pods(job) <= free else {
        try await refuse(name, "insufficient unused quota, \(pods(job) - free) more needed")
        continue
      }
      free -= pods(job)
      try await suspend(name, false)
    }
  }

  /// As Kueue does, at its own object for the Job.
  private func refuse(_ job: String, _ why: String) async throws {
    let name = "job-\(job)-1a2b3"
    let now = RFC3339.format(SystemClock.now)
    _ = try? await client.create(
      KubernetesPath.collection("v1", "events", namespace: namespace),
      [
        "apiVersion": "v1", "kind": "Event", "metadata": ["name": .string("\(name).pending")],
        "type": "Warning", "reason": "Pending", "message": .string(why), "lastTimestamp": .string(now),
        "involvedObject": [
          "apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "Workload", "namespace": .string(namespace),
          "name": .string(name),
        ],
      ])
  }
}

/// Gangs on a real API server that has Indexed Jobs which may be suspended: Kubernetes 1.24 or newer.
@Suite(
  .serialized, .timeLimit(.minutes(10)),
  .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
struct KubernetesGangTests {
  private static let id = RunID(incarnation: 4, counter: 1)

  /// With a cluster whose operator declares Kueue, and something that plays it.
  private static func with(
    quota: Int, cpus: Int = 64, _ body: (KubernetesFixture, LittleKueue) async throws -> Void
  ) async throws {
    try await KubernetesFixture.with(
      configure: { $0.nodes = [.init(name: "node-1", capacity: ["cpu": "\(cpus)", "memory": "64Gi"])] },
      settings: { $0.queue = LittleKueue.queue }
    ) { fixture in
      let version = try await fixture.admin.version()
      guard version.minor >= JobManifest.gangMinor else {
        try Test.cancel("\(version.gitVersion) has no Indexed Jobs that may be suspended")
      }
      let kueue = LittleKueue(fixture, quota: quota)
      let serving = Task { await kueue.serve() }
      do {
        try await body(fixture, kueue)
        serving.cancel()
        await serving.value
      } catch {
        serving.cancel()
        await serving.value
        throw error
      }
    }
  }

  private static func gang(
    _ fixture: KubernetesFixture, _ size: Int, _ script: String, _ change: (inout RunRequest) -> Void = { _ in }
  ) -> RunRequest {
    fixture.request(id, script) {
      $0.spec.federation.gangSize = size
      change(&$0)
    }
  }

  @Test(
    "I6, I10: a gang waits with Kueue's reason, starts whole, and its members' logs, outputs and results are told apart"
  )
  func whole() async throws {
    try await Self.with(quota: 2) { fixture, kueue in
      try await waitUntil { await fixture.executor.inventory().startsGangs }
      let request = Self.gang(
        fixture, 3,
        "echo I am $SLURM_PROCID of $SLURM_NTASKS; mkdir -p /mnt/out; date +%s >/mnt/out/$SLURM_PROCID; sleep 3"
      ) {
        $0.spec.outputArtifacts = [OutputArtifact(name: "out", path: "/mnt/out")]
        $0.spec.capturesResult = true
      }
      try await fixture.submit(request)
      try await fixture.wait(for: Self.id, "Kueue's reason") {
        $0.phase == .queued
          && $0.message == "it waits in Kueue's queue team: insufficient unused quota, 1 more needed"
      }
      #expect(try await fixture.names("v1", "pods").isEmpty, "none has started")
      let services = try await fixture.names("v1", "services")
      #expect(services == [fixture.name(Self.id)])
      kueue.setQuota(3)
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .succeeded && end.exitCode == 0, "\(end) \(fixture.log(Self.id))")
      let lines = fixture.log(Self.id).split(separator: "\n").map(String.init)
      #expect(lines.sorted() == (0..<3).map { "\($0): I am \($0) of 3" })
      #expect(end.logBytes == Int64(fixture.log(Self.id).utf8.count))
      let workspace = fixture.executor.workspace(for: Self.id)
      let result = try String(contentsOfFile: workspace.standardOutput, encoding: .utf8)
      #expect(result == "0: I am 0 of 3\n1: I am 1 of 3\n2: I am 2 of 3\n")
      let moments = try (0..<3).map {
        try #require(
          Int(
            String(contentsOfFile: workspace.root + "/mnt/out/\($0)", encoding: .utf8)
              .trimmingCharacters(in: .newlines)))
      }
      #expect(moments.max()! - moments.min()! <= 3, "together: \(moments)")
      try await fixture.executor.forget([Self.id])
      try await waitUntil { (try? await fixture.isEmpty()) == true }
      try await waitUntil { (try? await fixture.names("v1", "services"))?.isEmpty == true }
    }
  }

  @Test("I6: where Kueue lets a gang go that finds no room for all its pods, no member begins")
  func noRoom() async throws {
    try await Self.with(quota: 9, cpus: 2) { fixture, _ in
      try await fixture.submit(
        Self.gang(fixture, 3, "echo begun") { $0.spec.resources = Resources(cpuMillicores: 1000) })
      try await fixture.wait(for: Self.id, "who is ready, and who is not") {
        $0.phase == .queued && $0.message.hasPrefix("2 of 3 members are ready; member ")
          && $0.message.contains("FailedScheduling") && $0.message.contains("Insufficient cpu")
      }
      try await Task.sleep(for: .seconds(3))
      #expect(fixture.log(Self.id).isEmpty && !fixture.observations(Self.id).contains { $0.phase == .running })
      try await fixture.executor.cancel(Self.id, grace: .zero)
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .cancelled, "\(end)")
    }
  }

  @Test("one member that fails ends the others, and the run has its exit code")
  func failure() async throws {
    try await Self.with(quota: 9) { fixture, _ in
      try await fixture.submit(
        Self.gang(fixture, 3, "if [ $SLURM_PROCID = 1 ]; then sleep 1; exit 7; fi; sleep 600 & wait; echo survived"))
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .failed && end.exitCode == 7, "\(end)")
      #expect(end.message.hasPrefix("member 1: "), "\(end)")
      #expect(!fixture.log(Self.id).contains("survived"))
      try await fixture.executor.forget([Self.id])
      try await waitUntil { (try? await fixture.isEmpty()) == true }
    }
  }

  @Test("a gang that has lost a member is lost, and what is put in the member's place begins nothing")
  func lost() async throws {
    try await Self.with(quota: 9) { fixture, _ in
      try await fixture.submit(Self.gang(fixture, 2, "echo begun; sleep 600"))
      try await waitUntil(timeout: .seconds(60)) { fixture.log(Self.id).split(separator: "\n").count == 2 }
      let pod = try #require(try await fixture.names("v1", "pods").first { $0.contains("-0-") })
      _ = try await fixture.admin.delete(
        KubernetesPath.object("v1", "pods", namespace: fixture.namespace, name: pod),
        options: ["gracePeriodSeconds": 1])
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .lost, "\(end)")
      #expect(fixture.log(Self.id).split(separator: "\n").count == 2)
    }
  }

  @Test("a gang that is cancelled leaves no pod; one that another agent takes up goes on, each line of its log once")
  func takenUp() async throws {
    try await Self.with(quota: 9) { fixture, _ in
      try await fixture.submit(
        Self.gang(fixture, 2, "for i in 1 2 3 4 5 6; do echo line $i; sleep 1; done; exec sleep 600"))
      try await waitUntil(timeout: .seconds(60)) { fixture.log(Self.id).contains("line 2") }
      try await fixture.restartAgent {
        // Whoever makes it must look after it again.
        let path = KubernetesPath.object("v1", "services", namespace: fixture.namespace, name: fixture.name(Self.id))
        _ = try await fixture.admin.delete(path)
      }
      let known = try await fixture.executor.reattach(known: [Self.id])
      #expect(known.first?.phase == .running || known.first?.phase == .queued, "\(known)")
      try await waitUntil(timeout: .seconds(60)) { fixture.log(Self.id).ranges(of: "line 6").count == 2 }
      let lines = fixture.log(Self.id).split(separator: "\n").map(String.init)
      for rank in 0..<2 {
        #expect(lines.filter { $0.hasPrefix("\(rank): ") } == (1...6).map { "\(rank): line \($0)" }, "\(lines)")
      }
      try await waitUntil { (try? await fixture.names("v1", "services"))?.count == 1 }
      try await fixture.executor.cancel(Self.id, grace: .seconds(1))
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .cancelled, "\(end)")
      try await waitUntil { (try? await fixture.names("v1", "pods"))?.isEmpty == true }
    }
  }

  @Test(
    "a gang that Kueue preempts is lost with that cause, and begins no second time; one that had not begun waits on")
  func preempted() async throws {
    try await Self.with(quota: 9) { fixture, kueue in
      try await fixture.submit(Self.gang(fixture, 2, "echo begun; trap 'exit 3' TERM; sleep 600 & wait"))
      try await waitUntil(timeout: .seconds(60)) { fixture.log(Self.id).split(separator: "\n").count == 2 }
      try await kueue.preempt(fixture.name(Self.id))
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .lost && end.cause == .preempted, "\(end)")
      #expect(end.message == "preempted: Kueue (queue team) has suspended its Job")
      #expect(fixture.log(Self.id).split(separator: "\n").count == 2)
      try await fixture.executor.forget([Self.id])
      try await waitUntil { (try? await fixture.isEmpty()) == true }
    }
  }

  @Test("I7: a Service of a gang's name that is somebody else's is left alone, and the run says so")
  func namesake() async throws {
    try await Self.with(quota: 9) { fixture, _ in
      let path = KubernetesPath.collection("v1", "services", namespace: fixture.namespace)
      _ = try await fixture.admin.create(
        path,
        [
          "apiVersion": "v1", "kind": "Service", "metadata": ["name": .string(fixture.name(Self.id))],
          "spec": ["clusterIP": "None"],
        ])
      try await fixture.submit(Self.gang(fixture, 2, "echo begun; sleep 600"))
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .error && end.message.contains("somebody else's"), "\(end)")
      try await fixture.executor.forget([Self.id])
      try await waitUntil { (try? await fixture.isEmpty()) == true }
      let left = try await fixture.admin.get("\(path)/\(fixture.name(Self.id))")
      #expect(left["metadata"]?["deletionTimestamp"] == nil)
    }
  }
}
