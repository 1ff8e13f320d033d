import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import WorkflowCore

/// Workflows that are made of what is stored: of templates, of cron workflows, of other workflows.
extension APIServer {
  var argoSubmitRoutes: [Route] {
    let workflows = "/api/v1/workflows/:namespace"
    return [
      Route(
        .post, "\(workflows)/submit", .project(.create, .workflow),
        "Submits a workflow of a template or a cron workflow."
      ) { try await argoSubmit($0, $1) },
      Route(
        .put, "\(workflows)/:name/resubmit", .project(.create, .workflow), "Submits a workflow anew, under a new name."
      ) { request, context in
        let caller = try context.signedIn()
        let project = ProjectName(try context.parameter("namespace"))
        return try await argoResubmit(try await argoLoaded(context), in: project, request, caller)
      },
      Route(.put, "\(workflows)/:name/set", .project(.update, .workflow), "Sets outputs of nodes that wait.") {
        try await argoSet($0, $1)
      },
    ]
  }

  // MARK: From templates

  /// Argo's `WorkflowSubmitRequest`, as far as it means something here.
  private struct SubmitBody: Decodable {
    struct Options: Decodable {
      var name: String?
      var generateName: String?
      var entryPoint: String?
      var parameters: [String]?
      var labels: String?
      var annotations: String?
      var dryRun: Bool?
      var serverDryRun: Bool?
    }
    var resourceKind: String?
    var resourceName: String?
    var submitOptions: Options?
  }

  private func argoSubmit(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let project = ProjectName(try context.parameter("namespace"))
    let bytes = try await request.bytes()
    let body = try JSONBody.decode(SubmitBody.self, from: bytes)
    guard let kind = body.resourceKind.flatMap(Self.kind), let source = body.resourceName, !source.isEmpty else {
      throw FederationError(
        .invalidArgument,
        "resourceKind is WorkflowTemplate, ClusterWorkflowTemplate or CronWorkflow, and resourceName one of them")
    }
    var definition = try await workflow(of: kind, source, in: project)
    let options = body.submitOptions ?? SubmitBody.Options()
    if let annotations = options.annotations, !annotations.isEmpty {
      definition = try definition.annotated(try LabelSelector.equalities(annotations))
    }
    var submission = SubmitRequest(document: "")
    submission.name = options.name.flatMap { $0.isEmpty ? nil : $0 }
    submission.generateName = options.generateName.flatMap { $0.isEmpty ? nil : $0 }
    submission.entrypoint = options.entryPoint.flatMap { $0.isEmpty ? nil : $0 }
    submission.labels = try options.labels.map { try LabelSelector.equalities($0) }
    submission.parameters = try Self.values(options.parameters ?? [])
    definition = try Self.overridden(definition, submission)
    return try await argoAccept(
      definition, submission, in: project, isDryRun: options.dryRun == true || options.serverDryRun == true, bytes,
      request, caller)
  }

  /// Argo's names of a kind: `WorkflowTemplate`, `workflowtemplates`, `wftmpl`.
  private static func kind(_ text: String) -> StoredObjectKind? {
    switch text.lowercased() {
    case "workflowtemplate", "workflowtemplates", "wftmpl": .workflowTemplate
    case "clusterworkflowtemplate", "clusterworkflowtemplates", "clusterwftmpl", "cwft": .clusterWorkflowTemplate
    case "cronworkflow", "cronworkflows", "cronwf", "cwf": .cronWorkflow
    default: nil
    }
  }

  /// `NAME=VALUE` each.
  static func values(_ parameters: [String]) throws -> [String: String]? {
    var values: [String: String] = [:]
    for parameter in parameters {
      guard let equals = parameter.firstIndex(of: "="), equals != parameter.startIndex else {
        throw FederationError(.invalidArgument, "a parameter is NAME=VALUE, not \"\(parameter.prefix(80))\"")
      }
      values[String(parameter[..<equals])] = String(parameter[parameter.index(after: equals)...])
    }
    return values.isEmpty ? nil : values
  }

  /// A workflow of something that is stored, as it is when nothing is set; its templates are not put into it yet.
  func workflow(
    of kind: StoredObjectKind, _ name: String, in project: ProjectName
  ) async throws -> WorkflowDefinition {
    let object = try await services.objects.object(kind, name, in: project)
    switch kind {
    case .workflowTemplate, .clusterWorkflowTemplate:
      return try WorkflowTemplateDefinition(json: object.document).workflow()
    case .cronWorkflow:
      return try CronWorkflowDefinition(json: object.document).workflow(name: nil, scheduledAt: .wallClock)
    case .configMap:
      throw FederationError(.invalidArgument, "a config map is no workflow")
    }
  }

  /// The common end of what Argo's clients submit.
  func argoAccept(
    _ definition: WorkflowDefinition, _ submission: SubmitRequest, in project: ProjectName, isDryRun: Bool,
    _ bytes: [UInt8], _ request: Request, _ caller: Caller
  ) async throws -> Response {
    let definition = try await services.objects.resolved(definition, in: project)
    let (name, uid) = try await identity(of: definition, submission, project, request, caller)
    if isDryRun { return try Self.argoDryRun(definition, project, name: name, uid: uid) }
    let command = try await services.submissions.run(for: "project \(project)") {
      Command.submit(Submission(definition: definition, project: project, name: name, uid: uid))
    }
    let reply = try await services.commands.perform(
      command, as: caller.principal, idempotency: try Self.idempotency(request, bytes))
    guard case .submitted(_, let accepted, _) = reply else {
      throw FederationError(.internal, "the submission was answered with something else")
    }
    return try await argoShow(WorkflowReference(project: project, name: accepted), request)
  }

