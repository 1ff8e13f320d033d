internal import ArgumentParser
internal import FederationAPI
internal import FederationModel

/// What `--print-manifest` prints.
struct ManifestOptions: ParsableArguments {
  @Flag(
    help: "Of a Kubernetes cluster: print what `kubectl apply -f -` makes its agent of. It holds the one-time token.")
  var printManifest = false
  @Option(help: "With --print-manifest: the project whose runs run there, in the namespace fubini-PROJECT.")
  var project: String?
  @Option(
    name: .customLong("namespace"),
    help: "With --print-manifest: a project and the namespace of its runs. As often as there are projects.")
  var namespaces: [String] = []
  @Option(help: "With --print-manifest: the agent's image, as the cluster's nodes pull it.")
  var image = "fubini-agent:\(ProductVersion.current)"
  @Option(help: "With --print-manifest: where the agent is.") var agentNamespace = "fubini-system"
  @Option(help: "With --print-manifest: of the agent's volume; without it the cluster's default.")
  var storageClass: String?
  @Option(help: "With --print-manifest: the size of the agent's volume.") var storage = "20Gi"
  @Option(
    name: .customLong("kueue-queue"),
    help: "With --print-manifest: the LocalQueue of Kueue that runs wait in, in each namespace of runs. Gangs need it.")
  var queue: String?
  @Flag(help: "With --print-manifest: workflows have volume claims of their own there (volumeClaimTemplates).")
  var workflowClaims = false
  @Option(
    help: "With --print-manifest, of a cluster with Fluid: the kind of runtime of its Datasets, as AlluxioRuntime.")
  var fluid: String?
  @Option(help: "With --fluid: what Fluid may hold of the federation's data sets in sum.")
  var fluidCapacity = "1Ti"

  /// Before anything is made: what cannot be printed must not cost a token.
  func validate() throws {
    guard printManifest else {
      guard project == nil, namespaces.isEmpty, storageClass == nil, fluid == nil, queue == nil, !workflowClaims else {
        throw ValidationError(
          "--project, --namespace, --storage-class, --workflow-claims, --fluid and --kueue-queue belong to --print-manifest."
        )
      }
      return
    }
    do { try manifest(cluster: "c", token: "t", server: "s:1").validate() } catch let failure as CommandFailure {
      throw ValidationError("\(failure)")
    }
  }

  private func manifest(cluster: String, token: String, server: String) throws -> AgentManifest {
    var places: [(project: String, namespace: String)] = project.map { [($0, "fubini-\($0)")] } ?? []
    for pair in namespaces {
      let halves = pair.split(separator: "=", omittingEmptySubsequences: false).map(String.init)
      guard halves.count == 2 else {
        throw CommandFailure(.usage, "--namespace is PROJECT=NAMESPACE, not \"\(pair)\".")
      }
      places.append((halves[0], halves[1]))
    }
    return AgentManifest(
      cluster: cluster, token: token, server: server, image: image, agentNamespace: agentNamespace,
      namespaces: places, storageClass: storageClass, storage: storage,
      hasWorkflowClaims: workflowClaims, fluid: fluid.map { ($0, fluidCapacity) }, queue: queue)
  }

  func text(_ join: JoinDocument) throws -> String {
    let manifest = try manifest(cluster: join.cluster, token: join.token, server: join.server)
    try manifest.validate()
    return manifest.text
  }
}
