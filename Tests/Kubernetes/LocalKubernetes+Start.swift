internal import FederationModel
internal import Foundation
internal import KubernetesAPI
internal import LocalProcess
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#endif

extension LocalKubernetes {
  static let adminToken = "admin-token-of-a-test"
  var server: String { "https://127.0.0.1:\(ports.server)" }
  var files: String { directory + "/pki" }
  /// PEM, of the API server's certificate.
  public var certificateAuthority: String { files + "/ca.crt" }
  /// A client certificate of `cluster-admin`, and its key.
  public var adminCertificate: (chain: String, key: String) { (files + "/admin.crt", files + "/admin.key") }

  func start() async throws {
    try await makeFiles()
    let minor = try await serverVersion()
    version.withLock { $0 = minor }
    try startEtcd()
    try await startServer()
    try startManager()
    try await startKubelet()
    // Without it no pod can be made in the namespace.
    let client = try client()
    try await wait(for: "the controller manager") {
      _ = try await client.get("/api/v1/namespaces/default/serviceaccounts/default")
      return true
    }
    await client.close()
  }

  /// The minor version of the API server in the cache.
  private func serverVersion() async throws -> Int {
    let output = try await ChildProcess.output(
      [Self.cache + "/kube-apiserver", "--version"], environment: ["PATH": "/usr/bin:/bin", "HOME": directory],
      scratch: directory, timeout: .seconds(60))
    let numbers = output.text.split(whereSeparator: { !$0.isNumber })
    guard numbers.count > 1, let version = Int(numbers[1]) else {
      throw LocalKubernetesError(description: "kube-apiserver --version said \(output.text)\(output.errors)")
    }
    return version
  }

  /// Whether it needs flags that later versions do not know.
  private var isOld: Bool { version.withLock { $0 } < 24 }

  private func makeFiles() async throws {
    try FileManager.default.createDirectory(atPath: files, withIntermediateDirectories: true)
    let script = """
      set -eu; cd "$1"
      openssl ecparam -name prime256v1 -genkey -noout -out ca.key
      openssl req -x509 -new -key ca.key -subj /CN=test-ca -days 30 -out ca.crt
      openssl genrsa -out serviceaccount.key 2048
      make_one() {
        openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
        openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\\n' >"$1.ext"
        openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.crt"
      }
      make_one server /CN=kube-apiserver
      make_one kubelet /CN=kubelet
      make_one admin /O=system:masters/CN=admin
      """
    let output = try await ChildProcess.output(
      ["/bin/sh", "-c", script, "sh", files], environment: ["PATH": "/usr/bin:/bin", "HOME": directory],
      scratch: directory, timeout: .seconds(60))
    guard output.exitCode == 0 else { throw LocalKubernetesError(description: "openssl: \(output.errors)") }
    try PrivateFile.write("\(Self.adminToken),admin,admin,\"system:masters\"\n", to: files + "/tokens.csv")
    try writeKubeconfig(token: Self.adminToken, to: kubeconfig)
  }

  /// A kubeconfig of this cluster for somebody else.
  public func writeKubeconfig(token: String, namespace: String = "default", to path: String) throws {
    var cluster: [String: JSONValue]
    if isExternal {
      let given = try KubernetesConnection.kubeconfig(kubeconfig, context: nil)
      cluster = ["server": .string(given.server), "insecure-skip-tls-verify": .bool(!given.verifiesServer)]
      if let name = given.serverName { cluster["tls-server-name"] = .string(name) }
      if let pem = given.certificateAuthority {
        cluster["certificate-authority-data"] = .string(Data(pem).base64EncodedString())
      }
    } else {
      cluster = ["server": .string(server), "certificate-authority": .string(certificateAuthority)]
    }
    let configuration: JSONValue = [
      "apiVersion": "v1", "kind": "Config", "current-context": "test",
      "clusters": [["name": "test", "cluster": .object(cluster)]],
      "contexts": [
        ["name": "test", "context": ["cluster": "test", "user": "test", "namespace": .string(namespace)]]
      ],
      "users": [["name": "test", "user": ["token": .string(token)]]],
    ]
    // JSON is YAML.
    try PrivateFile.write(configuration.description + "\n", to: path)
  }

  private func startEtcd() throws {
    let client = "http://127.0.0.1:\(ports.etcd)", peer = "http://127.0.0.1:\(ports.etcdPeer)"
    try launch(
      "etcd",
      [
        Self.cache + "/etcd", "--data-dir", directory + "/etcd", "--listen-client-urls", client,
        "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--initial-cluster", "default=\(peer)", "--logger", "zap", "--log-level", "warn",
      ])
  }

