import Execution
import FederationModel
import FoundationEssentials
import KubernetesAPI
import KubernetesSupport
import ProcessExecutor
import Testing

@testable import AgentRuntime
@testable import KubernetesExecutor

/// `resource` templates on a real API server, each in a pod with a service account of its own.
@Suite(
  .serialized, .timeLimit(.minutes(20)),
  .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
struct ResourceRunTests {
  private static func id(_ counter: UInt32) -> RunID { RunID(incarnation: 4, counter: counter) }
  private static let account = "deployer"

  /// A fixture whose tasks may name `deployer`, which may do what is listed.
  private static func with(
    _ rules: [(group: String, resources: [String], verbs: [String])], _ body: (KubernetesFixture) async throws -> Void
  ) async throws {
    try await KubernetesFixture.with(settings: { $0.serviceAccounts = [account: account] }) { fixture in
      let (namespace, group) = (fixture.namespace, "rbac.authorization.k8s.io/v1")
      let metadata: JSONValue = ["name": .string(account)]
      _ = try await fixture.admin.create(
        KubernetesPath.collection("v1", "serviceaccounts", namespace: namespace),
        ["apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata])
      _ = try await fixture.admin.create(
        KubernetesPath.collection(group, "roles", namespace: namespace),
        [
          "apiVersion": .string(group), "kind": "Role", "metadata": metadata,
          "rules": .array(
            rules.map { rule in
              [
                "apiGroups": [.string(rule.group)], "resources": .array(rule.resources.map { .string($0) }),
                "verbs": .array(rule.verbs.map { .string($0) }),
              ]
            }),
        ])
      _ = try await fixture.admin.create(
        KubernetesPath.collection(group, "rolebindings", namespace: namespace),
        [
          "apiVersion": .string(group), "kind": "RoleBinding", "metadata": metadata,
          "subjects": [["kind": "ServiceAccount", "name": .string(account), "namespace": .string(namespace)]],
          "roleRef": ["apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": .string(account)],
        ])
      try await body(fixture)
    }
  }

  private static let everything = [
    (group: "", resources: ["configmaps"], verbs: ["create", "get", "patch", "update", "delete", "list"]),
    (group: "batch", resources: ["jobs"], verbs: ["create", "get", "delete"]),
  ]

  /// Runs it as the agent would, and gives its end with the values of its outputs.
  private static func run(
    _ resource: RunResource, _ counter: UInt32, _ fixture: KubernetesFixture,
    _ change: (inout RunRequest) -> Void = { _ in }
  ) async throws -> (end: RunObservation, values: [String], said: String) {
    var request = RunRequest(
      id: id(counter), epoch: 1, project: "p", spec: TaskSpec(scratchPaths: [RunResource.outputDirectory]))
    request.spec.resource = resource
    request.spec.pod = PodSettings(spec: ["serviceAccountName": .string(account)])
    request.spec.outputParameters = resource.outputs.enumerated().map {
      OutputParameter(name: $0.element.name, path: RunResource.path(ofOutput: $0.offset))
    }
    request.privateFiles = [
      RunFile(path: RequestProgram.fileName, mode: 0o400, bytes: Array(try JSONEncoder().encode(resource)))
    ]
    change(&request)
    try await fixture.submit(request)
    let end = try await fixture.end(of: request.id)
    let root = fixture.executor.workspace(for: request.id).root
    let values = request.spec.outputParameters.map {
      (try? String(contentsOfFile: root + $0.path, encoding: .utf8)) ?? "(nothing)"
    }
    return (end, values, fixture.log(request.id))
  }

  private static func configMap(_ fixture: KubernetesFixture, _ name: String) async throws -> JSONValue? {
    do {
      return try await fixture.admin.get(
        KubernetesPath.object("v1", "configmaps", namespace: fixture.namespace, name: name))
    } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }

  @Test(
    "A config map is created, found, applied, replaced, patched in three ways and deleted, with values of it as outputs"
  )
  func life() async throws {
    try await Self.with(Self.everything) { fixture in
      func expect(
        _ resource: RunResource, _ counter: UInt32, _ values: [String] = [], _ data: JSONValue?,
        line: SourceLocation = #_sourceLocation
      ) async throws {
        let (end, found, said) = try await Self.run(resource, counter, fixture)
        #expect(end.phase == .succeeded, "\(end) \(said)", sourceLocation: line)
        #expect(found == values, sourceLocation: line)
        #expect(try await Self.configMap(fixture, "one")?["data"] == data, sourceLocation: line)
      }
      let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: '1'}\n"
      let outputs: [RunResource.Output] = [
        .init(name: "a", jsonPath: "{.data.a}"), .init(name: "name", jsonPath: "{.kind}/{.metadata.name}"),
        .init(name: "none", jsonPath: "{.data.none}", defaultValue: "nothing"),
      ]
      try await expect(
        RunResource(action: .create, manifest: manifest, outputs: outputs), 1,
        ["1\n", "ConfigMap/one\n", "nothing\n"], ["a": "1"])
      try await expect(
        RunResource(action: .get, manifest: "", flags: ["cm", "one"], outputs: [outputs[0]]), 2, ["1\n"], ["a": "1"])
      try await expect(
        RunResource(action: .apply, manifest: manifest.replacing("'1'", with: "'2'")), 3, [], ["a": "2"])
      try await expect(
        RunResource(action: .replace, manifest: manifest.replacing("{a: '1'}", with: "{b: '3'}")), 4, [], ["b": "3"])
      try await expect(
        RunResource(action: .patch, manifest: manifest.replacing("{a: '1'}", with: "{c: '4'}")), 5, [],
        ["b": "3", "c": "4"])
      try await expect(
        RunResource(
          action: .patch, manifest: "data: {b: null}", mergeStrategy: .merge, flags: ["configmaps/one"]), 6, [],
        ["c": "4"])
      try await expect(
        RunResource(
          action: .patch, manifest: "[{op: replace, path: /data/c, value: '5'}]", mergeStrategy: .json,
          flags: ["configmap", "one"], outputs: [.init(name: "c", jsonPath: "{.data.c}")]), 7, ["5\n"], ["c": "5"])
      try await expect(RunResource(action: .delete, manifest: manifest), 8, [], nil)
      // As Argo calls kubectl: what is gone is deleted.
      try await expect(RunResource(action: .delete, manifest: manifest), 9, [], nil)
      try await expect(
        RunResource(
          action: .get, manifest: manifest, flags: ["--ignore-not-found"],
          outputs: [.init(name: "a", jsonPath: "{.data.a}", defaultValue: "no object")]), 10, ["no object\n"], nil)
    }
  }

  @Test("A Job is waited for: its success condition, its failure condition, and what it says")
  func conditions() async throws {
    try await Self.with(Self.everything) { fixture in
      func job(_ command: String) -> String {
        """
        apiVersion: batch/v1
        kind: Job
        metadata: {generateName: made-}
        spec:
          backoffLimit: 0
          template:
            spec:
              restartPolicy: Never
              containers: [{name: main, image: debian, command: [sh, -c, "\(command)"]}]
        """
      }
      var resource = RunResource(
        action: .create, manifest: job("sleep 2"), successCondition: "status.succeeded > 0",
        failureCondition: "status.failed > 0",
        outputs: [
          .init(name: "count", jsonPath: "{.status.succeeded}"), .init(name: "name", jsonPath: "{.metadata.name}"),
        ])
      let (end, values, said) = try await Self.run(resource, 1, fixture)
      #expect(end.phase == .succeeded, "\(end) \(said)")
      #expect(values.first == "1\n" && values.last?.hasPrefix("made-") == true, "\(values)")
      resource.manifest = job("exit 3")
      let (failed, _, words) = try await Self.run(resource, 2, fixture)
      #expect(failed.phase == .failed && failed.exitCode == 1)
      #expect(words.contains("fubini: failure condition '{status.failed gt [0]}' evaluated true"), "\(words)")
      // Its time ends it; the object stays, as in Argo.
      resource.manifest = job("sleep 600").replacing("generateName: made-", with: "name: long")
      let (late, _, _) = try await Self.run(resource, 3, fixture) { $0.walltime = .seconds(4) }
      #expect(late.phase == .failed && late.message.contains("the walltime has passed"), "\(late)")
      let left = try await fixture.admin.get(
        KubernetesPath.object("batch/v1", "jobs", namespace: fixture.namespace, name: "long"))
      #expect(left["metadata"]?["deletionTimestamp"] == nil)
    }
  }

  @Test("What the task's account may not do is denied, in the API server's words; so is what makes no sense")
  func denied() async throws {
    try await Self.with([(group: "", resources: ["configmaps"], verbs: ["get"])]) { fixture in
      let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"
      let cases: [(RunResource, String)] = [
        (
          RunResource(action: .create, manifest: manifest),
          "Error from server (Forbidden): configmaps is forbidden: User \"system:serviceaccount:\(fixture.namespace):deployer\""
        ),
        (
          RunResource(
            action: .get, manifest: manifest.replacing("{name: one}", with: "{name: one, namespace: kube-system}")),
          "in the namespace \"kube-system\""
        ),
        (RunResource(action: .get, manifest: manifest), "Error from server (NotFound): configmaps \"one\" not found"),
        (
          RunResource(action: .get, manifest: manifest.replacing("ConfigMap", with: "Unicorn")),
          "no matches for kind \"Unicorn\" in version \"v1\""
        ),
        (
          RunResource(action: .get, manifest: "", flags: ["unicorns", "one"]),
          "the server doesn't have a resource type \"unicorns\""
        ),
        (
          RunResource(
            action: .create, manifest: manifest.replacing("{name: one}", with: "{name: one, namespace: a}"),
            flags: ["-n", "b"]), "does not match the namespace \"b\""
        ),
      ]
      for (index, (resource, words)) in cases.enumerated() {
        let (end, _, said) = try await Self.run(resource, UInt32(index + 1), fixture)
        #expect(end.phase == .failed, "\(end)")
        #expect(said.contains("fubini: ") && said.contains(words), "\(words) in \(said)")
      }
    }
  }

  @Test("An object whose owner is the workflow stays when its run is forgotten, and goes when the workflow is deleted")
  func owner() async throws {
    try await Self.with(Self.everything) { fixture in
      let workflow = "0b5d8e1c-7a4e-4b55-9f0a-3d1a2b3c4d5e"
      func resource(_ name: String) -> RunResource {
        RunResource(
          action: .create, manifest: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \(name)}\n", setsOwner: true,
          workflow: workflow)
      }
      for (counter, name) in [(1, "one"), (2, "two")] as [(UInt32, String)] {
        let (end, _, said) = try await Self.run(resource(name), counter, fixture)
        #expect(end.phase == .succeeded, "\(end) \(said)")
      }
      let made = try #require(try await Self.configMap(fixture, "one"))
      let reference = try #require(made["metadata"]?["ownerReferences"]?[0])
      #expect(reference["kind"] == "Secret" && reference["controller"] == true)
      let other = try await Self.configMap(fixture, "two")?["metadata"]?["ownerReferences"]?[0]?["uid"]
      #expect(reference["uid"] == other)
      try await fixture.executor.forget([Self.id(1), Self.id(2)])
      try await Task.sleep(for: .seconds(3))
      #expect(try await Self.configMap(fixture, "one") != nil)
      let keeper = OwnerKeeper(executor: fixture.executor)
      #expect(await keeper.told(keeping: [workflow]) == nil)
      let told = try #require(await keeper.told(keeping: []))
      #expect(told.owners.map(\.workflowUid) == [workflow] && told.owners.allSatisfy(\.goesWithDeletion))
      await keeper.drop([workflow], keeping: [workflow])
      #expect(fixture.executor.workflows() == [workflow])
      await keeper.drop([workflow], keeping: [])
      #expect(fixture.executor.workflows().isEmpty)
      try await waitUntil(timeout: .seconds(60)) {
        do {
          let (one, two) = (try await Self.configMap(fixture, "one"), try await Self.configMap(fixture, "two"))
          return one == nil && two == nil
        } catch { return false }
      }
      try await waitUntil { (try? await fixture.isEmpty()) == true }
    }
  }

  @Test("I7: a Secret that has the name of a workflow's, and is somebody else's, is left alone")
  func namesake() async throws {
    try await Self.with(Self.everything) { fixture in
      let name = "fubini-\(fixture.executor.mark)-workflow-abc"
      let path = KubernetesPath.object("v1", "secrets", namespace: fixture.namespace, name: name)
      _ = try await fixture.admin.create(
        KubernetesPath.collection("v1", "secrets", namespace: fixture.namespace),
        ["apiVersion": "v1", "kind": "Secret", "metadata": ["name": .string(name)]])
      let resource = RunResource(
        action: .create, manifest: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n", setsOwner: true,
        workflow: "abc")
      let (end, _, _) = try await Self.run(resource, 1, fixture)
      #expect(end.phase == .error && end.message.contains("somebody else's"), "\(end)")
      await fixture.executor.removeWorkflows(["abc"])
      #expect(try await fixture.admin.get(path)["metadata"]?["name"]?.stringValue == name)
    }
  }
}
