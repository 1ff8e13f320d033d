import Execution
import FederationModel
import FoundationEssentials
import KubernetesAPI
import KubernetesSupport
import Supervisor
import Testing

@testable import AgentRuntime
@testable import KubernetesExecutor

/// Runs on a real API server, with pods whose containers are processes.
@Suite(
  .serialized, .timeLimit(.minutes(20)),
  .enabled(if: LocalKubernetes.runsPods, "\(LocalKubernetes.noPods)"))
struct KubernetesRunTests {
  private static let id = RunID(incarnation: 3, counter: 1)
  private static func id(_ counter: UInt32) -> RunID { RunID(incarnation: 3, counter: counter) }

  @Test("A run has its inputs, script, secrets and outputs, its log once, and at most six requests")
  func whole() async throws {
    try await KubernetesFixture.with { fixture in
      let request = fixture.request(Self.id, "") {
        $0.spec.command = ["sh"]
        $0.spec.arguments = []
        $0.spec.script = """
          cat /data/in.txt; echo "secret $SECRET plain $PLAIN"; cat /keys/id; echo
          mkdir -p /mnt/out && tr a-z A-Z </data/in.txt >/mnt/out/x; echo to stderr >&2
          """
        $0.spec.inputs = [InputArtifact(name: "in", path: "/data/in.txt", source: .raw("hello\n"))]
        $0.spec.outputArtifacts = [OutputArtifact(name: "x", path: "/mnt/out/x")]
        $0.spec.environment = [EnvironmentVariable(name: "PLAIN", value: "$(HOME) $$")]
        $0.secrets = [EnvironmentVariable(name: "SECRET", value: "hunter2")]
        $0.spec.capturesResult = true
        $0.spec.fileVolumes = [FileVolume(name: "k", sources: [], mounts: [.init(path: "/keys")])]
        $0.privateFiles = [RunFile(path: "0/"), RunFile(path: "0/id", mode: 0o444, bytes: Array("key".utf8))]
      }
      let workspace = try await fixture.executor.prepare(request)
      try Data("hello\n".utf8).write(to: URL(filePath: workspace.root + "/data/in.txt"))
      // Watches and inventories are asked for by the agent, not by a run.
      let before = try await fixture.quietCount()
      try await fixture.executor.submit([request])
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .succeeded, "\(end.message) \(fixture.log(Self.id))")
      #expect(end.exitCode == 0)
      #expect(end.runsAs == LocalKubernetes.taskImage)
      let log = fixture.log(Self.id)
      for line in ["hello", "secret hunter2 plain $(HOME) $$", "key", "to stderr"] {
        #expect(log.split(separator: "\n").filter { $0 == line }.count == 1, "\(line) in \(log)")
      }
      #expect(end.logBytes == Int64(log.utf8.count))
      let output = try String(contentsOfFile: workspace.root + "/mnt/out/x", encoding: .utf8)
      #expect(output == "HELLO\n")
      let result = try String(contentsOfFile: workspace.standardOutput, encoding: .utf8)
      #expect(result.contains("secret hunter2"))
      #expect(!result.contains("to stderr"))
      try await fixture.executor.forget([Self.id])
      #expect(fixture.client.requestCount - before <= 6)
      try await waitUntil { (try? await fixture.isEmpty()) == true }
      #expect(!FileManager.default.fileExists(atPath: workspace.directory))
    }
  }

  @Test("A run that waits says why, and one that fails says how")
  func reasons() async throws {
    try await KubernetesFixture.with { fixture in
      try await fixture.submit(
        fixture.request(Self.id(1), "exit 3"),
        fixture.request(Self.id(2), "true") { $0.spec.resources = Resources(cpuMillicores: 1000, gpus: 1) },
        fixture.request(Self.id(3), "true") { $0.spec.image = "fubini-test/missing" },
        fixture.request(Self.id(4), "tail /dev/zero") {
          if LocalKubernetes.isLocal { $0.spec.image = "fubini-test/oom" }
          $0.spec.limits = Resources(memory: ByteCount(64 << 20))
        },
        fixture.request(Self.id(5), "sleep 60") { $0.walltime = .seconds(1) })
      let failed = try await fixture.end(of: Self.id(1))
      #expect(failed.phase == .failed)
      #expect(failed.exitCode == 3)
      try await fixture.wait(for: Self.id(2), "the reason of its wait") {
        $0.phase == .queued && $0.message.contains("Insufficient nvidia.com/gpu")
      }
      try await fixture.wait(for: Self.id(3), "the reason of its wait") {
        $0.phase == .queued && ($0.message.hasPrefix("ImagePullBackOff") || $0.message.hasPrefix("ErrImagePull"))
      }
      let killed = try await fixture.end(of: Self.id(4))
      #expect(killed.phase == .failed)
      #expect(killed.message.hasPrefix("OOMKilled"))
      #expect(killed.cause == .outOfMemory)
      let late = try await fixture.end(of: Self.id(5))
      #expect(late.phase == .failed)
      #expect(late.message.contains("the walltime has passed"), "\(late)")
      for counter: UInt32 in [2, 3] {
        try await fixture.executor.cancel(Self.id(counter), grace: .zero)
        #expect(try await fixture.end(of: Self.id(counter)).phase == .cancelled)
      }
    }
  }

  @Test("A cancelled run has its grace; its Job stays until it is forgotten, and then nothing does")
  func cancellation() async throws {
    try await KubernetesFixture.with { fixture in
      try await fixture.submit(
        fixture.request(Self.id, "trap 'echo farewell; exit 0' TERM; echo up; while :; do sleep 0.1; done"))
      try await fixture.wait(for: Self.id, "its first line") { $0.phase == .running && $0.logBytes > 0 }
      try await fixture.executor.cancel(Self.id, grace: .seconds(2))
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .cancelled || end.phase == .succeeded, "\(end)")
      #expect(fixture.log(Self.id).contains("farewell"))
      #expect(try await fixture.names("batch/v1", "jobs") == [fixture.name(Self.id)])
      try await fixture.executor.forget([Self.id])
      try await waitUntil { (try? await fixture.isEmpty()) == true }
    }
  }

  @Test("I1: a run that is submitted twice, also by a later agent, begins once")
  func once() async throws {
    try await KubernetesFixture.with { fixture in
      let request = fixture.request(Self.id, "echo begun; sleep 3")
      try await fixture.submit(request)
      try await fixture.executor.submit([request])
      try await fixture.restartAgent()
      // As if its journal had not noted the submission.
      try await fixture.executor.submit([request])
      let known = try await fixture.executor.reattach(known: [Self.id])
      #expect(known.map(\.id) == [Self.id])
      #expect(try await fixture.end(of: Self.id).phase == .succeeded)
      #expect(fixture.log(Self.id) == "begun\n")
      #expect(try await fixture.names("v1", "pods").count == 1)
    }
  }

  @Test("A run that ended, and whose Job somebody deleted, while the agent was away is told as it ended")
  func recorded() async throws {
    try await KubernetesFixture.with { fixture in
      try await fixture.submit(fixture.request(Self.id, "echo done; exit 4"))
      try await fixture.restartAgent {
        try await waitUntil {
          let job = try? await fixture.admin.get(fixture.jobPath(Self.id))
          return job?["status"]?["failed"]?.integerValue == 1
        }
        _ = try await fixture.admin.delete(fixture.jobPath(Self.id), options: ["propagationPolicy": "Background"])
      }
      let found = try await fixture.executor.reattach(known: [Self.id])
      var end = found.first { $0.phase.isTerminal }
      if end == nil { end = try await fixture.end(of: Self.id) }
      #expect(end?.phase == .failed)
      #expect(end?.exitCode == 4)
    }
  }

  @Test("A known run without a Job was never started; what nobody knows is told, so that the agent can end it")
  func reattachment() async throws {
    try await KubernetesFixture.with { fixture in
      try await fixture.submit(fixture.request(Self.id(1), "sleep 60"))
      try await fixture.restartAgent()
      let found = try await fixture.executor.reattach(known: [Self.id(2)])
      #expect(found.map(\.id) == [Self.id(1), Self.id(2)])
      #expect(found[1].phase == .bound)
      #expect(!found[0].phase.isTerminal && found[0].phase != .bound)
      try await fixture.executor.cancel(Self.id(1), grace: .zero)
      #expect(try await fixture.end(of: Self.id(1)).phase == .cancelled)
    }
  }

  @Test("I7: a Job or Secret of the same name that is somebody else's is left alone, and the run says so")
  func namesakes() async throws {
    try await KubernetesFixture.with { fixture in
      let (job, secret) = (Self.id(1), Self.id(2))
      _ = try await fixture.admin.create(
        KubernetesPath.collection("batch/v1", "jobs", namespace: fixture.namespace),
        [
          "apiVersion": "batch/v1", "kind": "Job", "metadata": ["name": .string(fixture.name(job))],
          "spec": [
            "template": [
              "spec": [
                "restartPolicy": "Never", "containers": [["name": "c", "image": "x", "command": ["sleep", "60"]]],
              ]
            ]
          ],
        ])
      _ = try await fixture.admin.create(
        KubernetesPath.collection("v1", "secrets", namespace: fixture.namespace),
        ["apiVersion": "v1", "kind": "Secret", "metadata": ["name": .string(fixture.name(secret))]])
      try await fixture.submit(fixture.request(job, "true"), fixture.request(secret, "true"))
      for id in [job, secret] {
        let end = try await fixture.end(of: id)
        #expect(end.phase == .error)
        #expect(end.message.contains("somebody else's"), "\(end)")
        try await fixture.executor.cancel(id, grace: .zero)
      }
      try await fixture.executor.forget([job, secret])
      try await Task.sleep(for: .seconds(1))
      let left = try await fixture.admin.get(fixture.jobPath(job))
      #expect(left["metadata"]?["deletionTimestamp"] == nil)
      _ = try await fixture.admin.get(
        KubernetesPath.object("v1", "secrets", namespace: fixture.namespace, name: fixture.name(secret)))
    }
  }

  @Test("I1: a pod that somebody deletes is lost, and what its Job's controller puts in its place never begins")
  func deletedPod() async throws {
    try await KubernetesFixture.with { fixture in
      try await fixture.submit(fixture.request(Self.id, "echo begun; sleep 60"))
      try await fixture.wait(for: Self.id, "its first line") { $0.phase == .running && $0.logBytes > 0 }
      let pod = try #require(try await fixture.names("v1", "pods").first)
      _ = try await fixture.admin.delete(
        KubernetesPath.object("v1", "pods", namespace: fixture.namespace, name: pod),
        options: ["gracePeriodSeconds": 1])
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .lost, "\(end)")
      #expect(fixture.log(Self.id) == "begun\n")
      try await fixture.executor.forget([Self.id])
      try await waitUntil { (try? await fixture.isEmpty()) == true }
    }
  }

  @Test("A Job that somebody deletes ends its run, and leaves no pod behind, whatever was to become of its pods")
  func deletedJobs() async throws {
    try await KubernetesFixture.with { fixture in
      for (counter, policy) in [(1, "Background"), (2, "Orphan"), (3, "Foreground")] as [(UInt32, String)] {
        let id = Self.id(counter)
        try await fixture.submit(fixture.request(id, "echo begun; exec sleep 60"))
        try await fixture.wait(for: id, "its first line") { $0.phase == .running && $0.logBytes > 0 }
        _ = try await fixture.admin.delete(
          fixture.jobPath(id), options: ["propagationPolicy": .string(policy)])
        let end = try await fixture.end(of: id)
        #expect(end.phase == .cancelled, "\(policy): \(end)")
        #expect(end.message.contains("not by the federation"), "\(policy): \(end)")
        try await fixture.executor.forget([id])
      }
      try await waitUntil(timeout: .seconds(60)) { (try? await fixture.isEmpty()) == true }
    }
  }

  @Test(
    "A watch that breaks ends nothing: the API server dies and comes again, and its history is compacted",
    .enabled(if: LocalKubernetes.isLocal, "somebody's API server is not killed"))
  func brokenWatches() async throws {
    try await KubernetesFixture.with(configure: { $0.watchCache = false }) { fixture in
      try await fixture.submit(fixture.request(Self.id(1), "echo a; sleep 12; echo b"))
      try await fixture.wait(for: Self.id(1), "its first line") { $0.phase == .running && $0.logBytes > 0 }
      try await fixture.cluster.killServer()
      try await Task.sleep(for: .seconds(2))
      try await fixture.cluster.restartServer()
      try await fixture.cluster.compact()
      try await fixture.submit(fixture.request(Self.id(2), "echo c"))
      let (first, second) = (try await fixture.end(of: Self.id(1)), try await fixture.end(of: Self.id(2)))
      #expect(first.phase == .succeeded, "\(first)")
      #expect(second.phase == .succeeded, "\(second)")
      // Bytes once, although its stream broke.
      #expect(fixture.log(Self.id(1)) == "a\nb\n")
      #expect(fixture.observations(Self.id(1)).filter { $0.phase.isTerminal }.count == 1)
    }
  }

  @Test(
    "What could not be cleaned up while the API server was away is cleaned up later",
    .enabled(if: LocalKubernetes.isLocal, "somebody's API server is not killed"))
  func remnants() async throws {
    try await KubernetesFixture.with { fixture in
      try await fixture.submit(fixture.request(Self.id, "true"))
      _ = try await fixture.end(of: Self.id)
      try await fixture.cluster.killServer()
      let forgetting = Task { try await fixture.executor.forget([Self.id]) }
      try await Task.sleep(for: .seconds(2))
      try await fixture.cluster.restartServer()
      try await forgetting.value
      try await waitUntil(timeout: .seconds(90)) { (try? await fixture.isEmpty()) == true }
    }
  }

  @Test("A run that was quoted for a node pool waits for a node of it, and runs there")
  func pool() async throws {
    let label = "fubini.test/pool"
    try await KubernetesFixture.with(
      configure: {
        $0.nodes = [
          .init(name: "node-1", capacity: ["cpu": "64", "memory": "64Gi"]),
          .init(name: "node-2", capacity: ["cpu": "4", "memory": "8Gi"], labels: [label: "burst"]),
        ]
      },
      settings: {
        $0.pools = [
          .init(
            name: "burst", resources: Resources(cpuMillicores: 4000, memory: .gibibytes(8)), nodesMax: 3,
            startupTime: .seconds(60), nodeLabel: [label: "burst"])
        ]
      }
    ) { fixture in
      try await fixture.submit(
        fixture.request(Self.id(1), "echo hello") { $0.spec.federation.slurm = SlurmHints(partition: "burst") })
      if fixture.cluster.isExternal {
        // No node is of the pool yet; an autoscaler would make one.
        try await fixture.wait(for: Self.id(1), "its reason") { $0.message.contains("FailedScheduling") }
        let node = try #require(try await fixture.nodes().first)
        _ = try await fixture.admin.patch(
          node.path, ["metadata": ["labels": [label: "burst"]]], type: .merge)
      }
      let end = try await fixture.end(of: Self.id(1))
      let labels = try await fixture.nodes().filter { $0.labels[label] == "burst" }
      let pod = try #require(try await fixture.names("v1", "pods").first)
      let there = try await fixture.admin.get(
        KubernetesPath.object("v1", "pods", namespace: fixture.namespace, name: pod))
      for node in labels where fixture.cluster.isExternal {
        _ = try await fixture.admin.patch(node.path, ["metadata": ["labels": [label: .null]]], type: .merge)
      }
      #expect(end.phase == .succeeded, "\(end.message)")
      #expect(labels.map(\.name) == [there["spec"]?["nodeName"]?.stringValue])
      guard !fixture.cluster.isExternal else { return }
      // One of its nodes is there, and two more may be made.
      _ = await fixture.executor.refreshInventory()
      let partitions = await fixture.executor.inventory().partitions
      #expect(partitions.map(\.name) == ["nodes", "burst"])
      #expect(partitions.map(\.freeCPUs) == [64, 4] && partitions.map(\.cpus) == [64, 12])
      #expect(await fixture.executor.inventory().capacity.cpuMillicores == 76_000)
    }
  }

  @Test(
    "The inventory says what nodes have, what others take of it, and why an old version is refused",
    .enabled(if: LocalKubernetes.isLocal, "somebody's nodes are not known"))
  func inventory() async throws {
    try await KubernetesFixture.with(configure: {
      $0.nodes = [
        .init(
          name: "gpu", capacity: ["cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"],
          labels: [GPUType.productLabel: "A100"])
      ]
    }) { fixture in
      _ = await fixture.executor.refreshInventory()
      let inventory = await fixture.executor.inventory()
      #expect(inventory.executor == "kubernetes")
      #expect(inventory.closed == nil)
      #expect(inventory.capacity.cpuMillicores == 8000)
      #expect(inventory.capacity.gpus == 2)
      #expect(inventory.gpuTypes == ["A100"])
      #expect(inventory.features?.isSuperset(of: [.artifacts, .objects, .containers, .pods]) == true)
      var strict = fixture.configuration
      strict.minimumMinor = 24
      strict.stateDirectory += "-strict"
      let executor = try KubernetesExecutor(
        configuration: strict, client: fixture.client, files: fixture.server, logger: silentLogger())
      _ = await executor.refreshInventory()
      #expect(await executor.inventory().closed?.contains("1.24 or newer is needed") == true)
      await executor.close()
    }
  }

  @Test("Sidecars and init containers are the pod's own, and the run ends with its main program")
  func containers() async throws {
    try await KubernetesFixture.with { fixture in
      let request = try fixture.severalContainers(Self.id)
      _ = try await fixture.executor.prepare(request)
      try await fixture.executor.submit([request])
      let end = try await fixture.end(of: Self.id)
      #expect(end.phase == .succeeded, "\(end) \(fixture.log(Self.id))")
      #expect(fixture.log(Self.id).contains("prepared"))
    }
  }

  @Test(
    "I3: a run outlives its first slice when it is extended; one that is not is ended there while its agent is gone")
  func slices() async throws {
    try await KubernetesFixture.with { fixture in
      for id in [Self.id(1), Self.id(2)] {
        try await fixture.submit(
          fixture.request(id, "echo up; \(id == Self.id(1) ? "sleep 20; echo went on" : "exec sleep 600")") {
            $0.slice = .seconds(8)
            $0.walltime = .seconds(3600)
          })
      }
      for id in [Self.id(1), Self.id(2)] { try await fixture.wait(for: id, "its start") { $0.phase == .running } }
      #expect(await fixture.executor.canExtend())
      try await fixture.executor.extend([Self.id(1): .seconds(300), Self.id(9): .seconds(300)])
      try await fixture.executor.extend([Self.id(1): .seconds(2)])
      #expect(!FileManager.default.fileExists(atPath: fixture.executor.workspace(for: Self.id(9)).directory))
      try await fixture.restartAgent {
        try await waitUntil(timeout: .seconds(60)) {
          let job = try? await fixture.admin.get(fixture.jobPath(Self.id(2)))
          return job?["status"]?["failed"]?.integerValue == 1
        }
      }
      let known = try await fixture.executor.reattach(known: [Self.id(1), Self.id(2)])
      #expect(known.first { $0.id == Self.id(1) }?.phase.isTerminal == false, "\(known)")
      let second = try await fixture.end(of: Self.id(2))
      #expect(second.phase == .failed && second.isUnpaid && second.message.contains("used up"), "\(second)")
      #expect(second.wallTime! >= .seconds(8) && second.wallTime! < .seconds(30), "\(second)")
      let first = try await fixture.end(of: Self.id(1))
      #expect(first.phase == .succeeded && !first.isUnpaid, "\(first)")
      #expect(fixture.log(Self.id(1)).hasSuffix("went on\n"))
    }
  }

  @Test(
    "So many Jobs take no more than six requests each, and none while they live",
    .enabled(if: LocalKubernetes.isLocal, "so many pods are too many for somebody's nodes"))
  func many() async throws {
    let count = Int(ProcessInfo.processInfo.environment["FUBINI_TEST_JOBS"] ?? "") ?? 200
    try await KubernetesFixture.with(
      configure: { $0.kubelet = .instant(seconds: 2) }, settings: { $0.jobsMax = count }
    ) { fixture in
      let before = try await fixture.quietCount()
      let began = ContinuousClock.now
      let requests = (1...UInt32(count)).map { fixture.request(Self.id($0), "true") }
      for request in requests { _ = try await fixture.executor.prepare(request) }
      try await fixture.executor.submit(requests)
      for request in requests {
        #expect(try await fixture.end(of: request.id, within: .seconds(600)).phase == .succeeded)
      }
      try await fixture.executor.forget(requests.map(\.id))
      let each = Double(fixture.client.requestCount - before) / Double(count)
      // Watches last 90 s or more, and are the agent's.
      let watches = Double(3 * (Int((ContinuousClock.now - began) / .seconds(90)) + 1)) / Double(count)
      #expect(each <= 6 + watches, "\(each) requests for each Job, in \(ContinuousClock.now - began)")
      print("\(count) Jobs: \(each) requests each, \(ContinuousClock.now - began)")
      try await waitUntil(timeout: .seconds(120)) { (try? await fixture.isEmpty()) == true }
    }
  }
}

