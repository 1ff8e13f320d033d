internal import Execution
internal import FederationModel
internal import Foundation
internal import ProcessExecutor
internal import Supervisor
internal import Testing

@testable internal import KubernetesExecutor

/// What the API server is asked to make of a run.
@Suite struct JobManifestTests {
  static func configuration(
    _ change: (inout KubernetesExecutorConfiguration) -> Void = { _ in }
  ) -> KubernetesExecutorConfiguration {
    var configuration = KubernetesExecutorConfiguration(
      stateDirectory: "/s", federationID: "fed", cluster: "cloud", namespace: "runs", image: "registry/fubini-agent:1")
    change(&configuration)
    return configuration
  }

  static func request(_ change: (inout RunRequest) -> Void = { _ in }) -> RunRequest {
    var request = RunRequest(
      id: ObjectNameTests.run, epoch: 1, project: "p",
      spec: TaskSpec(image: "python:3.13", command: ["python3"], arguments: ["-c", "print(1)"]))
    change(&request)
    return request
  }

  static func manifest(
    _ request: RunRequest = request(), _ configuration: KubernetesExecutorConfiguration = configuration(),
    minor: Int = 24
  ) throws -> JobManifest {
    try JobManifest(
      request, configuration,
      .init(
        mark: ObjectNameTests.mark, workspace: KubernetesExecutor.workspace(for: request.id, in: "/s"),
        access: PodAccess(url: "https://agent:7443", certificateAuthorityPEM: "PEM", token: "t0ken"), minor: minor))
  }

  static func pod(_ manifest: JobManifest) -> JSONValue { manifest.job["spec"]?["template"]?["spec"] ?? .null }
  static func main(_ manifest: JobManifest) -> JSONValue {
    pod(manifest)["containers"]?.arrayValue?.first { $0["name"]?.stringValue == "main" } ?? .null
  }
  private static func mount(_ container: JSONValue, _ path: String) -> JSONValue? {
    container["volumeMounts"]?.arrayValue?.first { $0["mountPath"]?.stringValue == path }
  }
  private static func volume(_ manifest: JobManifest, _ name: String?) -> JSONValue? {
    pod(manifest)["volumes"]?.arrayValue?.first { $0["name"]?.stringValue == name }
  }

  @Test("A Job begins once, is nobody's to retry, and stays until its end is recorded")
  func job() throws {
    let manifest = try Self.manifest()
    let job = manifest.job
    #expect(job["spec"]?["backoffLimit"] == 0)
    #expect(Self.pod(manifest)["restartPolicy"] == "Never")
    #expect(job["metadata"]?["finalizers"] == [.string(ObjectName.finalizer)])
    for metadata in [job["metadata"], manifest.secret["metadata"], job["spec"]?["template"]?["metadata"]] {
      #expect(metadata?["labels"]?[ObjectName.markLabel]?.stringValue == ObjectNameTests.mark)
      #expect(metadata?["labels"]?[ObjectName.runLabel]?.stringValue == ObjectNameTests.run.hexadecimal)
    }
    #expect(job["spec"]?["podReplacementPolicy"] == nil)
    #expect(try Self.manifest(minor: 31).job["spec"]?["podReplacementPolicy"] == "Failed")
  }