  // MARK: From workflows

  private struct ResubmitBody: Decodable {
    var memoized: Bool?
    var parameters: [String]?
  }

  func argoResubmit(
    _ loaded: LoadedWorkflow, in project: ProjectName, _ request: Request, _ caller: Caller
  ) async throws -> Response {
    let bytes = try await request.bytes()
    let body = bytes.isEmpty ? ResubmitBody() : try JSONBody.decode(ResubmitBody.self, from: bytes)
    let accepted = try await resubmit(
      loaded.row, parameters: try Self.values(body.parameters ?? []) ?? [:], isMemoized: body.memoized == true,
      try Self.idempotency(request, bytes), request, caller)
    return try await argoShow(accepted, request)
  }

  /// Submits what was submitted once, under a new name.
  ///
  /// Templates of others are looked up anew; memoized, everything stays as it was, and what succeeded is not done again.
  /// - Source: Argo Workflows v3.7, `workflow/util/util.go`, `FormulateResubmitWorkflow`.
  func resubmit(
    _ row: WorkflowRow, parameters: [String: String], isMemoized: Bool, _ key: IdempotencyKey?, _ request: Request,
    _ caller: Caller
  ) async throws -> WorkflowReference {
    guard !isMemoized || row.status.phase.isTerminal else {
      throw FederationError(.failedPrecondition, "workflow \(row.name) still runs; stop it, or wait for its end")
    }
    var definition = try WorkflowDefinition(json: row.document).resubmitted(
      from: row.name, keepingTemplates: isMemoized)
    if isMemoized {
      definition = try definition.withNewArguments(parameters)
    } else {
      definition = try await services.objects.resolved(try definition.withArguments(parameters), in: row.project)
    }
    let (name, uid) = try await identity(of: definition, SubmitRequest(document: ""), row.project, request, caller)
    let source = WorkflowReference(project: row.project, name: row.uid)
    let command = try await services.submissions.run(for: "project \(row.project)") { [definition] in
      let submission = Submission(definition: definition, project: row.project, name: name, uid: uid)
      return isMemoized ? Command.resubmit(source, submission) : Command.submit(submission)
    }
    let reply = try await services.commands.perform(command, as: caller.principal, idempotency: key)
    guard case .submitted(_, let accepted, _) = reply else {
      throw FederationError(.internal, "the submission was answered with something else")
    }
    return WorkflowReference(project: row.project, name: accepted)
  }

  // MARK: Nodes that wait

  private struct SetBody: Decodable {
    var nodeFieldSelector: String?
    var phase: String?
    var message: String?
    var outputParameters: String?
  }

  /// Gives nodes that wait outputs, a message, or an end.
  ///
  /// - Source: Argo Workflows v3.7, `server/workflow/workflow_server.go`, `SetWorkflow`.
  private func argoSet(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let bytes = try await request.bytes()
    let body = try JSONBody.decode(SetBody.self, from: bytes)
    var values: [String: String] = [:]
    if let outputs = body.outputParameters, !outputs.isEmpty {
      guard let given = try? JSONDecoder().decode([String: String].self, from: Data(outputs.utf8)) else {
        throw FederationError(.invalidArgument, "outputParameters is a JSON object of texts, as a text")
      }
      values = given
    }
    let command = try WorkflowCommand(
      settingNodes: body.nodeFieldSelector, phase: body.phase, message: body.message, parameters: values)
    let reference = try await workflow(context).reference
    _ = try await services.commands.perform(
      .workflow(reference, command), as: caller.principal, idempotency: try Self.idempotency(request, bytes))
    return try await argoShow(reference, request)
  }
}

extension WorkflowCommand {
  /// - Throws: `.invalidArgument` where no nodes are named, where nothing is to be set, and for a phase that a person cannot give.
  init(settingNodes text: String?, phase: String?, message: String?, parameters: [String: String]) throws {
    guard let text, !text.isEmpty else {
      throw FederationError(.invalidArgument, "nodeFieldSelector says which nodes: displayName=approve")
    }
    let end = phase.flatMap { $0.isEmpty ? nil : NodePhase(rawValue: $0) }
    guard phase?.isEmpty ?? true || [.succeeded, .failed, .error].contains(end) else {
      throw FederationError(
        .invalidArgument, "phase is Succeeded, Failed or Error, not \"\((phase ?? "").prefix(40))\"")
    }
    guard end != nil || message?.isEmpty == false || !parameters.isEmpty else {
      throw FederationError(.invalidArgument, "say what is to be set: a phase, a message, or output parameters")
    }
    self = .set(try NodeSelector(fields: text), phase: end, message: message ?? "", parameters: parameters)
  }
}

extension WorkflowDefinition {
  /// With more annotations; of one key the value given here holds.
  func annotated(_ annotations: [String: String]) throws -> WorkflowDefinition {
    guard case .object(var object)? = try? JSONDecoder().decode(JSONValue.self, from: Data(canonicalJSON.utf8)) else {
      throw FederationError(.internal, "a workflow that was read cannot be read again")
    }
    var metadata = object["metadata"]?.objectValue ?? [:]
    metadata["annotations"] = .object(
      self.metadata.annotations.merging(annotations) { $1 }.mapValues { .string($0) })
    object["metadata"] = .object(metadata)
    return try WorkflowDefinition(json: JSONValue.object(object).description)
  }
}
