internal import FederationModel
internal import Foundation
public import KubernetesAPI
internal import LocalProcess
internal import Logging
internal import Synchronization
internal import TestSupport

#if canImport(Glibc)
  internal import Glibc
#endif

/// A Kubernetes cluster of a test's own: etcd, API server and controller manager on loopback ports, and `kubelet.py`
/// for its nodes. Or the cluster that `FUBINI_TEST_KUBECONFIG` names, of which the test has a namespace.
///
/// It ends with the test, however that ends (``Watchdog``).
///
/// ```swift
/// @Suite(.enabled(if: LocalKubernetes.isAvailable, "\(LocalKubernetes.unavailability)"))
/// ...
/// try await LocalKubernetes.with { cluster in
///   let client = try cluster.client()
/// ```
public final class LocalKubernetes: Sendable {
  public struct Node: Sendable {
    public var name: String
    /// `cpu`, `memory`, `nvidia.com/gpu`, as Kubernetes writes quantities.
    public var capacity: [String: String]
    public var labels: [String: String]
    public init(name: String, capacity: [String: String], labels: [String: String] = [:]) {
      self.name = name
      self.capacity = capacity
      self.labels = labels
    }
  }

  public enum Kubelet: Sendable {
    /// Pods' containers are processes in bubblewrap.
    case processes
    /// Pods succeed after a moment, and nothing runs.
    case instant(seconds: Double)
    /// Pods are never bound.
    case none
  }

  public struct Options: Sendable {
    public var kubelet = Kubelet.processes
    public var nodes = [Node(name: "node-1", capacity: ["cpu": "64", "memory": "64Gi"])]
    /// Programs that images have and this machine's file system does not: by image, `/host/file:/path/in/container`.
    public var programs: [String: String] = [:]
    /// Further flags of the API server.
    public var apiServerArguments: [String] = []
    /// Without it watches are etcd's own, which forget what is compacted at once; and there are no bookmarks.
    public var watchCache = true
    public init() {}
  }

  public let directory: String
  /// Of `cluster-admin`, by a token.
  public let kubeconfig: String
  /// Not one of ours: nothing in it may be killed.
  public let isExternal: Bool
  let options: Options
  let ports: Ports
  private let watchdog: Mutex<Watchdog?>
  /// The minor version of our API server.
  let version = Mutex(0)
  private let identities = Mutex<[String: ProcessIdentity]>([:])
  /// Paths of what the test made that is in no namespace of its own.
  private let made = Mutex<[String]>([])

  struct Ports: Sendable {
    var etcd = 0, etcdPeer = 0, server = 0, manager = 0, kubelet = 0
  }

  // MARK: Whether there is one