  @Test("The author's program is started by the agent's, in the author's image")
  func command() throws {
    let manifest = try Self.manifest()
    let main = Self.main(manifest)
    #expect(main["image"] == "python:3.13")
    #expect(
      main["command"]?.arrayValue?.compactMap(\.stringValue)
        == ["/fubini/agent", "pod-step", "--container", "main", "--", "python3", "-c", "print(1)"])
    let first = Self.pod(manifest)["initContainers"]?[0]
    #expect(first?["name"]?.stringValue == JobManifest.initName)
    #expect(first?["image"] == "registry/fubini-agent:1")
  }

  @Test("The restricted profile holds in every container, and no token of the API is mounted")
  func restricted() throws {
    let manifest = try Self.manifest()
    let pod = Self.pod(manifest)
    #expect(pod["automountServiceAccountToken"] == false)
    for container in (pod["initContainers"]?.arrayValue ?? []) + (pod["containers"]?.arrayValue ?? []) {
      let context = container["securityContext"]
      #expect(context?["allowPrivilegeEscalation"] == false)
      #expect(context?["capabilities"] == ["drop": ["ALL"]])
      #expect(context?["seccompProfile"]?["type"] == "RuntimeDefault")
    }
  }

  @Test("I9: secrets are in the Secret alone")
  func secrets() throws {
    let request = Self.request {
      $0.secrets = [EnvironmentVariable(name: "PASSWORD", value: "hunter2")]
      $0.spec.environment = [EnvironmentVariable(name: "PLAIN", value: "x")]
    }
    let manifest = try Self.manifest(request)
    #expect(!manifest.job.description.contains("hunter2"))
    #expect(!manifest.job.description.contains("t0ken"))
    #expect(!manifest.secret.description.contains("hunter2"))
    let variable = Self.main(manifest)["env"]?.arrayValue?.first { $0["name"]?.stringValue == "PASSWORD" }
    let reference = variable?["valueFrom"]?["secretKeyRef"]
    #expect(reference?["name"]?.stringValue == manifest.name.text)
    let key = reference?["key"]?.stringValue ?? ""
    let data = manifest.secret["data"]?[key]?.stringValue.flatMap { Data(base64Encoded: $0) }
    #expect(data.map { String(decoding: $0, as: UTF8.self) } == "hunter2")
  }

  @Test(
    "What authors write comes through Kubernetes' own replacement unchanged",
    arguments: ["$(HOME)", "a $$ b $(X)", "$HOME", "100$", "$$(X)", ""])
  func literals(_ text: String) throws {
    // As the kubelet expands it when no variable is defined but HOME and X.
    func expand(_ text: String) -> String {
      var result = ""
      var rest = Substring(text)
      while let first = rest.popFirst() {
        guard first == "$", let next = rest.first else {
          result.append(first)
          continue
        }
        if next == "$" {
          result.append("$")
          rest.removeFirst()
        } else if next == "(", let end = rest.firstIndex(of: ")") {
          result.append("EXPANDED")
          rest = rest[rest.index(after: end)...]
        } else {
          result.append(first)
        }
      }
      return result
    }
    #expect(expand(KubernetesText.literal(text)) == text)
  }

  @Test("Requests and limits are the author's; GPUs are both")
  func resources() throws {
    let request = Self.request {
      $0.spec.resources = Resources(cpuMillicores: 1500, memory: .gibibytes(2), gpus: 2, gpuType: "mig-1g.5gb")
      $0.spec.limits = Resources(cpuMillicores: 2000, memory: .gibibytes(4))
    }
    let resources = Self.main(try Self.manifest(request))["resources"]
    #expect(resources?["requests"]?["cpu"] == "1500m")
    #expect(resources?["requests"]?["memory"] == .string(String(2 << 30)))
    #expect(resources?["limits"]?["cpu"] == "2")
    #expect(resources?["limits"]?["nvidia.com/mig-1g.5gb"] == "2")
    #expect(resources?["requests"]?["nvidia.com/mig-1g.5gb"] == "2")
  }

  @Test("A run that was quoted for a pool goes to its nodes; one that was quoted for none avoids them where it can")
  func pools() throws {
    var configuration = Self.configuration()
    configuration.pools = [
      .init(
        name: "gpu", resources: Resources(cpuMillicores: 8000), nodesMax: 2, startupTime: .seconds(60),
        nodeLabel: ["pool": "g"]),
      .init(name: "plain", resources: Resources(cpuMillicores: 8000), nodesMax: 2, startupTime: .seconds(60)),
    ]
    func pod(_ partition: String?) throws -> JSONValue {
      Self.pod(
        try Self.manifest(
          Self.request { $0.spec.federation.slurm = partition.map { SlurmHints(partition: $0) } }, configuration))
    }
    #expect(try pod("gpu")["nodeSelector"]?["pool"] == "g")
    #expect(try pod("gpu")["affinity"] == nil)
    for name in [nil, "plain"] { #expect(try pod(name)["nodeSelector"]?["pool"] == nil) }
    let wish = try pod("nodes")["affinity"]?["nodeAffinity"]?["preferredDuringSchedulingIgnoredDuringExecution"]
    let term = wish?.arrayValue?.first?["preference"]?["matchExpressions"]?.arrayValue?.first
    #expect(term == ["key": "pool", "operator": "NotIn", "values": ["g"]])
    #expect(try pod(nil)["affinity"] == nil)
  }

  @Test(
    "A kind of GPU is a resource, and a node's label where the resource does not say it",
    arguments: [
      (nil, "nvidia.com/gpu", nil), ("mig-3g.20gb", "nvidia.com/mig-3g.20gb", nil), ("amd.com/gpu", "amd.com/gpu", nil),
      ("NVIDIA-A100", "nvidia.com/gpu", "NVIDIA-A100"),
    ] as [(String?, String, String?)])
  func gpuTypes(_ type: String?, _ resource: String, _ label: String?) throws {
    #expect(GPUType.resource(type) == resource)
    let request = Self.request { $0.spec.resources = Resources(gpus: 1, gpuType: type) }
    let selector = Self.pod(try Self.manifest(request))["nodeSelector"]
    #expect(selector?[GPUType.productLabel]?.stringValue == label)
    #expect(GPUType.name(of: resource, nodeLabels: label.map { [GPUType.productLabel: .string($0)] }) == type)
  }

  @Test("Inputs are fetched and mounted at their paths; outputs are named; scratch directories are the pod's own")
  func files() throws {
    let request = Self.request {
      $0.spec.inputs = [InputArtifact(name: "in", path: "/data/in.txt", source: .raw("x"))]
      $0.spec.script = "print(1)"
      $0.spec.scratchPaths = ["/scratch", "/fast"]
      $0.spec.pod = PodSettings()
      $0.spec.pod?.directories = ["/fast": ["medium": "Memory", "sizeLimit": "64Mi"]]
      $0.spec.directoryMounts = [DirectoryMount(path: "/part", directory: "/scratch/sub", isReadOnly: true)]
      $0.spec.outputArtifacts = [OutputArtifact(name: "out", path: "/part/out")]
      $0.spec.outputParameters = [OutputParameter(name: "p", path: "/tmp/p")]
    }
    let manifest = try Self.manifest(request)
    let main = Self.main(manifest)
    #expect(manifest.plan.inputs.map(\.path) == ["/data/in.txt", "/argo/staging/script"])
    #expect(
      manifest.shared.inputs == [
        .root("/data/in.txt"), .host("/s/runs/\(request.id.hexadecimal)/script"),
      ])
    #expect(Self.mount(main, "/data/in.txt")?["subPath"] == "in/0")
    #expect(Self.mount(main, "/argo/staging/script")?["subPath"] == "in/1")
    #expect(main["command"]?.arrayValue?.contains("/argo/staging/script") == true)
    // What is seen at a second path is looked for where its bytes are.
    #expect(manifest.plan.outputs == ["/scratch/sub/out", "/tmp/p"])
    #expect(Self.mount(main, "/part")?["subPath"] == "sub")
    #expect(Self.mount(main, "/part")?["readOnly"] == true)
    #expect(Self.volume(manifest, Self.mount(main, "/scratch")?["name"]?.stringValue)?["emptyDir"] == [:])
    #expect(
      Self.volume(manifest, Self.mount(main, "/fast")?["name"]?.stringValue)?["emptyDir"]
        == ["medium": "Memory", "sizeLimit": "64Mi"])
  }

  @Test("A volume of a secret shows its files alone, with their modes, and never the token")
  func fileVolumes() throws {
    let request = Self.request {
      $0.spec.fileVolumes = [
        FileVolume(name: "keys", sources: [], mounts: [.init(path: "/keys")]),
        FileVolume(name: "none", sources: [], mounts: [.init(path: "/none", subPath: "a")]),
      ]
      $0.privateFiles = [
        RunFile(path: "0/", mode: 0o755), RunFile(path: "0/id", mode: 0o400, bytes: [1]), RunFile(path: "1/"),
      ]
    }
    let manifest = try Self.manifest(request)
    let secret = Self.volume(manifest, Self.mount(Self.main(manifest), "/keys")?["name"]?.stringValue)?["secret"]
    #expect(secret?["items"]?.arrayValue?.count == 1)
    #expect(secret?["items"]?[0]?["path"] == "id")
    #expect(secret?["items"]?[0]?["mode"] == 0o400)
    let empty = Self.volume(manifest, Self.mount(Self.main(manifest), "/none")?["name"]?.stringValue)
    #expect(empty?["emptyDir"] == [:])
  }

  @Test("A data set is mounted from a cache that pods can mount, and fetched from one that they cannot")
  func datasets() throws {
    let request = Self.request {
      $0.inputs = [StagedInput(hostPath: "/cache/replicas/ab/data", path: "/data")]
    }
    let fetched = try Self.manifest(request)
    #expect(fetched.shared.inputs == [.host("/cache/replicas/ab/data")])
    let mounted = try Self.manifest(
      request,
      Self.configuration {
        $0.cache = .claim("fubini-cache")
        $0.cacheDirectory = "/cache"
      })
    #expect(mounted.shared.inputs.isEmpty)
    #expect(Self.mount(Self.main(mounted), "/data")?["subPath"] == "replicas/ab/data")
    #expect(Self.mount(Self.main(mounted), "/data")?["readOnly"] == true)
  }

  @Test("Limits of time are the agent's program's; Kubernetes' own comes later, and leaves time for outputs")
  func times() throws {
    let request = Self.request {
      $0.walltime = .seconds(100)
      $0.spec.terminationGrace = .seconds(5)
    }
    let manifest = try Self.manifest(request)
    #expect(manifest.plan.walltimeMs == 100_000)
    #expect(manifest.plan.graceMs == 5000)
    #expect(Self.pod(manifest)["activeDeadlineSeconds"] == 705)
    #expect(Self.pod(manifest)["terminationGracePeriodSeconds"] == 35)
  }

  @Test("What this cluster cannot do is refused with a reason")
  func refusals() throws {
    func code(
      _ change: (inout RunRequest) -> Void,
      _ configuration: KubernetesExecutorConfiguration = JobManifestTests.configuration()
    )
      -> ErrorCode?
    {
      do {
        _ = try Self.manifest(Self.request(change), configuration)
        return nil
      } catch { return (error as? FederationError)?.code }
    }
    #expect(code { $0.spec.federation.gangSize = 2 } == .unplaceable)
    #expect(code { $0.spec.command = [] } == .invalidArgument)
    #expect(code { $0.spec.image = "" } == .unplaceable)
    #expect(code { $0.spec.outputArtifacts = [OutputArtifact(name: "x", path: "relative")] } == .invalidArgument)
    #expect(code { $0.spec.claims = [ClaimVolume(name: "x", workflow: nil, mounts: [])] } == .unplaceable)
    #expect(
      code { $0.spec.pod = PodSettings(spec: ["serviceAccountName": "admin"]) } == .unplaceable)
    #expect(
      code {
        $0.spec.pod = PodSettings(containers: ["main": ["securityContext": ["privileged": true]]])
      } == .unplaceable)
    #expect(code({ $0.project = "other" }, Self.configuration { $0.namespaces = ["p": "x"] }) == .permissionDenied)
    #expect(code({ _ in }, Self.configuration { $0.images = [ImageRule(pattern: "a*", runsAs: "*")] }) == .unplaceable)
  }

  @Test("The service account is the operator's, or the one that he gives for the author's name")
  func accounts() throws {
    func account(_ named: String?, _ accounts: [String: String], _ own: String? = "runs") throws -> String? {
      let request = Self.request { request in
        if let named { request.spec.pod = PodSettings(spec: ["serviceAccountName": .string(named)]) }
      }
      let manifest = try Self.manifest(
        request,
        Self.configuration {
          $0.serviceAccount = own
          $0.serviceAccounts = accounts
        })
      #expect(Self.pod(manifest)["automountServiceAccountToken"] == false)
      return Self.pod(manifest)["serviceAccountName"]?.stringValue
    }
    #expect(try account(nil, ["argo": "x", "*": "y"]) == "runs")
    #expect(try account(nil, [:], nil) == nil)
    #expect(try account("runs", [:]) == "runs")
    #expect(try account("trainer", ["trainer": "trainer"]) == "trainer")
    #expect(try account("argo", ["argo": "task", "*": "any"]) == "task")
    #expect(try account("other", ["argo": "task", "*": "any"]) == "any")
    let error = #expect(throws: FederationError.self) { try account("other", ["argo": "task"]) }
    #expect(error?.code == .unplaceable && error?.publicMessage.contains("service account other") == true)
    #expect(
      Self.configuration {
        $0.serviceAccount = "runs"
        $0.serviceAccounts = ["argo": "task"]
      }.accountNames == ["runs", "argo"])
  }

  /// A set of `first` and what depends on it.
  private static func set(_ second: String, outputs: [OutputParameter] = []) throws -> JobManifest {
    let list = [
      RunContainers.Container(name: "first", role: .member, image: "a:1", command: ["a"]),
      .init(name: second, role: .member, image: "b:1", command: ["b"], dependencies: ["first"]),
    ]
    return try manifest(
      request {
        $0.spec = TaskSpec(resources: Resources(cpuMillicores: 500, memory: .mebibytes(1)))
        $0.spec.containers = RunContainers(list: list, retries: 2, retryPause: .seconds(1))
        $0.spec.outputParameters = outputs
        $0.privateFiles = [
          RunFile(
            path: ContainerPlan.fileName,
            bytes: ContainerPlan(
              containers: list.map { .init(name: $0.name, role: .member, arguments: $0.command) }
            ).bytes)
        ]
      })
  }

  @Test("A container set is one pod, whose containers the agent's program starts in order")
  func containerSet() throws {
    let manifest = try Self.set("main")
    let containers = Self.pod(manifest)["containers"]?.arrayValue ?? []
    #expect(containers.compactMap { $0["image"]?.stringValue } == ["a:1", "b:1"])
    #expect(
      containers.last?["command"]?.arrayValue?.compactMap(\.stringValue)
        == ["/fubini/agent", "pod-step", "--container", "main", "--", "b"])
    #expect(
      manifest.plan.containers == [
        .init(name: "first", role: .member), .init(name: "main", role: .member, dependencies: ["first"]),
      ])
    #expect(manifest.plan.retries == 2 && manifest.plan.retryPauseMs == 1000 && manifest.plan.speaker == "main")
    let annotations = manifest.job["spec"]?["template"]?["metadata"]?["annotations"]
    #expect(annotations?[PodFacts.speakerAnnotation] == "main")
    #expect(containers.first?["resources"] == nil && containers.last?["resources"]?["requests"]?["cpu"] == "500m")
    #expect(manifest.runsAs == "b:1")
    #expect(try Self.set("other").plan.speaker == "other")
    let error = #expect(throws: FederationError.self) {
      try Self.set("other", outputs: [OutputParameter(name: "x", path: "/tmp/x")])
    }
    #expect(error?.publicMessage.contains("outputs come from its container main") == true)
    let annotation = try Self.manifest().job["spec"]?["template"]?["metadata"]?["annotations"]?[
      PodFacts.speakerAnnotation]
    #expect(annotation == nil)
  }

  @Test("I9: an object's manifest is in the run's Secret, and its pod alone has a token of the task's account")
  func resource() throws {
    let request = Self.request {
      $0.spec = TaskSpec(scratchPaths: [RunResource.outputDirectory])
      $0.spec.resource = RunResource(action: .create, manifest: "kind: Secret\nstringData: {password: hunter2}")
      $0.spec.outputParameters = [OutputParameter(name: "x", path: RunResource.path(ofOutput: 0))]
      $0.privateFiles = [RunFile(path: "request", bytes: Array("hunter2".utf8))]
      $0.spec.pod = PodSettings(spec: ["serviceAccountName": "deployer"])
    }
    let configuration = Self.configuration { $0.serviceAccounts = ["deployer": "deployer"] }
    let manifest = try JobManifest(
      request, configuration,
      .init(
        mark: ObjectNameTests.mark, workspace: KubernetesExecutor.workspace(for: request.id, in: "/s"),
        access: PodAccess(url: "https://agent:7443", certificateAuthorityPEM: "PEM", token: "t0ken"),
        owner: ResourceOwner(namespace: "runs", name: "anchor", uid: "u-1")))
    let main = Self.main(manifest)
    #expect(
      main["command"]?.arrayValue?.compactMap(\.stringValue)
        == ["/fubini/agent", "pod-step", "--container", "main", "--", "/fubini/agent", "resource"])
    #expect(main["image"]?.stringValue == configuration.image)
    #expect(manifest.runsAs == configuration.image)
    #expect(!manifest.job.description.contains("hunter2"))
    #expect(
      manifest.secret["data"]?["request"]?.stringValue == Data("hunter2".utf8).base64EncodedString())
    #expect(Self.pod(manifest)["serviceAccountName"] == "deployer")
    let account = try #require(Self.mount(main, "/var/run/secrets/kubernetes.io/serviceaccount"))
    #expect(Self.volume(manifest, account["name"]?.stringValue)?["projected"] != nil && account["readOnly"] == true)
    let first = try #require(Self.pod(manifest)["initContainers"]?[0])
    #expect(Self.mount(first, "/var/run/secrets/kubernetes.io/serviceaccount") == nil)
    #expect(Self.mount(main, RunResource.outputDirectory) != nil)
    #expect(manifest.plan.outputs == [RunResource.path(ofOutput: 0)])
    let variables = main["env"]?.arrayValue ?? []
    let told = variables.first { $0["name"]?.stringValue == ResourceOwner.variable }
    let owner = ResourceOwner(told?["value"]?.stringValue ?? "")
    #expect(owner?.uid == "u-1" && owner?.reference["uid"]?.stringValue == "u-1")
    // No other run has a token.
    #expect(!(try Self.manifest()).job.description.contains("serviceAccountToken"))
  }

  @Test("An author's settings for Kubernetes are obeyed, and cannot undo the restricted profile")
  func settings() throws {
    let request = Self.request {
      $0.spec.pod = PodSettings(
        spec: ["tolerations": [["key": "gpu", "operator": "Exists"]], "priorityClassName": "high"],
        containers: ["main": ["securityContext": ["runAsUser": 1000, "allowPrivilegeEscalation": true]]],
        labels: ["team": "a", ObjectName.markLabel: "stolen"])
    }
    let manifest = try Self.manifest(request)
    let context = Self.main(manifest)["securityContext"]
    #expect(context?["runAsUser"] == 1000)
    #expect(context?["allowPrivilegeEscalation"] == false)
    #expect(Self.pod(manifest)["initContainers"]?[0]?["securityContext"]?["runAsUser"] == 1000)
    #expect(Self.pod(manifest)["priorityClassName"] == "high")
    #expect(Self.pod(manifest)["tolerations"]?.arrayValue?.count == 1)
    let labels = manifest.job["spec"]?["template"]?["metadata"]?["labels"]
    #expect(labels?["team"] == "a")
    #expect(labels?[ObjectName.markLabel]?.stringValue == ObjectNameTests.mark)
  }

  @Test("Where Kueue is declared, a Job waits in its queue")
  func kueue() throws {
    let job = try Self.manifest(Self.request(), Self.configuration { $0.queues = ["p": "users"] }).job
    #expect(job["spec"]?["suspend"] == true)
    #expect(job["metadata"]?["labels"]?["kueue.x-k8s.io/queue-name"] == "users")
    #expect(try Self.manifest().job["spec"]?["suspend"] == nil)
  }
}

