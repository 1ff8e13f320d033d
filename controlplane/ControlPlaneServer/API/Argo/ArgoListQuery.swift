import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Hummingbird
import WorkflowCore

/// A list of workflows as Argo's clients ask for it.
///
/// - Source: Argo Workflows v3.7, `server/utils/list_options.go`.
struct ArgoListQuery: Sendable {
  var filter: WorkflowFilter
  /// The last workflow of the page before; nil: this is the first.
  var before: WorkflowID?
  var limit: Int
  /// No workflow can match.
  var isContradictory: Bool
  var fields: ArgoFields

  /// - Parameters:
  ///   - phases: those that are asked for at all.
  ///   - project: the only one; nil: as the filter says.
  /// - Throws: `.invalidArgument` for what cannot be obeyed.
  init(_ request: Request, phases: Set<NodePhase> = ArgoSelector.workflowPhases, in project: ProjectName? = nil) throws
  {
    let selector = try request.argoSelector()
    filter = selector.filter
    let wanted = (selector.phases ?? ArgoSelector.workflowPhases).intersection(phases)
    // All of them are the same as none named.
    filter.phases = wanted.count == ArgoSelector.workflowPhases.count ? [] : wanted.sorted { $0.rawValue < $1.rawValue }
    isContradictory = wanted.isEmpty
    if let project {
      filter.project = project
      if let namespace = selector.namespace, namespace != project { isContradictory = true }
    }
    filter.namePrefix = request.query("namePrefix").flatMap { $0.isEmpty ? nil : $0 }
    if let name = selector.name {
      switch request.query("nameFilter") ?? "" {
      case "", "Exact": filter.name = name
      case "Prefix": filter.namePrefix = name
      case "Contains": filter.namePart = name
      case "NotEquals": filter.excludedName = name
      default: throw FederationError(.invalidArgument, "nameFilter is Exact, Prefix, Contains or NotEquals")
      }
    }
    if let moment = try Self.moment("createdAfter", request) {
      filter.createdSince = max(filter.createdSince ?? moment, moment)
    }
    filter.finishedBefore = try Self.moment("finishedBefore", request)
    let text = request.query("listOptions.continue") ?? ""
    before = text.isEmpty ? nil : WorkflowID(try Cursor.number(text))
    limit = try APIServer.argoLimit(request.query("listOptions.limit"))
    fields = try ArgoFields(request.query("fields"))
  }

  private static func moment(_ name: String, _ request: Request) throws -> Timestamp? {
    guard let text = request.query(name), !text.isEmpty else { return nil }
    guard let moment = RFC3339.parse(text) else {
      throw FederationError(
        .invalidArgument, "\(name) is a moment like 2026-03-01T12:00:00Z, not \"\(text.prefix(40))\"")
    }
    return moment
  }
}

extension APIServer {
  /// The answer to a list of workflows: without nodes, the newest first.
  func argoPage(_ query: ArgoListQuery) async throws -> Response {
    let sequence = try await services.store.position().sequence
    let rows =
      query.isContradictory
      ? [] : try await services.store.workflows(query.filter, before: query.before, limit: query.limit)
    let counts = try await services.store.taskCounts(of: rows.map(\.id))
    let items = rows.map { ArgoObject.listItem($0, tasks: counts[$0.id] ?? [:], resourceVersion: sequence) }
    let next = rows.count == query.limit ? rows.last.map { String($0.id.number) } : nil
    return .json(query.fields.apply(ArgoObject.list(items, next: next, resourceVersion: sequence)))
  }
}
