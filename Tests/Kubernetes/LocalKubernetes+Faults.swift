internal import FederationModel
internal import KubernetesAPI
internal import LocalProcess
internal import Logging

#if canImport(Glibc)
  internal import Glibc
#endif

/// What goes wrong on real clusters, done to this one. Each returns when it has happened.
extension LocalKubernetes {
  /// `kill -9`: connections break, and nothing answers at its port.
  public func killServer() async throws {
    _ = try require("server")
    await end("server")
  }

  /// Starts it again over the same etcd, and waits until it answers.
  public func restartServer() async throws { try await startServer() }

  /// SIGSTOP: it takes connections, and never answers.
  public func freezeServer() throws { try require("server").signal(SIGSTOP) }
  public func thawServer() throws { try require("server").signal(SIGCONT) }

  /// With it all of its pods' processes. The nodes are lost when the controller manager notices, after 20 s.
  public func killKubelet() async throws {
    _ = try require("kubelet")
    await end("kubelet")
  }

  public func restartKubelet() async throws { try await startKubelet() }

  /// etcd forgets every version but the last: `mvcc: required revision has been compacted` is what older ones are
  /// answered.
  ///
  /// - Returns: the revision up to which nothing is known any longer.
  @discardableResult
  public func compact() async throws -> Int {
    var logger = Logger(label: "test.etcd")
    logger.logLevel = .critical
    let etcd = try KubernetesClient(KubernetesConnection(server: "http://127.0.0.1:\(ports.etcd)"), logger: logger)
    defer { Task { await etcd.close() } }
    // A key that is not there: the header says the revision. "AA==" is one byte.
    let answer = try await etcd.create("/v3/kv/range", ["key": "AA=="])
    guard let text = answer["header"]?["revision"]?.stringValue, let revision = Int(text) else {
      throw LocalKubernetesError(description: "etcd answered \(answer)")
    }
    _ = try await etcd.create("/v3/kv/compaction", ["revision": .string(text), "physical": true])
    return revision
  }
}
