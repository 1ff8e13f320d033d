import FederationModel
import FoundationEssentials
import KubernetesAPI
import KubernetesExecutor
import Testing

@testable import AgentRuntime

/// The block `kubernetes`.
@Suite struct KubernetesConfigurationTests {
  private static let needed = """
    stateDirectory: /var/lib/fubini
    controlPlane: ["127.0.0.1:1"]
    executor: kubernetes
    project: physics

    """
  private static let block = """
    kubernetes:
      image: registry/fubini-agent:1
      filesAddress: https://fubini-agent.fubini-system.svc:7443

    """

  private static func parse(_ yaml: String) throws -> AgentConfiguration {
    try ConfigurationParser.parse(yaml: needed + yaml)
  }

  @Test("Every key is read")
  func everything() throws {
    let configuration = try Self.parse(
      """
      kubernetes:
        kubeconfig: /etc/kube
        context: prod
        namespace: runs
        image: registry/fubini-agent:1
        imagePullPolicy: IfNotPresent
        imagePullSecrets: [registry]
        filesAddress: https://agent:7443
        filesPort: 7444
        nodeSelector: {pool: batch}
        tolerations: [{key: gpu, operator: Exists, effect: NoSchedule, tolerationSeconds: 5}]
        priorityClass: low
        serviceAccount: runs
        serviceAccounts: [trainer]
        privileged: true
        cache: {claim: fubini-cache}
        claims: [shared]
        workflowClaims: {storageClass: fast, maxSize: 100Gi}
        kueue: {queue: all, queues: {physics: physics-queue}}
        pools: [{name: gpu, resources: {cpu: 8, memory: 64Gi, gpus: 1, gpuType: A100}, max: 4, startupTime: 5m, nodeLabel: {pool: g}}]
        maxJobs: 50
      """
    ).validated()
    let kubernetes = configuration.kubernetes
    #expect(kubernetes.tolerations[0]["tolerationSeconds"] == 5)
    #expect(kubernetes.cache == .claim("fubini-cache"))
    #expect(
      kubernetes.pools[0].resources == Resources(cpuMillicores: 8000, memory: .gibibytes(64), gpus: 1, gpuType: "A100"))
    #expect(kubernetes.pools[0].startupTime == .seconds(300))
    #expect(kubernetes.pools[0].nodeLabel == ["pool": "g"])
    let connection = KubernetesConnection(server: "https://x")
    let settings = try AgentProcess.kubernetesConfiguration(
      configuration, connection, federationID: "fed", cluster: "c")
    #expect(settings.namespace == "runs")
    #expect(settings.imagePullPolicy == "IfNotPresent")
    #expect(settings.imagePullSecrets == ["registry"])
    #expect(settings.nodeSelector == ["pool": "batch"])
    #expect(settings.priorityClass == "low")
    #expect(settings.serviceAccount == "runs")
    #expect(settings.serviceAccounts == ["trainer": "trainer"])
    #expect(settings.isPrivileged)
    #expect(settings.claims == ["shared"])
    #expect(settings.workflowClaims == .init(storageClass: "fast", sizeMax: .gibibytes(100)))
    #expect(try Self.parse("kubernetes: {workflowClaims: {}}").kubernetes.workflowClaims == .init())
    #expect(settings.queue == "all")
    #expect(settings.queues == ["physics": "physics-queue"])
    #expect(settings.jobsMax == 50)
    #expect(settings.pools.map(\.nodesMax) == [4])
    // Without a word of the operator's, images are themselves: on a machine they are its own tools.
    #expect(settings.images == [ImageRule(pattern: "*", runsAs: "*")])
    #expect(kubernetes.filesPort == 7444)
  }

  @Test("What Fluid keeps is read, and reaches the executor")
  func fluid() throws {
    let configuration = try Self.parse(
      Self.block + """
          fluid:
            capacity: 2Ti
            runtime:
              kind: AlluxioRuntime
              spec: {replicas: 2, tieredstore: {levels: [{mediumtype: SSD, quota: 500Gi, high: "0.95"}]}}
            datasets:
              physics/genomes: {dataset: archive, path: /2024/train/, version: 3, replicas: 2}
              images:
                mountPoint: s3://bucket/images
                options: {alluxio.underfs.s3.endpoint: "http://minio:9000"}
                secretOptions: {aws.accessKeyId: {name: s3, key: id}}
        """
    ).validated()
    var connection = KubernetesConnection(server: "https://x")
    connection.namespace = "runs"
    let fluid = try #require(
      try AgentProcess.kubernetesConfiguration(configuration, connection, federationID: "fed", cluster: "c").fluid)
    #expect(fluid.capacity == .gibibytes(2048))
    #expect(fluid.runtime?.spec["replicas"] == 2)
    // A text that looks like a number stays one, as in Kubernetes.
    #expect(fluid.runtime?.spec["tieredstore"]?["levels"]?[0]?["high"] == "0.95")
    let genomes = try #require(fluid.datasets["physics/genomes"])
    #expect(genomes.dataset == "archive" && genomes.path == "2024/train" && genomes.version == 3 && genomes.copies == 2)
    let images = try #require(fluid.datasets["images"])
    #expect(images.mountPoint == "s3://bucket/images")
    #expect(images.options == ["alluxio.underfs.s3.endpoint": "http://minio:9000"])
    #expect(images.secretOptions == ["aws.accessKeyId": .init(name: "s3", key: "id")])
  }

  @Test("Service accounts that tasks may name are a list, or say which account is meant")
  func serviceAccounts() throws {
    let configuration = try Self.parse("kubernetes: {serviceAccounts: {argo: task, '*': nobody}}")
    #expect(configuration.kubernetes.serviceAccounts == ["argo": "task", "*": "nobody"])
  }

  @Test(
    "What cannot be is refused by its key",
    arguments: [
      ("kubernetes: {workflowClaims: true}", "kubernetes.workflowClaims"),
      ("kubernetes: {fluid: {datasets: {}}}", "kubernetes.fluid"),
      ("kubernetes: {fluid: {capacity: 1Gi, runtime: {kind: alluxio}}}", "kubernetes.fluid.runtime.kind"),
      ("kubernetes: {fluid: {capacity: 1Gi, datasets: {a: {}}}}", "kubernetes.fluid.datasets.a"),
      ("kubernetes: {fluid: {capacity: 1Gi, datasets: {a: {dataset: b, mountPoint: s3}}}}", "not both"),
      ("kubernetes: {fluid: {capacity: 1Gi, datasets: {a: {dataset: b, path: ../c}}}}", "datasets.a.path"),
      (block + "  fluid: {capacity: 1Gi}\ncache: {writer: false}", "kubernetes.fluid"),
      ("kubernetes: {serviceAccounts: ['*']}", "kubernetes.serviceAccounts"),
      ("kubernetes: {serviceAccounts: {a: '*'}}", "kubernetes.serviceAccounts"),
      ("kubernetes: {imgae: x}", "did you mean \"kubernetes.image\""),
      ("kubernetes: {image: x, filesAddress: \"http://x\"}", "kubernetes.filesAddress"),
      ("kubernetes: {filesAddress: \"https://x:1\"}", "kubernetes.image"),
      ("kubernetes: {imagePullPolicy: Sometimes}", "kubernetes.imagePullPolicy"),
      ("kubernetes: {namespace: Not_A_Label}", "kubernetes.namespace"),
      ("kubernetes: {cache: {claim: a, hostPath: /b}}", "kubernetes.cache"),
      ("kubernetes: {cache: {hostPath: b}}", "kubernetes.cache.hostPath"),
      ("kubernetes: {pools: [{name: x}]}", "kubernetes.pools"),
      ("kubernetes: {pools: [{name: nodes, resources: {cpu: 1}}]}", "kubernetes.pools"),
      ("kubernetes: {pools: [{name: x, resources: {cpu: 1}, nodeLabel: {a: b, c: d}}]}", "kubernetes.pools"),
      ("kubernetes: {maxJobs: 0}", "kubernetes.maxJobs"),
      ("kubernetes: {image: x, filesAddress: \"https://x:1\", context: y}", "kubernetes.kubeconfig"),
      (block + "claims: {directory: /x}", "kubernetes.claims"),
      (block + "images: [{pattern: \"a*\", runsAs: host}]", "runsAs is * (the image itself)"),
    ])
  func refusals(_ yaml: String, _ words: String) {
    do {
      _ = try Self.parse(yaml).validated()
      Issue.record("it was accepted")
    } catch let error as FederationError {
      #expect(error.code == .invalidArgument)
      #expect(error.publicMessage.contains(words), "\(error.publicMessage)")
    } catch { Issue.record(error) }
  }

  @Test("One project, or a namespace for each: no two share one")
  func tenancy() throws {
    #expect(try Self.parse(Self.block).declaredTenancy() == .single("physics"))
    func mapped(_ projects: String) throws -> AgentConfiguration {
      try ConfigurationParser.parse(
        yaml: Self.needed.replacing("project: physics", with: "projects: \(projects)") + Self.block)
    }
    let two = try mapped("{a: {namespace: runs-a}, b: {namespace: runs-b}}").validated()
    #expect(try two.declaredTenancy() == .mapped(["a", "b"]))
    let settings = try AgentProcess.kubernetesConfiguration(
      two, KubernetesConnection(server: "https://x"), federationID: "f", cluster: "c")
    #expect(settings.namespaces == ["a": "runs-a", "b": "runs-b"])
    for wrong in ["{a: {namespace: x}, b: {namespace: x}}", "{a: {user: bob}}", "{a: {namespace: x, user: bob}}"] {
      #expect(throws: FederationError.self) { _ = try mapped(wrong).validated() }
    }
    let process = try ConfigurationParser.parse(
      yaml: "stateDirectory: /s\ncontrolPlane: [\"127.0.0.1:1\"]\nprojects: {a: {namespace: x}}\n")
    #expect(throws: FederationError.self) { _ = try process.validated() }
  }
}
