import FederationModel

/// Organisations: who has projects, and a part of what is shared for all of them together (ADR 0022).
extension ControlPlaneCore {
  mutating func perform(
    _ command: OrganisationCommand, on name: OrganisationName, _ principal: Principal
  ) throws -> Reply {
    switch command {
    case .create(let description, let weight):
      guard name.isDNSLabel else {
        throw FederationError(
          .invalidArgument, "an organisation's name is 1 to 63 of a-z, 0-9 and -, not \"\(name.text.prefix(80))\"")
      }
      guard organisations[name] == nil, name != .federation else {
        throw FederationError(.alreadyExists, "organisation \(name) exists already")
      }
      let row = OrganisationRow(
        name: name, description: try Self.checked(description), createdAt: now,
        weight: try Self.checked(weight: weight))
      organisations[name] = row
      note(principal, "organisation.create", name.text, weight == 1 ? "" : "weight \(weight)")
    case .describe(let text):
      try require(name)
      let text = try Self.checked(text)
      change(name) { $0.description = text }
      note(principal, "organisation.update", name.text)
    case .setWeight(let weight):
      try require(name)
      let weight = try Self.checked(weight: weight)
      change(name) { $0.weight = weight }
      note(principal, "organisation.weight", name.text, "\(weight)")
      wantsPlacement = true
    }
    output.organisations.insert(name)
    return .organisation(name)
  }

  private mutating func change(_ name: OrganisationName, _ body: (inout OrganisationRow) -> Void) {
    body(&organisations[name, default: OrganisationRow(name: name, createdAt: now)])
  }

  /// - Throws: `.notFound`. The federation's own is always there.
  func require(_ name: OrganisationName) throws {
    guard organisations[name] != nil || name == .federation else {
      throw FederationError(
        .notFound, "there is no organisation \(name); an administrator makes it: fubini org create \(name)")
    }
  }

  func organisation(of project: ProjectName) -> OrganisationName { projects[project]?.organisation ?? .federation }
  func weight(of organisation: OrganisationName) -> Double { organisations[organisation]?.weight ?? 1 }
}