/// What nodes have.
@Suite struct ClusterCapacityTests {
  private static func node(
    _ name: String, ready: Bool = true, cordoned: Bool = false, taints: JSONValue = [],
    _ allocatable: [String: JSONValue] = ["cpu": "7910m", "memory": "16Gi"], labels: JSONValue = [:]
  ) -> JSONValue {
    [
      "metadata": ["name": .string(name), "labels": labels],
      "spec": ["unschedulable": .bool(cordoned), "taints": taints],
      "status": [
        "allocatable": .object(allocatable),
        "conditions": [["type": "Ready", "status": ready ? "True" : "Unknown"]],
      ],
    ]
  }

  @Test("Nodes count that are ready, open and tolerated; others say why not")
  func nodes() {
    var capacity = ClusterCapacity()
    let taint: JSONValue = [["key": "gpu", "value": "yes", "effect": "NoSchedule"]]
    let tolerations: [JSONValue] = [["key": "gpu", "operator": "Equal", "value": "yes"]]
    for (node, wanted) in [
      (Self.node("a"), []), (Self.node("b", ready: false), []), (Self.node("c", cordoned: true), []),
      (Self.node("d", taints: taint), []), (Self.node("e", taints: taint), tolerations),
    ] as [(JSONValue, [JSONValue])] {
      capacity.add(node: node, tolerations: wanted, selector: [:])
    }
    #expect(Set(capacity.nodes.keys) == ["a", "e"])
    #expect(capacity.unusable.values.reduce(0, +) == 3)
    #expect(capacity.free.cpuMillicores == 2 * 7910)
  }

