import FederationModel
import FoundationEssentials
import KubernetesAPI
import KubernetesSupport
import Synchronization
import Testing

@testable import AgentRuntime
@testable import KubernetesExecutor

/// Plays Fluid, which is not here: its kinds on the API server, and a loop that gives its objects the states that Fluid documents.
/// A Dataset with a runtime of its name is bound; a DataLoad moves the Dataset's cache up to `ceiling`.
///
/// - Source: Fluid, api/v1alpha1: dataset_types.go, dataload_types.go, status.go; docs "Data Preloading".
final class FluidController: Sendable {
  struct Behaviour: Sendable {
    /// In percent: where a DataLoad ends.
    var ceiling = 100
    /// In percent, in each step.
    var step = 25
    var failsLoads = false
    /// Loads stay as they are.
    var isPaused = false
    var files = "3"
    var total = "3.00MiB"
  }

  let behaviour = Mutex(Behaviour())
  private let client: KubernetesClient
  private let namespace: String
  private let cluster: LocalKubernetes
  private let percentages = Mutex<[String: Int]>([:])
  private let loop = Mutex<Task<Void, Never>?>(nil)

  init(_ cluster: LocalKubernetes, _ client: KubernetesClient, in namespace: String) async throws {
    self.cluster = cluster
    self.client = client
    self.namespace = namespace
    for (kind, spec) in [
      ("Dataset", Self.datasetSpec), ("DataLoad", Self.loadSpec), ("AlluxioRuntime", Self.anything),
    ] {
      _ = try await client.create(
        KubernetesPath.collection("apiextensions.k8s.io/v1", "customresourcedefinitions"), Self.kind(kind, spec))
    }
    try await waitUntil { await Self.isServed(client, in: namespace) }
    let task = Task { [weak self] in
      while !Task.isCancelled, let self {
        await turn()
        try? await Task.sleep(for: .milliseconds(200))
      }
    }
    loop.withLock { $0 = task }
  }

  func close() { loop.withLock { $0 }?.cancel() }

  private static func isServed(_ client: KubernetesClient, in namespace: String) async -> Bool {
    for resource in ["datasets", "dataloads", "alluxioruntimes"] {
      let path = KubernetesPath.collection(FluidConfiguration.version, resource, namespace: namespace)
      if (try? await client.list(path) { _ in }) == nil { return false }
    }
    return true
  }

  // MARK: Kinds

  private static let anything: JSONValue = ["type": "object", "x-kubernetes-preserve-unknown-fields": true]
  private static let text: JSONValue = ["type": "string"]
  private static func object(_ properties: [String: JSONValue]) -> JSONValue {
    ["type": "object", "properties": .object(properties)]
  }
  private static func list(_ items: JSONValue) -> JSONValue { ["type": "array", "items": items] }

  /// What is not in these is pruned by the API server: the agent's words must be Fluid's.
  private static let datasetSpec = object([
    "accessModes": list(text),
    "mounts": list(
      object([
        "name": text, "mountPoint": ["type": "string", "minLength": 5], "path": text, "readOnly": ["type": "boolean"],
        "options": anything, "encryptOptions": list(anything),
      ])),
  ])
  private static let loadSpec = object([
    "dataset": object(["name": text, "namespace": text]), "loadMetadata": ["type": "boolean"],
    "target": list(object(["path": text, "replicas": ["type": "integer"]])),
  ])

  private static func kind(_ kind: String, _ spec: JSONValue) -> JSONValue {
    let plural = kind.lowercased() + "s"
    return [
      "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
      "metadata": ["name": .string("\(plural).data.fluid.io")],
      "spec": [
        "group": "data.fluid.io", "scope": "Namespaced",
        "names": ["plural": .string(plural), "singular": .string(kind.lowercased()), "kind": .string(kind)],
        "versions": [
          [
            "name": "v1alpha1", "served": true, "storage": true, "subresources": ["status": [:]],
            "schema": ["openAPIV3Schema": object(["spec": spec, "status": anything])],
          ]
        ],
      ],
    ]
  }

  // MARK: What it does

