internal import Execution
internal import FederationModel
internal import KubernetesAPI
internal import KubernetesExecutor
internal import Logging

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The parts of an agent that serves a Kubernetes cluster.
extension AgentProcess {
  struct KubernetesParts: Sendable {
    var executor: KubernetesExecutor
    var files: PodFileServer
    var fluid: FluidDatasets?
  }

  /// Takes versions below 1.24, for tests: `1.20`.
  static let kubernetesMinimumVariable = "FUBINI_KUBERNETES_MINIMUM"

  static func kubernetes(
    _ configuration: AgentConfiguration, federationID: String, cluster: String, _ logger: Logger
  ) async throws -> KubernetesParts {
    let connection = try kubernetesConnection(configuration)
    let settings = try kubernetesConfiguration(
      configuration, connection, federationID: federationID, cluster: cluster)
    let files = try PodFileServer(
      .init(
        stateDirectory: configuration.stateDirectory, url: configuration.kubernetes.filesAddress,
        port: configuration.kubernetes.filesPort),
      workspace: { KubernetesExecutor.workspace(for: $0, in: settings.stateDirectory) }, logger: logger)
    let client = try KubernetesClient(connection, logger: logger)
    let executor = try KubernetesExecutor(configuration: settings, client: client, files: files, logger: logger)
    await executor.start()
    return KubernetesParts(
      executor: executor, files: files,
      fluid: FluidDatasets(configuration: settings, client: client, logger: logger))
  }

  /// Of what workflows have on this cluster beyond their runs; nil: they have nothing.
  static func keeper(
    _ configuration: AgentConfiguration, _ identity: CertificateStore.Identity, _ executor: any Executor,
    _ logger: Logger
  ) -> (any WorkflowKeeping)? {
    if let kubernetes = executor as? KubernetesExecutor { return OwnerKeeper(executor: kubernetes) }
    guard configuration.claimDirectory != nil else { return nil }
    return ClaimKeeper(claims: claims(configuration, identity), logger: logger)
  }

  static func kubernetesConnection(_ configuration: AgentConfiguration) throws -> KubernetesConnection {
    guard let path = configuration.kubernetes.kubeconfig else { return try .inCluster() }
    return try .kubeconfig(path, context: configuration.kubernetes.context)
  }

  /// - Throws: `.failedPrecondition` when nobody says in which namespace runs are.
  static func kubernetesConfiguration(
    _ configuration: AgentConfiguration, _ connection: KubernetesConnection, federationID: String, cluster: String
  ) throws(FederationError) -> KubernetesExecutorConfiguration {
    let kubernetes = configuration.kubernetes
    let namespaces = configuration.tenancy.projects.compactMapValues(\.namespace)
    guard let namespace = kubernetes.namespace ?? connection.namespace ?? namespaces.values.sorted().first else {
      throw FederationError(
        .failedPrecondition, "kubernetes.namespace must name the namespace of runs: neither it nor the context does")
    }
    // Without a word of the operator's, images are themselves.
    let isDefault = configuration.images == AgentConfiguration().images
    var settings = KubernetesExecutorConfiguration(
      stateDirectory: configuration.stateDirectory + "/kubernetes", federationID: federationID, cluster: cluster,
      namespace: namespace, image: kubernetes.image,
      images: isDefault
        ? [ImageRule(pattern: "*", runsAs: "*")]
        : configuration.images.map { ImageRule(pattern: $0.pattern, runsAs: $0.runsAs, command: $0.command) })
    settings.namespaces = namespaces
    settings.imagePullPolicy = kubernetes.imagePullPolicy
    settings.imagePullSecrets = kubernetes.imagePullSecrets
    settings.nodeSelector = kubernetes.nodeSelector
    settings.tolerations = kubernetes.tolerations
    settings.priorityClass = kubernetes.priorityClass
    settings.serviceAccount = kubernetes.serviceAccount
    settings.serviceAccounts = kubernetes.serviceAccounts
    settings.isPrivileged = kubernetes.isPrivileged
    settings.cacheDirectory = configuration.cacheDirectory
    switch kubernetes.cache {
    case .claim(let name)?: settings.cache = .claim(name)
    case .hostPath(let path)?: settings.cache = .hostPath(path)
    case nil: break
    }
    settings.fluid = kubernetes.fluid
    settings.workflowClaims = kubernetes.workflowClaims
    settings.claims = Set(kubernetes.claims)
    settings.queue = kubernetes.queue
    settings.queues = kubernetes.queues
    settings.pools = kubernetes.pools.map {
      .init(
        name: $0.name, resources: $0.resources, nodesMax: $0.nodesMax, startupTime: $0.startupTime,
        nodeLabel: $0.nodeLabel)
    }
    settings.jobsMax = configuration.slots ?? kubernetes.maxJobs
    if let text = getenv(kubernetesMinimumVariable).map({ String(cString: $0) }),
      let minor = text.split(separator: ".").last.flatMap({ Int($0) })
    {
      settings.minimumMinor = minor
    }
    return settings
  }
}

extension Preflight {
  static func kubernetes(_ configuration: AgentConfiguration, _ logger: Logger) async -> [Finding] {
    guard configuration.executor == .kubernetes else { return [] }
    do {
      let connection = try AgentProcess.kubernetesConnection(configuration)
      let settings = try AgentProcess.kubernetesConfiguration(configuration, connection, federationID: "", cluster: "")
      let client = try KubernetesClient(connection, logger: logger)
      let findings = await KubernetesPreflight.findings(settings, client)
      await client.close()
      return findings.map { finding in
        let level: Level =
          switch finding.level {
          case .ok: .ok
          case .warning: .warning
          case .failed: .failed
          }
        return Finding(level: level, check: finding.check, text: finding.text)
      }
    } catch {
      return [
        Finding(
          level: .failed, check: "kubernetes", text: (error as? FederationError)?.publicMessage ?? "\(error)")
      ]
    }
  }
}
