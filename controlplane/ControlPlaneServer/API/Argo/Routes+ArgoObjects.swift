import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import WorkflowCore

/// Templates and cron workflows in Argo's shape.
///
/// - Source: Argo Workflows v3.7, `api/openapi-spec/swagger.json`.
extension APIServer {
  /// One kind's routes.
  private struct ArgoCollection: Sendable {
    var kind: StoredObjectKind
    var path: String
    /// Where the object stands in the bodies of requests.
    var field: String
    var words: String

    func access(_ verb: AccessVerb) -> Route.Access {
      guard kind.isFederal else { return .project(verb, kind.resource) }
      return verb == .read ? .anywhere(verb, kind.resource) : .federation(verb, kind.resource)
    }
  }

  var argoObjectRoutes: [Route] {
    let collections = [
      ArgoCollection(
        kind: .workflowTemplate, path: "/api/v1/workflow-templates/:namespace", field: "template",
        words: "workflow template"),
      ArgoCollection(
        kind: .clusterWorkflowTemplate, path: "/api/v1/cluster-workflow-templates", field: "template",
        words: "workflow template of the federation"),
      ArgoCollection(
        kind: .cronWorkflow, path: "/api/v1/cron-workflows/:namespace", field: "cronWorkflow", words: "cron workflow"),
    ]
    let suspensions = ["suspend", "resume"].map { verb in
      Route(
        .put, "/api/v1/cron-workflows/:namespace/:name/\(verb)", .project(.update, .cronWorkflow),
        "\(verb.capitalized)s a cron workflow."
      ) { request, context in
        let project = ProjectName(try context.parameter("namespace"))
        let object = try await suspendCron(
          try context.parameter("name"), in: project, verb == "suspend", as: try context.signedIn().principal)
        return .json(try await shown(object))
      }
    }
    return collections.flatMap(routes) + suspensions
  }

  private func routes(of collection: ArgoCollection) -> [Route] {
    let (path, words) = (collection.path, collection.words)
    return [
      Route(.post, path, collection.access(.create), "Makes a \(words).") {
        try await argoCreate(collection, $0, $1)
      },
      Route(.post, "\(path)/lint", collection.access(.read), "Checks a \(words) without storing it.") {
        try await argoLint(collection, $0, $1)
      },
      Route(.get, path, collection.access(.read), "Lists \(words)s.") { try await argoList(collection, $0, $1) },
      Route(.get, "\(path)/:name", collection.access(.read), "A \(words).") { request, context in
        let object = try await services.objects.object(
          collection.kind, try context.parameter("name"), in: try Self.place(context))
        return .json(try ArgoFields(request.query("fields")).apply(try await shown(object)))
      },
      Route(.put, "\(path)/:name", collection.access(.update), "Replaces a \(words).") {
        try await argoUpdate(collection, $0, $1)
      },
      Route(.delete, "\(path)/:name", collection.access(.delete), "Removes a \(words).") { request, context in
        try await services.objects.remove(
          collection.kind, try context.parameter("name"), in: try Self.place(context),
          uid: request.query("deleteOptions.preconditions.uid"), as: try context.signedIn().principal)
        return .json([:])
      },
    ]
  }

  /// The project that the path names; empty for the federation.
  private static func place(_ context: APIContext) throws -> ProjectName {
    context.parameters.get("namespace") == nil ? "" : ProjectName(try context.parameter("namespace"))
  }

  /// As Argo shows it, with what the leader has noted of a cron workflow.
  func shown(_ object: StoredObject) async throws -> JSONValue {
    guard object.kind == .cronWorkflow else { return object.rendered() }
    return object.rendered(status: try await services.store.cronState(object.uid)?.rendered(in: object.project))
  }

  // MARK: Bodies

  private struct ObjectRequest {
    var draft: ObjectDraft
    var isDryRun: Bool
  }

