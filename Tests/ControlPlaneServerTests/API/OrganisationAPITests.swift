import ControlPlaneCore
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing

@testable import ControlPlaneServer

/// Two organisations, red and blue, each with an administrator and a project, who try to find out about each other.
@Suite(.serialized, .timeLimit(.minutes(5))) struct OrganisationAPITests {
  private struct Two {
    var red: String
    var blue: String
  }

  private static func two(_ client: some TestClientProtocol, _ fixture: APIFixture) async throws -> Two {
    for (name, weight) in [("red", 3), ("blue", 1)] {
      let made = try await client.send(
        .post, "/v1/organisations", token: fixture.admin, body: #"{"name":"\#(name)","weight":\#(weight)}"#)
      #expect(made.status == .created, "\(String(buffer: made.body))")
    }
    let tokens = Two(
      red: try await fixture.token(.orgAdmin, of: "red"), blue: try await fixture.token(.orgAdmin, of: "blue"))
    for (token, name) in [(tokens.red, "r1"), (tokens.blue, "b1")] {
      let made = try await client.send(.post, "/v1/projects", token: token, body: #"{"name":"\#(name)"}"#)
      #expect(made.status == .created, "\(String(buffer: made.body))")
    }
    return tokens
  }

  /// The answer without what every answer has of its own, and without names.
  private static func content(_ answer: TestResponse, _ name: String) -> String {
    var text = String(buffer: answer.body)
    if let range = text.firstRange(of: /"requestID":"[^"]*"/) { text.removeSubrange(range) }
    return "\(answer.status.code) \(text.replacing(name, with: "NAME"))"
  }

  @Test("An administrator of an organisation makes projects in it, and uses and lends them at once; and no others")
  func administrators() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let two = try await Self.two(client, fixture)
        let own = try await client.send(.get, "/v1/projects/r1", token: two.red)
        #expect(try own.status == .ok && own.json["organisation"] == "red")
        let submitted = try await client.send(
          .post, "/v1/projects/r1/workflows", token: two.red, body: Documents.suspended("w"))
        #expect(submitted.status == .created)
        let member = #"{"user":"rita","role":"submitter"}"#
        #expect(
          try await client.send(.post, "/v1/projects/r1/members", token: two.red, body: member).status == .created)
        let budget = #"{"amount":"10","currency":"CNY"}"#
        #expect(try await client.send(.put, "/v1/projects/r1/budget", token: two.red, body: budget).status == .ok)
        for (path, body) in [
          ("/v1/projects/r1/quota", "{}"), ("/v1/projects/r1/weight", #"{"weight":9}"#),
          ("/v1/organisations/red", #"{"weight":9}"#),
        ] {
          #expect(try await client.send(.put, path, token: two.red, body: body).status == .forbidden, "\(path)")
        }
        let grant = #"{"amount":"12","currency":"CNY"}"#
        #expect(
          try await client.send(.put, "/v1/organisations/red/grant", token: two.red, body: grant).status == .forbidden)
        #expect(
          try await client.send(.put, "/v1/organisations/red/grant", token: fixture.admin, body: grant).status == .ok)
        let more = #"{"amount":"13","currency":"CNY"}"#
        let refused = try await client.send(.put, "/v1/projects/r1/budget", token: two.red, body: more)
        #expect(refused.status.code == 402, "\(String(buffer: refused.body))")
        let granted = try await client.send(.get, "/v1/organisations/red", token: two.red)
        #expect(String(buffer: granted.body).contains(#""micros":12000000"#))
        #expect(
          try await client.send(.delete, "/v1/organisations/red/grant", token: two.red).status == .forbidden)
        #expect(
          try await client.send(.delete, "/v1/organisations/red/grant", token: fixture.admin).status == .ok)
        let description = #"{"description":"the reds"}"#
        #expect(try await client.send(.put, "/v1/organisations/red", token: two.red, body: description).status == .ok)
        for (body, status) in [
          (#"{"name":"r2","weight":2}"#, HTTPResponse.Status.forbidden),
          (#"{"name":"r2","organisation":"default"}"#, .notFound),
          (#"{"name":"r2","organisation":"blue"}"#, .notFound), (#"{"name":"r2","organisation":"never"}"#, .notFound),
          (#"{"name":"r2","organisation":"red"}"#, .created),
        ] {
          #expect(try await client.send(.post, "/v1/projects", token: two.red, body: body).status == status, "\(body)")
        }
        #expect(try await client.send(.post, "/v1/projects/r2/archive", token: two.red).status == .ok)
        for path in ["/v1/audit", "/v1/users", "/v1/members", "/v1/usage", "/v1/ledger/verify", "/metrics"] {
          #expect(try await client.send(.get, path, token: two.red).status == .forbidden, "\(path)")
        }
        let cluster = #"{"name":"c","kind":"process"}"#
        #expect(try await client.send(.post, "/v1/clusters", token: two.red, body: cluster).status == .forbidden)
        #expect(
          try await client.send(.post, "/v1/organisations", token: two.red, body: #"{"name":"x"}"#).status
            == .forbidden)
        let log = String(buffer: try await client.send(.get, "/v1/audit", token: fixture.admin).body)
        #expect(log.contains("organisation.create") && log.contains("organisation red") && log.contains("member.add"))
      }
    }
  }

  @Test("Whatever route is asked, another organisation and its projects answer as such that never were")
  func strangers() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let two = try await Self.two(client, fixture)
        _ = try await client.send(
          .post, "/v1/projects/b1/workflows", token: two.blue, body: Documents.suspended("w"))
        for route in fixture.server.routes {
          let isOfFederation = if case .federation = route.access { true } else { false }
          guard !isOfFederation else { continue }
          let ofOrganisation = route.path.contains(":o")
          guard ofOrganisation || route.path.contains(":p") || route.path.contains(":namespace") else { continue }
          let names = ofOrganisation ? ("blue", "never") : ("b1", "n1")
          let there = try await client.send(
            route.method, RouteWalkTests.uri(of: route, project: names.0, organisation: names.0), token: two.red)
          let never = try await client.send(
            route.method, RouteWalkTests.uri(of: route, project: names.1, organisation: names.1), token: two.red)
          #expect(there.status == .notFound, "\(route.method) \(route.path)")
          #expect(Self.content(there, names.0) == Self.content(never, names.1), "\(route.method) \(route.path)")
        }
        for path in ["organisations", "projects", "budgets", "workflows", "fairshare", "clusters", "prices", "links"] {
          let text = String(buffer: try await client.send(.get, "/v1/\(path)", token: two.red).body)
          #expect(!text.contains("blue") && !text.contains("b1"), "\(path): \(text)")
        }
        let info = try await client.send(.get, "/v1/userinfo", token: two.red).json
        #expect(info["organisationRoles"]?["red"] == ["org-admin"] && info["isAdmin"] == .bool(false))
        let mine = try await client.send(.get, "/v1/organisations", token: two.red).json["items"]?.arrayValue
        #expect(mine?.map { $0["name"] } == ["red"] && mine?.first?["projects"] == ["r1"])
        // A member of a project knows whose it is, and not what else that has.
        let member = try await fixture.token(.viewer, in: "r1")
        _ = try await client.send(.post, "/v1/projects", token: two.red, body: #"{"name":"r2"}"#)
        let seen = try await client.send(.get, "/v1/organisations", token: member).json["items"]?.arrayValue
        #expect(seen?.map { $0["name"] } == ["red"] && seen?.first?["projects"] == ["r1"])
      }
    }
  }

  @Test("Money moves within an organisation alone, whoever moves it; shares follow the organisations' weights")
  func moneyAndShares() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let two = try await Self.two(client, fixture)
        _ = try await client.send(.post, "/v1/projects", token: two.red, body: #"{"name":"r2"}"#)
        for name in ["r1", "r2", "b1"] {
          let set = try await client.send(
            .put, "/v1/projects/\(name)/budget", token: fixture.admin, body: #"{"amount":"10","currency":"CNY"}"#)
          #expect(set.status == .ok)
        }
        func transfer(_ to: String, _ token: String) async throws -> TestResponse {
          try await client.send(
            .post, "/v1/projects/r1/budget/transfer", token: token, body: #"{"amount":"1","to":"\#(to)"}"#)
        }
        #expect(try await transfer("r2", two.red).status == .ok)
        #expect(try await transfer("b1", two.red).status == .notFound)
        let refused = try await transfer("b1", fixture.admin)
        #expect(refused.status == .conflict && String(buffer: refused.body).contains("different organisations"))
        for project in ["r1", "r2", "b1"] {
          _ = try await client.send(
            .post, "/v1/projects/\(project)/workflows", token: fixture.admin, body: Documents.task("t"))
        }
        let shares = try await client.send(.get, "/v1/fairshare", token: fixture.admin).json["items"]?.arrayValue ?? []
        func share(_ name: String) -> JSONValue? { shares.first { $0["project"]?.stringValue == name } }
        #expect(share("r1")?["organisation"] == "red" && share("r1")?["organisationWeight"] == 3)
        let parts = ["r1", "r2", "b1"].compactMap { share($0)?["entitled"]?.number }
        #expect(parts.count == 3 && abs(parts[0] - parts[1]) < 1e-9, "\(parts)")
        #expect(abs(parts[0] + parts[1] - 3 * parts[2]) < 1e-9, "three of red for each of blue: \(parts)")
      }
    }
  }

  @Test("A role in an organisation is given by who has it, ends at once, and nobody needs to be left in one")
  func roles() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let two = try await Self.two(client, fixture)
        let path = "/v1/organisations/red/members"
        func add(_ user: String, _ role: String, _ token: String) async throws -> HTTPResponse.Status {
          try await client.send(.post, path, token: token, body: #"{"user":"\#(user)","role":"\#(role)"}"#).status
        }
        #expect(try await add("ruth", "auditor", two.red) == .created)
        #expect(try await add("ruth", "operator", two.red) == .badRequest)
        #expect(try await add("ruth", "viewer", two.red) == .badRequest)
        #expect(try await add("ruth", "org-admin", two.blue) == .notFound)
        let auditor = try await fixture.token(.auditor, of: "red")
        #expect(try await add("ruth", "org-admin", auditor) == .forbidden)
        #expect(try await client.send(.get, path, token: auditor).status == .ok)
        #expect(try await client.send(.get, "/v1/projects/r1", token: auditor).status == .ok)
        #expect(try await client.send(.get, "/v1/projects/b1", token: auditor).status == .notFound)
        let gone = try await client.send(.delete, "\(path)?user=auditor-of-red", token: two.red)
        #expect(gone.status == .ok)
        #expect(try await client.send(.get, "/v1/projects/r1", token: auditor).status == .notFound)
        #expect(
          try await client.send(.delete, "\(path)?user=org-admin-of-red&role=org-admin", token: fixture.admin).status
            == .ok)
        #expect(try await client.send(.get, path, token: two.red).status == .notFound)
        #expect(try await client.send(.get, "/v1/organisations/never", token: fixture.admin).status == .notFound)
        for body in [#"{"name":"Red"}"#, #"{"name":"x","weight":0}"#, "{}"] {
          #expect(
            try await client.send(.post, "/v1/organisations", token: fixture.admin, body: body).status == .badRequest)
        }
        for name in ["red", "default"] {
          let again = try await client.send(
            .post, "/v1/organisations", token: fixture.admin, body: #"{"name":"\#(name)"}"#)
          #expect(again.status == .conflict)
        }
      }
    }
  }
}

extension JSONValue {
  fileprivate var number: Double? {
    switch self {
    case .number(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }
}
