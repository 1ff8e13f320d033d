import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore
import WorkflowCore

/// The few paths of Kubernetes' own API that Argo's clients use beside Argo's, answered from our objects.
///
/// - Source: Kubernetes API reference, `v1`: ConfigMap, Secret, Pod. Errors are its `Status` (`ErrorMapping`).
extension APIServer {
  static let kubernetesRoot = "/api/v1/namespaces/"

  var kubernetesRoutes: [Route] {
    let namespace = "\(Self.kubernetesRoot):namespace"
    let (maps, secrets, pods) = ("\(namespace)/configmaps", "\(namespace)/secrets", "\(namespace)/pods")
    return [
      Route(.get, maps, .project(.read, .configMap), "Lists config maps.") { request, context in
        let page = try await objectPage(.configMap, in: try Self.namespace(context), request)
        return .json(
          Self.argoList(
            page.items.map { $0.rendered() }, kind: "ConfigMapList", apiVersion: "v1", next: page.next,
            revision: page.items.map(\.revision).max() ?? 0))
      },
      Route(.post, maps, .project(.create, .configMap), "Makes a config map.") { request, context in
        let caller = try context.signedIn()
        let project = try Self.namespace(context)
        let draft = try await configMap(request)
        let uid = WorkflowName.uuid(Self.identityBytes(request, caller, project))
        let object = try await services.objects.create(draft, in: project, uid: uid, as: caller.principal)
        return .json(object.rendered(), .created)
      },
      Route(.get, "\(maps)/:name", .project(.read, .configMap), "A config map.") { _, context in
        .json(
          try await services.objects.object(
            .configMap, try context.parameter("name"), in: try Self.namespace(context)
          ).rendered())
      },
      Route(.put, "\(maps)/:name", .project(.update, .configMap), "Replaces a config map.") { request, context in
        let draft = try await configMap(request, named: try context.parameter("name"))
        return .json(
          try await services.objects.update(
            draft, in: try Self.namespace(context), as: try context.signedIn().principal
          ).rendered())
      },
      Route(.patch, "\(maps)/:name", .project(.update, .configMap), "Changes a config map by a merge patch.") {
        try await patchConfigMap($0, $1)
      },
      Route(.delete, "\(maps)/:name", .project(.delete, .configMap), "Removes a config map.") { _, context in
        let name = try context.parameter("name")
        try await services.objects.remove(
          .configMap, name, in: try Self.namespace(context), as: try context.signedIn().principal)
        return .json(Self.success(name, "configmaps"))
      },
      Route(.get, secrets, .project(.read, .secret), "Lists secrets, without values.") { _, context in
        let rows = try await services.store.secrets(of: try Self.namespace(context))
        return .json(
          Self.argoList(rows.map(Self.secret), kind: "SecretList", apiVersion: "v1", next: nil, revision: 0))
      },
      Route(.post, secrets, .project(.update, .secret), "Makes a secret.") { try await putSecret($0, $1, nil) },
      Route(.get, "\(secrets)/:name", .project(.read, .secret), "A secret, without values.") { _, context in
        let name = try context.parameter("name")
        guard let row = try await services.store.secret(name, of: try Self.namespace(context)) else {
          throw FederationError(.notFound, "secrets \"\(name.prefix(80))\" not found")
        }
        return .json(Self.secret(row))
      },
      Route(.put, "\(secrets)/:name", .project(.update, .secret), "Replaces all values of a secret.") {
        try await putSecret($0, $1, try $1.parameter("name"))
      },
      Route(.delete, "\(secrets)/:name", .project(.delete, .secret), "Removes a secret.") { _, context in
        let name = try context.parameter("name")
        try await removeSecret(name, of: try Self.namespace(context), as: try context.signedIn())
        return .json(Self.success(name, "secrets"))
      },
      Route(.get, "\(pods)/:name", .project(.read, .workflow), "A task as a pod.") { _, context in
        .json(try await pod(context).rendered)
      },
      Route(.get, "\(pods)/:name/log", .project(.read, .workflow), "The output of a task.") {
        try await podLog($0, $1)
      },
    ]
  }

  private static func namespace(_ context: APIContext) throws -> ProjectName {
    ProjectName(try context.parameter("namespace"))
  }

