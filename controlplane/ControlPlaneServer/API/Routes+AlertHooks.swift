import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird

/// Whom a budget's alerts are told.
extension APIServer {
  var alertHookRoutes: [Route] {
    let hook = "/v1/projects/:p/budget/webhook"
    return [
      Route(
        .get, hook, .project(.update, .budget), "Whom a budget's alerts are told, and what became of the last ones."
      ) { _, context in
        try .json(try await alertHook(of: ProjectName(try context.parameter("p"))))
      },
      Route(.put, hook, .project(.update, .budget), "Sets whom a budget's alerts are told.") {
        try await setAlertHook($0, $1)
      },
      Route(.delete, hook, .project(.update, .budget), "Tells a budget's alerts to nobody any more.") { _, context in
        let project = ProjectName(try context.parameter("p"))
        let user = try context.signedIn().user
        guard try await services.store.removeAlertHook(of: project, by: user, at: .wallClock) else {
          throw Self.noHook(project)
        }
        return try .json(AcceptedDocument(name: project.text, project: project.text))
      },
    ]
  }

  private static func noHook(_ project: ProjectName) -> FederationError {
    FederationError(.notFound, "the budget of project \(project) has no webhook")
  }

  private func alertHook(of project: ProjectName) async throws -> AlertHookDocument {
    guard let hook = try await services.store.alertHook(of: project) else { throw Self.noHook(project) }
    let deliveries = try await services.store.alertDeliveries(of: project, limit: 20)
    return AlertHookDocument(
      url: hook.url, secret: hook.secret, changedAt: hook.changedAt.wire, changedBy: hook.changedBy,
      deliveries: deliveries.map {
        AlertDeliveryDocument(
          id: $0.id, createdAt: $0.createdAt.wire, attempts: $0.attempts, deliveredAt: $0.deliveredAt?.wire,
          nextAt: $0.nextAt?.wire, failure: $0.failure)
      })
  }

  private func setAlertHook(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("p"))
    _ = try await budget(of: project)
    let body = try await request.document(AlertHookRequest.self)
    let address = try WebhookAddress(body.url, privateHosts: services.privateHosts)
    // What it resolves to may be another address by the time of an alert: it is asked again then.
    _ = try await address.resolve(privateHosts: services.privateHosts)
    guard let secret = try await services.store.secret(body.secret, of: project) else {
      throw FederationError(
        .failedPrecondition,
        "project \(project) has no secret \(body.secret); set it with `fubini secret set \(body.secret) --stdin "
          + "\(AlertDeliveries.keyField) --project \(project)`")
    }
    guard secret.fields.contains(AlertDeliveries.keyField) else {
      throw FederationError(
        .failedPrecondition, "secret \(body.secret) has no value \(AlertDeliveries.keyField)")
    }
    try await services.store.put(
      AlertHook(
        project: project, url: body.url, secret: body.secret, changedAt: .wallClock,
        changedBy: try context.signedIn().user))
    return try .json(AcceptedDocument(name: project.text, project: project.text))
  }
}