  @Test("Others' pods take room, ours do not: the control plane counts those itself")
  func pods() {
    var capacity = ClusterCapacity()
    capacity.add(
      node: Self.node(
        "a", ["cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "4"], labels: [GPUType.productLabel: "A100"]),
      tolerations: [], selector: [:])
    func pod(_ labels: JSONValue, phase: String = "Running") -> JSONValue {
      [
        "metadata": ["labels": labels], "status": ["phase": .string(phase)],
        "spec": [
          "nodeName": "a",
          "containers": [["resources": ["requests": ["cpu": "1500m", "memory": "1Gi", "nvidia.com/gpu": "1"]]]],
        ],
      ]
    }
    capacity.add(pod: pod([:]), mark: "m")
    capacity.add(pod: pod([ObjectName.markLabel: "m"]), mark: "m")
    capacity.add(pod: pod([:], phase: "Succeeded"), mark: "m")
    #expect(capacity.free == Resources(cpuMillicores: 6500, memory: .gibibytes(15), gpus: 3))
    #expect(capacity.gpuTypes == ["A100"])
  }

  @Test("What no node can hold is told by the largest node, and a pool by the time that its nodes take")
  func partitions() {
    var capacity = ClusterCapacity()
    for (name, cpu) in [("a", "4"), ("b", "16")] {
      capacity.add(
        node: Self.node(name, ["cpu": .string(cpu), "memory": "64Gi"]), tolerations: [], selector: [:])
    }
    let pool = KubernetesExecutorConfiguration.Pool(
      name: "gpu", resources: Resources(cpuMillicores: 32_000, memory: .gibibytes(256), gpus: 8, gpuType: "H100"),
      nodesMax: 2, startupTime: .seconds(240))
    let partitions = capacity.partitions(pools: [pool])
    #expect(partitions.map(\.name) == ["nodes", "gpu"])
    #expect(partitions[0].cpusPerNode == 16)
    #expect(partitions[0].cpus == 20)
    #expect(partitions[1].gpus == ["H100": 16])
    #expect(partitions[1].wait(cpus: 1) == .seconds(240))
    #expect(ClusterCapacity().partitions(pools: []).isEmpty)
  }

  @Test("Nodes of a pool that has a label are the pool's, and count once")
  func pooled() {
    let pool = KubernetesExecutorConfiguration.Pool(
      name: "big", resources: Resources(cpuMillicores: 16_000, memory: .gibibytes(64)), nodesMax: 3,
      startupTime: .seconds(60), nodeLabel: ["pool": "b"])
    var capacity = ClusterCapacity()
    for (name, labels) in [("a", [:]), ("b", ["pool": "b"]), ("c", ["pool": "other"])] as [(String, JSONValue)] {
      capacity.add(
        node: Self.node(name, ["cpu": "16", "memory": "64Gi"], labels: labels), tolerations: [], selector: [:],
        pools: [pool])
    }
    capacity.add(
      pod: [
        "metadata": ["labels": [:]], "status": ["phase": "Running"],
        "spec": ["nodeName": "b", "containers": [["resources": ["requests": ["cpu": "4"]]]]],
      ], mark: "m")
    #expect(capacity.count(of: pool) == 1)
    let partitions = capacity.partitions(pools: [pool])
    #expect(partitions.map(\.name) == ["nodes", "big"])
    #expect(
      partitions.map(\.cpus) == [32, 44], "of the pool two nodes may still come, and one has somebody else's pod")
    #expect(partitions.map(\.freeCPUs) == [32, 12])
    #expect(capacity.free.cpuMillicores == 44_000)
  }

  @Test("Devices that others' pods have are taken off the partition that they are in")
  func pooledDevices() {
    let pool = KubernetesExecutorConfiguration.Pool(
      name: "gpu", resources: Resources(cpuMillicores: 16_000, gpus: 4, gpuType: "A100"), nodesMax: 2,
      startupTime: .seconds(60), nodeLabel: ["pool": "g"])
    var capacity = ClusterCapacity()
    for (name, label) in [("a", "none"), ("b", "g")] as [(String, JSONValue)] {
      capacity.add(
        node: Self.node(
          name, ["cpu": "16", "memory": "64Gi", "nvidia.com/gpu": "4"],
          labels: [GPUType.productLabel: "A100", "pool": label]), tolerations: [], selector: [:], pools: [pool])
      capacity.add(
        pod: [
          "metadata": ["labels": [:]], "status": ["phase": "Running"],
          "spec": [
            "nodeName": .string(name), "containers": [["resources": ["requests": ["nvidia.com/gpu": "3"]]]],
          ],
        ], mark: "m")
    }
    #expect(capacity.partitions(pools: [pool]).map(\.gpus) == [["A100": 1], ["A100": 5]])
    #expect(capacity.free.gpus == 2)
  }
}
