import Execution
import FederationModel
import FoundationEssentials
import KubernetesAPI
import KubernetesSupport
import Synchronization
import TestSupport
import Testing

@testable import AgentRuntime
@testable import KubernetesExecutor

/// The executor, the agent's server of files and the agent's own program in pods, on a real API server.
///
/// The executor has the rights that its preflight asks for, and no others.
final class KubernetesFixture: Sendable {
  static var agentImage: String { LocalKubernetes.agentImage ?? "fubini-test/agent" }
  let cluster: LocalKubernetes
  /// Of `cluster-admin`: to look, and to do what others do.
  let admin: KubernetesClient
  let client: KubernetesClient
  let namespace: String
  let directory: TemporaryDirectory
  let server: PodFileServer
  let configuration: KubernetesExecutorConfiguration
  private let serving: Task<Void, any Error>
  private let current: Mutex<KubernetesExecutor>
  private let seen = Mutex<[RunID: [RunObservation]]>([:])
  private let watching = Mutex<Task<Void, Never>?>(nil)

  var executor: KubernetesExecutor { current.withLock { $0 } }

  static func with(
    configure: (inout LocalKubernetes.Options) -> Void = { _ in },
    settings: (inout KubernetesExecutorConfiguration) -> Void = { _ in },
    _ body: (KubernetesFixture) async throws -> Void
  ) async throws {
    try await LocalKubernetes.with(configure: { options in
      options.programs[Self.agentImage] = "\(AgentBinary.path):/usr/bin/fubini-agent"
      configure(&options)
    }) { cluster in
      let fixture = try await KubernetesFixture(cluster, settings)
      do {
        try await body(fixture)
        await fixture.close()
      } catch {
        await fixture.close()
        throw error
      }
    }
  }

  private init(_ cluster: LocalKubernetes, _ settings: (inout KubernetesExecutorConfiguration) -> Void) async throws {
    self.cluster = cluster
    admin = try cluster.client()
    namespace = try await cluster.namespace(admin)
    directory = try TemporaryDirectory()
    var configuration = KubernetesExecutorConfiguration(
      stateDirectory: directory.path + "/kubernetes", federationID: "fed", cluster: "cloud", namespace: namespace,
      image: Self.agentImage)
    if !cluster.isExternal { configuration.minimumMinor = 20 }
    settings(&configuration)
    self.configuration = configuration
    let token = try await Self.grant(KubernetesPreflight.rights(configuration), in: namespace, admin, of: cluster)
    try cluster.writeKubeconfig(token: token, namespace: namespace, to: directory.path + "/kubeconfig")
    let connection = try KubernetesConnection.kubeconfig(directory.path + "/kubeconfig", context: nil)
    client = try cluster.client(connection)
    try POSIXFile.makeDirectories(directory.path + "/agent")
    let port = try FreePort.next()
    let state = configuration.stateDirectory
    let host = try #require(LocalKubernetes.host)
    let server = try PodFileServer(
      .init(
        stateDirectory: directory.path + "/agent", url: "https://\(host):\(port)", port: port,
        address: cluster.isExternal ? "0.0.0.0" : host),
      workspace: { KubernetesExecutor.workspace(for: $0, in: state) }, logger: silentLogger())
    self.server = server
    serving = Task { try await server.run() }
    current = Mutex(
      try KubernetesExecutor(configuration: configuration, client: client, files: server, logger: silentLogger()))
    await start()
  }

  private func start() async {
    let executor = executor
    let observations = executor.observe()
    let task = Task { [weak self] in
      for await observation in observations {
        self?.seen.withLock { $0[observation.id, default: []].append(observation) }
      }
    }
    watching.withLock { $0 = task }
    await executor.start()
    try? await waitUntil { await executor.closed == nil }
  }

  /// The agent dies and comes again: another executor over the same directory.
  func restartAgent(whileAway: () async throws -> Void = {}) async throws {
    await executor.close()
    watching.withLock { $0 }?.cancel()
    try await whileAway()
    let next = try KubernetesExecutor(
      configuration: configuration, client: client, files: server, logger: silentLogger())
    current.withLock { $0 = next }
    await start()
  }

  private func close() async {
    await executor.close()
    watching.withLock { $0 }?.cancel()
    serving.cancel()
    await client.close()
    await admin.close()
  }

  // MARK: Runs

  func request(
    _ id: RunID, _ script: String, _ change: (inout RunRequest) -> Void = { _ in }
  ) -> RunRequest {
    var request = RunRequest(
      id: id, epoch: 1, project: "p",
      spec: TaskSpec(
        image: LocalKubernetes.taskImage, command: ["sh", "-c"], arguments: [script], terminationGrace: .seconds(2)))
    change(&request)
    return request
  }

  /// Of the client, once what the agent itself asks for at its start has been asked for: watches, and what the cluster has.
  func quietCount() async throws -> Int {
    await executor.pauseInventory()
    var count = client.requestCount
    while true {
      try await Task.sleep(for: .seconds(2))
      let now = client.requestCount
      if now == count { return count }
      count = now
    }
  }

  func submit(_ requests: RunRequest...) async throws {
    for request in requests { _ = try await executor.prepare(request) }
    let deadline = ContinuousClock.now + .seconds(60)
    while true {
      // As the agent does: an API server that has just begun knows nobody's rights for a moment.
      do { return try await executor.submit(requests) } catch let error as FederationError
        where error.isRetryable && ContinuousClock.now < deadline
      { try await Task.sleep(for: .milliseconds(500)) }
    }
  }