  /// Starts the API server as it was started before, and waits until it answers.
  func startServer() async throws {
    try launch(
      "server",
      [
        Self.cache + "/kube-apiserver", "--etcd-servers=http://127.0.0.1:\(ports.etcd)", "--bind-address=127.0.0.1",
        "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none", "--secure-port=\(ports.server)",
        "--tls-cert-file=\(files)/server.crt", "--tls-private-key-file=\(files)/server.key",
        "--client-ca-file=\(files)/ca.crt", "--token-auth-file=\(files)/tokens.csv", "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=\(files)/serviceaccount.key",
        "--service-account-signing-key-file=\(files)/serviceaccount.key",
        "--service-cluster-ip-range=10.96.0.0/16", "--kubelet-certificate-authority=\(files)/ca.crt",
        "--kubelet-client-certificate=\(files)/admin.crt", "--kubelet-client-key=\(files)/admin.key",
        "--kubelet-preferred-address-types=InternalIP", "--watch-cache=\(options.watchCache)", "--profiling=false",
      ] + (isOld ? ["--insecure-port=0"] : []) + options.apiServerArguments)
    var settings = KubernetesClient.Settings()
    (settings.attemptTimeout, settings.deadline) = (.seconds(2), .zero)
    let client = try client(settings)
    try await wait(for: "the API server", of: "server") {
      _ = try await client.get("/api/v1/namespaces/default")
      return true
    }
    await client.close()
  }

  private func startManager() throws {
    try launch(
      "manager",
      [
        Self.cache + "/kube-controller-manager", "--kubeconfig=\(kubeconfig)", "--leader-elect=false",
        "--bind-address=127.0.0.1", "--secure-port=\(ports.manager)",
        "--root-ca-file=\(files)/ca.crt", "--service-account-private-key-file=\(files)/serviceaccount.key",
        "--kube-api-qps=500", "--kube-api-burst=1000", "--node-monitor-period=2s", "--node-monitor-grace-period=20s",
        "--controllers=job,namespace,serviceaccount,serviceaccount-token,garbagecollector,resourcequota,nodelifecycle,"
          + "podgc,root-ca-cert-publisher,disruption" + (isOld ? "" : ",taint-eviction-controller"),
        "--cert-dir=\(directory)/manager",
      ] + (isOld ? ["--port=0"] : []))
  }

  func startKubelet() async throws {
    var arguments = [
      "/usr/bin/python3", Self.program, "--server", server, "--ca", certificateAuthority, "--token", Self.adminToken,
      "--certificate", files + "/kubelet.crt", "--key", files + "/kubelet.key", "--port", String(ports.kubelet),
      "--directory", directory, "--nodes", JSONValue.array(options.nodes.map(Self.description)).description,
    ]
    for (image, program) in options.programs.sorted(by: { $0.key < $1.key }) {
      arguments += ["--program", "\(image)=\(program)"]
    }
    switch options.kubelet {
    case .none: return
    case .processes: break
    case .instant(let seconds): arguments += ["--instant", String(seconds)]
    }
    try launch("kubelet", arguments)
    let client = try client()
    let last = options.nodes.last?.name ?? ""
    try await wait(for: "the nodes", of: "kubelet") {
      let node = try await client.get(KubernetesPath.object("v1", "nodes", name: last))
      return node["status"]?["conditions"]?.arrayValue?.contains {
        $0["type"]?.stringValue == "Ready" && $0["status"]?.stringValue == "True"
      } ?? false
    }
    await client.close()
  }

  private static func description(_ node: Node) -> JSONValue {
    [
      "name": .string(node.name), "capacity": .object(node.capacity.mapValues { .string($0) }),
      "labels": .object(node.labels.mapValues { .string($0) }),
    ]
  }

  private static var program: String {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("kubelet.py").path
  }

  /// - Throws: with the last failure, when `isThere` has not been true for a minute, or the process that it is of has
  ///   ended.
  func wait(for what: String, of name: String? = nil, _ isThere: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    var last = "no answer"
    while ContinuousClock.now < deadline {
      do { if try await isThere() { return } } catch { last = "\(error)" }
      if let name { _ = try require(name) }
      try await Task.sleep(for: .milliseconds(100))
    }
    throw LocalKubernetesError(description: "\(what) did not come up within a minute: \(last)")
  }
}
