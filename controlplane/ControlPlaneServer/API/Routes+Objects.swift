import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import WorkflowCore

/// Templates, cron workflows and config maps in our own shape, and documents of several kinds together.
extension APIServer {
  private static func path(_ kind: StoredObjectKind) -> String {
    switch kind {
    case .workflowTemplate: "/v1/projects/:p/templates"
    case .clusterWorkflowTemplate: "/v1/cluster-templates"
    case .cronWorkflow: "/v1/projects/:p/cron-workflows"
    case .configMap: "/v1/projects/:p/config-maps"
    }
  }

  var objectRoutes: [Route] {
    let cron = Self.path(.cronWorkflow)
    let suspensions = ["suspend", "resume"].map { verb in
      Route(.post, "\(cron)/:name/\(verb)", .project(.update, .cronWorkflow), "\(verb.capitalized)s a cron workflow.") {
        _, context in
        let object = try await suspendCron(
          try context.parameter("name"), in: ProjectName(try context.parameter("p")), verb == "suspend",
          as: try context.signedIn().principal)
        return try .json(try await document(object))
      }
    }
    return StoredObjectKind.allCases.flatMap(routes) + suspensions + [
      Route(
        .put, "\(Self.path(.configMap))/:name", .project(.update, .configMap), "Sets all values of a config map."
      ) { try await setConfigMap($0, $1) },
      Route(
        .post, "/v1/documents", .anywhere(.read, .clusterTemplate),
        "Applies documents of several kinds; each needs what its kind needs."
      ) { try await applyDocuments($0, $1) },
    ]
  }

  private func routes(of kind: StoredObjectKind) -> [Route] {
    let path = Self.path(kind)
    let reading: Route.Access = kind.isFederal ? .anywhere(.read, kind.resource) : .project(.read, kind.resource)
    let deleting: Route.Access = kind.isFederal ? .federation(.delete, kind.resource) : .project(.delete, kind.resource)
    return [
      Route(.get, path, reading, "Lists \(kind.word)s, by name.") { request, context in
        let page = try await objectPage(kind, in: try Self.project(context), request)
        var items: [StoredDocument] = []
        for object in page.items { items.append(try await document(object, isWhole: false)) }
        return try .json(StoredDocumentList(items: items, next: page.next))
      },
      Route(.get, "\(path)/:name", reading, "A \(kind.word).") { _, context in
        let object = try await services.objects.object(
          kind, try context.parameter("name"), in: try Self.project(context))
        return try .json(try await document(object))
      },
      Route(.delete, "\(path)/:name", deleting, "Removes a \(kind.word).") { request, context in
        let name = try context.parameter("name")
        let project = try Self.project(context)
        try await services.objects.remove(
          kind, name, in: project, uid: request.query("uid"), as: try context.signedIn().principal)
        return try .json(AcceptedDocument(name: name, project: kind.isFederal ? nil : project.text))
      },
    ]
  }

  /// Empty for the federation.
  private static func project(_ context: APIContext) throws -> ProjectName {
    context.parameters.get("p") == nil ? "" : ProjectName(try context.parameter("p"))
  }

  /// - Parameter isWhole: with what its author wrote.
  func document(_ object: StoredObject, isWhole: Bool = true) async throws -> StoredDocument {
    let written = isWhole ? object.rendered() : nil
    guard object.kind == .cronWorkflow else { return StoredDocument(object, document: written) }
    return StoredDocument(object, document: written, cron: try await cron(object))
  }

  private func setConfigMap(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let project = ProjectName(try context.parameter("p"))
    let body = try await request.document(ConfigMapRequest.self)
    var metadata: [String: JSONValue] = ["name": .string(try context.parameter("name"))]
    if let labels = body.labels { metadata["labels"] = .object(labels.mapValues { .string($0) }) }
    if let version = body.resourceVersion { metadata["resourceVersion"] = .string(version) }
    let draft = try ObjectDraft(
      configMap: [
        "metadata": .object(metadata), "data": .object(body.data.mapValues { .string($0) }),
      ], suffix: "")
    let (object, _) = try await services.objects.apply(
      draft, in: project, uid: WorkflowName.uuid(Self.identityBytes(request, caller, project)), as: caller.principal)
    return try .json(try await document(object))
  }