  func observations(_ id: RunID) -> [RunObservation] { seen.withLock { $0[id] ?? [] } }

  /// - Returns: the last observation, which is terminal.
  func end(of id: RunID, within limit: Duration = .seconds(90)) async throws -> RunObservation {
    try await wait(for: id, within: limit, "its end") { $0.phase.isTerminal }
  }

  @discardableResult
  func wait(
    for id: RunID, within limit: Duration = .seconds(90), _ what: String, _ condition: (RunObservation) -> Bool
  ) async throws -> RunObservation {
    let deadline = ContinuousClock.now + limit
    while true {
      if let found = observations(id).first(where: condition) { return found }
      guard ContinuousClock.now < deadline else {
        throw FederationError(
          .deadlineExceeded, "run \(id.hexadecimal): waited in vain for \(what); seen: \(observations(id))")
      }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  func log(_ id: RunID) -> String {
    let path = executor.workspace(for: id).log
    return (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
  }

  // MARK: Objects

  func name(_ id: RunID) -> String { ObjectName(mark: executor.mark, run: id).text }

  func jobPath(_ id: RunID) -> String {
    KubernetesPath.object("batch/v1", "jobs", namespace: namespace, name: name(id))
  }

  /// Names of all objects of a kind that are ours.
  func names(_ version: String, _ resource: String) async throws -> [String] {
    var names: [String] = []
    _ = try await admin.list(
      KubernetesPath.collection(version, resource, namespace: namespace),
      query: [("labelSelector", "\(ObjectName.markLabel)=\(executor.mark)")]
    ) { if let name = $0["metadata"]?["name"]?.stringValue { names.append(name) } }
    return names
  }

  /// The cluster's nodes, by name.
  func nodes() async throws -> [(name: String, labels: [String: String], path: String)] {
    var nodes: [(name: String, labels: [String: String], path: String)] = []
    _ = try await admin.list(KubernetesPath.collection("v1", "nodes")) {
      let name = $0["metadata"]?["name"]?.stringValue ?? ""
      let labels = $0["metadata"]?["labels"]?.objectValue?.compactMapValues(\.stringValue) ?? [:]
      nodes.append((name, labels, KubernetesPath.object("v1", "nodes", name: name)))
    }
    return nodes.sorted { $0.name < $1.name }
  }

  /// Whether nothing of ours is left in the namespace.
  func isEmpty() async throws -> Bool {
    for (version, resource) in [("batch/v1", "jobs"), ("v1", "pods"), ("v1", "secrets")] {
      if try await !names(version, resource).isEmpty { return false }
    }
    return true
  }

  /// A service account that may do this and no more.
  ///
  /// - Returns: its token.
  static func grant(
    _ rights: [KubernetesPreflight.Right], in namespace: String, _ admin: KubernetesClient, of cluster: LocalKubernetes
  ) async throws -> String {
    let name = "agent-\(UInt32.random(in: 0 ... .max))"
    func rules(_ isNamespaced: Bool) -> JSONValue {
      .array(
        rights.filter { $0.isNamespaced == isNamespaced && !$0.verbs.isEmpty }.map {
          [
            "apiGroups": [.string($0.group)], "resources": [.string($0.name)],
            "verbs": .array($0.verbs.map { .string($0) }),
          ]
        })
    }
    let group = "rbac.authorization.k8s.io"
    let subjects: JSONValue = [
      ["kind": "ServiceAccount", "name": .string(name), "namespace": .string(namespace)]
    ]
    _ = try await admin.create(
      KubernetesPath.collection("v1", "serviceaccounts", namespace: namespace),
      ["apiVersion": "v1", "kind": "ServiceAccount", "metadata": ["name": .string(name)]])
    for (kind, isNamespaced) in [("Role", true), ("ClusterRole", false)] {
      let full = isNamespaced ? name : "\(name)-\(namespace)"
      let scope = isNamespaced ? namespace : nil
      _ = try await admin.create(
        KubernetesPath.collection("\(group)/v1", kind.lowercased() + "s", namespace: scope),
        [
          "apiVersion": .string("\(group)/v1"), "kind": .string(kind), "metadata": ["name": .string(full)],
          "rules": rules(isNamespaced),
        ])
      _ = try await admin.create(
        KubernetesPath.collection("\(group)/v1", kind.lowercased() + "bindings", namespace: scope),
        [
          "apiVersion": .string("\(group)/v1"), "kind": .string(kind + "Binding"), "metadata": ["name": .string(full)],
          "subjects": subjects,
          "roleRef": ["apiGroup": .string(group), "kind": .string(kind), "name": .string(full)],
        ])
      guard !isNamespaced else { continue }
      for resource in ["clusterroles", "clusterrolebindings"] {
        cluster.remove(afterwards: KubernetesPath.object("\(group)/v1", resource, name: full))
      }
    }
    let answer = try await admin.create(
      KubernetesPath.object("v1", "serviceaccounts", namespace: namespace, name: name, "token"),
      ["apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": ["expirationSeconds": 7200]])
    return try #require(answer["status"]?["token"]?.stringValue)
  }
}
