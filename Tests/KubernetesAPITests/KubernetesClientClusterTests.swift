import FederationModel
import Foundation
import KubernetesSupport
import NIOHTTP1
import Synchronization
import Testing

@testable import KubernetesAPI

/// The client against a real API server.
@Suite(
  .serialized, .timeLimit(.minutes(10)),
  .enabled(if: LocalKubernetes.isAvailable, "\(LocalKubernetes.unavailability)"))
struct KubernetesClientClusterTests {
  private static func configMap(_ name: String, _ data: [String: JSONValue] = [:]) -> JSONValue {
    [
      "apiVersion": "v1", "kind": "ConfigMap", "data": .object(data),
      "metadata": ["name": .string(name), "labels": ["owner": "test"]],
    ]
  }

  private static func maps(_ namespace: String) -> String {
    KubernetesPath.collection("v1", "configmaps", namespace: namespace)
  }

  private static func name(_ object: JSONValue) -> String? {
    // Newer API servers put one of their own into each namespace.
    object["metadata"]?["name"]?.stringValue.flatMap { $0 == "kube-root-ca.crt" ? nil : $0 }
  }

  /// Follows a reflector until a test has seen enough.
  private final class Follower: Sendable {
    private struct State {
      var names: Set<String> = []
      var deleted: Set<String> = []
      var lists = 0
      var silences = 0
    }
    private let state = Mutex(State())
    private let task: Mutex<Task<Void, Never>?> = Mutex(nil)

    init(_ reflector: Reflector<String>) {
      let task = Task { [weak self] in
        for await change in reflector.changes() { self?.take(change) }
      }
      self.task.withLock { $0 = task }
    }

    private func take(_ change: Reflector<String>.Change) {
      state.withLock { state in
        switch change {
        case .synchronized(let names):
          state.lists += 1
          // What a complete list does not have is gone.
          state.deleted.formUnion(state.names.subtracting(names))
          state.names = Set(names)
        case .changed(let name): state.names.insert(name)
        case .deleted(let name):
          state.names.remove(name)
          state.deleted.insert(name)
        case .silent: state.silences += 1
        }
      }
    }

    var names: Set<String> { state.withLock { $0.names } }
    var deleted: Set<String> { state.withLock { $0.deleted } }
    var lists: Int { state.withLock { $0.lists } }
    var silences: Int { state.withLock { $0.silences } }

    func wait(_ what: String, within limit: Duration = .seconds(60), _ isThere: (Follower) -> Bool) async throws {
      let deadline = ContinuousClock.now + limit
      while !isThere(self) {
        try #require(
          ContinuousClock.now < deadline,
          "\(what): lists \(lists), names \(names.count), deleted \(deleted), silent \(silences)")
        try await Task.sleep(for: .milliseconds(20))
      }
    }