  // MARK: Several documents

  /// Something that was sent with others.
  private enum Sent {
    case object(ObjectDraft, ProjectName)
    case workflow(WorkflowDefinition, ProjectName)
  }

  /// Stores what is to be stored in the order of the text, templates first because the others may need them, and then submits the
  /// workflows. Everything is read and authorised before anything is done; what was done stays when a later one is refused.
  private func applyDocuments(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let bytes = try await request.bytes(limit: APIContext.sizeLimit)
    let isStrict = request.query("strict") != "false"
    let isDryRun = request.query("dryRun") == "true"
    let stream = try await services.submissions.run(for: try Self.submitter(request, context)) {
      try DocumentStream(bytes, strict: isStrict)
    }
    try Self.check(stream, kinds: request.query("kinds"))
    let sent = try sent(stream, request, caller, mayReplace: request.query("create") != "true")
    var applied: [AppliedDocument] = []
    var known: [WorkflowTemplateDefinition] = []
    for case .object(let draft, _) in sent {
      if case .template(let definition) = draft.content { known.append(definition) }
    }
    for (index, item) in sent.enumerated() {
      guard case .object(let draft, let project) = item else { continue }
      applied.append(
        try await apply(
          draft, in: project, beside: known, isDryRun: isDryRun, mayReplace: request.query("create") != "true",
          number: index, request, caller))
    }
    for (index, item) in sent.enumerated() {
      guard case .workflow(let definition, let project) = item else { continue }
      applied.append(
        try await submit(definition, in: project, beside: known, isDryRun: isDryRun, number: index, request, caller))
    }
    return try .json(AppliedList(items: applied))
  }

  /// - Parameter kinds: those that are expected, separated by commas; nil: all.
  private static func check(_ stream: DocumentStream, kinds: String?) throws {
    guard let kinds = kinds?.split(separator: ",").map(String.init), !kinds.isEmpty else { return }
    let found = stream.documents.map(\.kind.rawValue) + stream.configMaps.map { _ in "ConfigMap" }
    guard let other = found.first(where: { !kinds.contains($0) }) else { return }
    throw FederationError(
      .invalidArgument, "only documents of kind \(kinds.joined(separator: ", ")) are taken here, not \(other)")
  }

  private func sent(
    _ stream: DocumentStream, _ request: Request, _ caller: Caller, mayReplace: Bool
  ) throws -> [Sent] {
    func project(_ namespace: String?) -> ProjectName {
      ProjectName(request.query("project") ?? namespace ?? caller.project?.text ?? "default")
    }
    func require(_ kind: StoredObjectKind, _ place: ProjectName) throws {
      for verb in mayReplace ? [AccessVerb.create, .update] : [.create] {
        if kind.isFederal {
          try Authorisation.admit(.federation(verb, kind.resource), in: nil, nil, caller)
        } else {
          try Authorisation.require(Permission(verb, kind.resource), in: place, caller)
        }
      }
    }
    var sent: [Sent] = []
    for value in stream.configMaps {
      let draft = try ObjectDraft(configMap: value, suffix: WorkflowName.suffix(Self.randomBytes()))
      let place = project(draft.namespace)
      try require(.configMap, place)
      sent.append(.object(draft, place))
    }
    for document in stream.documents {
      let place = project(document.metadata.namespace)
      if case .workflow(let definition) = document {
        try Authorisation.require(Permission(.create, .workflow), in: place, caller)
        sent.append(.workflow(definition, place))
      } else if let draft = try ObjectDraft(document, suffix: WorkflowName.suffix(Self.randomBytes())) {
        try require(draft.kind, place)
        sent.append(.object(draft, place))
      }
    }
    guard !sent.isEmpty else { throw FederationError(.invalidArgument, "the text holds no document") }
    // A cron workflow may take a template of the same text.
    func rank(_ item: Sent) -> Int {
      if case .object(let draft, _) = item, draft.kind != .cronWorkflow { 0 } else { 1 }
    }
    return sent.filter { rank($0) == 0 } + sent.filter { rank($0) == 1 }
  }