  private func argoRequest(
    _ collection: ArgoCollection, _ request: Request, named name: String? = nil
  ) async throws -> ObjectRequest {
    let bytes = try await request.bytes(limit: APIContext.sizeLimit)
    try JSONBody.refuseNUL(in: bytes)
    guard let body = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes)), body.objectValue != nil,
      case .object(var document)? = body[collection.field]
    else {
      throw FederationError(
        .invalidArgument, "the body is a JSON object with the \(collection.kind.word) in its field \(collection.field)")
    }
    // Typed clients leave out what their own types say already.
    document["apiVersion"] = document["apiVersion"] ?? .string(collection.kind.apiVersion)
    document["kind"] = document["kind"] ?? .string(collection.kind.rawValue)
    if let name {
      var metadata = document["metadata"]?.objectValue ?? [:]
      metadata["name"] = metadata["name"] ?? .string(name)
      document["metadata"] = .object(metadata)
    }
    guard let kind = ArgoKind(rawValue: collection.kind.rawValue) else {
      throw FederationError(.internal, "\(collection.kind) is no kind of Argo's")
    }
    let read = try ArgoDocument.decode(
      Array(JSONValue.object(document).description.utf8), format: .json, strict: request.query("strict") != "false",
      kinds: [kind])
    guard let draft = try ObjectDraft(read, suffix: WorkflowName.suffix(Self.randomBytes())) else {
      throw FederationError(.internal, "a workflow was read as a \(collection.kind.word)")
    }
    if let name, draft.name != name {
      throw FederationError(.invalidArgument, "the path names \(name), but metadata.name is \(draft.name)")
    }
    let options = body["createOptions"]?["dryRun"]?.arrayValue ?? []
    return ObjectRequest(draft: draft, isDryRun: !options.isEmpty)
  }

  // MARK: Acting

  private func argoCreate(
    _ collection: ArgoCollection, _ request: Request, _ context: APIContext
  ) async throws -> Response {
    let caller = try context.signedIn()
    let project = try Self.place(context)
    let body = try await argoRequest(collection, request)
    let uid = WorkflowName.uuid(Self.identityBytes(request, caller, project))
    if body.isDryRun { return try await argoDryRun(body.draft, project, uid) }
    let object = try await services.objects.create(body.draft, in: project, uid: uid, as: caller.principal)
    return .json(try await shown(object))
  }

  private func argoLint(
    _ collection: ArgoCollection, _ request: Request, _ context: APIContext
  ) async throws -> Response {
    try await argoDryRun(try await argoRequest(collection, request).draft, try Self.place(context), "")
  }

  private func argoDryRun(_ draft: ObjectDraft, _ project: ProjectName, _ uid: String) async throws -> Response {
    try await services.objects.check(draft, in: project)
    return .json(
      StoredObject(
        kind: draft.kind, project: project, name: draft.name, uid: uid, labels: draft.labels,
        document: draft.document, createdAt: .wallClock, createdBy: ""
      ).rendered())
  }

  private func argoUpdate(
    _ collection: ArgoCollection, _ request: Request, _ context: APIContext
  ) async throws -> Response {
    let project = try Self.place(context)
    let body = try await argoRequest(collection, request, named: try context.parameter("name"))
    let object = try await services.objects.update(body.draft, in: project, as: try context.signedIn().principal)
    return .json(try await shown(object))
  }

  private func argoList(
    _ collection: ArgoCollection, _ request: Request, _ context: APIContext
  ) async throws -> Response {
    let project = try Self.place(context)
    let fields = try ArgoFields(request.query("fields"))
    let page = try await objectPage(collection.kind, in: project, request)
    var items: [JSONValue] = []
    for object in page.items { items.append(try await shown(object)) }
    return .json(
      fields.apply(
        Self.argoList(
          items, kind: "\(collection.kind.rawValue)List", apiVersion: collection.kind.apiVersion, next: page.next,
          revision: page.items.map(\.revision).max() ?? 0)))
  }

  static func argoList(
    _ items: [JSONValue], kind: String, apiVersion: String, next: String?, revision: Int64
  ) -> JSONValue {
    var metadata: [String: JSONValue] = ["resourceVersion": .string(String(revision))]
    if let next { metadata["continue"] = .string(next) }
    return [
      "apiVersion": .string(apiVersion), "kind": .string(kind), "metadata": .object(metadata), "items": .array(items),
    ]
  }

  /// A page of a list by Argo's (`listOptions.limit`) or Kubernetes' (`limit`) parameters.
  func objectPage(
    _ kind: StoredObjectKind, in project: ProjectName, _ request: Request
  ) async throws -> (items: [StoredObject], next: String?) {
    func option(_ name: String) -> String? { request.query("listOptions.\(name)") ?? request.query(name) }
    let conditions = try LabelCondition.selector(option("labelSelector") ?? "")
    let name = try ArgoSelector(fields: option("fieldSelector") ?? "").onlyName()
    let limit = try Self.argoLimit(option("limit"))
    let isPrefix = request.query("nameFilter") == "Prefix"
    guard ["", "Exact", "Prefix"].contains(request.query("nameFilter") ?? "") else {
      throw FederationError(.invalidArgument, "nameFilter is Exact or Prefix")
    }
    if let name, !isPrefix {
      let object = try await services.store.object(kind, name, in: project)
      return (
        [object].compactMap { $0 }.filter { object in conditions.allSatisfy { $0.holds(for: object.labels) } }, nil
      )
    }
    let items = try await services.store.objects(
      kind, in: project, where: conditions, prefix: name ?? "", after: option("continue") ?? "", limit: limit)
    return (items, items.count == limit ? items.last?.name : nil)
  }

  // MARK: Cron workflows

  func suspendCron(
    _ name: String, in project: ProjectName, _ isSuspended: Bool, as author: Principal
  ) async throws -> StoredObject {
    // Its author may change it between the reading and the writing: then it is read again.
    for _ in 0..<3 {
      let object = try await services.objects.object(.cronWorkflow, name, in: project)
      let definition = try CronWorkflowDefinition(json: object.document)
      guard definition.spec.isSuspended != isSuspended else { return object }
      let changed = try definition.suspended(isSuspended)
      do {
        return try await services.store.replace(
          .cronWorkflow, name, in: project, labels: object.labels, document: changed.canonicalJSON,
          revision: object.revision, uid: object.uid, by: author.user, from: author.address, at: .wallClock)
      } catch ObjectRefusal.stale { continue }
    }
    throw FederationError(
      .unavailable, "cron workflow \(name) is being changed by others; try again", retryAfter: .seconds(1))
  }

  // MARK: Identities

  static func randomBytes() -> [UInt8] {
    var random = SystemRandomNumberGenerator()
    return (0..<16).map { _ in UInt8.random(in: .min ... .max, using: &random) }
  }
}