  private static var environment: [String: String] { ProcessInfo.processInfo.environment }
  private static func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }

  static var cache: String {
    variable("FUBINI_KUBERNETES_CACHE") ?? (environment["HOME"] ?? "/tmp") + "/.cache/fubini/kubernetes"
  }

  /// The kubeconfig of a cluster that is there already; nil when a cluster is started.
  public static var given: String? { variable("FUBINI_TEST_KUBECONFIG") }

  /// What is missing here; nil when nothing is.
  private static var problem: String? {
    guard environment["FUBINI_TEST_KUBERNETES"] == "1" else {
      return "FUBINI_TEST_KUBERNETES is not 1: make test-kubernetes"
    }
    guard given == nil else { return nil }
    let missing = ["kube-apiserver", "kube-controller-manager", "etcd"].first { access(cache + "/" + $0, X_OK) != 0 }
    return missing.map { "\(cache)/\($0) is not there: scripts/build-kubernetes.sh" }
  }

  public static var isAvailable: Bool { problem == nil }

  /// Why a test on Kubernetes does not run here.
  public static var unavailability: String {
    problem ?? "it needs a cluster of its own, and FUBINI_TEST_KUBECONFIG names another one"
  }

  /// Whether clusters are our own, whose servers may be killed, and whose kubelet is `kubelet.py`.
  public static var isLocal: Bool { isAvailable && given == nil }

  /// The agent's image on the given cluster, as scripts/build-images.sh makes it.
  public static var agentImage: String? { variable("FUBINI_TEST_AGENT_IMAGE") }
  /// The image of runs: it has a shell, and coreutils or busybox.
  public static var taskImage: String { variable("FUBINI_TEST_IMAGE") ?? "debian:12" }
  /// This machine's address as the given cluster's pods reach it.
  public static var host: String? { given == nil ? "127.0.0.1" : variable("FUBINI_TEST_HOST") }

  /// Whether runs' pods can run here, with the agent in this process.
  public static var runsPods: Bool { isLocal || isAvailable && agentImage != nil && host != nil }

  public static var noPods: String {
    problem ?? "FUBINI_TEST_AGENT_IMAGE and FUBINI_TEST_HOST are needed with FUBINI_TEST_KUBECONFIG"
  }

  // MARK: Life

  /// Starts a cluster, runs `body`, and ends it. An error that `body` throws is told with the ends of all logs.
  public static func with<Value: Sendable>(
    configure: (inout Options) -> Void = { _ in }, _ body: (LocalKubernetes) async throws -> Value
  ) async throws -> Value {
    var options = Options()
    configure(&options)
    let cluster = try LocalKubernetes(options)
    do {
      if !cluster.isExternal { try await cluster.start() }
      let value = try await body(cluster)
      await cluster.stop()
      return value
    } catch {
      let logs = cluster.logs
      await cluster.stop()
      throw LocalKubernetesError(description: "\(error)\n\(logs)")
    }
  }

  private init(_ options: Options) throws {
    self.options = options
    directory = "/tmp/fk8-\(getpid())-\(String(UInt32.random(in: 0 ... .max), radix: 36))"
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    isExternal = Self.given != nil
    kubeconfig = Self.given ?? directory + "/kubeconfig"
    let drawn = isExternal ? [0, 0, 0, 0, 0] : try (0..<5).map { _ in try FreePort.next() }
    ports = Ports(etcd: drawn[0], etcdPeer: drawn[1], server: drawn[2], manager: drawn[3], kubelet: drawn[4])
    watchdog = Mutex(try Watchdog(directory, ending: .environment("FUBINI_LOCAL_KUBERNETES=\(directory)/")))
  }

  private func stop() async {
    if isExternal { await removeWhatWasMade() }
    for name in ["kubelet", "manager", "server", "etcd"] { await end(name) }
    watchdog.withLock { $0 = nil }
  }

  /// Somebody else's cluster is left as it was found.
  private func removeWhatWasMade() async {
    guard let client = try? client() else { return }
    for path in made.withLock({ $0 }) { _ = try? await client.delete(path) }
    await client.close()
  }

  /// A client of `cluster-admin`.
  public func client(_ settings: KubernetesClient.Settings = .init()) throws -> KubernetesClient {
    try client(.kubeconfig(kubeconfig, context: nil), settings)
  }

  public func client(_ connection: KubernetesConnection, _ settings: KubernetesClient.Settings = .init()) throws
    -> KubernetesClient
  {
    var logger = Logger(label: "test.kubernetes")
    logger.logLevel = .critical
    return try KubernetesClient(connection, settings: settings, logger: logger)
  }

  /// A namespace with a name of its own.
  public func namespace(_ client: KubernetesClient, _ prefix: String = "fubini-test") async throws -> String {
    let name = "\(prefix)-\(String(UInt32.random(in: 0 ... .max), radix: 36))"
    _ = try await client.create(
      "/api/v1/namespaces", ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": .string(name)]])
    remove(afterwards: "/api/v1/namespaces/\(name)")
    return name
  }

  /// Somebody else's cluster is left without it.
  public func remove(afterwards path: String) { made.withLock { $0.append(path) } }

  // MARK: Processes

  /// The ends of all logs, to be told with a failure.
  public var logs: String {
    isExternal
      ? ""
      : ["etcd", "server", "manager", "kubelet"].map { "\($0):\n\(ChildProcess.tail("\(directory)/\($0).log"))" }
        .joined(separator: "\n")
  }

  func launch(_ name: String, _ arguments: [String]) throws {
    let identity = try ChildProcess.spawn(
      arguments,
      environment: [
        "FUBINI_LOCAL_KUBERNETES": directory + "/", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8", "HOME": directory,
      ], log: "\(directory)/\(name).log")
    identities.withLock { $0[name] = identity }
  }

  func process(_ name: String) -> ProcessIdentity? {
    guard let identity = identities.withLock({ $0[name] }) else { return nil }
    ChildProcess.reap(identity)
    return identity.isAlive ? identity : nil
  }

  func require(_ name: String) throws -> ProcessIdentity {
    guard let identity = process(name) else {
      throw FederationError(
        .failedPrecondition, "\(name) does not run:\n\(ChildProcess.tail("\(directory)/\(name).log"))")
    }
    return identity
  }

  func end(_ name: String, _ number: Int32 = SIGKILL) async {
    guard let identity = process(name) else { return }
    identity.signal(SIGCONT)
    await identity.end(number, grace: .seconds(5))
    ChildProcess.reap(identity)
  }
}

public struct LocalKubernetesError: Error, CustomStringConvertible {
  public var description: String
}