extension KubernetesFixture {
  /// An init container that leaves a file in a scratch directory, a sidecar that never ends by itself, and the main program.
  func severalContainers(_ id: RunID) throws -> RunRequest {
    var request = request(id, "") {
      $0.spec.command = []
      $0.spec.arguments = []
      $0.spec.scratchPaths = ["/shared"]
      $0.spec.containers = RunContainers(list: [
        .init(
          name: "prepare", role: .initial, image: LocalKubernetes.taskImage,
          command: ["sh", "-c", "echo prepared >/shared/x"]),
        .init(name: "main", role: .main, image: LocalKubernetes.taskImage, command: ["sh", "-c", "cat /shared/x"]),
        .init(
          name: "side", role: .sidecar, image: LocalKubernetes.taskImage,
          command: ["sh", "-c", "while :; do sleep 1; done"]),
      ])
    }
    let list = request.spec.containers!.list
    request.privateFiles = [
      RunFile(
        path: ContainerPlan.fileName,
        bytes: ContainerPlan(
          containers: list.map {
            ContainerPlan.Container(
              name: $0.name, role: $0.role == .initial ? .initial : $0.role == .main ? .main : .sidecar,
              arguments: $0.command, environment: ["WHO=\($0.name)"], isResult: $0.name == "main")
          }
        ).bytes)
    ]
    return request
  }
}
