import ControlPlaneStore
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing

@testable import ControlPlaneServer

@Suite(.serialized) struct ProjectAPITests {
  @Test("Projects are made, described, archived and opened again; work goes to those that exist alone")
  func projects() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let admin = fixture.admin
        let made = try await client.send(
          .post, "/v1/projects", token: admin, body: #"{"name":"lab","description":"chemistry"}"#)
        #expect(made.status == .created)
        #expect(
          try await client.send(.post, "/v1/projects", token: admin, body: #"{"name":"lab"}"#).status == .conflict)
        for wrong in [#"{"name":"Lab"}"#, #"{"name":""}"#, #"{}"#, #"{"name":"a/b"}"#] {
          #expect(
            try await client.send(.post, "/v1/projects", token: admin, body: wrong).status == .badRequest, "\(wrong)")
        }
        let submit = "/v1/projects/lab/workflows"
        let unknown = try await client.send(
          .post, "/v1/projects/lub/workflows", token: admin, body: Documents.suspended("w"))
        #expect(unknown.status == .notFound && String(buffer: unknown.body).contains("fubini project create lub"))
        #expect(try await client.send(.post, submit, token: admin, body: Documents.suspended("w")).status == .created)
        _ = try await client.send(.put, "/v1/projects/lab", token: admin, body: #"{"description":"physics"}"#)
        #expect(try await client.send(.post, "/v1/projects/lab/archive", token: admin).status == .ok)
        let one = try await client.send(.get, "/v1/projects/lab", token: admin)
        #expect(try one.json["description"] == "physics")
        #expect(try one.json["archivedAt"] != nil)
        let late = try await client.send(.post, submit, token: admin, body: Documents.suspended("x"))
        #expect(late.status == .conflict && String(buffer: late.body).contains("archived"))
        #expect(try await client.send(.post, "/v1/projects/lab/restore", token: admin).status == .ok)
        #expect(try await client.send(.post, submit, token: admin, body: Documents.suspended("x")).status == .created)
        #expect(try await client.send(.post, "/v1/projects/default/archive", token: admin).status == .conflict)
        let audit = String(buffer: try await client.send(.get, "/v1/audit", token: admin).body)
        for action in ["project.create", "project.update", "project.archive", "project.restore"] {
          #expect(audit.contains(action))
        }
      }
    }
  }

  @Test("A budget is set, read, moved and accounted for; a spent one answers 402 with what is missing")
  func budgets() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let admin = fixture.admin
        let budget = "/v1/projects/a/budget"
        #expect(try await client.send(.get, budget, token: admin).status == .notFound)
        for wrong in [
          #"{"amount":"-1","currency":"CNY"}"#, #"{"amount":"1","currency":"cny"}"#, #"{"amount":"1"}"#,
          #"{"amount":"1","currency":"CNY","alerts":[80,50]}"#, #"{"amount":"1","currency":"CNY","period":"weekly"}"#,
          #"{"amount":"1.0000001","currency":"CNY"}"#,
          #"{"amount":"1","currency":"CNY","defaultWalltimeSeconds":9223372036854775807}"#,
        ] {
          #expect(try await client.send(.put, budget, token: admin, body: wrong).status == .badRequest, "\(wrong)")
        }
        let body = #"{"amount":"5000","currency":"CNY","period":"quarterly","alerts":[50,80]}"#
        #expect(try await client.send(.put, budget, token: admin, body: body).status == .ok)
        // What is left out stays.
        let more = #"{"amount":"6000.5","currency":"CNY","hard":false}"#
        #expect(try await client.send(.put, budget, token: admin, body: more).status == .ok)
        let read = try await client.send(.get, budget, token: fixture.userA)
        #expect(try read.json["available"]?["micros"] == 6_000_500_000)
        #expect(
          try read.json["alerts"] == [50, 80] && read.json["period"] == "quarterly" && read.json["hard"] == false)
        let transfer = "/v1/projects/a/budget/transfer"
        let move = #"{"amount":"0.5","to":"b"}"#
        #expect(try await client.send(.post, transfer, token: admin, body: move).status == .conflict, "b has none")
        _ = try await client.send(
          .put, "/v1/projects/b/budget", token: admin, body: #"{"amount":"0","currency":"CNY"}"#)
        let denied = try await client.send(
          .post, "/v1/projects/b/workflows", token: fixture.userB, body: Documents.suspended("w"))
        #expect(denied.status.code == 402)
        #expect(try denied.json["reason"] == "budgetDenied")
        #expect(String(buffer: denied.body).contains("fubini budget set b"))
        #expect(try await client.send(.post, transfer, token: admin, body: move).status == .ok)
        let admitted = try await client.send(
          .post, "/v1/projects/b/workflows", token: fixture.userB, body: Documents.suspended("w"))
        #expect(admitted.status == .created)
        let page = try await client.send(.get, "\(budget)/history?limit=2", token: fixture.userA)
        let kinds = try page.json["items"]?.arrayValue?.compactMap { $0["kind"] }
        #expect(kinds == ["transfer", "grant"])
        let next = try #require(try page.json["next"]?.stringValue)
        let last = try await client.send(.get, "\(budget)/history?limit=2&continue=\(next)", token: fixture.userA)
        #expect(try last.json["items"]?.arrayValue?.count == 1)
        let verified = try await client.send(.get, "/v1/ledger/verify", token: admin)
        #expect(try verified.json["differences"] == [] && verified.json["budgets"] == 2)
      }
    }
  }

  @Test("A member's limit is set, read with what was used, and taken away; never below what is used")
  func members() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let (admin, members) = (fixture.admin, "/v1/projects/a/budget/members")
        let body = #"{"amount":"12.5"}"#
        #expect(try await client.send(.get, members, token: admin).status == .notFound, "there is no budget")
        #expect(try await client.send(.put, "\(members)/anna", token: admin, body: body).status == .conflict)
        _ = try await client.send(
          .put, "/v1/projects/a/budget", token: admin, body: #"{"amount":"50","currency":"CNY"}"#)
        #expect(try await client.send(.put, "\(members)/anna", token: fixture.userA, body: body).status == .forbidden)
        #expect(try await client.send(.get, members, token: fixture.userB).status == .notFound)
        let wrong = try await client.send(.put, "\(members)/anna", token: admin, body: #"{"amount":"-1"}"#)
        #expect(wrong.status == .badRequest)
        #expect(try await client.send(.put, "\(members)/anna", token: admin, body: body).status == .ok)
        let read = try await client.send(.get, members, token: fixture.userA)
        let first = try #require(try read.json["items"]?.arrayValue?.first)
        #expect(first["user"] == "anna" && first["limit"]?["micros"] == 12_500_000)
        #expect(first["available"]?["micros"] == 12_500_000 && first["spent"]?["micros"] == 0)
        #expect(try await client.send(.delete, "\(members)/anna", token: admin).status == .ok)
        let bare = try await client.send(.get, members, token: admin)
        #expect(try bare.json["items"]?.arrayValue?.first?["limit"] == nil)
      }
    }
  }

  @Test("Money is set by administrators alone, and nobody reads another project's")
  func access() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let body = #"{"amount":"5","currency":"CNY"}"#
        for project in ["a", "b"] {
          _ = try await client.send(.put, "/v1/projects/\(project)/budget", token: fixture.admin, body: body)
        }
        for (method, path) in [
          (HTTPRequest.Method.post, "/v1/projects"), (.post, "/v1/projects/a/archive"),
          (.post, "/v1/projects/a/restore"), (.put, "/v1/projects/a/budget"),
          (.post, "/v1/projects/a/budget/transfer"), (.get, "/v1/usage"), (.get, "/v1/ledger/verify"),
        ] {
          let answer = try await client.send(method, path, token: fixture.userA, body: method == .get ? nil : body)
          #expect(answer.status == .forbidden, "\(method) \(path)")
        }
        for path in ["", "/budget", "/budget/history", "/usage", "/workflows/w/cost"] {
          let answer = try await client.send(.get, "/v1/projects/b\(path)", token: fixture.userA)
          #expect(answer.status == .notFound, "\(path)")
        }
        for list in ["/v1/projects", "/v1/budgets"] {
          let own = try await client.send(.get, list, token: fixture.userA)
          let items = try own.json["items"]?.arrayValue ?? []
          #expect(items.compactMap { $0["name"] ?? $0["project"] } == ["a"], "\(list)")
        }
        let usage = try await client.send(
          .get, "/v1/projects/a/usage?by=label:x&since=2026-01-01T00:00:00Z", token: fixture.userA)
        #expect(usage.status == .ok)
        for wrong in ["by=week", "by=label:", "since=yesterday"] {
          let answer = try await client.send(.get, "/v1/projects/a/usage?\(wrong)", token: fixture.userA)
          #expect(answer.status == .badRequest, "\(wrong)")
        }
      }
    }
  }
}
