import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird
import LedgerCore

/// Organisations: made and weighed by the federation, seen by who has a role in them or in one of their projects.
extension APIServer {
  var organisationRoutes: [Route] {
    let one = "/v1/organisations/:o"
    return [
      Route(
        .get, "/v1/organisations", .anywhere(.read, .organisation), "The organisations that the caller belongs to."
      ) { _, context in
        try .json(OrganisationList(items: try await organisations(of: try context.signedIn())))
      },
      Route(.post, "/v1/organisations", .federation(.create, .organisation), "Makes an organisation.") {
        try await createOrganisation($0, $1)
      },
      Route(.get, one, .organisation(.read, .organisation), "One organisation, with its projects.") { _, context in
        let name = try await organisation(named: OrganisationName(try context.parameter("o"))).name.text
        guard let found = try await organisations(of: try context.signedIn()).first(where: { $0.name == name }) else {
          throw FederationError(.notFound, "there is no organisation \(name) that you may use")
        }
        return try .json(found)
      },
      Route(
        .put, one, .organisation(.update, .organisation),
        "Changes an organisation's description, or, by the federation, its weight."
      ) { try await updateOrganisation($0, $1) },
      Route(
        .put, "\(one)/grant", .federation(.update, .budget),
        "Bounds what the budgets of an organisation's projects may have together."
      ) { request, context in
        let bytes = try await request.bytes()
        let body = try JSONBody.decode(GrantRequest.self, from: bytes)
        let grant = OrganisationGrant(amount: try Self.amount(body.amount), currency: body.currency)
        return try await change(.setGrant(grant), request, context, bytes)
      },
      Route(
        .delete, "\(one)/grant", .federation(.update, .budget),
        "Bounds the budgets of an organisation's projects no longer."
      ) { try await change(.setGrant(nil), $0, $1, []) },
    ]
  }

  /// With those of their projects that the caller may see.
  private func organisations(of caller: Caller) async throws -> [OrganisationDocument] {
    let read = Permission(.read, .organisation)
    let projects = try await services.store.projects()
    let seen = Dictionary(grouping: projects.filter { caller.rights.allows(read, in: $0.name) }, by: \.organisation)
    let owners = Dictionary(uniqueKeysWithValues: projects.map { ($0.name, $0.organisation) })
    var budgeted: [OrganisationName: Amount] = [:]
    for budget in try await services.store.budgets() {
      budgeted[owners[budget.project] ?? .federation, default: .zero] += budget.spec.limit
    }
    return try await services.store.organisations().filter {
      seen[$0.name] != nil || caller.rights.allows(read, inOrganisation: $0.name)
    }.map { row in
      let mayRead = caller.rights.allows(Permission(.read, .budget), inOrganisation: row.name)
      return OrganisationDocument(
        name: row.name.text, description: row.description, createdAt: row.createdAt.wire, weight: row.weight,
        grant: row.grant.flatMap { mayRead ? MoneyDocument($0.amount, $0.currency) : nil },
        budgeted: row.grant.flatMap { mayRead ? MoneyDocument(budgeted[row.name] ?? .zero, $0.currency) : nil },
        projects: (seen[row.name] ?? []).map(\.name.text))
    }
  }

  /// For who may use every organisation, those that are not among them.
  func organisation(named name: OrganisationName) async throws -> OrganisationRow {
    guard let row = try await services.store.organisations().first(where: { $0.name == name }) else {
      throw FederationError(
        .notFound, "there is no organisation \(name); an administrator makes it: fubini org create \(name)")
    }
    return row
  }

  private func createOrganisation(_ request: Request, _ context: APIContext) async throws -> Response {
    let bytes = try await request.bytes()
    let body = try JSONBody.decode(OrganisationRequest.self, from: bytes)
    guard let name = body.name else { throw FederationError(.invalidArgument, "name is missing") }
    _ = try await services.commands.perform(
      .organisation(
        OrganisationName(name), .create(description: body.description ?? "", weight: body.weight ?? 1)),
      as: try context.signedIn().principal, idempotency: try Self.idempotency(request, bytes))
    return try .json(AcceptedDocument(name: name), .created)
  }

  private func change(
    _ command: OrganisationCommand, _ request: Request, _ context: APIContext, _ bytes: [UInt8]
  ) async throws -> Response {
    let name = OrganisationName(try context.parameter("o"))
    _ = try await services.commands.perform(
      .organisation(name, command), as: try context.signedIn().principal,
      idempotency: try Self.idempotency(request, bytes))
    return try .json(AcceptedDocument(name: name.text))
  }

  private func updateOrganisation(_ request: Request, _ context: APIContext) async throws -> Response {
    let bytes = try await request.bytes()
    let body = try JSONBody.decode(OrganisationRequest.self, from: bytes)
    guard body.name == nil, (body.description == nil) != (body.weight == nil) else {
      throw FederationError(.invalidArgument, "a name stays; say a description or a weight, one at a time")
    }
    let command: OrganisationCommand
    if let weight = body.weight {
      // What one organisation gets the others lose.
      guard try context.signedIn().rights.allows(Permission(.update, .quota)) else {
        throw Denial(
          answer: FederationError(.permissionDenied, "the weight of an organisation is set by the federation alone"))
      }
      command = .setWeight(weight)
    } else {
      command = .describe(body.description ?? "")
    }
    return try await change(command, request, context, bytes)
  }
}
