import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import HTTPTypes
import Hummingbird
import WorkflowCore

/// Argo's archive: here, every workflow that has finished and was not deleted.
///
/// - Source: Argo Workflows v3.7, `api/openapi-spec/swagger.json`, `ArchivedWorkflowService`.
extension APIServer {
  var argoArchiveRoutes: [Route] {
    let archive = "/api/v1/archived-workflows"
    return [
      Route(.get, archive, .anywhere(.read, .workflow), "Lists finished workflows.") { try await archiveList($0, $1) },
      Route(.get, "\(archive)-label-keys", .anywhere(.read, .workflow), "The keys of finished workflows' labels.") {
        request, context in
        let projects = try Self.archiveProjects(request, try context.signedIn())
        return .json(["items": .array(try await services.store.labelKeys(in: projects).map { .string($0) })])
      },
      Route(.get, "\(archive)-label-values", .anywhere(.read, .workflow), "The values of one label.") {
        request, context in
        let projects = try Self.archiveProjects(request, try context.signedIn())
        let condition = try LabelCondition.selector(request.query("listOptions.labelSelector") ?? "").first
        guard let condition else {
          throw FederationError(.invalidArgument, "listOptions.labelSelector names the key")
        }
        let values = try await services.store.labelValues(of: condition.key, in: projects)
        return .json(["items": .array(values.map { .string($0) })])
      },
      Route(.get, "\(archive)/:uid", .anywhere(.read, .workflow), "A finished workflow.") { request, context in
        let loaded = try await archived(.read, request, context)
        let sequence = try await services.store.position().sequence
        return .json(try ArgoFields(request.query("fields")).apply(try await argoObject(loaded, sequence)))
      },
      Route(.delete, "\(archive)/:uid", .anywhere(.delete, .workflow), "Removes a finished workflow.") {
        request, context in
        let row = try await archived(.delete, request, context).row
        _ = try await services.commands.perform(
          .workflow(WorkflowReference(project: row.project, name: row.uid), .delete),
          as: try context.signedIn().principal, idempotency: try Self.idempotency(request, []))
        return .json([:])
      },
      Route(
        .put, "\(archive)/:uid/resubmit", .anywhere(.create, .workflow), "Submits a finished workflow anew."
      ) { request, context in
        let loaded = try await archived(.create, request, context)
        return try await argoResubmit(loaded, in: loaded.row.project, request, try context.signedIn())
      },
      Route(.put, "\(archive)/:uid/retry", .anywhere(.update, .workflow), "Retries a finished workflow.") {
        request, context in
        let row = try await archived(.update, request, context).row
        return try await argoAct(
          "retry", on: WorkflowReference(project: row.project, name: row.name), request, context)
      },
    ]
  }

  /// The finished workflow that the path names, if its project lets the caller do that. Whose it is is not told to others.
  private func archived(
    _ verb: AccessVerb, _ request: Request, _ context: APIContext
  ) async throws -> LoadedWorkflow {
    let caller = try context.signedIn()
    let uid = try context.parameter("uid")
    guard let head = try await services.store.workflowHead(uid: uid), caller.rights.knows(head.project),
      head.status.phase.isTerminal
    else { throw FederationError(.notFound, "there is no finished workflow with uid \(uid.prefix(80))") }
    try Authorisation.require(Permission(verb, .workflow), in: head.project, caller)
    guard let loaded = try await services.store.workflow(uid: uid) else {
      throw FederationError(.notFound, "there is no finished workflow with uid \(uid.prefix(80))")
    }
    return loaded
  }

  /// Those that are asked for and may be read; nil: all.
  private static func archiveProjects(_ request: Request, _ caller: Caller) throws -> Set<ProjectName>? {
    let readable = caller.rights.projects(allowing: Permission(.read, .workflow))
    let fields = try ArgoSelector(fields: request.query("listOptions.fieldSelector") ?? "")
    let named = request.query("namespace").flatMap { $0.isEmpty ? nil : ProjectName($0) }
    if let named, let other = fields.namespace, named != other {
      throw FederationError(
        .invalidArgument, "namespace is \(named), but the field selector says metadata.namespace=\(other)")
    }
    guard let project = named ?? fields.namespace else { return readable }
    return readable.map { $0.intersection([project]) } ?? [project]
  }

  private func archiveList(_ request: Request, _ context: APIContext) async throws -> Response {
    let finished = ArgoSelector.workflowPhases.filter(\.isTerminal)
    var query = try ArgoListQuery(request, phases: finished)
    query.filter.projects = try Self.archiveProjects(request, try context.signedIn())
    return try await argoPage(query)
  }
}
