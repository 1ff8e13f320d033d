import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import WorkflowCore

/// The API in Argo's shape, for Hera, pydflow and the `argo` command.
///
/// - Source: Argo Workflows v3.7, `api/openapi-spec/swagger.json`.
extension APIServer {
  var argoRoutes: [Route] {
    let workflows = "/api/v1/workflows/:namespace"
    let actions = ["suspend", "resume", "stop", "terminate", "retry"].map { verb in
      Route(.put, "\(workflows)/:name/\(verb)", .project(.update, .workflow), "\(verb.capitalized)s a workflow.") {
        request, context in
        try await argoAct(verb, request, context)
      }
    }
    return [
      Route(.post, workflows, .project(.create, .workflow), "Submits a workflow.") { try await argoCreate($0, $1) },
      Route(.post, "\(workflows)/lint", .project(.read, .workflow), "Checks a workflow without storing it.") {
        try await argoLint($0, $1)
      },
      Route(.get, workflows, .project(.read, .workflow), "Lists a namespace's workflows.") {
        try await argoList($0, $1)
      },
      Route(.get, "\(workflows)/:name", .project(.read, .workflow), "A workflow.") { try await argoGet($0, $1) },
      Route(.delete, "\(workflows)/:name", .project(.delete, .workflow), "Ends a workflow if it runs, and removes it.")
      {
        try await argoDelete($0, $1)
      },
      Route(
        .get, "\(workflows)/:name/log", .project(.read, .workflow), "The output of a workflow's tasks, as a stream."
      ) {
        try await argoLogs($0, $1)
      },
      Route(
        .get, "\(workflows)/:name/:pod/log", .project(.read, .workflow), "The output of one task, as a stream."
      ) {
        try await argoLogs($0, $1)
      },
      Route(
        .get, "/api/v1/stream/events/:namespace", .project(.read, .workflow),
        "Events of a namespace's workflows, as a stream."
      ) {
        try await argoEvents($0, $1)
      },
      Route(
        .get, "/api/v1/workflow-events/:namespace", .project(.read, .workflow), "Changes of workflows, as a stream."
      ) {
        try await argoWatch($0, $1)
      },
      Route(.get, "/api/v1/info", .authenticated, "What the server offers.") { _, _ in
        .json(["managedNamespace": "", "links": [], "columns": [], "navColor": "", "modals": [:]])
      },
      Route(.get, "/api/v1/version", .authenticated, "The server's version.") { _, _ in .json(Self.argoVersion) },
      Route(.get, "/api/v1/userinfo", .authenticated, "Who the token speaks for.") { _, context in
        let caller = try context.signedIn()
        return .json([
          "subject": .string(caller.user), "name": .string(caller.user), "issuer": "fubini",
          "groups": caller.rights.federation.contains(.orgAdmin) ? ["admin"] : [],
        ])
      },
    ] + actions
  }

  /// Argo's clients require every one of these fields.
  private static var argoVersion: JSONValue {
    #if arch(arm64)
      let platform = "linux/arm64"
    #else
      let platform = "linux/amd64"
    #endif
    return [
      "version": .string("v\(ProductVersion.current)"), "buildDate": "1970-01-01T00:00:00Z", "gitCommit": "",
      "gitTag": "",
      "gitTreeState": "", "goVersion": "", "compiler": "swift", "platform": .string(platform),
    ]
  }

  // MARK: Submitting

  /// The parts of Argo's `WorkflowCreateRequest` and `WorkflowLintRequest` that are obeyed.
  private struct CreateRequest: Decodable {
    struct Options: Decodable { var dryRun: [String]? }
    var workflow: JSONValue?
    var serverDryRun: Bool?
    var createOptions: Options?
    var isDryRun: Bool { serverDryRun == true || createOptions?.dryRun?.isEmpty == false }
  }

  private func argoCreate(_ request: Request, _ context: APIContext) async throws -> Response {
    let request = try await request.received()
    return try await services.flights.run(for: try Self.submitter(request, context)) {
      try await argoCreate(taken: request, context)
    }
  }

  private func argoCreate(taken request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let project = ProjectName(try context.parameter("namespace"))
    let bytes = try await request.bytes()
    let (definition, isDryRun) = try await services.submissions.run(for: "project \(project)") {
      try Self.argoDefinition(bytes, project, request)
    }
    return try await argoAccept(
      definition, SubmitRequest(document: ""), in: project, isDryRun: isDryRun, bytes, request, caller)
  }

