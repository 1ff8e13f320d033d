internal import FederationModel
internal import Foundation
public import KubernetesAPI
internal import LocalProcess
internal import Logging
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#endif

/// A Kubernetes cluster of a test's own: etcd, API server and controller manager on loopback ports, and `kubelet.py`
/// for its nodes. Or the cluster that `FUBINI_TEST_KUBECONFIG` names, of which the test has a namespace.
///
/// It ends with the test, however that ends: a shell beside it waits for the end of a pipe that only the test process
/// holds, and kills whatever has this cluster's directory in its environment.
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
  private let lifeline: Int32
  private let identities = Mutex<[String: ProcessIdentity]>([:])
  /// Made by the test.
  private let namespaces = Mutex<[String]>([])

  struct Ports: Sendable {
    var etcd = 0, etcdPeer = 0, server = 0, manager = 0, kubelet = 0
  }

  // MARK: Whether there is one

  private static var environment: [String: String] { ProcessInfo.processInfo.environment }

  static var cache: String {
    if let given = environment["FUBINI_KUBERNETES_CACHE"], !given.isEmpty { return given }
    return (environment["HOME"] ?? "/tmp") + "/.cache/fubini/kubernetes"
  }

  /// The kubeconfig of a cluster that is there already; nil when a cluster is started.
  public static var given: String? { environment["FUBINI_TEST_KUBECONFIG"].flatMap { $0.isEmpty ? nil : $0 } }

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
    let drawn = isExternal ? [0, 0, 0, 0, 0] : try TestPorts.draw(5)
    ports = Ports(etcd: drawn[0], etcdPeer: drawn[1], server: drawn[2], manager: drawn[3], kubelet: drawn[4])
    lifeline = try Self.watch(directory)
  }

  private func stop() async {
    if isExternal { await removeNamespaces() }
    for name in ["kubelet", "manager", "server", "etcd"] { await end(name) }
    // The shell now finds nothing to kill, and removes the directory.
    close(lifeline)
  }

  /// Somebody else's cluster is left as it was found.
  private func removeNamespaces() async {
    guard let client = try? client() else { return }
    for name in namespaces.withLock({ $0 }) { _ = try? await client.delete("/api/v1/namespaces/\(name)") }
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
    namespaces.withLock { $0.append(name) }
    return name
  }

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

  private static func watch(_ directory: String) throws -> Int32 {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw LocalKubernetesError(description: "no pipe: \(errno)") }
    // No child but the watchdog may hold an end, or the pipe would never close.
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    // The directory is passed as an argument and never becomes part of the script.
    let script = """
      trap '' INT TERM HUP; cat >/dev/null; d=$1; cd /
      for round in 1 2 3; do for p in /proc/[0-9]*; do
        tr '\\0' '\\n' <"$p/environ" 2>/dev/null | grep -qF -- "FUBINI_LOCAL_KUBERNETES=$d/" && kill -9 "${p#/proc/}"
      done; done
      rm -rf "$d"
      """
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
    for output: Int32 in [1, 2] { posix_spawn_file_actions_addopen(&actions, output, "/dev/null", O_WRONLY, 0) }
    let texts: [String] = ["/bin/sh", "-c", script, "sh", directory]
    let words = texts.map { strdup($0) } + [nil]
    let variables = [strdup("PATH=/usr/bin:/bin"), nil]
    defer { for text in words + variables { free(text) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, "/bin/sh", &actions, nil, words, variables)
    close(ends[0])
    guard code == 0 else { throw LocalKubernetesError(description: "no watchdog: \(code)") }
    return ends[1]
  }
}

public struct LocalKubernetesError: Error, CustomStringConvertible {
  public var description: String
}