  /// Of several new ones in one request, each has a UID of its own.
  private static func identity(
    _ request: Request, _ caller: Caller, _ project: ProjectName, _ number: Int
  ) -> [UInt8] {
    var bytes = identityBytes(request, caller, project)
    bytes[0] ^= UInt8(truncatingIfNeeded: number)
    return bytes
  }

  private func apply(
    _ draft: ObjectDraft, in project: ProjectName, beside known: [WorkflowTemplateDefinition], isDryRun: Bool,
    mayReplace: Bool, number: Int, _ request: Request, _ caller: Caller
  ) async throws -> AppliedDocument {
    let place = draft.kind.isFederal ? nil : project.text
    let objects = services.objects
    guard !isDryRun else {
      try await objects.check(draft, in: project, beside: known)
      return AppliedDocument(kind: draft.kind.rawValue, project: place, name: draft.name, uid: "", outcome: .valid)
    }
    let uid = WorkflowName.uuid(Self.identity(request, caller, project, number))
    let before = try await objects.store.object(draft.kind, draft.name, in: project)
    let (object, isNew) =
      mayReplace
      ? try await objects.apply(draft, in: project, uid: uid, as: caller.principal, beside: known)
      : (try await objects.create(draft, in: project, uid: uid, as: caller.principal, beside: known), true)
    return AppliedDocument(
      kind: draft.kind.rawValue, project: place, name: object.name, uid: object.uid,
      outcome: isNew ? .created : object.revision == before?.revision ? .unchanged : .changed)
  }

  private func submit(
    _ sent: WorkflowDefinition, in project: ProjectName, beside known: [WorkflowTemplateDefinition], isDryRun: Bool,
    number: Int, _ request: Request, _ caller: Caller
  ) async throws -> AppliedDocument {
    let kind = ArgoKind.workflow.rawValue
    let definition = try await services.objects.resolved(sent, in: project, beside: isDryRun ? known : [])
    let bytes = Self.identity(request, caller, project, number)
    let (name, uid) = try await identity(of: definition, SubmitRequest(document: ""), project, bytes)
    guard !isDryRun else {
      return AppliedDocument(kind: kind, project: project.text, name: name, uid: "", outcome: .valid)
    }
    let command = try await services.submissions.run(for: "project \(project)") {
      Command.submit(Submission(definition: definition, project: project, name: name, uid: uid))
    }
    var key = try Self.idempotency(request, Array(definition.canonicalJSON.utf8), project)
    // One key is one submission's; of several in one request each has its own.
    if let whole = key {
      key = IdempotencyKey(key: String("\(number).\(whole.key)".prefix(128)), requestHash: whole.requestHash)
    }
    guard
      case .submitted(_, let accepted, let acceptedUID) = try await services.commands.perform(
        command, as: caller.principal, idempotency: key)
    else { throw FederationError(.internal, "the submission was answered with something else") }
    return AppliedDocument(
      kind: kind, project: project.text, name: accepted, uid: acceptedUID, outcome: .submitted)
  }

  /// When a cron workflow runs, and what became of it.
  func cron(_ object: StoredObject) async throws -> CronDocument? {
    guard let spec = try? CronWorkflowDefinition(json: object.document).spec else { return nil }
    var cron = CronDocument(schedules: spec.schedules, timezone: spec.timezone, isSuspended: spec.isSuspended)
    let state = try await services.store.cronState(object.uid)
    if let state {
      cron.isStopped = state.isStopped
      cron.lastScheduledAt = state.lastScheduledAt.map { WireTime($0) }
      (cron.succeeded, cron.failed) = (state.succeeded, state.failed)
      cron.active = state.active.map(\.name)
      cron.message = state.condition.map { "\($0.type): \($0.message)" } ?? ""
    }
    if !cron.isSuspended, !cron.isStopped {
      cron.nextAt = try? CronPlan(spec).next(
        after: .wallClock, countingFrom: state?.scheduledSince ?? object.createdAt
      ).map { WireTime($0) }
    }
    return cron
  }
}
