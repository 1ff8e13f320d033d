import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird

extension APIServer {
  var secretRoutes: [Route] {
    let secrets = "/v1/projects/:p/secrets"
    return [
      Route(.get, secrets, .project(.read, .secret), "A project's secrets: their names, never their values.") {
        _, context in
        let project = ProjectName(try context.parameter("p"))
        let rows = try await services.store.secrets(of: project)
        return try .json(SecretList(items: rows.map(SecretDocument.init)))
      },
      Route(.put, "\(secrets)/:s", .project(.update, .secret), "Sets all values of a secret.") {
        try await setSecret($0, $1)
      },
      Route(.delete, "\(secrets)/:s", .project(.delete, .secret), "Removes a secret.") { try await removeSecret($1) },
    ]
  }

  private func setSecret(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("p"))
    guard project.isDNSLabel else { throw FederationError(.notFound, "there is no project \(project)") }
    // What cannot be read is not described: a description may quote it.
    guard let body = try? await request.document(SecretRequest.self) else {
      throw FederationError(
        .invalidArgument,
        "the body must be {\"values\": {\"NAME\": \"VALUE\"}} of at most \(SecretVault.bytesMax) bytes")
    }
    let caller = try context.signedIn()
    let row = try await services.secrets.set(
      try context.parameter("s"), of: project, to: body.values, by: caller.user, from: caller.address, at: .wallClock)
    return try .json(SecretDocument(row))
  }

  private func removeSecret(_ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("p"))
    let name = try context.parameter("s")
    try await removeSecret(name, of: project, as: try context.signedIn())
    return try .json(AcceptedDocument(name: name, project: project.text))
  }

  func removeSecret(_ name: String, of project: ProjectName, as caller: Caller) async throws {
    if let user = try await services.store.user(ofSecret: name, in: project) {
      throw FederationError(
        .failedPrecondition, "\(user) is opened with secret \(name); change or remove it first")
    }
    guard
      try await services.store.removeSecret(
        name, of: project, by: caller.user, from: caller.address, at: .wallClock)
    else { throw FederationError(.notFound, "project \(project) has no secret \(name)") }
  }
}

extension SecretDocument {
  fileprivate init(_ row: SecretRow) {
    self.init(
      project: row.project.text, name: row.name, fields: row.fields, changedAt: row.changedAt.wire,
      changedBy: row.changedBy)
  }
}