  /// What Kubernetes answers to a deletion.
  private static func success(_ name: String, _ kind: String) -> JSONValue {
    [
      "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success",
      "details": ["name": .string(name), "kind": .string(kind)],
    ]
  }

  // MARK: Config maps

  private func configMap(_ request: Request, named name: String? = nil) async throws -> ObjectDraft {
    let bytes = try await request.bytes(limit: APIContext.sizeLimit)
    return try Self.configMap(try JSONBody.decode(JSONValue.self, from: bytes), named: name)
  }

  static func configMap(_ value: JSONValue, named name: String?) throws -> ObjectDraft {
    guard case .object(var object) = value, ["ConfigMap", nil].contains(object["kind"]?.stringValue) else {
      throw FederationError(.invalidArgument, "the body is a ConfigMap")
    }
    if let name {
      var metadata = object["metadata"]?.objectValue ?? [:]
      guard [name, nil].contains(metadata["name"]?.stringValue) else {
        throw FederationError(.invalidArgument, "the path names \(name), but metadata.name is another")
      }
      metadata["name"] = .string(name)
      object["metadata"] = .object(metadata)
    }
    return try ObjectDraft(configMap: .object(object), suffix: WorkflowName.suffix(randomBytes()))
  }

  /// - Source: RFC 7396. Kubernetes' strategic merge is the same for texts in maps.
  private func patchConfigMap(_ request: Request, _ context: APIContext) async throws -> Response {
    let patch = try JSONBody.decode(JSONValue.self, from: try await request.bytes(limit: APIContext.sizeLimit))
    guard patch.objectValue != nil else {
      throw FederationError(.invalidArgument, "the body is a merge patch: an object; JSON patches are not taken")
    }
    let changed = try await patchConfigMap(
      try context.parameter("name"), patch, in: try Self.namespace(context), as: try context.signedIn().principal)
    return .json(changed.rendered())
  }

  /// - Throws: `.notFound`; `.unavailable` when others change it all the time.
  func patchConfigMap(
    _ name: String, _ patch: JSONValue, in project: ProjectName, as author: Principal
  ) async throws -> StoredObject {
    for attempt in 0..<3 {
      let object = try await services.objects.object(.configMap, name, in: project)
      let value = try JSONDecoder().decode(JSONValue.self, from: Data(object.document.utf8))
      var draft = try Self.configMap(Self.merged(value, patch), named: name)
      let isConditional = draft.revision != nil
      draft.revision = draft.revision ?? object.revision
      do { return try await services.objects.update(draft, in: project, as: author) } catch let error
        as FederationError where error.code == .failedPrecondition && !isConditional && attempt < 2
      { continue }
    }
    throw FederationError(.unavailable, "config map \(name) is being changed by others; try again")
  }

  /// Depth is bounded by the decoder's.
  private static func merged(_ value: JSONValue, _ patch: JSONValue) -> JSONValue {
    guard case .object(let changes) = patch else { return patch }
    var members = value.objectValue ?? [:]
    for (key, change) in changes {
      if change == .null {
        members.removeValue(forKey: key)
      } else {
        members[key] = merged(members[key] ?? [:], change)
      }
    }
    return .object(members)
  }

  // MARK: Secrets

  private static func secret(_ row: SecretRow) -> JSONValue {
    [
      "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
      "metadata": [
        "name": .string(row.name), "namespace": .string(row.project.text),
        "creationTimestamp": .string(RFC3339.format(row.changedAt)),
        // Values are never shown (invariant I9); what they are called is.
        "annotations": ["fubini.dev/fields": .string(row.fields.joined(separator: " "))],
      ],
    ]
  }

  private struct SecretBody: Decodable {
    struct Metadata: Decodable { var name: String? }
    var metadata: Metadata?
    var stringData: [String: String]?
    var data: [String: String]?
  }

