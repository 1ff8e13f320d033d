import ControlPlaneCore
import FederationAPI
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import TestSupport
import Testing

@testable import ControlPlaneServer

/// Every route with every role, and what the reference says of both.
@Suite(.serialized, .timeLimit(.minutes(5))) struct RouteWalkTests {
  /// A request of a route: parameters filled in, what it names is not there.
  static func uri(of route: Route, project: String, organisation: String = "o") -> String {
    let path = route.path.split(separator: "/").map { part in
      switch part {
      case ":p", ":namespace": project
      case ":o": organisation
      case "**": "x/y"
      case _ where part.first == ":": "none"
      default: String(part)
      }
    }
    // What would stream for ever names a workflow that is not there.
    let query =
      route.path.contains("workflow-events")
      ? "?listOptions.fieldSelector=metadata.name%3Dnone"
      : route.path.contains("stream/events") ? "?listOptions.labelSelector=refused" : ""
    return "/" + path.joined(separator: "/") + query
  }

  private static func namesProject(_ route: Route) -> Bool {
    route.path.contains(":p") || route.path.contains(":namespace")
  }

  /// The federation alone may: whatever project it names, everybody else gets the same 403.
  private static func isOfFederation(_ route: Route) -> Bool {
    if case .federation = route.access { true } else { false }
  }

  /// Where a role is held: project `a`, its organisation `o`, or the federation.
  private enum Place: String { case project, organisation, federation }

  private enum Expected { case allowed, forbidden, hidden }

  /// What a role is to get from a route that it asks about `a` and `o`.
  private static func expected(_ role: Role, _ place: Place, _ route: Route) -> Expected {
    guard let permission = route.access.permission else { return .allowed }
    let allows = place == .organisation ? role.allowsInOrganisation(permission) : role.allows(permission)
    switch route.access {
    case .federation: return place == .federation && allows ? .allowed : .forbidden
    // Of the organisation that has its project a member knows the name alone.
    case .organisation where place == .project: return route.path.contains(":o") ? .hidden : .forbidden
    default: return allows ? .allowed : .forbidden
    }
  }

  @Test("Every route answers every role as the table says: what is not given is refused with 403")
  func walk() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        var holders: [(Role, Place, String)] = []
        for role in Role.ofProjects { holders.append((role, .project, try await fixture.token(role, in: "a"))) }
        for role in Role.ofOrganisations {
          holders.append((role, .organisation, try await fixture.token(role, of: "o")))
        }
        for role in Role.ofFederation { holders.append((role, .federation, try await fixture.token(role, in: nil))) }
        for (role, place, token) in holders {
          for route in fixture.server.routes {
            let name = "\(role.rawValue) of \(place.rawValue): \(route.method) \(route.path)"
            let answer = try await client.send(route.method, Self.uri(of: route, project: "a"), token: token)
            let expected = Self.expected(role, place, route)
            #expect((answer.status == .forbidden) == (expected == .forbidden), "\(name): \(answer.status)")
            #expect(answer.status != .unauthorized, "\(name)")
            #expect(String(buffer: answer.body).contains("that you may use") == (expected == .hidden), "\(name)")
          }
        }
      }
    }
  }

  @Test("What a route needs of a project's member it needs whatever the scope says, and a scope alone gives nothing")
  func scopes() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let reader = try await fixture.token(.projectAdmin, in: "a", scopes: [.read])
        let none = try await fixture.token(.viewer, in: "a", scopes: [.permission(Permission(.create, .workflow))])
        for route in fixture.server.routes where Self.namesProject(route) {
          guard let permission = route.access.permission else { continue }
          let uri = Self.uri(of: route, project: "a")
          let may = Scope.read.allows(permission) && Role.projectAdmin.allows(permission)
          let status = try await client.send(route.method, uri, token: reader).status
          #expect((status == .forbidden) == !may, "\(route.method) \(route.path): \(status)")
          #expect(try await client.send(route.method, uri, token: none).status == .forbidden, "\(route.path)")
        }
      }
    }
  }

  @Test("A project of others answers as one that never was: the same status and the same words, on every route")
  func strangers() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        for name in ["w", "none"] {
          let made = try await client.send(
            .post, "/v1/projects/b/workflows", token: fixture.userB, body: Documents.suspended(name))
          #expect(made.status == .created)
        }
        // Bound to its project, a member of no more, a service account, and a member of the other whose token is bound away from it.
        let unbound = try await fixture.token(.projectAdmin, in: "a")
        for token in [fixture.userA, unbound] {
          for route in fixture.server.routes where Self.namesProject(route) && !Self.isOfFederation(route) {
            let there = try await client.send(route.method, Self.uri(of: route, project: "b"), token: token)
            let never = try await client.send(route.method, Self.uri(of: route, project: "q"), token: token)
            #expect(there.status == .notFound && never.status == .notFound, "\(route.method) \(route.path)")
            var (one, other) = (try there.json, try never.json)
            one = one.without("requestID", "message")
            other = other.without("requestID", "message")
            #expect(one == other, "\(route.path)")
            #expect(try there.json["message"] == "there is no project b that you may use", "\(route.path)")
            #expect(try never.json["message"] == "there is no project q that you may use", "\(route.path)")
          }
        }
        // By query and by document as by path.
        for body in [
          Documents.suspended("x"), Documents.suspended("x").replacing("{name: x", with: "{name: x, namespace: b"),
        ] {
          for path in ["/v1/workflows", "/v1/plan"] {
            let uri = body.contains("namespace") ? path : "\(path)?project=b"
            #expect(try await client.send(.post, uri, token: unbound, body: body).status == .notFound, "\(uri)")
          }
        }
      }
    }
  }

  // MARK: The reference

  private static let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appending(path: "docs/reference/access.md")
  private static let mark = "<!-- The tables below are made of the code: FUBINI_WRITE_OPENAPI=1. -->\n"

  private static var roles: String {
    let roles = Role.allCases
    var text = "\n## What each role may\n\nc create, r read, u update, d delete.\n\n"
    text += "| resource | \(roles.map(\.rawValue).joined(separator: " | ")) |\n"
    text += "|---|" + roles.map { _ in "---|" }.joined() + "\n"
    for resource in AccessResource.allCases {
      let cells = roles.map { role in
        let letters = [AccessVerb.create, .read, .update, .delete].filter { role.allows(Permission($0, resource)) }
        return letters.isEmpty ? "-" : letters.map { String($0.rawValue.prefix(1)) }.joined()
      }
      text += "| \(resource.rawValue) | \(cells.joined(separator: " | ")) |\n"
    }
    return text
  }

  private static func table(_ routes: [Route]) -> String {
    var text = "\n## What each route needs\n\n| route | needs | where |\n|---|---|---|\n"
    for route in routes.sorted(by: { ($0.path, $0.method.rawValue) < ($1.path, $1.method.rawValue) }) {
      let place =
        switch route.access {
        case .open: "no token"
        case .authenticated: "any token"
        case .project: "in the project"
        case .anywhere: "in some project: the answer has what may be seen"
        case .organisation: "in the organisation"
        case .federation: "in the federation"
        }
      let permission = route.access.permission?.description ?? "-"
      text += "| `\(route.method.rawValue) \(route.path)` | \(permission) | \(place) |\n"
    }
    return text
  }

  @Test("The reference of access has every role, every resource and every route, as the code has them")
  func reference() async throws {
    try await APIFixture.use { fixture in
      let made = Self.roles + Self.table(fixture.server.routes)
      var text = try String(contentsOf: Self.file, encoding: .utf8)
      let start = try #require(text.firstRange(of: Self.mark)).upperBound
      if ProcessInfo.processInfo.environment["FUBINI_WRITE_OPENAPI"] == "1" {
        text = text[..<start] + made
        try text.write(to: Self.file, atomically: true, encoding: .utf8)
      }
      #expect(
        text[try #require(text.firstRange(of: Self.mark)).upperBound...] == made, "write docs/reference/access.md anew")
    }
  }
}

extension JSONValue {
  fileprivate func without(_ members: String...) -> JSONValue {
    guard case .object(var object) = self else { return self }
    for member in members { object[member] = nil }
    return .object(object)
  }
}