    func end() { task.withLock { $0 }?.cancel() }
  }

  private static func follow(_ client: KubernetesClient, _ namespace: String) -> Follower {
    var timing = Reflector<String>.Timing()
    timing.silence = .seconds(1)
    timing.backOff = BackOff(first: .milliseconds(100), most: .seconds(1))
    return Follower(
      Reflector(
        client: client, path: maps(namespace), query: [("labelSelector", "owner=test")], timing: timing, decode: name))
  }

  // MARK: Objects

  @Test func `Created twice is a conflict with itself; patched, listed in pages, deleted by its uid`() async throws {
    try await LocalKubernetes.with {
      $0.kubelet = .none
    } _: { cluster in
      let client = try cluster.client()
      #expect(try await client.version().major == 1)
      let namespace = try await cluster.namespace(client)
      let path = Self.maps(namespace)
      let created = try await client.create(path, Self.configMap("a"))
      let again = await #expect(throws: FederationError.self) { try await client.create(path, Self.configMap("a")) }
      #expect(again?.code == .alreadyExists)
      #expect(again?.publicMessage.contains("already exists") == true)

      let patched = try await client.patch(path + "/a", ["data": ["x": "1"]], type: .merge)
      #expect(patched["data"]?["x"] == "1")
      let operations: JSONValue = [["op": "test", "path": "/data/x", "value": "2"]]
      let refused = await #expect(throws: FederationError.self) {
        try await client.patch(path + "/a", operations, type: .json)
      }
      #expect(refused?.code == .invalidArgument)

      for index in 0..<25 { _ = try await client.create(path, Self.configMap("page-\(index)")) }
      let before = client.requestCount
      var names: [String] = []
      let version = try await client.list(path, query: [("labelSelector", "owner=test")], page: 10) {
        if let name = Self.name($0) { names.append(name) }
      }
      #expect(Set(names).count == 26 && names.count == 26)
      #expect(client.requestCount - before == 3)
      #expect(!version.isEmpty)

      let uid = created["metadata"]?["uid"] ?? ""
      let foreign = await #expect(throws: FederationError.self) {
        try await client.delete(path + "/a", options: ["preconditions": ["uid": "somebody-elses"]])
      }
      #expect(foreign?.kubernetesStatus?.code == 409)
      try await client.delete(path + "/a", options: ["preconditions": ["uid": uid]])
      let gone = await #expect(throws: FederationError.self) { try await client.get(path + "/a") }
      #expect(gone?.code == .notFound)
      await client.close()
    }
  }

  @Test(.enabled(if: LocalKubernetes.isLocal, "the cluster's own users are not ours"))
  func `As whom: a client certificate, a token's file that rotates, nobody, and somebody without rights`() async throws
  {
    try await LocalKubernetes.with {
      $0.kubelet = .none
    } _: { cluster in
      let admin = try cluster.client()
      let namespace = try await cluster.namespace(admin)
      var connection = try KubernetesConnection.kubeconfig(cluster.kubeconfig, context: nil)
      let files = cluster.adminCertificate
      connection.credential = .certificate(
        chain: try SmallFile.read(files.chain), key: try SmallFile.read(files.key))
      let certified = try cluster.client(connection)
      _ = try await certified.get("/api/v1/namespaces/\(namespace)")
      await certified.close()

      let tokens = try await Self.serviceAccountTokens(admin, namespace)
      let file = cluster.directory + "/token"
      try tokens[0].write(toFile: file, atomically: true, encoding: .utf8)
      connection.credential = .tokenFile(file)
      let rotating = try cluster.client(connection)
      let path = Self.maps(namespace)
      let forbidden = await #expect(throws: FederationError.self) { try await rotating.get(path) }
      #expect(forbidden?.code == .permissionDenied)
      // Who was refused what, in the API server's own words.
      #expect(forbidden?.publicMessage.contains("system:serviceaccount:\(namespace):agent") == true)
      #expect(forbidden?.publicMessage.contains("configmaps") == true)
      try await Self.allow(admin, namespace)
      try await Self.eventually { (try? await rotating.get(path)) != nil }
      // The old token is taken back as the new one is written.
      try tokens[1].write(toFile: file, atomically: true, encoding: .utf8)
      try await admin.delete("/api/v1/namespaces/\(namespace)/secrets/token-0")
      _ = try await rotating.get(path)
      await rotating.close()

      connection.credential = .token(tokens[0])
      let stale = try cluster.client(connection)
      try await Self.eventually {
        do { _ = try await stale.get(path) } catch let error as FederationError {
          return error.code == .unauthenticated
        }
        return false
      }
      await stale.close()
      await admin.close()
    }
  }

  private static func eventually(_ isTrue: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while try await !isTrue() {
      try #require(ContinuousClock.now < deadline)
      try await Task.sleep(for: .milliseconds(100))
    }
  }

  /// Two tokens of one service account, each of a Secret.
  private static func serviceAccountTokens(_ admin: KubernetesClient, _ namespace: String) async throws -> [String] {
    let base = "/api/v1/namespaces/\(namespace)"
    _ = try await admin.create(base + "/serviceaccounts", ["metadata": ["name": "agent"]])
    var tokens: [String] = []
    for index in 0...1 {
      _ = try await admin.create(
        base + "/secrets",
        [
          "type": "kubernetes.io/service-account-token",
          "metadata": [
            "name": .string("token-\(index)"), "annotations": ["kubernetes.io/service-account.name": "agent"],
          ],
        ])
      let deadline = ContinuousClock.now + .seconds(30)
      while tokens.count <= index {
        try #require(ContinuousClock.now < deadline)
        let secret = try await admin.get(base + "/secrets/token-\(index)")
        if let token = secret["data"]?["token"]?.stringValue.flatMap({ Data(base64Encoded: $0) }) {
          tokens.append(String(decoding: token, as: UTF8.self))
        } else {
          try await Task.sleep(for: .milliseconds(50))
        }
      }
    }
    return tokens
  }

  private static func allow(_ admin: KubernetesClient, _ namespace: String) async throws {
    let base = "/apis/rbac.authorization.k8s.io/v1/namespaces/\(namespace)"
    _ = try await admin.create(
      base + "/roles",
      [
        "metadata": ["name": "reader"],
        "rules": [["apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]]],
      ])
    _ = try await admin.create(
      base + "/rolebindings",
      [
        "metadata": ["name": "reader"],
        "roleRef": ["apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"],
        "subjects": [["kind": "ServiceAccount", "name": "agent", "namespace": .string(namespace)]],
      ])
  }

  // MARK: Watches

  @Test func `A reflector sees what is there, what comes, changes and goes`() async throws {
    try await LocalKubernetes.with {
      $0.kubelet = .none
    } _: { cluster in
      let client = try cluster.client()
      let namespace = try await cluster.namespace(client)
      let path = Self.maps(namespace)
      _ = try await client.create(path, Self.configMap("first"))
      let follower = Self.follow(client, namespace)
      defer { follower.end() }
      try await follower.wait("the list") { $0.names == ["first"] }
      _ = try await client.create(path, Self.configMap("second"))
      _ = try await client.create(path, ["metadata": ["name": "not-ours"]])
      try await follower.wait("what comes") { $0.names == ["first", "second"] }
      try await client.delete(path + "/first")
      try await follower.wait("what goes") { $0.names == ["second"] && $0.deleted == ["first"] }
      #expect(follower.lists == 1)
      await client.close()
    }
  }

  @Test func `A watch from a version tells what came after it, and bookmarks move it on`() async throws {
    try await LocalKubernetes.with {
      $0.kubelet = .none
    } _: { cluster in
      let client = try cluster.client()
      let namespace = try await cluster.namespace(client)
      let path = Self.maps(namespace)
      let version = try await client.list(path) { _ in }
      for index in 0..<3 { _ = try await client.create(path, Self.configMap("after-\(index)")) }
      // Of what has other labels the watch says nothing: without bookmarks its version would stay behind.
      let others = Task {
        for index in 0..<3 {
          try await Task.sleep(for: .seconds(2))
          _ = try await client.create(path, ["metadata": ["name": .string("other-\(index)")]])
        }
      }
      defer { others.cancel() }
      let seen = Locked<(names: Set<String>, bookmark: String?)>(([], nil))
      // An API server sends one each minute, newer ones also shortly before the end that was asked for.
      for _ in 0..<3 where seen.withLock({ $0.bookmark == nil }) {
        let lines = Locked(LineSplitter(limit: 1 << 20))
        try await client.stream(
          .init(
            method: .GET, path: path,
            query: [
              ("watch", "true"), ("resourceVersion", version), ("labelSelector", "owner=test"),
              ("allowWatchBookmarks", "true"), ("timeoutSeconds", "75"),
            ]), timeout: .seconds(100)
        ) { bytes in
          for line in lines.withLock({ $0.add(bytes) }) {
            guard case .whole(let line) = line else { continue }
            switch WatchEvent(line: line) {
            case .changed(let object): seen.withLock { _ = $0.names.insert(Self.name(object) ?? "") }
            case .bookmark(let version): seen.withLock { $0.bookmark = version }
            default: Issue.record("\(String(decoding: line, as: UTF8.self))")
            }
          }
          return seen.withLock { $0.bookmark == nil }
        }
      }
      #expect(seen.withLock { $0.names } == ["after-0", "after-1", "after-2"])
      let bookmark = try #require(seen.withLock { $0.bookmark }.flatMap { Int($0) })
      #expect(bookmark > (Int(version) ?? .max))
      await client.close()
    }
  }

  @Test(.enabled(if: LocalKubernetes.isLocal, "somebody's etcd is not compacted"))
  func `etcd has forgotten the version: 410, a new complete list, and nothing is said to be gone`() async throws {
    try await LocalKubernetes.with {
      $0.kubelet = .none
      $0.watchCache = false
    } _: { cluster in
      let client = try cluster.client()
      let namespace = try await cluster.namespace(client)
      let path = Self.maps(namespace)
      for index in 0..<8 { _ = try await client.create(path, Self.configMap("m-\(index)")) }
      let old = try await client.list(path) { _ in }
      let first = try await client.get(path, query: [("limit", "2")])
      let rest = try #require(first["metadata"]?["continue"]?.stringValue)
      for index in 8..<12 { _ = try await client.create(path, Self.configMap("m-\(index)")) }
      try await cluster.compact()

      // A list between two pages.
      let page = await #expect(throws: FederationError.self) {
        try await client.get(path, query: [("limit", "2"), ("continue", rest)])
      }
      #expect(page?.kubernetesStatus?.isExpired == true)

      // A watch from then: as a status or as an event, by the server's version.
      let expired = Locked(false)
      do {
        let lines = Locked(LineSplitter(limit: 1 << 20))
        try await client.stream(
          .init(
            method: .GET, path: path,
            query: [("watch", "true"), ("resourceVersion", old), ("timeoutSeconds", "5")]), timeout: .seconds(30)
        ) { bytes in
          for case .whole(let line) in lines.withLock({ $0.add(bytes) }) {
            if case .failed(let status) = WatchEvent(line: line), status.isExpired { expired.withLock { $0 = true } }
          }
          return true
        }
      } catch let error as FederationError { expired.withLock { $0 = error.kubernetesStatus?.isExpired == true } }
      #expect(expired.withLock { $0 })
      await client.close()
    }
  }

  /// The API server is away while versions are forgotten: what the watch goes on from no longer is.
  @Test(.enabled(if: LocalKubernetes.isLocal, "somebody's API server is not killed"))
  func `The API server is killed and comes back, again and again: no object is ever told as deleted`() async throws {
    try await LocalKubernetes.with {
      $0.kubelet = .none
    } _: { cluster in
      let client = try cluster.client()
      let namespace = try await cluster.namespace(client)
      let path = Self.maps(namespace)
      for index in 0..<50 { _ = try await client.create(path, Self.configMap("m-\(index)")) }
      let follower = Self.follow(client, namespace)
      defer { follower.end() }
      try await follower.wait("the list") { $0.names.count == 50 }
      for round in 0..<3 {
        try await cluster.killServer()
        if round > 0 { try await cluster.compact() }
        try await Task.sleep(for: .milliseconds(round == 1 ? 4000 : 200))
        if round == 1 { #expect(follower.silences > 0, "nothing was said of a server that was away for 4 s") }
        try await cluster.restartServer()
        _ = try await client.create(path, Self.configMap("new-\(round)"))
        try await follower.wait("round \(round)") { $0.names.count == 51 + round }
      }
      #expect(follower.deleted.isEmpty)
      try await client.delete(path + "/m-0")
      try await follower.wait("a true deletion") { $0.deleted == ["m-0"] }
      await client.close()
    }
  }

  @Test(.enabled(if: LocalKubernetes.isLocal, "somebody's API server is not frozen"))
  func `A server that takes requests and does not answer: an error in time, and all is well afterwards`() async throws {
    try await LocalKubernetes.with {
      $0.kubelet = .none
    } _: { cluster in
      var settings = KubernetesClient.Settings()
      settings.attemptTimeout = .seconds(2)
      settings.deadline = .seconds(3)
      let client = try cluster.client(settings)
      let namespace = try await cluster.namespace(client)
      let path = Self.maps(namespace)
      _ = try await client.create(path, Self.configMap("a"))
      let follower = Self.follow(client, namespace)
      defer { follower.end() }
      try await follower.wait("the list") { $0.names == ["a"] }
      try cluster.freezeServer()
      let begun = ContinuousClock.now
      let error = await #expect(throws: FederationError.self) { try await client.get(path) }
      #expect(error?.code == .deadlineExceeded)
      #expect(.now - begun < .seconds(15))
      try cluster.thawServer()
      _ = try await client.create(path, Self.configMap("b"))
      try await follower.wait("what came after") { $0.names == ["a", "b"] }
      #expect(follower.deleted.isEmpty)
      await client.close()
    }
  }

  @Test(.enabled(if: LocalKubernetes.isLocal, "somebody's API server keeps its limits"))
  func `A server that takes one request at a time answers 429 to others, and in the end all are done`() async throws {
    try await LocalKubernetes.with {
      $0.kubelet = .none
      $0.apiServerArguments = [
        "--enable-priority-and-fairness=false", "--max-requests-inflight=1", "--max-mutating-requests-inflight=1",
      ]
    } _: { cluster in
      let admin = try cluster.client()
      let namespace = try await cluster.namespace(admin)
      let path = Self.maps(namespace)
      // Large ones take the server long enough for others to arrive.
      let text = JSONValue.string(String(repeating: "x", count: 500_000))
      for index in 0..<10 { _ = try await admin.create(path, Self.configMap("m-\(index)", ["x": text])) }
      // Administrators are never refused.
      try await Self.allow(admin, namespace)
      var connection = try KubernetesConnection.kubeconfig(cluster.kubeconfig, context: nil)
      connection.credential = .token(try await Self.serviceAccountTokens(admin, namespace)[0])
      var settings = KubernetesClient.Settings()
      settings.concurrency = 16
      settings.deadline = .seconds(240)
      let client = try cluster.client(connection, settings)
      try await Self.eventually { (try? await client.get(path + "/m-0")) != nil }
      let before = client.requestCount
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<32 {
          group.addTask {
            var count = 0
            _ = try await client.list(path, query: [("labelSelector", "owner=test")]) { _ in count += 1 }
            #expect(count == 10)
          }
        }
        try await group.waitForAll()
      }
      #expect(client.requestCount - before > 32, "nothing was refused: the test shows nothing")
      await client.close()
      await admin.close()
    }
  }
}