  private func putSecret(_ request: Request, _ context: APIContext, _ named: String?) async throws -> Response {
    // What cannot be read is not described: a description may quote it.
    let wrong = FederationError(
      .invalidArgument, "the body is a Secret with texts in stringData, or with texts as base64 in data")
    guard let body = try? await request.document(SecretBody.self) else { throw wrong }
    let project = try Self.namespace(context)
    guard let name = named ?? body.metadata?.name, body.metadata?.name ?? name == name else { throw wrong }
    var values: [String: String] = [:]
    for (key, text) in body.data ?? [:] {
      guard let bytes = Data(base64Encoded: text), let value = String(validating: bytes, as: UTF8.self) else {
        throw wrong
      }
      values[key] = value
    }
    for (key, text) in body.stringData ?? [:] { values[key] = text }
    if named == nil, try await services.store.secret(name, of: project) != nil {
      throw FederationError(.alreadyExists, "secrets \"\(name)\" already exists")
    }
    let caller = try context.signedIn()
    let row = try await services.secrets.set(
      name, of: project, to: values, by: caller.user, from: caller.address, at: .wallClock)
    return .json(Self.secret(row), named == nil ? .created : .ok)
  }

  // MARK: Pods

  private struct Pod {
    var workflow: WorkflowHead
    var node: NodeRecord
    var run: RunRow?
    var name: String
    var labels: [String: String]

    var rendered: JSONValue {
      let phase =
        switch node.phase {
        case .pending: "Pending"
        case .running: "Running"
        case .succeeded, .skipped, .omitted: "Succeeded"
        case .failed, .error: "Failed"
        }
      var status: [String: JSONValue] = ["phase": .string(phase), "message": .string(node.message)]
      if let started = node.startedAt { status["startTime"] = .string(RFC3339.format(started)) }
      return [
        "apiVersion": "v1", "kind": "Pod",
        "metadata": [
          "name": .string(name), "namespace": .string(workflow.project.text),
          "labels": .object(labels.mapValues { .string($0) }),
          "annotations": ["workflows.argoproj.io/node-name": .string(node.name)],
        ],
        "spec": [
          "containers": [["name": "main"]], "nodeName": .string(run?.cluster.text ?? ""),
        ], "status": .object(status),
      ]
    }
  }

  private func pod(_ context: APIContext) async throws -> Pod {
    let (name, project) = (try context.parameter("name"), try Self.namespace(context))
    for head in try await services.store.workflowHeads(ofPod: name, in: project) {
      guard let loaded = try await services.store.workflow(uid: head.uid),
        let node = loaded.nodes.first(where: { $0.isPod(name, of: head.name) })
      else { continue }
      let run = try await services.store.latestRuns(of: [node.id], in: head.id)[node.id]
      return Pod(
        workflow: head, node: node, run: run, name: name, labels: PodLabels(loaded.row).labels(of: node))
    }
    throw FederationError(.notFound, "pods \"\(name.prefix(253))\" not found")
  }

  private func podLog(_ request: Request, _ context: APIContext) async throws -> Response {
    let pod = try await pod(context)
    let options = try ArgoLogOptions(request, podName: pod.name, prefix: "")
    guard let run = pod.run else {
      throw FederationError(.invalidArgument, "container \"main\" in pod \"\(pod.name)\" is waiting to start")
    }
    // What is asked line by line; else the bytes are handed on as they are.
    if options.since != nil || options.showsTimes || options.isPrevious || options.bytesMax != nil {
      guard let loaded = try await services.store.workflow(uid: pod.workflow.uid) else {
        throw FederationError(.notFound, "pods \"\(pod.name)\" not found")
      }
      return Response(
        status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
        body: ResponseBody { writer in
          var writer = writer
          try await logLines(loaded, options) {
          } send: { line in
            try await writer.write(ByteBuffer(string: line.content + "\n"))
          }
          try await writer.finish(nil)
        })
    }
    let source = LogSource(services: services, run: run.id, isFollowing: options.isFollowing)
    return Response(
      status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
      body: ResponseBody { writer in
        try services.changes.enter()
        defer { services.changes.leave() }
        let start = try await options.tailLines.asyncMap { try await source.beginning(ofLast: $0) } ?? 0
        _ = try await source.read(from: start) {
          try await writer.write(ByteBuffer(bytes: $0.bytes))
        } idle: {
        }
        try await writer.finish(nil)
      })
  }
}

extension Optional {
  fileprivate func asyncMap<Value>(_ body: (Wrapped) async throws -> Value) async rethrows -> Value? {
    guard let self else { return nil }
    return try await body(self)
  }
}