  func objects(_ resource: String) async throws -> [JSONValue] {
    var found: [JSONValue] = []
    _ = try await client.list(
      KubernetesPath.collection(FluidConfiguration.version, resource, namespace: namespace)
    ) { found.append($0) }
    return found
  }

  private func turn() async {
    let now = behaviour.withLock { $0 }
    do {
      let runtimes = Set(try await objects("alluxioruntimes").compactMap { $0["metadata"]?["name"]?.stringValue })
      for dataset in try await objects("datasets") {
        guard let name = dataset["metadata"]?["name"]?.stringValue else { continue }
        let percentage = percentages.withLock { $0[name] ?? 0 }
        let isBound = runtimes.contains(name)
        if isBound { try await claim(name) }
        try await set(
          "datasets", name,
          isBound
            ? [
              "phase": "Bound", "ufsTotal": .string(now.total), "fileNum": .string(now.files), "conditions": [],
              "cacheStates": [
                "cachedPercentage": .string("\(percentage).0%"), "cacheCapacity": "4.00GiB",
                "cached": .string("\(percentage * 3 * 1024 / 100).00KiB"),
              ],
            ] : ["phase": "NotBound", "conditions": []], dataset)
      }
      for load in try await objects("dataloads") where !now.isPaused {
        guard let name = load["metadata"]?["name"]?.stringValue,
          let dataset = load["spec"]?["dataset"]?["name"]?.stringValue,
          !["Complete", "Failed"].contains(load["status"]?["phase"]?.stringValue ?? "")
        else { continue }
        if now.failsLoads {
          try await set(
            "dataloads", name, ["phase": "Failed", "conditions": [["type": "Failed", "message": "no such bucket"]]],
            load)
          continue
        }
        let reached = percentages.withLock { known in
          known[dataset] = min(now.ceiling, (known[dataset] ?? 0) + now.step)
          return known[dataset]!
        }
        try await set(
          "dataloads", name, ["phase": reached >= now.ceiling ? "Complete" : "Executing", "conditions": []], load)
      }
    } catch {
      // An API server that is being restarted; the next turn does it.
    }
  }

  /// Only what is another state, as Fluid does: a watch that told the same again and again would be no test of one.
  private func set(_ resource: String, _ name: String, _ status: JSONValue, _ object: JSONValue) async throws {
    guard object["status"] != status else { return }
    _ = try await client.patch(
      KubernetesPath.object(FluidConfiguration.version, resource, namespace: namespace, name: name, "status"),
      ["status": status], type: .merge)
  }

  /// As Fluid does, under the Dataset's name.
  private func claim(_ name: String) async throws {
    do {
      _ = try await client.create(
        KubernetesPath.collection("v1", "persistentvolumeclaims", namespace: namespace),
        [
          "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": ["name": .string(name)],
          "spec": ["accessModes": ["ReadOnlyMany"], "resources": ["requests": ["storage": "1Gi"]]],
        ])
    } catch {
      guard error.code == .alreadyExists else { throw error }
    }
  }

  /// Fluid's cache has so much of a Dataset now.
  func set(_ percentage: Int, of dataset: String) { percentages.withLock { $0[dataset] = percentage } }

  /// A Dataset that people of the cluster have made.
  func makeDataset(_ name: String, labels: JSONValue = [:]) async throws {
    _ = try await client.create(
      KubernetesPath.collection(FluidConfiguration.version, "datasets", namespace: namespace),
      [
        "apiVersion": .string(FluidConfiguration.version), "kind": "Dataset",
        "metadata": ["name": .string(name), "labels": labels], "spec": ["mounts": [["mountPoint": "s3://theirs/x"]]],
      ])
    _ = try await client.create(
      KubernetesPath.collection(FluidConfiguration.version, "alluxioruntimes", namespace: namespace),
      [
        "apiVersion": .string(FluidConfiguration.version), "kind": "AlluxioRuntime",
        "metadata": ["name": .string(name)],
        "spec": [:],
      ])
  }

  /// Where the stand-in kubelet finds a claim's files.
  func write(_ text: String, to name: String, of dataset: String) throws {
    let directory = "\(cluster.directory)/claims/\(namespace)/\(dataset)"
    try POSIXFile.makeDirectories(directory)
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
  }
}