  private func argoLint(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("namespace"))
    let (sent, _) = try Self.argoDefinition(try await request.bytes(), project, request)
    let definition = try await services.objects.resolved(sent, in: project)
    let name = definition.metadata.name ?? (definition.metadata.generateName ?? "workflow-") + "lint"
    return try Self.argoDryRun(definition, project, name: name, uid: "")
  }

  static func argoDryRun(
    _ definition: WorkflowDefinition, _ project: ProjectName, name: String, uid: String
  ) throws -> Response {
    let identity = WorkflowIdentity(name: name, uid: uid, project: project, createdAt: .wallClock)
    return .json(ArgoStatus.render(try WorkflowMachine(definition: definition, identity: identity)))
  }

  /// - Throws: `DocumentErrors` of the workflow inside the request; their lines are those of the workflow printed by itself.
  private static func argoDefinition(
    _ bytes: [UInt8], _ project: ProjectName, _ request: Request
  ) throws -> (definition: WorkflowDefinition, isDryRun: Bool) {
    try JSONBody.refuseNUL(in: bytes)
    let body: CreateRequest
    do { body = try JSONDecoder().decode(CreateRequest.self, from: Data(bytes)) } catch {
      throw FederationError(
        .invalidArgument, "the body is a JSON object with the workflow in its field workflow", cause: error)
    }
    guard case .object(var document)? = body.workflow else {
      throw FederationError(.invalidArgument, "the request has no workflow")
    }
    // Typed clients leave out what their own types say already.
    document["apiVersion"] = document["apiVersion"] ?? "argoproj.io/v1alpha1"
    document["kind"] = document["kind"] ?? "Workflow"
    document["status"] = nil
    let definition = try WorkflowDefinition.decode(
      Array(JSONValue.object(document).description.utf8), format: .json, strict: request.query("strict") != "false")
    if let namespace = definition.metadata.namespace, namespace != project.text {
      throw FederationError(
        .invalidArgument, "the workflow's metadata.namespace is \(namespace), but it was sent to namespace \(project)")
    }
    return (definition, body.isDryRun)
  }

  // MARK: Reading

  private func argoGet(_ request: Request, _ context: APIContext) async throws -> Response {
    let sequence = try await services.store.position().sequence
    return try await argoShow(try await argoLoaded(context), sequence, request)
  }

  /// The workflow that the path names, whole.
  func argoLoaded(_ context: APIContext) async throws -> LoadedWorkflow {
    let head = try await workflow(context)
    guard let loaded = try await services.store.workflow(uid: head.uid) else {
      throw FederationError(.notFound, "there is no workflow \(head.name) in namespace \(head.project)")
    }
    return loaded
  }

  func argoShow(_ reference: WorkflowReference, _ request: Request) async throws -> Response {
    let sequence = try await services.store.position().sequence
    guard let loaded = try await services.store.workflow(reference) else {
      throw FederationError(.notFound, "there is no workflow \(reference.name) in namespace \(reference.project)")
    }
    return try await argoShow(loaded, sequence, request)
  }

  private func argoShow(_ loaded: LoadedWorkflow, _ sequence: Int64, _ request: Request) async throws -> Response {
    let fields = try ArgoFields(request.query("fields"))
    return .json(fields.apply(try await argoObject(loaded, sequence)))
  }

  func argoObject(_ loaded: LoadedWorkflow, _ sequence: Int64) async throws -> JSONValue {
    var messages: [Int32: String] = [:]
    if !loaded.row.status.phase.isTerminal {
      let waiting = loaded.nodes.filter { $0.phase == .pending && !$0.isSuperseded }
      let view = try await nodesView(WorkflowHead(loaded.row), waiting, withChildren: false)
      for record in waiting { messages[record.id.ordinal] = view.message(of: record) }
    }
    return try ArgoObject.workflow(loaded, pendingMessages: messages, resourceVersion: sequence)
  }

  private func argoList(_ request: Request, _ context: APIContext) async throws -> Response {
    try await argoPage(try ArgoListQuery(request, in: ProjectName(try context.parameter("namespace"))))
  }

  /// Argo's clients take no limit, or 0, for everything. They get as much as one page holds, and a `continue`, as Kubernetes may do, too.
  static func argoLimit(_ text: String?) throws -> Int {
    guard let text, !text.isEmpty, text != "0" else { return 500 }
    guard let limit = Int(text), limit > 0 else {
      throw FederationError(.invalidArgument, "listOptions.limit is a positive number, not \"\(text.prefix(20))\"")
    }
    return min(limit, 500)
  }

  // MARK: Acting

  /// The bodies of Argo's action requests.
  private struct ActionRequest: Decodable {
    var nodeFieldSelector: String?
    var message: String?
    var restartSuccessful: Bool?
    var parameters: [String]?
  }

  private func argoAct(_ verb: String, _ request: Request, _ context: APIContext) async throws -> Response {
    try await argoAct(verb, on: try await workflow(context).reference, request, context)
  }

  func argoAct(
    _ verb: String, on reference: WorkflowReference, _ request: Request, _ context: APIContext
  ) async throws -> Response {
    let caller = try context.signedIn()
    let bytes = try await request.bytes()
    var body = ActionRequest()
    if !bytes.isEmpty {
      try JSONBody.refuseNUL(in: bytes)
      do { body = try JSONDecoder().decode(ActionRequest.self, from: Data(bytes)) } catch {
        throw FederationError(.invalidArgument, "the body is not a request of \(verb)", cause: error)
      }
    }
    let command = try Self.argoCommand(verb, body)
    _ = try await services.commands.perform(
      .workflow(reference, command), as: caller.principal, idempotency: try Self.idempotency(request, bytes)
    )
    return try await argoShow(reference, request)
  }

  private static func argoCommand(_ verb: String, _ body: ActionRequest) throws -> WorkflowCommand {
    try WorkflowCommand(
      verb: verb,
      WorkflowActionRequest(
        message: body.message, nodeFieldSelector: body.nodeFieldSelector,
        parameters: verb == "retry" ? try values(body.parameters ?? []) : nil,
        restartSuccessful: body.restartSuccessful))
  }

  private func argoDelete(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    _ = try await services.commands.perform(
      .workflow(try await workflow(context).reference, .delete), as: caller.principal,
      idempotency: try Self.idempotency(request, []))
    return .json([:])
  }
}

extension Request {
  func argoSelector() throws -> ArgoSelector {
    try ArgoSelector(labels: query("listOptions.labelSelector") ?? "", fields: query("listOptions.fieldSelector") ?? "")
  }
}
